#!/usr/bin/env python3
"""Writes tests/quant/encoders.bin: rows, and what the reference quantizers make of them.

    encoders.py LLAMA_CPP MODEL.gguf     (needs a C compiler, mlx, gguf, numpy)

LLAMA_CPP is a folder of llama.cpp's sources, whose ggml-quants.c is compiled into a folder for a while; MODEL.gguf
has a matrix of Q8_0 or finer, from which real rows are taken.

The file, little-endian: int32 n_kinds, n_rows, n_columns; float16 rows[n_kinds][n_rows][n_columns] (Gaussian; real
ones); float32 importance[n_columns]; int32 n_types; of each int32 number, float32 error[n_kinds][2], without and with
importance: the root of sum(w * lost^2) / sum(w * x^2). Then int32 n_packed; of each what mlx.core.quantize makes of
the first row of the first kind: int32 bits, group, scales (0 f16, 1 bf16, 2 f32), n bytes of numbers, n of scales
(biases have as many), and the three. bits 0 is mxfp4: a float32 error[n_kinds] stands in the place of the bytes.
"""
import ctypes
import pathlib
import struct
import subprocess
import sys
import tempfile

import gguf
import mlx.core as mx
import numpy as np

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/quant/encoders.bin"
N_ROWS, N_COLUMNS = 8, 512
TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4")
# What ggml-quants.c wants from the rest of ggml.
STUB = """
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
static const int sizes[64][2] = {%s};
size_t ggml_row_size(int type, int64_t n) { return (size_t)n / sizes[type][0] * sizes[type][1]; }
size_t ggml_type_size(int type) { return sizes[type][1]; }
const char *ggml_type_name(int type) { return ""; }
void ggml_abort(const char *file, int line, const char *format, ...) { abort(); }
"""


def build(sources, folder):
    sizes = ", ".join(f"[{t.value}] = {{{b}, {n}}}" for t, (b, n) in gguf.GGML_QUANT_SIZES.items())
    (folder / "stub.c").write_text(STUB % sizes)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-D_GNU_SOURCE", f"-I{sources}/ggml/include",
                    f"-I{sources}/ggml/src", f"{sources}/ggml/src/ggml-quants.c", folder / "stub.c", "-o",
                    folder / "reference.so", "-lm"], check=True)
    return ctypes.CDLL(str(folder / "reference.so"))


def pointer(x):
    return None if x is None else x.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def loss(x, decoded, importance):
    w = 1 if importance is None else importance
    return float(np.sqrt(np.sum(w * (decoded.astype(np.float64) - x) ** 2) / np.sum(w * x.astype(np.float64) ** 2)))


def reference_error(library, name, x, importance):
    number = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[number]
    out = np.zeros((x.shape[0], x.shape[1] // block * size), np.uint8)
    function = getattr(library, "quantize_" + (name.lower()[:-1] + "K" if name.endswith("_K") else name.lower()))
    function(pointer(x), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(x.shape[0]),
             ctypes.c_int64(x.shape[1]), pointer(importance))
    return loss(x, gguf.quants.dequantize(out, number), importance)


def real_rows(model):
    for t in gguf.GGUFReader(model).tensors:
        if t.name.startswith("blk.3.") and t.shape[0] >= N_COLUMNS and t.tensor_type.name in ("Q8_0", "F16", "BF16"):
            print("real rows of", t.name, t.tensor_type.name)
            return gguf.quants.dequantize(t.data, t.tensor_type)[:N_ROWS, :N_COLUMNS]
    sys.exit("the model has no such matrix")


def packed(rows):
    x = mx.array(rows[0][:1])
    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            for scales, dtype in enumerate((mx.float16, mx.bfloat16, mx.float32)):
                parts = [np.array(p.view(mx.uint8) if p.dtype == mx.bfloat16 else p).tobytes()
                         for p in mx.quantize(x.astype(dtype), group, bits)]
                yield struct.pack("<5i", bits, group, scales, len(parts[0]), len(parts[1])) + b"".join(parts)
    errors = []
    for kind in rows:
        q, scales = mx.quantize(mx.array(kind), 32, 4, mode="mxfp4")
        decoded = mx.dequantize(q, scales, group_size=32, bits=4, mode="mxfp4", dtype=mx.float32)
        errors.append(loss(kind, np.array(decoded), None))
    yield struct.pack("<5i", 0, 32, 0, 0, 0) + struct.pack(f"<{len(errors)}f", *errors)


def main():
    random = np.random.default_rng(20261128)
    gauss = random.standard_normal((N_ROWS, N_COLUMNS)) * 0.05
    # bfloat16's rows must be the same numbers: eight bits of them are kept
    rows = [np.array(mx.array(kind.astype(np.float32)).astype(mx.bfloat16).astype(mx.float32)).astype(np.float16)
            .astype(np.float32) for kind in (gauss, real_rows(sys.argv[2]))]
    importance = np.exp(random.standard_normal(N_COLUMNS)).astype(np.float32)
    out = struct.pack("<3i", len(rows), N_ROWS, N_COLUMNS)
    out += b"".join(kind.astype(np.float16).tobytes() for kind in rows) + importance.tobytes()
    with tempfile.TemporaryDirectory() as folder:
        library = build(sys.argv[1], pathlib.Path(folder))
        out += struct.pack("<i", len(TYPES))
        for name in TYPES:
            out += struct.pack("<i", gguf.GGMLQuantizationType[name].value)
            for kind in rows:
                out += struct.pack("<2f", *(reference_error(library, name, kind, w) for w in (None, importance)))
    blocks = list(packed(rows))
    out += struct.pack("<i", len(blocks)) + b"".join(blocks)
    OUT.write_bytes(out)
    print(OUT, len(out), "bytes")


if __name__ == "__main__":
    main()
