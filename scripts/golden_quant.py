#!/usr/bin/env python3
"""Writes tests/quant/golden.bin: random blocks of every weight format and the floats they stand for, as
the reference reader (Python package `gguf`) decodes them. Run: scripts/golden_quant.py  (needs gguf, numpy)

Layout, little-endian, one record after the other:
    u32 type, u32 n_elements, u32 n_bytes, u32 0, n_bytes of blocks padded to 16, n_elements float32
"""
import pathlib
import struct

import gguf
import numpy as np

N_BLOCKS = {1: 1024, 32: 48, 256: 12}  # by elements in a block
# Where the float16 scales lie in a block: random bits, but finite, as the formats demand.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0], "IQ4_XS": [0],
}
TYPES = ["F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "BF16",
         "Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS", "MXFP4"]


def random_blocks(rng, name, n_blocks, n_bytes):
    blocks = rng.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    blocks[0] = 0
    blocks[1] = 255
    for at in SCALES.get(name, []):
        scales = rng.integers(0, 0x7C00, n_blocks, dtype=np.uint16)
        scales |= rng.integers(0, 2, n_blocks, dtype=np.uint16) << 15
        scales[2] = 1  # the smallest subnormal
        scales[3] = 0x7BFF  # the largest number
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks


def main():
    rng = np.random.default_rng(20240607)
    out = bytearray()
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        n_elements, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = random_blocks(rng, name, N_BLOCKS[n_elements], n_bytes)
        raw = blocks.reshape(-1)
        if name in ("F32", "F16"):  # stored as numbers: the package takes them as such
            data = raw.view(np.float32 if name == "F32" else np.float16)
            with np.errstate(invalid="ignore"):
                floats = data.astype(np.float32)
        else:
            floats = gguf.quants.dequantize(blocks, kind).reshape(-1)
        assert floats.dtype == np.float32 and floats.size == blocks.shape[0] * n_elements
        out += struct.pack("<4I", kind, floats.size, raw.size, 0)
        out += raw.tobytes() + bytes(-raw.size % 16)
        out += floats.astype("<f4").tobytes()
    path = pathlib.Path(__file__).resolve().parent.parent / "tests/quant/golden.bin"
    path.write_bytes(out)
    print(f"{path}: {len(out)} bytes, {len(TYPES)} types")


if __name__ == "__main__":
    main()
