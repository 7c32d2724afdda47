"""The measuring tools as they are called: test_tools.py FOLDER_OF_THE_TOOLS."""

import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

FOLDER = sys.argv[1]
SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(SCRIPTS))

import gguf_sizes  # noqa: E402
import measuring  # noqa: E402


def run(tool, *args):
    return subprocess.run([f"{FOLDER}/{tool}", *args], capture_output=True, text=True, timeout=300)


class Peaks(unittest.TestCase):
    def test_json(self):
        r = run("peaks", "--json", "--seconds", "0.01", "--memory", "16", "--threads", "1")
        self.assertEqual(r.returncode, 0, r.stderr)
        out = json.loads(r.stdout)
        self.assertTrue(0 < out["clock_ghz"] < 10, out)
        self.assertEqual(out["threads"], 1)
        self.assertTrue(out["read"]["one_thread"] > 0, out)
        for name in ("int8", "bf16", "fp32"):
            if name in out:  # at most 2,048 operations a cycle; few with a sanitizer
                self.assertTrue(0 < out[name]["one_thread"] / out["clock_ghz"] < 2100, out)

    def test_usage(self):
        for args in (["--threads", "0"], ["--memory", "0"], ["--seconds", "x"], ["more"], ["--other"]):
            r = run("peaks", *args)
            self.assertEqual((r.returncode, r.stdout), (2, ""), args)
            self.assertIn("usage: peaks", r.stderr)
        self.assertEqual(run("peaks", "--help").returncode, 0)


class MakeModel(unittest.TestCase):
    def test_usage(self):
        for args in ([], ["--shape", "phi3-mini"], ["--shape", "phi4", "x"],
                     ["--shape", "phi3-mini", "--type", "Q9", "x"],
                     ["--shape", "phi3-mini", "--layers", "0", "x"], ["--shape", "phi3-mini", "--bits", "5", "x"],
                     ["--shape", "phi3-mini", "--group", "48", "x"], ["--shape", "phi3-mini", "x", "y"]):
            r = run("make_model", *args)
            self.assertEqual((r.returncode, r.stdout), (2, ""), args)
            self.assertIn("make_model: ", r.stderr)
        self.assertIn("phi3-mini", run("make_model", "--help").stdout)

    def test_a_file_that_cannot_be_written(self):
        r = run("make_model", "--shape", "smollm2-135m", "--layers", "1", "/nowhere/model.gguf")
        self.assertEqual(r.returncode, 1)
        self.assertIn("/nowhere/model.gguf", r.stderr)


class GgufSizes(unittest.TestCase):
    def test_a_layer_is_the_sum_of_its_matrices(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/model.gguf"
            r = run("make_model", "--shape", "smollm2-135m", "--layers", "1", "--type", "Q4_1", "--pure", path)
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            size = gguf_sizes.read(path)
        n = 576 * (576 + 2 * 192) + 576 * 576 + 3 * 576 * 1536
        self.assertEqual((size.layer_elements, size.layer_bytes), (n, n * 20 // 32))
        self.assertEqual((size.output_elements, size.output_bytes), (576 * 49152, 576 * 49152 * 20 // 32))
        self.assertEqual(size.matrix_ops(10), 2 * (10 * n + 576 * 49152))
        self.assertEqual(size.attention_ops(1, 99), 4 * 576 * 100)
        self.assertEqual(size.token_bytes(100) - size.token_bytes(0), 100 * 2 * 192 * 2)


    def test_of_experts_those_count_that_are_used(self):
        meta = {"general.architecture": "m", "m.attention.head_count": 2, "m.block_count": 1,
                "m.embedding_length": 64, "m.expert_used_count": 3}
        size = gguf_sizes.sizes("m", meta, {"blk.0.ffn_up_exps.weight": ([64, 32, 16], 8), "token_embd.weight": ([64, 8], 0)})
        self.assertEqual((size.layer_elements, size.layer_bytes), (3 * 64 * 32, 3 * 64 * 32 * 34 // 32))


class Shapes(unittest.TestCase):
    def test_usage(self):
        r = subprocess.run([sys.executable, "-B", SCRIPTS / "shapes"], capture_output=True, text=True)
        self.assertEqual((r.returncode, r.stdout), (2, ""))
        self.assertIn("--made", r.stderr)

    def test_a_folder_and_a_file_of_one_shape_read_about_the_same(self):
        loader = importlib.machinery.SourceFileLoader("shapes", str(SCRIPTS / "shapes"))
        shapes = importlib.util.module_from_spec(importlib.util.spec_from_loader("shapes", loader))
        loader.exec_module(shapes)
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder, name) for name in ("mlx", "m.gguf")]
            for path, kind in zip(paths, (["--mlx"], ["--type", "Q4_0", "--pure"])):
                r = run("make_model", "--shape", "smollm2-135m", "--layers", "1", *kind, str(path))
                self.assertEqual((r.returncode, r.stderr), (0, ""))
            norms = 3 * 576 * 2
            self.assertEqual(shapes.folder_token_bytes(paths[0]),
                             shapes.gguf_sizes.read(paths[1]).token_bytes(0) + norms)


class Compare(unittest.TestCase):
    def compare(self, *args):
        return subprocess.run([sys.executable, "-B", SCRIPTS / "compare", *args], capture_output=True, text=True)

    def test_list(self):
        r = self.compare("--list")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        for name in ("claude-0.5b", "prompt-phi3-512", "deep-0.5b-17408-q8_0", "mixed-0.5b-16", "avx2-prompt-0.5b"):
            self.assertIn(f"{name} ", r.stdout)

    def test_usage(self):
        self.assertEqual(self.compare().returncode, 2)
        r = self.compare("--rows", "prompt-0.5b-512,no-such")
        self.assertEqual(r.returncode, 2)
        self.assertIn("no-such", r.stderr)

    def test_a_row_measured_again_replaces_its_line(self):
        def result(row, speed):
            return measuring.Result(row, "prompt 512", "m.gguf", "tok/s", speed, "peer", 10.0, speed / 10, ">= 2")
        with tempfile.TemporaryDirectory() as folder:
            for results in ([result("a", 1.0), result("b", 2.0)], [result("a", 30.0)]):
                table = measuring.Table(pathlib.Path(folder), "Some CPU")
                table.put(results)
                table.write()
            table = measuring.Table(pathlib.Path(folder), "Some CPU")
            self.assertEqual({line["row"]: float(line["ratio"]) for line in table.lines}, {"a": 3.0, "b": 0.2})
            text = table.csv.with_suffix(".md").read_text()
            self.assertIn("| a | prompt 512 | tok/s | 30.00 | peer | 10.00 | 3.00 |", text)

    def test_every_round_has_every_one_and_turns_the_order(self):
        order = []
        runs = {name: lambda name=name: order.append(name) or 1.0 for name in "ab"}
        values, _ = measuring.in_turns(runs, 2, lambda text: None)
        self.assertEqual((order, values), (["a", "b", "b", "a"], {"a": [1.0, 1.0], "b": [1.0, 1.0]}))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
