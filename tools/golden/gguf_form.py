"""A fixture as a GGUF file, by the conventions of files that people have: names, metadata keys, and what is stored
differently from safetensors (Q and K rows of the "llama" family in rotation pairs, Gemma's norms with their one,
experts stacked, rotary factors as tensors)."""
import math

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen3": "qwen3",
                 "qwen3_moe": "qwen3moe", "gemma2": "gemma2", "gemma3_text": "gemma3", "phi3": "phi3"}
FILE_TYPES = {"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16,
              "BF16": gguf.LlamaFileType.MOSTLY_BF16, "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}


def _rotation_pairs(x, num_heads):
    """Rows (i, i + half) of a head become neighbours."""
    head_dim = x.shape[0] // num_heads
    halves = x.reshape(num_heads, 2, head_dim // 2, *x.shape[1:])
    return np.ascontiguousarray(np.swapaxes(halves, 1, 2)).reshape(x.shape)


def _rope(config):
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta"))
    return rope | {"type": rope.get("rope_type", rope.get("type", "default"))}


def _llama3_factors(config, rope):
    head_dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    wavelengths = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    turns = rope["original_max_position_embeddings"] / wavelengths
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - blend) / factor + blend)).astype(np.float32)


def _stack_experts(tensors):
    """Experts' matrices of a layer become one, [experts, rows, columns]."""
    out, stacks = {}, {}
    for name, x in tensors.items():
        if ".experts." in name:
            head, _, tail = name.partition(".experts.")
            expert, _, part = tail.partition(".")
            stacks.setdefault(f"{head}.experts.{part}", {})[int(expert)] = x
        else:
            out[name] = x
    for name, experts in stacks.items():
        name = name.replace("block_sparse_moe.experts", "feed_forward.experts").replace("model.layers", "layers") \
            if "block_sparse_moe" in name else name
        out[name] = np.stack([experts[i] for i in range(len(experts))])
    return out


def _tensors(config):
    """Turns published tensors into GGUF's, still float32 and under published names."""
    architecture = ARCHITECTURES[config["model_type"]]

    def turn(name, x):
        if architecture == "llama" and ".q_proj." in name:
            return _rotation_pairs(x, config["num_attention_heads"])
        if architecture == "llama" and ".k_proj." in name:
            return _rotation_pairs(x, config["num_key_value_heads"])
        return x + 1 if architecture.startswith("gemma") and name.endswith("norm.weight") else x

    return turn


def _add_rope_scaling(writer, config, rope):
    if rope["type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif rope["type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    elif rope["type"] == "longrope":
        original = config["original_max_position_embeddings"]
        stretch = config["max_position_embeddings"] / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(original)))


def _add_metadata(writer, config, architecture, file_type):
    rope, head_dim = _rope(config), config.get("head_dim")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if head_dim:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if architecture != "gemma2":
        writer.add_rope_freq_base(rope["rope_theta"])
        _add_rope_scaling(writer, config, rope)
    if architecture == "llama":
        writer.add_vocab_size(config["vocab_size"])
        writer.add_rope_dimension_count(head_dim or config["hidden_size"] // config["num_attention_heads"])
    if architecture == "phi3":
        width = int(config.get("partial_rotary_factor", 1.0) * config["hidden_size"])
        writer.add_rope_dimension_count(width // config["num_attention_heads"])
        writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
        writer.add_sliding_window(config.get("sliding_window") or 0)
    if architecture.startswith("gemma"):
        writer.add_sliding_window(config["sliding_window"])
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if architecture == "gemma3":
        writer.add_rope_freq_base_swa(config["rope_local_base_freq"])
    experts = config.get("num_local_experts", config.get("num_experts"))
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if architecture == "qwen3moe":
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


def _add_vocabulary(writer, size):
    """As many tokens as the model needs; their text is not used."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"\u2581w{i}" for i in range(3, size)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(size)])
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (size - len(kinds)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _stored_type(name, x, wanted):
    if x.ndim == 1 or "ffn_gate_inp" in name or wanted == "F32":
        return Type.F32
    if wanted != "Q4_0":
        return Type[wanted]
    return Type.Q4_0 if "attn" in name and "attn_v" not in name else Type.Q8_0  # a mix, as real files are


def quantised(fixture, tensors):
    """The values of the blocks of a block format, under published names."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, fixture.config["num_hidden_layers"])
    out = {}
    for name, x in tensors.items():
        kind = _stored_type(names.get_name(name, (".weight", ".bias")), x, fixture.gguf)
        out[name] = gguf.dequantize(gguf.quantize(x, kind), kind).astype(np.float32)
    return out


def write(fixture, tensors, folder):
    config, turn = fixture.config, _tensors(fixture.config)
    architecture = ARCHITECTURES[config["model_type"]]
    kind = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == architecture)
    names = gguf.get_tensor_name_map(kind, config["num_hidden_layers"])
    out = {}
    for name, x in _stack_experts({n: turn(n, x) for n, x in tensors.items()}).items():
        out[names.get_name(name, (".weight", ".bias"))] = x
    rope = _rope(config)
    if rope["type"] == "llama3":
        out["rope_freqs.weight"] = _llama3_factors(config, rope)
    if rope["type"] == "longrope":
        for which in ("long", "short"):
            out[f"rope_factors_{which}.weight"] = np.array(rope[f"{which}_factor"], np.float32)

    per_shard = math.ceil(len(out) / fixture.gguf_shards) if fixture.gguf_shards > 1 else 0
    writer = gguf.GGUFWriter(None, architecture, split_max_tensors=per_shard)
    writer.add_name(fixture.name)
    _add_metadata(writer, config, architecture, FILE_TYPES[fixture.gguf])
    _add_vocabulary(writer, config["vocab_size"])
    for name, x in out.items():
        stored = _stored_type(name, x, fixture.gguf)
        writer.add_tensor(name, gguf.quantize(x, stored), raw_dtype=stored)
    writer.write_header_to_file(folder / "model.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
