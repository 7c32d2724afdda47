"""What the end-to-end tests share: the server under test, the real clients from the registries, and the ways to
be skipped. Knows nothing of what is tested."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

SKIPPED = 77
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODELS = {
    "qwen05": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf",
}
# What npm and pip say when nobody answers.
UNREACHABLE = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|network|E40[34]|Max retries|"
    r"Temporary failure|Connection (?:refused|reset|timed out)|Could not find a version|No matching distribution",
    re.IGNORECASE)


def skip(why):
    print(f"\nSKIPPED: {why}\n", file=sys.stderr, flush=True)
    sys.exit(SKIPPED)


def model_path(name):
    folder = os.environ.get("PENSIEVE_TEST_MODELS")
    if not folder:
        home = os.environ.get("PENSIEVE_HOME")
        data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        folder = os.path.join(home, "models") if home else os.path.join(data, "pensieve", "models")
    path = Path(folder) / MODELS[name]
    if not path.exists():
        skip(f"no model file {path}")
    return path


# ---- the clients ----

def _install(what, marker, *commands):
    """Runs the commands once; `marker` tells that they have been through."""
    if marker.exists():
        return
    print(f"installing {what} from its registry", file=sys.stderr, flush=True)
    for command in commands:
        try:
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 timeout=600, cwd=marker.parent, check=False)
        except subprocess.TimeoutExpired:
            skip(f"the registry did not deliver {what} within 10 minutes")
        except FileNotFoundError as missing:
            skip(f"{what} cannot be installed: {missing}")
        if run.returncode != 0:
            print(run.stdout[-2000:], file=sys.stderr)
            if UNREACHABLE.search(run.stdout):
                skip(f"the registry of {what} cannot be reached")
            sys.exit(f"{what} could not be installed")
    marker.touch()


class Clients:
    """The cache folder with the installed clients: PENSIEVE_TEST_CACHE, or `clients` in the build folder."""

    def __init__(self, build):
        self.folder = Path(os.environ.get("PENSIEVE_TEST_CACHE") or build / "clients").resolve()
        self.folder.mkdir(parents=True, exist_ok=True)

    def python(self):
        """A Python that has the package anthropic."""
        venv = self.folder / "py"
        _install("the Python SDK (anthropic)", self.folder / "py.ok",
                 [sys.executable, "-m", "venv", str(venv)],
                 [str(venv / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "anthropic>=2.12,<3"])
        return venv / "bin" / "python"

    def jinja_python(self):
        """A Python that has the package jinja2."""
        venv = self.folder / "jinja"
        _install("jinja2", self.folder / "jinja.ok", [sys.executable, "-m", "venv", str(venv)],
                 [str(venv / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", "jinja2>=3.1,<4"])
        return venv / "bin" / "python"

    def _npm(self, name, package, version):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        package_json = folder / "package.json"
        package_json.write_text(json.dumps({"private": True, "dependencies": {package: version}}))
        _install(package, folder / "npm.ok", ["npm", "install", "--no-audit", "--no-fund", "--no-save"])
        return folder

    def node_folder(self):
        """A folder in which node finds @anthropic-ai/sdk."""
        node = shutil.which("node")
        if not node:
            skip("no node here")
        version = subprocess.run([node, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
        if int(version.strip().lstrip("v").split(".")[0]) < 18:
            skip(f"node {version.strip()} is too old for the TypeScript SDK")
        return self._npm("ts", "@anthropic-ai/sdk", "^1.12.0")

    def claude(self):
        """The folder of the `claude` command. Its native program comes in a package of its platform."""
        folder = self._npm("claude", "@anthropic-ai/claude-code", "^2.1.197")
        native = sorted(folder.glob("node_modules/@anthropic-ai/claude-code-*/claude"))
        (folder / "bin").mkdir(exist_ok=True)
        for program in native:
            try:
                run = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     text=True, timeout=300, check=False)
            except OSError:
                continue
            if run.returncode == 0:
                link = folder / "bin" / "claude"
                link.unlink(missing_ok=True)
                link.symlink_to(program)
                print(f"Claude Code {run.stdout.strip()}", file=sys.stderr, flush=True)
                return folder / "bin"
        skip("no program of Claude Code runs on this machine")


# ---- the server ----

class Server:
    """`pensieve serve` on a free port of loopback, its log in a file."""

    def __init__(self, pensieve, model, *options):
        self.folder = Path(tempfile.mkdtemp(prefix="pensieve-e2e-"))
        self.log_path = self.folder / "log"
        started = time.monotonic()
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [str(pensieve), "serve", "--model", str(model_path(model)), "--port", "0", "--kv-disk", "0", *options],
                stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            self.close()
            sys.exit(f"the server did not start: {line!r}\n{self.log()}")
        self.url, self.port = found.group(0), int(found.group(1))
        self._check_that_the_port_is_ours()
        with urllib.request.urlopen(self.url + "/health", timeout=120) as answer:
            assert answer.status == 200
        self.seconds_to_ready = time.monotonic() - started

    def _check_that_the_port_is_ours(self):
        """Another server on the port would make every test pass or fail for the wrong reason."""
        if not os.path.exists("/proc/net/tcp"):
            return
        listening = {row.split()[9] for row in Path("/proc/net/tcp").read_text().splitlines()[1:]
                     if row.split()[1].endswith(f":{self.port:04X}") and row.split()[3] == "0A"}
        ours = set()
        for fd in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                found = re.match(r"socket:\[(\d+)\]", os.readlink(fd))
            except OSError:
                continue
            if found:
                ours.add(found.group(1))
        if not listening or not listening <= ours:
            self.close()
            sys.exit(f"port {self.port} belongs to another process")

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_idle(self, within_s=20):
        """True as soon as half a second passes in which the server computes nothing."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(0.5)
            if self.cpu_seconds() - before < 0.05:
                return True
        return False

    def post(self, path, body, timeout=300):
        """(status, decoded JSON, headers)"""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers

    def close(self):
        """Stops the server, which must end well."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return f"the server did not end within 20 s of SIGTERM\n{self.log()[-3000:]}"
        if self.process.stdout:
            self.process.stdout.close()
        code, log = self.process.returncode, self.log()
        shutil.rmtree(self.folder, ignore_errors=True)
        return None if code == 0 else f"the server ended with {code}\n{log[-3000:]}"


# ---- a network with nothing but loopback ----

INSIDE = "PENSIEVE_E2E_LOOPBACK_ONLY"


def enter_loopback_only():
    """Begins this program anew in a network namespace in which only loopback exists, where the system allows it."""
    if os.environ.get(INSIDE):
        return
    up = "ip link set lo up"
    for unshare in (["unshare", "-n"], ["unshare", "-rn"]):
        try:
            if subprocess.run([*unshare, "sh", "-c", up], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode == 0:
                os.environ[INSIDE] = "1"
                os.execvp(unshare[0], [*unshare, "sh", "-c", f'{up} && exec "$@"', "sh", sys.executable, *sys.argv])
        except FileNotFoundError:
            break
    print("REMARK: no network namespaces here: the client runs with the machine's network", file=sys.stderr,
          flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
