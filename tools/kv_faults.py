#!/usr/bin/env python3
"""Serves over a KV store on disk, does harm to server and store, and compares every answer with a server without one.

    tools/kv_faults.py PROGRAM [MODEL] [--kills N] [--damages N] [--restart] [--seed N]

--kills    ends the server with SIGKILL at a random moment while it answers, N times, and goes on with the same file
--damages  flips random bytes of the file, or cuts it off, between two runs of the server, N times
--redis    two servers share a redis-server, which is stopped (SIGSTOP), goes on and is killed
--restart  the time to the first token of a prefix of about 2,048 tokens: without a store, and after a restart with one

Answers are compared by tokens and log probabilities, to the last bit. The exit code is 1 if one differs, or if a server
ends by itself. Say with MODEL `demo` for many rounds; times are only worth something on a machine that does nothing
else.
"""
import argparse
import concurrent.futures
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import served

WORDS = "the sea a light of stone and river under cold wind old house by green hill road over small bird into night".split()
NUM_PREFIXES = 6
PREFIX_WORDS = 150
NUM_PROMPTS = 24
MAX_TOKENS = 8
MAX_SECONDS_TO_KILL = 1.5
RESTART_WORDS = 2000


def text_of(source, count):
    return " ".join(source.choice(WORDS) for _ in range(count))


def post(url, body, timeout=120):
    request = urllib.request.Request(
        url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=timeout)


def ask(url, prompt):
    """What must be equal everywhere, and how many tokens of the prompt were not computed."""
    body = {"prompt": prompt, "max_tokens": MAX_TOKENS, "temperature": 0, "logprobs": 2, "ignore_eos": True}
    with post(url, body) as response:
        answer = json.load(response)
    choice = answer["choices"][0]
    cached = (answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return json.dumps([choice["text"], choice["logprobs"]], sort_keys=True), cached


class Trial:
    """A model, prompts with prefixes in common, and their right answers."""

    def __init__(self, options, folder):
        self.options = options
        self.random = random.Random(options.seed)
        self.path = os.path.join(folder, "kv")
        prefixes = [text_of(self.random, PREFIX_WORDS) for _ in range(NUM_PREFIXES)]
        self.prompts = [f"{self.random.choice(prefixes)} {text_of(self.random, 5)}" for _ in range(NUM_PROMPTS)]
        with served.Server(options.program, options.model) as server:
            self.right = [ask(server.url, prompt)[0] for prompt in self.prompts]
        self.store = ("--kv-disk", self.path, "--kv-disk-size", options.size)
        self.num_answers = self.num_wrong = self.num_cached = self.num_starts_with_hits = 0

    def start(self):
        return served.Server(self.options.program, self.options.model, *self.store)

    def answer(self, server, count, workers=4):
        """Asks for some answers; those that the end of the server has cut off are not counted."""
        chosen = [self.random.randrange(NUM_PROMPTS) for _ in range(count)]

        def one(index):
            try:
                return index, *ask(server.url, self.prompts[index])
            except (OSError, ValueError, urllib.error.URLError):
                if server.process.poll() is None and not server.is_condemned:
                    raise
                return None

        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            results = [result for result in pool.map(one, chosen) if result]
        for index, found, cached in results:
            self.num_answers += 1
            self.num_cached += cached
            if found != self.right[index]:
                self.num_wrong += 1
                print(f"prompt {index}: found {found}\nexpected {self.right[index]}", file=sys.stderr)
        return sum(cached for _, _, cached in results)

    def first_of_a_run(self, server):
        """One answer alone: all that is cached has come from the store."""
        self.num_starts_with_hits += self.answer(server, 1) > 0

    def kill_once(self):
        server = self.start()
        server.is_condemned = True

        def kill():
            server.process.kill()

        self.first_of_a_run(server)
        timer = threading.Timer(self.random.uniform(0, MAX_SECONDS_TO_KILL), kill)
        timer.start()
        while server.process.poll() is None:
            self.answer(server, 8)
        timer.join()
        if server.process.returncode != -9:
            sys.exit(f"the server ended with {server.process.returncode} by itself:\n{server.log()}")

    def damage_once(self):
        size = os.path.getsize(self.path)
        if self.random.random() < 0.1:
            os.truncate(self.path, self.random.randrange(size))
        else:
            with open(self.path, "r+b") as file:
                for _ in range(self.random.choice((1, 100, 10_000))):
                    file.seek(self.random.randrange(size))
                    byte = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes((byte[0] ^ (1 << self.random.randrange(8)),)))
        server = self.start()
        server.is_condemned = False
        with server:
            self.first_of_a_run(server)
            self.answer(server, 12)

    def share(self, folder):
        secret = os.path.join(folder, "secret")
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(os.urandom(16))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        redis = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
                                  folder], stdout=subprocess.DEVNULL)
        self.store = ("--kv-store", f"redis://127.0.0.1:{port}", "--kv-secret", secret)
        try:
            with self.start() as first, self.start() as second:
                first.is_condemned = second.is_condemned = False
                self.answer(first, NUM_PROMPTS)
                time.sleep(1)
                self.first_of_a_run(second)
                for harm in (signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL):
                    redis.send_signal(harm)
                    start = time.monotonic()
                    self.answer(second, NUM_PROMPTS)
                    self.answer(first, NUM_PROMPTS)
                    print(f"after {harm.name}: {2 * NUM_PROMPTS} answers in {time.monotonic() - start:.2f} s")
        finally:
            redis.kill()
            redis.wait()

    def report(self, what, count):
        print(f"{count} {what}: {self.num_answers} answers, {self.num_wrong} wrong; {self.num_cached} tokens of "
              f"prompts not computed; the first answer used the store in {self.num_starts_with_hits} runs")


def first_token_ms(url, prompt):
    start = time.monotonic()
    with post(url, {"prompt": prompt, "max_tokens": 1, "temperature": 0, "stream": True}) as response:
        for line in response:
            if line.startswith(b"data:"):
                return 1000 * (time.monotonic() - start)
    raise RuntimeError("no token came")


def restart(options, folder):
    source = random.Random(options.seed)
    prefixes = [text_of(source, RESTART_WORDS) for _ in range(3)]
    store = ("--kv-disk", os.path.join(folder, "restart"), "--kv-disk-size", options.size)
    times = {}
    for name, arguments in (("cold", ()), ("first", store), ("restarted", store)):
        with served.Server(options.program, options.model, *arguments) as server:
            first_token_ms(server.url, "the")
            times[name] = [first_token_ms(server.url, prefix + f" {name}") for prefix in prefixes]
    for name, values in times.items():
        print(f"{name:>9}: first token after {', '.join(f'{value:.1f}' for value in values)} ms")
    median = {name: sorted(values)[1] for name, values in times.items()}
    print(f"after a restart {median['restarted'] / median['cold']:.3f}x of cold, "
          f"with an empty store {median['first'] / median['cold']:.3f}x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--damages", type=int, default=0)
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--size", default="256MiB", help="of the file")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.restart:
            restart(options, folder)
        if not options.kills and not options.damages and not options.redis:
            return 0
        trial = Trial(options, folder)
        for _ in range(options.kills):
            trial.kill_once()
        if options.kills:
            trial.report("kills", options.kills)
        if options.damages and not options.kills:
            with trial.start() as server:
                server.is_condemned = False
                trial.answer(server, NUM_PROMPTS)
        for _ in range(options.damages):
            trial.damage_once()
        if options.damages:
            trial.report("damages (and kills before)" if options.kills else "damages", options.damages)
        if options.redis:
            trial.share(folder)
            trial.report("servers with one Redis (and what was before)", 2)
        return 1 if trial.num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
