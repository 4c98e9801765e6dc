#!/usr/bin/env python3
"""Soak tests of `quire serve` with the demo model: clients that leave, overload, slow clients, draining, idling.

    tools/soak_serving.py build/release/bin/quire                     all of them, about six minutes
    tools/soak_serving.py build/release/bin/quire disconnects drain   some
    tools/soak_serving.py build/tsan/bin/quire --scale 0.1 disconnects

Each prints one line, PASS or FAIL, with its figures. Speaks to 127.0.0.1 only; bounded in clients and in time.
"""
import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import statistics
import struct
import sys
import time

import served
from served import HOST, Server

STORIES = ["Once upon a time", "The fox said", "In the forest a girl", "One day the old dog"]


def message(method, path, body=None):
    payload = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {len(payload)}\r\n\r\n"
    return head.encode(), payload


def parse_reply(data):
    """Status and body of a whole reply."""
    head, _, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            whole, body = whole + body[:int(size, 16)], body[int(size, 16) + 2:]
        body = whole
    return (int(head[9:12]) if head else 0), body


async def ask(server, body, path="/v1/completions", method="POST"):
    reader, writer = await asyncio.open_connection(HOST, server.port)
    try:
        writer.write(b"".join(message(method, path, body)))
        return parse_reply(await reader.read())
    finally:
        writer.close()


def events_of(body):
    return [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]


def parse_stream(body):
    """(text, log probabilities, number of tokens, whether it ended as it should) of a completions stream."""
    events = events_of(body)
    if not events or events[-1] != "[DONE]":
        return "", [], 0, False
    text, logprobs, usage = "", [], 0
    for chunk in map(json.loads, events[:-1]):
        usage = (chunk.get("usage") or {}).get("completion_tokens", usage)
        for choice in chunk.get("choices", []):
            text += choice["text"]
            logprobs += (choice.get("logprobs") or {}).get("token_logprobs", [])
    return text, logprobs, usage, all("error" not in json.loads(event) for event in events[:-1])


def story(prompt, tokens, **fields):
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **fields}


def streamed(prompt, tokens, logprobs=2):
    return story(prompt, tokens, stream=True, logprobs=logprobs, stream_options={"include_usage": True})


async def engine_status(server):
    return json.loads((await ask(server, None, "/status", "GET"))[1])["engine"]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def verdict(name, passed, figures):
    print(f"{'PASS' if passed else 'FAIL'} {name}: {figures}", flush=True)
    return passed


# --- clients that leave ---

async def leave_somewhere(server, rng):
    """One client that cuts at a random moment; gives which."""
    moment = rng.choice(["head", "body", "sent", "later", "tokens"])
    prompt = " ".join(rng.choices(["fox", "girl", "the", "ran", "a", "old", "tree"], k=rng.choice([3, 40, 400])))
    body = story(prompt, 256, stream=moment == "tokens" or rng.random() < 0.5, n=rng.choice([1, 1, 2]))
    reader, writer = await asyncio.open_connection(HOST, server.port)
    head, payload = message("POST", "/v1/completions", body)
    sent = head + payload
    if moment == "head":
        sent = head[:rng.randrange(1, len(head))]
    elif moment == "body":
        sent = head + payload[:rng.randrange(len(payload))]
    with contextlib.suppress(ConnectionError):
        writer.write(sent)
        await writer.drain()
        if moment == "later":
            await asyncio.sleep(rng.uniform(0, 3))  # queued, in prefill or in decode
        elif moment == "tokens":
            for _ in range(rng.randrange(1, 100)):
                if not await reader.readline():
                    break
    if rng.random() < 0.5:  # a reset instead of an end
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
    return moment


async def disconnects(program, scale):
    num_clients, num_probes, at_once = int(1000 * scale), 4, 96
    with Server(program) as server:
        alone = [parse_stream((await ask(server, streamed(prompt, 300)))[1]) for prompt in STORIES[:num_probes]]
        is_over, compared, different = False, 0, 0

        async def probe(index):
            nonlocal compared, different
            while not is_over:
                answer = parse_stream((await ask(server, streamed(STORIES[index], 300)))[1])
                compared += 1
                different += answer != alone[index] or not answer[3] or answer[2] != 300

        probes = [asyncio.create_task(probe(index)) for index in range(num_probes)]
        gate, rng = asyncio.Semaphore(at_once), random.Random(1)

        async def client(seed):
            async with gate:
                return await leave_somewhere(server, random.Random(seed))

        began = time.monotonic()
        moments = await asyncio.gather(*(client(rng.random()) for _ in range(num_clients)))
        took, is_over = time.monotonic() - began, True
        await asyncio.gather(*probes)
        began = time.monotonic()
        while True:
            status = await engine_status(server)
            left = {key: status[key] for key in ("num_running", "num_waiting")}
            left["blocks_active"] = sum(group["blocks_active"] for group in status["groups"])
            settled = time.monotonic() - began
            if not any(left.values()) or settled > 1:
                break
            await asyncio.sleep(0.01)
        code = server.stop()
    counts = {moment: moments.count(moment) for moment in sorted(set(moments))}
    return verdict("disconnects", not any(left.values()) and not different and compared >= num_probes and code == 0,
                   f"{num_clients} clients in {took:.1f} s {counts}, {status['num_cancelled']} cancelled, left over {left} "
                   f"after {settled:.2f} s, {compared} probe answers, {different} differ from the answer alone, exit {code}")


# --- overload ---

async def overload(program, scale):
    seconds, tokens, deadline = max(10, 60 * scale), 256, 10.0
    rng = random.Random(2)

    def request():
        return story(" ".join(rng.choices(["fox", "girl", "the", "ran"], k=30)), tokens)

    # The server and its load run on different processors, so that the load does not slow down the server.
    *servers, loads = sorted(os.sched_getaffinity(0))
    if servers:
        os.sched_setaffinity(0, {loads})
    with Server(program, "demo", "--max-num-queued-reqs", "64", processors=servers) as server:
        async def capacity():
            """Answers in a second, and the processor time of one, when as many clients ask as there is room for."""
            began, cpu, finished = time.monotonic(), server.cpu_seconds(), []
            end = began + 10

            async def closed_loop():
                while time.monotonic() < end:
                    status, _ = await ask(server, request())
                    if status == 200:
                        finished.append(time.monotonic())

            await asyncio.gather(*(closed_loop() for _ in range(48)))
            return sum(began + 2 < at <= end for at in finished) / (end - began - 2), (server.cpu_seconds() - cpu) / len(finished)

        before, best_cpu = await capacity()
        good, rejected, other, late, lags, resident = [], [], [], 0, [], []

        async def one():
            nonlocal late
            sent = time.monotonic()
            try:
                status, _ = await ask(server, request())
            except OSError as error:
                other.append(repr(error))
                return
            now = time.monotonic()
            if status == 429:
                rejected.append(now - sent)
            elif status != 200:
                other.append(status)
            elif now - sent > deadline:
                late += 1
            else:
                good.append(now)

        began, offered, tasks, sampled, cpu = time.monotonic(), 0, set(), 0, server.cpu_seconds()
        while (now := time.monotonic()) - began < seconds:
            while offered < (now - began) * 10 * before:
                task = asyncio.create_task(one())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                offered += 1
            if now - began > sampled:
                resident.append(server.resident_kib())
                sampled += 1
            await asyncio.sleep(0.002)
            lags.append(time.monotonic() - now - 0.002)
        end = time.monotonic()
        await asyncio.gather(*tasks)
        loaded_cpu = (server.cpu_seconds() - cpu) / max(1, len(good) + late)
        after, _ = await capacity()  # the machine's speed may have changed
        code = server.stop()
    best = (before + after) / 2
    warm = len(resident) // 4
    growth = statistics.median(resident[-warm:]) / statistics.median(resident[warm:2 * warm]) - 1
    goodput = sum(began + 5 < at <= end for at in good) / (end - began - 5)
    p99 = percentile(rejected, 0.99)
    return verdict("overload", goodput >= 0.9 * best and p99 <= 0.02 and growth <= 0.02 and not other and code == 0,
                   f"best {before:.1f} and afterwards {after:.1f} requests/s of {tokens} tokens; {offered / seconds:.0f}/s offered for {seconds:.0f} s: "
                   f"goodput {goodput:.1f}/s ({goodput / best:.0%}), late {late}, CPU time of an answer {best_cpu * 1e3:.1f} -> "
                   f"{loaded_cpu * 1e3:.1f} ms, {len(rejected)} refused in p50 "
                   f"{percentile(rejected, 0.5) * 1e3:.1f} ms p99 {p99 * 1e3:.1f} ms (this client's own lag p99 "
                   f"{percentile(lags, 0.99) * 1e3:.1f} ms), others {other[:3]}, resident "
                   f"{resident[warm] / 1024:.1f} -> {resident[-1] / 1024:.1f} MiB ({growth:+.1%}), exit {code}")


# --- slow clients ---

def send_slowly(port, count, is_over, connected):
    """Runs in its own process: `count` connections that send a byte of their header each second, reopened when cut."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    head = message("POST", "/v1/completions", {})[0]
    clients = []
    while not is_over.is_set():
        began, alive = time.monotonic(), []
        for client, sent in clients:
            try:
                client.send(head[sent:sent + 1])
                alive.append((client, sent + 1))
            except OSError:
                client.close()
        for _ in range(min(count - len(alive), 2500)):
            try:
                alive.append((socket.create_connection((HOST, port), 5), 0))
                alive[-1][0].setblocking(False)
            except OSError:
                break
        clients = alive
        connected.value = len(clients)
        time.sleep(max(0.0, 1 - (time.monotonic() - began)))


class SlowReader:
    """Asks for a long stream, takes a byte each second until told to read on."""

    async def start(self, server, index):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.prompt, self.data = STORIES[index % len(STORIES)], b""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, (HOST, server.port))
        await loop.sock_sendall(self.socket, b"".join(message("POST", "/v1/completions", streamed(self.prompt, 400, 20))))

    async def read(self, size):
        data = await asyncio.get_running_loop().sock_recv(self.socket, size)
        self.data += data
        return data

    async def finish(self):
        while await self.read(65536):
            pass
        self.socket.close()
        return parse_stream(parse_reply(self.data)[1])


async def measure_normal(server, count):
    times = []
    for _ in range(count):
        began = time.monotonic()
        status, _ = await ask(server, story("The fox", 8))
        if status != 200:
            raise RuntimeError(f"a normal request got {status}")
        times.append(time.monotonic() - began)
        await asyncio.sleep(0.02)
    return f"p50 {percentile(times, 0.5) * 1e3:.1f} ms p99 {percentile(times, 0.99) * 1e3:.1f} ms", percentile(times, 0.99)


async def slow(program, scale):
    num_senders, num_readers, num_normal = int(10_000 * scale), int(200 * scale), max(50, int(400 * scale))
    context = multiprocessing.get_context("spawn")
    is_over, connected = context.Event(), context.Value("i", 0)
    with Server(program, "demo", "--max-num-queued-reqs", "1024") as server:
        expected = {prompt: parse_stream((await ask(server, streamed(prompt, 400, 20)))[1]) for prompt in STORIES}
        before, p99_before = await measure_normal(server, num_normal)
        senders = context.Process(target=send_slowly, args=(server.port, num_senders, is_over, connected), daemon=True)
        senders.start()
        for _ in range(60):
            if connected.value == num_senders:
                break
            await asyncio.sleep(1)
        readers = [SlowReader() for _ in range(num_readers)]
        for index, reader in enumerate(readers):
            await reader.start(server, index)

        async def trickle(reader):
            while not is_over.is_set():
                await reader.read(1)
                await asyncio.sleep(1)

        trickles = [asyncio.create_task(trickle(reader)) for reader in readers]
        # Until their answers are computed: from then on only unsent data is a burden.
        while (await engine_status(server))["num_running"]:
            await asyncio.sleep(0.2)
        fewest = connected.value
        during, p99_during = await measure_normal(server, num_normal)
        fewest = min(fewest, connected.value)
        resident = server.resident_kib()
        is_over.set()
        await asyncio.gather(*trickles)
        senders.join(20)
        answers = await asyncio.gather(*(reader.finish() for reader in readers))
        wrong = sum(answer != expected[reader.prompt] for answer, reader in zip(answers, readers))
        code = server.stop()
    return verdict("slow", not wrong and fewest >= 0.7 * num_senders and p99_during <= 10 * p99_before + 0.1 and code == 0,
                   f"{fewest} of {num_senders} slow senders and {num_readers} slow readers connected, normal requests before "
                   f"{before}, during {during}, resident {resident / 1024:.0f} MiB, {wrong} slow readers' answers wrong, "
                   f"exit {code}")


# --- draining ---

async def drain_once(program, rng):
    """Outcomes of five streams when SIGTERM comes at a random moment, and the exit code."""
    with Server(program) as server:
        started = []

        async def stream(index):
            try:
                reader, writer = await asyncio.open_connection(HOST, server.port)
            except ConnectionError:
                return "not connected"
            writer.write(b"".join(message("POST", "/v1/completions", streamed(STORIES[index % 4], 200))))
            data = b""
            with contextlib.suppress(ConnectionError):
                data = await reader.read(1)
                started.append(index)
                data += await reader.read()
            writer.close()
            if not data:
                return "closed before an answer"
            status, body = parse_reply(data)
            if status != 200:
                return f"status {status}"
            *_, tokens, is_whole = parse_stream(body)
            return "whole" if is_whole and tokens == 200 else f"cut at {tokens}"

        streams = [asyncio.create_task(stream(index)) for index in range(5)]
        # One round in four signals while the requests are still on their way.
        longest = 0.01
        if rng.random() >= 0.25:
            longest = 0.4
            while len(started) < 5:
                await asyncio.sleep(0.005)
        await asyncio.sleep(rng.uniform(0, longest))
        server.process.send_signal(signal.SIGTERM)
        outcomes = await asyncio.gather(*streams)
        begun = longest > 0.1
        if begun and set(outcomes) != {"whole"}:
            outcomes = [outcome if outcome == "whole" else f"{outcome}, though begun" for outcome in outcomes]
        return outcomes, server.process.wait(served.STOP_SECONDS)


async def drain(program, scale):
    rounds, rng, outcomes, codes = max(5, int(200 * scale)), random.Random(3), [], []
    began = time.monotonic()
    for _ in range(rounds):
        results, code = await drain_once(program, rng)
        outcomes += results
        codes.append(code)
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    # A request that was still on its way may be refused; an answer that has begun is completed.
    allowed = {"whole", "status 503", "not connected", "closed before an answer"}
    return verdict("drain", not set(outcomes) - allowed and not any(codes),
                   f"{rounds} starts and drains in {time.monotonic() - began:.0f} s, streams {counts}, "
                   f"exit codes {sorted(set(codes))}")


# --- idling ---

async def idle(program, _scale):
    with Server(program) as server:
        await ask(server, story("The fox", 50))
        await asyncio.sleep(1)
        cpu, wakes = server.cpu_seconds(), server.wake_ups()
        await asyncio.sleep(10)
        cpu, wakes = server.cpu_seconds() - cpu, server.wake_ups() - wakes
        code = server.stop()
    return verdict("idle", cpu <= 0.02 and wakes <= 100 and code == 0,
                   f"{cpu * 1e3:.0f} ms of CPU time and {wakes} wake-ups in 10 s, exit {code}")


TESTS = {test.__name__: test for test in (idle, disconnects, drain, slow, overload)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the quire to test")
    parser.add_argument("tests", nargs="*", default=list(TESTS), help=f"of {', '.join(TESTS)}; default all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of clients and rounds (default 1)")
    arguments = parser.parse_intermixed_args()
    if unknown := set(arguments.tests) - set(TESTS):
        parser.error(f"no test is named {', '.join(sorted(unknown))}; there are {', '.join(TESTS)}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    passed = [asyncio.run(TESTS[name](arguments.program, arguments.scale)) for name in arguments.tests]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
