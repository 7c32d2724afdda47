#!/usr/bin/env python3
"""What Claude Code's requests cost that share a beginning: claude_trace.py --model qwen05 --clients FOLDER [--out FILE].

The real client, interactive, in a network of loopback alone: its first prompt sends two requests at the same moment, the
title's and the main one of some 20 thousand tokens; then a second turn; then the server is killed (SIGKILL) and started
again, and a third turn follows. The server's log says of each request how many tokens were there already. Answers are cut
at --tokens, whereupon the client asks the model to go on: those requests belong to the trace.
"""
import argparse
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "e2e"))
sys.dont_write_bytecode = True
import claude_code  # noqa: E402
from harness import Clients, enter_loopback_only, model_path  # noqa: E402

QUIET_SECONDS = 6
TURNS = ("What is the capital of France? Answer with one word.", "And that of Spain? One word.", "And that of Italy? One word.")
REQUEST = re.compile(r"POST /v1/messages\S* (\d+), .*")


class Trace:
    """`pensieve serve` on one port, whose log goes on over restarts."""

    def __init__(self, pensieve, model, home):
        self.command = [str(pensieve), "serve", "--model", str(model_path(model)), "--ctx", "32768"]
        self.home, self.log_path, self.port, self.process = home, home / "log", 0, None
        self.start()

    def start(self):
        begin = time.monotonic()
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen([*self.command, "--port", str(self.port)], stdout=subprocess.PIPE, stderr=log,
                                            text=True, env={**os.environ, "PENSIEVE_HOME": str(self.home)})
        self.url = re.search(r"http://127\.0\.0\.1:\d+", self.process.stdout.readline()).group(0)
        self.port = int(self.url.rpartition(":")[2])
        return time.monotonic() - begin

    def requests(self):
        return REQUEST.findall(self.log_path.read_text())

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Terminal:
    """Claude Code on a terminal of its own."""

    def __init__(self, server, clients, folder, n_tokens):
        home, work = folder / "home", folder / "work"
        (home / ".claude").mkdir(parents=True)
        work.mkdir()
        (home / ".claude" / ".claude.json").write_text(json.dumps({
            "hasCompletedOnboarding": True, "theme": "dark", "numStartups": 3,
            "projects": {str(work): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}}}))
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 140, 0, 0))
        self.seen = b""
        environment = {**claude_code.environment(server, clients, home), "TERM": "xterm-256color",
                       "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(n_tokens)}
        self.process = subprocess.Popen(["claude"], cwd=work, env=environment, stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True)
        os.close(slave)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while part := os.read(self.master, 65536):
                self.seen += part
        except OSError:
            pass

    def type(self, text):
        os.write(self.master, text.encode())
        time.sleep(1)
        os.write(self.master, b"\r")

    def close(self):
        self.process.terminate()
        self.process.wait()


def wait_until_quiet(server, n_before, seconds=900):
    """Returns when a request was answered since and nothing has computed for a while."""
    deadline, since, last = time.monotonic() + seconds, time.monotonic(), None
    while time.monotonic() < deadline:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        now = (len(server.requests()), fields[11], fields[12])
        if now != last:
            last, since = now, time.monotonic()
        elif now[0] > n_before and time.monotonic() - since > QUIET_SECONDS:
            return
        time.sleep(0.5)
    sys.exit(f"no end within {seconds} s:\n{server.log_path.read_text()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen05", help="as the end-to-end tests name it (default: qwen05)")
    parser.add_argument("--clients", type=Path, default=HERE.parent / "build", help="where the client is kept")
    parser.add_argument("--pensieve", type=Path, default=HERE.parent / "build" / "pensieve")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--out", type=Path, help="a file for the trace, too")
    args = parser.parse_args()
    clients = Clients(args.clients)
    clients.claude()
    enter_loopback_only()
    lines = []

    def tell(line):
        lines.append(line)
        print(line, flush=True)

    def turn(text):
        tell(f"\n> {text}")
        n = len(server.requests())
        n_bytes = len(server.log_path.read_text())
        terminal.type(text)
        wait_until_quiet(server, n)
        for line in server.log_path.read_text()[n_bytes:].splitlines():
            if REQUEST.search(line):
                tell(re.sub(r" \(req_\w+\)", "", line[line.index("POST"):]))

    with tempfile.TemporaryDirectory(prefix="pensieve-trace-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        server = Trace(args.pensieve, args.model, folder)
        terminal = Terminal(server, clients, folder, args.tokens)
        try:
            time.sleep(8)
            turn(TURNS[0])
            turn(TURNS[1])
            server.kill()
            tell(f"\nthe server was killed and started again in {server.start():.2f} s")
            turn(TURNS[2])
        except SystemExit:
            print(terminal.seen.decode(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            terminal.close()
            server.kill()
    if args.out:
        args.out.write_text("\n".join(lines).lstrip("\n") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
