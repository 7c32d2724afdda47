"""Claude Code itself in print mode: a text answer, a file that is really written five times of five, and (long) one
turn with its full default prompt. With a home of its own, its non-essential traffic off."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import INSIDE

N_RUNS = 5


def environment(server, clients, home):
    """Nothing of the caller's own settings reaches the client."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL", "TERM", "TMPDIR")}
    kept["PATH"] = f"{clients.folder / 'claude' / 'bin'}:{kept.get('PATH', '/usr/bin:/bin')}"
    return {**kept, "HOME": str(home), "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_AUTH_TOKEN": "local",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # a small model takes the memory folder that the prompt speaks of for the place to write to
            "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
            "API_TIMEOUT_MS": "1800000", "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "1800000"}


def claude(server, clients, folder, prompt, *options, timeout=600):
    """(exit code, the result as its JSON output tells it, seconds). The prompt stands before the options, since
    --tools takes every word that follows it."""
    home = folder / "home"
    work = folder / "work"
    home.mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    start = time.monotonic()
    run = subprocess.run(["claude", "--print", prompt, "--output-format", "json", *options], cwd=work,
                         env=environment(server, clients, home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, timeout=timeout, check=False)
    seconds = time.monotonic() - start
    try:
        result = json.loads(run.stdout)
    except ValueError:
        result = {"result": run.stdout}
    if run.returncode:
        print(f"claude ended with {run.returncode}\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}", file=sys.stderr)
    return run.returncode, result, seconds


def say(ok, what):
    print(("ok      " if ok else "FAILED  ") + what, flush=True)
    return ok


def text_answer(server, clients, folder):
    code, result, seconds = claude(server, clients, folder,
                                   "What is the capital of France? Answer with one word.", "--tools", "")
    text = str(result.get("result", ""))
    return say(code == 0 and "paris" in text.lower(), f"a text answer in {seconds:.1f} s: {text[:80]!r}")


def written_file(server, clients, folder, number):
    """Another name and content each time, so that no run can live on the work of the one before. The wording is one
    that half a billion parameters understand: asked to `create a file NAME` they write to file_NAME, and a request
    that doesn't name the tool makes them edit a file that isn't there."""
    name, content = f"note{number}.txt", f"hello xyzzy{number * 37}"
    code, result, seconds = claude(
        server, clients, folder,
        f"Use the Write tool to create {name} containing the text: {content}",
        "--tools", "Bash,Read,Write,Edit", "--allowedTools", "Bash,Read,Write,Edit",
        "--permission-mode", "acceptEdits")
    path = folder / "work" / name
    got = path.read_text(errors="replace") if path.exists() else None
    ok = code == 0 and got is not None and got.strip() == content
    return say(ok, f"run {number}: {name} in {seconds:.1f} s, {result.get('num_turns')} turns, "
                   f"file {got!r}, said {str(result.get('result', ''))[:80]!r}")


def with_folder(test):
    folder = Path(tempfile.mkdtemp(prefix="pensieve-claude-"))
    try:
        return test(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(server, clients):
    print("network: " + ("loopback alone" if os.environ.get(INSIDE) else "the machine's"), flush=True)
    passed = [with_folder(lambda f: text_answer(server, clients, f))]
    passed += with_folder(lambda f: [written_file(server, clients, f, n) for n in range(1, N_RUNS + 1)])
    print(f"{sum(passed)} of {len(passed)} turns passed", flush=True)
    return 0 if all(passed) else 1


def run_full(server, clients):
    """The default prompt: about 19,000 tokens of instructions and tools before the first word."""
    def turns(folder):
        question = "What is the capital of France? Answer with one word."
        first = claude(server, clients, folder, question, timeout=3000)
        again = claude(server, clients, folder, question, timeout=3000)
        usage = first[1].get("usage", {})
        n = sum(usage.get(k) or 0 for k in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
        ok = first[0] == 0 and again[0] == 0 and n > 10000 and bool(str(first[1].get("result", "")).strip())
        return say(ok, f"full default prompt: {n} tokens, first turn {first[2]:.1f} s, the same again {again[2]:.1f} s; "
                       f"said {str(first[1].get('result', ''))[:80]!r}")
    return 0 if with_folder(turns) else 1
