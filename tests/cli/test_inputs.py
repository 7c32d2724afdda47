"""What is wrong with a model that people bring, said in one sentence that names what and where.

Usage: test_inputs.py BINARY WRITE_TINY, the second of which writes a tiny model (tests/support/write_tiny.c)."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

BINARY, WRITE_TINY = map(os.path.abspath, sys.argv[1:3])
PATIENCE = 120  # seconds that anything may take on a machine that does other things, too
SIZES = {"F16": 2, "U32": 4, "I32": 4}
LAYER = "model.layers.0."
CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "max_position_embeddings": 128, "vocab_size": 32, "rope_theta": 10000.0,
}
WHOLE = {"model.embed_tokens.weight": ("F16", [32, 64]), "model.norm.weight": ("F16", [64])}
LAYERS = {
    LAYER + "self_attn.q_proj.weight": ("F16", [64, 64]), LAYER + "self_attn.k_proj.weight": ("F16", [32, 64]),
    LAYER + "self_attn.v_proj.weight": ("F16", [32, 64]), LAYER + "self_attn.o_proj.weight": ("F16", [64, 64]),
    LAYER + "mlp.gate_proj.weight": ("F16", [128, 64]), LAYER + "mlp.up_proj.weight": ("F16", [128, 64]),
    LAYER + "mlp.down_proj.weight": ("F16", [64, 128]), LAYER + "input_layernorm.weight": ("F16", [64]),
    LAYER + "post_attention_layernorm.weight": ("F16", [64]),
}
LETTERS = "abcdefghijklmnopqrstuvwxyz01234"
TOKENIZER = {
    "version": "1.0", "added_tokens": [{"id": 31, "content": "<|end|>", "special": True, "single_word": False,
                                        "lstrip": False, "rstrip": False, "normalized": False}],
    "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True, "trim_offsets": True},
    "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True, "trim_offsets": True},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False,
              "vocab": {**{c: i for i, c in enumerate(LETTERS)}, "<|end|>": 31}, "merges": []},
}


def safetensors(tensors):
    header, at = {}, 0
    for name, (kind, shape) in tensors.items():
        size = SIZES[kind]
        for n in shape:
            size *= n
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(at)


class Inputs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.tiny = self.path("tiny.gguf")
        subprocess.run([WRITE_TINY, self.tiny], check=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run_it(self, *args, cwd=None):
        environment = {**os.environ, "PENSIEVE_HOME": self.path("home")}
        return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=PATIENCE, env=environment, cwd=cwd,
                              stdin=subprocess.DEVNULL)

    def make(self, name, files):
        """A folder of texts, bytes, and what becomes JSON."""
        os.mkdir(self.path(name))
        for file, content in files.items():
            with open(os.path.join(self.path(name), file), "wb") as out:
                out.write(content if isinstance(content, bytes) else
                          content.encode() if isinstance(content, str) else json.dumps(content).encode())
        return self.path(name)

    def assert_refused(self, model, *words, commands=("serve", "run", "bench")):
        for command in commands:
            args = {"serve": ["-p", "0", "-m", model], "run": [model, "hi"]}.get(command, [model])
            r = self.run_it(command, *args)
            self.assertEqual((r.returncode, r.stdout, r.stderr.count("\n")), (1, "", 1), (command, r))
            for word in words:
                self.assertIn(word, r.stderr)

    def test_a_shard_that_is_absent_is_named(self):
        first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
        index = {"weight_map": {**{k: first for k in WHOLE}, **{k: second for k in LAYERS}}}
        for name, more in [("by-index", {"model.safetensors.index.json": index}), ("by-count", {})]:
            folder = self.make(name, {"config.json": CONFIG, first: safetensors(WHOLE), **more})
            self.assert_refused(folder, os.path.join(folder, second), commands=("serve", "run", "bench", "show"))

    def test_a_part_of_a_split_file_that_is_absent_is_named(self):
        part = self.path("big-00001-of-00002.gguf")
        shutil.copy(self.tiny, part)
        self.assert_refused(part, "big-0000", commands=("serve", "run", "bench", "show"))

    def test_a_quantization_that_is_not_known_is_named(self):
        gptq = {"quant_method": "gptq", "bits": 4, "group_size": 128}
        for name, config, word in [
            ("gptq", {"quantization_config": gptq}, "gptq"),
            ("nf4", {"quantization": {"bits": 4, "group_size": 64, "mode": "nf4"}}, "nf4"),
            ("odd", {"quantization": {"bits": 4, "group_size": 48}}, "48"),
        ]:
            tensors = {**WHOLE, LAYER + "self_attn.q_proj.weight": ("U32", [64, 8]),
                       LAYER + "self_attn.q_proj.scales": ("F16", [64, 1])}
            folder = self.make(name, {"config.json": {**CONFIG, **config}, "model.safetensors": safetensors(tensors)})
            self.assert_refused(folder, os.path.join(folder, "config.json"), word, commands=("serve", "run", "show"))

    def test_an_architecture_that_is_not_known_is_shown_and_not_run(self):
        folder = self.make("falcon", {"config.json": {**CONFIG, "model_type": "falcon"},
                                      "model.safetensors": safetensors(WHOLE)})
        self.assert_refused(folder, folder, "falcon")
        r = self.run_it("show", folder)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertIn("does not run here: ", r.stdout)

    def test_files_that_lie_are_refused(self):
        whole = safetensors({**WHOLE, **LAYERS})
        for name, files, words in [
            ("length", {"config.json": CONFIG, "model.safetensors": struct.pack("<Q", 1 << 40) + b"{}"}, ["1099511627776"]),
            ("cut", {"config.json": CONFIG, "model.safetensors": whole[:-10]}, ["model.safetensors", "cut"]),
            ("json", {"config.json": '{"model_type": ', "model.safetensors": whole}, ["config.json", "byte 15"]),
            ("none", {"config.json": CONFIG}, ["model.safetensors"]),
            ("pickle", {"config.json": CONFIG, "pytorch_model.bin": b"x"}, ["pytorch_model.bin"]),
            ("lfs", {"config.json": CONFIG, "model.safetensors": "version https://git-lfs.github.com/spec/v1\noid x\n"},
             ["git lfs pull"]),
        ]:
            folder = self.make(name, files)
            self.assert_refused(folder, folder, *words, commands=("serve", "run", "show"))

    def test_a_folder_without_a_tokenizer_is_refused_by_what_needs_one(self):
        folder = self.make("mute", {"config.json": CONFIG, "model.safetensors": safetensors({**WHOLE, **LAYERS})})
        self.assert_refused(folder, folder, "tokenizer", commands=("serve", "run"))
        r = self.run_it("show", folder)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertIn("cannot be used here: ", r.stdout)
        self.assertEqual(self.run_it("tokenize", folder, "hi").returncode, 1)

    def base(self):
        return self.make("base", {"config.json": CONFIG, "model.safetensors": safetensors({**WHOLE, **LAYERS}),
                                  "tokenizer.json": TOKENIZER, "tokenizer_config.json": {"eos_token": "<|end|>"}})

    def test_a_base_model_only_continues(self):
        folder = self.base()
        self.assert_refused(folder, folder, "no chat template", "--raw", commands=("serve", "run"))
        r = self.run_it("run", "--raw", "-n", "4", "-t", "1", folder, "abc")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        r = self.run_it("tokenize", "--ids", folder, "cab")
        self.assertEqual((r.returncode, r.stdout.split()), (0, ["2", "0", "1"]), r.stderr)

    def test_a_folder_goes_by_any_of_its_files_and_by_a_dot(self):
        folder = self.base()
        for name in [folder, folder + "/", os.path.join(folder, "model.safetensors"), os.path.join(folder, "config.json")]:
            self.assertIn("architecture   llama", self.run_it("show", name).stdout)
        self.assertIn("architecture   llama", self.run_it("show", ".", cwd=folder).stdout)
        self.assertEqual(self.run_it("show", ".", cwd=folder).stdout.splitlines()[0], "base")
        self.assertIn("architecture   llama", self.run_it("show", "base", cwd=self.folder).stdout)
        os.makedirs(self.path("home/models"))
        os.rename(folder, self.path("home/models/base"))
        self.assertIn("architecture   llama", self.run_it("show", "base").stdout)

    def served_as(self, model):
        """What a server says that it is when it is ready."""
        p = subprocess.Popen([BINARY, "serve", "-m", model, "-p", "0", "-t", "1", "--kv-disk", "0"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
        line = p.stdout.readline()
        p.kill()
        p.stdout.close()
        p.wait()
        return line.partition(" answers at ")[0]

    def test_a_folder_is_served_under_its_name(self):
        folder = self.base()
        with open(os.path.join(folder, "chat_template.jinja"), "w") as file:
            file.write("{% for m in messages %}{{ m.content }}{% endfor %}")
        for name in [folder, folder + "//", os.path.join(folder, "config.json"), os.path.join(folder, "model.safetensors")]:
            self.assertEqual(self.served_as(name), "base")
        commit = self.path("hub/models--some-owner--Tiny-Model-4bit/snapshots/0123abcd")
        os.makedirs(os.path.dirname(commit))
        os.rename(folder, commit)
        self.assertEqual(self.served_as(commit), "Tiny-Model-4bit")

    def test_a_name_that_is_both_is_refused(self):
        os.makedirs(self.path("home/models"))
        shutil.copy(self.tiny, self.path("home/models/tiny.gguf"))
        here = self.path("here")
        os.mkdir(here)
        shutil.copy(self.tiny, os.path.join(here, "tiny"))
        r = self.run_it("show", "tiny", cwd=here)
        self.assertEqual((r.returncode, r.stdout, r.stderr.count("\n")), (1, "", 1))
        self.assertIn("./tiny", r.stderr)
        self.assertIn(self.path("home/models/tiny.gguf"), r.stderr)
        self.assertEqual(self.run_it("show", "./tiny", cwd=here).returncode, 0)
        self.assertEqual(self.run_it("show", self.path("home/models/tiny.gguf"), cwd=here).returncode, 0)

    @unittest.skipIf(sys.platform == "darwin", "there a server only waits for signals")
    def test_a_server_tells_when_its_model_is_written_to(self):
        log = self.path("log")
        with open(log, "w") as err:
            p = subprocess.Popen([BINARY, "serve", "-m", self.tiny, "-p", "0", "-t", "1", "--kv-disk", "0"],
                                 stdout=subprocess.PIPE, stderr=err, text=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        p.stdout.readline()
        shutil.copy(self.tiny, self.path("new"))
        os.rename(self.tiny, self.path("old"))  # replaced: the server goes on with what it has
        os.rename(self.path("new"), self.tiny)
        time.sleep(6)
        self.assertEqual(self.told(log), 0)
        os.rename(self.path("old"), self.tiny)
        with open(self.tiny, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read()
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        end = time.monotonic() + PATIENCE
        while not self.told(log):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.2)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(timeout=PATIENCE), 0)
        self.assertEqual(self.told(log), 1)  # once

    def told(self, log):
        with open(log) as file:
            return file.read().count(self.tiny + " was written to while it is in use")


unittest.main(argv=sys.argv[:1], verbosity=2)
