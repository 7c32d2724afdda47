#!/usr/bin/env python3
"""Regenerates tests/model/golden/folders.json: what mlx-lm says of the tests' tiny folders of safetensors.

    networks_folders.py BUILD_FOLDER [NETWORK...]

BUILD_FOLDER has tests/support/write_folder, which writes the very files that the tests make in memory
(tests/support/tiny_folders.h). mlx-lm loads each as it would any folder and computes on the CPU in single precision:
scales, biases and vectors of 16 bits become F32, which is exact. Kept are a few logits after a few positions of a fixed
sequence. With NETWORKs only those are made anew. Needs mlx with its CPU build, mlx-lm, numpy.

Where mlx-lm's model is not the published one, it is asked so that it is:
- LongRoPE: its SuScaledRoPE always takes long_factor. Phi-3's own code takes short_factor up to the original context,
  as we do when no longer context was asked for ("phi3-short"): there mlx-lm gets the short list as its long one.
- Windows: its phi3, and its mistral without layer_types, have none. So "mistral" names its layers' kinds; Phi-3's window
  is in golden_networks.py, computed from the paper.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.utils import load_model

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "model" / "golden" / "folders.json"
SEQUENCE = [(i * 37 + 11) % 256 for i in range(160)]
POSITIONS, TOKENS = (0, 1, 63, 64, 129, 159), (0, 1, 7, 100, 129, 200, 255, 259)


def ask_otherwise(network, path):
    if network == "phi3-short":
        config = json.loads(path.read_text())
        config["rope_scaling"]["long_factor"] = config["rope_scaling"]["short_factor"]
        path.write_text(json.dumps(config))


def unpack_wholly():
    """MLX unpacks embeddings without scales of their own floats (mxfp4, mxfp8, nvfp4) to bfloat16, which is exact, but
    models then compute in it here and there."""
    plain = nn.QuantizedEmbedding.__call__
    nn.QuantizedEmbedding.__call__ = lambda self, x: plain(self, x).astype(mx.float32)


def logits(write, network, numbers):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([write, network, numbers, folder], check=True)
        ask_otherwise(network, pathlib.Path(folder) / "config.json")
        model, _ = load_model(pathlib.Path(folder))
        model.set_dtype(mx.float32)
        out = np.array(model(mx.array([SEQUENCE]))[0])
    if not np.isfinite(out).all():
        sys.exit(f"{network} {numbers}: not finite")
    print(f"{network} {numbers}: deviation {out.std():.2f}", flush=True)
    return [[float(f"{out[p, t]:.6g}") for t in TOKENS] for p in POSITIONS]


def main():
    mx.set_default_device(mx.cpu)
    unpack_wholly()
    write = pathlib.Path(sys.argv[1]) / "tests" / "support" / "write_folder"
    names = subprocess.run([write], capture_output=True, text=True, check=True).stdout.splitlines()
    cases = json.loads(GOLDEN.read_text())["cases"] if sys.argv[2:] else {}
    for name in names:
        if not sys.argv[2:] or name.split()[0] in sys.argv[2:]:
            cases[name] = logits(write, *name.split())
    lines = [f"  {json.dumps(name)}: {json.dumps(cases[name])}" for name in names]
    head = f"{{\n \"positions\": {list(POSITIONS)},\n \"tokens\": {list(TOKENS)},\n \"cases\": {{\n"
    GOLDEN.write_text(head + ",\n".join(lines) + "\n }\n}\n")


if __name__ == "__main__":
    main()
