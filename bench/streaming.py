"""Streamed messages as a client sees them, and prompts of a wished length."""
import http.client
import json
import random
import socket
import threading
import time

WORDS = ("river stone lamp orchard window copper garden signal paper engine valley mirror anchor candle forest harbour "
         "button ladder needle planet").split()


def text(n_words, seed):
    r = random.Random(seed)
    return " ".join(f"{r.choice(WORDS)} {r.randint(0, 99)}" for _ in range(n_words // 2))


def prompt_of(n_tokens, seed):
    """A prompt of about so many tokens: words and numbers, which take two tokens a word."""
    return [user(text(n_tokens // 2, seed))]


def user(content):
    return {"role": "user", "content": content}


class Stream:
    """One streamed message: when its tokens came, what it said."""

    def __init__(self, server, messages, max_tokens, starts=True):
        self.server, self.stamps, self.answer, self.usage = server, [], "", {}
        self.body = json.dumps({"model": "local", "max_tokens": max_tokens, "temperature": 0, "stream": True,
                                "messages": messages})
        self.thread = self.connection = None
        if starts:
            self.run()

    def in_background(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def join(self):
        self.thread.join()
        return self

    def run(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=3600)
        self.begin = time.monotonic()
        self.connection.request("POST", "/v1/messages", self.body, {"content-type": "application/json"})
        try:
            for line in self.connection.getresponse():
                self._take(line)
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass  # aborted
        self.end = time.monotonic()
        self.connection.close()

    def _take(self, line):
        if not line.startswith(b"data: "):
            return
        event = json.loads(line[6:])
        if event["type"] == "content_block_delta":
            self.stamps.append(time.monotonic())
            self.answer += event["delta"].get("text") or ""
        if "usage" in event:
            self.usage.update(event["usage"])
        elif "usage" in event.get("message", {}):
            self.usage.update(event["message"]["usage"])

    def abort(self):
        if self.connection and self.connection.sock:
            self.connection.sock.shutdown(socket.SHUT_RDWR)

    @property
    def first(self):
        return self.stamps[0] - self.begin

    @property
    def gaps(self):
        return [b - a for a, b in zip(self.stamps, self.stamps[1:])]

    @property
    def rate(self):
        return self.usage["output_tokens"] / (self.end - self.begin)


def n_prompt(stream):
    return sum(stream.usage.get(k) or 0 for k in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))


def exact_prompt(server, n_tokens, seed):
    """The longest prompt of at most so many tokens, as Pensieve counts them."""
    n_words, found = n_tokens // 2, None
    for _ in range(8):
        messages = [user(text(n_words, seed))]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/v1/messages/count_tokens", json.dumps({"model": "local", "messages": messages}))
        n = json.loads(connection.getresponse().read())["input_tokens"]
        connection.close()
        if n <= n_tokens and (not found or n > found[0]):
            found = n, messages
        n_words = max(2, n_words + int((n_tokens - n) * n_words / n) - (n > n_tokens))
    return found[1]
