#!/usr/bin/env python3
"""Writes tests/jinja/golden_jinja.json (expressions and statements with what jinja2 makes of them) and
tests/chat/golden_chat.json (conversations rendered with the chat templates inside of GGUF files).

Usage: golden_templates.py [MODEL.gguf …]
Needs the Python packages jinja2 and, for the models, gguf. The tests only read the files."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import hf_jinja  # noqa: E402
import template_cases  # noqa: E402

TESTS = pathlib.Path(__file__).parent.parent / "tests"
NOW = 1767225600  # 2026-01-01 00:00:00 UTC


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=0, separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


def golden_jinja():
    cases, seen, n_errors = [], set(), 0
    for source in template_cases.SOURCES:
        if source in seen:
            raise SystemExit(f"twice: {source!r}")
        seen.add(source)
        text, error = hf_jinja.render(source, template_cases.CONTEXT, NOW)
        n_errors += error is not None
        cases.append({"template": source, "output": text} if error is None
                     else {"template": source, "error": error})
    print(f"{len(cases)} cases, {n_errors} of them errors")
    write(TESTS / "jinja" / "golden_jinja.json",
          {"now": NOW, "context": template_cases.CONTEXT, "cases": cases})


def gguf_template(path):
    import gguf

    fields = gguf.GGUFReader(path).fields
    field = fields["tokenizer.chat_template"]
    tokens = fields["tokenizer.ggml.tokens"]

    def token(name):
        at = fields.get(f"tokenizer.ggml.{name}_token_id")
        return bytes(tokens.parts[tokens.data[int(at.parts[-1][0])]]).decode() if at else ""

    return bytes(field.parts[-1]).decode(), {"bos_token": token("bos"), "eos_token": token("eos")}


def golden_chat(paths):
    models = []
    for path in paths:
        source, tokens = gguf_template(path)
        cases = []
        for name, context in template_cases.conversations():
            text, error = hf_jinja.render(source, {**tokens, **context}, NOW)
            cases.append({"name": name, "output": text, "error": error})
        models.append({"file": template_cases.store_name(path), "tokens": tokens, "cases": cases})
    write(TESTS / "chat" / "golden_chat.json",
          {"now": NOW, "conversations": dict(template_cases.conversations()), "models": models})


if __name__ == "__main__":
    golden_jinja()
    if len(sys.argv) > 1:
        golden_chat(sys.argv[1:])
