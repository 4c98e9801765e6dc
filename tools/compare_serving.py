#!/usr/bin/env python3
"""Serves one model by `quire serve` and by other programs' servers in turns (A B A B), under the same load.

    tools/compare_serving.py --llama FOLDER --vllm VENV --concurrency 16 MODEL.gguf
    tools/compare_serving.py --llama FOLDER --rates 0.4,0.8,1.2 --no-cache --json result.json MODEL.gguf
    tools/compare_serving.py --llama FOLDER --concurrency 16 --long-prompt 4096 --itl-target-ms 64 MODEL.gguf

The workload is 200 shared prefix tokens, 30 own tokens and 50 tokens of output unless told otherwise; `quire bench
serve` sends it to all. --long-prompt also sends one prompt of that length while 8 streams run. Nothing else should run
meanwhile. A figure is the median of the rounds; a ratio is Quire's median over the other's. A request that fails, or
whose stream ends in an error, counts as failed on either side.
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

import long_prompt
import peers
from peers.peer import Load, output_of
from served import end

READY_SECONDS = 300
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


def answers(url):
    """Whether the server generates a token: some list their models before they can."""
    body = json.dumps({"prompt": [1000, 1001], "max_tokens": 1}).encode()
    request = urllib.request.Request(url + "/v1/completions", body, {"Content-Type": "application/json"})
    with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status == 200
    return False


@contextlib.contextmanager
def serving(program, load, log):
    """Yields the address of a server that is ready."""
    port = free_port()
    command, environment = program.serve(port, load)
    command = [str(part) for part in command]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    url = f"http://127.0.0.1:{port}"
    try:
        give_up = time.monotonic() + READY_SECONDS
        while not answers(url):
            if process.poll() is not None:
                raise peers.Failed(f"{command[0]} ended with code {process.returncode} before it was ready; see {log.name}")
            if time.monotonic() > give_up:
                raise peers.Failed(f"{command[0]} was not ready after {READY_SECONDS} s; see {log.name}")
            time.sleep(0.2)
        yield url
    finally:
        end(process)


def measure(args, url, seed, folder):
    """Figures of each load: {label: {figure: value}}."""
    path = os.path.join(folder, "report.json")
    load = ["--concurrency", args.concurrency] if args.concurrency else ["--rates", args.rates]
    command = [args.quire, "bench", "serve", "--base-url", url, "--ids", "--prefix-len",
               str(args.prefix_len), "--input-len", str(args.input_len), "--output-len", str(args.output_len),
               "--requests", str(args.requests), "--warmup", str(args.warmup), "--seed", str(seed), "--json", path]
    output_of(command + load)
    with open(path) as file:
        runs = {run["label"]: run for run in json.load(file)["runs"]}
    return {label: {name: figure(run, keys) for name, keys in FIGURES.items()} | {"failed": run["requests"] - run["ok"]}
            for label, run in runs.items()}


def figure(run, keys):
    for key in keys:
        run = run[key]
    return run


def measure_long_prompt(args, url):
    alone = long_prompt.alone_s(url, args.long_prompt)
    long_prompt.visit(url, args.long_prompt)  # servers with a target learn what their steps cost
    visit = long_prompt.visit(url, args.long_prompt, first_id=2500)
    gaps = visit.gaps_ms
    return {"TTFT alone s": alone, "TTFT among streams s": visit.ttft_s, "against alone": visit.ttft_s / alone,
            "gap before p50 ms": visit.quiet_ms, "gap p99 ms": gaps[len(gaps) * 99 // 100], "longest gap ms": gaps[-1]}


def serve_round(args, program, seed):
    """All figures of one server: {label: {figure: value}}."""
    longest = args.prefix_len + args.input_len + args.output_len + 32
    loads = [(Load(clients=args.slots, context=longest, prefix_caching=not args.no_cache),
              lambda url, folder: measure(args, url, seed, folder))]
    if args.long_prompt:
        streams = Load(clients=long_prompt.STREAMS + 1, context=args.long_prompt + 512, prefix_caching=not args.no_cache,
                       itl_target_ms=args.itl_target_ms)
        label = f"{args.long_prompt} tokens among {long_prompt.STREAMS} streams"
        loads.append((streams, lambda url, _: {label: measure_long_prompt(args, url)}))
    found = {}
    log_path = os.path.join(tempfile.gettempdir(), f"compare_serving_{type(program).__name__.lower()}_{os.getpid()}.log")
    with tempfile.TemporaryDirectory() as folder, open(log_path, "a") as log:
        for load, figures_of in loads:
            with serving(program, load, log) as url:
                found |= figures_of(url, folder)
    return found


def summarise(rounds):
    """The median of every figure for each load, of one server's rounds; failures are added up."""
    return {label: {name: (sum if name == "failed" else statistics.median)([found[label][name] for found in rounds])
                    for name in rounds[0][label]} for label in rounds[0]}


def print_table(medians):
    ours, others = medians["Quire"], [name for name in medians if name != "Quire"]
    print("| load | figure | Quire | " + "".join(f"{name} | ratio | " for name in others))
    print("|" + "---|" * (3 + 2 * len(others)))
    for label in ours:
        for name, value in ours[label].items():
            cells = [label, name, f"{value:.2f}"]
            for other in others:
                theirs = medians[other][label][name]
                cells += [f"{theirs:.2f}", f"**{value / theirs:.2f}**" if theirs and name != "failed" else ""]
            print("| " + " | ".join(cells) + " |", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.add_flags(parser)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rates", default="0.5,1,2", help="Poisson arrivals per second")
    parser.add_argument("--concurrency", default="", help="instead, closed loops with these numbers of clients")
    parser.add_argument("--requests", type=int, default=50, help="of each load")
    parser.add_argument("--warmup", type=int, default=8)
    parser.add_argument("--prefix-len", type=int, default=200)
    parser.add_argument("--input-len", type=int, default=30)
    parser.add_argument("--output-len", type=int, default=50)
    parser.add_argument("--slots", type=int, default=16, help="sequences that a server must have room for at once")
    parser.add_argument("--no-cache", action="store_true", help="all without prefix caching")
    parser.add_argument("--long-prompt", type=int, default=0, help="tokens of the prompt that comes among 8 streams")
    parser.add_argument("--itl-target-ms", type=float, default=0, help="of quire serve, for --long-prompt")
    parser.add_argument("--work", metavar="FOLDER", help="keep what the model is converted to there")
    parser.add_argument("--json", help="write every run and the medians to this file")
    parser.add_argument("model", help="NAME.FORMAT.gguf or NAME-FORMAT.gguf")
    return parser.parse_args()


def prepared(args, folder):
    """The programs that have a server and weights for the model."""
    model = peers.model_of(args.model, folder)
    servers = []
    for program in peers.chosen(args):
        if program.form(model.weights) is None:
            print(f"skipped: {program.name}: it has no weights that compare with {model.weights}", file=sys.stderr)
            continue
        if not program.has_server():
            print(f"skipped: {program.name}: it has no server of its own", file=sys.stderr)
            continue
        try:
            program.prepare(model)
            servers.append(program)
        except peers.Failed as error:
            print(f"skipped: {program.name}: {error}", file=sys.stderr)
    return servers


def main():
    args = arguments()
    with contextlib.ExitStack() as stack:
        folder = args.work or stack.enter_context(tempfile.TemporaryDirectory())
        os.makedirs(folder, exist_ok=True)
        servers = prepared(args, folder)
        rounds = {program.name: [] for program in servers}
        for number in range(args.rounds):
            for program in servers:
                try:
                    # The same seed for all servers of a round.
                    rounds[program.name].append(serve_round(args, program, 1 + number))
                except peers.Failed as error:
                    print(f"{program.name}: {error}", file=sys.stderr, flush=True)
    medians = {name: summarise(found) for name, found in rounds.items() if found}
    if "Quire" not in medians:
        sys.exit("there is no figure of Quire to compare with")
    print_table(medians)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"arguments": vars(args), "rounds": rounds, "medians": medians}, file, indent=1)


if __name__ == "__main__":
    main()
