#include "compress/blocks/block_pipeline.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "compress/blocks/block_method.h"
#include "compress/blocks/mixed.h"
#include "compress/files/gguf_metadata.h"
#include "tensor/files/gguf_writer.h"

namespace quire {
namespace {

// From the smallest to what costs nothing that matters.
constexpr Format kCandidates[] = {Format::kQ2_K,   Format::kQ3_K, Format::kIQ4_XS, Format::kQ4_0,
                                  Format::kIQ4_NL, Format::kQ4_K, Format::kQ5_0,   Format::kQ5_K,
                                  Format::kQ5_1,   Format::kQ6_K, Format::kQ8_0};

int64_t num_matrices(const TensorView& view) { return view.rank == 3 ? view.shape[0] : 1; }

// The importance of the columns of one matrix of a tensor; empty where the file says nothing of it.
std::vector<float> importance_in(const BlockOptions& options, const PlannedTensor& tensor, int64_t index) {
  if (options.importance == nullptr) return {};
  return options.importance->importance(tensor.name, index, num_matrices(tensor.source), tensor.source.cols());
}

uint64_t bytes_in(const TensorView& view, Format format) {
  return static_cast<uint64_t>(view.rows()) * weight_format(format).bytes_of(view.cols());
}

GgufWriter writer_of(const GgufFile& source, const BlockPlan& plan,
                     const std::function<GgufWriter::Fill(const PlannedTensor&)>& fill_of) {
  GgufWriter writer;
  copy_metadata(source, writer);
  if (plan.file_type) writer.add_uint32("general.file_type", *plan.file_type);
  writer.add_uint32("general.quantization_version", 2);
  for (const PlannedTensor& tensor : plan.tensors) {
    writer.add_tensor(tensor.name, tensor.format, tensor.source.dimensions(), fill_of(tensor));
  }
  return writer;
}

uint64_t file_bytes(const GgufFile& source, const BlockPlan& plan) {
  const auto no_fill = [](const PlannedTensor&) { return GgufWriter::Fill(); };
  return writer_of(source, plan, no_fill).layout({}).files[0].size_bytes;
}

void set_format(PlannedTensor& tensor, Format format) {
  tensor.format = format;
  tensor.bytes = bytes_in(tensor.source, format);
}

// Costs of all matrices of a tensor together.
std::vector<FormatChoice> choices_of(const PlannedTensor& tensor, const BlockOptions& options, ThreadPool& pool) {
  std::vector<float> values(static_cast<size_t>(tensor.source.num_elements()));
  dequantize(tensor.source, values);
  const int64_t count = num_matrices(tensor.source);
  const size_t size = values.size() / static_cast<size_t>(count);
  std::vector<FormatChoice> sum;
  for (int64_t i = 0; i < count; ++i) {
    const MatrixRows matrix = {.values = std::span(values).subspan(size * static_cast<size_t>(i), size),
                               .cols = tensor.source.cols()};
    const auto choices = measure_choices(matrix, importance_in(options, tensor, i), kCandidates, pool);
    if (i == 0) {
      sum = choices;
      continue;
    }
    for (size_t k = 0; k < sum.size(); ++k) {
      sum[k].bytes += choices[k].bytes;
      sum[k].cost += choices[k].cost;
    }
  }
  if (sum.empty()) sum.push_back({.format = Format::kF16, .bytes = bytes_in(tensor.source, Format::kF16)});
  return sum;
}

void plan_target(const GgufFile& source, const BlockOptions& options, ThreadPool& pool, const BlockProgress& progress,
                 BlockPlan& plan) {
  std::vector<std::vector<FormatChoice>> choices;
  std::vector<PlannedTensor*> matrices;
  uint64_t elements = 0;
  for (PlannedTensor& tensor : plan.tensors) {
    if (!tensor.is_quantised) continue;
    matrices.push_back(&tensor);
    elements += static_cast<uint64_t>(tensor.source.num_elements());
  }
  uint64_t done = 0;
  uint64_t matrix_bytes = 0;
  for (const PlannedTensor* tensor : matrices) {
    choices.push_back(choices_of(*tensor, options, pool));
    done += static_cast<uint64_t>(tensor->source.num_elements());
    progress(done, elements);
    matrix_bytes += tensor->bytes;
  }
  // Keys, names and what stays as it is; every matrix may be padded besides.
  const uint64_t fixed = file_bytes(source, plan) - matrix_bytes + matrices.size() * GgufWriter::kAlignment;
  if (options.target_bytes <= fixed) {
    fail(ErrorCode::kLimit, "a file of {} bytes has no room for weights: {} bytes are keys, vocabulary and norms",
         options.target_bytes, fixed);
  }
  const std::vector<size_t> chosen = choose_formats(choices, options.target_bytes - fixed);
  for (size_t i = 0; i < matrices.size(); ++i) {
    set_format(*matrices[i], choices[i][chosen[i]].format);
    matrices[i]->error = choices[i][chosen[i]].cost;
  }
}

void plan_recipe(const BlockOptions& options, BlockPlan& plan) {
  std::vector<NamedMatrix> named;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.is_quantised) named.push_back({tensor.name, tensor.source.rows(), tensor.source.cols()});
  }
  const std::vector<Format> formats = recipe_formats(options.recipe, named, options.importance != nullptr);
  size_t next = 0;
  for (PlannedTensor& tensor : plan.tensors) {
    if (tensor.is_quantised) set_format(tensor, formats[next++]);
  }
}

void fill_blocks(const PlannedTensor& tensor, const BlockOptions& options, ThreadPool& pool, std::span<std::byte> out) {
  if (!tensor.is_quantised) {
    std::memcpy(out.data(), tensor.source.data, out.size());
    return;
  }
  std::vector<float> values(static_cast<size_t>(tensor.source.num_elements()));
  dequantize(tensor.source, values);
  const int64_t count = num_matrices(tensor.source);
  const size_t size = values.size() / static_cast<size_t>(count);
  for (int64_t i = 0; i < count; ++i) {
    const MatrixRows matrix = {.values = std::span(values).subspan(size * static_cast<size_t>(i), size),
                               .cols = tensor.source.cols()};
    const auto blocks = quantize_blocks(tensor.format, matrix, importance_in(options, tensor, i), pool);
    std::ranges::copy(blocks, out.begin() + static_cast<std::ptrdiff_t>(blocks.size() * static_cast<size_t>(i)));
  }
}

}  // namespace

BlockPlan plan_blocks(const GgufFile& source, const BlockOptions& options, ThreadPool& pool,
                      const BlockProgress& progress) {
  BlockPlan plan;
  for (const auto& [name, view] : source.tensors()) {
    PlannedTensor& tensor = plan.tensors.emplace_back();
    tensor = {.name = name, .source = view, .format = view.format, .bytes = view.size_bytes};
    const bool stays = std::ranges::any_of(
        options.keep, [&tensor](const std::string& part) { return tensor.name.find(part) != std::string::npos; });
    tensor.is_quantised = !stays && is_quantised(name, view.rank) && weight_format(view.format).is_weight();
    if (tensor.is_quantised && weight_format(view.format).block_elements > 1 && !options.requantizes) {
      fail(ErrorCode::kInvalidArgument,
           "{} is quantised already ({} is {}), and would lose twice; give --requantize to take it for the original",
           source.name(), printable(name), weight_format(view.format).name);
    }
  }
  if (options.target_bytes > 0) {
    plan_target(source, options, pool, progress, plan);
  } else {
    plan.file_type = recipe_file_type(options.recipe);
    plan_recipe(options, plan);
  }
  plan.file_bytes = file_bytes(source, plan);
  return plan;
}

void write_blocks(const GgufFile& source, const BlockPlan& plan, const BlockOptions& options,
                  const std::filesystem::path& path, ThreadPool& pool, const BlockProgress& progress) {
  uint64_t all = 0;
  for (const PlannedTensor& tensor : plan.tensors) all += static_cast<uint64_t>(tensor.source.num_elements());
  uint64_t done = 0;
  const auto fill_of = [&](const PlannedTensor& tensor) -> GgufWriter::Fill {
    return [&tensor, &options, &pool, &progress, &done, all](std::span<std::byte> out) {
      fill_blocks(tensor, options, pool, out);
      done += static_cast<uint64_t>(tensor.source.num_elements());
      progress(done, all);
    };
  };
  writer_of(source, plan, fill_of).write(path);
}

}  // namespace quire
