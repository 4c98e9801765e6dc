"""Quantisation-aware training: weights move until what their codes stand for gives the teacher's distributions.

    python qat.py MODEL WORK OUT --bits 4 --group 32
    quire compress OUT -o FINAL --method rtn --bits 4 --group 32       # for int3 and int2: --layout gptq

    python qat.py MODEL WORK OUT --q4-0
    quire convert OUT FINAL.gguf --type q4_0

MODEL and OUT are folders of safetensors; the teacher is MODEL itself unless --teacher names another. Matrices are rounded
in every step as Quire rounds them, so OUT holds floats whose nearest codes are those that training saw: Quire's own
packers write them, in every layout. The embedding stays as it is, except with --q4-0, which rounds it too.
WORK/train.jsonl holds the text.
"""

import argparse
import pathlib

from corpus import read_texts
from grids import IntegerGrid, Q4_0, free_matrices, matrices, round_matrices
from target import Target, save_folder
from training import Log, Training, add_options, make_deterministic, plan_of


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--teacher", type=pathlib.Path)
    parser.add_argument("--bits", type=int, default=4, choices=(2, 3, 4, 8))
    parser.add_argument("--group", type=int, default=32, help="columns that share a scale; 0: a whole row")
    parser.add_argument("--asymmetric", action="store_true", help="each group has a zero point of its own")
    parser.add_argument("--q4-0", action="store_true", help="GGUF's Q4_0 instead")
    add_options(parser, tokens=100_000, peak=1e-4, batch=1024)
    options = parser.parse_args()
    make_deterministic(options)
    log, student, plan = Log(), Target(options.model), plan_of(options)
    teacher = Target(options.teacher or options.model)
    grid = Q4_0() if options.q4_0 else IntegerGrid(options.bits, options.group, not options.asymmetric)
    flags = "quire convert --type q4_0" if options.q4_0 else f"quire compress {' '.join(grid.flags())}"
    log(f"{options.model.name} for {flags}: {plan.describe()}, seed {options.seed}")
    student.model.train().requires_grad_(True)
    student.model.model.embed_tokens.requires_grad_(grid.rounds_embedding)
    round_matrices(student.model, grid)
    Training(student.model, teacher.model, plan, log).run(read_texts(options.work / "train.jsonl"))
    free_matrices(student.model, grid)
    save_folder(student.model, options.model, options.out, {name for name, _ in matrices(student.model, grid)})
    log.save(options.out)


if __name__ == "__main__":
    main()
