#!/usr/bin/env python3
"""Writes tests/weights/golden/: small model folders as MLX and Hugging Face write them, and what their
quantized matrices stand for. Run: scripts/golden/weights_folders.py  (needs mlx, mlx-lm, numpy, safetensors)

quantized/   a matrix for every mode, number of bits, group size and type of scales, written by MLX
expected/    the same matrices in F32, as mlx.core.dequantize gives them. Scales and biases are made F32
             before: with 16-bit ones MLX rounds the product and the sum to 16 bits, which says less
mlx/         a tiny llama that mlx-lm has quantized and saved, single modules differently than the rest
plain/       F32, F16 and BF16 in two shards with an index, written by safetensors
"""
import json
import pathlib
import shutil

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import safetensors
from mlx_lm.models import llama
from mlx_lm.utils import save_config, save_model

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/weights/golden"
ROWS, COLUMNS = 3, 256
TYPES = {"f16": mx.float16, "bf16": mx.bfloat16, "f32": mx.float32}


def fresh(name):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def schemes():
    for bits in (2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            for scales in TYPES:
                yield f"affine{bits}.{group}.{scales}", "affine", bits, group, TYPES[scales]
    for mode, bits, group in (("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)):
        yield f"{mode}.{bits}.{group}", mode, bits, group, mx.float32


def quantized_and_expected():
    tensors, expected = {}, {}
    settings = {"group_size": 64, "bits": 4, "mode": "affine"}
    n_negative = 0
    shapes = [(name, (ROWS, COLUMNS), *rest) for name, *rest in schemes()]
    shapes.append(("experts", (4, 2, 64), "affine", 4, 32, mx.bfloat16))
    for name, shape, mode, bits, group, scale_type in shapes:
        w = (mx.random.normal(shape) * mx.exp(mx.random.normal((*shape[:-1], 1)))).astype(scale_type)
        q, scales, *biases = mx.quantize(w, group, bits, mode=mode)
        tensors[f"{name}.weight"], tensors[f"{name}.scales"] = q, scales
        if mode == "affine":
            tensors[f"{name}.biases"] = biases[0]
            scales, biases[0] = scales.astype(mx.float32), biases[0].astype(mx.float32)
            n_negative += int((scales < 0).sum())
        expected[f"{name}.weight"] = mx.dequantize(
            q, scales, *biases, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
        settings[name] = {"group_size": group, "bits": bits, "mode": mode}
    assert n_negative > 100
    for name, content in (("quantized", tensors), ("expected", expected)):
        folder = fresh(name)
        mx.save_safetensors(str(folder / "model.safetensors"), content, metadata={"format": "mlx"})
        config = {"model_type": "none"}
        if name == "quantized":
            config["quantization"] = config["quantization_config"] = settings
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def mlx_folder():
    args = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "vocab_size": 96,
        "rope_theta": 10000.0, "tie_word_embeddings": True, "max_position_embeddings": 512,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    }
    model = llama.Model(llama.ModelArgs.from_dict(args))
    model.set_dtype(mx.float16)
    settings = {"group_size": 64, "bits": 4, "mode": "affine"}

    def how(path, module):
        if not hasattr(module, "to_quantized") or path == "model.layers.1.mlp.up_proj":
            settings.update({path: False} if path == "model.layers.1.mlp.up_proj" else {})
            return False
        if path.endswith("o_proj"):
            settings[path] = {"group_size": 32, "bits": 8, "mode": "affine"}
        elif path.endswith("down_proj"):
            settings[path] = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
        return settings.get(path, True)

    nn.quantize(model, 64, 4, class_predicate=how)
    folder = fresh("mlx")
    save_model(folder, model)
    save_config({**args, "architectures": ["LlamaForCausalLM"], "quantization": settings},
                folder / "config.json")
    (folder / "generation_config.json").write_text(json.dumps(
        {"eos_token_id": [2, 32007], "temperature": 0.7, "do_sample": True}, indent=1) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"model_max_length": 1000000000000000019884624838656, "eos_token": "</s>",
         "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}, indent=1) + "\n")


def plain_folder():
    """Element i of each float tensor is i / 2 - 3, which all three types can say."""
    folder = fresh("plain")
    shapes = {
        "f32.weight": ("float32", (3, 8)), "norm": ("float32", (7,)), "bf16.weight": ("bfloat16", (4, 3)),
        "f16.weight": ("float16", (2, 5)), "conv": ("float32", (2, 3, 1, 4)),
        "deep": ("float32", (2, 1, 2, 1, 3)), "scalar": ("float32", ()), "position_ids": ("int64", (1, 4)),
    }
    shards = [["f32.weight", "norm", "bf16.weight"], ["f16.weight", "conv", "deep", "scalar", "position_ids"]]
    where, total = {}, 0
    for number, names in enumerate(shards, 1):
        specs, arrays = {}, []
        for name in names:
            kind, shape = shapes[name]
            x = (np.arange(np.prod(shape, dtype=int), dtype=np.float32) / 2 - 3).reshape(shape)
            if kind == "bfloat16":
                x = (x.view(np.uint32) >> 16).astype(np.uint16)
            else:
                x = x.astype(kind)
            x = np.ascontiguousarray(x)
            arrays.append(x)  # their bytes are read below
            total += x.nbytes
            specs[name] = safetensors.TensorSpec(
                dtype=kind, shape=list(shape), data_ptr=x.ctypes.data, data_len=x.nbytes)
            where[name] = f"model-{number:05}-of-{len(shards):05}.safetensors"
        (folder / where[names[0]]).write_bytes(safetensors.serialize(specs, metadata={"format": "pt"}))
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": total}, "weight_map": where}, indent=1) + "\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "none", "torch_dtype": "float32"}) + "\n")


def main():
    mx.random.seed(20261127)
    quantized_and_expected()
    mlx_folder()
    plain_folder()
    print(OUT, sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file()), "bytes")


if __name__ == "__main__":
    main()
