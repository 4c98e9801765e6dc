#include "compress/methods/folding.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/json.h"

namespace quire {
namespace {

// The tensors of one layer, by what follows "model.layers.<n>.".
class LayerTensors {
 public:
  LayerTensors(const Checkpoint& checkpoint, int layer)
      : checkpoint_(checkpoint), prefix_("model.layers." + std::to_string(layer) + ".") {}

  std::string full_name(std::string_view name) const { return prefix_ + std::string(name); }
  std::optional<TensorView> find(std::string_view name) const { return checkpoint_.find_tensor(full_name(name)); }
  bool has(std::string_view name) const { return find(name).has_value(); }
  const json::object& config() const { return checkpoint_.config(); }
  // What a norm adds to its weight.
  float norm_offset() const {
    const bool is_gemma = find_string(config(), "model_type", "").starts_with("gemma");
    return is_gemma && !checkpoint_.norms_include_one() ? 1.0f : 0.0f;
  }

 private:
  const Checkpoint& checkpoint_;
  std::string prefix_;
};

// Both without ".weight".
struct ExpertNames {
  const char* up;
  const char* down;
};

using Names = std::vector<std::string>;

// Prefixes of the experts there are: "mlp.experts.0.", "block_sparse_moe.experts.0." ...
Names expert_prefixes(const LayerTensors& layer) {
  Names prefixes;
  for (const auto& [block, down] :
       {std::pair{"mlp.experts.", "down_proj.weight"}, std::pair{"block_sparse_moe.experts.", "w2.weight"}}) {
    for (int expert = 0;; ++expert) {
      const std::string prefix = block + std::to_string(expert) + ".";
      if (!layer.has(prefix + down)) break;
      prefixes.push_back(prefix);
    }
  }
  return prefixes;
}

// All that may read the norm before the feed-forward block.
Names feed_forward_readers(const LayerTensors& layer) {
  Names names = {"mlp.gate_proj.weight", "mlp.up_proj.weight",           "mlp.gate_up_proj.weight",
                 "mlp.gate.weight",      "block_sparse_moe.gate.weight", "mlp.experts.gate_up_proj"};
  for (const std::string& prefix : expert_prefixes(layer)) {
    for (const char* name : {"gate_proj.weight", "up_proj.weight", "w1.weight", "w3.weight"}) {
      names.push_back(prefix + name);
    }
  }
  return names;
}

void add_norm(const LayerTensors& layer, const std::string& norm, const Names& readers, std::vector<Folding>& result) {
  const auto weight = layer.find(norm);
  if (!weight) return;
  Folding folding = {.source = {.name = layer.full_name(norm), .bias = "", .offset = layer.norm_offset()},
                     .num_channels = weight->num_elements(),
                     .readers = {},
                     .channels = {}};
  for (const std::string& reader : readers) {
    const auto matrix = layer.find(reader);
    if (!matrix) continue;
    if (matrix->cols() != folding.num_channels) return;
    folding.readers.push_back(layer.full_name(reader));
  }
  if (!folding.readers.empty()) result.push_back(std::move(folding));
}

// The last num_channels rows of `source`, a matrix, make what `reader` reads.
Folding matrix_pair(const LayerTensors& layer, const std::string& source, int64_t num_channels,
                    const std::string& reader) {
  const std::string bias = source.substr(0, source.rfind('.')) + ".bias";
  return {.source = {.name = layer.full_name(source),
                     .bias = layer.has(bias) ? layer.full_name(bias) : "",
                     .first_row = layer.find(source)->rows() - num_channels},
          .num_channels = num_channels,
          .readers = {layer.full_name(reader)},
          .channels = {}};
}

void add_values(const LayerTensors& layer, std::vector<Folding>& result) {
  const std::string reader = "self_attn.o_proj.weight";
  const bool is_fused = layer.has("self_attn.qkv_proj.weight");
  const std::string source = is_fused ? "self_attn.qkv_proj.weight" : "self_attn.v_proj.weight";
  const auto output = layer.find(reader);
  const auto matrix = layer.find(source);
  const int64_t heads = find_int(layer.config(), "num_attention_heads", 0);
  if (!output || !matrix || heads <= 0 || output->cols() % heads != 0) return;
  const int64_t head_dim = output->cols() / heads;
  const int64_t num_channels = is_fused ? (matrix->rows() - output->cols()) / 2 : matrix->rows();
  const int64_t kv_heads = num_channels / head_dim;
  if (kv_heads <= 0 || num_channels % head_dim != 0 || heads % kv_heads != 0) return;
  Folding folding = matrix_pair(layer, source, num_channels, reader);
  for (int64_t col = 0; heads != kv_heads && col < output->cols(); ++col) {
    const int64_t kv_head = col / head_dim / (heads / kv_heads);
    folding.channels.push_back(static_cast<int32_t>(kv_head * head_dim + col % head_dim));
  }
  result.push_back(std::move(folding));
}

void add_up(const LayerTensors& layer, const std::string& up, const std::string& down, std::vector<Folding>& result) {
  const auto source = layer.find(up);
  const auto reader = layer.find(down);
  if (!source || !reader || source->rows() % reader->cols() != 0) return;
  result.push_back(matrix_pair(layer, up, reader->cols(), down));
}

}  // namespace

std::vector<Folding> foldings(const Checkpoint& checkpoint, int layer_index) {
  const LayerTensors layer(checkpoint, layer_index);
  std::vector<Folding> result;
  add_norm(
      layer, "input_layernorm.weight",
      {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight", "self_attn.qkv_proj.weight"},
      result);
  add_values(layer, result);
  const std::string before = "pre_feedforward_layernorm.weight";  // Gemma: the other follows the attention block
  add_norm(layer, layer.has(before) ? before : "post_attention_layernorm.weight", feed_forward_readers(layer), result);
  add_up(layer, "mlp.up_proj.weight", "mlp.down_proj.weight", result);
  add_up(layer, "mlp.gate_up_proj.weight", "mlp.down_proj.weight", result);
  for (const std::string& prefix : expert_prefixes(layer)) {
    add_up(layer, prefix + "up_proj.weight", prefix + "down_proj.weight", result);
    add_up(layer, prefix + "w3.weight", prefix + "w2.weight", result);
  }
  return result;
}

std::vector<float> factors_of_columns(const Folding& folding, std::span<const float> channel_factors, int64_t cols) {
  CHECK(channel_factors.size() == static_cast<size_t>(folding.num_channels));
  std::vector<float> factors;
  for (int64_t col = 0; col < cols; ++col) {
    factors.push_back(channel_factors[static_cast<size_t>(folding.channel_of(col))]);
  }
  return factors;
}

void multiply_columns(std::span<float> matrix, std::span<const float> column_factors) {
  CHECK(matrix.size() % column_factors.size() == 0);
  for (size_t i = 0; i < matrix.size(); ++i) matrix[i] *= column_factors[i % column_factors.size()];
}

void divide_rows(std::span<float> rows, int64_t row_size, float offset, std::span<const float> channel_factors) {
  CHECK(rows.size() == channel_factors.size() * static_cast<size_t>(row_size));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = (offset + rows[i]) / channel_factors[i / static_cast<size_t>(row_size)] - offset;
  }
}

void divide_input(InputStatistics& input, std::span<const float> column_factors) {
  CHECK(column_factors.size() == static_cast<size_t>(input.cols));
  const size_t cols = column_factors.size();
  for (size_t i = 0; i < input.square_sums.size(); ++i) input.square_sums[i] /= column_factors[i] * column_factors[i];
  for (size_t i = 0; i < input.largest.size(); ++i) input.largest[i] /= column_factors[i];
  for (size_t i = 0; i < input.sample.size(); ++i) input.sample[i] /= column_factors[i % cols];
  for (size_t i = 0; i < input.products.size(); ++i) {
    input.products[i] /= column_factors[i / cols] * column_factors[i % cols];
  }
}

}  // namespace quire
