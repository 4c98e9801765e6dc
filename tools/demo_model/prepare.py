"""Writes the training set: the tokenizer, trained on the small world's text, and packed rows of token ids.

    python prepare.py WORK [--documents N]

Short documents share rows of 256 tokens (each kept to itself by `documents`), a longer one has a row of 512 or 1024.
Per shape T, WORK/rows-T.npz holds ids, targets [rows, T], weights (2 for what the assistant says, 1 for the rest, 0
for nothing to predict) and documents (which document of its row a token belongs to).
"""

import argparse
import pathlib
import random

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tasks import write_document
from world import ASSISTANT, BOS, SPECIALS, Doc

VOCABULARY = 1024
ROW_LENGTHS = (256, 512, 1024)
HELD_OUT = 1_000_000_000  # seeds from here on are never trained on
# The split pattern that GGUF files call "qwen2": Llama 3's, with every digit on its own.
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")


def document(seed):
    return write_document(Doc(random.Random(seed)))


def train_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIALS), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    texts = (turn.text for seed in range(30000) for turn in document(seed).turns)
    tokenizer.train_from_iterator(texts, trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos)])
    return tokenizer


def weights_of(ids, assistant_id, num_specials):
    """2 where the token was said by the assistant (up to and including its <|end|>), else 1."""
    weights, speaking = [], False
    for i in ids:
        weights.append(2 if speaking else 1)
        if i < num_specials:
            speaking = i == assistant_id
    return weights


class Rows:
    """Rows of one length being filled: a document goes into the fullest of the open rows that has room."""

    def __init__(self, length, most_open):
        self.length, self.most_open, self.open, self.done = length, most_open, [], []

    def add(self, ids, weights):
        size = len(ids) - 1
        fitting = [r for r in self.open if self.length - len(r[0]) >= size]
        if not fitting:
            fitting = [([], [], [], [])]
            self.open.append(fitting[0])
            if len(self.open) > self.most_open:
                self.done.append(self.open.pop(0))
        row = max(fitting, key=lambda r: len(r[0]))
        number = row[3][-1] + 1 if row[3] else 0
        for column, values in zip(row, (ids[:-1], ids[1:], weights[1:], [number] * size)):
            column.extend(values)

    def save(self, path):
        rows = self.done + self.open
        arrays = [np.full((len(rows), self.length), fill, np.uint16) for fill in (0, 0, 0, 65535)]
        for n, row in enumerate(rows):
            for array, values in zip(arrays, row):
                array[n, :len(values)] = values
        np.savez(path, **dict(zip(("ids", "targets", "weights", "documents"), arrays)))
        return len(rows), sum(len(r[0]) for r in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--documents", type=int, default=500_000)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.save(str(options.work / "tokenizer.json"))
    assistant = tokenizer.token_to_id(ASSISTANT)
    rows = {length: Rows(length, 32 if length == ROW_LENGTHS[0] else 0) for length in ROW_LENGTHS}
    for first in range(0, options.documents, 5000):
        texts = [document(seed).text() for seed in range(first, min(first + 5000, options.documents))]
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            ids = encoding.ids[:ROW_LENGTHS[-1] + 1]
            length = next(n for n in ROW_LENGTHS if len(ids) - 1 <= n)
            rows[length].add(ids, weights_of(ids, assistant, len(SPECIALS)))
    for length in ROW_LENGTHS:
        count, tokens = rows[length].save(options.work / f"rows-{length}.npz")
        print(f"rows of {length}: {count}, {tokens} tokens, {tokens / count / length:.1%} full")


if __name__ == "__main__":
    main()
