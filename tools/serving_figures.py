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
import json
import pathlib
import subprocess
import tempfile
import urllib.request

import long_prompt
from served import Server


def serve(args, *flags):
    return Server(args.quire, args.model, "--no-webui", *flags)


def engine_status(server):
    return json.load(urllib.request.urlopen(server.url + "/status"))["engine"]


def bench_serve(args, server, *flags):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run([args.quire, "bench", "serve", "--base-url", server.url, "--ids", "--json", out.name, *flags],
                       check=True, stdout=subprocess.DEVNULL)
        return json.load(open(out.name))["runs"][0]


WORKLOAD = ["--prefix-len", "200", "--input-len", "30", "--output-len", "50"]


def prefix(args):
    with serve(args, "--ctx-size", "512", "--no-prefix-caching") as server:
        run = bench_serve(args, server, *WORKLOAD, "--concurrency", "32", "-n", "64", "--warmup", "2")
        capacity = run["requests_per_second"]
    print(f"uncached capacity {capacity:.2f} requests/s\n")
    print("| load | cache | requests/s | mean latency, s | TTFT mean, s | TTFT p99, s |\n|---|---|---|---|---|---|")
    rows = []
    for factor in (0.7, 1.0, 1.7):
        for cache in ("on", "off"):
            flags = [] if cache == "on" else ["--no-prefix-caching"]
            with serve(args, "--ctx-size", "512", *flags) as server:
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


def gap(args):
    results = []
    with serve(args, "--ctx-size", "8192", "--max-num-seqs", "16") as server:
        alone = long_prompt.alone_s(server.url, 4096)
        quiet = long_prompt.visit(server.url, 0).quiet_ms
    print(f"quiet gap of 8 streams {quiet:.0f} ms; a prompt of 4,096 tokens alone: TTFT {alone:.2f} s")
    print("| target | median gap, ms | nine in ten up to | longest | newcomer's TTFT, s | against alone |\n|---|---|---|---|---|---|")
    for target in (0, 2 * quiet, 4 * quiet):
        with serve(args, "--ctx-size", "8192", "--max-num-seqs", "16", "--itl-target-ms", f"{target:.0f}") as server:
            long_prompt.visit(server.url, 4096)  # the costs are learned
            visit = long_prompt.visit(server.url, 4096, first_id=2500)
        gaps, ttft = visit.gaps_ms, visit.ttft_s
        median, p90, worst = gaps[len(gaps) // 2], gaps[len(gaps) * 9 // 10], gaps[-1]
        results.append({"target_ms": target, "median_ms": median, "p90_ms": p90, "worst_ms": worst, "ttft_s": ttft})
        name = "none" if target == 0 else f"{target:.0f} ms"
        print(f"| {name} | {median:.0f} | {p90:.0f} | {worst:.0f} | {ttft:.2f} | {ttft / alone:.2f} |", flush=True)
    return {"quiet_ms": quiet, "alone_s": alone, "runs": results}


def host(args):
    with serve(args, "--ctx-size", "512") as server:
        run = bench_serve(args, server, "--input-len", "32", "--output-len", "100", "--concurrency", "32", "-n", "64")
        status = engine_status(server)
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
