"""The measuring tools as they are called: test_tools.py FOLDER_OF_THE_TOOLS."""

import json
import subprocess
import sys
import unittest

FOLDER = sys.argv[1]


def run(tool, *args):
    return subprocess.run([f"{FOLDER}/{tool}", *args], capture_output=True, text=True, timeout=60)


class Peaks(unittest.TestCase):
    def test_json(self):
        r = run("peaks", "--json", "--seconds", "0.01", "--memory", "16", "--threads", "1")
        self.assertEqual(r.returncode, 0, r.stderr)
        out = json.loads(r.stdout)
        self.assertTrue(0.2 < out["clock_ghz"] < 10, out)
        self.assertEqual(out["threads"], 1)
        self.assertTrue(out["read"]["one_thread"] > 0.1, out)
        for name in ("int8", "bf16", "fp32"):
            if name in out:  # at least eight operations and at most 2,048 a cycle
                self.assertTrue(8 < out[name]["one_thread"] / out["clock_ghz"] < 2100, out)

    def test_usage(self):
        for args in (["--threads", "0"], ["--memory", "0"], ["--seconds", "x"], ["more"], ["--other"]):
            r = run("peaks", *args)
            self.assertEqual((r.returncode, r.stdout), (2, ""), args)
            self.assertIn("usage: peaks", r.stderr)
        self.assertEqual(run("peaks", "--help").returncode, 0)


class MakeModel(unittest.TestCase):
    def test_usage(self):
        for args in ([], ["--shape", "phi3-mini"], ["--shape", "phi4", "x"], ["--shape", "phi3-mini", "--type", "Q9", "x"],
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


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
