#!/usr/bin/env python3
"""Checks answers of an OpenAI-compatible server against OpenAI's published schemas.

usage: curl -sN .../v1/chat/completions -d ... | check_openai_schema.py openapi.yaml

Reads replies and events ("data: {...}") from standard input, one JSON object a line, and picks the schema by each one's
"object", that of an event of a response by its "type". Prints what differs; exit status 1 when anything does. Needs pyyaml and jsonschema.
"""
import json
import sys

import jsonschema
import yaml

SCHEMAS = {
    "chat.completion": "CreateChatCompletionResponse",
    "chat.completion.chunk": "CreateChatCompletionStreamResponse",
    "text_completion": "CreateCompletionResponse",
    "list": "CreateEmbeddingResponse",
    "response": "Response",
    "response.input_tokens": "TokenCountsResource",
    "items": "ResponseItemList",
    "error": "ErrorResponse",
}


def allow_null(node):
    """Converts OpenAPI 3.0's "nullable" to JSON Schema."""
    if isinstance(node, list):
        return [allow_null(element) for element in node]
    if not isinstance(node, dict):
        return node
    node = {key: allow_null(value) for key, value in node.items()}
    return {"anyOf": [node, {"type": "null"}]} if node.pop("nullable", None) is True else node


def allow_what_clients_expect(schemas):
    """Values that OpenAI's own server sends and its schema of completions forbids: null before the end of a stream, and
    in the place of the first prompt token's log probability."""
    choice = schemas["CreateCompletionResponse"]["properties"]["choices"]["items"]["properties"]
    choice["finish_reason"] = {"anyOf": [choice["finish_reason"], {"type": "null"}]}
    for variant in choice["logprobs"].get("anyOf", [choice["logprobs"]]):
        for key in ("token_logprobs", "top_logprobs"):
            if key in variant.get("properties", {}):
                items = variant["properties"][key]["items"]
                variant["properties"][key]["items"] = {"anyOf": [items, {"type": "null"}]}


def event_schemas(schemas):
    """The name of the schema of each event of a response, by its "type"."""
    names = {}
    for name, schema in schemas.items():
        types = schema.get("properties", {}).get("type", {}).get("enum", [])
        if "sequence_number" in schema.get("required", []) and len(types) == 1:
            names[types[0]] = name
    return names


def kind_of(answer):
    if "sequence_number" in answer:
        return answer["type"]
    if answer.get("error"):
        return "error"
    return "items" if "first_id" in answer else answer.get("object")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        components = allow_null(yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["components"])
    allow_what_clients_expect(components["schemas"])
    schemas = {**SCHEMAS, **event_schemas(components["schemas"])}
    validators = {
        kind: jsonschema.Draft202012Validator({"$ref": "#/components/schemas/" + name, "components": components})
        for kind, name in schemas.items()
    }
    counts = dict.fromkeys(schemas, 0)
    problems = set()
    for line in sys.stdin:
        line = line.strip().removeprefix("data: ")
        if not line.startswith("{"):
            continue
        answer = json.loads(line)
        kind = kind_of(answer)
        if kind not in validators:
            continue
        counts[kind] += 1
        for error in validators[kind].iter_errors(answer):
            problems.add(f"{kind}: {error.json_path}: {error.message[:200]}")
    print("checked:", ", ".join(f"{count} {kind}" for kind, count in counts.items() if count > 0))
    print("\n".join(sorted(problems)))
    return 1 if problems or not any(counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
