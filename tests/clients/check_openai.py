#!/usr/bin/env python3
"""OpenAI's Python client against a server with the demo model: check_openai.py URL"""
import math
import struct
import sys

import openai

PROMPT = "Once upon a time"
MESSAGES = [{"role": "user", "content": "Tell me a story about a fox."}]


def client_of(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=60)


def check_models(client):
    models = client.models.list().data
    assert [model.id for model in models] == ["demo"], models
    assert client.models.retrieve("demo").id == "demo"


def check_chat(client):
    whole = client.chat.completions.create(model="demo", messages=MESSAGES, max_completion_tokens=40, temperature=0)
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and choice.message.content and choice.finish_reason in ("stop", "length")
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    chunks = list(client.chat.completions.create(model="demo", messages=MESSAGES, max_completion_tokens=40, temperature=0,
                                                 stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant" and all(delta.role is None for delta in deltas[1:])
    assert "".join(delta.content or "" for delta in deltas) == choice.message.content
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] == choice.finish_reason and not any(reasons[:-1])
    assert not chunks[-1].choices and chunks[-1].usage == whole.usage, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1]) and len({chunk.id for chunk in chunks}) == 1

    # The client's own helper that joins a stream; it rejects answers that were cut at their length.
    sentence = client.chat.completions.create(model="demo", messages=MESSAGES, temperature=0, stop=".").choices[0].message
    with client.chat.completions.stream(model="demo", messages=MESSAGES, temperature=0, stop=".") as stream:
        assert stream.get_final_completion().choices[0].message.content == sentence.content


def check_choices_and_stop(client):
    several = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=12, n=2, seed=7)
    assert [choice.index for choice in several.choices] == [0, 1]
    indices = {chunk.choices[0].index for chunk in client.chat.completions.create(
        model="demo", messages=MESSAGES, max_tokens=12, n=2, seed=7, stream=True)}
    assert indices == {0, 1}, indices

    free = client.completions.create(model="demo", prompt=PROMPT, max_tokens=40, temperature=0).choices[0]
    stop = free.text[10:14]
    stopped = client.completions.create(model="demo", prompt=PROMPT, max_tokens=40, temperature=0, stop=[stop, "@@"])
    assert stopped.choices[0].text == free.text[:free.text.index(stop)] and stopped.choices[0].finish_reason == "stop"
    streamed = client.completions.create(model="demo", prompt=PROMPT, max_tokens=40, temperature=0, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == stopped.choices[0].text


def check_seed(client):
    def text(seed):
        return client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=30, temperature=1.2,
                                              seed=seed).choices[0].message.content

    assert text(1) == text(1) and len({text(seed) for seed in range(4)}) > 1


def check_logprobs(client):
    whole = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8, temperature=0, logprobs=True,
                                           top_logprobs=3).choices[0]
    tokens = whole.logprobs.content
    assert len(tokens) == 8 and "".join(token.token for token in tokens) == whole.message.content
    for token in tokens:
        assert len(token.top_logprobs) == 3 and token.top_logprobs[0].logprob == token.logprob <= 0
        assert bytes(token.bytes).decode(errors="replace") == token.token
    streamed = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8, temperature=0, logprobs=True,
                                              top_logprobs=3, stream=True)
    assert [token for chunk in streamed if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content] == tokens


def check_completions(client):
    choice = client.completions.create(model="demo", prompt=PROMPT, max_tokens=5, temperature=0, echo=True,
                                       logprobs=2).choices[0]
    lists = choice.logprobs
    assert choice.text.startswith(PROMPT)
    assert len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs) == len(lists.text_offset)
    assert lists.token_logprobs[0] is None and all(value <= 0 for value in lists.token_logprobs[1:])
    assert lists.text_offset == sorted(lists.text_offset)

    prompts = [PROMPT, "The fox", "One day"]
    together = client.completions.create(model="demo", prompt=prompts, max_tokens=10, temperature=0)
    alone = [client.completions.create(model="demo", prompt=prompt, max_tokens=10, temperature=0) for prompt in prompts]
    assert [choice.text for choice in together.choices] == [answer.choices[0].text for answer in alone]
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert together.usage.prompt_tokens == sum(answer.usage.prompt_tokens for answer in alone)


def as_float32(item):
    return struct.pack(f"<{len(item.embedding)}f", *item.embedding)


def check_embeddings(client):
    texts = ["a fox", "a girl in the forest"]
    unsaid = client.embeddings.create(model="demo", input=texts)  # the client asks for base64 and decodes it
    floats = client.embeddings.create(model="demo", input=texts, encoding_format="float")
    assert [item.index for item in unsaid.data] == [0, 1]
    for one, other in zip(unsaid.data, floats.data):
        assert as_float32(one) == as_float32(other)  # the text has enough digits for float32, not for doubles
        assert math.isclose(sum(x * x for x in one.embedding), 1, rel_tol=1e-5)
    assert unsaid.usage.prompt_tokens == floats.usage.prompt_tokens > 0


def check_many_embeddings(client):
    texts = [f"text {number}" for number in range(2048)]  # as many as OpenAI takes
    items = client.embeddings.create(model="demo", input=texts).data
    assert [item.index for item in items] == list(range(len(texts)))
    alone = client.embeddings.create(model="demo", input=[texts[0], texts[-1]]).data
    assert [as_float32(item) for item in alone] == [as_float32(items[0]), as_float32(items[-1])]


def check_base_urls(client):
    text = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8, temperature=0).choices[0].message.content
    for base_url in (sys.argv[1], sys.argv[1] + "/", sys.argv[1] + "/v1/"):
        other = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
        answer = other.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=8, temperature=0)
        assert answer.choices[0].message.content == text, base_url


def expect(kind, call, **attributes):
    try:
        call()
    except openai.APIStatusError as error:
        assert type(error) is kind, f"expected {kind.__name__}, got {error!r}"
        for name, value in attributes.items():
            assert getattr(error, name) == value, f"{name} is {getattr(error, name)!r}, expected {value!r}: {error}"
        return
    raise AssertionError(f"expected {kind.__name__}, got an answer")


def check_errors(client):
    chat = client.chat.completions.create
    expect(openai.BadRequestError, lambda: chat(model="demo", messages=MESSAGES, temperature=-1), param="temperature",
           type="invalid_request_error")
    expect(openai.BadRequestError, lambda: chat(model="demo", messages=[{"role": "user", "content": [{"type": "what"}]}]),
           param="messages[0].content[0].type")
    expect(openai.BadRequestError, lambda: chat(model="demo", messages=MESSAGES, web_search_options={"user_location": {}}),
           code="not_supported", param="web_search_options")
    expect(openai.BadRequestError, lambda: client.completions.create(model="demo", prompt="fox " * 3000),
           code="context_length_exceeded")
    expect(openai.NotFoundError, lambda: chat(model="other", messages=MESSAGES), code="model_not_found")
    expect(openai.NotFoundError, lambda: client.models.retrieve("other"), code="model_not_found")


def main():
    client = client_of(sys.argv[1])
    for check in (check_models, check_chat, check_choices_and_stop, check_seed, check_logprobs, check_completions,
                  check_embeddings, check_many_embeddings, check_base_urls, check_errors):
        check(client)
        print(f"openai {openai.__version__}: {check.__name__[6:].replace('_', ' ')}: as expected")


if __name__ == "__main__":
    main()
