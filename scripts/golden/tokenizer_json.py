#!/usr/bin/env python3
"""Regenerates tests/text/tokenizer/json.json: small vocabularies, the parts that a tokenizer.json
may have in many variants, and what Hugging Face's tokenizers makes of texts with each; and sentencepiece.json:
small models of several kinds as SentencePiece trains them, and what it makes of the same texts.

    tokenizer_json.py [--check]

The texts are those of tests/text/tokenizer/cases.json, every STEP-th. Needs the Python packages
tokenizers and sentencepiece. With --check nothing is written, differences are told.

    models      the "model" member of a tokenizer.json, by name
    variants    name, model, changes to it, the file's other members; "ids" has for each text the
                CRC-32 of its ids as little-endian 32-bit numbers (xxxxxxxx where it has marks
                that the reference's normalizers, with tables of Unicode 13, do not know), "text" that of the bytes that
                decoding them gives; no "text" where there is no decoder

Knows nothing of Pensieve.
"""
import argparse
import base64
import collections
import io
import json
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2 as proto
from tokenizers import models, pre_tokenizers, trainers

FOLDER = Path(__file__).resolve().parent.parent.parent / "tests" / "text" / "tokenizer"
STEP = 14
MARK = "\u2581"

# ------------------------------------------------------------------------------------- vocabularies


def byte_model(texts):
    t = tokenizers.Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=256 + 260, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(texts, trainer)
    return json.loads(t.to_str())["model"]


def char_model(texts):
    t = tokenizers.Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=420, show_progress=False, limit_alphabet=140)
    t.train_from_iterator(texts, trainer)
    model = json.loads(t.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    names += [n for n in model["vocab"] if n not in names]
    # Runs of blanks, as Llama's vocabulary has them, and line ends.
    names += ["\n"] if "\n" not in names else []
    merges = model["merges"]
    for n in (1, 2, 4):
        merges.append([MARK * n, MARK * n])
        if MARK * 2 * n not in names:
            names.append(MARK * 2 * n)
    model.update(vocab={n: i for i, n in enumerate(names)}, merges=merges, byte_fallback=True,
                 unk_token="<unk>", fuse_unk=True)
    return model


def unigram_model(texts):
    t = tokenizers.Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always")
    counts = collections.Counter(c for t in texts for c in t)
    known = {c for c, _ in counts.most_common(120)}
    texts = [t for t in texts if known.issuperset(t)]
    trainer = trainers.UnigramTrainer(vocab_size=420, show_progress=False, unk_token="<unk>",
                                      special_tokens=["<unk>", "<s>", "</s>"], max_piece_length=8)
    t.train_from_iterator(texts, trainer)
    model = json.loads(t.to_str())["model"]
    model["vocab"] = [[n, round(s, 4)] for n, s in model["vocab"]]
    return model


RULES = [("\u00e9", "e'"), ("e\u0301", "E"), ("\uff21", "A"), ("\u3000", " "), ("\t", " "), ("ab", "B"),
         ("abc", "C"), ("\u00ad", ""), ("\u0130", "i"), ("\U0001f600", ":)"), ("\u4f60\u597d", "hi"), ("1", "one")]


def sentencepiece_model(texts, **options):
    """Trained by SentencePiece; a small table of replacements: one to many, many to one, to nothing, overlapping."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.tsv"
        path.write_text("".join(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n"
                                for a, b in RULES))
        if options.pop("rules", False):
            options["normalization_rule_tsv"] = str(path)
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, minloglevel=2, hard_vocab_limit=False, num_threads=1,
            **options)
    m = proto.ModelProto()
    m.ParseFromString(model.getvalue())
    m.normalizer_spec.normalization_rule_tsv = ""  # a folder of this machine
    return m


def charsmap():
    m = sentencepiece_model(["hello world this is text"] * 10, vocab_size=20, rules=True)
    return base64.b64encode(m.normalizer_spec.precompiled_charsmap).decode()


def sentencepiece_variants(texts, lines):
    """tokenizer.model as SentencePiece trains it in several ways, and what it makes of the lines."""
    counts = collections.Counter(c for t in texts for c in t)
    known = {c for c, _ in counts.most_common(100)}
    texts = [t for t in texts if known.issuperset(t)]
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    kinds = [("llama", dict(model_type="bpe", vocab_size=600, byte_fallback=True, **plain)),
             ("gemma", dict(model_type="bpe", vocab_size=600, byte_fallback=True, add_dummy_prefix=False,
                            user_defined_symbols=["<turn>", "\n\n"], **plain)),
             ("bpe with rules", dict(model_type="bpe", vocab_size=300, rules=True)),
             ("t5", dict(model_type="unigram", vocab_size=300, rules=True)),
             ("unigram with bytes", dict(model_type="unigram", vocab_size=600, byte_fallback=True, **plain))]
    for name, options in kinds:
        m = sentencepiece_model(texts, **options)
        spm = sentencepiece.SentencePieceProcessor(model_proto=m.SerializeToString())
        ids = [spm.encode(t) for t in lines]
        decoded = [spm.decode(i) for i in ids]
        yield {"name": name, "strips": m.normalizer_spec.add_dummy_prefix, "model": base64.b64encode(m.SerializeToString()).decode(),
               "ids": " ".join(crc(struct.pack(f"<{len(i)}i", *i)) for i in ids),
               "text": " ".join("x" * 8 if "\ufffd" in d or "\u2047" in d else crc(d.encode()) for d in decoded)}


# ------------------------------------------------------------------------------------------- parts

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def pre(*stages):
    return {"type": "Sequence", "pretokenizers": list(stages)}


def norm(*stages):
    return {"type": "Sequence", "normalizers": list(stages)}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def metaspace(scheme, split_words):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": split_words}


def added(first, *tokens):
    """name, special, then words for flags that are set"""
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    return [{"id": first + i, "content": name, "special": special, **{f: f in words for f in flags}}
            for i, (name, special, *words) in enumerate(tokens)]


def template(name, token):
    return {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]}}}


SPACES_BACK = {"type": "Sequence", "decoders": [replace(MARK, " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                                                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
BYTES_BACK = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
CONTROL = (("<|im_start|>", True), ("<|im_end|>", True), ("<tool_call>", False), ("</tool_call>", False))


def byte_variants(n):
    """Vocabulary of bytes; n is its size."""
    def v(name, pre_tokenizer, normalizer=None, tokens=CONTROL, change=None, **more):
        return {"name": name, "model": "bytes", "change": change or {}, "normalizer": normalizer,
                "pre_tokenizer": pre_tokenizer, "decoder": BYTES_BACK, "added_tokens": added(n, *tokens), **more}
    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    yield v("qwen2", pre(split(QWEN2), BYTES), {"type": "NFC"}, post_processor=BYTES_BACK)
    yield v("gpt2", gpt2)
    yield v("gpt2 after a space", {**gpt2, "add_prefix_space": True})
    yield v("smollm", pre({"type": "Digits", "individual_digits": True}, gpt2))
    yield v("digits together", pre({"type": "Digits", "individual_digits": False}, gpt2))
    yield v("llama3", pre(split(LLAMA3), BYTES), change={"ignore_merges": True},
            post_processor={"type": "Sequence", "processors": [BYTES_BACK, template("<|im_start|>", n)]})
    yield v("deepseek", pre(*(split(p) for p in DEEPSEEK), BYTES))
    yield v("o200k", pre(split(O200K, "Removed", True), BYTES))
    yield v("scripts", pre(split(r"\p{Han}+|\p{Greek}|[^\S\n]\w|\d\d|\h\H?", "Isolated"), BYTES))
    yield v("punctuation", pre({"type": "Punctuation", "behavior": "Contiguous"}, BYTES))
    yield v("whitespace", pre({"type": "Whitespace"}, BYTES))
    yield v("whitespace split", pre({"type": "WhitespaceSplit"}, BYTES))
    yield v("delimiter", pre({"type": "CharDelimiterSplit", "delimiter": "e"}, BYTES))
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            yield v(f"{behavior} {invert}", pre(split("[aeo ]", behavior, invert), BYTES))
    yield v("a string", pre(split(".", "MergedWithPrevious", False, "String"), BYTES))
    for form in ("NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"):
        yield v(form, gpt2, {"type": form})
    yield v("strip", gpt2, {"type": "Strip", "strip_left": True, "strip_right": False})
    yield v("replacing", gpt2, norm({"type": "NFD"}, {"type": "StripAccents"}, replace(r"\s+", "_", "Regex"),
                                    replace("a", "")))
    yield v("merges as strings", gpt2, strings=True)
    marks = (("<|im_start|>", True, "lstrip"), ("<|im_end|>", True, "rstrip"), ("<tool_call>", False, "normalized"),
             ("</tool_call>", False, "lstrip", "rstrip"), ("user", False, "single_word"), ("the", False, "single_word"),
             ("AB", False, "normalized"), ("s", False, "single_word", "normalized"))
    yield v("flags", gpt2, None, marks)
    # The reference gives "AB" back as it was normalized; here it is what the file says.
    yield v("flags in lower case", gpt2, {"type": "Lowercase"}, marks, ids_only=True)


def char_variants(n):
    control = (("[INST]", True), ("<|im_start|>", True, "rstrip"), ("<|im_end|>", False, "rstrip"))
    base = added(0, ("<unk>", True), ("<s>", True), ("</s>", False, "rstrip"))

    def v(name, pre_tokenizer, normalizer=None, change=None, decoder=SPACES_BACK, model="chars", **more):
        return {"name": name, "model": model, "change": change or {}, "normalizer": normalizer,
                "pre_tokenizer": pre_tokenizer, "decoder": decoder,
                "added_tokens": base + added(n, *control), **more}
    llama = norm({"type": "Prepend", "prepend": MARK}, replace(" ", MARK))
    yield v("llama2", None, llama, post_processor=template("<s>", 1))
    yield v("gemma", split(" ", "MergedWithPrevious", False, "String"), replace(" ", MARK))
    for scheme in ("always", "first", "never"):
        for words in (True, False):
            yield v(f"metaspace {scheme} {words}", metaspace(scheme, words))
    for fuse in (True, False):
        yield v(f"unknown, fused {fuse}", None, llama, {"byte_fallback": False, "fuse_unk": fuse})
    yield v("nothing for unknown", None, llama, {"byte_fallback": False, "unk_token": None})
    yield v("whole words", metaspace("always", True), None, {"ignore_merges": True})


def unigram_variants(n, chars):
    base = added(0, ("<unk>", True), ("<s>", True), ("</s>", True)) + added(n, ("<|im_end|>", True))
    back = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    words = metaspace("always", True)

    def v(name, pre_tokenizer, normalizer=None, change=None, decoder=None, model="unigram", **more):
        return {"name": name, "model": model, "change": change or {}, "normalizer": normalizer,
                "pre_tokenizer": pre_tokenizer, "decoder": decoder, "added_tokens": base, **more}
    precompiled = {"type": "Precompiled", "precompiled_charsmap": chars}
    yield v("unigram", words)
    yield v("t5", pre({"type": "WhitespaceSplit"}, words), precompiled, decoder=back)
    yield v("xlm", words, norm(precompiled, replace(" {2,}", " ", "Regex")))
    yield v("unigram of the whole text", None, norm({"type": "Prepend", "prepend": MARK}, replace(" ", MARK)))
    yield v("charsmap", {"type": "WhitespaceSplit"}, precompiled)


# ------------------------------------------------------------------------------------------- output


def tokenizer_json(models_by_name, variant):
    model = {**models_by_name[variant["model"]], **variant["change"]}
    if variant.get("strings"):
        model["merges"] = [" ".join(pair) for pair in model["merges"]]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": variant["added_tokens"],
            "normalizer": variant["normalizer"], "pre_tokenizer": variant["pre_tokenizer"],
            "post_processor": variant.get("post_processor"), "decoder": variant["decoder"], "model": model}


def crc(data):
    return f"{zlib.crc32(data):08x}"


def answer(models_by_name, variant, texts):
    t = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(models_by_name, variant)))
    lists = [t.encode(text, add_special_tokens=False).ids for text in texts]
    newer = [bool(variant["normalizer"]) and any("\u08c8" <= c <= "\u08d2" for c in text) for text in texts]
    variant["ids"] = " ".join("x" * 8 if new else crc(struct.pack(f"<{len(ids)}i", *ids))
                              for ids, new in zip(lists, newer))
    if variant["decoder"] and not variant.get("ids_only"):
        variant["text"] = " ".join("x" * 8 if new else crc(t.decode(ids, skip_special_tokens=False).encode())
                                   for ids, new in zip(lists, newer))


def make():
    groups = json.loads((FOLDER / "cases.json").read_text())
    texts = [t for group in groups.values() for t in group]
    short = [t[:60] for t in groups["code"] + groups["prose"]]
    made = {"bytes": byte_model(short), "chars": char_model(short), "unigram": unigram_model(short)}
    sizes = {name: len(m["vocab"]) for name, m in made.items()}
    variants = [*byte_variants(sizes["bytes"]), *char_variants(sizes["chars"]),
                *unigram_variants(sizes["unigram"], charsmap())]
    for variant in variants:
        answer(made, variant, texts[::STEP])
    models_of = list(sentencepiece_variants(short, texts[::STEP]))
    files = {"json.json": {"step": STEP, "models": made, "variants": variants},
             "sentencepiece.json": {"step": STEP, "variants": models_of}}
    return {name: json.dumps(d, ensure_ascii=True, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n"
            for name, d in files.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    differ = 0
    for name, text in make().items():
        if not options.check:
            (FOLDER / name).write_text(text)
        elif (FOLDER / name).read_text() != text:
            print(f"{name} differs")
            differ = 1
    return differ


if __name__ == "__main__":
    sys.exit(main())
