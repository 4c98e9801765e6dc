#!/usr/bin/env python3
"""Fails when a file includes upwards. The table is the architecture: docs/architecture.md draws it."""

import pathlib
import re
import sys

ALLOWED = {
    "base": [],
    "tensor": ["base"],
    "text": ["base"],
    "jinja": ["base"],
    "kernels": ["tensor", "base"],
    "parallel": ["kernels", "tensor", "base"],
    "models": ["kernels", "parallel", "tensor", "base"],
    "decoding": ["models", "kernels", "tensor", "text", "base"],
    "compress": ["models", "kernels", "tensor", "text", "base"],
    "grammar": ["decoding", "text", "base"],
    "dialogue": ["grammar", "decoding", "models", "tensor", "text", "jinja", "base"],  # tensor: a GGUF file's vocabulary
    "drafting": ["decoding", "models", "kernels", "parallel", "tensor", "base"],
    "kvstore": ["base"],
    "engine": ["kvstore", "drafting", "decoding", "models", "parallel", "base"],
    "measure": ["base"],
    "server": ["engine", "dialogue", "grammar", "decoding", "text", "jinja", "base"],
    "apps": None,  # anything
}
# The rooms of models, lowest first; "" is the floor's own vocabulary: batch, step, model, cache. A room includes lower
# ones only.
MODEL_ROOMS = ["", "layers", "loading", "architectures", "planning", "running", "synthetic"]
# Those of server; "" is its wiring: listener, routes, process. SERVER_WORDS are what every room may include.
SERVER_ROOMS = ["http", "access", "metrics", "schema", "apis", "answers", "batches", "endpoints", "openapi", "web", ""]
SERVER_WORDS = {"server/api_error.h", "server/context.h", "server/limits.h", "server/served_models.h"}
ROOMS = {"models": MODEL_ROOMS, "server": SERVER_ROOMS}
# vector/ and tiles/ are compiled once for every instruction set, over the vocabulary in <name>/isa/, which they include as
# isa/.
# Plain declarations only; everything else would bring inline functions compiled for one instruction set.
ISA_FOLDERS = ["vector", "tiles"]
ISA_MAY_INCLUDE = {
    "isa/bf16.h", "kernels/avx512_bf16/isa/bf16.h", "isa/bytes.h", "isa/tiles.h", "isa/vec.h", "isa/words.h", "kernels/kernels.h", "kernels/roof_loops.h", "kernels/block_codes.h", "tensor/format.h", "tensor/formats/blocks.h",
    "immintrin.h", "cstdint", "cstddef",
}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1)


def room_of(path):
    parts = path.split("/")
    return ROOMS[parts[0]].index(parts[1] if len(parts) > 2 else "")


def complaints(source):
    for path in sorted(source.rglob("*")):
        if path.suffix not in (".h", ".cpp", ".cu", ".cuh", ".inc"):
            continue
        parts = path.relative_to(source).parts
        floor = parts[0]
        if floor not in ALLOWED:
            yield f"{path}: folder {floor} is not in the table of floors"
            continue
        if path.name == "CMakeLists.txt":
            continue
        isa = floor == "kernels" and (parts[1] in ISA_FOLDERS or "isa" in parts[2:-1])
        is_test = path.stem.endswith(("_test", "_bench"))
        for number, target in includes(path):
            below = target.split("/")[0]
            if isa:
                if target.rpartition("/")[0] not in [f"kernels/{folder}" for folder in ISA_FOLDERS] and target not in ISA_MAY_INCLUDE:
                    yield f"{path}:{number}: what is compiled for one instruction set must not include {target}"
            elif floor == below and floor in ROOMS:
                if not is_test and target not in SERVER_WORDS and room_of(target) > room_of("/".join(parts)):
                    yield f"{path}:{number}: this room of {floor} must not include {target}"
            elif below in ALLOWED and below != floor and ALLOWED[floor] is not None and below not in ALLOWED[floor]:
                if not (is_test and below == "base"):
                    yield f"{path}:{number}: {floor} must not include {target}"


TYPE = re.compile(r"^(?:struct|class) (?:alignas\(\w+\) )?([A-Z]\w*)(?: final)?(?: :[^:;].*)? *\{", re.M)
NAMESPACE = re.compile(r"^namespace (quire[\w:]*) \{", re.M)


def types_defined_twice(source):
    """Two types of one name: the linker joins what the compiler makes of them, such as a vector's functions."""
    seen = {}
    for path in sorted(source.rglob("*.h")):
        text = path.read_text()
        namespace = NAMESPACE.search(text)
        if namespace is None or "isa" in path.parts or any(folder in path.parts for folder in ISA_FOLDERS):
            continue
        for name in TYPE.findall(text):
            other = seen.setdefault((namespace.group(1), name), path)
            if other != path:
                yield f"{path}: {namespace.group(1)}::{name} is defined in {other} too; rename one"


def main():
    source = pathlib.Path(__file__).resolve().parent.parent / "src"
    found = list(complaints(source)) + list(types_defined_twice(source))
    print("\n".join(found) if found else "layers: every include points downwards")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
