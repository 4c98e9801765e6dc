"""A long prompt arrives among streams: how long they wait for it, and it for them. Any OpenAI-compatible server."""

import asyncio
import dataclasses
import json
import statistics
import time

from peers.peer import Failed

STREAMS = 8


@dataclasses.dataclass
class Visit:
    gaps_ms: list  # of the streams, in order, from a second before the prompt came until its first token
    quiet_ms: float  # their median gap before
    ttft_s: float  # of the prompt; None if none was sent


async def stream(url, prompt, max_tokens, stamps):
    host, port = url.split("//")[1].split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
    body = json.dumps({"prompt": prompt, "max_tokens": max_tokens, "stream": True, "ignore_eos": True, "temperature": 0}).encode()
    writer.write(f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                 f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    status = await reader.readline()
    if b" 200 " not in status:
        raise Failed(f"{url} answered a prompt of {len(prompt)} tokens: {(status + await reader.read(2000)).decode(errors='replace')}")
    while True:
        line = await reader.readline()
        if line.startswith(b"data: [DONE]") or not line:
            break
        if line.startswith(b"data: {"):
            stamps.append(time.perf_counter())
    writer.close()
    if not stamps:
        raise Failed(f"{url} sent no token for a prompt of {len(prompt)} tokens")


async def _visit(url, tokens, first_id):
    stamps = [[] for _ in range(STREAMS)]
    late = []
    tasks = [asyncio.create_task(stream(url, [1000 + 7 * i + j for j in range(32)], 400, stamps[i])) for i in range(STREAMS)]
    while min(map(len, stamps)) < 60:
        for task in tasks:
            if task.done():
                task.result()  # raises what it failed with
                raise Failed(f"{url} ended a stream before its 60th token")
        await asyncio.sleep(0.02)
    came = time.perf_counter()
    if tokens:
        await stream(url, [first_id + (j * 31) % 20000 for j in range(tokens)], 2, late)
    else:
        await asyncio.sleep(3)
    left = time.perf_counter()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    gaps = [(b - a) * 1e3 for s in stamps for a, b in zip(s, s[1:]) if a > came - 1 and b < left]
    quiet = [(b - a) * 1e3 for s in stamps for a, b in zip(s[20:], s[21:]) if b < came]
    return Visit(sorted(gaps), statistics.median(quiet), late[0] - came if late else None)


def visit(url, tokens, first_id=2000):
    """A prompt of that many tokens among the streams; another first id makes another prompt. 0 tokens: none comes."""
    return asyncio.run(_visit(url, tokens, first_id))


def alone_s(url, tokens):
    """Time to the first token of such a prompt on an idle server."""
    stamps = []
    start = time.perf_counter()
    asyncio.run(stream(url, [3000 + (j * 37) % 20000 for j in range(tokens)], 2, stamps))
    return stamps[0] - start
