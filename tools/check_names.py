#!/usr/bin/env python3
"""Fails when a document or a message of the program names a flag or a request's field that does not exist.

Flags are those of docs/flags.md, which a test holds against the program, and those of the scripts in tools and tests; fields are
those of docs/serving-api.md, which a test holds against the field tables."""

import pathlib
import re
import sys

root = pathlib.Path(__file__).parent.parent
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")

# Of other programs that the documents tell people to run.
FOREIGN = {
    "--build", "--preset", "--target", "--install", "--prefix", "--depth", "--unix-socket", "--format",
    "--gtest_filter", "--gtest_brief",
}


def literals(path):
    """The string literals of a source, without its comments."""
    code = re.sub(r"(?m)(?:^|\s)//.*$", "", path.read_text())
    return "\n".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', code))


def texts():
    """Each file with what a reader of the program sees: a document whole, of a source the string literals."""
    for path in [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]:
        if path.exists() and "decisions" not in path.parts:
            yield path, path.read_text()
    for path in sorted((root / "src").rglob("*.cpp")) + sorted((root / "src").rglob("*.h")):
        if path.name.endswith(("_test.cpp", "_bench.cpp")) or "peer_flags" in path.name:
            continue
        yield path, literals(path)


def known_flags():
    flags = set(FLAG.findall((root / "docs/flags.md").read_text())) | FOREIGN | {"--help", "--version"}
    for path in [*(root / "tools").rglob("*"), *(root / "tests").rglob("*")]:
        if path.suffix in (".py", ".sh"):
            flags |= set(FLAG.findall(path.read_text()))
    return flags


def known_fields():
    document = (root / "docs/serving-api.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*$", document, re.M)
    return set(rows) | set(re.findall(r"`(\w+)`: ", document))


def main():
    problems = []
    flags = known_flags()
    for path, text in texts():
        if path.name == "flags.md":
            continue
        for flag in sorted(set(FLAG.findall(text)) - flags):
            problems.append(f"{path.relative_to(root)} names {flag}, which is no flag")
    fields = known_fields()
    for folder in ("schema", "apis", "endpoints"):
        for path in sorted((root / "src/server" / folder).rglob("*.cpp")):
            if path.name.endswith("_test.cpp"):
                continue
            for field in sorted(set(re.findall(r"'([a-z]+(?:_[a-z]+)+)(?:\.\w+)?'", literals(path))) - fields):
                problems.append(f"{path.relative_to(root)} names '{field}', which is no field")
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"names: the flags and fields in documents and messages exist ({len(flags - FOREIGN)} flags, {len(fields)} fields)")
    return 1 if problems else 0


sys.exit(main())
