#include "models/loading/decoder_parts.h"

#include <utility>

namespace quire {

AttentionNames read_attention_bias(const json::object& config) {
  const bool bias = find_bool(config, "attention_bias", false);
  return {.qkv_bias = bias, .output_bias = find_bool(config, "attention_output_bias", bias)};
}

Attention plain_attention(WeightLoader& loader, const DecoderConfig& config) {
  Attention attention;
  attention.sizes = loader.share_of(config.attention_sizes());
  attention.scale = config.attention_scale;
  attention.rope_interleaved = config.rope_interleaved;
  return attention;
}

Attention load_attention(WeightLoader& loader, const std::string& prefix, const DecoderConfig& config,
                         const AttentionNames& names) {
  Attention attention = plain_attention(loader, config);
  const AttentionSizes sizes = config.attention_sizes();
  const auto rows = Division::kRows;
  const auto columns = Division::kColumns;
  attention.q = loader.linear(prefix + "q_proj.weight", sizes.q_size(), sizes.hidden_size, rows);
  attention.k = loader.linear(prefix + "k_proj.weight", sizes.kv_size(), sizes.hidden_size, rows);
  attention.v = loader.linear(prefix + "v_proj.weight", sizes.kv_size(), sizes.hidden_size, rows);
  attention.o = loader.linear(prefix + "o_proj.weight", sizes.hidden_size, sizes.q_size(), columns);
  if (names.qkv_bias) {
    attention.q.bias = loader.bias(prefix + "q_proj.bias", sizes.q_size(), rows);
    attention.k.bias = loader.bias(prefix + "k_proj.bias", sizes.kv_size(), rows);
    attention.v.bias = loader.bias(prefix + "v_proj.bias", sizes.kv_size(), rows);
  }
  if (names.output_bias) attention.o.bias = loader.bias(prefix + "o_proj.bias", sizes.hidden_size, columns);
  if (names.qk_norm) {
    attention.q_norm = loader.norm(prefix + "q_norm.weight", sizes.head_dim, config.norm_eps, names.norm_offset);
    attention.k_norm = loader.norm(prefix + "k_norm.weight", sizes.head_dim, config.norm_eps, names.norm_offset);
  }
  return attention;
}

Mlp load_mlp(WeightLoader& loader, const std::string& prefix, const DecoderConfig& config, bool bias) {
  const int64_t hidden = config.info.hidden_size;
  const int64_t inner = config.info.intermediate_size;
  Mlp mlp;
  mlp.activation = config.activation;
  const auto rows = Division::kRows;
  const auto columns = Division::kColumns;
  mlp.gate = loader.linear(prefix + "gate_proj.weight", inner, hidden, rows);
  mlp.up = loader.linear(prefix + "up_proj.weight", inner, hidden, rows);
  mlp.down = loader.linear(prefix + "down_proj.weight", hidden, inner, columns);
  if (bias) {
    mlp.gate.bias = loader.bias(prefix + "gate_proj.bias", inner, rows);
    mlp.up.bias = loader.bias(prefix + "up_proj.bias", inner, rows);
    mlp.down.bias = loader.bias(prefix + "down_proj.bias", hidden, columns);
  }
  return mlp;
}

Moe load_moe(WeightLoader& loader, const MoeNames& names, const DecoderConfig& config) {
  const int64_t hidden = config.info.hidden_size;
  const int64_t inner = names.intermediate_size;
  const int64_t count = names.router.num_experts;
  const auto rows = Division::kRows;
  const auto columns = Division::kColumns;
  Moe moe;
  moe.routing = names.router;
  moe.router = loader.choosing_linear(names.block + "gate.weight", count, hidden);
  const std::string stacked_gate_up = names.block + "experts.gate_up_proj";
  const bool is_stacked = loader.has(stacked_gate_up);
  for (int64_t e = 0; e < count; ++e) {
    const std::string prefix = names.block + "experts." + std::to_string(e) + ".";
    Mlp mlp;
    mlp.activation = config.activation;
    if (is_stacked) {
      mlp.gate = loader.linear_of_stack(stacked_gate_up, count, 2 * inner, e, 0, inner, hidden, rows);
      mlp.up = loader.linear_of_stack(stacked_gate_up, count, 2 * inner, e, inner, inner, hidden, rows);
      mlp.down = loader.linear_of_stack(names.block + "experts.down_proj", count, hidden, e, 0, hidden, inner, columns);
    } else {
      mlp.gate = loader.expert_linear(prefix + names.gate + ".weight", inner, hidden, rows);
      mlp.up = loader.expert_linear(prefix + names.up + ".weight", inner, hidden, rows);
      mlp.down = loader.expert_linear(prefix + names.down + ".weight", hidden, inner, columns);
    }
    for (const Linear* linear : {&mlp.gate, &mlp.up, &mlp.down}) {
      moe.any_column_order = moe.any_column_order || linear->order.columns != nullptr;
    }
    moe.experts.push_back(mlp);
  }
  const auto all = [&](Linear Mlp::*kind) {
    std::vector<PackedMatrix> matrices;
    for (const Mlp& mlp : moe.experts) matrices.push_back((mlp.*kind).weights);
    return loader.place(std::span<const PackedMatrix>(matrices));
  };
  const auto orders = [&](Linear Mlp::*kind) {
    std::vector<const int32_t*> lists;
    for (const Mlp& mlp : moe.experts) lists.push_back((mlp.*kind).order.columns);
    return loader.place(std::span<const int32_t* const>(lists));
  };
  moe.gates = all(&Mlp::gate);
  moe.ups = all(&Mlp::up);
  moe.downs = all(&Mlp::down);
  moe.gate_columns = orders(&Mlp::gate);
  moe.up_columns = orders(&Mlp::up);
  moe.down_columns = orders(&Mlp::down);
  return moe;
}

DecoderLayer load_pre_norm_layer(WeightLoader& loader, int layer, const DecoderConfig& config,
                                 const AttentionNames& names, std::variant<Mlp, Moe> feed_forward) {
  const std::string prefix = layer_prefix(layer);
  const int64_t hidden = config.info.hidden_size;
  DecoderLayer result;
  result.attention_norm = loader.norm(prefix + "input_layernorm.weight", hidden, config.norm_eps);
  result.attention = load_attention(loader, prefix + "self_attn.", config, names);
  result.feed_forward_norm = loader.norm(prefix + "post_attention_layernorm.weight", hidden, config.norm_eps);
  result.feed_forward = std::move(feed_forward);
  return result;
}

void load_ends(WeightLoader& loader, const DecoderConfig& config, float norm_offset, DecoderParts& parts) {
  const int64_t vocab = config.info.vocab_size;
  const int64_t hidden = config.info.hidden_size;
  const std::string embedding = "model.embed_tokens.weight";
  parts.head.norm = loader.norm("model.norm.weight", hidden, config.norm_eps, norm_offset);
  const bool is_tied = config.info.tied_embeddings;
  parts.head.output = loader.linear(is_tied ? embedding : "lm_head.weight", vocab, hidden);
  parts.embedding.table = loader.table(embedding, vocab, hidden, is_tied ? &parts.head.output : nullptr);
}

std::unique_ptr<Model> finish_decoder(const WeightLoader& loader, DecoderConfig config, DecoderParts parts) {
  for (size_t i = 0; i < parts.layers.size(); ++i) config.info.windows[i] = parts.layers[i].attention.window;
  for (const RopeSettings& rope : parts.ropes) {
    if (rope.short_factors != rope.long_factors) config.info.rope_switch_length = rope.original_max_positions;
  }
  config.info.num_parameters = loader.num_parameters();
  return std::make_unique<Decoder>(std::move(config.info), std::move(parts));
}

}  // namespace quire
