#!/usr/bin/env python3
"""Anthropic's Python client against a server with the demo model: check_anthropic.py URL [MODEL]

MODEL: another model's name, of which only the shape of answers is checked.
"""
import sys

import anthropic

COLD = {"temperature": 0}  # a field that the client no longer names
MESSAGES = [{"role": "user", "content": "Tell me a story about a fox."}]
READ = {"name": "read_file", "description": "Reads a file.",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}


def client_of(url):
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=120)


def check_create(client, model):
    whole = client.messages.create(model=model, max_tokens=20, extra_body=COLD, messages=MESSAGES)
    assert whole.type == "message" and whole.role == "assistant" and whole.id.startswith("msg_")
    assert [block.type for block in whole.content] == ["text"] and whole.content[0].text
    assert whole.stop_reason in ("end_turn", "max_tokens") and whole.usage.output_tokens > 0

    # A last message of the assistant is continued.
    text = whole.content[0].text
    rest = client.messages.create(model=model, max_tokens=4, extra_body=COLD, stop_sequences=["@@"],
                                  messages=[*MESSAGES, {"role": "assistant", "content": text[:5]}])
    assert rest.stop_reason in ("end_turn", "max_tokens") and rest.stop_sequence is None

    stop = text[6:9]
    cut = client.messages.create(model=model, max_tokens=20, extra_body=COLD, messages=MESSAGES, stop_sequences=[stop])
    assert cut.stop_reason == "stop_sequence" and cut.stop_sequence == stop, cut
    assert cut.content[0].text == text[:text.index(stop)]


def check_stream(client, model):
    whole = client.messages.create(model=model, max_tokens=20, extra_body=COLD, messages=MESSAGES)
    with client.messages.stream(model=model, max_tokens=20, extra_body=COLD, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == whole.usage.output_tokens
    events = list(client.messages.create(model=model, max_tokens=20, extra_body=COLD, messages=MESSAGES, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1, kinds


def check_conversation(client, model):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "What is in a.txt?", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "I look.", "signature": "x"},
                                          {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": "a.txt"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1",
                                      "content": [{"type": "text", "text": "a fox"}]}]},
    ]
    system = [{"type": "text", "text": "You are kind.", "cache_control": {"type": "ephemeral"}}]
    count = client.messages.count_tokens(model=model, system=system, messages=messages).input_tokens
    answer = client.messages.create(model=model, max_tokens=4, system=system, messages=messages,
                                    metadata={"user_id": "u"}, thinking={"type": "disabled"})
    assert count == answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 0
    assert client.beta.messages.count_tokens(model=model, system=system, messages=messages).input_tokens == count


def check_tools(client, model):
    """With any or a named tool, the grammar makes a call of what the model writes."""
    for choice in ({"type": "any"}, {"type": "tool", "name": "read_file"}):
        answer = client.messages.create(model=model, max_tokens=200, extra_body=COLD, tools=[READ], tool_choice=choice,
                                        messages=[{"role": "user", "content": "Read a.txt."}])
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert answer.stop_reason in ("tool_use", "max_tokens", "model_context_window_exceeded"), answer
        if answer.stop_reason == "tool_use":
            assert calls and calls[0].name == "read_file" and isinstance(calls[0].input.get("path"), str), answer
    with client.messages.stream(model=model, max_tokens=200, extra_body=COLD, tools=[READ], tool_choice={"type": "any"},
                                messages=[{"role": "user", "content": "Read a.txt."}]) as stream:
        streamed = stream.get_final_message()
    assert [block.type for block in streamed.content if block.type == "tool_use"], streamed
    # Tools that may not be called, or only if the model likes.
    for choice in ({"type": "none"}, {"type": "auto", "disable_parallel_tool_use": True}):
        client.messages.create(model=model, max_tokens=4, tools=[READ], tool_choice=choice, messages=MESSAGES)


def expect(kind, call, error_type):
    try:
        call()
    except anthropic.APIStatusError as error:
        assert type(error) is kind, f"expected {kind.__name__}, got {error!r}"
        assert error.body["error"]["type"] == error_type, error.body
        return
    raise AssertionError(f"expected {kind.__name__}, got an answer")


def check_errors(client, model):
    create = client.messages.create
    expect(anthropic.BadRequestError, lambda: create(model=model, max_tokens=4, messages=[]), "invalid_request_error")
    expect(anthropic.BadRequestError, lambda: create(model=model, max_tokens=4, messages=[{"role": "user", "content": "fox " * 40000}]),
           "invalid_request_error")
    expect(anthropic.NotFoundError, lambda: create(model="other", max_tokens=4, messages=MESSAGES), "not_found_error")
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    expect(anthropic.BadRequestError, lambda: create(model=model, max_tokens=4, messages=[{"role": "user", "content": [image]}]),
           "invalid_request_error")


def main():
    client = client_of(sys.argv[1])
    model = sys.argv[2] if len(sys.argv) > 2 else "demo"
    for check in (check_create, check_stream, check_conversation, check_tools, check_errors):
        check(client, model)
        print(f"anthropic {anthropic.__version__}: {check.__name__[6:].replace('_', ' ')}: as expected")


if __name__ == "__main__":
    main()
