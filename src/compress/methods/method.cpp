#include "compress/methods/method.h"

#include <algorithm>

#include "base/error.h"
#include "compress/methods/awq.h"
#include "compress/methods/gptq.h"
#include "compress/methods/rtn.h"
#include "compress/methods/smoothquant.h"
#include "compress/pruning/magnitude.h"
#include "compress/pruning/sparsegpt.h"
#include "compress/pruning/wanda.h"

namespace quire {
namespace {

using Codes = std::vector<CompressedMatrix>;

MatrixForm form_of_codes(const MethodOptions& options) {
  return {.grid = options.grid, .has_order = options.act_order};
}

MatrixForm form_of_float8(const MethodOptions& options) {
  return {.kind = MatrixKind::kFloat8, .block_rows = options.float8.rows, .block_cols = options.float8.cols};
}

bool leaves_floats(const MethodOptions& options) { return options.grid.bits == 0; }

MatrixForm form_of_pruned(const MethodOptions& options) {
  if (leaves_floats(options)) return {.kind = MatrixKind::kFloats};
  return {.grid = options.grid, .sparsity = sparsity_name(options.sparsity)};
}

template <typename Compress>
Codes each(const LayerWork& layer, const Compress& compress) {
  Codes codes;
  for (const LayerMatrix& matrix : layer.matrices) codes.push_back(compress(matrix));
  return codes;
}

bool has_seen_rows(const LayerMatrix& matrix) { return matrix.input != nullptr && matrix.input->num_rows > 0; }

Codes compress_rtn(LayerWork& layer, const MethodOptions& options, ThreadPool& threads) {
  return each(layer, [&](const LayerMatrix& matrix) {
    return round_to_nearest(matrix.view(), {.grid = options.grid, .search_clip = options.search_clip}, threads);
  });
}

Codes compress_fp8(LayerWork& layer, const MethodOptions& options, ThreadPool& threads) {
  return each(layer,
              [&](const LayerMatrix& matrix) { return round_to_float8(matrix.view(), options.float8, threads); });
}

Codes compress_gptq(LayerWork& layer, const MethodOptions& options, ThreadPool& threads) {
  const GptqOptions gptq_options = {.grid = options.grid,
                                    .order = options.act_order ? ColumnOrder::kByInputInGroups : ColumnOrder::kByInput};
  return each(layer,
              [&](const LayerMatrix& matrix) { return gptq(matrix.view(), *matrix.input, gptq_options, threads); });
}

LayerMatrix* find_matrix(LayerWork& layer, std::string_view name) {
  const auto found = std::ranges::find(layer.matrices, name, &LayerMatrix::name);
  return found == layer.matrices.end() ? nullptr : &*found;
}

// The matrices that read what the folding scales; none where one of them stays as it is, or nothing was seen.
std::vector<LayerMatrix*> readers_of(LayerWork& layer, const Folding& folding) {
  std::vector<LayerMatrix*> readers;
  for (const std::string& name : folding.readers) {
    LayerMatrix* const reader = find_matrix(layer, name);
    if (reader == nullptr || !has_seen_rows(*reader)) return {};
    readers.push_back(reader);
  }
  const bool has_source =
      find_matrix(layer, folding.source.name) != nullptr || layer.vectors.contains(folding.source.name);
  return has_source ? readers : std::vector<LayerMatrix*>();
}

std::vector<FloatMatrix> views_of(std::span<LayerMatrix* const> matrices) {
  std::vector<FloatMatrix> views;
  for (const LayerMatrix* matrix : matrices) views.push_back(matrix->view());
  return views;
}

// Multiplies the readers' columns, divides the source and what the readers see.
void fold(LayerWork& layer, const Folding& folding, std::span<LayerMatrix* const> readers,
          std::span<const float> factors) {
  const std::vector<float> columns = factors_of_columns(folding, factors, readers[0]->cols);
  for (LayerMatrix* reader : readers) multiply_columns(reader->values, columns);
  divide_input(*readers[0]->input, columns);
  const auto divide = [&](std::vector<float>& tensor, int64_t row_size, float offset) {
    const std::span<float> rows = std::span(tensor).subspan(static_cast<size_t>(folding.source.first_row * row_size),
                                                            factors.size() * static_cast<size_t>(row_size));
    divide_rows(rows, row_size, offset, factors);
  };
  if (LayerMatrix* const source = find_matrix(layer, folding.source.name)) {
    divide(source->values, source->cols, 0.0f);
  } else {
    divide(layer.vectors.find(folding.source.name)->second, 1, folding.source.offset);
  }
  if (!folding.source.bias.empty()) divide(layer.vectors.find(folding.source.bias)->second, 1, 0.0f);
}

Codes compress_awq(LayerWork& layer, const MethodOptions& options, ThreadPool& threads) {
  for (const Folding& folding : layer.foldings) {
    const std::vector<LayerMatrix*> readers = readers_of(layer, folding);
    if (readers.empty()) continue;
    fold(layer, folding, readers,
         search_channel_factors(views_of(readers), *readers[0]->input, folding, options.grid, threads));
  }
  return each(layer, [&](const LayerMatrix& matrix) {
    const bool is_query_or_key = matrix.name.ends_with("q_proj.weight") || matrix.name.ends_with("k_proj.weight");
    if (is_query_or_key || !has_seen_rows(matrix)) {
      return round_to_nearest(matrix.view(), {.grid = options.grid}, threads);
    }
    return round_with_clips(matrix.view(), *matrix.input, options.grid, threads);
  });
}

Codes compress_smoothquant(LayerWork& layer, const MethodOptions& options, ThreadPool& threads) {
  for (const Folding& folding : layer.foldings) {
    const std::vector<LayerMatrix*> readers = readers_of(layer, folding);
    // The authors smooth what follows a norm.
    if (readers.empty() || find_matrix(layer, folding.source.name) != nullptr) continue;
    const std::vector<FloatMatrix> matrices = views_of(readers);
    const InputStatistics& input = *readers[0]->input;
    const float alpha = search_alpha(matrices, input, folding, threads);
    fold(layer, folding, readers, smoothing_factors(matrices, input, folding, alpha));
  }
  return compress_rtn(layer, options, threads);
}

// The pruned matrix as floats, or rounded to codes that keep its zeros: 0 is a code of every symmetric grid.
template <typename Prune>
Codes prune_each(const LayerWork& layer, const MethodOptions& options, ThreadPool& threads, const Prune& prune) {
  return each(layer, [&](const LayerMatrix& matrix) -> CompressedMatrix {
    std::vector<float> pruned = prune(matrix);
    if (!leaves_floats(options)) {
      return round_to_nearest({.values = pruned, .rows = matrix.rows, .cols = matrix.cols}, {.grid = options.grid},
                              threads);
    }
    return PlainMatrix{.format = matrix.format, .rows = matrix.rows, .cols = matrix.cols, .values = std::move(pruned)};
  });
}

Codes compress_magnitude(LayerWork& layer, const MethodOptions& options, ThreadPool& threads) {
  return prune_each(layer, options, threads, [&](const LayerMatrix& matrix) {
    return prune_by_magnitude(matrix.view(), options.sparsity, threads);
  });
}

// Experts that no token chose are pruned by magnitude.
Codes compress_wanda(LayerWork& layer, const MethodOptions& options, ThreadPool& threads) {
  return prune_each(layer, options, threads, [&](const LayerMatrix& matrix) {
    if (!has_seen_rows(matrix)) return prune_by_magnitude(matrix.view(), options.sparsity, threads);
    return prune_by_wanda(matrix.view(), *matrix.input, options.sparsity, threads);
  });
}

Codes compress_sparsegpt(LayerWork& layer, const MethodOptions& options, ThreadPool& threads) {
  return prune_each(layer, options, threads, [&](const LayerMatrix& matrix) {
    return prune_by_sparsegpt(matrix.view(), *matrix.input, {.pattern = options.sparsity}, threads);
  });
}

constexpr int64_t kSearchRows = 128;  // of a layer's inputs, on which SmoothQuant's alpha is searched

constexpr CompressionMethod kMethods[] = {
    {.name = "rtn", .layout = "compressed-tensors", .form = form_of_codes, .compress = compress_rtn},
    {.name = "fp8", .layout = "fp8", .form = form_of_float8, .compress = compress_fp8},
    {.name = "gptq",
     .layout = "gptq",
     .wanted = {.products = true},
     .needs_text = true,
     .sees_replaced = true,
     .form = form_of_codes,
     .compress = compress_gptq},
    {.name = "awq",
     .layout = "awq",
     .wanted = {.products = true},
     .needs_text = true,
     .changes_vectors = true,
     .form = form_of_codes,
     .compress = compress_awq},
    {.name = "smoothquant",
     .layout = "w8a8",
     .wanted = {.sample_rows = kSearchRows},
     .needs_text = true,
     .changes_vectors = true,
     .form = form_of_codes,
     .compress = compress_smoothquant},
    {.name = "magnitude", .layout = "w8a8", .prunes = true, .form = form_of_pruned, .compress = compress_magnitude},
    {.name = "wanda",
     .layout = "w8a8",
     .needs_text = true,
     .sees_replaced = true,
     .prunes = true,
     .form = form_of_pruned,
     .compress = compress_wanda},
    {.name = "sparsegpt",
     .layout = "w8a8",
     .wanted = {.products = true},
     .needs_text = true,
     .sees_replaced = true,
     .prunes = true,
     .form = form_of_pruned,
     .compress = compress_sparsegpt},
};

}  // namespace

std::span<const CompressionMethod> compression_methods() { return kMethods; }

const CompressionMethod& compression_method(std::string_view name) {
  std::string known;
  for (const CompressionMethod& method : kMethods) {
    if (method.name == name) return method;
    known += (known.empty() ? "" : ", ") + std::string(method.name);
  }
  fail(ErrorCode::kInvalidArgument, "there is no method '{}'; known are {}", printable(name), known);
}

}  // namespace quire
