#!/usr/bin/env python3
"""What Python's jinja2, set up as Hugging Face sets it up, makes of real chat templates.

    jinja_oracle.py TEMPLATES_FOLDER > tests/data/jinja_expected.json

Renders every *.jinja file of the folder with every context below and writes, for each pair, a hash of the text or the
word "raises". The contexts are written out too: the C++ test (src/jinja/chat_template_test.cpp) reads both from the one
file. Needs jinja2 >= 3.1.6 and nothing else. Also imported by jinja_fuzz.py, which compares whole texts.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2025, 7, 10, 12, 0, 0)


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}: the body is rendered as it is, in its own scope."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


class DictFactory:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


class GuardedNamespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            GuardedNamespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        GuardedNamespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"underscore in {name!r}")


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: NOW.strftime(form)
    env.globals["dict"] = DictFactory()
    env.globals["namespace"] = GuardedNamespace
    return env


def render(env, source, context):
    """The text, or None when the template raises (for whatever reason)."""
    try:
        text = env.from_string(source).render(**context)
        text.encode("utf-8")
        return text
    except Exception:  # noqa: BLE001  every refusal counts alike
        return None


SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
USER = {"role": "user", "content": "What is the weather in Paris?"}
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'The "current" weather <here> & now.\nSecond line.',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city", "enum": ["Paris", "Zürich", "東京"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 18446744073709551615, "default": 3},
                "where": {
                    "type": "object",
                    "properties": {"lat": {"type": "number"}, "lon": {"type": ["number", "null"]}},
                    "required": ["lat"],
                },
                "tags": {"type": "array", "items": {"type": "string"}, "nullable": True},
            },
            "required": ["city"],
        },
        "return": {"type": "string", "description": "A report"},
    },
}
TIME_TOOL = {"type": "function", "function": {"name": "get_time", "description": "", "parameters": {"type": "object", "properties": {}}}}


def call(identifier, name, arguments):
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


ARGUMENTS = {"city": "Paris", "days": 2, "where": {"lat": 48.85, "lon": None}, "tags": ["a", "b"], "exact": True, "ratio": 1e-07}
TOOL_ROUND = [
    SYSTEM,
    USER,
    {"role": "assistant", "content": "", "tool_calls": [call("abcdefghi", "get_weather", ARGUMENTS)]},
    {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": '{"sky": "clear", "celsius": 21.5}'},
]
MULTI = [{"type": "text", "text": "Describe this: "}, {"type": "image"}, {"type": "text", "text": "and this. "}]
CHAT = [SYSTEM, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there! "}, {"role": "user", "content": "  Who are you?\n"}]


def message_lists():
    """Name, messages, more variables."""
    yield "user", [USER], {}
    yield "system_user", [SYSTEM, USER], {}
    yield "chat", CHAT, {}
    yield "chat_finished", CHAT[:3], {"add_generation_prompt": False}
    yield "empty_contents", [{"role": "system", "content": ""}, {"role": "user", "content": ""}, {"role": "assistant", "content": ""}, {"role": "user", "content": " "}], {}
    yield "null_content", [USER, {"role": "assistant", "content": None, "tool_calls": [call("123456789", "get_time", {})]}], {"tools": [TIME_TOOL]}
    yield "unicode", [{"role": "system", "content": "Ünïcödé Straße ﬁ"}, {"role": "user", "content": "😀 naïve\u00a0\u2028 '\"\\ <|im_end|> {{ 7*7 }} {% raw %} \t\x00\x7f"}], {}
    yield "tools", [SYSTEM, USER], {"tools": [WEATHER_TOOL, TIME_TOOL]}
    yield "tools_no_system", [USER], {"tools": [WEATHER_TOOL]}
    yield "tool_round", TOOL_ROUND, {"tools": [WEATHER_TOOL]}
    yield "tool_round_done", [*TOOL_ROUND, {"role": "assistant", "content": "It is clear, 21.5 °C."}, {"role": "user", "content": "Thanks!"}], {"tools": [WEATHER_TOOL]}
    yield "tool_round_no_tools", TOOL_ROUND, {}
    text_arguments = json.dumps(ARGUMENTS)
    yield "arguments_as_text", [USER, {"role": "assistant", "content": "Let me see.", "tool_calls": [call("abcdefghi", "get_weather", text_arguments), call("bcdefghij", "get_time", "{}")]},
                                {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": "rain"},
                                {"role": "tool", "tool_call_id": "bcdefghij", "name": "get_time", "content": "12:00"},
                                {"role": "user", "content": "And tomorrow?"}], {"tools": [WEATHER_TOOL, TIME_TOOL]}
    yield "bare_tools", [SYSTEM, USER], {"tools": [WEATHER_TOOL["function"]]}
    yield "parts", [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, {"role": "user", "content": MULTI}, {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}, {"role": "user", "content": [{"type": "text", "text": "Sure?"}]}], {}
    yield "thinking", [SYSTEM, USER, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSunny."}, USER], {"enable_thinking": True}
    yield "no_thinking", [SYSTEM, USER, {"role": "assistant", "content": "Sunny.", "reasoning_content": "Hm.\n", "thinking": "Hm.\n"}, USER], {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"}
    yield "reasoning_and_call", [USER, {"role": "assistant", "reasoning_content": "Call it.", "thinking": "Call it.", "content": "", "tool_calls": [call("abcdefghi", "get_weather", ARGUMENTS)]}, TOOL_ROUND[3]], {"tools": [WEATHER_TOOL], "enable_thinking": True, "thinking": True, "reasoning_effort": "high", "clear_thinking": False}
    yield "documents", [SYSTEM, USER], {"documents": [{"title": "Weather", "text": "Sunny in Paris.", "doc_id": 1}, {"title": "Näme", "text": "Two\nlines", "contents": "x"}], "citation_mode": "fast"}
    yield "developer", [{"role": "developer", "content": "Rules."}, USER], {}
    yield "assistant_first", [{"role": "assistant", "content": "Welcome."}, USER], {}
    yield "two_users", [USER, USER], {}
    yield "unknown_role", [{"role": "wizard", "content": "Abracadabra"}, USER], {}
    yield "no_content", [{"role": "user"}], {}
    yield "no_messages", [], {}


def contexts():
    """By name; the variables are those of apply_chat_template."""
    result = {}
    for name, messages, more in message_lists():
        result[name] = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True,
                        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", **more}
    return result


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def main():
    folder = pathlib.Path(sys.argv[1])
    env = environment()
    expected = {}
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_bytes().decode("utf-8")
        row = {}
        for name, context in contexts().items():
            text = render(env, source, context)
            row[name] = "raises" if text is None else f"{fnv1a(text.encode('utf-8')):016x}-{len(text.encode('utf-8'))}"
        expected[path.name] = row
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in expected.items()]
    context_lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in contexts().items()]
    print('{"contexts": {\n' + ",\n".join(context_lines) + '\n},\n"expected": {\n' + ",\n".join(lines) + "\n}}")


if __name__ == "__main__":
    main()
