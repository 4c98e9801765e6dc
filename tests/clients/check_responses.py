#!/usr/bin/env python3
"""OpenAI's Python client and its responses against a server with the demo model: check_responses.py URL [MODEL]"""
import json
import sys

import openai
import pydantic

PROMPT = "Tell me a story about a fox."
READ = {"type": "function", "name": "read_file", "description": "Reads a file.", "strict": True,
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"],
                       "additionalProperties": False}}


class Animal(pydantic.BaseModel):
    name: str
    is_wild: bool


def check_create(client, model):
    whole = client.responses.create(model=model, input=PROMPT, max_output_tokens=20, temperature=0, instructions="Be kind.")
    assert whole.object == "response" and whole.id.startswith("resp_") and whole.output_text
    assert whole.status in ("completed", "incomplete") and whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    assert client.responses.retrieve(whole.id).output_text == whole.output_text
    assert client.responses.input_items.list(whole.id).data[0].role == "user"
    more = client.responses.create(model=model, input="And then?", previous_response_id=whole.id, max_output_tokens=8)
    assert more.previous_response_id == whole.id and more.usage.input_tokens > whole.usage.input_tokens
    client.responses.delete(whole.id)
    for call in (lambda: client.responses.retrieve(whole.id),
                 lambda: client.responses.create(model=model, input="And?", previous_response_id=whole.id)):
        try:
            call()
        except openai.NotFoundError:
            continue
        raise AssertionError("a response that was deleted is still there")
    count = client.responses.input_tokens.count(model=model, input=PROMPT, instructions="Be kind.")
    assert count.input_tokens == whole.usage.input_tokens


def check_stream(client, model):
    whole = client.responses.create(model=model, input=PROMPT, max_output_tokens=20, temperature=0)
    events = list(client.responses.create(model=model, input=PROMPT, max_output_tokens=20, temperature=0, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:3]] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert events[-1].response.output_text == whole.output_text
    with client.responses.stream(model=model, input=PROMPT, max_output_tokens=20, temperature=0) as stream:
        assert "".join(event.delta for event in stream if event.type == "response.output_text.delta") == whole.output_text


def check_parse(client, model):
    parsed = client.responses.parse(model=model, input="Name an animal.", text_format=Animal, temperature=0, max_output_tokens=150)
    if parsed.status == "completed":
        assert isinstance(parsed.output_parsed, Animal), parsed
    free = client.responses.create(model=model, input="Write JSON.", text={"format": {"type": "json_object"}}, temperature=0,
                                   max_output_tokens=150)
    if free.status == "completed":
        assert isinstance(json.loads(free.output_text), dict), free.output_text


def check_tools(client, model):
    answer = client.responses.create(model=model, input="Read a.txt.", tools=[READ], tool_choice="required", temperature=0,
                                     max_output_tokens=150)
    calls = [item for item in answer.output if item.type == "function_call"]
    assert calls and calls[0].name == "read_file", answer
    if answer.status == "completed":
        assert isinstance(json.loads(calls[0].arguments)["path"], str)
    result = client.responses.create(
        model=model, max_output_tokens=4, tools=[READ],
        input=[{"role": "user", "content": "Read a.txt."}, calls[0].model_dump(exclude_none=True),
               {"type": "function_call_output", "call_id": calls[0].call_id, "output": "a fox"}])
    assert result.usage.input_tokens > answer.usage.input_tokens


def main():
    client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0, timeout=120)
    model = sys.argv[2] if len(sys.argv) > 2 else "demo"
    for check in (check_create, check_stream, check_parse, check_tools):
        check(client, model)
        print(f"openai {openai.__version__} responses: {check.__name__[6:].replace('_', ' ')}: as expected")


if __name__ == "__main__":
    main()
