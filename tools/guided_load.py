#!/usr/bin/env python3
"""What streams without a form see while others bring large grammars: their time to the first token and between tokens.

    tools/guided_load.py [--program build/release/bin/quire] [--model demo] [--streams 4] [--grammars 64]

Streams run one after the other on each of a few connections. First they are alone; then as many schemas as asked, all
different and large, are compiled beside them, each for an answer of one token. Both are printed, and their ratio.
"""

import argparse
import http.client
import json
import threading
import time

import served

SECONDS_ALONE = 10
TOKENS = 64


def schema(number, properties):
    """A schema that no other number has: nested objects, patterns, enumerations and alternatives."""
    definitions, listed = {}, {}
    for i in range(properties):
        definitions[f"d{i}"] = {
            "type": "object",
            "properties": {
                "code": {"type": "string", "pattern": f"^[A-Z]{{2,{4 + i % 7}}}-\\d+(\\.x{number}_{i})?$"},
                "kind": {"enum": [f"kind {number} {i} {k}" for k in range(40)]},
                "size": {"type": "number", "minimum": i, "maximum": 1000 + number},
                "next": {"anyOf": [{"type": "null"}, {"$ref": f"#/$defs/d{(i * 7 + 1) % properties}"}]},
            },
            "required": ["code", "kind"],
            "additionalProperties": False,
        }
        listed[f"property_{number}_{i}"] = {"$ref": f"#/$defs/d{i}"}
    return {"type": "object", "properties": listed, "$defs": definitions, "additionalProperties": False}


def post(port, path, body, timeout=600):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection, connection.getresponse()


class Streams:
    """Streams without a form, until stopped. Times in milliseconds."""

    def __init__(self, port, count):
        self.port, self.first, self.between, self.failure = port, [], [], None
        self.is_stopped = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        try:
            while not self.is_stopped.is_set():
                self._stream(number)
        except Exception as error:  # told by stop()
            self.failure = error

    def _stream(self, number):
        body = {"prompt": f"Story {number}:", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
        last = time.perf_counter()
        connection, response = post(self.port, "/v1/completions", body)
        if response.status != 200:
            raise RuntimeError(response.read().decode())
        is_first = True
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            now = time.perf_counter()
            (self.first if is_first else self.between).append(1000 * (now - last))
            last, is_first = now, False
        connection.close()

    def stop(self):
        self.is_stopped.set()
        for thread in self.threads:
            thread.join()
        if self.failure:
            raise self.failure


def compile_all(port, schemas):
    """All at once; how long each request took, in milliseconds."""
    times, failures = [], []

    def ask(one):
        body = {
            "messages": [{"role": "user", "content": "Go"}],
            "max_tokens": 1,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": one}},
        }
        begin = time.perf_counter()
        _, response = post(port, "/v1/chat/completions", body)
        text = response.read().decode()
        times.append(1000 * (time.perf_counter() - begin))
        if response.status != 200:
            failures.append(text)

    threads = [threading.Thread(target=ask, args=(one,)) for one in schemas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return times


def quantile(values, q):
    return sorted(values)[int(q * (len(values) - 1))] if values else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/quire")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--grammars", type=int, default=64)
    parser.add_argument("--properties", type=int, default=200)
    parser.add_argument("options", nargs="*", help="more options of quire serve, after --")
    options = parser.parse_args()
    schemas = [schema(number, options.properties) for number in range(options.grammars)]
    limits = ["--max-num-seqs", str(options.streams + options.grammars)]
    with served.Server(options.program, options.model, *limits, *options.options) as server:
        compile_all(server.port, [{"type": "object"}])  # makes the vocabulary
        alone = Streams(server.port, options.streams)
        time.sleep(SECONDS_ALONE)
        alone.stop()
        beside = Streams(server.port, options.streams)
        begin = time.perf_counter()
        times = compile_all(server.port, schemas)
        seconds = time.perf_counter() - begin
        beside.stop()
    size = len(json.dumps(schemas[0]))
    print(f"{len(schemas)} schemas of {size} bytes in {seconds:.1f} s; each p50 {quantile(times, 0.5):.0f} ms")
    print(f"{'ms':>24}{'alone':>10}{'beside':>10}{'ratio':>8}")
    for name, before, after in (("first token", alone.first, beside.first), ("between", alone.between, beside.between)):
        for label, q in (("p50", 0.5), ("p99", 0.99), ("max", 1)):
            a, b = quantile(before, q), quantile(after, q)
            print(f"{name + ' ' + label:>24}{a:>10.2f}{b:>10.2f}{b / a:>8.2f}")


if __name__ == "__main__":
    main()
