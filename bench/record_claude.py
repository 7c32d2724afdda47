#!/usr/bin/env python3
"""Records Claude Code's default first prompt, for bench/compare --claude-body: record_claude.py OUT.json.

Runs the real client (fetched from its registry as the end-to-end tests do, into --clients) in print mode with all its
default tools, in a network of loopback alone, against a server here that keeps the request and answers one word. The
request tells of the folder and the day it was recorded: it isn't the same twice, and none is kept in the repository.
"""
import argparse
import json
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "e2e"))
sys.dont_write_bytecode = True
import claude_code  # noqa: E402
from harness import Clients, enter_loopback_only  # noqa: E402

EVENTS = (
    ("message_start", {"message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "local",
                                   "content": [], "stop_reason": None, "stop_sequence": None,
                                   "usage": {"input_tokens": 1, "output_tokens": 1}}}),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Paris"}}),
    ("content_block_stop", {"index": 0}),
    ("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 1}}),
    ("message_stop", {}),
)


class Recorder(BaseHTTPRequestHandler):
    bodies = []

    def log_message(self, *_):
        pass

    def _answer(self, kind, content):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self):
        self._answer("application/json", b"{}")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if "count_tokens" in self.path or "/messages" not in self.path:
            self._answer("application/json", b'{"input_tokens": 1}')
            return
        self.bodies.append(body)
        lines = (f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n" for name, data in EVENTS)
        self._answer("text/event-stream", "".join(lines).encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clients", type=Path, default=HERE.parent / "build", help="where the client is kept")
    args = parser.parse_args()
    clients = Clients(args.clients)
    clients.claude()
    enter_loopback_only()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}")
    with tempfile.TemporaryDirectory(prefix="pensieve-claude-", ignore_cleanup_errors=True) as folder:
        claude_code.claude(address, clients, Path(folder), "What is the capital of France? Answer with one word.")
    server.shutdown()
    if not Recorder.bodies:
        sys.exit("the client sent no message")
    body = max(Recorder.bodies, key=len)
    args.out.write_bytes(body)
    tools = json.loads(body).get("tools", [])
    print(f"{args.out}: {len(body)} bytes, {len(tools)} tools")
    return 0


if __name__ == "__main__":
    sys.exit(main())
