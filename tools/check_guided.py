#!/usr/bin/env python3
"""Random schemas through a server, the whole way: requests of /v1/chat/completions at temperature 2, several at a time,
with drafts. Every answer that was not cut off must be JSON and valid under its schema, as the package jsonschema says.

    tools/check_guided.py [--count 2000] [--at-once 8] [--quire build/release/bin/quire]
"""

import argparse
import collections
import concurrent.futures
import json
import sys
import urllib.error
import urllib.request

import jsonschema

from check_schemas import DIALECTS, RandomSchemas
from served import Server

MAX_TOKENS = 300


def schema_of(seed):
    make = RandomSchemas(seed)
    body = make.schema()
    schema = {"$schema": DIALECTS["draft2020-12"]}
    schema.update(body if isinstance(body, dict) else {"not": {}} if body is False else {})
    schema["$defs"] = {"shared": make.schema(1)}
    return schema


def ask(url, seed, schema):
    body = {"model": "demo", "messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": MAX_TOKENS,
            "temperature": 2, "top_p": 1, "top_k": 0, "seed": seed,
            "structured_outputs": {"json": schema, "any_property_order": seed % 2 == 1}}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return 200, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class NameTwice(Exception):
    """A property that no schema lists was written twice: JSON allows it, and readers differ."""


def pairs_once(pairs):
    if len({name for name, _ in pairs}) < len(pairs):
        raise NameTwice
    return dict(pairs)


def verdict(url, seed):
    """What became of one schema, and what is wrong with it."""
    schema = schema_of(seed)
    oracle = jsonschema.Draft202012Validator(schema)
    status, answer = ask(url, seed, schema)
    if status != 200:
        error = answer["error"]
        if error["code"] in ("not_supported", "limit_exceeded"):  # what docs/guided-schemas.md says is refused
            return "refused", None
        if any(reason in error["message"] for reason in ("no text fits", "refers to itself")):
            return "nothing is valid", None
        return "WRONG", f"{status} {error}"
    choice = answer["choices"][0]
    text = choice["message"]["content"]
    if choice["finish_reason"] == "length":
        return "cut off", None
    try:
        value = json.loads(text, object_pairs_hook=pairs_once)
        return ("valid", None) if oracle.is_valid(value) else ("WRONG", f"invalid: {text!r}")
    except NameTwice:
        return "a name twice", None
    except RecursionError:
        return "a schema within itself", None
    except ValueError as error:
        return "WRONG", f"no JSON: {text!r} {error}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=8, help="requests at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the first schema")
    parser.add_argument("--quire", default="build/release/bin/quire")
    arguments = parser.parse_args()
    counts = collections.Counter()
    with Server(arguments.quire, "demo", "--sequences", arguments.at_once, "--speculative-config", "ngram") as server:
        with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
            seeds = range(arguments.seed, arguments.seed + arguments.count)
            for seed, (kind, wrong) in zip(seeds, pool.map(lambda seed: verdict(server.url, seed), seeds)):
                counts[kind] += 1
                if wrong:
                    print(f"seed {seed}: {json.dumps(schema_of(seed))}\n  {wrong}")
        code = server.stop()
    for kind, count in counts.most_common():
        print(f"{kind}: {count}")
    if code != 0:
        sys.exit(f"the server ended with {code}, expected 0")
    sys.exit(1 if counts["WRONG"] or not counts["valid"] else 0)


if __name__ == "__main__":
    main()
