"""Writes a GGUF file of the Llama family as a Hugging Face folder, for programs that read nothing else.

    checkpoint.py MODEL.gguf FOLDER [--weights bf16|int8]

bf16: the file's weights, rounded. int8: compressed-tensors' W8A8, a scale per row, activations quantised per token.
The tokenizer has the file's tokens and merges but a plain split of the text into words: benchmarks send token ids.
Needs gguf, numpy, and torch with safetensors.
"""

import argparse
import json
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

LAYER_NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
OTHER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def published_name(name):
    parts = name.removesuffix(".weight").split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.weight"
    return OTHER_NAMES[parts[0]] + ".weight"


def from_rotation_pairs(x, heads):
    """Neighbouring rows of a head become (i, i + half), as published checkpoints have them."""
    return x.reshape(heads, x.shape[0] // heads // 2, 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)


def tensors_of(reader, heads, kv_heads):
    """Published names with float32 arrays, one at a time."""
    for tensor in reader.tensors:
        x = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name:
            x = from_rotation_pairs(x, heads)
        elif ".attn_k." in tensor.name:
            x = from_rotation_pairs(x, kv_heads)
        yield published_name(tensor.name), np.array(x, np.float32)


def int8_rows(name, x):
    scale = np.maximum(np.abs(x).max(axis=1, keepdims=True), 1e-9) / 127
    codes = np.clip(np.rint(x / scale), -127, 127).astype(np.int8)
    return {name: torch.from_numpy(codes), name + "_scale": torch.from_numpy(scale)}


QUANTIZATION = {
    "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
    "ignore": ["lm_head"], "kv_cache_scheme": None,
    "config_groups": {"group_0": {
        "targets": ["Linear"],
        "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True, "dynamic": False},
        "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True}}}}


def write_tokenizer(value, vocab_size, folder):
    tokens = value("tokenizer.ggml.tokens")
    types = value("tokenizer.ggml.token_type")
    special = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, (token, kind) in enumerate(zip(tokens, types)) if kind == gguf.TokenType.CONTROL]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens[:vocab_size])},
                  "merges": [merge.split(" ", 1) for merge in value("tokenizer.ggml.merges")]}}))
    end = tokens[value("tokenizer.ggml.eos_token_id")]
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": end,
         "clean_up_tokenization_spaces": False}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--weights", choices=["bf16", "int8"], default="bf16")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(args.model)

    def value(name):
        field = reader.get_field(name)
        if field is None:
            raise SystemExit(f"{args.model} has no {name}; expected a GGUF file of the Llama family with its vocabulary")
        return field.contents()

    if value("general.architecture") != "llama":
        raise SystemExit(f"{args.model} is a model of the family {value('general.architecture')}; only llama is known here")
    heads, kv_heads = value("llama.attention.head_count"), value("llama.attention.head_count_kv")
    tensors = {}
    for name, x in tensors_of(reader, heads, kv_heads):
        if args.weights == "int8" and name.endswith("_proj.weight"):
            tensors |= int8_rows(name, x)
        else:
            tensors[name] = torch.from_numpy(x).bfloat16()
    vocab_size, hidden = tensors["model.embed_tokens.weight"].shape
    end = value("tokenizer.ggml.eos_token_id")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
        "vocab_size": vocab_size, "hidden_size": hidden, "num_hidden_layers": value("llama.block_count"),
        "intermediate_size": value("llama.feed_forward_length"), "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": hidden // heads,
        "max_position_embeddings": value("llama.context_length"),
        "rms_norm_eps": value("llama.attention.layer_norm_rms_epsilon"), "rope_theta": value("llama.rope.freq_base"),
        "tie_word_embeddings": "lm_head.weight" not in tensors, "attention_bias": False, "mlp_bias": False,
        "bos_token_id": end, "eos_token_id": end}
    if args.weights == "int8":
        config["quantization_config"] = QUANTIZATION
    save_file(tensors, args.folder / "model.safetensors", metadata={"format": "pt"})
    (args.folder / "config.json").write_text(json.dumps(config, indent=1))
    write_tokenizer(value, vocab_size, args.folder)


if __name__ == "__main__":
    main()
