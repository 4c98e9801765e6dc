#!/usr/bin/env python3
"""Serves one model by `quire serve` and by llama.cpp's llama-server in turns (A B A B), under the same load.

    tools/compare_serving.py --llama-server PATH --concurrency 8,16 MODEL.gguf
    tools/compare_serving.py --llama-server PATH --rates 0.4,0.8,1.2 --no-cache --json result.json MODEL.gguf

The workload is 200 shared prefix tokens, 30 own tokens and 50 tokens of output unless told otherwise; `quire bench
serve` sends it to both. Nothing else should run meanwhile. A figure is the median of the rounds; a ratio is Quire's
median over llama-server's. A request that fails, or whose stream ends in an error, counts as failed on either side.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

FIGURES = {
    "requests/s": ("requests_per_second",),
    "output tokens/s": ("output_tokens_per_second",),
    "TTFT p50 ms": ("ttft_ms", "p50"),
    "TTFT p99 ms": ("ttft_ms", "p99"),
    "TPOT p50 ms": ("tpot_ms", "p50"),
    "TPOT p99 ms": ("tpot_ms", "p99"),
    "ITL p99 ms": ("itl_ms", "p99"),
    "answer mean ms": ("e2e_ms", "mean"),
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def quire_command(args, port):
    command = [args.quire, "serve", args.model, "--host", "127.0.0.1", "--port", str(port), "--threads",
               str(args.threads), "--max-num-seqs", str(args.quire_sequences)]
    return command + (args.quire_no_cache.split() if args.no_cache else []) + args.quire_args.split()


def llama_command(args, port):
    context = args.slots * (args.prefix_len + args.input_len + args.output_len + 32)
    command = [args.llama_server, "-m", args.model, "--host", "127.0.0.1", "--port", str(port), "-t",
               str(args.threads), "-np", str(args.slots), "-c", str(context)]
    return command + (["--no-cache-prompt", "--cache-ram", "0"] if args.no_cache else []) + args.llama_args.split()


@contextlib.contextmanager
def serving(command, port, log):
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        give_up = time.monotonic() + 120
        while True:
            if process.poll() is not None:
                sys.exit(f"{command[0]} ended with code {process.returncode} before it was ready; see {log.name}")
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5) as reply:
                    if reply.status == 200:
                        break
            if time.monotonic() > give_up:
                sys.exit(f"{command[0]} was not ready after 120 s; see {log.name}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(args, port, seed, folder):
    path = os.path.join(folder, "report.json")
    load = ["--concurrency", args.concurrency] if args.concurrency else ["--rates", args.rates]
    command = [args.quire, "bench", "serve", "--base-url", f"http://127.0.0.1:{port}", "--ids", "--prefix-len",
               str(args.prefix_len), "--input-len", str(args.input_len), "--output-len", str(args.output_len),
               "--requests", str(args.requests), "--warmup", str(args.warmup), "--seed", str(seed), "--json", path]
    subprocess.run(command + load, check=True, stdout=subprocess.DEVNULL)
    with open(path) as file:
        return {run["label"]: run for run in json.load(file)["runs"]}


def figure(run, path):
    for key in path:
        run = run[key]
    return run


def summarise(rounds):
    """The median of every figure for each load, of one server's rounds."""
    result = {}
    for label in rounds[0]:
        runs = [run[label] for run in rounds]
        result[label] = {name: statistics.median(figure(run, path) for run in runs) for name, path in FIGURES.items()}
        result[label]["failed"] = sum(run["requests"] - run["ok"] for run in runs)
    return result


def print_table(medians):
    print("| load | figure | Quire | llama-server | ratio |\n|---|---|---|---|---|")
    for label, ours in medians["quire"].items():
        theirs = medians["llama-server"][label]
        for name in FIGURES:
            ratio = f"{ours[name] / theirs[name]:.2f}" if theirs[name] else "-"
            print(f"| {label} | {name} | {ours[name]:.2f} | {theirs[name]:.2f} | {ratio} |")
        print(f"| {label} | failed, all rounds | {ours['failed']} | {theirs['failed']} | |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-server", required=True)
    parser.add_argument("--quire", default="build/release/bin/quire")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rates", default="0.5,1,2", help="Poisson arrivals per second")
    parser.add_argument("--concurrency", default="", help="instead, closed loops with these numbers of clients")
    parser.add_argument("--requests", type=int, default=50, help="of each load")
    parser.add_argument("--warmup", type=int, default=8)
    parser.add_argument("--prefix-len", type=int, default=200)
    parser.add_argument("--input-len", type=int, default=30)
    parser.add_argument("--output-len", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--slots", type=int, default=16, help="of llama-server")
    parser.add_argument("--quire-sequences", type=int, default=32)
    parser.add_argument("--no-cache", action="store_true", help="both without prefix caching")
    parser.add_argument("--quire-no-cache", default="--no-enable-prefix-caching", help="the arguments of quire serve for that")
    parser.add_argument("--quire-args", default="", help="more arguments of quire serve")
    parser.add_argument("--llama-args", default="", help="more arguments of llama-server")
    parser.add_argument("--json", help="write every run and the medians to this file")
    parser.add_argument("model")
    args = parser.parse_args()

    servers = {"quire": quire_command, "llama-server": llama_command}
    rounds = {name: [] for name in servers}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for name, command in servers.items():
                port = free_port()
                log_path = os.path.join(tempfile.gettempdir(), f"compare_serving_{name}_{os.getpid()}.log")
                with open(log_path, "a") as log, serving(command(args, port), port, log):
                    # The same seed for both servers of a round.
                    rounds[name].append(measure(args, port, 1 + number, folder))
    medians = {name: summarise(runs) for name, runs in rounds.items()}
    print_table(medians)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"arguments": vars(args), "rounds": rounds, "medians": medians}, file, indent=1)


if __name__ == "__main__":
    main()
