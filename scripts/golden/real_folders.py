#!/usr/bin/env python3
"""Real models as folders of safetensors, and what mlx-lm answers with them.

    real_folders.py make [NAME...]   lays them out in the tests' folder of models (those that are not there yet)
    real_folders.py golden PENSIEVE [NAME...]
                                     regenerates tests/model/golden/greedy-folders.json, or these of it

The weights are those of the GGUF files that the tests have (PENSIEVE_TEST_MODELS, or the store's folder of models),
dequantized by the package gguf and laid out anew in float16 under the names of Hugging Face's llama, phi3 and qwen2,
q and k out of GGUF's order of pairs; `mlx_lm convert` then makes its 4 bits, 8 bits and mxfp4 of them. The phi3 is as the
home model is: fused matrices, LongRoPE's lists (of ones), an output matrix of its own.

The golden tokens are greedy, by mlx-lm's models over the weights that MLX unpacks, in float32; with the likeliest few of
each place. As that is slow token by token, what the program PENSIEVE answers is a guess that mlx-lm looks at in one go;
behind the first token that it would not have written itself it goes on alone. Needs mlx with its CPU build, mlx-lm, transformers, gguf, numpy.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import gguf
import mlx.core as mx
import mlx_lm
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import dequantize_model, load

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "model" / "golden" / "greedy-folders.json"
STORE = pathlib.Path(os.environ.get("PENSIEVE_HOME") or
                     pathlib.Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "pensieve")
MODELS = pathlib.Path(os.environ.get("PENSIEVE_TEST_MODELS") or STORE / "models")
FILES = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "qwen05": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"}
WAYS = {"4bit": {"q_bits": 4, "q_group_size": 64}, "8bit": {"q_bits": 8, "q_group_size": 64},
        "mxfp4": {"q_bits": 4, "q_group_size": 32, "q_mode": "mxfp4"}}
LAYOUTS = [("smollm2", "llama"), ("smollm2", "phi3"), ("qwen05", "qwen2")]
NAMES = ["smollm2-llama-f16"] + [f"{model}-{kind}-{way}" for model, kind in LAYOUTS for way in WAYS]
PROMPTS = ["Write a Python function that adds two numbers.", "What is the capital of France?"]
N_TOKENS, N_TOP = 32, 4

MODULES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
           "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
           "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+")


class Source:
    """A GGUF file as float32 tensors by Hugging Face's names."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.architecture = self.value("general.architecture")

    def value(self, key):
        return self.reader.fields[key].contents()

    def hyper(self, key):
        return self.value(f"{self.architecture}.{key}")

    def out_of_pairs(self, w, n_heads):
        """Llama's q and k: rows 0, 1, 2, … of a head are 0, n/2, 1, … of the trained ones in GGUF."""
        return w.reshape(n_heads, w.shape[0] // n_heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)

    def tensors(self):
        heads = {"attn_q": self.hyper("attention.head_count"), "attn_k": self.hyper("attention.head_count_kv")}
        for t in self.reader.tensors:
            w = gguf.dequantize(t.data, t.tensor_type).astype(np.float32)
            parts = t.name.split(".")
            if parts[0] != "blk":
                module = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}[parts[0]]
                yield f"{module}.{parts[1]}", w
                continue
            if self.architecture == "llama" and parts[2] in heads:
                w = self.out_of_pairs(w, heads[parts[2]])
            yield f"model.layers.{parts[1]}.{MODULES[parts[2]]}.{parts[3]}", w

    def config(self):
        eps = self.hyper("attention.layer_norm_rms_epsilon")
        return {
            "hidden_size": self.hyper("embedding_length"), "intermediate_size": self.hyper("feed_forward_length"),
            "num_hidden_layers": self.hyper("block_count"), "num_attention_heads": self.hyper("attention.head_count"),
            "num_key_value_heads": self.hyper("attention.head_count_kv"),
            "max_position_embeddings": self.hyper("context_length"), "rms_norm_eps": float(f"{eps:.3g}"),
            "rope_theta": self.hyper("rope.freq_base"), "vocab_size": len(self.value("tokenizer.ggml.tokens")),
            "bos_token_id": self.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.value("tokenizer.ggml.eos_token_id"), "hidden_act": "silu", "torch_dtype": "float16"}


def as_phi3(tensors, config):
    out = {}
    for name, w in tensors.items():
        if name.endswith("self_attn.q_proj.weight"):
            rest = [tensors[name.replace("q_proj", other)] for other in ("k_proj", "v_proj")]
            out[name.replace("q_proj", "qkv_proj")] = np.concatenate([w, *rest])
        elif name.endswith("mlp.gate_proj.weight"):
            out[name.replace("gate_proj", "gate_up_proj")] = np.concatenate([w, tensors[name.replace("gate", "up")]])
        elif not name.endswith(("k_proj.weight", "v_proj.weight", "up_proj.weight")):
            out[name] = w
    out.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])
    n = config["hidden_size"] // config["num_attention_heads"] // 2
    config["original_max_position_embeddings"] = config["max_position_embeddings"]
    config["rope_scaling"] = {"type": "longrope", "short_factor": [1.0] * n, "long_factor": [1.0] * n}
    config["sliding_window"] = None
    return out


def tokenizer(source):
    """tokenizer.json and tokenizer_config.json: byte-level BPE."""
    tokens, types = source.value("tokenizer.ggml.tokens"), source.value("tokenizer.ggml.token_type")
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": t == 3} for i, t in enumerate(types) if t in (3, 4)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    normalizer, before = None, {"type": "Digits", "individual_digits": True}
    if source.value("tokenizer.ggml.pre") == "qwen2":
        normalizer, level = {"type": "NFC"}, {**level, "trim_offsets": False, "use_regex": False}
        before = {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated", "invert": False}
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [before, level]}, "post_processor": None,
             "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                       "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                       "vocab": {t: i for i, t in enumerate(tokens) if types[i] != 5},
                       "merges": source.value("tokenizer.ggml.merges")}}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False,
                "bos_token": tokens[source.value("tokenizer.ggml.bos_token_id")],
                "eos_token": tokens[source.value("tokenizer.ggml.eos_token_id")],
                "model_max_length": source.hyper("context_length"), "clean_up_tokenization_spaces": False,
                "chat_template": source.value("tokenizer.chat_template")}
    return whole, settings


def lay_out(model, kind, folder):
    source = Source(MODELS / FILES[model])
    tensors, config = dict(source.tensors()), {"model_type": kind, **source.config()}
    if kind == "phi3":
        tensors = as_phi3(tensors, config)
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    folder.mkdir(parents=True)
    arrays = {name: mx.array(w.astype(np.float16)) for name, w in tensors.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "pt"})
    whole, settings = tokenizer(source)
    for name, value in (("config", config), ("tokenizer", whole), ("tokenizer_config", settings),
                        ("generation_config", {"eos_token_id": config["eos_token_id"]})):
        (folder / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False))


def make(names):
    home = MODELS / "folders"
    for model, kind in LAYOUTS:
        wanted = [n for n in names if n.startswith(f"{model}-{kind}-") and not (home / n).exists()]
        if not wanted:
            continue
        whole = home / f"{model}-{kind}-f16"
        if not whole.exists():
            lay_out(model, kind, whole)
        for name in wanted:
            way = WAYS.get(name.split("-")[-1])
            if way:
                mlx_lm.convert(str(whole), str(home / name), quantize=True, **way)
        if whole.name not in NAMES:
            shutil.rmtree(whole)


def place(row):
    """The likeliest token, and the next ones with their distance to it, in nat."""
    top = np.argsort(-row)[:N_TOP]
    return int(top[0]), [[int(t), round(float(row[top[0]] - row[t]), 3)] for t in top[1:]]


def greedy(model, end, prompt, guess):
    """Up to the end of the answer, or N_TOKENS of it."""
    rows = np.array(model(mx.array([prompt + guess]))[0, len(prompt) - 1:])
    tokens, others = [], []
    for row, guessed in zip(rows, guess + [None]):
        token, near = place(row)
        tokens.append(token)
        others.append(near)
        if token == end or token != guessed:
            break
    cache = make_prompt_cache(model)
    x = prompt + tokens
    while len(tokens) < N_TOKENS and tokens[-1] != end:
        token, near = place(np.array(model(mx.array([x]), cache=cache)[0, -1]))
        tokens.append(token)
        others.append(near)
        x = [token]
    return tokens[:N_TOKENS], others[:N_TOKENS]


def golden_of(program, name):
    folder = str(MODELS / "folders" / name)
    model, tok = load(folder)
    model = dequantize_model(model)
    model.set_dtype(mx.float32)
    prompts = []
    for text in PROMPTS:
        prompt = list(tok.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True,
                                              tokenize=True, return_dict=False))
        answer = subprocess.run([program, "run", "--temperature", "0", "--max-tokens", str(N_TOKENS), folder, text],
                                capture_output=True, text=True, check=True).stdout
        guess = tok.encode(answer.rstrip("\n"), add_special_tokens=False)[:N_TOKENS]
        tokens, others = greedy(model, tok.eos_token_id, prompt, guess)
        print(f"{name}: {tok.decode(tokens)!r}, guessed: {answer!r}", flush=True)
        prompts.append({"text": text, "prompt": prompt, "tokens": tokens, "pieces": tok.batch_decode([[t] for t in tokens]),
                        "others": others})
    return prompts


def golden(program, names):
    known = json.loads(GOLDEN.read_text()) if names and GOLDEN.exists() else {}
    for name in names or NAMES:
        known[name] = golden_of(program, name)
        lines = [f"{json.dumps(n)}: {json.dumps(known[n], separators=(',', ':'))}" for n in NAMES if n in known]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    mx.set_default_device(mx.cpu)
    if sys.argv[1:2] == ["make"]:
        make(sys.argv[2:] or NAMES)
    elif sys.argv[1:2] == ["golden"] and len(sys.argv) > 2:
        golden(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
