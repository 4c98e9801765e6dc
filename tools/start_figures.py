#!/usr/bin/env python3
"""Measures starts: seconds from the start of a process to its end after the logits of one token, and peak memory.

  tools/start_figures.py MODEL [--program build/release/bin/quire] [--rounds 5] [--threads N]

In turns: packed at the start (--weight-cache off) and mapped from the cache, which an earlier start wrote into a folder
of this run. Prints the least and the middle of the rounds, and peak memory as a share of the model's file.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time


def start(arguments, cache):
    command = [arguments.program, "logits", arguments.model, "--ids", "1", "--out", os.devnull, "--weight-cache", cache]
    if arguments.threads:
        command += ["-t", str(arguments.threads)]
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--program", default="build/release/bin/quire")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    file_bytes = os.path.getsize(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        write_seconds, _ = start(arguments, folder)
        kinds = {"packed": "off", "mapped": folder}
        results = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for kind, cache in kinds.items():
                results[kind].append(start(arguments, cache))
    print(f"file {file_bytes / 1e6:.0f} MB; a start that writes the cache takes {write_seconds:.2f} s")
    print(f"{'start':8}{'least s':>9}{'middle s':>10}{'peak MB':>9}{'/ file':>8}")
    for kind, runs in results.items():
        seconds = [run[0] for run in runs]
        peak = max(run[1] for run in runs)
        print(f"{kind:8}{min(seconds):9.3f}{statistics.median(seconds):10.3f}{peak / 1e6:9.0f}{peak / file_bytes:8.2f}")


if __name__ == "__main__":
    main()
