"""Texts that the target wrote, with the hidden states it had while reading them."""

import json
import time

import torch


class Text:
    """ids: prompt and answer; first: where the answer begins; hidden: [len(ids), hidden_size], None until read."""

    def __init__(self, task, prompt, answer):
        self.task, self.first, self.ids, self.hidden = task, len(prompt), torch.tensor(prompt + answer), None

    @property
    def answer(self):
        return self.ids[self.first:]

    def answer_hidden(self):
        """Row r was there when the target chose answer[r]; a head of distance k + 1 guesses answer[r + 1 + k] from it."""
        return self.hidden[self.first - 1:-1].float()


def read_texts(path, most_tokens=None):
    """The texts of a file of texts.py or documents.py, up to a number of answer tokens, without hidden states."""
    texts, tokens = [], 0
    for line in map(json.loads, path.open()):
        if most_tokens is not None and tokens >= most_tokens:
            break
        texts.append(Text(line["task"], line["prompt"], line["answer"]))
        tokens += len(line["answer"])
    return texts


def load_texts(path, target, most_tokens=None):
    """The same with hidden states (kept beside the file)."""
    texts = read_texts(path, most_tokens)
    tokens = sum(len(t.answer) for t in texts)
    cache, began = path.with_suffix(".hidden.pt"), time.time()
    lengths = [len(t.ids) for t in texts]
    if cache.exists() and (saved := torch.load(cache))["lengths"] == lengths:
        states = saved["states"]
    else:
        states = target.hidden([t.ids for t in texts])
        torch.save({"lengths": lengths, "states": states}, cache)
    for text, hidden in zip(texts, states):
        text.hidden = hidden
    print(f"{path.name}: {len(texts)} texts, {tokens} answer tokens, hidden states in {time.time() - began:.0f} s")
    return texts
