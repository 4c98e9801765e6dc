#!/usr/bin/env python3
"""Measures Quire, alone or beside llama.cpp and ik_llama.cpp, and rewrites the figures of docs/benchmarks.md.

    tools/benchmarks.py                       Quire alone: roofs, kernels, prefill and decode
    tools/benchmarks.py --llama BIN_FOLDER --ik BIN_FOLDER
                                              also their llama-bench and llama-batched-bench, in turns: A B A B
    tools/benchmarks.py --quick --output -    a small model, one round, printed instead of written

Every program reads the same files, random weights that `quire bench weights` writes. A figure is the median over the
rounds with its lowest and highest; a ratio is Quire's median over the other's. Nothing else should run meanwhile.
With both other programs a run takes most of an hour; with --resume FILE an interrupted run continues where
it was.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
STREAM_PROMPT, STREAM_ANSWER = 32, 64


class Memory:
    """Keeps the output of commands in a file: the n-th request for a command gets the output of its n-th run."""

    def __init__(self):
        self.path, self.known, self.asked = None, {}, {}

    def open(self, path):
        self.path = path
        if os.path.exists(path):
            with open(path) as file:
                for line in file:
                    key, text = json.loads(line)
                    self.known.setdefault(key, []).append(text)

    def recall(self, key):
        turn = self.asked[key] = self.asked.get(key, -1) + 1
        runs = self.known.get(key, [])
        return runs[turn] if turn < len(runs) else None

    def keep(self, key, text):
        if self.path:
            with open(self.path, "a") as file:
                file.write(json.dumps([key, text]) + "\n")


memory = Memory()


def measured_output_of(command, model=None, **how):
    """output_of() of a measurement, once; `model`: a path that differs from run to run, known by its name."""
    key = " ".join(os.path.basename(model) if part == model else str(part) for part in command)
    text = memory.recall(key)
    if text is None:
        text = output_of(command, **how)
        memory.keep(key, text)
    return text


def output_of(command, with_errors=False):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    everything = done.stdout + done.stderr
    if done.returncode != 0:
        last = "\n".join(everything.strip().splitlines()[-5:])
        sys.exit(f"this failed with {done.returncode}:\n  {' '.join(map(str, command))}\n{last}")
    return everything if with_errors else done.stdout


class Quire:
    name = "Quire"
    settings = [[]]

    def __init__(self, args):
        self.program, self.threads = args.quire, str(args.threads)

    def offline(self, model, *flags):
        rows = json.loads(measured_output_of([self.program, "bench", "offline", model, "-r", "1", "-t", self.threads,
                                              "--json", *map(str, flags)], model))
        return rows[0]["median_tokens_per_second"]

    def prefill(self, model, count, depth, _):
        return self.offline(model, "-p", count, "-n", 0, "-d", depth)

    def decode(self, model, count, depth, _):
        return self.offline(model, "-p", 0, "-n", count, "-d", depth)

    def streams(self, model, count, _):
        return self.offline(model, "-p", 0, "-n", STREAM_ANSWER, "-d", STREAM_PROMPT, "--batch", count)


class Llama:
    """llama.cpp, or a fork of it with the same benchmark programs."""

    def __init__(self, args, name, folder, settings, batched_flags):
        self.name, self.folder, self.settings, self.batched_flags = name, folder, settings, batched_flags
        self.threads = str(args.threads)

    def bench(self, model, setting, *flags):
        rows = json.loads(measured_output_of([os.path.join(self.folder, "llama-bench"), "-m", model, "-r", "1", "-t",
                                              self.threads, "-o", "json", *setting, *map(str, flags)], model))
        return rows[0]["avg_ts"]

    def prefill(self, model, count, depth, setting):
        return self.bench(model, setting, "-p", count, "-n", 0, *self.depth_flags(depth))

    def decode(self, model, count, depth, setting):
        if depth and not self.has_depth():  # the generation behind a prompt, timed alone
            return self.bench(model, setting, "-p", 0, "-n", 0, "-gp", f"{depth},{count}")
        return self.bench(model, setting, "-p", 0, "-n", count, *self.depth_flags(depth))

    def has_depth(self):
        if not hasattr(self, "_has_depth"):
            done = subprocess.run([os.path.join(self.folder, "llama-bench"), "--help"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            self._has_depth = "--n-depth" in done.stdout
        return self._has_depth

    def depth_flags(self, depth):
        return ["-d", depth] if depth else []

    def streams(self, model, count, _):
        text = measured_output_of([os.path.join(self.folder, "llama-batched-bench"), "-m", model, "-c",
                          str(count * (STREAM_PROMPT + STREAM_ANSWER + 8)), "-b", "2048", "-ub", "512", "-npp",
                          str(STREAM_PROMPT), "-ntg", str(STREAM_ANSWER), "-npl", str(count), "-t", self.threads,
                          *self.batched_flags], model, with_errors=True)  # newer versions print the table as a log
        rows = [[cell.strip() for cell in line[line.index("|"):].split("|")[1:-1]] for line in text.splitlines()
                if line.count("|") > 5]
        titles, values = rows[0], rows[-1]
        return float(values[titles.index("S_TG t/s")])


class Table:
    """Cells that all programs measure in turns; of a program with several settings the best one counts."""

    def __init__(self, programs, rounds):
        self.programs, self.rounds = programs, rounds
        self.lines = []
        titles = ["model", "test", "Quire"]
        for program in programs[1:]:
            titles += [program.name, "ratio"]
        self.lines.append("| " + " | ".join(titles) + " |")
        self.lines.append("|" + "---|" * len(titles))

    def add(self, model, test, measure, all_settings=False):
        runs = [(program, setting) for program in self.programs
                for setting in (program.settings if all_settings else program.settings[:1])]
        values = [[] for _ in runs]
        for _ in range(self.rounds):
            for found, (program, setting) in zip(values, runs):
                found.append(measure(program, setting))
        best = {}
        for found, (program, _) in zip(values, runs):
            if program not in best or statistics.median(found) > statistics.median(best[program]):
                best[program] = found
        ours = statistics.median(best[self.programs[0]])
        cells = [model, test]
        for program in self.programs:
            found = best[program]
            median = statistics.median(found)
            text = f"{median:.1f}"
            if len(found) > 1:
                text += f" ({min(found):.1f} to {max(found):.1f})"
            cells.append(text)
            if program is not self.programs[0]:
                cells.append(f"**{ours / median:.2f}**")
        self.lines.append("| " + " | ".join(cells) + " |")
        print(self.lines[-1], file=sys.stderr, flush=True)

    def text(self):
        return "\n".join(self.lines) + "\n"


def processor():
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def roofs(args):
    rows = json.loads(measured_output_of([args.quire, "bench", "roof", "--json", "-t", f"1,{args.threads}", "--passes",
                                 "3" if args.quick else "15"]))
    lines = ["| threads | what | best | median |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['threads']} | {row['test']} | {row['value']:.1f} {row['unit']} | {row['median']:.1f} |")
    return "\n".join(lines) + "\n"


def kernels(args, isa, plot):
    """A table of matmul and attention, and the roofline plot beside it."""
    command = [args.quire, "bench", "kernel", "--isa", isa, "-t", str(args.threads), "--shape", args.shapes[0], "--op",
               "matmul,attention_decode,attention_prefill", "--format", ",".join(args.kernel_formats), "--json"]
    if plot:
        command += ["--plot", plot]
    if args.quick:
        command += ["--rounds", "1", "--round-ms", "1", "--tokens", "1,16,64", "--depth", "512"]
    rows = json.loads(measured_output_of(command))
    lines = ["| operation | us | GB/s | of reading | Gop/s | of arithmetic |", "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['test']} | {row['microseconds']:.1f} | {row['gb_per_second']:.2f} | "
                     f"{100 * row['read_share']:.0f} % | {row['gop_per_second']:.1f} | "
                     f"{100 * row['operations_share']:.0f} % |")
    return "\n".join(lines) + "\n"


def models(args, folder):
    """Yields (name, format, path) of weights that lie in `folder` until the next one is asked for."""
    for shape in args.shapes:
        for weights in args.formats:
            path = os.path.join(folder, f"{shape}-{weights}.gguf")
            output_of([args.quire, "bench", "weights", "--shape", shape, "--format", weights, "-o", path])
            yield f"{shape} {weights}", weights, path
            os.remove(path)


def offline(args, programs):
    single, streams, deep = (Table(programs, args.rounds) for _ in range(3))
    with tempfile.TemporaryDirectory(prefix="quire-benchmarks-") as folder:
        for name, weights, path in models(args, folder):
            for count in args.prompts:
                single.add(name, f"prefill {count}", lambda p, s, n=count: p.prefill(path, n, 0, s))
            single.add(name, f"decode {args.answer}", lambda p, s: p.decode(path, args.answer, 0, s))
            if weights not in args.stream_formats:
                continue
            for count in args.streams:
                streams.add(name, f"{count} streams", lambda p, s, n=count: p.streams(path, n, s))
            for depth in args.depths:
                deep.add(name, f"prefill {depth}", lambda p, s, n=depth: p.prefill(path, n, 0, s), all_settings=True)
                deep.add(name, f"decode 32 @ {depth}", lambda p, s, n=depth: p.decode(path, 32, n, s),
                         all_settings=True)
    return single.text(), streams.text(), deep.text()


def figures(args, programs):
    isa = json.loads(output_of([args.quire, "bench", "roof", "--megabytes", "1", "--passes", "1", "-t", "1",
                                "--json"]))[0]["isa"]
    plot = "" if args.output == "-" else os.path.join(os.path.dirname(args.output), "roofline.svg")
    text = [f"Machine: {processor()}, {args.threads} threads, {isa} kernels. ",
            f"Medians of {args.rounds} rounds (lowest to highest)."]
    for program in programs[1:]:
        text.append(f" {program.name}: {' '.join(program.settings[0]) or 'default settings'}.")
    text += ["\n\n### The machine's roofs\n\n", roofs(args), "\n### Kernels under the roofs\n\n"]
    table = kernels(args, isa, plot)
    if plot:
        text.append("![Gop/s against operations per byte, with the roofs](roofline.svg)\n\n")
    text.append(table)
    single, streams, deep = offline(args, programs)
    text += ["\n### One sequence, tokens/s\n\n", single]
    if args.streams:
        text += [f"\n### Several sequences: decode behind {STREAM_PROMPT} tokens, {STREAM_ANSWER} each, tokens/s in all"
                 "\n\n", streams]
    if args.depths:
        text += ["\n### Long contexts, tokens/s (of each program its better setting)\n\n", deep]
    return "".join(text)


def write(path, text):
    with open(path) as file:
        old = file.read()
    if BEGIN not in old or END not in old:
        sys.exit(f"{path} has no lines {BEGIN.strip()} and {END.strip()} to write between")
    new = old[:old.index(BEGIN) + len(BEGIN)] + "\n" + text + "\n" + old[old.index(END):]
    with open(path, "w") as file:
        file.write(new)


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quire", default="build/release/bin/quire")
    parser.add_argument("--llama", metavar="BIN_FOLDER", help="folder of llama.cpp's programs")
    parser.add_argument("--ik", metavar="BIN_FOLDER", help="folder of ik_llama.cpp's programs")
    parser.add_argument("--output", default="docs/benchmarks.md", help="the page to rewrite, or - to print")
    parser.add_argument("--quick", action="store_true", help="a small model, one round: checks that everything works")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--shapes", default="tinyllama-1.1b,qwen2.5-0.5b", help="with commas; see quire bench")
    parser.add_argument("--formats", default="Q4_0,Q8_0,Q4_K_M,F16")
    parser.add_argument("--kernel-formats", default="Q4_0,Q8_0,Q4_K,Q6_K,F16")
    parser.add_argument("--prompts", type=numbers, default=[512])
    parser.add_argument("--answer", type=int, default=128, help="tokens of the decode test")
    parser.add_argument("--streams", type=numbers, default=[2, 4, 8, 16, 32])
    parser.add_argument("--depths", type=numbers, default=[4096])
    parser.add_argument("--stream-formats", default="Q4_0", help="which of --formats also run with several streams and depths")
    parser.add_argument("--resume", metavar="FILE", help="keep measurements there, and do not repeat those it has")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.shapes, args.formats = 1, "smollm2-135m", "Q4_0"
        args.prompts, args.answer, args.streams, args.depths = [64], 8, [1, 4], [256]
    args.shapes, args.formats = args.shapes.split(","), args.formats.split(",")
    args.kernel_formats = args.kernel_formats.split(",")
    args.stream_formats = args.stream_formats.split(",")
    if args.resume:
        memory.open(args.resume)

    programs = [Quire(args)]
    if args.llama:
        programs.append(Llama(args, "llama.cpp", args.llama, [["-fa", "0"], ["-fa", "1"]], []))
    if args.ik:
        programs.append(Llama(args, "ik_llama.cpp", args.ik, [["-rtr", "1", "-fa", "1"]], ["-rtr", "-fa", "on"]))
    text = figures(args, programs)
    if args.output == "-":
        print(text)
    else:
        write(args.output, text)


if __name__ == "__main__":
    main()
