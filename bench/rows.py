"""The rows of the comparison: what work each is, against whom, and what is asked of it."""
import copy
import json
import subprocess
import sys
import time
from dataclasses import dataclass

import gguf_sizes
from measuring import Result, Server, cpu_seconds, in_turns, median, say

# name: (file, shape and type for bench/make_model where the file isn't there)
MODELS = {
    "0.5b": ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", ("qwen2-0.5b", "Q4_K")),
    "1.5b": ("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", ("qwen2-1.5b", "Q4_K")),
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf", ("smollm2-135m", "Q4_1")),
    "phi3": ("phi3-q4_0.gguf", ("phi3-mini", "Q4_0")),
}
TYPES = ("Q8_0", "Q5_0", "Q6_K", "F16", "Q4_0", "Q4_1", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "IQ4_NL", "IQ4_XS",
         "MXFP4", "BF16")
for _type in TYPES:  # of the 1.5B: llama-quantize --allow-requantize makes such files
    MODELS[f"1.5b-{_type}"] = (f"qwen2.5-coder-1.5b-instruct-{_type.lower()}.gguf", ("qwen2-1.5b", _type))

ALONE = "itself"


@dataclass
class Row:
    name: str
    model: str
    target: str

    def why_not(self, bench):
        """Why this row cannot be measured here, or None."""
        return None

    def result(self, bench, work, unit, ours, peer, theirs, ratio, **more):
        known = bench.peers.get(peer)
        return Result(self.name, work, bench.file(self.model).name, unit, ours, peer, theirs, ratio, self.target,
                      threads=bench.options.threads, host=bench.host, features=bench.features, date=bench.date,
                      peaks=str(bench.peaks), pensieve_version=bench.pensieve.version(),
                      peer_version=known.version() if known and theirs else "", **more)


@dataclass
class Speed(Row):
    """Tokens per second of a prompt or of generation, against peers in turns."""
    kind: str = "prompt"
    n: int = 512
    depth: int = 0
    kv: str = "f16"
    cpu: str | None = None
    peers: tuple = ("llama.cpp",)

    def why_not(self, bench):
        if self.kv != "f16" and not bench.pensieve.can("--kv-type"):
            return f"pensieve bench has no --kv-type {self.kv}"
        return None

    def shares(self, bench, speed, byte_shares):
        """`byte_shares`: of the bandwidth, by round and bytes of a token."""
        size = gguf_sizes.read(bench.file(self.model))
        best = bench.peaks.best
        if self.kind == "prompt":
            matrix, attention = size.matrix_ops(self.n), size.attention_ops(self.n, self.depth)
            seconds = self.n / speed
            return {"share": bench.peaks.seconds(matrix, attention) / seconds,
                    "int8_share": matrix / 1e9 / best["int8"] / seconds}
        return {"share": size.token_bytes(self.depth + self.n / 2, self.kv) / 1e9 * median(byte_shares)}

    def measure(self, bench):
        work = {"kind": self.kind, "n": self.n, "depth": self.depth, "kv": self.kv}
        model = bench.file(self.model)
        ours = type(bench.pensieve)(bench.options, self.cpu)
        byte_shares = []

        def generate():
            speed, read = bench.peaks.reading_around(lambda: ours.speed(model, work))
            byte_shares.append(speed / read)
            return speed
        runs = {"pensieve": generate if self.kind == "generate" else lambda: ours.speed(model, work)}
        for name in self.peers:
            peer = bench.peers[name]
            if not peer.is_there():
                say(f"  {name} is not there: see --install")
                continue
            if hasattr(peer, "tune") and bench.options.tune:
                say(f"  {name}: trying its flags")
                peer.tune(model, work, self.name)
            runs[name] = lambda peer=peer: peer.speed(model, work, self.name)
        values, other = in_turns(runs, bench.options.repeats, say)
        bench.peaks.measure()
        speed = median(values["pensieve"])
        words = f"{self.kind} {self.n}" + (f" after {self.depth}" if self.depth else "")
        words += f", {self.kv} cache" if self.kv != "f16" else ""
        words += f", {self.cpu} tier" if self.cpu else ""
        more = {"rounds": len(values["pensieve"]), "other_work": other, "flags": " ".join(ours.flags(self.kv)),
                **self.shares(bench, speed, byte_shares)}
        if len(runs) == 1:
            return [self.result(bench, words, "tok/s", speed, "", None, None, **more)]
        return [self.result(bench, words, "tok/s", speed, name, median(v), speed / median(v),
                            peer_flags=" ".join(bench.peers[name].flags(self.name)), **more)
                for name, v in values.items() if name != "pensieve"]


@dataclass
class Together(Row):
    """Four sequences that generate together against one alone."""
    n: int = 64

    def measure(self, bench):
        model, last = bench.file(self.model), {}

        def run():
            last.update(bench.pensieve.bench(model, "-p", "", "-n", self.n, "-s", "1,4"))
            return last["generate", self.n, 4] / last["generate", self.n, 1]
        ratios, speeds = [], []
        for _ in range(bench.options.repeats):
            ratios.append(run())
            speeds.append((last["generate", self.n, 4], last["generate", self.n, 1]))
            say(f"  four {speeds[-1][0]:.2f}, one {speeds[-1][1]:.2f}")
        return [self.result(bench, f"generate {self.n}, four sequences", "tok/s", median([s[0] for s in speeds]), ALONE,
                            median([s[1] for s in speeds]), median(ratios), rounds=len(ratios),
                            flags=" ".join(bench.pensieve.flags()))]


@dataclass
class Mixed(Row):
    """A step of one generating sequence and n tokens of a prompt, against the larger of its memory time (a step of
    generation) and its compute time at the full speed of a prompt."""
    n: int = 16

    def measure(self, bench):
        model, steps, limits = bench.file(self.model), [], []
        for _ in range(bench.options.repeats):
            out = bench.pensieve.bench(model, "-p", "512", "-n", "64", "-m", self.n)
            steps.append(1000 * (self.n + 1) / out["mixed", self.n, 2])
            limits.append(1000 * max(1 / out["generate", 64, 1], (self.n + 1) / out["prompt", 512, 1]))
            say(f"  step {steps[-1]:.2f} ms, limit {limits[-1]:.2f} ms")
        ratio = median([s / limit for s, limit in zip(steps, limits)])
        return [self.result(bench, f"step of 1 generated and {self.n} prompt tokens", "ms", median(steps),
                            "the larger alone", median(limits), ratio, rounds=len(steps),
                            flags=" ".join(bench.pensieve.flags()))]


@dataclass
class Claude(Row):
    """Claude Code's first prompt over HTTP: seconds to the first token, from a fresh server."""
    n_ctx: int = 32768

    def why_not(self, bench):
        return None if bench.options.claude_body else "needs --claude-body (bench/record_claude.py records one)"

    def measure(self, bench):
        model = bench.file(self.model)
        body = json.loads(bench.options.claude_body.read_text())
        body.update(stream=True, max_tokens=8, temperature=0)
        tokens = []

        def run(peer, environment=None):
            server = Server(lambda port: peer.serve(model, port, self.n_ctx), environment)
            try:
                n, seconds = server.ask(copy.deepcopy(body))
            finally:
                server.close()
            tokens.append(n)
            return seconds
        llama = bench.peers["llama.cpp"]
        runs = {"pensieve": lambda: run(bench.pensieve)}
        if llama.is_there():
            runs["llama.cpp"] = lambda: run(llama, llama.environment)
        values, other = in_turns(runs, bench.options.repeats, say)
        bench.peaks.measure()
        ours, n = median(values["pensieve"]), tokens[0]
        theirs = median(values["llama.cpp"]) if "llama.cpp" in values else None
        size = gguf_sizes.read(model)
        matrix, attention = size.matrix_ops(n), size.attention_ops(n)
        return [self.result(bench, f"first token of Claude Code's first prompt, {n} tokens", "s", ours, "llama.cpp",
                            theirs, theirs / ours if theirs else None, rounds=len(values["pensieve"]), other_work=other,
                            share=bench.peaks.seconds(matrix, attention) / ours,
                            int8_share=matrix / 1e9 / bench.peaks.best["int8"] / ours,
                            flags=f"serve --ctx {self.n_ctx}", peer_flags=f"-fa on -ub 512 -np 1 -c {self.n_ctx}")]


@dataclass
class Start(Row):
    """A server's time from its start to its first good answer at /health, and its memory then and after a prompt."""
    n_ctx: int = 8192

    def measure(self, bench):
        llama = bench.peers["llama.cpp"]
        peers = {"pensieve": (bench.pensieve, None)}
        if llama.is_there():
            peers["llama.cpp"] = llama, llama.environment
        found = {name: ([], [], []) for name in peers}

        def run(name):
            peer, environment = peers[name]
            server = Server(lambda port: peer.serve(bench.file(self.model), port, self.n_ctx), environment)
            try:
                found[name][0].append(server.seconds_to_ready)
                found[name][1].append(server.memory())
                server.ask({"model": "local", "max_tokens": 8, "stream": True,
                            "messages": [{"role": "user", "content": "river stone lamp " * 300}]})
                found[name][2].append(server.memory())
            finally:
                server.close()
            return server.seconds_to_ready
        values, other = in_turns({name: lambda name=name: run(name) for name in peers}, bench.options.repeats, say)
        out = []
        for i, (work, unit) in enumerate((("server: start to ready", "s"), ("server: own memory when ready", "MB"),
                                          ("server: own memory after a prompt", "MB"))):
            ours = median(found["pensieve"][i])
            theirs = median(found["llama.cpp"][i]) if "llama.cpp" in found else None
            out.append(self.result(bench, work, unit, ours, "llama.cpp", theirs, theirs / ours if theirs else None,
                                   rounds=len(values["pensieve"]), other_work=other))
        return out


@dataclass
class Idle(Row):
    """The CPU time of a server that has answered once and now waits."""
    seconds: float = 10.0

    def measure(self, bench):
        def run(peer, environment=None):
            server = Server(lambda port: peer.serve(bench.file(self.model), port, 4096), environment)
            try:
                server.ask({"model": "local", "max_tokens": 8, "stream": True,
                            "messages": [{"role": "user", "content": "Say hello."}]})
                time.sleep(1)
                before = cpu_seconds(server.process.pid)
                time.sleep(self.seconds)
                return 100 * (cpu_seconds(server.process.pid) - before) / self.seconds
            finally:
                server.close()
        llama = bench.peers["llama.cpp"]
        runs = {"pensieve": lambda: run(bench.pensieve)}
        if llama.is_there():
            runs["llama.cpp"] = lambda: run(llama, llama.environment)
        values, other = in_turns(runs, min(bench.options.repeats, 3), say)
        return [self.result(bench, f"idle server, {self.seconds:.0f} s", "% CPU", max(values["pensieve"]), "llama.cpp",
                            max(values["llama.cpp"]) if "llama.cpp" in values else None, None,
                            rounds=len(values["pensieve"]), other_work=other)]


@dataclass
class Busy(Row):
    """Generation while two other processes want a whole core each, against generation alone."""
    n: int = 64

    def measure(self, bench):
        work = {"kind": "generate", "n": self.n, "depth": 0, "kv": "f16"}
        model, llama = bench.file(self.model), bench.peers["llama.cpp"]
        peers = {"pensieve": bench.pensieve, **({"llama.cpp": llama} if llama.is_there() else {})}

        def beside(run):
            others = [subprocess.Popen([sys.executable, "-c", "import time\nend = time.time() + 300\n"
                                        "while time.time() < end: pass"]) for _ in range(2)]
            try:
                return run()
            finally:
                for process in others:
                    process.kill()
                    process.wait()
        runs = {}
        for name, peer in peers.items():
            runs[name] = lambda peer=peer: peer.speed(model, work)
            runs[name + ", busy"] = lambda peer=peer: beside(lambda: peer.speed(model, work))
        values, other = in_turns(runs, bench.options.repeats, say)
        out = []
        for name in peers:
            alone, busy = median(values[name]), median(values[name + ", busy"])
            out.append(self.result(bench, f"generate {self.n} beside two busy processes ({name})", "tok/s", busy,
                                   f"{name} alone", alone, busy / alone, rounds=len(values[name]), other_work=other))
        return out


def all_rows():
    speed = Speed
    rows = [
        Claude("claude-0.5b", "0.5b", ">= 3.5 (aim 4.5)"),
        speed("prompt-0.5b-512", "0.5b", ">= 2.4", n=512),
        speed("prompt-0.5b-4096", "0.5b", ">= 3", n=4096),
        speed("prompt-0.5b-8192", "0.5b", ">= 3.5", n=8192),
        speed("prompt-1.5b-512", "1.5b", ">= 2.2 llama.cpp", n=512, peers=("llama.cpp", "openvino")),
        speed("prompt-1.5b-3072", "1.5b", ">= 2.2 llama.cpp, 1.3 openvino", n=3072, peers=("llama.cpp", "openvino")),
        speed("prompt-phi3-512", "phi3", ">= 2.4, 70 % of int8", n=512),
        speed("prompt-phi3-4096", "phi3", ">= 2.5", n=4096),
    ]
    for model in ("0.5b", "1.5b", "phi3"):
        rows.append(speed(f"generate-{model}", model, "90 % of bandwidth; >= 1.35 where llama.cpp is below 65 %",
                          kind="generate", n=64))
    for model, depth, target in (("0.5b", 8192, ">= 2.2"), ("0.5b", 17408, ">= 4"), ("phi3", 4096, ">= 6")):
        for kv in ("f16", "q8_0"):
            rows.append(speed(f"deep-{model}-{depth}" + ("-q8_0" if kv != "f16" else ""), model,
                              target + ", 85 % of bandwidth", kind="generate", n=32, depth=depth, kv=kv))
    rows += [Together("four-0.5b", "0.5b", ">= 2.8"), Together("four-1.5b", "1.5b", ">= 2.8"),
             Together("four-phi3", "phi3", ">= 2.8", n=32)]
    rows += [Mixed(f"mixed-0.5b-{n}", "0.5b", "<= 1.25", n=n) for n in (9, 16, 32)]
    rows += [speed("prompt-smollm2", "smollm2", ">= 3.5 (aim 4.5)", n=512),
             speed("generate-smollm2", "smollm2", ">= 1.6", kind="generate", n=128)]
    for kind in TYPES:
        rows.append(speed(f"prompt-{kind}", f"1.5b-{kind}", ">= 1.4", n=512))
        rows.append(speed(f"generate-{kind}", f"1.5b-{kind}", "85 % of bandwidth", kind="generate", n=32))
    for model in ("0.5b", "1.5b"):
        rows.append(speed(f"avx2-prompt-{model}", model, ">= 1.0", n=512, cpu="avx2", peers=("xllamacpp",)))
        rows.append(speed(f"avx2-generate-{model}", model, ">= 1.0", kind="generate", n=64, cpu="avx2",
                          peers=("xllamacpp",)))
    rows += [Start("start-0.5b", "0.5b", ""), Idle("idle-0.5b", "0.5b", "0 % CPU"),
             Busy("busy-0.5b", "0.5b", "its share of the cores: >= 0.5")]
    return {row.name: row for row in rows}
