#!/usr/bin/env python3
"""Measures Quire, alone or beside other programs, and rewrites this machine's section of docs/benchmarks.md.

    tools/benchmarks.py                       Quire alone: roofs, kernels, prefill and decode
    tools/benchmarks.py --llama FOLDER --ik FOLDER --openvino VENV --vllm VENV
                                              also the programs there, in turns: A B A B
    tools/benchmarks.py --quick-peers --minutes 12 --work FOLDER --resume FILE --llama FOLDER ...
                                              one round of what is compared most, as much as fits into 12 minutes
    tools/benchmarks.py --quick --output -    a small model, one round, printed instead of written

All programs compute with the same weights: random ones that `quire bench weights` writes, and those of the files that
--models names. A program that reads no GGUF files gets them converted, which is not measured; --prepare does only that,
into the folder --work. A figure is the median over the rounds with its lowest and highest; a ratio is Quire's median
over the other's. Nothing else should run meanwhile. With all programs a run takes more than an hour; with --resume FILE
an interrupted run continues where it was. tools/peers/ has the programs and what each needs.
"""

import argparse
import dataclasses
import functools
import json
import os
import re
import statistics
import sys
import tempfile
import time

import peers
from peers.peer import output_of
from processor import processor_name

BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
STREAM_PROMPT = 32


class OutOfTime(Exception):
    """--minutes are over; what was not measured yet stays open."""


class Memory:
    """Keeps results in a file: the n-th request under a key gets the n-th result of an earlier run. Nothing new is
    measured after the deadline."""

    def __init__(self, path, minutes):
        self.path, self.known, self.asked = path, {}, {}
        self.deadline = time.monotonic() + 60 * minutes
        if path and os.path.exists(path):
            with open(path) as file:
                for line in file:
                    key, value = json.loads(line)
                    self.known.setdefault(key, []).append(value)

    def recall(self, key, measure):
        turn = self.asked[key] = self.asked.get(key, -1) + 1
        known = self.known.get(key, [])
        if turn < len(known):
            return known[turn]
        if time.monotonic() > self.deadline:
            raise OutOfTime
        value = measure()
        if self.path:
            with open(self.path, "a") as file:
                file.write(json.dumps([key, value]) + "\n")
        return value


@dataclasses.dataclass(frozen=True)
class Test:
    name: str
    measure: callable  # of a prepared program: tokens/s


def tests_of(args, model, is_synthetic):
    tests = [Test(f"prefill {n}", lambda p, n=n: p.prefill(n)) for n in args.prompts]
    tests.append(Test(f"decode {args.answer}", lambda p: p.decode(1, STREAM_PROMPT, args.answer)))
    if not is_synthetic or model.weights not in args.stream_formats:
        return tests
    tests += [Test(f"{n} streams of {args.stream_answer}", lambda p, n=n: p.decode(n, STREAM_PROMPT, args.stream_answer)) for n in args.streams]
    for depth in args.depths:
        tests.append(Test(f"prefill {depth}", lambda p, d=depth: p.prefill(d)))
        tests.append(Test(f"decode 32 @ {depth}", lambda p, d=depth: p.decode(1, d, 32)))
    return tests


def said(program, error):
    print(f"{program.name}: {error}", file=sys.stderr, flush=True)


def round_of(args, program, model, tests, memory):
    """One run of each test: {name of the test: tokens/s}. A test that fails, or has no time left, has none."""
    found = {}
    is_prepared = False

    def measured(test):
        nonlocal is_prepared
        if not is_prepared:
            program.prepare(model)
            is_prepared = True
        return test.measure(program)

    try:
        for test in tests:
            key = f"{program.description()}, {args.threads} threads: {model.name} {model.weights}: {test.name}"
            try:
                found[test.name] = memory.recall(key, functools.partial(measured, test))
            except peers.Failed as error:
                said(program, error)
                if not is_prepared:
                    break
            except OutOfTime:
                pass  # an earlier run may know the next
    finally:
        program.close()
    return found


def cell(values):
    if not values:
        return "-"
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.1f}{spread}"


class Table:
    def __init__(self, programs):
        self.programs = programs
        titles = ["model", "test", programs[0].name]
        for program in programs[1:]:
            titles += [program.name, "ratio"]
        self.lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]

    def add(self, model, test, values):
        """`values` has a list for each program; None: it has no weights that compare."""
        ours = statistics.median(values[0]) if values[0] else None
        cells = [f"{model.name} {model.weights}", test.name, cell(values[0])]
        for program, found in zip(self.programs[1:], values[1:]):
            if found is None:
                cells += ["", ""]
                continue
            form = program.form(model.weights)
            cells.append(cell(found) + (f" in {form}" if found and form != model.weights else ""))
            cells.append(f"**{ours / statistics.median(found):.2f}**" if ours and found else "")
        self.lines.append("| " + " | ".join(cells) + " |")
        print(self.lines[-1], file=sys.stderr, flush=True)

    def text(self):
        return "\n".join(self.lines) + "\n"


def models(args, folder):
    """Yields (model, whether it is synthetic). Random weights that are in nobody's folder go when the next one is asked for."""
    for shape in args.shapes:
        for weights in args.formats:
            path = os.path.join(folder, f"{shape}-{weights}.gguf")
            if not os.path.exists(path):
                output_of([args.quire, "bench", "weights", "--shape", shape, "--format", weights, "-o", path])
            yield peers.Model(shape, weights, path, folder), True
            if not args.work:
                os.remove(path)
    for path in args.models:
        yield peers.model_of(path, folder), False


def all_models(args):
    if args.work:
        os.makedirs(args.work, exist_ok=True)
        yield from models(args, args.work)
        return
    with tempfile.TemporaryDirectory(prefix="quire-benchmarks-") as folder:
        yield from models(args, folder)


def fitting(programs, model):
    return [program for program in programs if program.form(model.weights) is not None]


def prepare(args, programs):
    for model, _ in all_models(args):
        for program in fitting(programs, model):
            start = time.monotonic()
            try:
                program.prepare(model)
            except peers.Failed as error:
                said(program, error)
            print(f"{program.name}: {model.name} {model.weights}: {time.monotonic() - start:.0f} s", file=sys.stderr,
                  flush=True)


def comparison(args, programs, memory):
    """The one table: a row per test of a model. Programs take turns with the tests of a model: A B A B."""
    table = Table(programs)
    for model, is_synthetic in all_models(args):
        tests = tests_of(args, model, is_synthetic)
        rounds = {program: [] for program in fitting(programs, model)}
        for _ in range(args.rounds):
            for program, found in rounds.items():
                found.append(round_of(args, program, model, tests, memory))
        for test in tests:
            table.add(model, test, [
                [found[test.name] for found in rounds[program] if test.name in found] if program in rounds else None
                for program in programs])
    return table.text()


def roofs(args, memory):
    command = [args.quire, "bench", "roof", "--json", "-t", f"1,{args.threads}", "--passes", args.roof_passes]
    lines = ["| threads | what | best | median |", "|---|---|---|---|"]
    for row in json.loads(memory.recall(" ".join(map(str, command)), lambda: output_of(command))):
        lines.append(f"| {row['threads']} | {row['test']} | {row['value']:.1f} {row['unit']} | {row['median']:.1f} |")
    return "\n".join(lines) + "\n"


def kernels(args, isa, plot, memory):
    """A table of matmul and attention, and the roofline plot beside it."""
    command = [args.quire, "bench", "kernel", "--isa", isa, "-t", args.threads, "--shape", args.shapes[0], "--op",
               "matmul,attention_decode,attention_prefill", "--format", ",".join(args.kernel_formats), "--json"]
    if plot:
        command += ["--plot", plot]
    if args.quick:
        command += ["--rounds", "1", "--round-ms", "1", "--tokens", "1,16,64", "--depth", "512"]
    lines = ["| operation | us | GB/s | of reading | Gop/s | of arithmetic |", "|---|---|---|---|---|---|"]
    for row in json.loads(memory.recall(" ".join(map(str, command)), lambda: output_of(command))):
        lines.append(f"| {row['test']} | {row['microseconds']:.1f} | {row['gb_per_second']:.2f} | "
                     f"{100 * row['read_share']:.0f} % | {row['gop_per_second']:.1f} | "
                     f"{100 * row['operations_share']:.0f} % |")
    return "\n".join(lines) + "\n"


def heading(args):
    return f"### {processor_name()}, {args.threads} threads\n"


def section(args, programs, memory):
    isa = json.loads(output_of([args.quire, "bench", "roof", "--megabytes", "1", "--passes", "1", "-t", "1",
                                "--json"]))[0]["isa"]
    measured_roofs = roofs(args, memory)
    text = [heading(args), f"\n{time.strftime('%Y-%m-%d')}, kernels of {isa}. Tokens/s, ",
            "one round. " if args.rounds == 1 else f"medians of {args.rounds} rounds (lowest to highest). ",
            f"Decode and streams begin behind {STREAM_PROMPT} tokens; a stream generates {args.stream_answer}, and all of them "
            "count together. Programs:\n\n"]
    text += [f"- {program.name}: {program.description()}\n" for program in programs]
    text += ["\n", comparison(args, programs, memory), "\nRoofs (`quire bench roof`):\n\n", measured_roofs]
    if args.kernel_formats:
        name = re.sub(r"\W+", "-", processor_name().lower()).strip("-")
        plot = "" if args.output == "-" else os.path.join(os.path.dirname(args.output), f"roofline-{name}.svg")
        try:
            table = kernels(args, isa, plot, memory)
        except OutOfTime:
            return "".join(text)
        text += ["\nKernels under the roofs:\n\n",
                 f"![Gop/s against operations per byte, with the roofs](roofline-{name}.svg)\n\n" if plot else "", table]
    return "".join(text)


def with_section(page, text):
    """The page with `text` instead of the section of that heading, or before all others if it has none."""
    if BEGIN not in page or END not in page:
        sys.exit(f"the page has no lines {BEGIN.strip()} and {END.strip()} to write between")
    before, rest = page.split(BEGIN, 1)
    figures, after = rest.split(END, 1)
    sections = [part for part in re.split(r"(?m)^(?=### )", figures) if part.strip()]
    title = text.splitlines()[0]
    places = [i for i, part in enumerate(sections) if part.splitlines()[0] == title]
    if places:
        sections[places[0]] = text
    else:
        sections.insert(0, text)
    return before + BEGIN + "\n" + "\n\n".join(part.strip() for part in sections) + "\n\n" + END + after


def write(path, text):
    with open(path) as file:
        page = with_section(file.read(), text)
    with open(path, "w") as file:
        file.write(page)


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def words(text):
    return [part for part in text.split(",") if part]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.add_flags(parser)
    parser.add_argument("--output", default="docs/benchmarks.md", help="the page to rewrite, or - to print")
    parser.add_argument("--quick", action="store_true", help="a small model, one round: checks that everything works")
    parser.add_argument("--quick-peers", action="store_true",
                        help="one round of prefill, decode and streams of a 1.1B shape in Q4_0, Q8_0 and BF16, and of --models")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shapes", type=words, default=["tinyllama-1.1b", "qwen2.5-0.5b"],
                        help="with commas; see quire bench")
    parser.add_argument("--formats", type=words, default=["Q4_0", "Q8_0", "Q4_K_M", "F16", "BF16"])
    parser.add_argument("--models", type=words, default=[], help="also these files, NAME.FORMAT.gguf with commas")
    parser.add_argument("--kernel-formats", type=words, default=["Q4_0", "Q8_0", "Q4_K", "Q6_K", "F16"])
    parser.add_argument("--prompts", type=numbers, default=[512])
    parser.add_argument("--answer", type=int, default=128, help="tokens of the decode test")
    parser.add_argument("--streams", type=numbers, default=[2, 4, 8, 16, 32])
    parser.add_argument("--stream-answer", type=int, default=64, help="tokens that each stream generates")
    parser.add_argument("--depths", type=numbers, default=[4096])
    parser.add_argument("--stream-formats", type=words, default=["Q4_0"],
                        help="which of --formats also run with several streams and depths")
    parser.add_argument("--roof-passes", type=int, default=15)
    parser.add_argument("--work", metavar="FOLDER", help="keep weights and what they are converted to there")
    parser.add_argument("--prepare", action="store_true", help="only write and convert weights into --work")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no measurement after these")
    parser.add_argument("--resume", metavar="FILE", help="keep measurements there, and do not repeat those it has")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.shapes, args.formats, args.roof_passes = 1, ["smollm2-135m"], ["Q4_0"], 3
        args.prompts, args.answer, args.streams, args.stream_answer, args.depths = [64], 8, [1, 4], 8, [256]
    if args.quick_peers:
        args.rounds, args.shapes, args.formats, args.roof_passes = 1, ["tinyllama-1.1b"], ["Q4_0", "Q8_0", "BF16"], 7
        args.prompts, args.answer, args.streams, args.stream_answer, args.depths = [512], 32, [8, 16, 32], 16, []
        args.stream_formats, args.kernel_formats = args.formats, []
    if args.prepare and not args.work:
        parser.error("--prepare needs --work FOLDER")
    return args


def main():
    args = arguments()
    programs = peers.chosen(args)
    if args.prepare:
        prepare(args, programs)
        return
    text = section(args, programs, Memory(args.resume, args.minutes))
    if args.output == "-":
        print(text)
    else:
        write(args.output, text)


if __name__ == "__main__":
    main()
