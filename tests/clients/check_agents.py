#!/usr/bin/env python3
"""Replays what two coding agents send, in our own words: check_agents.py URL [MODEL]

Each line of traces/*.jsonl is a request. Every one is answered, streams have the events that agents wait for, and a turn
that continues a conversation finds the prompt of the turn before in the prefix cache, whatever changes at its head.
"""
import json
import pathlib
import sys
import urllib.request

# Of the turn before, the prompt's end may be missing: what does not fill a block, and the start of the answer.
SPARE_TOKENS = 64


def post(url, body):
    headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01", "anthropic-beta": "none"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as reply:
        return reply.read().decode()


def events_of(text):
    events = []
    for event in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in event.splitlines() if line and not line.startswith(":"))
        if not fields:
            continue
        data = json.loads(fields["data"])
        assert data["type"] == fields["event"], event
        events.append(data)
    return events


def usage_of_message(events):
    """(tokens of the prompt, of these from the cache)"""
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    open_block = None
    for event in events:
        if event["type"] == "content_block_start":
            assert open_block is None, "a block begins within another"
            open_block = event["index"]
        elif event["type"] in ("content_block_delta", "content_block_stop"):
            assert event["index"] == open_block, event
            open_block = None if event["type"] == "content_block_stop" else open_block
    usage = events[-2]["usage"] if events[-1]["type"] == "message_stop" else None
    return usage["input_tokens"] + usage["cache_read_input_tokens"], usage["cache_read_input_tokens"]


def usage_of_response(events):
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    ends = [event for event in events if event["type"] in ("response.completed", "response.incomplete", "response.failed")]
    assert len(ends) == 1 and ends[0] is events[-1] and ends[0]["type"] != "response.failed", ends
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    done = [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"]
    assert added == done == [item["id"] for item in events[-1]["response"]["output"]]
    usage = events[-1]["response"]["usage"]
    return usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]


def replay(url, model, trace):
    before = 0
    for number, line in enumerate(trace.read_text().splitlines(), 1):
        turn = json.loads(line)
        body = {**turn["body"], "model": model}
        reply = post(url + turn["path"], body)
        if "count_tokens" in turn["path"]:
            assert json.loads(reply)["input_tokens"] > 0
            continue
        usage = usage_of_response if turn["path"].startswith("/v1/responses") else usage_of_message
        tokens, cached = usage(events_of(reply))
        print(f"agents: {trace.stem} line {number}: {tokens} tokens in the prompt, {cached} of them from the cache")
        if turn.get("continues"):
            assert cached + SPARE_TOKENS >= before, f"the turn before had {before} tokens, only {cached} were found again"
        before = tokens


def main():
    model = sys.argv[2] if len(sys.argv) > 2 else "demo"
    for trace in sorted((pathlib.Path(__file__).parent / "traces").glob("*.jsonl")):
        replay(sys.argv[1], model, trace)


if __name__ == "__main__":
    main()
