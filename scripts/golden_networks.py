#!/usr/bin/env python3
"""Regenerates tests/model/golden/networks.json: logits of the tests' tiny models, computed from the papers.

    golden_networks.py

The weights are those of tests/support/tiny_model.c (the same noise by the same names); the forward pass is
numpy in double precision: Llama's block, RoPE over neighbouring pairs (llama) or halves (qwen2, phi3), and the ways
RoPE is stretched: linear, Llama 3's factors, YaRN, LongRoPE. A window of W lets a position see W, itself included. Keys
and values are rounded to f16. For every case a few logits of a few positions. Needs numpy. Knows nothing of Pensieve.
"""
import json
import math
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "model" / "golden"
LAYERS, HEADS, KV_HEADS, DIM, FF, VOCAB, CONTEXT = 2, 4, 2, 16, 96, 260, 576
EMBD, PAIRS, EPS, BASE, ORIGINAL = HEADS * DIM, DIM // 2, 1e-5, 10000.0, 128
N_TOKENS, POSITIONS, LOGITS = 100, (0, 1, 63, 64, 99), (0, 1, 7, 100, 255)

CASES = {  # name: architecture, what scales RoPE
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "linear": ("qwen2", {"linear": 4.0}),
    "llama3": ("llama", {"factors": [1 + 0.25 * i for i in range(PAIRS)]}),
    "yarn": ("qwen2", {"yarn": 4.0}),
    "window": ("phi3", {"window": 64}),
    "longrope-short": ("phi3", {"factors": [1 + 0.25 * i for i in range(PAIRS)], "longrope": True}),
    "longrope-long": ("phi3", {"factors": [1 + 3.0 * i for i in range(PAIRS)], "longrope": True}),
}


def noise(name, n, mean, deviation):
    """Sums of four uniform numbers from a linear congruence, in single precision."""
    state = 12345
    for byte in name.encode():
        state = (state * 31 + byte) & 0xFFFFFFFF
    bits = np.empty(4 * n, dtype=np.uint32)
    for i in range(4 * n):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        bits[i] = state >> 8
    uniform = (bits.astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)).reshape(n, 4)
    total = np.zeros(n, dtype=np.float32)
    for k in range(4):
        total = total + uniform[:, k]
    return (np.float32(mean) + np.float32(deviation) * total * np.float32(1.7320508)).astype(np.float64)


def matrix(name, n_out, n_in, deviation):
    return noise(name, n_out * n_in, 0, deviation).reshape(n_out, n_in)


def weights():
    w = {"embedding": matrix("token_embd.weight", VOCAB, EMBD, 1), "norm": noise("output_norm.weight", EMBD, 1, 0.1),
         "output": matrix("output.weight", VOCAB, EMBD, 0.5)}
    for i in range(LAYERS):
        for name, n_out, n_in in (("attn_q", EMBD, EMBD), ("attn_k", KV_HEADS * DIM, EMBD),
                                  ("attn_v", KV_HEADS * DIM, EMBD), ("attn_output", EMBD, EMBD),
                                  ("ffn_gate", FF, EMBD), ("ffn_up", FF, EMBD), ("ffn_down", EMBD, FF)):
            w[i, name] = matrix(f"blk.{i}.{name}.weight", n_out, n_in, 0.3)
        for name in ("attn_norm", "ffn_norm"):
            w[i, name] = noise(f"blk.{i}.{name}.weight", EMBD, 1, 0.1)
    return w


def yarn_frequencies(plain, factor):
    """The paper's section 3.2, with the ramp over pair numbers of its published code."""
    def pair_that_turns(times):
        return DIM * math.log(ORIGINAL / (times * 2 * math.pi)) / (2 * math.log(BASE))
    low, high = max(math.floor(pair_that_turns(32)), 0), min(math.ceil(pair_that_turns(1)), DIM - 1)
    ramp = np.clip((np.arange(PAIRS) - low) / max(high - low, 0.001), 0, 1)
    return plain / factor * ramp + plain * (1 - ramp)


def frequencies(scaling):
    """Radians per position, and what cosines and sines are multiplied by."""
    plain = BASE ** (-2.0 * np.arange(PAIRS) / DIM)
    if "linear" in scaling:
        return plain / scaling["linear"], 1.0
    if "yarn" in scaling:
        return yarn_frequencies(plain, scaling["yarn"]), 0.1 * math.log(scaling["yarn"]) + 1
    if "factors" in scaling:
        longer = CONTEXT / ORIGINAL
        magnitude = math.sqrt(1 + math.log(longer) / math.log(ORIGINAL)) if "longrope" in scaling else 1.0
        return plain / np.array(scaling["factors"]), magnitude
    return plain, 1.0


def rotate(x, architecture, scaling):
    """x [n_tokens][n_heads][DIM]"""
    per_position, magnitude = frequencies(scaling)
    angles = np.arange(len(x))[:, None] * per_position
    cos, sin = magnitude * np.cos(angles)[:, None], magnitude * np.sin(angles)[:, None]
    first, second = (x[..., 0::2], x[..., 1::2]) if architecture == "llama" else (x[..., :PAIRS], x[..., PAIRS:])
    a, b = first * cos - second * sin, first * sin + second * cos
    if architecture == "llama":
        return np.stack([a, b], axis=-1).reshape(x.shape)
    return np.concatenate([a, b], axis=-1)


def norm(x, w):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w


def half(x):
    return x.astype(np.float16).astype(np.float64)


def attention(w, i, x, architecture, scaling):
    h = norm(x, w[i, "attn_norm"])
    q = rotate((h @ w[i, "attn_q"].T).reshape(-1, HEADS, DIM), architecture, scaling)
    k = half(rotate((h @ w[i, "attn_k"].T).reshape(-1, KV_HEADS, DIM), architecture, scaling))
    v = half((h @ w[i, "attn_v"].T).reshape(-1, KV_HEADS, DIM))
    ago = np.arange(len(x))[:, None] - np.arange(len(x))
    mask = np.where((ago >= 0) & (ago < scaling.get("window", CONTEXT)), 0, -np.inf)
    out = np.empty_like(q)
    for head in range(HEADS):
        group = head * KV_HEADS // HEADS
        scores = q[:, head] @ k[:, group].T / math.sqrt(DIM) + mask
        share = np.exp(scores - scores.max(-1, keepdims=True))
        out[:, head] = share / share.sum(-1, keepdims=True) @ v[:, group]
    return out.reshape(len(x), -1) @ w[i, "attn_output"].T


def feed_forward(w, i, x):
    h = norm(x, w[i, "ffn_norm"])
    gate, up = h @ w[i, "ffn_gate"].T, h @ w[i, "ffn_up"].T
    return gate / (1 + np.exp(-gate)) * up @ w[i, "ffn_down"].T


def logits(w, architecture, scaling):
    tokens = [(i * 37 + 11) % 256 for i in range(N_TOKENS)]
    x = w["embedding"][tokens]
    for i in range(LAYERS):
        x = x + attention(w, i, x, architecture, scaling)
        x = x + feed_forward(w, i, x)
    return norm(x, w["norm"]) @ w["output"].T


def main():
    w = weights()
    cases = {}
    for name, (architecture, scaling) in CASES.items():
        out = logits(w, architecture, scaling)
        cases[name] = [[round(float(out[p, t]), 6) for t in LOGITS] for p in POSITIONS]
    lines = [f"  {json.dumps(name)}: {json.dumps(rows)}" for name, rows in cases.items()]
    head = f"{{\n \"positions\": {list(POSITIONS)},\n \"tokens\": {list(LOGITS)},\n \"cases\": {{\n"
    (GOLDEN / "networks.json").write_text(head + ",\n".join(lines) + "\n }\n}\n")


if __name__ == "__main__":
    main()
