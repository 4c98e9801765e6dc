#!/usr/bin/env python3
"""Writes tests/data/formats/: random blocks of every weight format with the floats they mean, by the `gguf` package.

    pip install gguf numpy && tools/format_oracle.py [folder]

<NAME>.dequantize.bin  blocks, then their floats (float32)
<NAME>.quantize.bin    floats, then the blocks they become; only formats that the package can write
All little endian, without a header: the format's block size says how many blocks there are.
"""
import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

FORMATS = "F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4 IQ3_S NVFP4".split()
CAN_QUANTIZE = "F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 MXFP4".split()
# Where a block holds f16 scales: random bytes there would mostly be infinities and huge numbers.
F16_OFFSETS = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
               "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
               "IQ3_S": [0]}


def random_blocks(name, rng):
    elements, size = gguf.GGML_QUANT_SIZES[Type[name]]
    count = {1: 1024, 32: 20, 64: 10, 256: 4}[elements]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    if elements == 1:
        halves = blocks.view(np.uint16)
        is_nan = np.isnan(gguf.dequantize(blocks, Type[name])).reshape(halves.shape)
        halves[is_nan] = 0x3c00
    for offset in F16_OFFSETS.get(name, []):
        scales = rng.normal(0, 0.02, count).astype(np.float16)
        scales[0], scales[1] = np.float16(6e-8), np.float16(-0.25)  # a denormal and a negative one
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(count, 2)
    if name == "MXFP4":  # 255 is a NaN, which the package does not know
        blocks[:, 0] = rng.integers(0, 255, count, dtype=np.uint8)
        blocks[:3, 0] = [0, 1, 254]
    if name == "NVFP4":  # scales without signs; zero, denormals, the largest, and what would be a NaN
        blocks[:, :4] = rng.integers(0, 128, (count, 4), dtype=np.uint8)
        blocks[:2, :4] = [[0, 1, 7, 8], [126, 127, 64, 0]]
    return blocks


def random_floats(name, rng):
    elements, _ = gguf.GGML_QUANT_SIZES[Type[name]]
    if elements == 1:
        bits = rng.integers(0, 2**32, 1024, dtype=np.uint32)
        exponents = rng.integers(90, 150, 1024, dtype=np.uint32)  # around what 16 bits can hold
        bits = (bits & 0x807fffff) | (exponents << 23)
        bits[:8] = [0, 0x80000000, 0x477fefff, 0x477ff000, 0x33000000, 0x33000001, 0x387fe000, 0x3f801000]
        return bits.view(np.float32)
    x = rng.normal(0, 1, (20, elements)).astype(np.float32) * rng.choice([1e-3, 0.02, 1, 50], (20, 1))
    x[0], x[1], x[2, 5] = 0, 0.75, 30
    return x.astype(np.float32)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                          pathlib.Path(__file__).resolve().parent.parent / "tests/data/formats")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20240607)
    for name in FORMATS:
        blocks = random_blocks(name, rng)
        floats = gguf.dequantize(blocks, Type[name]).astype(np.float32)
        (folder / f"{name}.dequantize.bin").write_bytes(blocks.tobytes() + floats.tobytes())
        if name in CAN_QUANTIZE:
            x = random_floats(name, rng)
            with np.errstate(over="ignore"):
                encoded = gguf.quantize(x, Type[name])
            (folder / f"{name}.quantize.bin").write_bytes(x.tobytes() + encoded.tobytes())


if __name__ == "__main__":
    main()
