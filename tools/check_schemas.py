#!/usr/bin/env python3
"""Checks grammars of JSON Schemas against collections of schemas with valid and invalid instances.

    tools/check_schemas.py suite PATH        JSON-Schema-Test-Suite: a table by draft and keyword, as Markdown
    tools/check_schemas.py maskbench FOLDER  maskbench's files: coverage, refusals by reason, wrong verdicts

Each drives build/release/src/grammar/quire_schema_driver (--driver).
"""

import argparse
import collections
import json
import pathlib
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", choices=["suite", "maskbench"])
    parser.add_argument("path")
    parser.add_argument("--driver", default="build/release/src/grammar/quire_schema_driver")
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--stride", type=int, default=1, help="of maskbench: every so many files")
    parser.add_argument("--any-order", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    driver = Driver(arguments.driver, arguments.timeout)
    {"suite": check_suite, "maskbench": check_maskbench}[arguments.collection](driver, arguments)


if __name__ == "__main__":
    main()
