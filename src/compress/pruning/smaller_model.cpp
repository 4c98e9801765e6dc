#include "compress/pruning/smaller_model.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "compress/calibration/calibration.h"
#include "compress/files/model_directory.h"
#include "compress/files/model_parts.h"
#include "kernels/select.h"
#include "tensor/files/tensor_file_writer.h"

namespace quire {
namespace {

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr int64_t kShareStep = 32;  // a block of most formats

template <typename T>
std::optional<T> whole_text(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// `step`: shares become multiples of it, numbers have to be one if `is_whole`.
int64_t size_of(const char* what, const std::string& text, int64_t original, int64_t step, bool is_whole) {
  if (text.empty()) return original;
  if (const auto number = whole_text<int64_t>(text)) {
    if (*number >= 1 && *number <= original && (!is_whole || *number % step == 0)) return *number;
  } else if (const auto share = whole_text<double>(text); share && *share > 0 && *share <= 1) {
    const double steps = *share * static_cast<double>(original) / static_cast<double>(step);
    return std::min(original, step * std::max<int64_t>(1, std::llround(steps)));
  }
  fail(ErrorCode::kInvalidArgument, "--{} {}: the model has {}; give a number from {} to {}{}, or a share such as 0.75",
       what, printable(text), original, is_whole ? step : 1, original,
       is_whole && step > 1 ? " that is a multiple of " + std::to_string(step) : "");
}

std::string layer_name(int layer, std::string_view matrix) {
  return "model.layers." + std::to_string(layer) + "." + std::string(matrix) + ".weight";
}

// How important the parts of one layer are.
struct LayerImportance {
  double influence = 0;
  std::vector<double> kv_groups;
  std::vector<double> channels;
  std::vector<double> hidden;
};

class Importance {
 public:
  Importance(const Checkpoint& source, const SmallerModelOptions& options, const DecoderShape& shape)
      : source_(source),
        shape_(shape),
        weights_(source, RankShare{}),
        calibrator_(source, options.windows, {.wanted = {}, .num_threads = options.num_threads, .isa = options.isa}),
        exec_(make_exec(calibrator_.threads())) {
    before_ = embeddings(options.windows);
  }

  LayerImportance see_next() {
    const int layer = calibrator_.next_layer();
    const CalibratedLayer seen = calibrator_.see();
    calibrator_.pass();
    LayerImportance result;
    // The rows after the last layer are normed, which says nothing of what the layer did; it always stays.
    result.influence = layer + 1 == shape_.layers ? std::numeric_limits<double>::infinity()
                                                  : block_influence(before_, calibrator_.residual(), shape_.hidden);
    before_.assign(calibrator_.residual().begin(), calibrator_.residual().end());
    const int64_t head_columns = int64_t{shape_.heads} / shape_.kv_heads * shape_.head_dim;
    result.kv_groups = sum_in_groups(columns_of(seen, layer_name(layer, "self_attn.o_proj")), head_columns);
    result.channels = columns_of(seen, layer_name(layer, "mlp.down_proj"));
    result.hidden.resize(static_cast<size_t>(shape_.hidden));
    for (const char* reader :
         {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"}) {
      const std::vector<double> columns = columns_of(seen, layer_name(layer, reader));
      for (size_t i = 0; i < columns.size(); ++i) result.hidden[i] += columns[i];
    }
    source_.release_pages();
    return result;
  }

 private:
  // Of every token; models that scale them have the same directions.
  std::vector<float> embeddings(const std::vector<std::vector<int32_t>>& windows) const {
    const TensorView table = source_.tensor("model.embed_tokens.weight");
    const WeightFormat& format = weight_format(table.format);
    const auto width = static_cast<size_t>(shape_.hidden);
    std::vector<float> rows;
    for (const std::vector<int32_t>& window : windows) {
      for (const int32_t token : window) {
        rows.resize(rows.size() + width);
        format.dequantize(table.row(token), rows.data() + rows.size() - width, shape_.hidden);
      }
    }
    return rows;
  }

  std::vector<double> columns_of(const CalibratedLayer& seen, const std::string& name) {
    const auto found = std::ranges::find(seen.matrices, name, &CalibratedMatrix::name);
    if (found == seen.matrices.end()) {
      fail(ErrorCode::kUnsupported, "{}: structured pruning needs a matrix \"{}\", which this model does not have",
           source_.name(), name);
    }
    const ModelMatrix matrix = {.name = name, .rows = found->rows, .cols = found->cols};
    const std::vector<float> values = read_floats(weights_, matrix, exec_);
    return column_importance({.values = values, .rows = matrix.rows, .cols = matrix.cols}, seen.inputs[found->input]);
  }

  const Checkpoint& source_;
  const DecoderShape& shape_;
  TensorSource weights_;
  Calibrator calibrator_;
  Exec exec_;
  std::vector<float> before_;  // [tokens, hidden] that the next layer reads
};

KeptParts choose_parts(const std::vector<LayerImportance>& importance, const DecoderShape& smaller) {
  std::vector<double> influences;
  for (const LayerImportance& layer : importance) influences.push_back(layer.influence);
  KeptParts kept;
  std::vector<double> hidden(importance[0].hidden.size());
  for (const int32_t index : most_important(influences, smaller.layers)) {
    const LayerImportance& layer = importance[static_cast<size_t>(index)];
    kept.layers.push_back({.layer = index,
                           .kv_groups = most_important(layer.kv_groups, smaller.kv_heads),
                           .channels = most_important(layer.channels, smaller.inner)});
    for (size_t i = 0; i < hidden.size(); ++i) hidden[i] += layer.hidden[i];
  }
  kept.hidden = most_important(hidden, smaller.hidden);
  return kept;
}

int64_t size_or(const std::vector<int32_t>& places, int64_t all) { return places.empty() ? all : std::ssize(places); }

std::vector<DeclaredTensor> declare(const Checkpoint& source, std::span<const TensorSlice> slices,
                                    const std::vector<Checkpoint::NamedTensor>& tensors) {
  std::vector<DeclaredTensor> declared;
  for (const TensorSlice& slice : slices) {
    const TensorView& view = std::ranges::find(tensors, slice.from, &Checkpoint::NamedTensor::name)->view;
    if (!weight_format(view.format).is_weight() || view.rank > 2) {
      fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}; parts are taken from a model of floats", source.name(),
           printable(slice.from), weight_format(view.format).name);
    }
    std::vector<int64_t> shape = {size_or(slice.rows, view.dimensions()[0])};
    if (view.rank == 2) shape.push_back(size_or(slice.cols, view.cols()));
    declared.push_back({slice.to, view.format, std::move(shape)});
  }
  return declared;
}

std::vector<std::string> names_of(const std::vector<Checkpoint::NamedTensor>& tensors) {
  std::vector<std::string> names;
  for (const auto& tensor : tensors) names.push_back(tensor.name);
  return names;
}

void write_tensors(const Checkpoint& source, const DecoderShape& shape, const KeptParts& kept,
                   const ModelDirectory& directory) {
  const std::vector<Checkpoint::NamedTensor> tensors = source.all_tensors();
  const std::vector<TensorSlice> slices = plan_slices(names_of(tensors), shape, kept);
  TensorFileWriter writer(directory.folder(), safetensors_layout(declare(source, slices, tensors)));
  directory.remove_leftovers(writer.layout());
  for (const TensorSlice& slice : slices) {
    const TensorView& view = std::ranges::find(tensors, slice.from, &Checkpoint::NamedTensor::name)->view;
    std::vector<float> values(static_cast<size_t>(view.num_elements()));
    dequantize(view, values);
    const int64_t cols = view.rank == 2 ? view.cols() : 1;
    const std::vector<float> taken =
        take_slice({.values = values, .rows = view.num_elements() / cols, .cols = cols}, slice);
    std::vector<std::byte> bytes(weight_format(view.format).bytes_of(std::ssize(taken)));
    weight_format(view.format).quantize(taken.data(), bytes.data(), std::ssize(taken));
    writer.write(slice.to, bytes);
  }
  writer.finish();
}

json::object config_of(const Checkpoint& source) {
  return read_json_file(source.directory() / "config.json", kMaxConfigBytes).as_object();
}

}  // namespace

DecoderShape smaller_shape(const DecoderShape& original, const SmallerSizes& sizes) {
  DecoderShape smaller = original;
  const int64_t heads_of_group = original.heads / original.kv_heads;
  smaller.layers = static_cast<int>(size_of("layers", sizes.layers, original.layers, 1, true));
  smaller.heads = static_cast<int>(size_of("heads", sizes.heads, original.heads, heads_of_group, true));
  smaller.kv_heads = static_cast<int>(smaller.heads / heads_of_group);
  smaller.inner = size_of("ffn", sizes.channels, original.inner, kShareStep, false);
  smaller.hidden = size_of("hidden", sizes.hidden, original.hidden, kShareStep, false);
  return smaller;
}

void check_smaller_model(const Checkpoint& source, const SmallerModelOptions& options) {
  if (source.is_gguf()) {
    fail(ErrorCode::kUnsupported, "{} is a GGUF file; make a directory of it first: quire convert MODEL.gguf DIRECTORY",
         source.name());
  }
  if (source.config().contains("quantization_config") || source.config().contains("compression_config")) {
    fail(ErrorCode::kInvalidArgument, "{} is compressed already; parts are taken from a model of floats",
         source.name());
  }
  refuse_source(options.output, source);
  refuse_existing(options.output, options.replaces);
  const DecoderShape shape = decoder_shape(config_of(source));
  smaller_shape(shape, options.sizes);
  const std::vector<Checkpoint::NamedTensor> tensors = source.all_tensors();
  declare(source, plan_slices(names_of(tensors), shape, all_parts(shape)), tensors);
}

KeptParts write_smaller_model(const Checkpoint& source, const SmallerModelOptions& options,
                              const LayersSeen& progress) {
  check_smaller_model(source, options);
  const json::object config = config_of(source);
  const DecoderShape shape = decoder_shape(config);
  const DecoderShape smaller = smaller_shape(shape, options.sizes);
  ModelDirectory directory(options.output, options.replaces);
  Importance text(source, options, shape);
  std::vector<LayerImportance> importance;
  for (int layer = 0; layer < shape.layers; ++layer) {
    importance.push_back(text.see_next());
    if (progress) progress(layer + 1, shape.layers);
  }
  const KeptParts kept = choose_parts(importance, smaller);
  write_tensors(source, shape, kept, directory);
  directory.copy_companions(source.directory());
  directory.write_json("config.json", shrink_config(config, kept));
  directory.finish();
  return kept;
}

}  // namespace quire
