"""The bytes on the wire, without any client: events of a stream in the documented order, errors in Anthropic's shape,
a client that vanishes. Uses the standard library alone."""
import http.client
import json
import select
import socket
import time
import unittest

SERVER = None
WEATHER = {
    "name": "get_weather",
    "description": "Returns the current weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def request(**changes):
    body = {"model": "local", "max_tokens": 20, "temperature": 0,
            "messages": [{"role": "user", "content": "Name three colours."}]}
    body.update(changes)
    return {key: value for key, value in body.items() if value is not None}


def events_of(body):
    """[(event, data)...] of a whole stream."""
    connection = http.client.HTTPConnection("127.0.0.1", SERVER.port, timeout=300)
    connection.request("POST", "/v1/messages", json.dumps({**body, "stream": True}),
                       {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    assert answer.headers["content-type"].split(";")[0] == "text/event-stream", answer.headers["content-type"]
    events = []
    for block in answer.read().decode("utf-8").split("\n\n"):
        if not block:
            continue
        event, data = block.split("\n")
        assert event.startswith("event: ") and data.startswith("data: "), block
        events.append((event[7:], json.loads(data[6:])))
    connection.close()
    return events


class Stream(unittest.TestCase):
    def test_a_text_stream_has_exactly_the_documented_events(self):
        events = events_of(request())
        names = [name for name, _ in events]
        n_deltas = names.count("content_block_delta")
        self.assertGreater(n_deltas, 1)
        self.assertEqual(names, ["message_start", "content_block_start", "ping"] + ["content_block_delta"] * n_deltas +
                         ["content_block_stop", "message_delta", "message_stop"])
        for name, data in events:
            self.assertEqual(name, data["type"])

        message = events[0][1]["message"]
        self.assertTrue(message["id"].startswith("msg_"))
        self.assertEqual((message["type"], message["role"], message["content"]), ("message", "assistant", []))
        self.assertIsNone(message["stop_reason"])
        usage = message["usage"]
        self.assertGreater(usage["input_tokens"] + (usage.get("cache_creation_input_tokens") or 0) +
                           (usage.get("cache_read_input_tokens") or 0), 20)
        self.assertEqual(events[1][1]["content_block"], {"type": "text", "text": ""})
        for _, data in events:
            if data["type"].startswith("content_block"):
                self.assertEqual(data["index"], 0)
        for _, data in events[3:-3]:
            self.assertEqual(data["delta"]["type"], "text_delta")
        end = events[-2][1]
        self.assertIn(end["delta"]["stop_reason"], ("end_turn", "max_tokens"))
        self.assertLessEqual(end["usage"]["output_tokens"], 20)
        self.assertGreater(end["usage"]["output_tokens"], 0)

    def test_a_stream_says_the_same_as_the_whole_answer(self):
        status, whole, _ = SERVER.post("/v1/messages", request(max_tokens=40))
        self.assertEqual(status, 200)
        events = events_of(request(max_tokens=40))
        text = "".join(d["delta"]["text"] for _, d in events if d["type"] == "content_block_delta")
        self.assertEqual([b["text"] for b in whole["content"]], [text])
        self.assertEqual(whole["stop_reason"], events[-2][1]["delta"]["stop_reason"])
        self.assertEqual(whole["usage"]["output_tokens"], events[-2][1]["usage"]["output_tokens"])

    def test_a_tool_stream_has_its_input_in_pieces(self):
        events = events_of(request(tools=[WEATHER], max_tokens=200, messages=[
            {"role": "user", "content": "What is the weather in Paris? Call get_weather."}]))
        starts = [d["content_block"] for _, d in events if d["type"] == "content_block_start"]
        tools = [b for b in starts if b["type"] == "tool_use"]
        self.assertEqual([b["name"] for b in tools], ["get_weather"], events)
        self.assertEqual(tools[0]["input"], {})
        self.assertTrue(tools[0]["id"].startswith("toolu_"))
        pieces = [d["delta"]["partial_json"] for _, d in events
                  if d["type"] == "content_block_delta" and d["delta"]["type"] == "input_json_delta"]
        self.assertIn("paris", json.loads("".join(pieces))["city"].lower())
        self.assertEqual(events[-2][1]["delta"]["stop_reason"], "tool_use")
        self.assertEqual(len(starts), [n for n, _ in events].count("content_block_stop"))


class Refusal(unittest.TestCase):
    def refused(self, body, status, kind, part):
        got, answer, headers = SERVER.post("/v1/messages", body)
        self.assertEqual(got, status, answer)
        self.assertEqual(answer["type"], "error")
        self.assertEqual(answer["error"]["type"], kind)
        self.assertIn(part, answer["error"]["message"])
        self.assertTrue(headers["request-id"].startswith("req_"))
        self.assertEqual(answer["request_id"], headers["request-id"])

    def test_missing_and_wrong_fields_are_named(self):
        self.refused(request(max_tokens=None), 400, "invalid_request_error", "max_tokens")
        self.refused(request(messages=None), 400, "invalid_request_error", "messages")
        self.refused(request(temperature="hot"), 400, "invalid_request_error", "temperature")
        self.refused(request(messages=[{"role": "robot", "content": "x"}]), 400, "invalid_request_error", "role")
        self.refused([1, 2], 400, "invalid_request_error", "")

    def test_a_body_that_is_not_json(self):
        connection = http.client.HTTPConnection("127.0.0.1", SERVER.port, timeout=300)
        connection.request("POST", "/v1/messages", '{"model": ', {"content-type": "application/json"})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 400)
        self.assertEqual(json.load(answer)["error"]["type"], "invalid_request_error")

    def test_a_prompt_longer_than_the_context(self):
        body = request(messages=[{"role": "user", "content": "word " * 40000}])
        got, answer, _ = SERVER.post("/v1/messages", body)
        self.assertEqual(got, 400)
        self.assertRegex(answer["error"]["message"], r"^prompt is too long: \d+ tokens > \d+ maximum$")

    def test_an_unknown_path(self):
        got, answer, _ = SERVER.post("/v1/nothing", {})
        self.assertEqual((got, answer["error"]["type"]), (404, "not_found_error"))


def raw(data, half_closed=False):
    """What comes back for these bytes until the server closes."""
    with socket.create_connection(("127.0.0.1", SERVER.port), timeout=300) as s:
        s.sendall(data)
        if half_closed:
            s.shutdown(socket.SHUT_WR)
        got = b""
        while piece := s.recv(65536):
            got += piece
        return got


def post(body, more=""):
    return (f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


class Http(unittest.TestCase):
    def test_a_half_closed_request_is_answered(self):
        for stream, last in ((False, b"stop_reason"), (True, b"message_stop")):
            got = raw(post(json.dumps(request(stream=stream, max_tokens=60)).encode()), half_closed=True)
            self.assertIn(b"HTTP/1.1 200 OK", got)
            self.assertIn(last, got)

    def test_a_byte_order_mark_says_nothing(self):
        self.assertIn(b"200 OK", raw(post(b"\xef\xbb\xbf" + json.dumps(request(max_tokens=1)).encode())))

    def test_what_is_not_http_is_refused_in_shape(self):
        for more in ("Content-Length: 3\r\n", "Content-Length: -1\r\n"):
            head, body = raw(post(b"{}", more)).split(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 400"), head)
            self.assertEqual(json.loads(body)["error"]["type"], "invalid_request_error")

    def test_errors_of_the_server_have_the_types_of_the_api(self):
        for method, path, headers, status, kind in (
                ("PUT", "/v1/messages", {}, 405, "invalid_request_error"),
                ("GET", "/nothing", {}, 404, "not_found_error"),
                ("GET", "/health", {"Origin": "https://evil.example"}, 403, "permission_error"),
                ("POST", "/v1/messages", {"Content-Encoding": "gzip"}, 415, "invalid_request_error")):
            connection = http.client.HTTPConnection("127.0.0.1", SERVER.port, timeout=300)
            connection.request(method, path, b"x" if method != "GET" else None, headers)
            answer = connection.getresponse()
            self.assertEqual((answer.status, json.load(answer)["error"]["type"]), (status, kind))
            connection.close()

    def test_a_page_of_an_editor_may_ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", SERVER.port, timeout=300)
        origin = {"Origin": "vscode-webview://1a2b"}
        connection.request("OPTIONS", "/v1/messages", headers={**origin, "Access-Control-Request-Method": "POST",
                                                               "Access-Control-Request-Headers": "content-type"})
        answer = connection.getresponse()
        answer.read()
        self.assertEqual((answer.status, answer.headers["Access-Control-Allow-Headers"]), (204, "content-type"))
        connection.request("POST", "/v1/messages", json.dumps(request(max_tokens=1)), origin)
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.headers["Access-Control-Allow-Origin"]), (200, origin["Origin"]))
        answer.read()
        connection.close()


class Usage(unittest.TestCase):
    def test_count_tokens_equals_the_real_input(self):
        body = request(system="Answer briefly.", tools=[WEATHER], max_tokens=1, messages=[
            {"role": "user", "content": [{"type": "text", "text": "Bonjour à tous! 你好"}]},
            {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And now?"}])
        _, counted, _ = SERVER.post("/v1/messages/count_tokens",
                                    {k: v for k, v in body.items() if k not in ("max_tokens", "temperature")})
        for _ in range(2):  # the second one comes from the cache
            _, answer, _ = SERVER.post("/v1/messages", body)
            usage = answer["usage"]
            self.assertEqual(counted["input_tokens"], usage["input_tokens"] +
                             (usage.get("cache_creation_input_tokens") or 0) + (usage.get("cache_read_input_tokens") or 0))

    def test_a_prefix_is_not_computed_again(self):
        text = "The quick brown fox jumps over the lazy dog. " * 40
        first = request(max_tokens=1, messages=[{"role": "user", "content": text + "One?"}])
        second = request(max_tokens=1, messages=[{"role": "user", "content": text + "Two?"}])
        SERVER.post("/v1/messages", first)
        _, answer, _ = SERVER.post("/v1/messages", second)
        self.assertGreater(answer["usage"]["cache_read_input_tokens"], 300)
        self.assertLess(answer["usage"]["input_tokens"], 100)


class Vanishing(unittest.TestCase):
    def test_large_bodies_do_not_hold_up_small_ones(self):
        large = json.dumps(request(messages=[{"role": "user", "content": "word " * 4_500_000}])).encode()
        sockets = [socket.create_connection(("127.0.0.1", SERVER.port), timeout=300) for _ in range(2)]
        for s in sockets:
            s.sendall(post(large).replace(b"/v1/messages", b"/v1/messages/count_tokens", 1))
        slowest = 0
        while not select.select(sockets, [], [], 0.05)[0]:
            for method, path, body in (("GET", "/metrics", None), ("GET", "/v1/models", None),
                                       ("POST", "/v1/messages/count_tokens", json.dumps(request()))):
                start = time.time()
                connection = http.client.HTTPConnection("127.0.0.1", SERVER.port, timeout=300)
                connection.request(method, path, body)
                self.assertEqual(connection.getresponse().status, 200)
                connection.close()
                slowest = max(slowest, time.time() - start)
        self.assertLess(slowest, 5, "a small request waited for large ones")
        self.assertGreater(slowest, 0, "the large ones were done at once")
        for s in sockets:
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200"))
            s.close()

    def test_a_client_that_vanishes_stops_its_generation(self):
        body = json.dumps(request(max_tokens=8000, stream=True, messages=[
            {"role": "user", "content": "Write a very long story about a lighthouse, with many chapters."}])).encode()
        with socket.create_connection(("127.0.0.1", SERVER.port), timeout=300) as s:
            s.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            got = b""
            while b"content_block_delta" not in got:
                piece = s.recv(4096)
                self.assertTrue(piece, got)
                got += piece
            before = SERVER.cpu_seconds()
            time.sleep(0.3)
            self.assertGreater(SERVER.cpu_seconds() - before, 0.1, "it should be generating now")
        self.assertTrue(SERVER.is_idle(), "it went on computing for a client that is gone")

    def test_a_client_that_vanishes_while_its_prompt_is_read(self):
        text = " ".join(f"item {i} costs {i * 7 % 1000} coins," for i in range(1500))
        body = json.dumps(request(max_tokens=10, messages=[{"role": "user", "content": text}])).encode()
        with socket.create_connection(("127.0.0.1", SERVER.port), timeout=300) as s:
            s.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            time.sleep(1.5)
        self.assertTrue(SERVER.is_idle(), "it went on reading the prompt of a client that is gone")


def run(server):
    global SERVER
    SERVER = server
    suite = unittest.defaultTestLoader.loadTestsFromModule(__import__("wire"))
    return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1
