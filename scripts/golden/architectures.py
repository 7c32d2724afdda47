#!/usr/bin/env python3
"""Regenerates tests/model/golden/architectures.json: what llama.cpp says of the tests' tiny models.

    architectures.py BUILD_FOLDER [NAME...]

BUILD_FOLDER has tests/support/write_network, which writes the very files that the tests make in memory
(tests/support/tiny_networks.c). Of files in other types than float32 package gguf decodes the weights. Each is loaded by
llama.cpp's server (Python package xllamacpp), in float32 throughout: weights, keys and values, without flash attention.
Kept are natural log probabilities of a few tokens after a few
positions of a fixed sequence. With NAMEs only those cases are made anew.
"""
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import xllamacpp
from gguf import GGUFReader
from gguf.quants import dequantize

GOLDEN = Path(__file__).resolve().parent.parent.parent / "tests" / "model" / "golden" / "architectures.json"
VOCAB, CONTEXT = 260, 576
SEQUENCE = [(i * 37 + 11) % 256 for i in range(100)]
POSITIONS = (0, 1, 30, 31, 32, 63, 64, 65, 99)
TOKENS = list(range(3, VOCAB, 17))


def server(path):
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = CONTEXT
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def log_probabilities(engine, prompt):
    """Of every token after the prompt. The bias towards a plain one, which they do not have in them, only makes sure
    that the server's answer is a whole character: it tells none otherwise."""
    answer = post(engine.listening_address + "/completion", {
        "prompt": prompt, "n_predict": 1, "n_probs": VOCAB, "temperature": 0, "samplers": ["top_k"], "top_k": 1,
        "cache_prompt": False, "logit_bias": [[97, 1000.0]]})
    top = answer["completion_probabilities"][0]["top_logprobs"]
    if len(top) != VOCAB:
        sys.exit(f"{len(top)} probabilities of {VOCAB}")
    return {t["id"]: t["logprob"] for t in top}


def decoded(path, plain):
    """The same model in float32: of the file that is laid out so, with the other's numbers."""
    numbers = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}
    for t in GGUFReader(plain, "r+").tensors:
        t.data[...] = numbers[t.name].astype(np.float32).reshape(t.data.shape)
    return plain


def case(path):
    engine = server(path)
    rows = [log_probabilities(engine, SEQUENCE[:p + 1]) for p in POSITIONS]
    return [[round(row[t], 6) for t in TOKENS] for row in rows]


def main():
    write = Path(sys.argv[1]) / "tests" / "support" / "write_network"
    names = subprocess.run([write], capture_output=True, text=True, check=True).stdout.splitlines()
    cases = json.loads(GOLDEN.read_text())["cases"] if sys.argv[2:] else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            network, kind = name.split()
            if sys.argv[2:] and network not in sys.argv[2:]:
                continue
            path, plain = Path(folder) / f"{network}-{kind}.gguf", Path(folder) / f"{network}.gguf"
            subprocess.run([write, network, kind, path], check=True)
            subprocess.run([write, network, "f32", plain], check=True)
            cases[name] = case(decoded(path, plain))
    lines = [f"  {json.dumps(name)}: {json.dumps(cases[name])}" for name in names]
    head = f"{{\n \"positions\": {list(POSITIONS)},\n \"tokens\": {TOKENS},\n \"cases\": {{\n"
    GOLDEN.write_text(head + ",\n".join(lines) + "\n }\n}\n")


if __name__ == "__main__":
    main()
