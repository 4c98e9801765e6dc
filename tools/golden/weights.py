"""Tensors of a tiny model under their published names, drawn so that attention, rotation and routing matter.

Gains are those of variance-preserving layers, a little above one: scores of attention spread over a few units, so that
which position is looked at decides, and the residual stream keeps what every layer adds.
"""
import zlib

import numpy as np


def _generator(*names):
    return np.random.default_rng([zlib.crc32(name.encode()) for name in names])


def _mlp(prefix, hidden, width, bias):
    for part, rows, columns in (("gate_proj", width, hidden), ("up_proj", width, hidden), ("down_proj", hidden, width)):
        yield f"{prefix}.{part}.weight", (rows, columns), "linear"
        if bias:
            yield f"{prefix}.{part}.bias", (rows,), "bias"


def _is_sparse(c, layer):
    if c["model_type"] == "mixtral":
        return True
    return (c["model_type"] == "qwen3_moe" and layer not in c.get("mlp_only_layers", [])
            and (layer + 1) % c.get("decoder_sparse_step", 1) == 0)


def _feed_forward(c, layer, prefix):
    hidden, kind = c["hidden_size"], c["model_type"]
    if kind == "phi3":
        yield f"{prefix}.mlp.gate_up_proj.weight", (2 * c["intermediate_size"], hidden), "linear"
        yield f"{prefix}.mlp.down_proj.weight", (hidden, c["intermediate_size"]), "linear"
    elif not _is_sparse(c, layer):
        yield from _mlp(f"{prefix}.mlp", hidden, c["intermediate_size"], c.get("mlp_bias", False))
    elif kind == "mixtral":
        block = f"{prefix}.block_sparse_moe"
        yield f"{block}.gate.weight", (c["num_local_experts"], hidden), "router"
        for expert in range(c["num_local_experts"]):
            for part, shape in (("w1", (c["intermediate_size"], hidden)), ("w2", (hidden, c["intermediate_size"])),
                                ("w3", (c["intermediate_size"], hidden))):
                yield f"{block}.experts.{expert}.{part}.weight", shape, "linear"
    else:
        yield f"{prefix}.mlp.gate.weight", (c["num_experts"], hidden), "router"
        for expert in range(c["num_experts"]):
            yield from _mlp(f"{prefix}.mlp.experts.{expert}", hidden, c["moe_intermediate_size"], False)


def _attention(c, prefix):
    hidden, kind = c["hidden_size"], c["model_type"]
    head_dim = c.get("head_dim", hidden // c["num_attention_heads"])
    queries, keys = c["num_attention_heads"] * head_dim, c["num_key_value_heads"] * head_dim
    if kind == "phi3":
        yield f"{prefix}.qkv_proj.weight", (queries + 2 * keys, hidden), "qk"
    else:
        bias = c.get("attention_bias", False) or kind == "qwen2"
        for part, rows, gain in (("q_proj", queries, "qk"), ("k_proj", keys, "qk"), ("v_proj", keys, "linear")):
            yield f"{prefix}.{part}.weight", (rows, hidden), gain
            if bias:
                yield f"{prefix}.{part}.bias", (rows,), "bias"
        if c.get("attention_bias", False):
            yield f"{prefix}.o_proj.bias", (hidden,), "bias"
    yield f"{prefix}.o_proj.weight", (hidden, queries), "linear"
    if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
        yield f"{prefix}.q_norm.weight", (head_dim,), "head_norm"
        yield f"{prefix}.k_norm.weight", (head_dim,), "head_norm"


def _shapes(c):
    hidden = c["hidden_size"]
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden), "embedding"
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        norms = ["input_layernorm", "post_attention_layernorm"]
        if c["model_type"].startswith("gemma"):
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for norm in norms:
            yield f"{prefix}.{norm}.weight", (hidden,), "norm"
        yield from _attention(c, f"{prefix}.self_attn")
        yield from _feed_forward(c, layer, prefix)
    yield "model.norm.weight", (hidden,), "norm"
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (c["vocab_size"], hidden), "linear"


def draw(fixture):
    """{name: float32 array}, from the names alone: adding a tensor or a fixture changes no other."""
    one = 0.0 if fixture.config["model_type"].startswith("gemma") else 1.0  # Gemma stores a norm less its one
    tensors = {}
    for name, shape, kind in _shapes(fixture.config):
        x = _generator(fixture.name, name).standard_normal(shape).astype(np.float32)
        if kind == "norm":
            x = one + 0.2 * x
        elif kind == "head_norm":
            x = one + 0.4 + 0.2 * x
        elif kind == "bias":
            x = 0.4 * x
        elif kind != "embedding":
            x *= {"linear": 1.1, "qk": 1.4, "router": 1.5}[kind] / np.sqrt(shape[-1])
        tensors[name] = x.astype(np.float32)
    return tensors
