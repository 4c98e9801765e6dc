"""Checks that grids.py rounds as Quire does, to the bit.

    python check_grids.py MODEL --quire build/release/bin/quire

MODEL is a folder of safetensors. Quire compresses it with each grid and converts the result to floats.
"""

import argparse
import pathlib
import subprocess
import tempfile

import torch

from grids import IntegerGrid, Q4_0, matrices
from target import Target, load_compressed

GRIDS = {
    "int4, groups of 32": IntegerGrid(4, 32), "int4, groups of 128": IntegerGrid(4, 128),
    "int4, rows": IntegerGrid(4, 0), "int4 with zero points": IntegerGrid(4, 64, symmetric=False),
    "int3": IntegerGrid(3, 32), "int3 with zero points": IntegerGrid(3, 64, symmetric=False),
    "int2": IntegerGrid(2, 32), "int8": IntegerGrid(8, 128),
    "Q4_0": Q4_0(),
}


def quires_weights(model, grid, quire, folder):
    """The model that Quire writes, as Quire reads it (the blocks of GGUF: as the gguf package does)."""
    if isinstance(grid, Q4_0):
        written = folder / "written.gguf"
        subprocess.run([quire, "convert", model, written, "--type", "q4_0"], check=True, stdout=subprocess.DEVNULL)
    else:
        written = folder / "written"
        subprocess.run([quire, "compress", model, "-o", written, *grid.flags()], check=True, stdout=subprocess.DEVNULL)
    return load_compressed(written, quire, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--quire", required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    original = Target(options.model)
    for name, grid in GRIDS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = quires_weights(options.model, grid, options.quire, pathlib.Path(folder))
        modules = zip(matrices(original.model, grid), matrices(found.model, grid))
        for (matrix, module), (_, other) in modules:
            expected = grid(module.weight)
            if not torch.equal(expected, other.weight):
                differ = expected != other.weight
                raise SystemExit(f"{name}: {matrix} differs in {differ.sum()} of {differ.numel()} weights, "
                                 f"at most by {(expected - other.weight).abs().max():.2e}")
        print(f"{name}: equal", flush=True)


if __name__ == "__main__":
    main()
