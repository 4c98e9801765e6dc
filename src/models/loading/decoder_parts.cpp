#include "models/loading/decoder_parts.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"

namespace quire {
namespace {

constexpr auto kRows = Partition::kRows;
constexpr auto kColumns = Partition::kColumns;
constexpr const char* kEmbedding = "model.embed_tokens.weight";

std::string layer_prefix(int layer) { return "model.layers." + std::to_string(layer) + "."; }

void load_qkv(WeightLoader& loader, const std::string& prefix, const AttentionSizes& sizes, const AttentionForm& form,
              Attention& attention) {
  const int64_t hidden = form.input_size > 0 ? form.input_size : sizes.hidden_size;
  attention.q = loader.linear({prefix + "q_proj.weight", sizes.q_size(), hidden, kRows});
  attention.k = loader.linear({prefix + "k_proj.weight", sizes.kv_size(), hidden, kRows});
  attention.v = loader.linear({prefix + "v_proj.weight", sizes.kv_size(), hidden, kRows});
  if (!form.qkv_bias) return;
  attention.q.bias = loader.bias(prefix + "q_proj.bias", sizes.q_size(), kRows);
  attention.k.bias = loader.bias(prefix + "k_proj.bias", sizes.kv_size(), kRows);
  attention.v.bias = loader.bias(prefix + "v_proj.bias", sizes.kv_size(), kRows);
}

void load_fused_qkv(WeightLoader& loader, const std::string& prefix, const AttentionSizes& sizes,
                    Attention& attention) {
  const int64_t q = sizes.q_size();
  const int64_t kv = sizes.kv_size();
  const auto rows_of = [&](int64_t first_row, int64_t rows) {
    return loader.linear({.name = prefix + "qkv_proj.weight",
                          .rows = rows,
                          .cols = sizes.hidden_size,
                          .partition = kRows,
                          .first_row = first_row,
                          .total_rows = q + 2 * kv});
  };
  attention.q = rows_of(0, q);
  attention.k = rows_of(q, kv);
  attention.v = rows_of(q + kv, kv);
}

// The final norm and, where the model has one, the output matrix. Returns whether it has.
bool load_head(WeightLoader& loader, const DecoderConfig& config, Head& head) {
  const ModelInfo& sizes = config.info;
  const char* const output = sizes.tied_embeddings ? kEmbedding : "lm_head.weight";
  head.norm = loader.norm("model.norm.weight", sizes.hidden_size, config.norm_eps, config.norm_offset);
  head.softcap = config.logit_softcap;
  if (!sizes.tied_embeddings && is_headless(sizes.architecture) && !loader.has(output)) return false;
  head.output = loader.linear({output, sizes.vocab_size, sizes.hidden_size});
  return true;
}

}  // namespace

AttentionForm read_attention_biases(const json::object& config) {
  const bool bias = find_bool(config, "attention_bias", false);
  return {.qkv_bias = bias, .output_bias = find_bool(config, "attention_output_bias", bias)};
}

DecoderLayer load_norms(WeightLoader& loader, const DecoderConfig& config, int layer, const NormNames& names) {
  const auto norm = [&](const std::string& name) {
    if (name.empty()) return Norm{};
    return loader.norm(layer_prefix(layer) + name + ".weight", config.info.hidden_size, config.norm_eps,
                       config.norm_offset);
  };
  DecoderLayer result;
  result.attention_norm = norm(names.attention);
  result.post_attention_norm = norm(names.post_attention);
  result.feed_forward_norm = norm(names.feed_forward);
  result.post_feed_forward_norm = norm(names.post_feed_forward);
  return result;
}

Attention load_attention(WeightLoader& loader, const DecoderConfig& config, int layer, const AttentionForm& form) {
  CHECK(!form.is_fused || !form.qkv_bias);
  const std::string prefix = layer_prefix(layer) + "self_attn.";
  const AttentionSizes sizes = config.attention_sizes();
  Attention attention;
  attention.sizes = loader.share_of(sizes);
  attention.scale = config.attention_scale;
  attention.softcap = config.attention_softcap;
  attention.window = config.windows[static_cast<size_t>(layer)];
  attention.rope_interleaved = config.rope_interleaved;
  if (form.is_fused) {
    load_fused_qkv(loader, prefix, sizes, attention);
  } else {
    load_qkv(loader, prefix, sizes, form, attention);
  }
  attention.o = loader.linear({prefix + "o_proj.weight", sizes.hidden_size, sizes.q_size(), kColumns});
  if (form.output_bias) attention.o.bias = loader.bias(prefix + "o_proj.bias", sizes.hidden_size, kColumns);
  if (form.qk_norm) {
    attention.q_norm = loader.norm(prefix + "q_norm.weight", sizes.head_dim, config.norm_eps, config.norm_offset);
    attention.k_norm = loader.norm(prefix + "k_norm.weight", sizes.head_dim, config.norm_eps, config.norm_offset);
  }
  return attention;
}

Mlp load_mlp(WeightLoader& loader, const DecoderConfig& config, int layer, const MlpForm& form) {
  CHECK(!form.is_fused || !form.bias);
  const std::string prefix = layer_prefix(layer) + "mlp.";
  const int64_t hidden = config.info.hidden_size;
  const int64_t inner = config.info.intermediate_size;
  Mlp mlp;
  mlp.activation = config.activation;
  if (form.is_fused) {
    MatrixRequest half = {.name = prefix + "gate_up_proj.weight",
                          .rows = inner,
                          .cols = hidden,
                          .partition = kRows,
                          .total_rows = 2 * inner};
    mlp.gate = loader.linear(half);
    half.first_row = inner;
    mlp.up = loader.linear(half);
  } else {
    mlp.gate = loader.linear({prefix + "gate_proj.weight", inner, hidden, kRows});
    mlp.up = loader.linear({prefix + "up_proj.weight", inner, hidden, kRows});
  }
  mlp.down = loader.linear({prefix + "down_proj.weight", hidden, inner, kColumns});
  if (form.bias) {
    mlp.gate.bias = loader.bias(prefix + "gate_proj.bias", inner, kRows);
    mlp.up.bias = loader.bias(prefix + "up_proj.bias", inner, kRows);
    mlp.down.bias = loader.bias(prefix + "down_proj.bias", hidden, kColumns);
  }
  return mlp;
}

Moe::Matrices expert_matrices(WeightLoader& loader, const std::vector<Mlp>& experts, Linear Mlp::*kind) {
  Moe::Matrices all;
  std::vector<PackedMatrix> matrices;
  std::vector<const int32_t*> columns;
  bool any_order = false;
  for (const Mlp& mlp : experts) {
    const Linear& matrix = mlp.*kind;
    matrices.push_back(matrix.weights);
    columns.push_back(matrix.columns);
    any_order = any_order || matrix.columns != nullptr;
    (matrix.takes_packed ? all.reads.packed : all.reads.f32) = true;
  }
  all.experts = loader.place_own(std::span<const PackedMatrix>(matrices));
  auto list = loader.place_own(std::span<const int32_t* const>(columns));
  if (any_order) all.columns = std::move(list);
  return all;
}

Moe load_moe(WeightLoader& loader, const DecoderConfig& config, int layer, const MoeForm& form) {
  const std::string block = layer_prefix(layer) + form.block;
  const int64_t hidden = config.info.hidden_size;
  const int64_t inner = form.intermediate_size;
  const int64_t count = config.routing.num_experts;
  Moe moe;
  moe.routing = config.routing;
  moe.router = loader.router_linear({block + "gate.weight", count, hidden});
  const std::string stacked_gate_up = block + "experts.gate_up_proj";
  const bool is_stacked = loader.has(stacked_gate_up);
  for (int64_t e = 0; e < count; ++e) {
    const std::string prefix = block + "experts." + std::to_string(e) + ".";
    Mlp mlp;
    mlp.activation = config.activation;
    if (is_stacked) {
      MatrixRequest half = {.name = stacked_gate_up,
                            .rows = inner,
                            .cols = hidden,
                            .partition = kRows,
                            .first_row = e * 2 * inner,
                            .total_rows = count * 2 * inner,
                            .num_stacked = count};
      mlp.gate = loader.expert_linear(half);
      half.first_row += inner;
      mlp.up = loader.expert_linear(half);
      mlp.down = loader.expert_linear({.name = block + "experts.down_proj",
                                       .rows = hidden,
                                       .cols = inner,
                                       .partition = kColumns,
                                       .first_row = e * hidden,
                                       .total_rows = count * hidden,
                                       .num_stacked = count});
    } else {
      mlp.gate = loader.expert_linear({prefix + form.gate + ".weight", inner, hidden, kRows});
      mlp.up = loader.expert_linear({prefix + form.up + ".weight", inner, hidden, kRows});
      mlp.down = loader.expert_linear({prefix + form.down + ".weight", hidden, inner, kColumns});
    }
    moe.experts.push_back(mlp);
  }
  moe.gates = expert_matrices(loader, moe.experts, &Mlp::gate);
  moe.ups = expert_matrices(loader, moe.experts, &Mlp::up);
  moe.downs = expert_matrices(loader, moe.experts, &Mlp::down);
  const auto is_alike = [](const Mlp& mlp) { return mlp.gate.columns == mlp.up.columns; };
  if (std::ranges::all_of(moe.experts, is_alike)) moe.ups.columns = moe.gates.columns;
  return moe;
}

std::unique_ptr<Model> load_decoder(WeightLoader& loader, const DecoderConfig& config,
                                    const std::function<DecoderLayer(int layer)>& make_layer) {
  const LayerRange stage = loader.stage(config.info.num_layers);
  DecoderParts parts;
  parts.ropes = config.ropes;
  for (int i = stage.first; i < stage.last; ++i) {
    loader.begin_section();
    parts.layers.push_back(make_layer(i));
  }
  loader.begin_section();
  ModelInfo info = config.info;
  info.num_layers = stage.size();
  info.has_head = stage.last == config.info.num_layers && load_head(loader, config, parts.head);
  if (stage.first == 0) {
    const bool shares_table = info.tied_embeddings && info.has_head;
    parts.embedding =
        loader.embedding(kEmbedding, info.vocab_size, info.hidden_size, shares_table ? &parts.head.output : nullptr);
    parts.embedding.scale = config.embedding_scale;
  } else {
    info.hidden_input_size = info.hidden_size;
  }
  info.num_experts = config.routing.num_experts;
  info.num_experts_per_token = config.routing.per_row;
  info.num_parameters = loader.num_parameters();
  for (int i = 0; i < info.num_layers; ++i) {
    Attention& attention = parts.layers[static_cast<size_t>(i)].attention;
    if (!attention.writes_kv()) attention.kv_layer -= stage.first;
    CHECK(attention.writes_kv() || attention.kv_layer >= 0);
    info.kv_layers.push_back({.num_kv_heads = info.num_kv_heads,
                              .head_dim = info.head_dim,
                              .window = attention.window,
                              .source = attention.source_of(i)});
  }
  for (const RopeSettings& rope : config.ropes) {
    if (rope.short_factors != rope.long_factors) info.rope_switch_length = rope.original_max_positions;
  }
  return std::make_unique<Decoder>(std::move(info), std::move(parts));
}

}  // namespace quire
