"""The loop of a worker (worker_peer.py): questions on the standard input, seconds on what was the standard output."""

import argparse
import json
import os
import random
import sys
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


def answer_questions(variants):
    """Each variant is a function that returns generate(prompts, answer), which makes that many tokens behind each prompt,
    a list of token ids. Called again it returns the same."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    draw = random.Random(1)

    def seconds(variant, streams, prompt, answer):
        generate = variants[variant]()
        prompts = [[draw.randrange(1000, 29000) for _ in range(prompt)] for _ in range(streams)]
        start = time.perf_counter()
        generate(prompts, answer)
        return time.perf_counter() - start

    warm = set()
    for line in sys.stdin:
        question = json.loads(line)
        kind = question["variant"], question["streams"]
        if kind not in warm:
            seconds(*kind, 32, 4)  # some programs prepare themselves for each size of a batch
            warm.add(kind)
        answers.write(json.dumps({"seconds": seconds(**question)}) + "\n")
        answers.flush()
