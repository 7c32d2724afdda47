"""The README's examples, as they stand there: every fenced block under a line `<!-- test: NAME -->` is run against
the server (only the port is another) and must do what it promises."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import claude_code
from harness import ROOT


def blocks():
    """{name: (language, text)}"""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- test: ([\w-]+) -->\n```(\w+)\n(.*?)\n```", text, re.DOTALL)
    if len(found) != text.count("<!-- test:"):
        sys.exit("README.md: a test label without a fenced block right under it")
    return {name: (language, body) for name, language, body in found}


def environment(server, clients, home):
    """What the example is to set itself is not set for it."""
    settings = claude_code.environment(server, clients, home)
    for name in [n for n in settings if n.startswith(("ANTHROPIC_", "CLAUDE_CODE_"))]:
        del settings[name]
    return settings


def command_of(language, body, folder, clients):
    if language in ("sh", "bash"):
        return ["bash", "-euo", "pipefail", "-c", body]
    if language == "python":
        return [clients.python(), "-c", body]
    if language in ("js", "javascript", "mjs", "ts"):
        (folder / "node_modules").symlink_to(clients.node_folder() / "node_modules")
        (folder / "hello.mjs").write_text(body, encoding="utf-8")
        return ["node", "hello.mjs"]
    sys.exit(f"README.md: nothing runs a block of {language}")


# What an example promises, beyond ending well and saying something.
PROMISES = {
    "curl": lambda out, folder: '"type":"message"' in out.replace(" ", ""),
    "curl-stream": lambda out, folder: "event: message_stop" in out,
    "claude-code": lambda out, folder: "hello" in (folder / "hello.txt").read_text().lower(),
}
EXPECTED = {"curl", "claude-code", "python-sdk", "typescript-sdk"}


def run_block(server, clients, name, language, body):
    folder = Path(tempfile.mkdtemp(prefix="pensieve-readme-"))
    work = folder / "work"
    work.mkdir()
    body = body.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    try:
        run = subprocess.run(command_of(language, body, work, clients), cwd=work, timeout=600, text=True, check=False,
                             env=environment(server, clients, folder), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            kept = PROMISES.get(name, lambda out, folder: True)(run.stdout, work)
        except OSError as error:
            kept = False
            print(error, file=sys.stderr)
        ok = run.returncode == 0 and kept and bool(run.stdout.strip())
        print(("ok      " if ok else "FAILED  ") + name, flush=True)
        if not ok:
            print(f"exit {run.returncode}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}", file=sys.stderr)
        return ok
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(server, clients):
    found = blocks()
    missing = EXPECTED - set(found)
    if missing:
        print(f"README.md has no example labelled {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    return 0 if all([run_block(server, clients, name, *block) for name, block in found.items()]) else 1
