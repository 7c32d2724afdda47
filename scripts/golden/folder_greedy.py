#!/usr/bin/env python3
"""What a folder's model says greedily, computed in float32 from its dequantized weights: the independent truth for
tests/cli/test_talk.py.

    folder_greedy.py FOLDER [-n TOKENS] QUESTION...

Reads llama and phi3 folders as mlx_lm convert writes them (mlx.core.dequantize) or plain ones, renders the questions by
the folder's own template (jinja2), and prints a line of JSON for each: the prompt's tokens, the answer's tokens and their
texts, and at each place how far the second likeliest logit was behind, so that near-ties can be told from errors. Needs mlx, numpy, tokenizers and
jinja2. Knows nothing of Pensieve.
"""
import argparse
import json
from pathlib import Path

import jinja2.sandbox
import mlx.core as mx
import numpy as np
from tokenizers import Tokenizer

mx.set_default_device(mx.cpu)


class Weights:
    """The folder's matrices in float32, by their modules' names."""

    def __init__(self, folder, config):
        self.raw = {}
        for file in sorted(folder.glob("*.safetensors")):
            self.raw |= mx.load(str(file))
        self.quantization = config.get("quantization") or {}

    def __getitem__(self, module):
        w, scales = self.raw[f"{module}.weight"], self.raw.get(f"{module}.scales")
        if scales is not None:
            q = self.quantization.get(module, self.quantization)
            w = mx.dequantize(w, scales, self.raw.get(f"{module}.biases"), group_size=q["group_size"], bits=q["bits"],
                              mode=q.get("mode", "affine"))
        return np.array(w.astype(mx.float32))

    def __contains__(self, module):
        return f"{module}.weight" in self.raw


class Llama:
    def __init__(self, config, w):
        self.c, self.eps = config, config["rms_norm_eps"]
        self.n_heads, self.n_kv = config["num_attention_heads"], config["num_key_value_heads"]
        self.head = config.get("head_dim") or config["hidden_size"] // self.n_heads
        self.embed, self.norm = w["model.embed_tokens"], w["model.norm"]
        self.out = w["lm_head"] if "lm_head" in w else self.embed
        self.layers = [self.layer(w, f"model.layers.{i}") for i in range(config["num_hidden_layers"])]
        half = self.head // 2
        self.frequencies = config.get("rope_theta", 10000.0) ** (-np.arange(half) / half)
        self.forget()

    def forget(self):
        self.keys = [np.zeros((0, self.n_kv, self.head), np.float32) for _ in self.layers]
        self.values = [np.zeros((0, self.n_kv, self.head), np.float32) for _ in self.layers]

    def layer(self, w, at):
        if f"{at}.self_attn.qkv_proj" in w:
            sizes = [self.n_heads * self.head, self.n_kv * self.head]
            q, k, v = np.split(w[f"{at}.self_attn.qkv_proj"], [sizes[0], sum(sizes)])
            gate, up = np.split(w[f"{at}.mlp.gate_up_proj"], 2)
        else:
            q, k, v = (w[f"{at}.self_attn.{x}_proj"] for x in "qkv")
            gate, up = (w[f"{at}.mlp.{x}_proj"] for x in ("gate", "up"))
        return {"q": q, "k": k, "v": v, "gate": gate, "up": up, "o": w[f"{at}.self_attn.o_proj"],
                "down": w[f"{at}.mlp.down_proj"], "n1": w[f"{at}.input_layernorm"], "n2": w[f"{at}.post_attention_layernorm"]}

    def normed(self, x, weight):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * weight

    def turned(self, x, begin):
        angle = (begin + np.arange(len(x)))[:, None] * self.frequencies
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(np.float32)

    def attended(self, i, layer, x, begin):
        n = len(x)
        q = self.turned((x @ layer["q"].T).reshape(n, self.n_heads, self.head), begin)
        k = self.turned((x @ layer["k"].T).reshape(n, self.n_kv, self.head), begin)
        self.keys[i] = np.concatenate([self.keys[i], k])
        self.values[i] = np.concatenate([self.values[i], (x @ layer["v"].T).reshape(n, self.n_kv, self.head)])
        keys = np.repeat(self.keys[i], self.n_heads // self.n_kv, axis=1)
        values = np.repeat(self.values[i], self.n_heads // self.n_kv, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, keys) / np.sqrt(self.head)
        scores += np.where(np.arange(len(keys)) > begin + np.arange(n)[:, None], -np.inf, 0)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return np.einsum("hqk,khd->qhd", scores, values).reshape(n, -1) @ layer["o"].T

    def logits(self, tokens):
        begin, x = len(self.keys[0]), self.embed[tokens]
        for i, layer in enumerate(self.layers):
            x = x + self.attended(i, layer, self.normed(x, layer["n1"]), begin)
            y = self.normed(x, layer["n2"])
            gate = y @ layer["gate"].T
            x = x + (gate / (1 + np.exp(-gate)) * (y @ layer["up"].T)) @ layer["down"].T
        return self.normed(x[-1:], self.norm)[0] @ self.out.T


def prompt_of(folder, settings, question):
    path = folder / "chat_template.jinja"
    source = path.read_text(encoding="utf-8") if path.exists() else settings["chat_template"]
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(messages=[{"role": "user", "content": question}],
                                                  add_generation_prompt=True)


def answered(model, tokenizer, prompt, ends, n):
    answer, gaps, pieces, tokens, text = [], [], [], prompt, ""
    model.forget()
    for _ in range(n):
        logits = model.logits(tokens)
        first, second = np.argsort(-logits)[:2]
        tokens = [int(first)]
        answer += tokens
        gaps.append(round(float(logits[first] - logits[second]), 3))
        longer = tokenizer.decode(answer, skip_special_tokens=True)
        pieces.append(longer[len(text):])
        text = longer
        if tokens[0] in ends:
            break
    return {"prompt": prompt, "answer": answer, "pieces": pieces, "gaps": gaps}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", nargs="+")
    parser.add_argument("-n", type=int, default=24)
    o = parser.parse_args()
    config = json.loads((o.folder / "config.json").read_text())
    settings = json.loads((o.folder / "tokenizer_config.json").read_text())
    tokenizer = Tokenizer.from_file(str(o.folder / "tokenizer.json"))
    ends = config["eos_token_id"] if isinstance(config["eos_token_id"], list) else [config["eos_token_id"]]
    model = Llama(config, Weights(o.folder, config))
    for question in o.questions:
        prompt = tokenizer.encode(prompt_of(o.folder, settings, question), add_special_tokens=False).ids
        told = answered(model, tokenizer, prompt, ends, o.n)
        print(json.dumps({"folder": o.folder.name, "question": question, **told}, ensure_ascii=False), flush=True)


main()
