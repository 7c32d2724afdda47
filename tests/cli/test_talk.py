"""Folders talk like the reference: real weights of SmolLM2, laid out as Hugging Face publishes llama and phi3, as they are
and as mlx-lm converts them, and as we do, answer over /v1/messages as mlx-lm does (scripts/golden/real_folders.py).

Usage: test_talk.py BINARY. scripts/make_mlx_folders makes the folders; without them the test is skipped, loudly. Where
two tokens are nearly as likely the answers may part: that place is told, and what follows is not compared."""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

BINARY = os.path.abspath(sys.argv[1])
PATIENCE = 240  # seconds that anything may take on a machine that is slow, or does other things, too
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model", "golden", "greedy-folders.json")
END = "<|im_end|>"
NEAR = 0.25  # logits that rounding activations to 8 bits may turn around
LEAST = 7  # tokens that must be compared for each folder, lest ties hide all


def folder_of(name):
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    home = os.environ.get("PENSIEVE_HOME") or os.path.join(data, "pensieve")
    models = os.environ.get("PENSIEVE_TEST_MODELS") or os.path.join(home, "models")
    return os.path.join(models, "folders", name)


def golden():
    """What the folders answer, up to the token that ends it (in f16's lines it goes on behind that)."""
    with open(GOLDEN, encoding="utf-8") as file:
        answers = json.load(file)
    for line in (line for lines in answers.values() for line in lines):
        if END in line["pieces"]:
            line["pieces"] = line["pieces"][:line["pieces"].index(END)]
    return answers


def tensors(folder):
    """What is in its model.safetensors: type, shape and bytes by name."""
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        n = int.from_bytes(file.read(8), "little")
        header, data = json.loads(file.read(n)), file.read()
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


class Talk(unittest.TestCase):
    def ask(self, port, question, n):
        body = {"model": "any", "max_tokens": n, "temperature": 0, "messages": [{"role": "user", "content": question}]}
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        c.request("POST", "/v1/messages", json.dumps(body))
        answer = json.loads(c.getresponse().read())
        c.close()
        return answer

    def compared(self, line, answer):
        """How many tokens of the answer are the reference's; a difference that is no near-tie is an error."""
        text = "".join(part["text"] for part in answer["content"])
        at = 0
        for i, (piece, others) in enumerate(zip(line["pieces"], line["others"])):
            gap = others[0][1]  # to the second likeliest
            if text[at:at + len(piece)] != piece:
                self.assertLess(gap, NEAR, "%r goes on with %r, not %r" % (text[:at], text[at:], piece))
                print("  near-tie after %d tokens (%.3f): %r" % (i, gap, text[:at]), file=sys.stderr)
                return i
            at += len(piece)
        self.assertEqual(text, "".join(line["pieces"]))
        return len(line["pieces"])

    def talk(self, model, lines):
        p = subprocess.Popen([BINARY, "serve", "-m", model, "-p", "0", "--kv-disk", "0"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            port = int(re.search(r":(\d+)$", p.stdout.readline().strip()).group(1))
            n = 0
            for line in lines:
                answer = self.ask(port, line["text"], len(line["pieces"]))
                self.assertEqual(answer["usage"]["input_tokens"] + answer["usage"]["cache_read_input_tokens"],
                                 len(line["prompt"]))
                n += self.compared(line, answer)
            self.assertGreaterEqual(n, LEAST)
        finally:
            p.kill()
            p.stdout.close()
            p.wait()

    def test_folders_talk_like_the_reference(self):
        for name, lines in golden().items():
            with self.subTest(name):
                self.talk(folder_of(name), lines)

    def test_what_we_convert_talks_like_the_reference(self):
        for name, kind in (("smollm2-llama-f16", "MLX_8"), ("smollm2-phi3-8bit", "Q8_0")):
            with self.subTest(kind), tempfile.TemporaryDirectory() as folder:
                out = os.path.join(folder, "out")
                subprocess.run([BINARY, "convert", "-q", "--type", kind, folder_of(name), out], check=True,
                               stdout=subprocess.DEVNULL, timeout=PATIENCE)
                self.talk(out, golden()[name])

    def test_four_bits_are_the_very_tensors_that_mlx_lm_makes(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            subprocess.run([BINARY, "convert", "-q", "--type", "MLX_4", folder_of("smollm2-llama-f16"), out], check=True,
                           stdout=subprocess.DEVNULL, timeout=PATIENCE)
            ours, theirs = tensors(out), tensors(folder_of("smollm2-llama-4bit"))
            self.assertEqual(ours.keys(), theirs.keys())
            self.assertEqual([n for n in theirs if ours[n] != theirs[n]], [])

    def test_the_prompts_tokens_are_the_references(self):
        for name, lines in golden().items():
            for line in lines:
                text = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n" % line["text"]
                r = subprocess.run([BINARY, "tokenize", "--ids", "--special", folder_of(name), text], capture_output=True,
                                   text=True, timeout=PATIENCE)
                ids = [int(i) for i in r.stdout.split()]
                self.assertEqual(ids, line["prompt"][-len(ids):])


missing = [name for name in [*golden(), "smollm2-llama-4bit"] if not os.path.exists(folder_of(name))]
if missing:
    print("SKIPPED: there is no %s: scripts/make_mlx_folders makes it" % folder_of(missing[0]), file=sys.stderr)
    sys.exit(77)
unittest.main(argv=sys.argv[:1], verbosity=2)
