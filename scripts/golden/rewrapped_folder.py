#!/usr/bin/env python3
"""Lays a real model's GGUF file out anew as the folders that Hugging Face and MLX publish.

    rewrapped_folder.py MODEL.gguf OUT [--as llama|phi3] [--mlx 4|8|mxfp4]

Reads a llama or qwen2 file (SmolLM2, Qwen2.5), dequantizes it with PyPI's gguf, and writes config.json,
model.safetensors, tokenizer.json, tokenizer_config.json and generation_config.json as their makers would. --as phi3
lays llama's weights out in Phi-3's fused tensors, with the same mathematics. --mlx converts the folder with mlx_lm, the
reference tool, to OUT. Needs gguf, numpy, safetensors, tokenizers, and mlx-lm for --mlx. Knows nothing of Pensieve.
"""
import argparse
import json
import shutil
import tempfile
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


class Source:
    """A GGUF file: its metadata by short names, and its tensors in float32."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.arch = self.value("general.architecture")

    def value(self, key, default=None):
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

    def of_arch(self, key, default=None):
        return self.value(f"{self.arch}.{key}", default)

    def tensors(self):
        for t in self.reader.tensors:
            yield t.name, gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)


def unpermute(w, n_heads):
    """llama.cpp turns neighbours of a head, Hugging Face its halves: puts the rows back."""
    rows = w.shape[0]
    shaped = w.reshape(n_heads, rows // n_heads // 2, 2, *w.shape[1:])
    return shaped.swapaxes(1, 2).reshape(w.shape)


def hf_tensors(source, n_heads, n_kv):
    out = {}
    for name, w in source.tensors():
        stem, kind = name.rsplit(".", 1)
        if stem == "rope_freqs":
            continue
        if stem.startswith("blk."):
            _, layer, part = stem.split(".")
            if source.arch == "llama" and part in ("attn_q", "attn_k"):
                w = unpermute(w, n_heads if part == "attn_q" else n_kv)
            out[f"model.layers.{layer}.{LAYER[part]}.{kind}"] = w
        else:
            out[f"{WHOLE[stem]}.{kind}"] = w
    return out


def fuse_phi3(tensors, n_layers):
    for i in range(n_layers):
        at = f"model.layers.{i}."
        qkv = [tensors.pop(f"{at}self_attn.{x}_proj.weight") for x in "qkv"]
        both = [tensors.pop(f"{at}mlp.{x}_proj.weight") for x in ("gate", "up")]
        tensors[f"{at}self_attn.qkv_proj.weight"] = np.concatenate(qkv)
        tensors[f"{at}mlp.gate_up_proj.weight"] = np.concatenate(both)


def config_of(source, model_type, n_heads, n_kv, tied, ids):
    config = {
        "architectures": [{"llama": "LlamaForCausalLM", "phi3": "Phi3ForCausalLM", "qwen2": "Qwen2ForCausalLM"}[model_type]],
        "model_type": model_type,
        "hidden_size": source.of_arch("embedding_length"),
        "intermediate_size": source.of_arch("feed_forward_length"),
        "num_hidden_layers": source.of_arch("block_count"),
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv,
        "rms_norm_eps": float(source.of_arch("attention.layer_norm_rms_epsilon")),
        "rope_theta": float(source.of_arch("rope.freq_base", 10000.0)),
        "max_position_embeddings": source.of_arch("context_length"),
        "vocab_size": len(source.value("tokenizer.ggml.tokens")),
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "bos_token_id": ids[0],
        "eos_token_id": ids[1],
        "torch_dtype": "float16",
    }
    if model_type == "llama":
        config |= {"attention_bias": False, "mlp_bias": False}
    if model_type == "phi3":
        config |= {"original_max_position_embeddings": config["max_position_embeddings"], "rope_scaling": None,
                   "sliding_window": None, "pad_token_id": ids[1]}
    return config


QWEN2_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                 r"|\s+(?!\S)|\s+")


def tokenizer_json(source):
    tokens, types = source.value("tokenizer.ggml.tokens"), source.value("tokenizer.ggml.token_type")
    merges = [m.split(" ") for m in source.value("tokenizer.ggml.merges")]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    if source.value("tokenizer.ggml.pre") == "qwen2":
        cuts = [{"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False},
                byte_level | {"use_regex": False, "trim_offsets": False}]
        normalizer = {"type": "NFC"}
    else:
        cuts, normalizer = [{"type": "Digits", "individual_digits": True}, byte_level], None
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": types[i] == 3} for i, t in enumerate(tokens) if types[i] in (3, 4)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges},
    }


def write_folder(source, out, model_type):
    n_heads = source.of_arch("attention.head_count")
    n_kv = source.of_arch("attention.head_count_kv", n_heads)
    tensors = hf_tensors(source, n_heads, n_kv)
    if model_type == "phi3":
        fuse_phi3(tensors, source.of_arch("block_count"))
    if model_type == "phi3" and "lm_head.weight" not in tensors:  # Phi-3 is never tied
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    tokens = source.value("tokenizer.ggml.tokens")
    ids = [source.value(f"tokenizer.ggml.{x}_token_id") for x in ("bos", "eos")]
    config = config_of(source, model_type, n_heads, n_kv, "lm_head.weight" not in tensors, ids)
    names = {f"{x}_token": tokens[i] for x, i in zip(("bos", "eos"), ids) if i is not None}
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v.astype(np.float16)) for k, v in tensors.items()}, out / "model.safetensors",
              metadata={"format": "pt"})
    for name, what in [
        ("config.json", config),
        ("tokenizer.json", tokenizer_json(source)),
        ("tokenizer_config.json", names | {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False,
                                           "clean_up_tokenization_spaces": False,
                                           "chat_template": source.value("tokenizer.chat_template")}),
        ("generation_config.json", {"bos_token_id": ids[0], "eos_token_id": [ids[1]], "do_sample": False}),
    ]:
        (out / name).write_text(json.dumps(what, ensure_ascii=False, indent=1), encoding="utf-8")


def convert_to_mlx(folder, out, kind):
    import mlx.core as mx
    from mlx_lm import convert
    mx.set_default_device(mx.cpu)
    mode = {"q_mode": "mxfp4", "q_group_size": 32, "q_bits": 4} if kind == "mxfp4" else {"q_bits": int(kind), "q_group_size": 64}
    convert(hf_path=str(folder), mlx_path=str(out), quantize=True, **mode)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--as", dest="model_type", choices=["llama", "phi3", "qwen2"])
    parser.add_argument("--mlx", choices=["4", "8", "mxfp4"])
    o = parser.parse_args()
    source = Source(o.model)
    model_type = o.model_type or source.arch
    if o.out.exists():
        shutil.rmtree(o.out)
    if not o.mlx:
        write_folder(source, o.out, model_type)
        return
    with tempfile.TemporaryDirectory(dir=o.out.parent) as work:
        write_folder(source, Path(work) / "hf", model_type)
        convert_to_mlx(Path(work) / "hf", o.out, o.mlx)


main()
