"""Distillation: a student learns the distributions of its teacher. Healing after pruning is the same: the student is
then the pruned model.

    python distill.py TEACHER STUDENT WORK OUT [--divergence forward|reverse|jsd] [--hidden 1] [--labels 0.5]
    python distill.py TEACHER STUDENT WORK OUT --divergence reverse --on-policy 4 --quire build/release/bin/quire

All models are folders of safetensors; the student begins as student.py or a command that prunes wrote it.
WORK/train.jsonl holds the text (documents.py, texts.py). With --on-policy the student writes the answers itself, to the
prompts of that text, and learns what the teacher thinks of each of its tokens (arXiv 2306.13649): so many times, each
time with the weights that it has then. OUT gets the student and training.txt.
"""

import argparse
import itertools
import pathlib
import tempfile
from argparse import Namespace

from corpus import Text, read_texts
from target import Target, save_folder
from texts import answers
from training import Log, Training, add_options, make_deterministic, plan_of


def own_answers(student, texts, first_seed, options):
    """The student's answers, drawn at temperature 1, to the prompts of the texts."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        save_folder(student.model, options.student, folder / "student")
        asked = [(t.task, {"prompt": t.ids[:t.first].tolist(), "max_tokens": len(t.answer) + 16, "temperature": 1.0,
                           "seed": first_seed + i}) for i, t in enumerate(texts)]
        run = Namespace(model=folder / "student", work=folder, quire=options.quire, threads=options.threads)
        lines = list(answers(student, "own", asked, run))
    return [Text(line["task"], line["prompt"], line["answer"]) for line in lines if line["answer"]]


def train_on_policy(training, student, texts, options):
    prompts = itertools.cycle(texts)
    for number in range(options.on_policy):
        tokens, chosen = 0, []
        while tokens < options.tokens / options.on_policy:
            chosen.append(next(prompts))
            tokens += len(chosen[-1].answer)
        training.run(own_answers(student, chosen, number * len(texts), options), (number + 1) / options.on_policy)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", type=pathlib.Path)
    parser.add_argument("student", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--on-policy", type=int, default=0, metavar="ROUNDS")
    parser.add_argument("--quire", help="writes the student's answers")
    add_options(parser, tokens=120_000, peak=3e-3, batch=1024)
    options = parser.parse_args()
    if options.on_policy and not options.quire:
        parser.error("--on-policy needs --quire, which writes the student's answers")
    make_deterministic(options)
    log, teacher, student = Log(), Target(options.teacher), Target(options.student)
    plan = plan_of(options)
    log(f"{options.student.name} learns from {options.teacher.name}: {plan.describe()}, seed {options.seed}, "
        + (f"{options.on_policy} rounds of its own answers" if options.on_policy else "given text"))
    student.model.train().requires_grad_(True)
    training = Training(student.model, teacher.model, plan, log)
    texts = read_texts(options.work / "train.jsonl")
    if options.on_policy:
        train_on_policy(training, student, texts, options)
    else:
        training.run(texts)
    save_folder(student.model, options.student, options.out)
    log.save(options.out)


if __name__ == "__main__":
    main()
