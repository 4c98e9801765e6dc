"""Lets a model write the text that its small parts learn from: `quire bench batch` answers prompts of prompts.py.

    python texts.py MODEL WORK --prompts demo --quire build/release/bin/quire

WORK/train.jsonl and WORK/held-out.jsonl get an object a line: task, prompt and answer as token ids (the token that ends
the answer included, where there was one). Half of the training text is greedy, half is drawn at temperature 0.8; the
held-out text is greedy. The same file of prompts gives the same text: answers depend on nothing else.
"""

import argparse
import json
import pathlib
import subprocess

from prompts import HELD_OUT, KINDS_OF_PROMPTS
from target import Target


def jobs(target, kind, numbers, options, mixed):
    tasks, prompt = KINDS_OF_PROMPTS[kind]
    chosen, greedy = options.tasks or list(tasks), set()
    for number in numbers:
        for task in chosen:
            text, is_greedy = prompt(task, number), not (mixed and number % 2)
            ids = target.encode(text)
            if len(ids) > options.longest_prompt or (is_greedy and text in greedy):
                continue
            if is_greedy:
                greedy.add(text)
            heat = {"temperature": 0} if is_greedy else {"temperature": 0.8, "seed": number}
            yield task, {"prompt": ids, "max_tokens": options.max_tokens, **heat}


def answers(target, name, asked, options):
    """Runs quire; yields what each line of the result file holds. Answers that the tokenizer splits otherwise than the
    model wrote them are left out."""
    prompts, results = options.work / f"{name}-prompts.jsonl", options.work / f"{name}-answers.jsonl"
    prompts.write_text("".join(json.dumps(job) + "\n" for _, job in asked))
    subprocess.run([options.quire, "bench", "batch", options.model, "--prompts", prompts, "--output", results,
                    "--threads", str(options.threads)], check=True)
    end = {i: target.tokenizer.token_to_id(i) for i in ("<|end|>", "<|im_end|>")}
    end = next(i for i in end.values() if i is not None)
    left_out = 0
    for line in sorted(map(json.loads, results.open()), key=lambda line: line["index"]):
        task, job = asked[line["index"]]
        ids = target.encode(line["text"]) + [end] * (line["finish_reason"] == "stop")
        if len(ids) == line["usage"]["completion_tokens"]:
            yield {"task": task, "prompt": job["prompt"], "answer": ids}
        else:
            left_out += 1
    print(f"{name}: {left_out} of {len(asked)} answers left out")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--prompts", choices=KINDS_OF_PROMPTS, required=True)
    parser.add_argument("--quire", required=True)
    parser.add_argument("--tasks", nargs="*", help="of these alone (default: all)")
    parser.add_argument("--per-task", type=int, default=200, help="training prompts of each task")
    parser.add_argument("--held-out", type=int, default=10, help="held-out prompts of each task")
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--longest-prompt", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    target = Target(options.model)
    for name, first, count in (("train", 0, options.per_task), ("held-out", HELD_OUT, options.held_out)):
        asked = list(jobs(target, options.prompts, range(first, first + count), options, name == "train"))
        lines = list(answers(target, name, asked, options))
        (options.work / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        print(f"{name}: {len(lines)} answers, {sum(len(line['answer']) for line in lines)} tokens")


if __name__ == "__main__":
    main()
