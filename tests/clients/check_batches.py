#!/usr/bin/env python3
"""Offline jobs through OpenAI's client, over a kill of the server: check_batches.py QUIRE FOLDER"""
import json
import pathlib
import sys
import time

import openai

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tools"))
from served import Server


def serve(quire, store):
    server = Server(quire, "demo", "--batch-store", store)
    return server, openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def finished(batch):
    return batch.request_counts.completed + batch.request_counts.failed


def wait(client, name, condition):
    for _ in range(3000):
        batch = client.batches.retrieve(name)
        if condition(batch):
            return batch
        time.sleep(0.02)
    raise AssertionError(f"no end in sight: {batch}")


def main():
    quire, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    store = folder / "batches.sqlite"
    lines = [{"custom_id": f"line {i}", "method": "POST", "url": "/v1/chat/completions",
              "body": {"model": "demo", "messages": [{"role": "user", "content": "Hello"}],
                       "max_tokens": 40 if i != 5 else -7, "temperature": 0}} for i in range(60)]
    path = folder / "input.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    server, client = serve(quire, store)
    with server:
        file = client.files.create(file=path.open("rb"), purpose="batch")
        assert file.bytes == path.stat().st_size and file.filename == "input.jsonl", file
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        before = wait(client, batch.id, lambda batch: finished(batch) >= 10)
        server.process.kill()
        server.process.wait()

    server, client = serve(quire, store)
    with server:
        after = client.batches.retrieve(batch.id)
        assert finished(after) >= finished(before), "finished lines were lost"
        done = wait(client, batch.id, lambda batch: batch.status == "completed")
        assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (60, 59, 1), done
        output = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
        assert [line["custom_id"] for line in output] == [f"line {i}" for i in range(60) if i != 5]
        texts = {line["response"]["body"]["choices"][0]["message"]["content"] for line in output}
        assert len(texts) == 1, "equal requests have equal answers"
        errors = [json.loads(line) for line in client.files.content(done.error_file_id).text.splitlines()]
        assert errors[0]["custom_id"] == "line 5" and errors[0]["response"]["status_code"] == 400, errors
        assert batch.id in [each.id for each in client.batches.list()]
        assert client.files.delete(file.id).deleted
        assert server.stop() == 0
    print(f"batches: 60 lines over a kill after {finished(before)}, none lost and none repeated")


main()
