#!/usr/bin/env python3
"""Ollama's client: list, show, chat, streams, generate, embed, refusals: check_ollama.py URL"""
import sys

import ollama


def check_models(client):
    names = [model.model for model in client.list().models]
    assert names == ["demo:latest"], names
    assert [model.model for model in client.ps().models] == names
    shown = client.show("demo")
    assert "completion" in shown.capabilities, shown.capabilities
    assert any(key.endswith(".context_length") for key in shown.modelinfo), shown.modelinfo
    assert shown.details.format == "gguf", shown.details
    assert client.pull("demo").status == "success"


def check_chat(client):
    messages = [{"role": "user", "content": "Hello"}]
    options = {"temperature": 0, "num_predict": 8}
    whole = client.chat("demo:latest", messages=messages, options=options)
    assert whole.done and whole.eval_count == 8 and whole.done_reason == "length", whole
    parts = list(client.chat("demo", messages=messages, options=options, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content, parts
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True], parts


def check_generate(client):
    options = {"temperature": 0, "num_predict": 6, "seed": 1}
    whole = client.generate("demo", prompt="Hello", options=options)
    parts = list(client.generate("demo", prompt="Hello", options=options, stream=True))
    assert "".join(part.response for part in parts) == whole.response, parts
    assert client.generate("demo", prompt="Hello", raw=True, options=options).eval_count > 0
    assert client.generate("demo").done_reason == "load"


def check_embed(client):
    vectors = client.embed("demo", input=["one", "two"]).embeddings
    assert len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) > 0
    assert abs(sum(x * x for x in vectors[0]) - 1) < 1e-4
    one = client.embeddings("demo", prompt="one").embedding
    assert list(one) == list(vectors[0])


def check_refusals(client):
    for ask, status in ((lambda: client.chat("other", messages=[{"role": "user", "content": "a"}]), 404),
                        (lambda: client.generate("demo", prompt="a", suffix="b"), 400),
                        (lambda: client.pull("other"), 501),
                        (lambda: client.delete("demo"), 501)):
        try:
            ask()
        except ollama.ResponseError as error:
            assert error.status_code == status and len(error.error) > 10, (error.status_code, error.error)
        else:
            raise AssertionError("it was not refused")


def main():
    client = ollama.Client(host=sys.argv[1])
    check_models(client)
    check_chat(client)
    check_generate(client)
    check_embed(client)
    check_refusals(client)
    print("ollama: models, chat, generate, embed and refusals are as its client expects")


main()
