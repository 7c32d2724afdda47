"""What a GGUF model file makes a machine do: bytes and multiplications of its matrices, read from its header."""
import struct
from dataclasses import dataclass
from pathlib import Path

# type: (elements, bytes) of a block, as github.com/ggml-org/ggml numbers them
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136), 30: (1, 2),
          39: (32, 17)}
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}  # of one number


class Reader:
    def __init__(self, file):
        self.file = file

    def scalar(self, code):
        return struct.unpack("<" + code, self.file.read(struct.calcsize("<" + code)))[0]

    def string(self):
        return self.file.read(self.scalar("Q")).decode("utf-8", "replace")

    def value(self, kind):
        """An array is passed over, for its items don't matter here."""
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.scalar(SCALARS[kind])
        item, n = self.scalar("I"), self.scalar("Q")
        if item == STRING:
            for _ in range(n):
                self.file.seek(self.scalar("Q"), 1)
        else:
            self.file.seek(n * struct.calcsize("<" + SCALARS[item]), 1)
        return None


@dataclass
class Sizes:
    name: str
    layer_elements: int = 0  # of the layers' matrices: a multiply-add each per token; of experts those used
    layer_bytes: int = 0
    output_elements: int = 0  # of the output matrix: per token that wants logits
    output_bytes: int = 0
    n_layers: int = 0
    n_heads: int = 0
    n_kv_heads: int = 0
    head_dim: int = 0

    def matrix_ops(self, n_tokens, n_outputs=1):
        return 2 * (self.layer_elements * n_tokens + self.output_elements * n_outputs)

    def attention_ops(self, n_tokens, depth=0):
        """Scores and weighted sums of what the causal mask leaves."""
        pairs = n_tokens * depth + n_tokens * (n_tokens + 1) / 2
        return 4 * self.n_layers * self.n_heads * self.head_dim * pairs

    def token_bytes(self, depth, kv="f16"):
        """Weights, keys and values that one generated token reads."""
        cache = 2 * self.n_layers * self.n_kv_heads * self.head_dim * KV_BYTES[kv] * depth
        return self.layer_bytes + self.output_bytes + cache


def read(path):
    with Path(path).open("rb") as file:
        reader = Reader(file)
        if file.read(4) != b"GGUF" or reader.scalar("I") not in (2, 3):
            raise ValueError(f"{path} is no GGUF file")
        n_tensors, n_meta = reader.scalar("Q"), reader.scalar("Q")
        meta = {reader.string(): reader.value(reader.scalar("I")) for _ in range(n_meta)}
        tensors = {}
        for _ in range(n_tensors):
            name = reader.string()
            shape = [reader.scalar("Q") for _ in range(reader.scalar("I"))]
            tensors[name] = shape, reader.scalar("I")
            reader.scalar("Q")
    return sizes(Path(path).name, meta, tensors)


def sizes(name, meta, tensors):
    arch = meta["general.architecture"]
    n_heads = meta[f"{arch}.attention.head_count"]
    out = Sizes(name, n_layers=meta[f"{arch}.block_count"], n_heads=n_heads,
                n_kv_heads=meta.get(f"{arch}.attention.head_count_kv", n_heads),
                head_dim=meta.get(f"{arch}.attention.key_length", meta[f"{arch}.embedding_length"] // n_heads))
    n_used = meta.get(f"{arch}.expert_used_count", 0)
    for tensor, (shape, kind) in tensors.items():
        n, n_bytes = shape[0] * shape[1] * (n_used if len(shape) == 3 else 1) if len(shape) > 1 else 0, 0
        if n:
            n_bytes = n // BLOCKS[kind][0] * BLOCKS[kind][1]
        if tensor.startswith("blk."):
            out.layer_elements += n
            out.layer_bytes += n_bytes
        elif tensor == ("output.weight" if "output.weight" in tensors else "token_embd.weight"):
            out.output_elements, out.output_bytes = n, n_bytes
    return out
