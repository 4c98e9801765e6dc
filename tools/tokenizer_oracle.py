#!/usr/bin/env python3
"""Writes tests/data/tokenizers: small tokenizers with texts and the ids that their own libraries give.

Needs the Python packages tokenizers and sentencepiece; the C++ tests need only the files. The texts are seeded; the
trainers break ties by their own hash order, so a new run may write other vocabularies that test the same. A case file is a list of
{"text", "ids", "special", "plain", "decoded"}: ids without and with the post-processor's tokens, ids with special tokens
read as text, and the text that the first ids decode to.

    tools/tokenizer_oracle.py [--cases N] [--seed N] [--out DIR]
"""
import argparse
import contextlib
import json
import pathlib
import random
import tempfile
import unicodedata

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + LINES
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + LINES
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS +
         r"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS +
         r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + LINES)
DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
             r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" +
             LINES]
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, isn't it? I'll say we've seen 1234567 of them!",
    "Der schnelle braune Fuchs überspringt den faulen Hund; größere Straßen führen nach Köln.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "敏捷的棕色狐狸跳过了懒狗。今天天气很好，我们去公园吧。", "いろはにほへと ちりぬるを、カタカナもあります。",
    "def main(argv):\n    return {'a': 1, \"b\": [2, 3.5]}\n\n\tif x == y:\r\n\t\tpass", "زَرَافَة تَعِيش فِي السَّافَانَا",
    "नमस्ते दुनिया, कैसे हो?", "한국어 문장입니다. 안녕하세요!", "e\u0301cole \ufb01n \u00bd \u2460 \u1e9b\u0323 \U0001f468\u200d\U0001f469\u200d\U0001f467",
]
CHARACTERS = [c for c in range(1, 0x20000)
              if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co") and not 0xAC00 <= c < 0xD7A4 and not 0x3400 <= c < 0xA000]
ODD = [0x301, 0x316, 0x308, 0x2581, 0x17F, 0x130, 0x212A, 0xFB01, 0xFDFA, 0x1E9E, 0x200D, 0x200C, 0x200B, 0xFE0F, 0x1F468,
       0xFFFD, 0xFEFF, 0x4E2D, 0xAC00, 0x1100, 0x1161, 0x11A8, 0x3042, 0x661, 0xBD, 0x5F, 0x39E, 0xE31, 0x180E, 0x1E130]
BLANKS = [9, 10, 13, 32, 32, 32, 0xA0, 0x3000, 0x85, 0x2028]


def random_text(rng, extra):
    words = " ".join(SENTENCES).split(" ")
    parts = []
    for _ in range(rng.randint(1, rng.choice([3, 8, 16]))):
        kind = rng.random()
        if kind < 0.40:
            parts.append(rng.choice(words) + rng.choice(["", " "]))
        elif kind < 0.50:
            parts += [chr(rng.randrange(32, 127)) for _ in range(rng.randint(1, 5))]
        elif kind < 0.62:
            parts += [chr(rng.choice(BLANKS)) for _ in range(rng.randint(1, 4))]
        elif kind < 0.72:
            parts += [chr(rng.choice(ODD)) for _ in range(rng.randint(1, 4))]
        elif kind < 0.84:
            parts += [chr(rng.choice(CHARACTERS)) for _ in range(rng.randint(1, 3))]
        elif extra and kind < 0.94:
            parts.append(rng.choice(extra))
        else:
            parts.append(rng.choice(["'S", "'ſ", "12345678", "...", "\r\n", "  ", "<0x0A>", "x_y", "Ġ", "▁"]))
    return "".join(parts)


def split(*expressions):
    steps = [pre_tokenizers.Split(Regex(e), "isolated") for e in expressions]
    return pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(tokenizer, trainer):
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    return tokenizer


def byte_level(pre_tokenizer, normalizer=None, post=None, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, trainers.BpeTrainer(vocab_size=500, show_progress=False, special_tokens=["<|end|>", "<s>"],
                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if post:
        tokenizer.post_processor = post
    return tokenizer


def template(single, tokens):
    return processors.TemplateProcessing(single=single, special_tokens=tokens)


def with_added(tokenizer):
    tokenizer.add_tokens([AddedToken("[L]", lstrip=True), AddedToken("[R]", rstrip=True, normalized=False),
                          AddedToken("Word", single_word=True, normalized=True), AddedToken("[B]", lstrip=True, rstrip=True)])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True), AddedToken("<mask>x", special=True)])
    return tokenizer


def sentencepiece_like(model, trainer, pre=None, norm=None, decoder=None, post=None):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre or pre_tokenizers.Metaspace()
    tokenizer.decoder = decoder or decoders.Metaspace()
    if norm:
        tokenizer.normalizer = norm
    train(tokenizer, trainer)
    if post:
        tokenizer.post_processor = post
    return tokenizer


def llama2():
    """Sentencepiece BPE as Llama 2's tokenizer.json writes it: no pre-tokenizer, byte fallback."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    train(tokenizer, trainers.BpeTrainer(vocab_size=600, show_progress=False, limit_alphabet=60, max_token_length=8,
                                         special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]))
    tokenizer.post_processor = template("<s> $A", [("<s>", 1)])
    return without_added_bytes(json.loads(tokenizer.to_str()))


def without_added_bytes(description):
    """The trainers can reserve byte pieces only as special tokens; in published files they are ordinary pieces."""
    description["added_tokens"] = [t for t in description["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(description))


def unigram(byte_fallback, norm):
    tokens = ["<unk>", "<s>", "</s>"] + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    tokenizer = sentencepiece_like(
        models.Unigram(), trainers.UnigramTrainer(vocab_size=400 + len(tokens), show_progress=False, unk_token="<unk>",
                                                  special_tokens=tokens),
        pre=pre_tokenizers.Metaspace(prepend_scheme="first" if byte_fallback else "always"), norm=norm,
        post=template("$A </s>", [("</s>", 2)]))
    if byte_fallback:
        description = json.loads(tokenizer.to_str())
        description["model"]["byte_fallback"] = True
        description["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, description["decoder"]]}
        tokenizer = without_added_bytes(description)
    return tokenizer


def wordpiece(bert_post):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    train(tokenizer, trainers.WordPieceTrainer(vocab_size=400, show_progress=False, special_tokens=["[UNK]", "[CLS]", "[SEP]"]))
    tokenizer.post_processor = bert_post
    return tokenizer


def end_of_word():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                                 normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder()
    return train(tokenizer, trainers.BpeTrainer(vocab_size=400, show_progress=False, special_tokens=["<unk>"],
                                                end_of_word_suffix="</w>"))


def tokenizers_by_name(charsmap):
    precompiled = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")])
    return {
        "gpt2": with_added(byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True),
                                      post=processors.RobertaProcessing(("<|end|>", 0), ("<s>", 1)))),
        "llama3": with_added(byte_level(split(LLAMA3), ignore_merges=True, post=processors.Sequence(
            [processors.ByteLevel(), template("<s> $A", [("<s>", 1)])]))),
        "qwen2": byte_level(split(QWEN2), normalizers.NFC()),
        "gpt4o": byte_level(split(GPT4O)),
        "deepseek3": byte_level(split(*DEEPSEEK3)),
        "bloom": byte_level(split(BLOOM)),
        "starcoder": byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                         pre_tokenizers.ByteLevel(add_prefix_space=False)])),
        "llama2": with_added(llama2()),
        "unigram": with_added(unigram(False, precompiled)),
        "unigram_bytes": unigram(True, normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])),
        "wordpiece": with_added(wordpiece(processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1)))),
        "end_of_word": end_of_word(),
    }


# A character map small enough to commit, with replacements by a character, by a sequence and by nothing.
RULES = ([(f"{c:X}", f"{c - 0xFEE0:X}") for c in range(0xFF01, 0xFF5F)] + [(f"{c:X}", f"{c + 32:X}") for c in range(65, 91)] +
         [("FB01", "66 69"), ("65 301", "E9"), ("61 308", "E4"), ("200B", ""), ("3000", "20"), ("A0", "20"),
          ("9", "20"), ("A", "20"), ("BD", "31 2044 32"), ("FDFA", "635 644 649 20 627 644 644 647"), ("1F468 200D", "6D")])


def sentencepiece_model(directory, name, **options):
    rules = directory / "rules.tsv"
    rules.write_text("".join(f"{source}\t{target}\n" for source, target in RULES))
    if options.pop("rules", False):
        options["normalization_rule_tsv"] = rules.name
    corpus = directory / "corpus.txt"
    corpus.write_text("\n".join(s.replace("\n", " ") for s in SENTENCES * 3), encoding="utf-8")
    with contextlib.chdir(directory):  # the model file records the names it was given
        sentencepiece.SentencePieceTrainer.train(input=corpus.name, model_prefix=name, minloglevel=2,
                                                 character_coverage=0.98, num_threads=1, **options)
    return (directory / f"{name}.model").read_bytes()


SENTENCEPIECE = {
    "sp_bpe_bytes": dict(model_type="bpe", vocab_size=700, byte_fallback=True, normalization_rule_name="identity",
                         remove_extra_whitespaces=False, user_defined_symbols=["<sep>", "  "]),
    "sp_bpe": dict(model_type="bpe", vocab_size=450, rules=True),
    "sp_unigram_bytes": dict(model_type="unigram", vocab_size=700, byte_fallback=True, hard_vocab_limit=False,
                             normalization_rule_name="identity", user_defined_symbols=["<sep>"], split_digits=True),
    "sp_unigram": dict(model_type="unigram", vocab_size=450, hard_vocab_limit=False, normalization_rule_name="identity",
                       treat_whitespace_as_suffix=True, control_symbols=["<ctl>"]),
}


def charsmap_of(model):
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    return proto.normalizer_spec.precompiled_charsmap


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=60, help="random texts for each tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="tests/data/tokenizers")
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(options.seed)
    write = lambda name, cases: (out / name).write_text(json.dumps(cases, ensure_ascii=True) + "\n")

    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        charsmap = charsmap_of(sentencepiece_model(directory, "map", model_type="bpe", vocab_size=450, rules=True))
        for name, settings in SENTENCEPIECE.items():
            model = sentencepiece_model(directory, name, **dict(settings))
            (out / f"{name}.model").write_bytes(model)
            processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            texts = SENTENCES + [random_text(rng, ["<sep>", "  "]) for _ in range(options.cases)]
            write(f"{name}.cases.json", [{"text": t, "plain": processor.encode(t), "decoded": processor.decode(processor.encode(t))}
                                         for t in texts])
    for name, tokenizer in tokenizers_by_name(charsmap).items():
        (out / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=True) + "\n")
        extra = [t.content for t in tokenizer.get_added_tokens_decoder().values() if not t.content.startswith("<0x")]
        texts = SENTENCES + [random_text(rng, extra) for _ in range(options.cases)]
        cases = []
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            cases.append({"text": text, "ids": ids, "special": tokenizer.encode(text).ids,
                          "decoded": tokenizer.decode(ids, skip_special_tokens=True)})
        tokenizer.encode_special_tokens = True
        for case in cases:
            case["plain"] = tokenizer.encode(case["text"], add_special_tokens=False).ids
        write(f"{name}.cases.json", cases)


if __name__ == "__main__":
    main()
