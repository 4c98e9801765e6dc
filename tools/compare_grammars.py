#!/usr/bin/env python3
"""Guided decoding of XGrammar and llguidance on the files and the vocabulary of `quire bench grammar`, in its terms.

Needs the packages xgrammar, llguidance, tokenizers and torch. With --quire, that program is measured in the same run.

    tools/compare_grammars.py VOCABULARY FOLDER [--files N] [--quire build/release/bin/quire]

VOCABULARY is a folder with vocab.json and merges.txt of a byte-level BPE. Times are processor times of one thread.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time


def make_tokenizer(folder):
    """A tokenizers.Tokenizer of the folder's files, and the id of its end token."""
    import tokenizers
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

    vocabulary = json.loads((folder / "vocab.json").read_text())
    merges = [
        tuple(line.split(" "))
        for line in (folder / "merges.txt").read_text().splitlines()
        if line and not line.startswith("#version")
    ]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    split = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    config = folder / "tokenizer_config.json"
    added = json.loads(config.read_text()).get("added_tokens_decoder", {}) if config.exists() else {}
    for number in sorted(added, key=int):
        tokenizer.add_special_tokens([tokenizers.AddedToken(added[number]["content"], special=True)])
    return tokenizer, tokenizer.token_to_id("<|endoftext|>")


class XGrammar:
    name = "xgrammar"

    def __init__(self, tokenizer, eos):
        import xgrammar

        self.library = xgrammar
        size = tokenizer.get_vocab_size()
        words = [""] * size
        for word, number in tokenizer.get_vocab().items():
            words[number] = word
        info = xgrammar.TokenizerInfo(
            words, vocab_type=xgrammar.VocabType.BYTE_LEVEL, vocab_size=size, stop_token_ids=[eos]
        )
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.mask = xgrammar.allocate_token_bitmask(1, size)
        self.words = self.mask.numpy()[0]

    def compile(self, schema):
        return self.compiler.compile_json_schema(schema)

    def begin(self, grammar):
        self.matcher = self.library.GrammarMatcher(grammar)

    def fill(self):
        self.matcher.fill_next_token_bitmask(self.mask)

    def allows(self, token):
        return (int(self.words[token // 32]) >> (token % 32)) & 1

    def accept(self, token):
        self.matcher.accept_token(token)


class LlGuidance:
    name = "llguidance"

    def __init__(self, tokenizer, eos):
        import llguidance

        self.library = llguidance
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "tokenizer.json"
            tokenizer.save(str(path))
            self.tokenizer = llguidance.LLTokenizer(str(path), eos_token=eos)

    def compile(self, schema):
        grammar = self.library.LLMatcher.grammar_from_json_schema(schema)
        matcher = self.library.LLMatcher(self.tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def begin(self, grammar):
        self.matcher = grammar.deep_copy()

    def fill(self):
        self.mask = self.matcher.compute_bitmask()

    def allows(self, token):
        return (self.mask[token // 8] >> (token % 8)) & 1

    def accept(self, token):
        self.matcher.consume_token(token)


def quantile(values, q):
    return sorted(values)[int(q * (len(values) - 1))] if values else 0.0


def measure(engine, files, tokenizer, eos):
    result = dict.fromkeys(
        ("schemas", "refused", "valid", "valid_blocked", "invalid", "invalid_passed", "failed"), 0
    )
    masks, compiles = [], []

    def timed(values, action):
        begin = time.thread_time_ns()
        value = action()
        values.append((time.thread_time_ns() - begin) / 1000)
        return value

    def passes(tokens):
        for token in [*tokens, eos]:
            timed(masks, engine.fill)
            if not engine.allows(token):
                return False
            if token != eos:
                engine.accept(token)
        return True

    for path in files:
        file = json.loads(path.read_text())
        result["schemas"] += 1
        schema = json.dumps(file["schema"])
        try:
            grammar = timed(compiles, lambda: engine.compile(schema))
        except Exception:
            result["refused"] += 1
            continue
        for test in file["tests"]:
            text = json.dumps(test["data"], ensure_ascii=False)
            kind = "valid" if test["valid"] else "invalid"
            result[kind] += 1
            try:
                engine.begin(grammar)
                passed = passes(tokenizer.encode(text, add_special_tokens=False).ids)
            except Exception:
                result["failed"] += 1
                passed = False
            if passed != test["valid"]:
                result["valid_blocked" if test["valid"] else "invalid_passed"] += 1
    result["masks"] = len(masks)
    result["mask_mean_us"] = sum(masks) / max(1, len(masks))
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1)):
        result[f"mask_{name}_us"] = quantile(masks, q)
    for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1)):
        result[f"compile_{name}_us"] = quantile(compiles, q)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabulary", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--files", type=int, default=0)
    parser.add_argument("--quire")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.json"))
    if 0 < options.files < len(files):
        files = [files[i * len(files) // options.files] for i in range(options.files)]
    tokenizer, eos = make_tokenizer(options.vocabulary)
    results = {}
    if options.quire:
        command = [options.quire, "bench", "grammar", options.vocabulary, options.folder, "--json"]
        printed = subprocess.run([*command, "--files", str(options.files)], check=True, capture_output=True, text=True)
        results["quire"] = json.loads(printed.stdout.splitlines()[-1])
    for kind in (LlGuidance, XGrammar):
        results[kind.name] = measure(kind(tokenizer, eos), files, tokenizer, eos)
    print(f"{'':>16}" + "".join(f"{name:>12}" for name in results))
    for row in results["llguidance"]:
        values = [result.get(row, "") for result in results.values()]
        print(f"{row:>16}" + "".join(f"{v:>12.1f}" if isinstance(v, float) else f"{v:>12}" for v in values))


if __name__ == "__main__":
    main()
