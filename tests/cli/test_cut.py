"""The beginning of a real 7B model whose download broke off: what is there is told, and it is not run.

Usage: test_cut.py BINARY. The file comes by scripts/fetch_cut_model; without it the test is skipped, loudly."""

import json
import os
import subprocess
import sys
import unittest

BINARY = os.path.abspath(sys.argv[1])
NAME = "deepseek-r1-distill-qwen-7b.cut.gguf"
PATIENCE = 120  # seconds that anything may take on a machine that does other things, too


def cut_file():
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    home = os.environ.get("PENSIEVE_HOME") or os.path.join(data, "pensieve")
    return os.path.join(os.environ.get("PENSIEVE_TEST_MODELS") or os.path.join(home, "tests"), NAME)


def run(*args):
    return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=PATIENCE)


class Cut(unittest.TestCase):
    def test_show_tells_all(self):
        r = run("show", cut_file())
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        for words in [
            "DeepSeek R1 Distill Qwen 7B\n",
            "size           199.2 MB (199229440 bytes), GGUF version 3\n",
            'the file is cut: tensor "blk.27.ffn_up.weight" ends at byte 4683073248, the file has 199229440\n',
            "339 of 339 tensors are not whole: it can be shown, not run\n",
            "architecture   qwen2\n",
            "parameters     7.62 billion\n",
            "layers         28, 3584 wide, feed-forward 18944\n",
            "attention      28 heads of 128, 4 for keys and values\n",
            "context        131072 tokens\n",
            "memory         57.3 kB for each token of conversation",
            "Q4_K   169 tensors, 3.43 GB: token_embd, ",
            "ffn_down of layers 3-4,6-7,9-10,12-13,15-16,18-19,21-22\n",
            "Q6_K    29 tensors, 1.25 GB: output, ",
            "vocabulary     152064 tokens, gpt2, pre-tokenizer deepseek-r1-qwen\n",
            "begins with <\uff5cbegin\u2581of\u2581sentence\uff5c> (151646)",
            "chat template  2237 bytes of tokenizer.chat_template",
        ]:
            self.assertIn(words, r.stdout)
        told = json.loads(run("show", "--json", cut_file()).stdout)
        self.assertEqual((told["is_whole"], told["missing_tensors"], told["runs"]), (False, 339, True))
        self.assertEqual(told["network"]["layers"], 28)

    def test_it_is_not_run(self):
        for args in [["serve", "-p", "0", "-m", cut_file()], ["run", cut_file(), "hi"], ["bench", cut_file()]]:
            r = run(*args)
            self.assertEqual((r.returncode, r.stdout, r.stderr.count("\n")), (1, "", 1), r.stderr)
            self.assertIn("the file is cut: tensor", r.stderr)
            self.assertIn("4683073248", r.stderr)

    def test_its_vocabulary_is_whole(self):
        r = run("tokenize", "--ids", cut_file(), "Hello world")
        self.assertEqual((r.returncode, r.stdout.split()), (0, ["9707", "1879"]), r.stderr)


if not os.path.exists(cut_file()):
    print("SKIPPED: there is no %s: scripts/fetch_cut_model brings it" % cut_file(), file=sys.stderr)
    sys.exit(77)
unittest.main(argv=sys.argv[:1], verbosity=2)
