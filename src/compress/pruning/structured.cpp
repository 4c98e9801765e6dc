#include "compress/pruning/structured.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

// What the rows or the columns of a tensor are.
enum class Axis : uint8_t { kWhole, kHidden, kQuery, kKv, kInner };

struct TensorAxes {
  std::string_view name;  // behind "model.layers.<n>.", without ".weight" or ".bias"
  Axis rows;
  Axis cols;
};

constexpr TensorAxes kLayerTensors[] = {
    {"self_attn.q_proj", Axis::kQuery, Axis::kHidden},
    {"self_attn.k_proj", Axis::kKv, Axis::kHidden},
    {"self_attn.v_proj", Axis::kKv, Axis::kHidden},
    {"self_attn.o_proj", Axis::kHidden, Axis::kQuery},
    {"self_attn.q_norm", Axis::kWhole, Axis::kWhole},
    {"self_attn.k_norm", Axis::kWhole, Axis::kWhole},
    {"mlp.gate_proj", Axis::kInner, Axis::kHidden},
    {"mlp.up_proj", Axis::kInner, Axis::kHidden},
    {"mlp.down_proj", Axis::kHidden, Axis::kInner},
    {"input_layernorm", Axis::kHidden, Axis::kWhole},
    {"post_attention_layernorm", Axis::kHidden, Axis::kWhole},
    {"pre_feedforward_layernorm", Axis::kHidden, Axis::kWhole},
    {"post_feedforward_layernorm", Axis::kHidden, Axis::kWhole},
};

constexpr TensorAxes kModelTensors[] = {
    {"model.embed_tokens", Axis::kWhole, Axis::kHidden},
    {"model.norm", Axis::kHidden, Axis::kWhole},
    {"lm_head", Axis::kWhole, Axis::kHidden},
};

const TensorAxes* find_axes(std::span<const TensorAxes> table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &TensorAxes::name);
  return found == table.end() ? nullptr : &*found;
}

std::vector<int32_t> count_up(int64_t count) {
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

// The rows of some blocks of `size` rows.
std::vector<int32_t> rows_of_blocks(std::span<const int32_t> blocks, int64_t size) {
  std::vector<int32_t> rows;
  for (const int32_t block : blocks) {
    for (int64_t i = 0; i < size; ++i) rows.push_back(static_cast<int32_t>(block * size + i));
  }
  return rows;
}

// Empty when all `size` places remain.
std::vector<int32_t> unless_all(std::vector<int32_t> places, int64_t size) {
  if (static_cast<int64_t>(places.size()) == size) places.clear();
  return places;
}

std::vector<int32_t> places_of(Axis axis, const DecoderShape& shape, const KeptParts& kept, const KeptLayer* layer) {
  const int64_t query_block = int64_t{shape.heads} / shape.kv_heads * shape.head_dim;
  switch (axis) {
    case Axis::kWhole: return {};
    case Axis::kHidden: return unless_all(kept.hidden, shape.hidden);
    case Axis::kQuery: return unless_all(rows_of_blocks(layer->kv_groups, query_block), query_block * shape.kv_heads);
    case Axis::kKv:
      return unless_all(rows_of_blocks(layer->kv_groups, shape.head_dim), int64_t{shape.kv_heads} * shape.head_dim);
    case Axis::kInner: return unless_all(layer->channels, shape.inner);
  }
  CHECK(!"an axis");
}

struct LayerName {
  int layer;
  std::string_view rest;  // behind the number and its dot
};
constexpr std::string_view kLayers = "model.layers.";

std::optional<LayerName> split_layer(std::string_view name) {
  if (!name.starts_with(kLayers)) return std::nullopt;
  const char* const end = name.data() + name.size();
  int layer = 0;
  const auto [at, error] = std::from_chars(name.data() + kLayers.size(), end, layer);
  if (error != std::errc() || at == end || *at != '.') return std::nullopt;
  return LayerName{layer, std::string_view(at + 1, end)};
}

std::string_view without_part(std::string_view name) { return name.substr(0, name.rfind('.')); }

[[noreturn]] void refuse(std::string_view name) {
  std::string known;
  for (const TensorAxes& tensor : kLayerTensors) known += (known.empty() ? "" : ", ") + std::string(tensor.name);
  fail(ErrorCode::kUnsupported,
       "tensor \"{}\": structured pruning does not know what its rows and columns are; it knows {} of a layer, and "
       "model.embed_tokens, model.norm and lm_head",
       printable(name), known);
}

void expect_alike(const KeptParts& kept) {
  CHECK(!kept.layers.empty());
  for (const KeptLayer& layer : kept.layers) {
    CHECK(layer.kv_groups.size() == kept.layers[0].kv_groups.size());
    CHECK(layer.channels.size() == kept.layers[0].channels.size());
  }
}

}  // namespace

double block_influence(std::span<const float> in, std::span<const float> out, int64_t dim) {
  CHECK(in.size() == out.size() && dim > 0 && in.size() % static_cast<size_t>(dim) == 0);
  double sum = 0;
  const size_t rows = in.size() / static_cast<size_t>(dim);
  for (size_t row = 0; row < rows; ++row) {
    double product = 0;
    double before = 0;
    double after = 0;
    for (size_t i = row * static_cast<size_t>(dim); i < (row + 1) * static_cast<size_t>(dim); ++i) {
      product += double{in[i]} * double{out[i]};
      before += double{in[i]} * double{in[i]};
      after += double{out[i]} * double{out[i]};
    }
    const double size = std::sqrt(before * after);
    sum += size > 0 ? product / size : 1;
  }
  return rows == 0 ? 0 : 1 - sum / static_cast<double>(rows);
}

std::vector<double> column_importance(const FloatMatrix& matrix, const InputStatistics& input) {
  CHECK(input.cols == matrix.cols);
  std::vector<double> sums(static_cast<size_t>(matrix.cols), 0.0);
  for (int64_t r = 0; r < matrix.rows; ++r) {
    const std::span<const float> row = matrix.row(r);
    for (size_t c = 0; c < row.size(); ++c) sums[c] += double{row[c]} * double{row[c]};
  }
  for (size_t c = 0; c < sums.size(); ++c) sums[c] *= double{input.square_sums[c]};
  return sums;
}

std::vector<double> sum_in_groups(std::span<const double> values, int64_t size) {
  CHECK(size > 0 && values.size() % static_cast<size_t>(size) == 0);
  std::vector<double> sums(values.size() / static_cast<size_t>(size), 0.0);
  for (size_t i = 0; i < values.size(); ++i) sums[i / static_cast<size_t>(size)] += values[i];
  return sums;
}

std::vector<int32_t> most_important(std::span<const double> importance, int64_t count) {
  CHECK(count >= 0 && count <= static_cast<int64_t>(importance.size()));
  std::vector<int32_t> order = count_up(static_cast<int64_t>(importance.size()));
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [importance](int32_t i) { return importance[static_cast<size_t>(i)]; });
  order.resize(static_cast<size_t>(count));
  std::ranges::sort(order);
  return order;
}

DecoderShape decoder_shape(const json::object& config) {
  DecoderShape shape;
  shape.layers = static_cast<int>(get_int(config, "num_hidden_layers"));
  shape.heads = static_cast<int>(get_int(config, "num_attention_heads"));
  shape.kv_heads = static_cast<int>(find_int(config, "num_key_value_heads", shape.heads));
  shape.hidden = get_int(config, "hidden_size");
  shape.inner = get_int(config, "intermediate_size");
  if (shape.heads < 1 || shape.kv_heads < 1 || shape.heads % shape.kv_heads != 0) {
    fail(ErrorCode::kCorrupt, "{} attention heads and {} KV heads, expected a multiple", shape.heads, shape.kv_heads);
  }
  shape.head_dim = static_cast<int>(find_int(config, "head_dim", shape.hidden / shape.heads));
  return shape;
}

KeptParts all_parts(const DecoderShape& shape) {
  KeptParts kept = {.layers = {}, .hidden = count_up(shape.hidden)};
  for (int layer = 0; layer < shape.layers; ++layer) {
    kept.layers.push_back({.layer = layer, .kv_groups = count_up(shape.kv_heads), .channels = count_up(shape.inner)});
  }
  return kept;
}

std::vector<TensorSlice> plan_slices(std::span<const std::string> names, const DecoderShape& shape,
                                     const KeptParts& kept) {
  expect_alike(kept);
  std::vector<TensorSlice> slices;
  for (const std::string& name : names) {
    const auto in_layer = split_layer(name);
    const TensorAxes* const axes = in_layer ? find_axes(kLayerTensors, without_part(in_layer->rest))
                                            : find_axes(kModelTensors, without_part(name));
    if (axes == nullptr) refuse(name);
    TensorSlice slice = {.from = name, .to = name, .rows = {}, .cols = {}};
    const KeptLayer* layer = nullptr;
    if (in_layer) {
      const auto found = std::ranges::find(kept.layers, in_layer->layer, &KeptLayer::layer);
      if (found == kept.layers.end()) continue;
      layer = &*found;
      slice.to = std::string(kLayers) + std::to_string(found - kept.layers.begin()) + "." + std::string(in_layer->rest);
    }
    slice.rows = places_of(axes->rows, shape, kept, layer);
    if (name.ends_with(".weight")) slice.cols = places_of(axes->cols, shape, kept, layer);
    slices.push_back(std::move(slice));
  }
  return slices;
}

json::object shrink_config(const json::object& config, const KeptParts& kept) {
  expect_alike(kept);
  const DecoderShape shape = decoder_shape(config);
  const size_t groups = kept.layers[0].kv_groups.size();
  json::object out = config;
  out["num_hidden_layers"] = kept.layers.size();
  out["num_attention_heads"] = groups * static_cast<size_t>(shape.heads / shape.kv_heads);
  out["num_key_value_heads"] = groups;
  out["head_dim"] = shape.head_dim;  // no longer what the other sizes say
  out["hidden_size"] = kept.hidden.size();
  out["intermediate_size"] = kept.layers[0].channels.size();
  if (const json::array* types = find_array(config, "layer_types")) {
    json::array left;
    for (const KeptLayer& layer : kept.layers) {
      if (static_cast<size_t>(layer.layer) < types->size()) left.push_back((*types)[static_cast<size_t>(layer.layer)]);
    }
    out["layer_types"] = std::move(left);
  }
  return out;
}

std::vector<float> take_slice(const FloatMatrix& from, const TensorSlice& slice) {
  const std::vector<int32_t> rows = slice.rows.empty() ? count_up(from.rows) : slice.rows;
  std::vector<float> out;
  out.reserve(rows.size() * static_cast<size_t>(slice.cols.empty() ? from.cols : std::ssize(slice.cols)));
  for (const int32_t r : rows) {
    const std::span<const float> row = from.row(r);
    if (slice.cols.empty()) {
      out.insert(out.end(), row.begin(), row.end());
    } else {
      for (const int32_t c : slice.cols) out.push_back(row[static_cast<size_t>(c)]);
    }
  }
  return out;
}

}  // namespace quire
