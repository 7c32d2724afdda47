#!/usr/bin/env python3
"""Runs one end-to-end test against a freshly started server: run.py --pensieve PROGRAM NAME.

Exit code 77 and a loud SKIPPED when a model or a registry is out of reach. `--url` runs against a server that is
already there instead (for writing tests).
"""
import argparse
import os
import subprocess
import sys
from pathlib import Path

import claude_code
import readme
import wire
from harness import HERE, Clients, Server, enter_loopback_only, model_path


def run_python_sdk(server, clients):
    environment = dict(os.environ, PENSIEVE_URL=server.url, PENSIEVE_PID=str(server.process.pid),
                       PENSIEVE_LOG=str(server.log_path))
    return subprocess.run([clients.python(), HERE / "python_sdk.py"], env=environment, check=False).returncode


def run_typescript_sdk(server, clients):
    folder = clients.node_folder()
    script = folder / "typescript_sdk.mjs"  # node looks for packages beside the file
    script.write_bytes((HERE / "typescript_sdk.mjs").read_bytes())
    environment = dict(os.environ, PENSIEVE_URL=server.url, PENSIEVE_PID=str(server.process.pid))
    return subprocess.run(["node", "--test", "--test-reporter=spec", str(script)], cwd=folder, env=environment,
                          check=False).returncode


# name: (what runs it, does it run without a network, what it needs installed first)
TESTS = {
    "wire": (lambda server, clients: wire.run(server), False, ()),
    "python-sdk": (run_python_sdk, False, (Clients.python,)),
    "typescript-sdk": (run_typescript_sdk, False, (Clients.node_folder,)),
    "claude-code": (claude_code.run, True, (Clients.claude,)),
    "claude-code-full": (claude_code.run_full, True, (Clients.claude,)),
    "readme": (readme.run, True, (Clients.python, Clients.node_folder, Clients.claude)),
}


class Running:
    """A server that somebody else started."""

    def __init__(self, url, pid):
        self.url, self.port = url.rstrip("/"), int(url.rstrip("/").rsplit(":", 1)[1])
        self.process = argparse.Namespace(pid=pid)
        self.log_path = Path("/dev/null")

    post, cpu_seconds, is_idle, log = Server.post, Server.cpu_seconds, Server.is_idle, lambda self: ""

    def close(self):
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    # Meson says just "pensieve" for a program in its own folder: that is no name to search in PATH.
    parser.add_argument("--pensieve", type=lambda path: Path(path).resolve())
    parser.add_argument("--url")
    parser.add_argument("--pid", type=int, default=0, help="of the server at --url")
    parser.add_argument("name", choices=TESTS)
    args = parser.parse_args()
    test, without_network, needs = TESTS[args.name]

    model_path("qwen05")
    build = args.pensieve.parent if args.pensieve else Path("/tmp")
    clients = Clients(build)
    for need in needs:
        need(clients)
    if without_network and not args.url:
        enter_loopback_only()
    server = Running(args.url, args.pid) if args.url else Server(args.pensieve, "qwen05")
    status = 1
    try:
        status = test(server, clients)
    finally:
        log = server.log()
        trouble = server.close()
        if status not in (0, None):
            print("---- end of the server's log ----", log[-4000:], sep="\n", file=sys.stderr)
    if trouble:
        print(trouble, file=sys.stderr)
    sys.exit(status or (1 if trouble else 0))


if __name__ == "__main__":
    main()
