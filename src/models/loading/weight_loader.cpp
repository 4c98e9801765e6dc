#include "models/loading/weight_loader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

constexpr uint64_t kReleaseEvery = uint64_t{64} << 20;  // what the file may add to the peak of memory
constexpr int64_t kRowsPerTile = 32;                    // of a quantised matrix, turned into blocks at a time

std::string multiplied_formats(const Kernels& kernels) {
  std::string names;
  for (int i = 0; i < kNumFormats; ++i) {
    const WeightFormat& format = weight_format(static_cast<Format>(i));
    if (!format.is_weight() || kernels.packed_bytes(format.format, 1, format.block_elements) == 0) continue;
    names += names.empty() ? "" : ", ";
    names += format.name;
  }
  return names;
}

TensorView rows_of(const TensorView& view, int64_t first_row, int64_t rows) {
  TensorView part = view;
  part.rank = 2;
  part.shape = {rows, view.cols()};
  part.data = view.row(first_row);
  part.size_bytes = static_cast<size_t>(rows) * view.row_bytes();
  return part;
}

// Heads are known before they are loaded, so that the first refusal names no number of ranks that they refuse later.
PartitionCheck check_of(const Checkpoint& checkpoint, RankShare share) {
  PartitionCheck check(share);
  for (const char* key : {"num_attention_heads", "num_key_value_heads"}) {
    if (share.size > 1) check.expect(find_int(checkpoint.config(), key, 0));
  }
  return check;
}

}  // namespace

WeightLoader::WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels, bool on_host, RankShare share)
    : checkpoint_(checkpoint),
      kernels_(kernels),
      on_host_(on_host),
      share_(share),
      partition_check_(check_of(checkpoint, share)),
      scheme_(QuantizationScheme::read(checkpoint)) {}

WeightLoader::WeightLoader(const Checkpoint& checkpoint, const Kernels& kernels, const Exec& exec, Device& device,
                           DeviceBuffer& memory, MatmulTunings tunings, Progress progress, RankShare share)
    : checkpoint_(checkpoint),
      kernels_(kernels),
      on_host_(device.is_host()),
      exec_(exec),
      device_(&device),
      arena_(memory),
      tunings_(std::move(tunings)),
      share_(share),
      partition_check_(check_of(checkpoint, share)),
      progress_(std::move(progress)),
      scheme_(QuantizationScheme::read(checkpoint)) {}

Linear WeightLoader::linear(std::string_view name, int64_t rows, int64_t cols, Partition partition) {
  return rows_in({Layout::kDense, partition}, name, rows, 0, rows, cols);
}

Linear WeightLoader::router_linear(std::string_view name, int64_t rows, int64_t cols) {
  if (find_quantized(name, rows, cols)) return rows_in({Layout::kCommon}, name, rows, 0, rows, cols);
  const TensorView view = checked(name, {rows, cols});
  if (weight_format(view.format).block_elements > 1 || !kernels_.takes_packed(view.format)) {
    return pack(name, view, {Layout::kCommon});
  }
  const MatrixShape shape{Format::kF32, rows, cols};
  const PackTarget target = take_target(name, shape, Layout::kCommon);
  count(view.data, view.num_elements());
  if (target.data != nullptr) {
    std::vector<float> values(static_cast<size_t>(view.num_elements()));
    dequantize(view, values);
    fill(target, shape, reinterpret_cast<const std::byte*>(values.data()));
  }
  return {.weights = tuned(shape, target), .takes_packed = false};
}

Linear WeightLoader::expert_linear(std::string_view name, int64_t rows, int64_t cols, Partition partition) {
  return rows_in({Layout::kCommon, partition}, name, rows, 0, rows, cols);
}

Linear WeightLoader::linear_rows(std::string_view name, int64_t total_rows, int64_t first_row, int64_t rows,
                                 int64_t cols) {
  return rows_in({Layout::kDense, Partition::kRows}, name, total_rows, first_row, rows, cols);
}

Linear WeightLoader::rows_in(PackRequest request, std::string_view name, int64_t total_rows, int64_t first_row,
                             int64_t rows, int64_t cols) {
  if (const auto matrix = find_quantized(name, total_rows, cols)) return pack(name, *matrix, first_row, rows, request);
  return pack(name, rows_of(checked(name, {total_rows, cols}), first_row, rows), request);
}

Linear WeightLoader::linear_of_stack(std::string_view name, int64_t count, int64_t rows_of_each, int64_t index,
                                     int64_t first_row, int64_t rows, int64_t cols, Partition partition) {
  return pack(name, rows_of(checked(name, {count, rows_of_each, cols}), index * rows_of_each + first_row, rows),
              {Layout::kCommon, partition});
}

std::vector<float> WeightLoader::floats(std::string_view name, int64_t size) {
  const TensorView view = checked(name, {size});
  count(view.data, view.num_elements());
  std::vector<float> values(static_cast<size_t>(size));
  if (!arena_.counts_only()) dequantize(view, values);
  return values;
}

const float* WeightLoader::place_floats(std::span<const float> values) {
  const float* const placed = place(values);
  if (placed != nullptr) report();
  return placed;
}

const float* WeightLoader::vector(std::string_view name, int64_t size, float offset) {
  std::vector<float> values = floats(name, size);
  if (offset != 0.0f) std::ranges::for_each(values, [offset](float& value) { value = offset + value; });
  return place_floats(values);
}

const float* WeightLoader::bias(std::string_view name, int64_t rows, Partition partition) {
  const std::vector<float> values = floats(name, rows);
  if (partition != Partition::kRows)
    return partition == Partition::kColumns && share_.rank > 0 ? nullptr : place_floats(values);
  return place_floats(
      std::span(values).subspan(static_cast<size_t>(share_.first_of(rows)), static_cast<size_t>(share_.of(rows))));
}

AttentionSizes WeightLoader::share_of(AttentionSizes sizes) {
  partition_check_.check(fmt::format("{} has {} attention heads", checkpoint_.name(), sizes.num_heads),
                         sizes.num_heads);
  partition_check_.check(fmt::format("{} has {} KV heads", checkpoint_.name(), sizes.num_kv_heads), sizes.num_kv_heads);
  sizes.num_heads = static_cast<int>(share_.of(sizes.num_heads));
  sizes.num_kv_heads = static_cast<int>(share_.of(sizes.num_kv_heads));
  return sizes;
}

Norm WeightLoader::norm(std::string_view name, int64_t dim, float eps, float offset) {
  return {.weight = vector(name, dim, offset), .eps = eps, .dim = dim};
}

PackedMatrix WeightLoader::table(std::string_view name, int64_t rows, int64_t cols, const Linear* same) {
  const TensorView view = checked(name, {rows, cols});
  if (!on_host_) return same != nullptr ? same->weights : pack(name, view, {Layout::kDense}).weights;
  count(view.data, view.num_elements());
  mapped_bytes_ += view.size_bytes;
  return {.format = view.format, .rows = rows, .cols = cols, .data = view.data};
}

TensorView WeightLoader::checked(std::string_view name, std::initializer_list<int64_t> shape) {
  const TensorView view = checkpoint_.tensor(name);
  const std::span<const int64_t> expected(shape.begin(), shape.size());
  if (!std::ranges::equal(view.dimensions(), expected)) {
    fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has the shape {}, expected {} from the configuration",
         checkpoint_.name(), printable(name), shape_text(view.dimensions()), shape_text(expected));
  }
  if (!weight_format(view.format).is_weight()) {
    fail(ErrorCode::kUnsupported, "{}: tensor \"{}\" is {}, expected a weight format: {}", checkpoint_.name(),
         printable(name), weight_format(view.format).name, multiplied_formats(kernels_));
  }
  return view;
}

WeightLoader::PackTarget WeightLoader::take_target(std::string_view name, const MatrixShape& shape, Layout layout) {
  if (layout == Layout::kDense && kernels_.dense_bytes != nullptr) {
    if (const size_t bytes = kernels_.dense_bytes(shape.format, shape.rows, shape.cols); bytes > 0) {
      matrices_.insert(shape);
      return {.data = arena_.take_bytes(bytes), .is_dense = true};
    }
  }
  const size_t packed_bytes = kernels_.packed_bytes(shape.format, shape.rows, shape.cols);
  if (packed_bytes == 0) {
    fail(ErrorCode::kUnsupported, "{}: tensor \"{}\" is {}, which kernel table {} does not multiply; it knows {}",
         checkpoint_.name(), printable(name), weight_format(shape.format).name, kernels_.name,
         multiplied_formats(kernels_));
  }
  matrices_.insert(shape);
  return {.data = arena_.take_bytes(packed_bytes), .is_dense = false};
}

void WeightLoader::fill(const PackTarget& target, const MatrixShape& shape, const std::byte* blocks) {
  const auto pack = target.is_dense ? kernels_.pack_dense : kernels_.pack;
  pack(exec_, shape.format, shape.rows, shape.cols, blocks, target.data);
  report();
}

PackedMatrix WeightLoader::tuned(const MatrixShape& shape, const PackTarget& target) const {
  const auto found = tunings_.find(shape);
  return {.format = shape.format,
          .rows = shape.rows,
          .cols = shape.cols,
          .data = target.data,
          .tuning = found == tunings_.end() ? kernels_.usual_tuning : found->second,
          .is_dense = target.is_dense};
}

WeightLoader::Part WeightLoader::part_of(std::string_view name, const MatrixShape& whole, Partition partition) {
  Part part{.rows = whole.rows, .cols = whole.cols};
  if (share_.size == 1 || partition == Partition::kNone) return part;
  const WeightFormat& format = weight_format(whole.format);
  const bool by_rows = partition == Partition::kRows;
  partition_check_.check(fmt::format("{}: tensor \"{}\" is {} with {} {}", checkpoint_.name(), printable(name),
                                     format.name, by_rows ? whole.rows : whole.cols, by_rows ? "rows" : "columns"),
                         by_rows ? whole.rows : whole.cols, by_rows ? 1 : format.block_elements);
  int64_t& count = by_rows ? part.rows : part.cols;
  (by_rows ? part.first_row : part.first_col) = share_.first_of(count);
  count = share_.of(count);
  return part;
}

std::byte* WeightLoader::make_blocks(size_t size_bytes) {
  if (blocks_.size_bytes() < size_bytes) blocks_ = AlignedBuffer(size_bytes);
  return blocks_.data();
}

const std::byte* WeightLoader::blocks_of(const TensorView& matrix, const Part& part) {
  if (part.cols == matrix.cols()) return matrix.row(part.first_row);
  const WeightFormat& format = weight_format(matrix.format);
  const size_t row_bytes = format.bytes_of(part.cols);
  std::byte* const to = make_blocks(row_bytes * static_cast<size_t>(part.rows));
  for_rows(exec_, part.rows, kRowsPerTile, [&](int64_t row) {
    std::memcpy(to + static_cast<size_t>(row) * row_bytes,
                matrix.row(part.first_row + row) + format.bytes_of(part.first_col), row_bytes);
  });
  return to;
}

Linear WeightLoader::pack(std::string_view name, const TensorView& matrix, PackRequest request) {
  const Part part = part_of(name, {matrix.format, matrix.rows(), matrix.cols()}, request.partition);
  const MatrixShape shape{matrix.format, part.rows, part.cols};
  const PackTarget target = take_target(name, shape, request.layout);
  count(matrix.data, matrix.num_elements());
  if (target.data != nullptr) fill(target, shape, blocks_of(matrix, part));
  return {.weights = tuned(shape, target), .takes_packed = kernels_.takes_packed(matrix.format)};
}

std::optional<QuantizedMatrix> WeightLoader::find_quantized(std::string_view name, int64_t rows, int64_t cols) const {
  constexpr std::string_view kWeight = ".weight";
  if (!scheme_ || !name.ends_with(kWeight)) return std::nullopt;
  name.remove_suffix(kWeight.size());
  return scheme_->find(QuantizedModule(checkpoint_, std::string(name), rows, cols));
}

// Schemes write whole rows: those whose columns are divided by a detour.
void WeightLoader::write_blocks(const QuantizedMatrix& matrix, const Part& part, std::byte* to) const {
  const WeightFormat& format = weight_format(matrix.format);
  const size_t row_bytes = format.bytes_of(part.cols);
  const size_t whole_bytes = format.bytes_of(matrix.cols);
  parallel_for(exec_, (part.rows + kRowsPerTile - 1) / kRowsPerTile, [&](int64_t tile) {
    const int64_t row = tile * kRowsPerTile;
    const int64_t count = std::min(kRowsPerTile, part.rows - row);
    std::byte* const rows_to = to + static_cast<size_t>(row) * row_bytes;
    if (part.cols == matrix.cols) return matrix.write_rows(part.first_row + row, count, rows_to);
    const AlignedBuffer whole(whole_bytes * static_cast<size_t>(count));
    matrix.write_rows(part.first_row + row, count, const_cast<std::byte*>(whole.data()));
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      std::memcpy(rows_to + i * row_bytes, whole.data() + i * whole_bytes + format.bytes_of(part.first_col), row_bytes);
    }
  });
}

Linear WeightLoader::pack(std::string_view name, const QuantizedMatrix& matrix, int64_t first_row, int64_t rows,
                          PackRequest request) {
  if (share_.size > 1 && request.partition == Partition::kColumns && !matrix.column_order.empty()) {
    fail(ErrorCode::kUnsupported,
         "{}: the columns of \"{}\" are in an order of their own (GPTQ's act-order), which ranks do not divide; leave "
         "--tensor-parallel away",
         checkpoint_.name(), printable(name));
  }
  Part part = part_of(name, {matrix.format, rows, matrix.cols}, request.partition);
  part.first_row += first_row;
  const MatrixShape shape{matrix.format, part.rows, part.cols};
  const PackTarget target = take_target(name, shape, request.layout);
  count(matrix.identity + first_row, rows * matrix.cols);
  const ColumnOrder order = take_order(matrix.column_order);
  if (target.data != nullptr) {
    std::byte* const blocks =
        make_blocks(weight_format(shape.format).bytes_of(shape.cols) * static_cast<size_t>(shape.rows));
    write_blocks(matrix, part, blocks);
    fill(target, shape, blocks);
  }
  return {.weights = tuned(shape, target), .takes_packed = kernels_.takes_packed(matrix.format), .order = order};
}

ColumnOrder WeightLoader::take_order(const std::vector<int32_t>& columns) {
  if (columns.empty()) return {};
  if (const auto known = orders_.find(columns); known != orders_.end()) return known->second;
  const auto cols = static_cast<int64_t>(columns.size());
  const auto [scratch, is_new] = order_scratch_.try_emplace(cols);
  if (is_new) {
    scratch->second.gathered = arena_.take<float>(ColumnOrder::kRows * cols);
    scratch->second.packed =
        arena_.take_bytes(static_cast<uint64_t>(ColumnOrder::kRows) * kernels_.packed_row_bytes(cols));
  }
  ColumnOrder order = scratch->second;
  order.columns = place(std::span(columns));
  orders_.emplace(columns, order);
  return order;
}

void WeightLoader::count(const std::byte* place, int64_t num_elements) {
  if (counted_.insert(place).second) num_parameters_ += static_cast<uint64_t>(num_elements);
}

void WeightLoader::report() {
  if (packed_bytes() - released_bytes_ >= kReleaseEvery) {
    checkpoint_.release_pages();
    released_bytes_ = packed_bytes();
  }
  if (progress_) progress_(packed_bytes());
}

}  // namespace quire
