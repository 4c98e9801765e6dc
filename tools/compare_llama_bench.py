#!/usr/bin/env python3
"""Measures `quire bench` and llama.cpp's llama-bench side by side: A B A B on one machine, medians, ratios.

    tools/compare_llama_bench.py --llama-bench PATH [--quire build/release/bin/quire] [--rounds 5] MODEL.gguf ...

Nothing else should run meanwhile. Each round runs both programs once on each model and test; a ratio is the median of
Quire's rounds over the median of llama.cpp's.
"""

import argparse
import json
import os
import statistics
import subprocess


def run(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def quire(args, model, test, count):
    other = {"prefill": "--n-gen", "decode": "--n-prompt"}[test]
    own = {"prefill": "--n-prompt", "decode": "--n-gen"}[test]
    rows = run([args.quire, "bench", model, own, str(count), other, "0", "-r", "1", "-t", str(args.threads),
                "--depth", str(args.depth), "--json"])
    return rows[0]["median_tokens_per_second"]


def llama(args, model, test, count):
    own, other = ("-p", "-n") if test == "prefill" else ("-n", "-p")
    rows = run([args.llama_bench, "-m", model, own, str(count), other, "0", "-r", "1", "-t", str(args.threads),
                "-d", str(args.depth), "-o", "json"])
    return rows[0]["avg_ts"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--quire", default="build/release/bin/quire")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()

    print("| model | test | Quire tokens/s | llama.cpp tokens/s | ratio |\n|---|---|---|---|---|", flush=True)
    for model in args.models:
        for test, count in (("prefill", args.prefill), ("decode", args.decode)):
            ours, theirs = [], []
            for _ in range(args.rounds):
                ours.append(quire(args, model, test, count))
                theirs.append(llama(args, model, test, count))
            a, b = statistics.median(ours), statistics.median(theirs)
            print(f"| {os.path.basename(model)} | {test} {count} | {a:.1f} ({min(ours):.1f} to {max(ours):.1f}) "
                  f"| {b:.1f} ({min(theirs):.1f} to {max(theirs):.1f}) | {a / b:.2f} |", flush=True)


if __name__ == "__main__":
    main()
