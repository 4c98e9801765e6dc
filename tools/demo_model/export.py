"""Writes a trained checkpoint as a Hugging Face directory (float32) and as a GGUF file (Q8_0), and checks both.

    python export.py WORK demo --hf DIR --gguf FILE
"""

import argparse
import json
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from llama import CONFIGS, Llama
from world import BOS, END, EOT, SPECIALS

TITLES = {"demo": "Quire demo", "small": "Quire demo small"}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('Unknown role: ' + message['role']) }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")

TENSOR_NAMES = {"embed_tokens": "token_embd", "norm": "output_norm"}
LAYER_TENSOR_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(name):
    """model.layers.3.mlp.up_proj.weight -> blk.3.ffn_up.weight"""
    stem = name.removeprefix("model.").removesuffix(".weight")
    if stem in TENSOR_NAMES:
        return TENSOR_NAMES[stem] + ".weight"
    _, layer, rest = stem.split(".", 2)
    return f"blk.{layer}.{LAYER_TENSOR_NAMES[rest]}.weight"


def interleave(weight, heads):
    """Rows of Q or K from the half-split pairing of RoPE (i with i + d/2) to GGUF's (2i with 2i + 1)."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def split_halves(weight, heads):
    """The inverse of interleave."""
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def rope_heads(c, name):
    return c.num_attention_heads if "q_proj" in name else c.num_key_value_heads if "k_proj" in name else 0


def load_checkpoint(path, name):
    model = Llama(CONFIGS[name])
    model.load_state_dict(torch.load(path)["model"])
    return model.eval()


def write_hf(model, tokenizer_path, directory):
    directory.mkdir(parents=True, exist_ok=True)
    c, tokenizer = model.c, Tokenizer.from_file(str(tokenizer_path))
    ids = {token: tokenizer.token_to_id(token) for token in SPECIALS}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size, "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.num_hidden_layers, "num_attention_heads": c.num_attention_heads,
        "num_key_value_heads": c.num_key_value_heads, "head_dim": c.head_dim,
        "max_position_embeddings": c.max_position_embeddings, "rope_theta": c.rope_theta, "rope_scaling": None,
        "rms_norm_eps": c.rms_norm_eps, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": True, "bos_token_id": ids[BOS], "eos_token_id": [ids[EOT], ids[END]],
        "torch_dtype": "float32"}
    generation = {"bos_token_id": ids[BOS], "eos_token_id": [ids[EOT], ids[END]]}
    tokens = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOT,
              "model_max_length": c.max_position_embeddings, "clean_up_tokenization_spaces": False,
              "chat_template": CHAT_TEMPLATE}
    for file, value in (("config.json", config), ("generation_config.json", generation),
                        ("tokenizer_config.json", tokens)):
        (directory / file).write_text(json.dumps(value, indent=2) + "\n")
    (directory / "tokenizer.json").write_bytes(pathlib.Path(tokenizer_path).read_bytes())
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, str(directory / "model.safetensors"),
              metadata={"format": "pt"})


def write_gguf_tokenizer(writer, tokenizer_path):
    file = json.loads(pathlib.Path(tokenizer_path).read_text())
    vocabulary = file["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    special = {t["content"] for t in file["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in file["model"]["merges"]])
    writer.add_bos_token_id(vocabulary[BOS])
    writer.add_eos_token_id(vocabulary[EOT])
    writer.add_eot_token_id(vocabulary[END])
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_gguf(model, title, tokenizer_path, path):
    c = model.c
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(title)
    writer.add_description("A very small language model of a made-up world, trained from scratch for Quire")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_vocab_size(c.vocab_size)
    write_gguf_tokenizer(writer, tokenizer_path)
    for name, tensor in model.state_dict().items():
        weight = tensor.numpy().astype(np.float32)
        if heads := rope_heads(c, name):
            weight = np.ascontiguousarray(interleave(weight, heads))
        if weight.ndim == 1:
            writer.add_tensor(gguf_name(name), weight)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(gguf_name(name), gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load_gguf(path):
    """The model in a GGUF file that write_gguf wrote, its weights back in float32."""
    reader = gguf.GGUFReader(str(path))
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    width = int(reader.get_field("llama.embedding_length").parts[-1][0])
    model = Llama(next(c for c in CONFIGS.values() if c.hidden_size == width))
    state = {}
    for name, parameter in model.state_dict().items():
        weight = tensors[gguf_name(name)].reshape(parameter.shape)
        if heads := rope_heads(model.c, name):
            weight = split_halves(weight, heads)
        state[name] = torch.from_numpy(np.array(weight, np.float32))
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def check(model, hf_directory, gguf_path):
    """Logits of the checkpoint against those of the two files, on random tokens."""
    from transformers import AutoTokenizer, LlamaForCausalLM
    ids = torch.randint(0, model.c.vocab_size, (2, 200), generator=torch.Generator().manual_seed(1))
    expected = model(ids)
    hf = (LlamaForCausalLM.from_pretrained(hf_directory, dtype=torch.float32).eval()(ids).logits - expected).abs().max()
    quantised = load_gguf(gguf_path)(ids) - expected
    print(f"largest logit {expected.abs().max():.2f}; error: Hugging Face {hf:.1e}, "
          f"GGUF {quantised.abs().max():.1e} (root mean square {quantised.square().mean().sqrt():.1e})")
    assert hf < 1e-3 and quantised.abs().max() < 0.05 * expected.abs().max()
    tokenizer = AutoTokenizer.from_pretrained(hf_directory)
    messages = [{"role": "user", "content": "What is 2 + 3?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|begin_of_text|><|user|>What is 2 + 3?<|end|><|assistant|>", text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("--hf", type=pathlib.Path, required=True)
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    options = parser.parse_args()
    model = load_checkpoint(options.work / f"{options.name}.pt", options.name)
    write_hf(model, options.work / "tokenizer.json", options.hf)
    write_gguf(model, TITLES[options.name], options.work / "tokenizer.json", options.gguf)
    check(model, options.hf, options.gguf)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {options.gguf.stat().st_size} bytes")


if __name__ == "__main__":
    main()
