#!/usr/bin/env python3
"""Checks grammars of JSON Schemas against collections of schemas with valid and invalid instances.

    tools/check_schemas.py suite PATH        JSON-Schema-Test-Suite: a table by draft and keyword, as Markdown
    tools/check_schemas.py maskbench FOLDER  maskbench's files: coverage, refusals by reason, wrong verdicts
    tools/check_schemas.py random COUNT      random schemas: what their masks let through must parse and validate, and
                                             random instances must get the verdict of the package jsonschema

Each drives build/release/src/grammar/quire_schema_driver (--driver).
"""

import argparse
import collections
import json
import pathlib
import random
import select
import subprocess
import sys

DRAFTS = ["draft4", "draft6", "draft7", "draft2019-09", "draft2020-12"]
DIALECTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


class Driver:
    """The program that compiles and matches; started again after a request that took too long."""

    def __init__(self, path, timeout_s):
        self.path, self.timeout_s, self.process = path, timeout_s, None

    def ask(self, **request):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen([self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], self.timeout_s)[0]:
            self.process.kill()
            self.process = None
            return {"error": "took too long", "code": "time"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the program ended", "code": "crash"}


def text_of(value):
    """An instance as Quire writes it: whole numbers without a fraction, no exponents, few escapes."""

    def plain(value):
        if isinstance(value, float) and value == int(value):
            return int(value)
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value

    return json.dumps(plain(value), ensure_ascii=False)


def check_suite(driver, arguments):
    totals = collections.defaultdict(lambda: collections.Counter())
    for draft in DRAFTS:
        for path in sorted((pathlib.Path(arguments.path) / "tests" / draft).glob("*.json")):
            for group in json.loads(path.read_text()):
                schema = group["schema"]
                if isinstance(schema, dict):
                    schema = {"$schema": DIALECTS[draft], **schema}
                answer = driver.ask(schema=schema, any_order=True,
                                    texts=[text_of(test["data"]) for test in group["tests"]])
                count = totals[(path.stem, draft)]
                count["groups"] += 1
                name = f"{draft}/{path.stem}: {group['description']}"
                if "error" in answer:
                    is_empty = "no text fits" in answer["error"] and not any(test["valid"] for test in group["tests"])
                    count["refused"] += not is_empty
                    if not is_empty:
                        print(f"refused  {name}: {answer['error']}", file=sys.stderr)
                    continue
                for test, fits in zip(group["tests"], answer["fits"]):
                    if fits != test["valid"]:
                        count["wrong"] += 1
                        print(f"{'BLOCKED' if test['valid'] else 'LET THROUGH'}  {name}: {test['description']}",
                              file=sys.stderr)
    print("| keyword | " + " | ".join(DRAFTS) + " |")
    print("|---" * (len(DRAFTS) + 1) + "|")
    for keyword in sorted({key for key, _ in totals}):
        cells = []
        for draft in DRAFTS:
            count = totals.get((keyword, draft))
            if count is None:
                cells.append("")
                continue
            cell = f"{count['groups'] - count['refused']} / {count['groups']}"
            cells.append(cell + (f", {count['wrong']} wrong" if count["wrong"] else ""))
        print(f"| {keyword} | " + " | ".join(cells) + " |")


def check_maskbench(driver, arguments):
    counts, reasons, times = collections.Counter(), collections.Counter(), []
    paths = sorted(pathlib.Path(arguments.path).glob("*.json"))[:: arguments.stride]
    for path in paths:
        sample = json.loads(path.read_text())
        answer = driver.ask(schema=sample["schema"], any_order=arguments.any_order,
                            texts=[json.dumps(test["data"], ensure_ascii=False) for test in sample["tests"]])
        counts["schemas"] += 1
        if "error" in answer:
            has_valid = any(test["valid"] for test in sample["tests"])
            if "no text fits" in answer["error"] and not has_valid:
                counts["empty"] += 1
                continue
            counts["refused"] += 1
            reasons[answer["code"] + ": " + answer["error"][-70:]] += 1
            if arguments.verbose:
                print(f"refused {path.name}: {answer['error']}")
            continue
        times.append(answer["compile_ms"])
        for test, fits in zip(sample["tests"], answer["fits"]):
            counts[("valid " if test["valid"] else "invalid ") + ("accepted" if fits else "rejected")] += 1
            if fits != test["valid"]:
                print(f"{'BLOCKED' if test['valid'] else 'LET THROUGH'} {path.name}: {test['description']}")
    for key, count in counts.items():
        print(f"{key}: {count}")
    for reason, count in reasons.most_common(40):
        print(f"  {count:5} {reason}")
    times.sort()
    if times:
        print(f"compile ms: median {times[len(times) // 2]:.2f}, p99 {times[len(times) * 99 // 100]:.2f}, "
              f"largest {times[-1]:.2f}")


class RandomSchemas:
    """Schemas of every supported keyword over few names and values, so that their conditions meet."""

    NAMES = ["a", "b", "c", "ab"]
    STRINGS = ["", "a", "b", "ab", "abc", 'q"', "x\\y", "é", "1"]
    PATTERNS = ["^a", "b$", "^[a-c]*$", "a.*b", "^.{1,2}$", "\\d", "^(ab|c)+$"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def scalar(self):
        pick = self.random.choice
        return pick([None, True, False, pick([-2, -1, 0, 1, 2, 3, 10]), pick([0.5, 1.0, -1.5, 2.25]),
                     pick(self.STRINGS)])

    def instance(self, depth=0):
        kind = self.random.randrange(10 if depth < 3 else 6)
        if kind < 6:
            return self.scalar()
        if kind < 8:
            return [self.instance(depth + 1) for _ in range(self.random.randrange(4))]
        names = self.random.sample(self.NAMES + ["d"], self.random.randrange(4))
        return {name: self.instance(depth + 1) for name in names}

    def schema(self, depth=0):
        pick, chance = self.random.choice, self.random.random
        if depth > 3 or chance() < 0.04:
            return pick([True, {}, {"type": pick(["string", "integer", "null", "boolean"])}] + [False] * (depth > 1))
        if chance() < 0.04:
            return {"$ref": "#/$defs/shared"}
        schema = {}
        kind = pick(["number", "integer", "string", "array", "object", "object", "enum", "any"])
        if kind == "enum":
            schema["enum"] = [self.instance(2) for _ in range(self.random.randrange(1, 5))]
        elif kind != "any":
            schema["type"] = kind if chance() < 0.8 else [kind, pick(["null", "boolean"])]
        families = [kind] if chance() < 0.8 else [kind, pick(["integer", "string", "array", "object"])]
        for family in families:
            getattr(self, "add_" + family, lambda *_: None)(schema, depth)
        if chance() < 0.3:
            self.add_combination(schema, depth)
        return schema

    def add_number(self, schema, depth):
        for keyword in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]:
            if self.random.random() < 0.25:
                schema[keyword] = self.random.choice([-1.5, -1, 0, 0.5, 1, 2, 2.25, 10])
        if self.random.random() < 0.2:
            schema["multipleOf"] = self.random.choice([0.5, 2, 3, 0.25, 1])

    add_integer = add_number

    def add_string(self, schema, depth):
        if self.random.random() < 0.3:
            schema["minLength"] = self.random.randrange(3)
        if self.random.random() < 0.3:
            schema["maxLength"] = self.random.randrange(1, 5)
        if self.random.random() < 0.4:
            schema["pattern"] = self.random.choice(self.PATTERNS)

    def add_array(self, schema, depth):
        chance = self.random.random
        if chance() < 0.3:
            schema["prefixItems"] = [self.schema(depth + 1) for _ in range(self.random.randrange(1, 3))]
        if chance() < 0.7:
            schema["items"] = self.schema(depth + 1)
        if chance() < 0.3:
            schema["minItems"] = self.random.randrange(3)
        if chance() < 0.3:
            schema["maxItems"] = self.random.randrange(1, 4)
        if chance() < 0.2:
            schema["contains"] = self.schema(depth + 1)
            if chance() < 0.3:
                schema["minContains"] = self.random.randrange(3)
            if chance() < 0.3:
                schema["maxContains"] = self.random.randrange(1, 3)

        if chance() < 0.1:
            schema.update({"items": {"enum": [self.scalar() for _ in range(3)]}, "uniqueItems": True})
        elif chance() < 0.1:
            schema["unevaluatedItems"] = self.schema(depth + 1)

    def add_object(self, schema, depth):
        chance, names = self.random.random, self.NAMES
        if chance() < 0.8:
            schema["properties"] = {name: self.schema(depth + 1)
                                    for name in self.random.sample(names, self.random.randrange(1, 4))}
        if chance() < 0.5:
            schema["required"] = self.random.sample(names, self.random.randrange(1, 3))
        if chance() < 0.2:
            schema["patternProperties"] = {self.random.choice(self.PATTERNS): self.schema(depth + 1)}
        if chance() < 0.5:
            schema["additionalProperties"] = self.schema(depth + 1) if chance() < 0.5 else False
        if chance() < 0.1:
            schema["propertyNames"] = {"pattern": self.random.choice(self.PATTERNS)}
        if chance() < 0.15:
            schema["minProperties"] = self.random.randrange(3)
        if chance() < 0.15:
            schema["maxProperties"] = self.random.randrange(1, 4)
        if chance() < 0.1:
            schema["unevaluatedProperties"] = self.schema(depth + 1) if chance() < 0.5 else False
        if chance() < 0.15:
            schema["dependentRequired"] = {self.random.choice(names): [self.random.choice(names)]}

    def add_combination(self, schema, depth):
        kind = self.random.choice(["allOf", "anyOf", "oneOf", "not", "if"])
        if kind == "not":
            schema["not"] = self.schema(depth + 2)
        elif kind == "if":
            schema.update({"if": self.schema(depth + 2), "then": self.schema(depth + 2), "else": self.schema(depth + 2)})
        else:
            schema[kind] = [self.schema(depth + 1) for _ in range(self.random.randrange(1, 4))]


def check_random(driver, arguments):
    import jsonschema

    counts = collections.Counter()

    def pairs_once(pairs):
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise KeyError("a name twice")
        return dict(pairs)

    for seed in range(arguments.seed, arguments.seed + int(arguments.path)):
        make = RandomSchemas(seed)
        schema = {"$schema": DIALECTS["draft2020-12"]}
        body = make.schema()
        schema.update(body if isinstance(body, dict) else {"not": {}} if body is False else {})
        schema["$defs"] = {"shared": make.schema(1)}
        oracle = jsonschema.Draft202012Validator(schema)
        try:
            for instance in [0, "a", [0], {"a": 0}]:
                oracle.is_valid(instance)
        except RecursionError:
            counts["schemas within themselves"] += 1
            continue
        instances = [make.instance() for _ in range(30)]
        answer = driver.ask(schema=schema, texts=[text_of(instance) for instance in instances], any_order=True,
                            walks=4, seed=seed)
        counts["schemas"] += 1
        if "error" in answer:
            is_empty = "no text fits" in answer["error"]
            counts["empty" if is_empty else "refused: " + answer["error"][-60:]] += 1
            for instance in instances:
                if is_empty and oracle.is_valid(instance):
                    print(f"BLOCKED seed {seed}: {json.dumps(schema)} {json.dumps(instance)}")
            continue
        for instance, fits in zip(instances, answer["fits"]):
            is_valid = oracle.is_valid(instance)
            counts[f"instances {'valid' if is_valid else 'invalid'}"] += 1
            if fits != is_valid:
                print(f"{'BLOCKED' if is_valid else 'LET THROUGH'} seed {seed}: {json.dumps(schema)} {json.dumps(instance)}")
        for text in answer["walks"]:
            counts["walks" if text else "walks without an end"] += 1
            if not text:
                continue
            try:
                value = json.loads(text, object_pairs_hook=pairs_once)
            except KeyError:
                counts["walks with a name twice"] += 1
                continue
            except ValueError as error:
                print(f"NO JSON seed {seed}: {json.dumps(schema)} {text!r} {error}")
                continue
            if not oracle.is_valid(value):
                print(f"INVALID seed {seed}: {json.dumps(schema)} {text!r}")
    for key, count in sorted(counts.items()):
        print(f"{key}: {count}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", choices=["suite", "maskbench", "random"])
    parser.add_argument("path")
    parser.add_argument("--driver", default="build/release/src/grammar/quire_schema_driver")
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--stride", type=int, default=1, help="of maskbench: every so many files")
    parser.add_argument("--seed", type=int, default=0, help="of the first random schema")
    parser.add_argument("--any-order", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    driver = Driver(arguments.driver, arguments.timeout)
    {"suite": check_suite, "maskbench": check_maskbench, "random": check_random}[arguments.collection](driver, arguments)


if __name__ == "__main__":
    main()
