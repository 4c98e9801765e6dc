#include "models/loading/tensor_source.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr int64_t kRowsPerTask = 32;  // converted by one thread at a time

std::string weight_formats() {
  std::string names;
  for (int i = 0; i < kNumFormats; ++i) {
    const WeightFormat& format = weight_format(static_cast<Format>(i));
    if (!format.is_weight()) continue;
    names += names.empty() ? "" : ", ";
    names += format.name;
  }
  return names;
}

// The numbers of heads are recorded before any weight is read, so that the first refusal does not recommend a number of
// ranks that the heads would refuse later.
PartitionCheck check_of(const Checkpoint& checkpoint, RankShare share) {
  PartitionCheck check(share);
  for (const char* key : {"num_attention_heads", "num_key_value_heads"}) {
    if (share.size > 1) check.expect(find_int(checkpoint.config(), key, 0));
  }
  return check;
}

Format format_of(const SourceMatrix& matrix) {
  const auto* const view = std::get_if<TensorView>(&matrix.whole);
  return view != nullptr ? view->format : std::get<QuantizedMatrix>(matrix.whole).format;
}

// The matrix in `format`, where it can be converted to it.
void convert(Format format, SourceMatrix& matrix) {
  const bool has_floats = matrix.is_plain() && weight_format(matrix.shape.format).block_elements == 1;
  if (format == matrix.shape.format || (format != Format::kF32 && !has_floats)) return;
  matrix.shape.format = format;
  if (matrix.column_order.empty()) return;
  std::get<QuantizedMatrix>(matrix.whole).column_order = std::move(matrix.column_order);
  matrix.column_order.clear();
}

// Rows [first_row, first_row + num_rows) of the tensor as floats, out [num_rows, cols].
void read_rows(const SourceMatrix& matrix, int64_t first_row, int64_t num_rows, std::vector<float>& out) {
  if (const auto* const view = std::get_if<TensorView>(&matrix.whole)) {
    out.resize(static_cast<size_t>(num_rows * view->cols()));
    weight_format(view->format).dequantize(view->row(first_row), out.data(), num_rows * view->cols());
    return;
  }
  const auto& whole = std::get<QuantizedMatrix>(matrix.whole);
  const WeightFormat& format = weight_format(whole.format);
  AlignedBuffer blocks(format.bytes_of(num_rows * whole.cols));
  whole.write_rows(first_row, num_rows, blocks.data());
  out.resize(static_cast<size_t>(num_rows * whole.cols));
  format.dequantize(blocks.data(), out.data(), num_rows * whole.cols);
  if (whole.column_order.empty()) return;
  std::vector<float> row(static_cast<size_t>(whole.cols));
  for (int64_t r = 0; r < num_rows; ++r) {
    const std::span<float> ordered = std::span(out).subspan(static_cast<size_t>(r) * row.size(), row.size());
    for (size_t i = 0; i < row.size(); ++i) row[static_cast<size_t>(whole.column_order[i])] = ordered[i];
    std::ranges::copy(row, ordered.begin());
  }
}

}  // namespace

TensorSource::TensorSource(const Checkpoint& checkpoint, RankShare share, bool takes_sparse)
    : checkpoint_(checkpoint),
      scheme_(QuantizationScheme::read(checkpoint)),
      share_(share),
      takes_sparse_(takes_sparse),
      partition_check_(check_of(checkpoint, share)) {}

TensorView TensorSource::plain_tensor(std::string_view name, std::initializer_list<int64_t> shape) {
  const TensorView view = checkpoint_.tensor(name);
  note(name, shape);
  const std::span<const int64_t> expected(shape.begin(), shape.size());
  if (!std::ranges::equal(view.dimensions(), expected)) {
    fail(ErrorCode::kCorrupt, "{}: tensor \"{}\" has the shape {}, expected {} from the configuration", file_name(),
         printable(name), shape_text(view.dimensions()), shape_text(expected));
  }
  if (!weight_format(view.format).is_weight()) {
    fail(ErrorCode::kUnsupported, "{}: tensor \"{}\" is {}, expected a weight format: {}", file_name(), printable(name),
         weight_format(view.format).name, weight_formats());
  }
  count(view.data, view.num_elements());
  return view;
}

std::optional<QuantizedMatrix> TensorSource::find_quantized(const MatrixRequest& request) const {
  constexpr std::string_view kWeight = ".weight";
  if (!scheme_ || !request.name.ends_with(kWeight)) return std::nullopt;
  const std::string module = request.name.substr(0, request.name.size() - kWeight.size());
  return scheme_->find(QuantizedModule(checkpoint_, module, request.total_rows, request.cols, takes_sparse_));
}

TensorView TensorSource::table(const std::string& name, int64_t rows, int64_t cols) {
  const TensorView view = plain_tensor(name, {rows, cols});
  if (find_quantized({.name = name, .cols = cols, .total_rows = rows})) {
    fail(ErrorCode::kUnsupported, "{}: the table \"{}\" is {} with a scale beside it, which this build does not read",
         file_name(), printable(name), weight_format(view.format).name);
  }
  return view;
}

SourceMatrix TensorSource::matrix(const MatrixRequest& asked) {
  MatrixRequest request = asked;
  if (request.total_rows == 0) request.total_rows = request.rows;
  DCHECK(request.first_row + request.rows <= request.total_rows);
  SourceMatrix matrix{.name = request.name, .first_row = request.first_row, .part_row = request.first_row};
  if (auto quantized = find_quantized(request)) {
    matrix.shape = {quantized->format, request.rows, request.cols};
    note(request.name, {request.total_rows, request.cols});
    count(quantized->identity + request.first_row, request.rows * request.cols);
    matrix.column_order = std::move(quantized->column_order);
    matrix.whole = std::move(*quantized);
  } else {
    const int64_t stacked = request.num_stacked;
    const TensorView view = stacked > 0
                                ? plain_tensor(request.name, {stacked, request.total_rows / stacked, request.cols})
                                : plain_tensor(request.name, {request.total_rows, request.cols});
    matrix.shape = {view.format, request.rows, request.cols};
    matrix.whole = view;
  }
  if (request.format) convert(*request.format, matrix);
  divide(request.partition, matrix);
  return matrix;
}

void TensorSource::divide(Partition partition, SourceMatrix& matrix) {
  if (share_.size == 1 || partition == Partition::kNone) return;
  const bool by_rows = partition == Partition::kRows;
  if (!by_rows && !matrix.column_order.empty()) {
    fail(ErrorCode::kUnsupported,
         "{}: the columns of \"{}\" are permuted (GPTQ's act-order), which ranks cannot divide; run it "
         "without --tensor-parallel",
         file_name(), printable(matrix.name));
  }
  const WeightFormat& format = weight_format(matrix.shape.format);
  int64_t& size = by_rows ? matrix.shape.rows : matrix.shape.cols;
  partition_check_.check(fmt::format("{}: tensor \"{}\" is {} with {} {}", file_name(), printable(matrix.name),
                                     format.name, size, by_rows ? "rows" : "columns"),
                         size, by_rows ? 1 : format.block_elements);
  (by_rows ? matrix.part_row : matrix.part_col) += share_.first_of(size);
  size = share_.of(size);
}

AttentionSizes TensorSource::share_of(AttentionSizes sizes) {
  partition_check_.check(fmt::format("{} has {} attention heads", file_name(), sizes.num_heads), sizes.num_heads);
  partition_check_.check(fmt::format("{} has {} KV heads", file_name(), sizes.num_kv_heads), sizes.num_kv_heads);
  sizes.num_heads = static_cast<int>(share_.of(sizes.num_heads));
  sizes.num_kv_heads = static_cast<int>(share_.of(sizes.num_kv_heads));
  return sizes;
}

const std::byte* TensorSource::blocks(const SourceMatrix& matrix, const Exec& exec) {
  if (matrix.shape.format != format_of(matrix)) return converted_blocks(matrix, exec);
  if (const auto* view = std::get_if<TensorView>(&matrix.whole)) return plain_blocks(matrix, *view, exec);
  return quantized_blocks(matrix, std::get<QuantizedMatrix>(matrix.whole), exec);
}

std::byte* TensorSource::take_buffer(const MatrixShape& shape) {
  const size_t bytes = weight_format(shape.format).bytes_of(shape.cols) * static_cast<size_t>(shape.rows);
  if (buffer_.size_bytes() < bytes) buffer_ = AlignedBuffer(bytes);
  return buffer_.data();
}

const std::byte* TensorSource::plain_blocks(const SourceMatrix& matrix, const TensorView& whole, const Exec& exec) {
  const int64_t cols = matrix.shape.cols;
  if (cols == whole.cols()) return whole.row(matrix.part_row);
  std::byte* const to = take_buffer(matrix.shape);
  const WeightFormat& format = weight_format(whole.format);
  const size_t row_bytes = format.bytes_of(cols);
  for_rows(exec, matrix.shape.rows, kRowsPerTask, [&](int64_t row) {
    std::memcpy(to + static_cast<size_t>(row) * row_bytes,
                whole.row(matrix.part_row + row) + format.bytes_of(matrix.part_col), row_bytes);
  });
  return to;
}

const std::byte* TensorSource::converted_blocks(const SourceMatrix& matrix, const Exec& exec) {
  std::byte* const to = take_buffer(matrix.shape);
  const auto& [format, rows, cols] = matrix.shape;
  const WeightFormat& wanted = weight_format(format);
  const size_t row_bytes = wanted.bytes_of(cols);
  parallel_for(exec, (rows + kRowsPerTask - 1) / kRowsPerTask, [&, rows = rows, cols = cols](int64_t task) {
    const int64_t first = task * kRowsPerTask;
    const int64_t num_rows = std::min(kRowsPerTask, rows - first);
    std::vector<float> values;
    read_rows(matrix, matrix.part_row + first, num_rows, values);
    const int64_t whole_cols = static_cast<int64_t>(values.size()) / num_rows;
    for (int64_t row = 0; row < num_rows; ++row) {
      wanted.quantize(&values[static_cast<size_t>(row * whole_cols + matrix.part_col)],
                      to + static_cast<size_t>(first + row) * row_bytes, cols);
    }
  });
  return to;
}

// Schemes write whole rows; where columns are divided, the rank's part is copied from them.
const std::byte* TensorSource::quantized_blocks(const SourceMatrix& matrix, const QuantizedMatrix& whole,
                                                const Exec& exec) {
  std::byte* const to = take_buffer(matrix.shape);
  const int64_t rows = matrix.shape.rows;
  const int64_t cols = matrix.shape.cols;
  const WeightFormat& format = weight_format(whole.format);
  const size_t row_bytes = format.bytes_of(cols);
  const size_t whole_bytes = format.bytes_of(whole.cols);
  parallel_for(exec, (rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task) {
    const int64_t row = task * kRowsPerTask;
    const int64_t num_rows = std::min(kRowsPerTask, rows - row);
    std::byte* const rows_to = to + static_cast<size_t>(row) * row_bytes;
    if (cols == whole.cols) return whole.write_rows(matrix.part_row + row, num_rows, rows_to);
    AlignedBuffer whole_rows(whole_bytes * static_cast<size_t>(num_rows));
    whole.write_rows(matrix.part_row + row, num_rows, whole_rows.data());
    for (size_t i = 0; i < static_cast<size_t>(num_rows); ++i) {
      std::memcpy(rows_to + i * row_bytes, whole_rows.data() + i * whole_bytes + format.bytes_of(matrix.part_col),
                  row_bytes);
    }
  });
  return to;
}

std::vector<std::string> TensorSource::unused_tensors() const {
  const std::vector<Checkpoint::NamedTensor> tensors = checkpoint_.all_tensors();
  const auto is_counted = [this](const TensorView& view) {
    const auto at = counted_.lower_bound(view.data);
    return at != counted_.end() && *at < view.data + view.size_bytes;
  };
  const auto module_of = [](const std::string& name) { return name.substr(0, name.rfind('.')); };
  std::set<std::string> modules;  // that have a tensor in use: scales and the like stand beside it
  for (const auto& [name, view] : tensors) {
    if (is_counted(view)) modules.insert(module_of(name));
  }
  const bool is_tied = find_bool(checkpoint_.config(), "tie_word_embeddings", false);
  std::vector<std::string> unused;
  for (const auto& [name, view] : tensors) {
    const bool stands_alone = name.ends_with(".weight") || name.ends_with(".bias");
    const bool is_map = name == "d2t" || name == "t2d" || name == "token_map";  // of a part's vocabulary
    const bool is_table = is_map || name.ends_with("rotary_emb.inv_freq") || name.starts_with("rope_f") ||
                          (is_tied && (name.ends_with("lm_head.weight") || name == "cls.output.weight"));
    if (is_counted(view) || is_table || (!stands_alone && modules.contains(module_of(name)))) continue;
    unused.push_back(name);
  }
  return unused;
}

void TensorSource::note(std::string_view name, std::vector<int64_t> shape) {
  if (requested_names_.insert(std::string(name)).second) requested_.push_back({std::string(name), std::move(shape)});
}

void TensorSource::count(const std::byte* place, int64_t num_elements) {
  if (counted_.insert(place).second) num_parameters_ += static_cast<uint64_t>(num_elements);
}

}  // namespace quire
