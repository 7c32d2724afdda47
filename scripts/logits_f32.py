#!/usr/bin/env python3
"""Regenerates tests/model/golden/kl-*.bin: the float32 truth over a fixed text, and llama.cpp's distance from it;
and adds to greedy-*.json (first scripts/golden_greedy.py) what the truth says of the tokens there.

    logits_f32.py [--server PATH_OF_LLAMA_SERVER] MODEL.gguf...     without it: Python package xllamacpp

This script dequantizes a model file (package `gguf`), computes the tokens of kl_text.txt in float32 with numpy,
and writes the truth in a compact form together with the mean KL divergence of llama.cpp's answers from it.

The file (little endian): "PKL1", u32 n_chunks, u32 n_ctx, u32 n_first, u32 n_top, f64 mean KL of llama.cpp (over
the n_top tokens and the rest taken as one); i32 tokens[n_chunks][n_ctx]; then for each chunk and each
position n_first .. n_ctx-2: i32 ids[n_top] of the likeliest tokens, f32 logprobs[n_top] (natural).
Needs Python packages gguf and numpy. Knows nothing of Pensieve.
"""
import argparse
import json
import struct
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from golden_greedy import InProcess, Server, short_name, write

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "model" / "golden"
N_CTX, N_CHUNKS, N_TOP = 512, 2, 64
HAVE_BOS = ("gemma270",)  # which say nothing sensible without their first token
SHAPES = {"gemma270": (1024, 1, 768)}  # other contexts, chunks, and first positions that count: beyond its window


class Network:
    """Llama, Qwen2 and Gemma 3, read from their papers: float32 weights, one chunk of text at a time."""

    def __init__(self, path, dtype):
        self.reader = GGUFReader(path)
        self.tensors = {t.name: t for t in self.reader.tensors}
        self.dtype = dtype
        self.dequantized = {}
        arch = self.field("general.architecture")
        if arch not in ("llama", "qwen2", "gemma3"):
            sys.exit(f"unknown architecture {arch}")
        # llama's file order pairs neighbouring dimensions in RoPE, qwen2's pairs the two halves.
        self.pairs = arch == "llama"
        self.n_layers = self.field(f"{arch}.block_count")
        self.n_heads = self.field(f"{arch}.attention.head_count")
        self.n_kv = self.field(f"{arch}.attention.head_count_kv")
        self.eps = self.field(f"{arch}.attention.layer_norm_rms_epsilon")
        self.theta = self.field(f"{arch}.rope.freq_base")
        self.n_embd = self.field(f"{arch}.embedding_length")
        self.gemma = arch == "gemma3"
        self.head_dim = self.field(f"{arch}.attention.key_length") if self.gemma else self.n_embd // self.n_heads
        self.window = self.field(f"{arch}.attention.sliding_window") if self.gemma else 0

    def field(self, key):
        return self.reader.fields[key].contents()

    def weight(self, name):
        if name not in self.dequantized:
            t = self.tensors[name]
            self.dequantized[name] = dequantize(t.data, t.tensor_type).astype(self.dtype)
        return self.dequantized[name]

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * self.weight(name)

    def linear(self, x, name):
        y = x @ self.weight(name + ".weight").T
        return y + self.weight(name + ".bias") if name + ".bias" in self.tensors else y

    def is_local(self, layer):
        """Gemma 3: five layers with a window, and RoPE's usual base, then one without."""
        return self.gemma and (layer + 1) % 6 != 0

    def heads(self, x, name, n_heads):
        x = self.linear(x, name).reshape(len(x), n_heads, self.head_dim)
        return self.norm(x, name + "_norm.weight") if self.gemma else x

    def rope(self, x, layer):
        """x [n_tokens][n_heads][head_dim]"""
        n, half = x.shape[0], self.head_dim // 2
        theta = 10000.0 if self.is_local(layer) else self.theta
        freq = theta ** (-2.0 * np.arange(half) / self.head_dim)
        angle = np.arange(n)[:, None] * freq[None, :]
        c, s = np.cos(angle)[:, None, :].astype(self.dtype), np.sin(angle)[:, None, :].astype(self.dtype)
        a, b = (x[..., 0::2], x[..., 1::2]) if self.pairs else (x[..., :half], x[..., half:])
        ra, rb = a * c - b * s, a * s + b * c
        return np.stack([ra, rb], -1).reshape(x.shape) if self.pairs else np.concatenate([ra, rb], -1)

    def attention(self, x, p, layer):
        n, group = x.shape[0], self.n_heads // self.n_kv
        q = self.rope(self.heads(x, p + "attn_q", self.n_heads), layer)
        k = self.rope(self.heads(x, p + "attn_k", self.n_kv), layer)
        v = self.linear(x, p + "attn_v").reshape(n, self.n_kv, self.head_dim)
        future = np.triu(np.full((n, n), -np.inf, self.dtype), 1)
        if self.is_local(layer):
            future += np.tril(np.full((n, n), -np.inf, self.dtype), -self.window)
        out = np.empty_like(q)
        for h in range(self.n_heads):
            scores = q[:, h] @ k[:, h // group].T / self.dtype(np.sqrt(self.head_dim)) + future
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, h] = scores / scores.sum(-1, keepdims=True) @ v[:, h // group]
        return self.linear(out.reshape(n, -1), p + "attn_output")

    def feed_forward(self, x, p):
        gate = self.linear(x, p + "ffn_gate")
        if self.gemma:
            gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi).astype(self.dtype) * (gate + 0.044715 * gate ** 3)))
        else:
            gate = gate / (1 + np.exp(-gate))
        return self.linear(gate * self.linear(x, p + "ffn_up"), p + "ffn_down")

    def post(self, x, name):
        return self.norm(x, name) if self.gemma else x

    def logits(self, tokens, first):
        """[n_tokens - first][n_vocab]"""
        x = self.weight("token_embd.weight")[tokens]
        if self.gemma:
            x = x * self.dtype(np.sqrt(self.n_embd))
        for layer in range(self.n_layers):
            p = f"blk.{layer}."
            attended = self.attention(self.norm(x, p + "attn_norm.weight"), p, layer)
            x = x + self.post(attended, p + "post_attention_norm.weight")
            x = x + self.post(self.feed_forward(self.norm(x, p + "ffn_norm.weight"), p), p + "post_ffw_norm.weight")
        x = self.norm(x[first:], "output_norm.weight")
        return self.linear(x, "output" if "output.weight" in self.tensors else "token_embd")


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def llama_logprobs(server, tokens, first, ids):
    """Log probabilities [n_chunks][positions][n_top] of `ids`, one position after the other on a warm cache.
    (llama-perplexity's saved ones are clipped and have 16 bits: too coarse for distances of 0.0005.) They are
    those of the logits before any bias: the bias towards a plain token only makes sure that the answer is
    a whole character, since the server reports no probabilities otherwise."""
    plain = server.post("/tokenize", {"content": " a"})["tokens"][-1]
    out = np.empty(ids.shape)
    for chunk, row in np.ndindex(ids.shape[:2]):
        prompt = tokens[chunk, :first + row + 1].tolist()
        answer = server.post("/completion", {
            "prompt": prompt, "n_predict": 1, "n_probs": 2000, "cache_prompt": True, "temperature": 0,
            "samplers": ["top_k"], "top_k": 1, "logit_bias": [[plain, 1000.0]]})
        top = {t["id"]: t["logprob"] for t in answer["completion_probabilities"][0]["top_logprobs"]}
        # Out of its first 2000 although in the truth's first 64: not less than its own least.
        out[chunk, row] = [top.get(i, min(top.values())) for i in ids[chunk, row].tolist()]
    return out


def with_rest(logprobs):
    """Appends the log probability of everything else."""
    rest = np.log(np.maximum(1e-12, 1 - np.exp(logprobs).sum(-1, keepdims=True)))
    return np.concatenate([logprobs, rest], -1)


def kl(p, q):
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def fixed_tokens(server, name, n_chunks, n_ctx):
    """[n_chunks][n_ctx], the same text cut in chunks that begin anew at position 0."""
    text = (GOLDEN / "kl_text.txt").read_text(encoding="utf-8")
    tokens = server.post("/tokenize", {"content": text, "add_special": name in HAVE_BOS, "parse_special": False})["tokens"]
    if len(tokens) < n_chunks * n_ctx:
        sys.exit(f"the text has only {len(tokens)} tokens")
    return np.array(tokens[:n_chunks * n_ctx], "<i4").reshape(n_chunks, n_ctx)


def golden(binary, model, dtype):
    name = short_name(model)
    n_ctx, n_chunks, first = SHAPES.get(name, (N_CTX, N_CHUNKS, N_CTX // 2))
    server = Server(binary.resolve(), model, 2) if binary else InProcess(model, 1)
    try:
        tokens = fixed_tokens(server, name, n_chunks, n_ctx)
        network = Network(model, dtype)
        truth = np.stack([log_softmax(network.logits(chunk, first)[:-1]) for chunk in tokens])
        ids = np.argsort(-truth, -1, kind="stable")[..., :N_TOP].astype("<i4")
        top = np.take_along_axis(truth, ids, -1).astype("<f4")
        theirs = llama_logprobs(server, tokens, first, ids)
    finally:
        server.close()
    distance = kl(with_rest(top.astype(np.float64)), with_rest(theirs))
    print(f"{name}: KL of llama.cpp {distance:.6f} over the top {N_TOP} and the rest; the top {N_TOP} hold "
          f"{np.exp(top).sum(-1).mean():.4f}; same first token {np.mean(theirs.argmax(-1) == 0):.4f}", flush=True)
    with (GOLDEN / f"kl-{name}.bin").open("wb") as f:
        f.write(struct.pack("<4sIIIId", b"PKL1", n_chunks, n_ctx, first, N_TOP, distance))
        f.write(tokens.tobytes())
        for row in np.ndindex(ids.shape[:2]):
            f.write(ids[row].tobytes() + top[row].tobytes())
    if (GOLDEN / f"greedy-{name}.json").exists():
        judge_greedy(network, name)


def judge_greedy(network, name):
    """Adds `truth`: log probabilities of the same tokens as `top`."""
    path = GOLDEN / f"greedy-{name}.json"
    prompts = json.loads(path.read_text(encoding="utf-8"))["prompts"]
    n_same = 0
    for p in prompts:
        tokens = np.array(p["prompt"] + p["tokens"])
        truth = log_softmax(network.logits(tokens, len(p["prompt"]) - 1)[:-1])
        p["truth"] = [[round(float(row[t]), 3) for t, _ in top] for row, top in zip(truth, p["top"])]
        n_same += int((truth.argmax(-1) == p["tokens"]).sum())
    write(path, name, prompts)
    n = sum(len(p["tokens"]) for p in prompts)
    print(f"{name}: float32 agrees with llama.cpp's greedy token in {n_same} of {n} places", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", type=Path)
    parser.add_argument("--double", action="store_true", help="compute in float64, to see what float32 costs")
    parser.add_argument("models", nargs="+", type=Path)
    args = parser.parse_args()
    for model in args.models:
        golden(args.server, model, np.float64 if args.double else np.float32)


if __name__ == "__main__":
    main()
