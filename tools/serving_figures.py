#!/usr/bin/env python3
"""Measures what docs/serving.md states about the server, each part with a new server, one after the other.

    tools/serving_figures.py MODEL.gguf [--parts prefix,static,gap,host] [--quire PATH] [--json FILE]

prefix  shared prefix of 200 tokens, 30 own, 50 of output, at 0.7, 1.0 and 1.7 times the uncached capacity, cache on and off
static  heavy-tailed output lengths: continuous batching against static batches of 8, padded and refilled
gap     a prompt of 4,096 tokens arrives among 8 streams: longest gap of a stream and the newcomer's TTFT
host    share of a step that is not the model, at 32 streams
Nothing else should run meanwhile.
"""

import argparse
import asyncio
import json
import pathlib
import statistics
import subprocess
import tempfile
import time
import urllib.request


class Server:
    def __init__(self, args, *flags):
        command = [args.quire, "serve", args.model, "--port", "0", "--no-webui", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("listening"):
                self.url = line.split()[1]
                break
        while json.load(urllib.request.urlopen(self.url + "/status"))["state"] != "ready":
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def status(self):
        return json.load(urllib.request.urlopen(self.url + "/status"))["engine"]


def bench_serve(args, server, *flags):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([args.quire, "bench", "serve", "--base-url", server.url, "--ids", "--json", out.name, *flags],
                       check=True, stdout=subprocess.DEVNULL)
        return json.load(open(out.name))["runs"][0]


WORKLOAD = ["--prefix-len", "200", "--input-len", "30", "--output-len", "50"]


def prefix(args):
    with Server(args, "--ctx-size", "512", "--no-prefix-caching") as server:
        run = bench_serve(args, server, *WORKLOAD, "--concurrency", "32", "-n", "64", "--warmup", "2")
        capacity = run["requests_per_second"]
    print(f"uncached capacity {capacity:.2f} requests/s\n")
    print("| load | cache | requests/s | mean latency, s | TTFT mean, s | TTFT p99, s |\n|---|---|---|---|---|---|")
    rows = []
    for factor in (0.7, 1.0, 1.7):
        for cache in ("on", "off"):
            flags = [] if cache == "on" else ["--no-prefix-caching"]
            with Server(args, "--ctx-size", "512", *flags) as server:
                run = bench_serve(args, server, *WORKLOAD, "--rate", f"{factor * capacity:.3f}", "--duration",
                                  str(args.seconds))
            row = {"factor": factor, "cache": cache, "requests_per_second": run["requests_per_second"],
                   "latency_s": run["e2e_ms"]["mean"] / 1e3, "ttft_s": run["ttft_ms"]["mean"] / 1e3,
                   "ttft_p99_s": run["ttft_ms"]["p99"] / 1e3}
            rows.append(row)
            print(f"| {factor} x | {cache} | {row['requests_per_second']:.2f} | {row['latency_s']:.2f} | "
                  f"{row['ttft_s']:.3f} | {row['ttft_p99_s']:.3f} |", flush=True)
    for on, off in zip(rows[::2], rows[1::2]):
        print(f"{on['factor']} x: requests/s x {on['requests_per_second'] / off['requests_per_second']:.2f}, mean latency / "
              f"{off['latency_s'] / on['latency_s']:.1f}, mean TTFT / {off['ttft_s'] / on['ttft_s']:.1f}")
    return {"capacity": capacity, "rows": rows}


def static(args):
    results = {}
    for name, flags in {"continuous, 32": ["--max-num-seqs", "32"],
                        "static of 8, refilled": ["--max-num-seqs", "8", "--static-batching", "refilled"],
                        "static of 8, padded": ["--max-num-seqs", "8", "--static-batching", "refilled", "--pad-outputs"]}.items():
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            subprocess.run([args.quire, "bench", "batch", args.model, "--random", str(args.jobs), "--input-len", "16",
                            "--output-len", "lognormal:12:1.6:512", "--json", out.name, *flags], check=True,
                           stdout=subprocess.DEVNULL)
            results[name] = json.load(open(out.name))
        print(f"{name}: {results[name]['output_tokens_per_second']:.1f} generated tokens/s, "
              f"{results[name]['computed_tokens']} rows computed", flush=True)
    best = results["continuous, 32"]["output_tokens_per_second"]
    for name, result in results.items():
        print(f"continuous / {name}: {best / result['output_tokens_per_second']:.2f}")
    return results


async def stream(url, prompt, max_tokens, stamps):
    host, port = url.split("//")[1].split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
    body = json.dumps({"prompt": prompt, "max_tokens": max_tokens, "stream": True, "ignore_eos": True, "temperature": 0}).encode()
    writer.write(f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                 f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    while True:
        line = await reader.readline()
        if line.startswith(b"data: [DONE]") or not line:
            break
        if line.startswith(b"data: {"):
            stamps.append(time.perf_counter())
    writer.close()


async def gap_run(server, newcomer, first_id=2000):
    """Gaps of 8 streams in order (ms) from a second before the newcomer on, their median before, and its TTFT (s)."""
    stamps = [[] for _ in range(8)]
    late = []
    tasks = [asyncio.create_task(stream(server.url, [1000 + 7 * i + j for j in range(32)], 400, stamps[i])) for i in range(8)]
    while min(map(len, stamps)) < 60:
        await asyncio.sleep(0.02)
    came = time.perf_counter()
    if newcomer:
        await stream(server.url, [first_id + (j * 31) % 20000 for j in range(4096)], 2, late)
    else:
        await asyncio.sleep(3)
    left = time.perf_counter()
    for task in tasks:
        task.cancel()
    gaps = [(b - a) * 1e3 for s in stamps for a, b in zip(s, s[1:]) if a > came - 1 and b < left]
    quiet = [(b - a) * 1e3 for s in stamps for a, b in zip(s[20:], s[21:]) if b < came]
    return sorted(gaps), statistics.median(quiet), (late[0] - came if late else None)


async def alone_ttft(server):
    stamps = []
    start = time.perf_counter()
    await stream(server.url, [3000 + (j * 37) % 20000 for j in range(4096)], 2, stamps)
    return stamps[0] - start


def gap(args):
    results = []
    with Server(args, "--ctx-size", "8192", "--max-num-seqs", "16") as server:
        alone = asyncio.run(alone_ttft(server))
        _, quiet, _ = asyncio.run(gap_run(server, newcomer=False))
    print(f"quiet gap of 8 streams {quiet:.0f} ms; a prompt of 4,096 tokens alone: TTFT {alone:.2f} s")
    print("| target | median gap, ms | nine in ten up to | longest | newcomer's TTFT, s | against alone |\n|---|---|---|---|---|---|")
    for target in (0, 2 * quiet, 4 * quiet):
        with Server(args, "--ctx-size", "8192", "--max-num-seqs", "16", "--itl-target-ms", f"{target:.0f}") as server:
            asyncio.run(gap_run(server, newcomer=True))  # the costs are learned
            gaps, _, ttft = asyncio.run(gap_run(server, newcomer=True, first_id=2500))
        median, p90, worst = gaps[len(gaps) // 2], gaps[len(gaps) * 9 // 10], gaps[-1]
        results.append({"target_ms": target, "median_ms": median, "p90_ms": p90, "worst_ms": worst, "ttft_s": ttft})
        name = "none" if target == 0 else f"{target:.0f} ms"
        print(f"| {name} | {median:.0f} | {p90:.0f} | {worst:.0f} | {ttft:.2f} | {ttft / alone:.2f} |", flush=True)
    return {"quiet_ms": quiet, "alone_s": alone, "runs": results}


def host(args):
    with Server(args, "--ctx-size", "512") as server:
        run = bench_serve(args, server, "--input-len", "32", "--output-len", "100", "--concurrency", "32", "-n", "64")
        status = server.status()
    share = (status["plan_ms"] + status["decode_ms"]) / status["run_ms"]
    print(f"32 streams: {run['output_tokens_per_second']:.1f} tokens/s; planning {status['plan_ms']:.0f} ms, sampling and publishing "
          f"{status['decode_ms']:.0f} ms, the model {status['run_ms']:.0f} ms: host share {100 * share:.2f} %")
    return {"share": share, "output_tokens_per_second": run["output_tokens_per_second"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--quire", default=str(pathlib.Path(__file__).parent.parent / "build/release/bin/quire"))
    parser.add_argument("--parts", default="prefix,static,gap,host")
    parser.add_argument("--seconds", type=int, default=40, help="of arrivals in each run of `prefix`")
    parser.add_argument("--jobs", type=int, default=64, help="requests of `static`")
    parser.add_argument("--json")
    args = parser.parse_args()
    results = {}
    for part in args.parts.split(","):
        print(f"\n== {part}", flush=True)
        results[part] = {"prefix": prefix, "static": static, "gap": gap, "host": host}[part](args)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
