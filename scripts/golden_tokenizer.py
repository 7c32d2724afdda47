#!/usr/bin/env python3
"""Regenerates tests/text/tokenizer/: texts, and the token ids that the references make of them.

    golden_tokenizer.py --llama-tokenize PATH_OF_LLAMA_TOKENIZE --models FOLDER [--check]

FOLDER holds the two model files of the test suite. Needs the Python packages gguf, tokenizers and
sentencepiece. With --check nothing is written, the differences to what is there are told.

    cases.json       the texts, in groups, made by a generator with a fixed seed
    qwen2.ids        by llama-tokenize: for each text a line of ids; control tokens in the text count,
                     but not in the group `plain`
    smollm.crc       the same with, instead of the ids, the CRC-32 of them as little-endian 32-bit numbers
    tiny-bpe.gguf    a small byte-level vocabulary trained on the texts; tiny-bpe.crc has, by
                     llama-tokenize, for each pre-tokenizer a line `= name` and the lines of every third
                     text with that name in the file
    tiny-spm.gguf    a small SentencePiece vocabulary (BPE with byte fallback) trained on some texts;
                     tiny-spm.crc has the lines by SentencePiece itself, no control token counts

Knows nothing of Pensieve.
"""
import argparse
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from pathlib import Path

import gguf
import sentencepiece
import tokenizers

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "text" / "tokenizer"
MODELS = {
    "qwen2": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "smollm": "SmolLM2-135M-Instruct.Q4_1.gguf",
}
PRE_TOKENIZERS = [
    "default", "gpt-2", "smollm", "starcoder", "llama-bpe", "dbrx", "qwen2", "qwen35", "tekken",
    "gpt-4o", "deepseek-coder", "deepseek-v3", "falcon",
]
SEPARATOR = {"qwen2": "<|endoftext|>", "smollm": "<|endoftext|>", "tiny": "<|sep|>"}


# ---------------------------------------------------------------------------------------- the texts

WORDS = {
    "en": "the quick Server returns HTTPError when TokenizerConfig isn't loaded because nobody's cache "
          "survived restarting yesterday's background_process42 naïve café re-run co-operate",
    "de": "Größenänderung Straße über Öffnungszeiten Donaudampfschifffahrt möglicherweise weiß ÄÖÜ",
    "fr": "l'été où s'arrête l'œuvre d'où qu'elle français àâçéèêëîïôùûü aujourd'hui",
    "es": "¿Dónde está el niño? ¡Mañana, señor! pingüino averigüe",
    "pl": "Zażółć gęślą jaźń źdźbło łódź",
    "tr": "İstanbul'da ığdır şöyle çağrı ağaç DİYARBAKIR",
    "vi": "Tiếng Việt được viết bằng chữ Quốc ngữ",
    "ru": "Съешь ещё этих мягких французских булок, да выпей чаю. Программа завершена",
    "uk": "Щастя їжак ґанок об'єкт",
    "el": "Η γρήγορη αλεπού πηδάει πάνω από το σκυλί ΆΈΉ ς",
    "he": "שלום עולם הקוד עובד מצוין בְּרֵאשִׁית",
    "ar": "مرحبا بالعالم الكود يعمل ١٢٣ بِسْمِ اللَّهِ",
    "fa": "سلام دنیا می‌خواهم ۱۲۳۴",
    "hi": "नमस्ते दुनिया कार्यक्रम क्षत्रिय १२३",
    "bn": "আমার সোনার বাংলা ১২৩",
    "ta": "வணக்கம் உலகம்",
    "th": "สวัสดีชาวโลก โปรแกรมทำงานได้ดี ๑๒๓",
    "zh": "你好，世界！ 程序运行正常。 人工智能 繁體中文 ０１２３",
    "ja": "こんにちは世界 プログラムは正常に動作します。 ｶﾀｶﾅ ｡｢｣",
    "ko": "안녕하세요 세계 프로그램이 정상적으로 작동합니다 각",
    "am": "ሰላም ዓለም ፩፪፫",
    "ka": "გამარჯობა მსოფლიო ᲒᲐᲛᲐᲠ",
    "chr": "ᎣᏏᏲ ᎡᎶᎯ",
    "math": "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α∧¬β → γ, ∑ᵢ₌₁ⁿ xᵢ² ≤ ½‖x‖₂ 𝒜𝔹𝕔 ①②③ Ⅳ ⅷ",
    "symbols": "€£¥₿ ©®™ §¶†‡ «»‹›„“”‘’ …—–‐ °′″ ←↑→↓⇒ ■□▲△ ☃☎♠♥ ✓✗ ⟨⟩ ½⅓¾ ¹²³",
}
SPACES = [" ", " ", " ", "  ", "\t", "\n", "\r\n", "\r", "\v", "\f", "\u0085", "\u00a0", "\u1680", "\u180e",
          "\u2000", "\u2003", "\u2009", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f",
          "\u3000", "\ufeff", "\u00ad"]
EMOJI = ["😀", "👍", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇯🇵🇫🇷", "1️⃣", "#️⃣", "❤️", "❤", "🧑🏿‍💻", "🫠", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☀️", "♂️", "👩‍❤️‍💋‍👨", "🤷🏻‍♀️"]
MARKS = [chr(c) for c in (*range(0x300, 0x370), 0x5B0, 0x64B, 0x93C, 0x94D, 0xE31, 0x20D7, 0x20E3, 0xFE0F)]
NAMES = "foo bar_baz getHTTPResponse x1 i kMaxLen __init__ $el @decorator self.value MAX_SIZE Ωmega naïve_é".split()
CODE = [
    "def {0}(self, {1}: int = {n}) -> dict[str, {2}]:",
    "    return {{k: v for k, v in {0}.items() if k != '{1}'}}  # {2} {n}",
    "\tif (!{0} || {1}->{2} >= {n}u) {{",
    "#define {0}({1}) do {{ {2}({1}, {n}); }} while (0)",
    "static inline uint{n}_t {0}(const char *{1}, size_t n_{2});",
    "const {0} = async ({{ {1}, ...rest }}) => await fetch(`/api/${{{2}}}?n={n}`);",
    "let mut {0}: Vec<&'static str> = {1}.iter().map(|x| x.{2}()).collect::<Vec<_>>();",
    "func ({0} *{1}) {2}(ctx context.Context) (err error) {{ return fmt.Errorf(\"%w: %d\", err, {n}) }}",
    "SELECT {0}.*, COUNT(*) AS {1} FROM {2} WHERE id <> {n} GROUP BY 1 -- note;",
    "<div class=\"{0} {1}\" data-{2}='{n}'>&nbsp;&lt;{0}&gt;</div>",
    "for f in \"${{{0}[@]}}\"; do echo \"$f\" | sed -e 's/{1}/{2}/g' >> /tmp/{n}.log 2>&1; done",
    "{{\"{0}\": [{n}, -{n}.5e-{n}, null, true], \"{1}\\n\": \"\\u00e9\\\"{2}\"}}",
    "- name: {0}\n  run: |\n    {1} --{2}={n}\n",
    "{0}: {1}.o {2}.o\n\t$(CC) -o $@ $^ -O{n}\n",
    "std::unique_ptr<{0}<{1}>> {2}{{new {0}<{1}>({n})}};  // ::{2}",
    "public sealed record {0}<T>({1} A, int? B = {n}) where T : {2};",
    "    {0} = {1} @ {2}.T[..., ::-{n}]",
    "@@ -{n},7 +{n},9 @@ {0}\r\n-{1}\r\n+{2}\r\n",
    "### {0}\n\n* **{1}**: `{2}`\n\n```c\nint x = {n};\n```\n",
    "\\begin{{{0}}} \\frac{{{1}}}{{{n}}} % {2}\n",
    "0x{n:X} 0b{n:b} 0o{n:o} {n:_} {n:,} {n}.{n} 1e{n} v{n}.{n}.{n}-rc{n} 192.168.{n}.1:{n}",
]
CONTRACTION = ["'s", "'S", "'t", "'T", "'re", "'RE", "'rE", "'ve", "'Ve", "'m", "'M", "'ll", "'LL", "'lL",
               "'d", "'D", "’s", "’re", "ʼll", "'x", "'", "''", "'ſ", "'l", "'r", "'st", "'lls"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<file_sep>",
           "<|im_", "<|im_start|", "<|", "|>", "<", "<|im_end|>>", "<<|im_start|>", "<repo_name>",
           "<s>", "<unk>", "[PAD151700]", "<0x0A>", "<|im_start|><|im_end|>"]
# Qwen's vocabulary has "</s>" as an ordinary token (HTML). llama.cpp makes a control token of it, by its
# name; the model's own tokenizer does not, so it is compared only where no control token counts.
PLAIN = SPECIAL + ["</s>"]


def assigned(rng, ranges):
    """A random character that Unicode 14 knows: the oldest tables that the tests run with."""
    while True:
        low, high = rng.choice(ranges)
        c = chr(rng.randint(low, high))
        if unicodedata.category(c) not in ("Cn", "Cs", "Co"):
            return c


def code(rng):
    names = [rng.choice(NAMES) + rng.choice(["", "", "s", str(rng.randint(0, 99))]) for _ in range(3)]
    return rng.choice(CODE).format(*names, n=rng.choice([0, 1, 7, 32, 64, 100, 1024, 65535, rng.randint(0, 10**9)]))


def prose(rng):
    words = WORDS[rng.choice(list(WORDS))].split()
    return "".join(rng.choice(words) + rng.choice([" ", " ", " ", ", ", ". ", "\n", "-", "", "! "])
                   for _ in range(rng.randint(2, 10)))


def mixed(rng):
    words = [w for text in WORDS.values() for w in text.split()]
    return "".join(rng.choice(words) + rng.choice(SPACES) for _ in range(rng.randint(2, 7)))


def emoji(rng):
    return "".join(rng.choice(EMOJI) + rng.choice(["", "", " ", "a", "1", "!"]) for _ in range(rng.randint(1, 7)))


def marks(rng):
    base = "aeoZ1 _к가न-"
    return "".join(rng.choice(base) + "".join(rng.choice(MARKS) for _ in range(rng.choice([0, 1, 1, 2, 5])))
                   for _ in range(rng.randint(2, 10)))


def spaces(rng):
    parts = []
    for _ in range(rng.randint(1, 6)):
        parts.append(rng.choice(SPACES) * rng.choice([1, 1, 2, 3, 4, 7, 17]))
        parts.append(rng.choice(["", "", "a", "Word", "1", "é", "!", "字", "x=", "\n"]))
    return "".join(parts)


def digits(rng):
    sets = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９", "²³¹½Ⅷ①৪"]
    return "".join("".join(rng.choice(rng.choice(sets[:1] * 4 + sets)) for _ in range(rng.randint(1, 12))) +
                   rng.choice(["", " ", ".", ",", "a", "-", "%", "\n", " $", "e"]) for _ in range(rng.randint(1, 5)))


def contractions(rng):
    return "".join(rng.choice(["I", "you", "We", "IT", "don", "é", "x1", " ", "", "字", "\n", "!"]) +
                   rng.choice(CONTRACTION) + rng.choice(["", " ", "\n", "a", "9"]) for _ in range(rng.randint(1, 8)))


def long_word(rng):
    n = rng.choice([40, 49, 50, 64, 100, 300, 700])
    kind = rng.randint(0, 5)
    if kind == 0:
        return rng.choice("aAzé=-#_.字я ") * n
    if kind == 1:
        return "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") for _ in range(n))
    if kind == 2:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n))
    if kind == 3:
        return "".join(rng.choice("ab") for _ in range(n))
    if kind == 4:
        return "".join(rng.choice("=-*#/\\|") * rng.randint(1, 9) for _ in range(n // 5))
    return "".join(w.strip(".,!?").lower() for w in (prose(rng) for _ in range(n // 40)))


def controls(rng):
    return "".join(rng.choice([chr(rng.randint(0, 31)), chr(rng.randint(127, 159)), "\0"]) +
                   rng.choice(["", "", "a", " ", "\n", ".", "1"]) for _ in range(rng.randint(1, 8)))


def everywhere(rng):
    planes = [(0x20, 0x7E), (0x80, 0x24F), (0x250, 0x1FFF), (0x2000, 0x2BFF), (0x2C00, 0xD7FF),
              (0xF900, 0xFFFD), (0x10000, 0x1FAFF), (0x20000, 0x2FA1F), (0xE0001, 0xE01EF)]
    return "".join(assigned(rng, planes) for _ in range(rng.randint(1, 14)))


def special(rng, tokens=SPECIAL):
    return "".join(rng.choice(tokens) + rng.choice(["", " ", "\n", "user\n", "{\"a\": 1}", "  ", "é"])
                   for _ in range(rng.randint(1, 6)))


FIXED = ["", " ", "\n", "a", "é", "\0", "  ", " a", "a ", "\n\n", "\r\n", "\n ", " \n", "\t\t", "▁", " ▁ ", "▁▁a",
         "\U0010ffff", "\ufffd", "\uffff", "\U000f0000",
         "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n"
         "<|im_start|>assistant\n<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"/etc/hosts\"}}\n"
         "</tool_call><|im_end|>\n"]


def make_cases():
    rng = random.Random(20261124)
    groups = {"fixed": FIXED}
    for make, n in ((code, 500), (prose, 450), (mixed, 200), (emoji, 150), (marks, 150), (spaces, 350),
                    (digits, 250), (contractions, 250), (long_word, 120), (controls, 150),
                    (everywhere, 350), (special, 150)):
        groups[make.__name__] = [make(rng) for _ in range(n)]
    groups["plain"] = [special(rng, PLAIN) for _ in range(40)]
    return groups


# ----------------------------------------------------------------------------------- the references

def llama_tokenize(tool, model, text, parse_special=True):
    command = [tool, "-m", str(model), "--stdin", "--ids", "--no-bos", "--no-escape"]
    run = subprocess.run(command + ([] if parse_special else ["--no-parse-special"]),
                         input=text.encode(), capture_output=True, check=True)
    return json.loads(run.stdout.decode().strip().splitlines()[-1])


def separated(tool, model, texts, separator):
    """The ids of many texts in one call: a control token between two texts, which cuts them apart."""
    assert not any(separator in t for t in texts)
    ids = llama_tokenize(tool, model, "".join(t + separator for t in texts))
    mark = llama_tokenize(tool, model, separator)
    assert len(mark) == 1
    lists, current = [], []
    for i in ids:
        if i == mark[0]:
            lists.append(current)
            current = []
        else:
            current.append(i)
    assert len(lists) == len(texts) and not current, (len(lists), len(texts))
    return lists


def reference_ids(tool, model, groups, separator):
    with_special = [t for name, texts in groups.items() if name != "plain" for t in texts]
    lists = separated(tool, model, with_special, separator)
    return lists + [llama_tokenize(tool, model, t, parse_special=False) for t in groups["plain"]]


# ------------------------------------------------------------------------------ the tiny vocabularies

def llama_header(writer):
    """What llama.cpp wants to see before it looks at a vocabulary."""
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(32)
    writer.add_layer_norm_rms_eps(1e-5)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def make_tiny_bpe(path, texts, pre):
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=256 + 700, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    model.train_from_iterator(texts, trainer)
    trained = json.loads(model.to_str())["model"]
    tokens = sorted(trained["vocab"], key=trained["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in trained["merges"]]
    types = [gguf.TokenType.NORMAL] * len(tokens)
    for text, kind in (("<|sep|>", gguf.TokenType.CONTROL), ("<|im_start|>", gguf.TokenType.CONTROL),
                       ("<|im_end|>", gguf.TokenType.CONTROL), ("<tool_call>", gguf.TokenType.USER_DEFINED),
                       ("<|im_", gguf.TokenType.USER_DEFINED), ("[PAD]", gguf.TokenType.UNUSED)):
        tokens.append(text)
        types.append(kind)
    writer = gguf.GGUFWriter(path, "llama")
    llama_header(writer)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index("<|sep|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    finish(writer)


def train_spm(texts):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([t for t in texts if t and "\0" not in t]), model_writer=model, model_type="bpe",
        vocab_size=1400, byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=True, allow_whitespace_only_pieces=True,
        split_digits=True, hard_vocab_limit=False, num_threads=1, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def make_tiny_spm(path, spm):
    tokens, scores, types = [], [], []
    for i in range(spm.vocab_size()):
        tokens.append(spm.id_to_piece(i).encode())
        scores.append(spm.get_score(i))
        types.append(gguf.TokenType.UNKNOWN if spm.is_unknown(i) else
                     gguf.TokenType.CONTROL if spm.is_control(i) else
                     gguf.TokenType.BYTE if spm.is_byte(i) else gguf.TokenType.NORMAL)
    writer = gguf.GGUFWriter(path, "llama")
    llama_header(writer)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(spm.bos_id())
    writer.add_eos_token_id(spm.eos_id())
    writer.add_unk_token_id(spm.unk_id())
    finish(writer)


# ------------------------------------------------------------------------------------------- the rest

def id_lines(lists):
    return "".join(" ".join(map(str, ids)) + "\n" for ids in lists)


def crc_lines(lists):
    return "".join(f"{zlib.crc32(struct.pack(f'<{len(ids)}i', *ids)):08x}\n" for ids in lists)


def make_files(tool, models, folder):
    groups = make_cases()
    texts = [t for group in groups.values() for t in group]
    (folder / "cases.json").write_text(json.dumps(groups, ensure_ascii=True, indent=0) + "\n")
    for name, file in MODELS.items():
        ids = reference_ids(tool, models / file, groups, SEPARATOR[name])
        if name == "qwen2":
            (folder / f"{name}.ids").write_text(id_lines(ids))
        else:
            (folder / f"{name}.crc").write_text(crc_lines(ids))
    crc = ""
    for pre in PRE_TOKENIZERS:
        make_tiny_bpe(folder / "tiny-bpe.gguf", texts, pre)
        ids = reference_ids(tool, folder / "tiny-bpe.gguf", groups, SEPARATOR["tiny"])
        crc += f"= {pre}\n" + crc_lines(ids[::3])
    (folder / "tiny-bpe.crc").write_text(crc)
    make_tiny_bpe(folder / "tiny-bpe.gguf", texts, PRE_TOKENIZERS[0])
    spm = train_spm(groups["code"] + groups["prose"] + groups["digits"])
    make_tiny_spm(folder / "tiny-spm.gguf", spm)
    ids = [spm.encode(t) for t in texts]
    (folder / "tiny-spm.crc").write_text(crc_lines(ids))
    sample = range(0, len(texts), 10)
    differ = [texts[i] for i in sample
              if ids[i] != llama_tokenize(tool, folder / "tiny-spm.gguf", texts[i], parse_special=False)]
    print(f"SentencePiece and llama.cpp differ in {len(differ)} of {len(sample)} texts: {differ[:5]!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-tokenize", required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.check:
        FOLDER.mkdir(parents=True, exist_ok=True)
        make_files(options.llama_tokenize, options.models, FOLDER)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make_files(options.llama_tokenize, options.models, Path(folder))
        names = sorted(p.name for p in Path(folder).iterdir())
        differ = [n for n in names if (FOLDER / n).read_bytes() != (Path(folder) / n).read_bytes()]
    print("differ: " + ", ".join(differ) if differ else "all files are as the references make them")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
