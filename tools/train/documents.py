"""Documents of the demo world as text for distillation and quantisation-aware training of the demo family.

    python documents.py MODEL WORK [--documents 8000]

Writes WORK/train.jsonl in the form of texts.py: a document is an answer to <|begin_of_text|>. Seeds begin where those
that trained the demo model end.
"""

import argparse
import json
import pathlib

from target import Target  # noqa: I001 (it makes tools/demo_model known)
from prepare import document

FIRST_SEED = 220_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--documents", type=int, default=8000)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    target, tokens = Target(options.model), 0
    with (options.work / "train.jsonl").open("w") as out:
        for seed in range(FIRST_SEED, FIRST_SEED + options.documents):
            ids = target.encode(document(seed).text())[:target.config.max_position_embeddings]
            tokens += len(ids) - 1
            out.write(json.dumps({"task": "document", "prompt": ids[:1], "answer": ids[1:]}) + "\n")
    print(f"{options.documents} documents, {tokens} tokens")


if __name__ == "__main__":
    main()
