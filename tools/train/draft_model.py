"""Plays a draft model through on held-out text of the target: what is it worth?

    python draft_model.py MODEL DRAFT_MODEL WORK

Up to the first draft that does not hold, the draft model has read just the target's text, so one pass over the text
shows every draft that counts.
"""

import argparse
import pathlib

import torch

from acceptance import Tally, accepted_per_step
from corpus import load_texts
from target import Target


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("draft_model")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--drafts", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    target, draft_model, tally = Target(options.model), Target(options.draft_model), Tally()
    if target.tokenizer.get_vocab() != draft_model.tokenizer.get_vocab():
        raise SystemExit("the two models have different vocabularies")
    for text in load_texts(options.work / "held-out.jsonl", target):
        likeliest = draft_model.model(text.ids[None, :-1])[0].argmax(-1).tolist()[text.first - 1:]
        answer = text.answer.tolist()
        tally.add(text.task, answer, accepted_per_step(answer, lambda r: likeliest[r + 1:][:options.drafts]))
    print(tally.table())


if __name__ == "__main__":
    main()
