#!/usr/bin/env python3
"""Writes tests/data/tokenizers/bos_eos.json: which tokens Transformers puts around a text.

tokenizer.json has a post-processor, tokenizer_config.json has add_bos_token and add_eos_token, and the two may
contradict. For every pair of a tokenizer class and a post-processor, and for every pair of flags, the file has the ids
of "hello" by tests/data/tokenizers/llama2.json (<s> 1, </s> 2). Needs transformers 4.57.6: version 5 ignores the flags
for every class.

    tools/bos_eos_oracle.py
"""
import json
import pathlib
import tempfile

from transformers import AutoTokenizer

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/data/tokenizers"
CLASSES = ["PreTrainedTokenizerFast", "LlamaTokenizerFast", "LlamaTokenizer", "GemmaTokenizerFast", "CodeLlamaTokenizerFast",
           "CohereTokenizerFast", "Qwen2TokenizerFast", "GPT2TokenizerFast"]
FLAGS = [None, False, True]


def template(bos, eos):
    around = {"<s>": 1, "</s>": 2}
    token = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    single = [token("<s>")] * bos + [{"Sequence": {"id": "A", "type_id": 0}}] + [token("</s>")] * eos
    used = ["<s>"] * bos + ["</s>"] * eos
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {name: {"id": name, "ids": [around[name]], "tokens": [name]} for name in used}}


POST_PROCESSORS = [None, template(False, False), template(True, False), template(False, True), template(True, True)]


def encode(tokenizer_json, config):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json))
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return AutoTokenizer.from_pretrained(folder)("hello")["input_ids"]


def main():
    description = json.loads((FOLDER / "llama2.json").read_text())
    cases = []
    for class_name in CLASSES:
        for post_processor in POST_PROCESSORS:
            for add_bos in FLAGS:
                for add_eos in FLAGS:
                    config = {"tokenizer_class": class_name, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
                    if add_bos is not None:
                        config["add_bos_token"] = add_bos
                    if add_eos is not None:
                        config["add_eos_token"] = add_eos
                    ids = encode({**description, "post_processor": post_processor}, config)
                    cases.append({"config": config, "post_processor": POST_PROCESSORS.index(post_processor), "ids": ids})
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    processors = ",\n  ".join(json.dumps(processor) for processor in POST_PROCESSORS)
    (FOLDER / "bos_eos.json").write_text(
        '{"post_processors": [\n  ' + processors + '\n ],\n "cases": [\n  ' + lines + "\n ]}\n")


if __name__ == "__main__":
    main()
