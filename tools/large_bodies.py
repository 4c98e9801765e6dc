#!/usr/bin/env python3
"""What large bodies do to others: /health and a running stream, quiet and with bodies over the context in flight.

    tools/large_bodies.py build/release/bin/quire model.gguf              a quiet phase, then three bodies of 7.8 MB
    tools/large_bodies.py build/release/bin/quire model.gguf --chat       as messages, through the chat template
    tools/large_bodies.py build/release/bin/quire model.gguf -- -c 4096   with flags of quire serve

Prints the percentiles of /health and the gaps of the stream in both phases, and what the bodies were answered. Exits
with 1 when /health takes more than 20 ms (p99) beside the bodies, or the stream's gaps more than double.
"""
import argparse
import http.client
import json
import sys
import threading
import time

from served import HOST, Server


def connect(server):
    return http.client.HTTPConnection(HOST, server.port, timeout=120)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Health(threading.Thread):
    """Asks /health every 10 ms, over one connection."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.connection, self.seconds, self.is_over = connect(server), [], False

    def run(self):
        while not self.is_over:
            begin = time.monotonic()
            self.connection.request("GET", "/health")
            self.connection.getresponse().read()
            self.seconds.append(time.monotonic() - begin)
            time.sleep(0.01)


class Stream(threading.Thread):
    """Reads an endless answer and keeps the time between its events."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.connection, self.gaps, self.is_over = connect(server), [], False

    def run(self):
        body = {"prompt": "Once upon a time", "max_tokens": 2000, "ignore_eos": True, "stream": True}
        while not self.is_over:
            self.connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            reply, last = self.connection.getresponse(), None
            for line in reply:
                if line.startswith(b"data: {"):
                    now = time.monotonic()
                    if last is not None:
                        self.gaps.append(now - last)
                    last = now
                if self.is_over:
                    return


def send_bodies(server, path, payload, until, answers):
    while time.monotonic() < until:
        connection = connect(server)
        begin = time.monotonic()
        connection.request("POST", path, payload, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        error = json.loads(reply.read()).get("error", {})
        answers.append((reply.status, error.get("code"), time.monotonic() - begin))
        connection.close()


def measure(server, seconds, load):
    """The phase's times of /health and gaps of the stream, in milliseconds."""
    health, stream = Health(server), Stream(server)
    stream.start()
    time.sleep(1)
    stream.gaps.clear()
    health.start()
    load(server, time.monotonic() + seconds)
    for thread in (health, stream):
        thread.is_over = True
    health.join()
    stream.join()
    return [1000 * x for x in health.seconds], [1000 * x for x in stream.gaps]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--bodies", type=int, default=3)
    parser.add_argument("--bytes", type=int, default=7_800_000)
    parser.add_argument("--seconds", type=float, default=10)
    own = sys.argv[1:sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    args = parser.parse_args(own)
    text = ("The quick brown fox jumps over the lazy dog. " * (args.bytes // 45 + 1))[:args.bytes]
    body = {"messages": [{"role": "user", "content": text}]} if args.chat else {"prompt": text}
    path = "/v1/chat/completions" if args.chat else "/v1/completions"
    payload = json.dumps(body).encode()
    answers = []

    def bodies(server, until):
        threads = [threading.Thread(target=send_bodies, args=(server, path, payload, until, answers))
                   for _ in range(args.bodies)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with Server(args.program, args.model, *sys.argv[len(own) + 2:]) as server:
        quiet_health, quiet_gaps = measure(server, args.seconds, lambda _, until: time.sleep(until - time.monotonic()))
        health, gaps = measure(server, args.seconds, bodies)
    for name, values in (("/health, quiet", quiet_health), ("/health, bodies", health), ("gap, quiet", quiet_gaps),
                         ("gap, bodies", gaps)):
        print(f"{name:<16} n {len(values):5}   p50 {percentile(values, 0.5):8.2f}   p99 {percentile(values, 0.99):8.2f}   "
              f"max {max(values, default=float('nan')):8.2f} ms")
    outcomes = {}
    for status, code, seconds in answers:
        outcomes.setdefault((status, code), []).append(seconds)
    for (status, code), seconds in outcomes.items():
        print(f"{len(seconds)} bodies: {status} {code} in {percentile(seconds, 0.5) * 1000:.0f} ms (p50)")
    is_well = percentile(health, 0.99) <= 20 and percentile(gaps, 0.99) <= 2 * percentile(quiet_gaps, 0.99)
    print("PASS" if is_well else "FAIL")
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
