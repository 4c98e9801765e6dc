"""A model in PyTorch: its weights, its tokenizer, its hidden states.

A GGUF file or a checkpoint folder of a Llama with tied embeddings. Weights are dequantised to float32; they are the
model. save_folder writes a trained student in the form of the folder that it began as.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "demo_model"))
from export import gguf_name, rope_heads, split_halves  # noqa: E402
from llama import Config, Layer, Llama, rope_table  # noqa: E402, F401 (what the parts are built of)
from prepare import PATTERN  # noqa: E402
from train import optimisers  # noqa: E402, F401

LARGEST_WHOLE_VOCABULARY = 8192


def groups_of_like_length(lengths, most_tokens):
    """Lists of indices, each of which fills at most that many tokens when padded to its longest."""
    groups, group = [], []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and (len(group) + 1) * lengths[i] > most_tokens:
            groups.append(group)
            group = []
        group.append(i)
    return [*groups, group]


class Target:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        is_folder = self.path.is_dir()
        self.config, weights, self.tokenizer = (read_folder if is_folder else read_gguf)(self.path)
        self.model = Llama(self.config)
        self.model.load_state_dict(weights)
        self.model.eval().requires_grad_(False)
        self.head = self.model.model.embed_tokens.weight  # [vocab_size, hidden_size], the output matrix too

    @torch.no_grad()
    def hidden(self, texts):
        """texts: tensors of token ids. For each [tokens, hidden_size] in f16: after the final norm, as lm_head reads it."""
        states = [None] * len(texts)
        # A large vocabulary means a large model: half the bits, twice the speed.
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.vocab_size > LARGEST_WHOLE_VOCABULARY):
            for group in groups_of_like_length([len(t) for t in texts], 2048):
                padded = nn.utils.rnn.pad_sequence([texts[i] for i in group], batch_first=True)
                for i, row in zip(group, self.model.hidden(padded)):  # attention is causal: padding changes nothing
                    states[i] = row[:len(texts[i])].half()
        return states

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def load_compressed(path, quire, folder):
    """A model as Quire reads it from the files of any layout; `folder` is for a temporary file."""
    if path.suffix == ".gguf":
        return Target(path)
    floats = folder / "floats.gguf"
    subprocess.run([quire, "convert", path, floats, "--type", "f32", "--force"], check=True, stdout=subprocess.DEVNULL)
    return Target(floats)


def save_folder(model, source, out, float_modules=()):
    """Writes a model as a checkpoint folder; the other files are those of the folder `source`. Matrices are F16, but F32
    those of the modules that are named."""
    out.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.suffix in (".json", ".jinja", ".model") and file.name != "model.safetensors.index.json":
            shutil.copyfile(file, out / file.name)
    config = json.loads((source / "config.json").read_text())
    config.update({name: getattr(model.c, name) for name in ("num_hidden_layers", "intermediate_size")})
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    def stored(name, weight):
        is_float = weight.dim() == 1 or name.removesuffix(".weight") in float_modules
        return weight.detach().to(torch.float32 if is_float else torch.float16).contiguous()

    save_file({name: stored(name, weight) for name, weight in model.state_dict().items()}, out / "model.safetensors",
              metadata={"format": "pt"})


def read_folder(path):
    file = json.loads((path / "config.json").read_text())
    if not file.get("tie_word_embeddings") or file["architectures"] != ["LlamaForCausalLM"]:
        sys.exit(f"{path} is no Llama with tied embeddings; the training of small parts knows no other model")
    config = Config(**{name: file[name] for name in Config.__dataclass_fields__})
    weights = {name: w.float() for name, w in load_file(path / "model.safetensors").items() if name != "lm_head.weight"}
    return config, weights, Tokenizer.from_file(str(path / "tokenizer.json"))


def read_gguf(path):
    reader = gguf.GGUFReader(str(path))

    def value(name):
        field = reader.get_field(name)
        if field is None:
            sys.exit(f"{path} has no {name}; expected a GGUF file of a Llama with its tokenizer")
        return field.contents()

    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    if "output.weight" in tensors:
        sys.exit(f"{path} has an output matrix of its own; the training of small parts expects tied embeddings")
    config = Config(
        vocab_size=tensors["token_embd.weight"].shape[0], hidden_size=value("llama.embedding_length"),
        intermediate_size=value("llama.feed_forward_length"), num_hidden_layers=value("llama.block_count"),
        num_attention_heads=value("llama.attention.head_count"),
        num_key_value_heads=value("llama.attention.head_count_kv"),
        max_position_embeddings=value("llama.context_length"), rope_theta=value("llama.rope.freq_base"),
        rms_norm_eps=value("llama.attention.layer_norm_rms_epsilon"))
    weights = {}
    for name, parameter in Llama(config).state_dict().items():
        weight = tensors[gguf_name(name)].reshape(parameter.shape)
        if heads := rope_heads(config, name):
            weight = split_halves(weight, heads)
        weights[name] = torch.from_numpy(np.array(weight, np.float32))
    return config, weights, gguf_tokenizer(value)


def gguf_tokenizer(value):
    tokens = value("tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ")) for m in value("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pre = {"qwen2": [pre_tokenizers.Split(Regex(PATTERN), "isolated"), byte_level],
           "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]}
    kind = value("tokenizer.ggml.pre")
    if kind not in pre:
        sys.exit(f"the split pattern {kind} is unknown here; known: {', '.join(pre)}")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pre[kind])
    tokenizer.decoder = decoders.ByteLevel()
    types = value("tokenizer.ggml.token_type")
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False)
                                  for t, kind in zip(tokens, types) if kind == gguf.TokenType.CONTROL])
    return tokenizer
