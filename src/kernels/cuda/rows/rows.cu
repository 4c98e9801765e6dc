// Norms, activations, sums and the compact form of rows; row_parts.h says how the work is divided.
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/rows/row_parts.h"

namespace quire {
namespace {

constexpr int64_t kSpan = 1024;  // floats per block when several blocks share a row

// Each block moves `span` floats of a row of `dim` floats from the source to the sink.
template <typename Source, typename Sink>
__global__ void __launch_bounds__(kMaxRowThreads)
    move_rows(Source source, Sink sink, int64_t dim, int64_t span, unsigned blocks_per_row) {
  const int64_t row = blockIdx.x / blocks_per_row;
  const int64_t begin = blockIdx.x % blocks_per_row * span;
  const int64_t end = begin + span < dim ? begin + span : dim;
  source.begin(row);
  // All lanes stay in the loop, because sinks use shuffles.
  for (int64_t base = begin; base < end; base += 4 * blockDim.x) {
    const int64_t first = base + 4 * threadIdx.x;
    const bool inside = first < end;
    sink.put(row, first, inside ? source.get(row, first) : make_float4(0.0f, 0.0f, 0.0f, 0.0f), inside);
  }
}

template <typename Source, typename Sink>
void launch_move(const Exec& exec, const Source& source, const Sink& sink, int64_t num_rows, int64_t dim,
                 int64_t span) {
  const auto blocks_per_row = static_cast<unsigned>(ceil_div(dim, span));
  launch(move_rows<Source, Sink>, dim3(static_cast<unsigned>(num_rows) * blocks_per_row),
         dim3(static_cast<unsigned>(row_threads(span))), 0, gpu_stream(exec), source, sink, dim, span, blocks_per_row);
}

// For sources that sum over a row: one block has the whole row.
template <typename Source, typename Sink>
void move_whole_rows(const Exec& exec, const Source& source, const Sink& sink, int64_t num_rows, int64_t dim) {
  const int64_t columns = Sink::columns(dim);
  launch_move(exec, source, sink, num_rows, columns, columns);
}

template <typename Source, typename Sink>
void move_row_parts(const Exec& exec, const Source& source, const Sink& sink, int64_t num_rows, int64_t dim) {
  const int64_t columns = Sink::columns(dim);
  launch_move(exec, source, sink, num_rows, columns, columns < kSpan ? columns : kSpan);
}

Fours fours(const void* pointer, int64_t stride, int64_t dim) { return {dim, in_fours(pointer, stride)}; }

NormedRows normed(const RowNorm& norm) {
  return {norm.x,
          norm.x_stride,
          norm.weight,
          norm.eps,
          fours(norm.x, norm.x_stride, norm.dim),
          fours(norm.weight, 0, norm.dim)};
}

void rms_norm(const Exec& exec, const RowNorm& norm, float* out, int64_t out_stride) {
  const FloatRows to{out, out_stride, fours(out, out_stride, norm.dim)};
  move_whole_rows(exec, normed(norm), to, norm.num_rows, norm.dim);
}

void add_rms_norm(const Exec& exec, const RowNorm& norm, float* x) {
  const AddedRows to{x, fours(x, norm.dim, norm.dim)};
  move_whole_rows(exec, normed(norm), to, norm.num_rows, norm.dim);
}

void rms_norm_packed(const Exec& exec, const RowNorm& norm, std::byte* packed) {
  move_whole_rows(exec, normed(norm), CompactRows{packed, norm.dim}, norm.num_rows, norm.dim);
}

void pack_rows(const Exec& exec, const RowsToPack& rows, std::byte* packed) {
  const CompactRows to{packed, rows.cols};
  if (rows.rows == nullptr && rows.columns == nullptr && rows.num_experts == 0) {
    const PlainRows from{rows.x, rows.cols, fours(rows.x, rows.cols, rows.cols)};
    return move_row_parts(exec, from, to, rows.num_rows, rows.cols);
  }
  move_row_parts(exec, ListedRows{rows}, to, rows.num_rows, rows.cols);
}

void add(const Exec& exec, float* x, const float* y, int64_t n) {
  if (n == 0) return;
  move_row_parts(exec, PlainRows{y, n, fours(y, 0, n)}, AddedRows{x, fours(x, 0, n)}, 1, n);
}

void softcap(const Exec& exec, float* x, int64_t n, float cap) {
  if (n == 0) return;
  move_row_parts(exec, CappedRows{x, cap, fours(x, 0, n)}, FloatRows{x, n, fours(x, 0, n)}, 1, n);
}

template <Activation kKind, typename Sink>
void gate_as(const Exec& exec, const RowGate& of, const Sink& to) {
  const GatedRows<kKind> from{of.gate,
                              of.gate_stride,
                              of.up,
                              of.up_stride,
                              fours(of.gate, of.gate_stride, of.dim),
                              fours(of.up, of.up_stride, of.dim)};
  move_row_parts(exec, from, to, of.num_rows, of.dim);
}

template <typename Sink>
void gate_rows(const Exec& exec, const RowGate& of, const Sink& to) {
  switch (of.kind) {
    case Activation::kSilu: return gate_as<Activation::kSilu>(exec, of, to);
    case Activation::kGeluTanh: return gate_as<Activation::kGeluTanh>(exec, of, to);
    case Activation::kGelu: return gate_as<Activation::kGelu>(exec, of, to);
  }
}

void gated_activation(const Exec& exec, const RowGate& gate, float* out, int64_t out_stride) {
  gate_rows(exec, gate, FloatRows{out, out_stride, fours(out, out_stride, gate.dim)});
}

void gated_activation_packed(const Exec& exec, const RowGate& gate, std::byte* packed) {
  gate_rows(exec, gate, CompactRows{packed, gate.dim});
}

}  // namespace

void fill_rows_cuda(Kernels& table) {
  table.packed_row_bytes = [](int64_t cols) { return static_cast<size_t>(compact_row_bytes(cols)); };
  table.pack_rows = pack_rows;
  table.rms_norm = rms_norm;
  table.rms_norm_packed = rms_norm_packed;
  table.add_rms_norm = add_rms_norm;
  table.add = add;
  table.softcap = softcap;
  table.gated_activation = gated_activation;
  table.gated_activation_packed = gated_activation_packed;
}

}  // namespace quire
