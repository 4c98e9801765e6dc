#!/usr/bin/env python3
"""Writes tests/golden_embeddings/: a tiny seeded decoder for embeddings as sentence-transformers saves one (no output
matrix, names without "model.", its modules beside it), and the vectors that sentence-transformers gives for it on the
CPU in float32, for every way of pooling.

    pip install -r tools/golden/requirements.txt sentence-transformers==6.2.0 && tools/golden/make_embeddings.py
"""
import json
import pathlib
import shutil
import tempfile

import numpy as np
import safetensors.torch
import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer, models
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden_embeddings"
VOCAB, HIDDEN, NUM_TOKENS = 96, 32, 45  # crosses the KV block border at 32
MODES = ["mean", "cls", "lasttoken"]
KEPT = ["config.json", "modules.json", "model.safetensors", "1_Pooling/config.json"]


def write_plain(folder):
    """The decoder and a tokenizer of words, which sentence-transformers wants to see; weights are stored as bf16."""
    config = transformers.Qwen3Config(
        vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=128, tie_word_embeddings=False)
    torch.manual_seed(7)
    model = transformers.Qwen3Model(config)
    for parameter in model.parameters():
        spread = 0.3 if parameter.dim() == 2 else 1.0
        parameter.data = (torch.randn_like(parameter) * spread).bfloat16().float()
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w0").save_pretrained(folder)


def main():
    tokens = np.random.default_rng(7).integers(0, VOCAB, NUM_TOKENS).tolist()
    text = " ".join(f"w{token}" for token in tokens)
    vectors = {}
    with tempfile.TemporaryDirectory() as plain, tempfile.TemporaryDirectory() as saved:
        write_plain(plain)
        for mode in MODES:  # the last is the one that is kept
            model = SentenceTransformer(modules=[models.Transformer(plain), models.Pooling(HIDDEN, pooling_mode=mode)],
                                        device="cpu")
            vectors[mode] = [float(x) for x in model.encode(text)]
        SentenceTransformer(modules=[models.Transformer(plain), models.Pooling(HIDDEN, pooling_mode=MODES[-1]),
                                     models.Normalize()]).save(saved)
        shutil.rmtree(OUT, ignore_errors=True)
        for name in KEPT:
            (OUT / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(pathlib.Path(saved) / name, OUT / name)
    weights = safetensors.torch.load_file(OUT / "model.safetensors")
    safetensors.torch.save_file({name: x.bfloat16() for name, x in weights.items()}, OUT / "model.safetensors",
                                {"format": "pt"})
    made_with = (f"sentence-transformers {sentence_transformers.__version__}, "
                 f"transformers {transformers.__version__}, torch {torch.__version__}, float32, CPU")
    (OUT / "vectors.json").write_text(
        json.dumps({"tokens": tokens, "vectors": vectors, "made_with": made_with}) + "\n")


if __name__ == "__main__":
    main()
