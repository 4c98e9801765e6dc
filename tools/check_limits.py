#!/usr/bin/env python3
"""Fails when docs/serving.md states other limits than src/server/limits.h, or limits.cpp lacks a row of one."""

import pathlib
import re
import sys

root = pathlib.Path(__file__).parent.parent
declared = {}
for name, value in re.findall(r"^  (?:int|uint64_t) (\w+) = ([^;]+);", (root / "src/server/limits.h").read_text(), re.M):
    declared[name] = eval(value.replace("'", ""), {"__builtins__": {}})  # products of literals
settable = set(re.findall(r'LimitRow\{"(\w+)", &Limits::\1[,}]', (root / "src/server/limits.cpp").read_text()))
if settable != declared.keys():
    print(f"limits.cpp and limits.h differ in {', '.join(sorted(settable ^ declared.keys()))}", file=sys.stderr)
    sys.exit(1)
written = {name: int(value) for name, value in re.findall(r"^\| `(\w+)` \| (\d+) \|", (root / "docs/serving.md").read_text(), re.M)}
for name in sorted(declared.keys() | written.keys()):
    if declared.get(name) != written.get(name):
        print(f"limit {name}: limits.h has {declared.get(name)}, docs/serving.md has {written.get(name)}", file=sys.stderr)
        sys.exit(1)
print(f"limits: the {len(declared)} of limits.h stand in docs/serving.md")
