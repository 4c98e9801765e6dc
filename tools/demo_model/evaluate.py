"""Measures models against the floor on held-out documents, and on questions with one right answer.

    python evaluate.py WORK MODEL ... [--documents 1000] [--questions 100] [--seed 0]

MODEL: a .gguf file (its weights, the arithmetic in float32) or demo / small: the checkpoint WORK/<name>.pt. An answer
counts only when greedy decoding gives it exactly, its end token included.
"""

import argparse
import pathlib

import torch
from torch.nn import functional as F
from tokenizers import Tokenizer

from export import load_checkpoint, load_gguf
from heldout import EXACT, LONGEST, exact_question, held_out_documents, prompt_text, spoken
from world import END


def load(work, name):
    return load_gguf(name) if name.endswith(".gguf") else load_checkpoint(work / f"{name}.pt", name)


@torch.no_grad()
def token_losses(model, ids):
    """For each token but the first: its loss in nats, and whether it was the likeliest."""
    logits = model(torch.tensor([ids[:-1]]))[0]
    targets = torch.tensor(ids[1:])
    return F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets


def against_floor(model, tokenizer, first, count):
    totals = {"all": [0.0, 0.0, 0], "assistant": [0.0, 0.0, 0]}  # loss, floor, tokens
    text_bytes = 0
    for doc, ids in held_out_documents(tokenizer, first, count):
        losses, _ = token_losses(model, ids)
        said = torch.tensor(spoken(ids, tokenizer))
        for key, chosen, floor in (("all", losses, doc.nats()), ("assistant", losses[said], doc.nats("assistant"))):
            totals[key][0] += chosen.sum().item()
            totals[key][1] += floor
            totals[key][2] += len(chosen)
        text_bytes += sum(len(t.text.encode()) for t in doc.turns)
    return totals, text_bytes


def exact_share(model, tokenizer, task, first, count):
    right = 0
    for seed in range(first, first + count):
        messages, answer = exact_question(task, seed)
        prompt = tokenizer.encode(prompt_text(messages), add_special_tokens=False).ids
        reply = tokenizer.encode(answer + END, add_special_tokens=False).ids
        ids = (prompt + reply)[-LONGEST:]
        right += bool(token_losses(model, ids)[1][-len(reply):].all())  # greedy decoding would say just this
    return right / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=10_000, help="where the held-out seeds begin")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = Tokenizer.from_file(str(options.work / "tokenizer.json"))
    models = [load(options.work, name) for name in options.models]
    for name, model in zip(options.models, models):
        totals, text_bytes = against_floor(model, tokenizer, options.seed, options.documents)
        for key, (loss, floor, tokens) in totals.items():
            print(f"{name}  {key} tokens: {loss / tokens:.4f} nats per token, floor {floor / tokens:.4f}, "
                  f"{tokens} tokens", flush=True)
        loss, floor, _ = totals["all"]
        print(f"{name}  {loss / text_bytes / 0.693147:.4f} bits per byte, floor {floor / text_bytes / 0.693147:.4f}, "
              f"{text_bytes} bytes")
    print("\n| task | " + " | ".join(options.models) + " |\n|---|" + "---:|" * len(models))
    for task in EXACT:
        shares = [exact_share(m, tokenizer, task, options.seed, options.questions) for m in models]
        print(f"| {task} | " + " | ".join(f"{s:.0%}" for s in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
