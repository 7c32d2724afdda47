"""What every comparison needs: the machine's state, programs run in turns, servers, and the table that results."""
import csv
import http.client
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path

DISTURBING_CORES = 0.3
LONG_SECONDS = 120  # a run above this is done three times, not more


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


def busy_cores(seconds=0.5):
    """Cores that other work keeps busy, seen while no peer runs."""
    def times():
        numbers = [int(f) for f in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]
    if not Path("/proc/stat").exists():
        return 0.0
    (all1, idle1), _, (all2, idle2) = times(), time.sleep(seconds), times()
    return (1 - (idle2 - idle1) / max(1, all2 - all1)) * os.cpu_count()


def cpu_seconds(pid):
    """Of a process and its threads so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


class Peaks:
    """What the cores could do, the best so far; of the memory, the best since `renew`, for it drifts."""

    def __init__(self, program, threads):
        self.program, self.threads, self.best = program, threads, {}

    def measure(self):
        """Measures anew; returns {name: figure of all threads} of this time."""
        run = subprocess.run([self.program, "--json", "--threads", str(self.threads)], stdout=subprocess.PIPE,
                             text=True, check=True)
        figures = json.loads(run.stdout).items()
        now = {name: figure["all_threads"] for name, figure in figures if isinstance(figure, dict)}
        self.best.update({name: max(self.best.get(name, 0), value) for name, value in now.items()})
        return now

    def renew(self):
        self.best.pop("read", None)
        self.measure()

    def seconds(self, matrix_ops, attention_ops):
        """The least time of these operations: int8 for the weights, the best float for attention."""
        floats = max(self.best.get("bf16", 0), self.best.get("fp32", 0))
        return (matrix_ops / self.best["int8"] + attention_ops / floats) / 1e9

    def reading_around(self, run):
        """(run's value, the GB/s that memory gave before and after it, on average): it can double from one minute to the
        next where a host moves a virtual machine's cores about."""
        before, value = self.measure()["read"], run()
        return value, (before + self.measure()["read"]) / 2

    def __str__(self):
        return ", ".join(f"{name} {value:.1f}" for name, value in self.best.items())


def in_turns(runs, repeats, say):
    """runs {name: function that gives a value}. Every one in every round, the order turned each time; a round that
    is long cuts the repeats to three. Returns {name: [values]} and the most other work seen."""
    values, other, r = {name: [] for name in runs}, 0.0, 0
    while r < repeats:
        for name in runs if r % 2 == 0 else reversed(runs):
            other = max(other, busy_cores())
            if other > DISTURBING_CORES:
                say(f"  other work keeps {other:.1f} cores busy: this row will tell little")
            start = time.monotonic()
            values[name].append(runs[name]())
            if time.monotonic() - start > LONG_SECONDS:
                repeats = min(repeats, 3)
            say(f"  round {r + 1}: {name}: {values[name][-1]:.2f}")
        r += 1
    return values, other


class Server:
    """A peer's server, from its start to its first good answer at /health and to its end."""

    def __init__(self, command, environment=None):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        words = [str(word) for word in command(self.port)]
        self.process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        start = time.monotonic()
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() - start > 120:
                self.close()
                raise RuntimeError(f"the server did not start: {' '.join(words)}")
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

    def ask(self, body):
        """(prompt tokens, seconds to the first token) of a streamed message."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        start = time.monotonic()
        connection.request("POST", "/v1/messages", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        first, n_prompt = None, 0
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if event["type"] in ("content_block_start", "content_block_delta"):
                first = first or time.monotonic()
            usage = event.get("usage") or event.get("message", {}).get("usage") or {}
            n_prompt = max(n_prompt, sum(usage.get(k) or 0 for k in (
                "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")))
        connection.close()
        if answer.status != 200 or not first:
            raise RuntimeError(f"status {answer.status}, no token came")
        return n_prompt, first - start

    def memory(self):
        """Megabytes of its own (RssAnon), without the model file's pages."""
        found = re.search(r"^RssAnon:\s*(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        return int(found.group(1)) * 1024 / 1e6

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


@dataclass
class Result:
    """One line of the table. `ratio` is how many times better, except where the target is a most ("<=")."""
    row: str
    work: str
    model: str
    unit: str
    pensieve: float
    peer: str
    theirs: float | None
    ratio: float | None
    target: str
    share: float | None = None  # of what the machine could do
    int8_share: float | None = None  # of the int8 peak, weights alone
    rounds: int = 0
    other_work: float = 0.0  # cores
    flags: str = ""
    peer_flags: str = ""
    peaks: str = ""
    threads: int = 0
    host: str = ""
    features: str = ""
    pensieve_version: str = ""
    peer_version: str = ""
    date: str = ""


def median(values):
    return statistics.median(values)


NAMES = [f.name for f in fields(Result)]


def number(value, digits=2):
    if value in (None, ""):
        return "-"
    return f"{float(value):.{digits}f}"


def percent(value):
    return "-" if value in (None, "") else f"{100 * float(value):.0f} %"


class Table:
    """The results of a day on a kind of machine, in one CSV and one Markdown file: rows that are measured again
    replace their older lines."""

    def __init__(self, folder, host):
        slug = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")
        self.csv = folder / f"{date.today().isoformat()}-{slug}-compare.csv"
        self.lines = []
        if self.csv.exists():
            with self.csv.open(newline="") as file:
                self.lines = list(csv.DictReader(file))

    def put(self, results):
        names = {r.row for r in results}
        self.lines = [line for line in self.lines if line["row"] not in names]
        for r in results:
            line = {name: "" if value is None else value for name, value in asdict(r).items()}
            self.lines.append({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in line.items()})

    def markdown(self):
        head = ["row", "work", "unit", "Pensieve", "peer", "theirs", "ratio", "target", "share of the limit", "of int8",
                "rounds", "other work, cores", "their flags"]
        out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for line in self.lines:
            out.append("| " + " | ".join(str(cell) for cell in (
                line["row"], line["work"], line["unit"], number(line["pensieve"]), line["peer"], number(line["theirs"]),
                number(line["ratio"]), line["target"], percent(line["share"]), percent(line["int8_share"]),
                line["rounds"], number(line["other_work"], 1), line["peer_flags"])) + " |")
        return "\n".join(out) + "\n"

    def write(self):
        self.csv.parent.mkdir(parents=True, exist_ok=True)
        with self.csv.open("w", newline="") as file:
            out = csv.DictWriter(file, NAMES)
            out.writeheader()
            out.writerows(self.lines)
        hosts = sorted({f"{line['host']}, {line['threads']} threads ({line['features']})" for line in self.lines})
        busiest = max((float(line["other_work"] or 0) for line in self.lines), default=0)
        versions = sorted({v for line in self.lines for v in (line["pensieve_version"], line["peer_version"]) if v})
        self.csv.with_suffix(".md").write_text(
            f"{'; '.join(hosts)}; {date.today().isoformat()}; medians; other work kept at most {busiest:.2f} cores "
            f"busy.\n\n"
            f"{'; '.join(versions)}\n\n{self.markdown()}")


def say(text):
    print(text, file=sys.stderr, flush=True)
