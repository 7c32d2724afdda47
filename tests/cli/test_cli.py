"""The command as a user meets it: exit codes, messages, help, Ctrl-C.

Usage: test_cli.py BINARY [model]. With "model" the tests that need SmolLM2 (see
PENSIEVE_TEST_MODELS), else those that need no model."""

import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

BINARY = sys.argv[1]
COMMANDS = ["serve", "run", "pull", "list", "rm", "show", "tokenize", "memory", "bench"]
SMOL = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOL_TOKEN_BYTES = 30 * 3 * 64 * 2 * 2  # of keys and values: layers, heads, their size, both, f16
PATIENCE = 240  # seconds that anything may take on a machine that is slow, or does other things, too


def written_bytes(home):
    """Of the KV store's files, which are longer than what was written to them."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(home) for name in names]
    return sum(os.stat(path).st_blocks * 512 for path in paths)


def until(holds):
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it does not come to pass"
        time.sleep(0.05)


def model_path():
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    home = os.environ.get("PENSIEVE_HOME") or os.path.join(data, "pensieve")
    folder = os.environ.get("PENSIEVE_TEST_MODELS") or os.path.join(home, "models")
    return os.path.join(folder, SMOL)


def run(*args, store=None, text=None, timeout=PATIENCE):
    env = dict(os.environ)
    if store is not None:
        env["PENSIEVE_HOME"] = store
    return subprocess.run(
        [BINARY, *args],
        env=env,
        input=text if text is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class WithoutModel(unittest.TestCase):
    def assert_usage_error(self, *args):
        r = run(*args)
        self.assertEqual(r.returncode, 2, r)
        self.assertEqual(r.stdout, "")
        self.assertEqual(r.stderr.count("\n"), 1, r.stderr)
        self.assertIn("--help", r.stderr)
        return r.stderr

    def test_no_command_shows_the_usage(self):
        r = run()
        self.assertEqual(r.returncode, 2)
        self.assertEqual(r.stdout, "")
        self.assertTrue(r.stderr.startswith("usage: pensieve"))

    def test_help(self):
        for word in ["--help", "-h", "help"]:
            r = run(word)
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            for command in COMMANDS:
                self.assertIn("  " + command, r.stdout)
        for command in COMMANDS:
            r = run(command, "--help")
            self.assertEqual((r.returncode, r.stderr), (0, ""), command)
            self.assertTrue(r.stdout.startswith("usage: pensieve " + command), r.stdout)
            self.assertTrue(all(len(line) <= 100 for line in r.stdout.splitlines()), r.stdout)

    def test_version(self):
        r = run("--version")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        self.assertRegex(r.stdout, r"^pensieve \d+\.\d+\.\d+\n")
        for word in ["cpu", "libmicrohttpd", "jansson", "pcre2"]:
            self.assertIn(word, r.stdout)

    def test_wrong_command_lines(self):
        self.assertIn("'fly'", self.assert_usage_error("fly"))
        self.assertIn("'--fly'", self.assert_usage_error("--fly"))
        for command in ["serve", "run", "list", "bench"]:
            self.assertIn("'--fly'", self.assert_usage_error(command, "--fly"))
        for option in [
            ["--port", "65536"],
            ["--port", "http"],
            ["--port"],
            ["--threads", "0"],
            ["--temperature", "hot"],
            ["--top-p", "2"],
            ["--log-level", "loud"],
            ["--kv-type", "f64"],
            ["--kv-memory", "much"],
            ["--kv-memory", "99999999T"],
            ["--kv-disk", "-1"],
            ["extra"],
        ]:
            self.assert_usage_error("serve", *option)
        self.assert_usage_error("run")
        self.assert_usage_error("run", "--raw", "--system", "x", "model", "prompt")
        self.assert_usage_error("bench")
        for option in [["-p", "12,x"], ["-s", "0"], ["-s", ""], ["-s", "65"], ["-m", "512"], ["-d", ""]]:
            self.assert_usage_error("bench", *option, "model")

    def assert_failure(self, r, *words):
        self.assertEqual(r.returncode, 1, r)
        self.assertEqual(r.stdout, "")
        self.assertEqual(r.stderr.count("\n"), 1, r.stderr)
        for word in words:
            self.assertIn(word, r.stderr)

    def test_no_model(self):
        with tempfile.TemporaryDirectory() as store:
            self.assert_failure(run("serve", "--port", "0", store=store), "pensieve pull")
            for args in [
                ["serve", "--model", "no-such"],
                ["run", "no-such", "hi"],
                ["bench", "no-such"],
            ]:
                self.assert_failure(run(*args, store=store), "no-such")
            self.assert_failure(run("run", "smollm2-135m", "hi", store=store), "pensieve pull")

    def test_broken_model_files(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in [
                ("empty", b""),
                ("text", b"hello " * 99),
                ("cut", b"GGUF\x03\0\0\0\x05"),
            ]:
                path = os.path.join(folder, name + ".gguf")
                with open(path, "wb") as file:
                    file.write(content)
                for args in [
                    ["serve", "--port", "0", "--model", path],
                    ["run", path, "hi"],
                    ["bench", path],
                ]:
                    self.assert_failure(run(*args), path)

    def test_list(self):
        with tempfile.TemporaryDirectory() as store:
            r = run("list", store=store)
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            self.assertRegex(r.stdout, r"qwen2.5-coder-0.5b +491 MB +0.9 GB +32k +yes +- +Apache-2.0")
            self.assertRegex(r.stdout, r"phi-3-mini-128k +\? +\? +128k +no +- +MIT .*not tried here")
            self.assertIn("store: " + store + "/models", r.stdout)
            os.mkdir(os.path.join(store, "models"))
            for name in ["mine.gguf", "notes.txt"]:
                with open(os.path.join(store, "models", name), "wb") as file:
                    file.write(b"x" * 3000000)
            os.mkdir(os.path.join(store, "models", "folder"))
            for name in ["config.json", "model.safetensors"]:
                with open(os.path.join(store, "models", "folder", name), "wb") as file:
                    file.write(b"x" * 3000000)
            r = run("list", store=store)
            self.assertRegex(r.stdout, r"mine.gguf +3 MB +yes")
            self.assertRegex(r.stdout, r"folder +3 MB +yes +\? +a folder")
            self.assertNotIn("notes.txt", r.stdout)
            for name in ["mine", "folder"]:
                r = run("rm", name, store=store)
                self.assertEqual((r.returncode, r.stderr), (0, ""))
                self.assertIn(os.path.join(store, "models", name), r.stdout)
            self.assertEqual(os.listdir(os.path.join(store, "models")), ["notes.txt"])
            self.assert_failure(run("rm", "mine", store=store), "mine", "pensieve list")
            self.assert_usage_error("rm")


class Serving:
    """A running `pensieve serve`, with what it wrote when it was ready. `home`: where it keeps prefixes on disk."""

    def __init__(self, *args, port="0", home=None):
        disk = ["--kv-disk", "1G"] if home else ["--kv-disk", "0"]
        self.process = subprocess.Popen(
            [BINARY, "serve", "--model", model_path(), "--port", port, *disk, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PENSIEVE_HOME": home} if home else None,
        )
        self.lines = [self.process.stdout.readline() for _ in range(3)]
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.lines[0])
        assert found, (self.lines, self.process.stderr.read())
        self.port = int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def ask(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        c.request(method, path, json.dumps(body) if body is not None else None)
        r = c.getresponse()
        answer = (r.status, json.loads(r.read()))
        c.close()
        return answer

    def stop(self, number):
        """Sends a signal; returns (exit code, standard error)."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err

    def open_stream(self, max_tokens=100000):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        body = json.dumps(
            {
                "model": "any",
                "max_tokens": max_tokens,
                "stream": True,
                "temperature": 1,
                "messages": [{"role": "user", "content": "Tell a very long story."}],
            }
        )
        head = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        s.sendall((head % len(body) + body).encode())
        got = b""
        while got.count(b"content_block_delta") < 3:
            part = s.recv(65536)
            assert part, got
            got += part
        return s


HI = {
    "model": "any",
    "max_tokens": 8,
    "temperature": 0,
    "messages": [{"role": "user", "content": "Say hi."}],
}


class WithModel(unittest.TestCase):
    def test_run_streams_an_answer_the_same_each_time(self):
        question = "Why is the sky blue?"
        args = ["run", model_path(), question, "--temperature", "0", "-n", "12"]
        first, second = run(*args), run(*args)
        self.assertEqual((first.returncode, first.stderr), (0, ""))
        self.assertGreater(len(first.stdout.split()), 3)
        self.assertTrue(first.stdout.endswith("\n"))
        self.assertEqual(first.stdout, second.stdout)
        from_stdin = run(*args[:2], "-", *args[3:], text=question)
        self.assertEqual(from_stdin.stdout, first.stdout)
        verbose = run(*args, "--verbose")
        self.assertEqual(verbose.stdout, first.stdout)
        self.assertRegex(verbose.stderr, r"^prompt \d+ tokens in .*\n$")

    def test_run_takes_a_seed_a_system_prompt_and_raw_text(self):
        args = ["run", model_path(), "Write a poem.", "--temperature", "1", "-n", "20", "--seed"]
        self.assertEqual(run(*args, "7").stdout, run(*args, "7").stdout)
        self.assertNotEqual(run(*args, "7").stdout, run(*args, "8").stdout)
        greedy = [*args[:3], "--temperature", "0", "-n", "20"]
        french = run(*greedy, "--system", "You only speak French.")
        self.assertNotEqual(french.stdout, run(*greedy).stdout)
        text = "The capital of France is"
        raw = run("run", "--raw", model_path(), text, "--temperature", "0", "-n", "4")
        self.assertIn("Paris", raw.stdout)

    def test_run_refuses_a_prompt_longer_than_the_context(self):
        r = run("run", model_path(), "word " * 100, "--ctx", "64")
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, r"prompt is too long: \d+ tokens > \d+ maximum")

    def assert_stops(self, number, code):
        p = subprocess.Popen(
            [BINARY, "run", model_path(), "Tell a very long story.", "--temperature", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.assertTrue(p.stdout.read(1))
        begin = time.monotonic()
        p.send_signal(number)
        _, err = p.communicate(timeout=PATIENCE)
        self.assertEqual((p.returncode, err), (code, b""))

    def test_run_stops_at_a_signal(self):
        self.assert_stops(signal.SIGINT, 130)
        self.assert_stops(signal.SIGTERM, 143)

    def test_run_stops_when_nobody_reads(self):
        p = subprocess.Popen(
            [BINARY, "run", model_path(), "Tell a very long story.", "--temperature", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.assertTrue(p.stdout.read(1))
        p.stdout.close()
        self.assertEqual((p.wait(timeout=PATIENCE), p.stderr.read()), (141, b""))  # as SIGPIPE would end it
        p.stderr.close()

    def test_the_tier_comes_from_the_option_or_the_environment(self):
        args = ["bench", model_path(), "-p", "2", "-n", "1", "-b", "2", "-r", "1"]

        def backend(*more):
            r = run(*args, "--json", *more)
            return r.stderr or json.loads(r.stdout)["backend"]

        self.assertIn("cpu c, 1 thread", backend("--cpu", "c", "-t", "1", "--pin"))
        with unittest.mock.patch.dict(os.environ, PENSIEVE_CPU="abacus"):
            self.assertRegex(backend(), r"PENSIEVE_CPU: there is no CPU tier 'abacus'")
            self.assertIn("cpu c, ", backend("--cpu", "c"))
        with unittest.mock.patch.dict(os.environ, PENSIEVE_CPU="c"):
            self.assertIn("cpu c, ", backend())
        with unittest.mock.patch.dict(os.environ, PENSIEVE_CPU=""):
            self.assertIn("cpu ", backend())

    @unittest.skipUnless(os.path.exists("/proc/self/schedstat"), "the system does not tell")
    def test_an_idle_server_uses_no_cpu(self):
        def cpu_seconds(pid):
            tasks = "/proc/%d/task/" % pid
            ns = 0
            for task in os.listdir(tasks):
                with open(tasks + task + "/schedstat") as file:
                    ns += int(file.read().split()[0])
            return ns * 1e-9

        def uses_none(pid):
            before = cpu_seconds(pid)
            time.sleep(2)
            return cpu_seconds(pid) - before < 0.005 * 2

        with Serving("--threads", "4") as s:
            for _ in range(2):  # as it started, and after an answer
                until(lambda: uses_none(s.process.pid))
                self.assertEqual(s.ask("POST", "/v1/messages", HI)[0], 200)

    def test_serve_says_three_lines_answers_and_stops(self):
        for number in [signal.SIGINT, signal.SIGTERM]:
            with Serving() as s:
                url = "http://127.0.0.1:%d" % s.port
                self.assertIn(url, s.lines[0])
                line = "ANTHROPIC_BASE_URL=%s ANTHROPIC_AUTH_TOKEN=local claude" % url
                self.assertIn(line, s.lines[1])
                self.assertIn("Ctrl-C", s.lines[2])
                self.assertEqual(s.ask("GET", "/health"), (200, {"status": "ok"}))
                status, answer = s.ask("POST", "/v1/messages?beta=true", HI)
                self.assertEqual((status, answer["type"]), (200, "message"))
                code, err = s.stop(number)
                self.assertEqual(code, 0)
                line = r"POST /v1/messages 200, \d+ ms, \d+ tokens in, \d+ of them cached, \d+ out"
                self.assertRegex(err, line)

    def test_serve_stops_in_the_middle_of_answers(self):
        with Serving() as s:
            streams = [s.open_stream() for _ in range(3)]
            begin = time.monotonic()
            code, _ = s.stop(signal.SIGINT)
            self.assertEqual(code, 0)
            self.assertLess(time.monotonic() - begin, 30)  # they would have gone on for minutes
            for stream in streams:
                stream.close()

    def test_a_killed_server_begins_with_what_it_knew(self):
        body = {
            "model": "any",
            "max_tokens": 12,
            "temperature": 0,
            "messages": [{"role": "user", "content": "one two three four five " * 60 + "Go on."}],
        }
        with tempfile.TemporaryDirectory() as home:
            with Serving(home=home) as s:
                status, first = s.ask("POST", "/v1/messages", body)
                self.assertEqual(status, 200)
                self.assertEqual(first["usage"]["cache_read_input_tokens"], 0)
                n_bytes = first["usage"]["input_tokens"] // 64 * 64 * SMOL_TOKEN_BYTES
                until(lambda: written_bytes(home) >= n_bytes)
                time.sleep(0.5)  # a page's own entry comes last
                with Serving(home=home) as second:  # two at once: the second does without
                    self.assertEqual(second.ask("POST", "/v1/messages", body)[1]["content"], first["content"])
                s.process.kill()
                s.process.wait()
            with Serving(home=home) as s:
                status, again = s.ask("POST", "/v1/messages", body)
                self.assertEqual(again["content"], first["content"])
                n_prompt = first["usage"]["input_tokens"]
                self.assertGreaterEqual(again["usage"]["cache_read_input_tokens"], n_prompt - n_prompt % 64 - 64)
                body["messages"] += [
                    {"role": "assistant", "content": again["content"]},
                    {"role": "user", "content": "And then?"},
                ]
                turn = s.ask("POST", "/v1/messages", body)[1]["usage"]
                self.assertGreaterEqual(turn["cache_read_input_tokens"], n_prompt - 1)

    def test_serve_refuses_a_taken_port(self):
        with Serving() as s:
            r = run("serve", "--model", model_path(), "--port", str(s.port))
            self.assertEqual(r.returncode, 1)
            self.assertIn("port %d is already in use" % s.port, r.stderr)
            self.assertEqual(s.ask("GET", "/health")[0], 200)

    def test_serve_refuses_addresses_of_others(self):
        r = run("serve", "--model", model_path(), "--port", "0", "--host", "0.0.0.0")
        self.assertEqual(r.returncode, 2)
        self.assertIn("--allow-remote", r.stderr)

    def test_a_client_that_leaves_ends_its_generation(self):
        with Serving("--threads", "1") as s:
            status, answer = s.ask("POST", "/v1/messages", HI)
            self.assertEqual(status, 200)
            begin = time.monotonic()
            for _ in range(6):
                s.open_stream().close()
            until(lambda: not self.n_requests(s))
            # each would have gone on to the end of its context of 8192 tokens
            n_generated = self.metrics(s)["pensieve_tokens_generated_total"]
            self.assertLess(n_generated, 6 * 8192 / 4, time.monotonic() - begin)
            _, err = s.stop(signal.SIGINT)
            closed = re.findall(r"(\d+) tokens in, .*the connection closed", err)
            # a client that has its whole answer may close before the server looks again
            theirs = [n for n in closed if int(n) != answer["usage"]["input_tokens"]]
            self.assertEqual(len(theirs), 6, err)

    def test_a_client_that_leaves_before_its_answer_ends_its_generation(self):
        with Serving() as s:
            for i in range(3):
                c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=PATIENCE)
                # a prompt that takes seconds to read: a short one may be answered before the client leaves
                long = [{"role": "user", "content": f"{i} " + "word " * 6000}]
                c.request("POST", "/v1/messages", json.dumps(dict(HI, messages=long)))
                until(lambda: self.metrics(s)['pensieve_kv_bytes{state="running"}'])
                c.close()
                until(lambda: not self.n_requests(s))  # no pages alone may be a pause (hostile.h)
            _, err = s.stop(signal.SIGINT)
            self.assertEqual(len(re.findall(r"POST /v1/messages 499, \d+ ms", err)), 3, err)

    def n_requests(self, server):
        m = self.metrics(server)
        return sum(m['pensieve_requests{state="%s"}' % state] for state in ("running", "waiting"))

    def metrics(self, server):
        c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        c.request("GET", "/metrics")
        r = c.getresponse()
        self.assertEqual(r.status, 200)
        self.assertTrue(r.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        text = r.read().decode()
        c.close()
        return {k: int(v) for k, v in re.findall(r"^(pensieve_\S+) (\d+)$", text, re.M)}

    @unittest.skipUnless(os.path.exists("/proc/self/pagemap"), "the system does not tell")
    def test_the_memory_bill_is_the_whole_memory(self):
        with Serving() as s:
            url = "http://127.0.0.1:%d" % s.port
            long = {"role": "user", "content": "All work and no play. " * 200}
            for body in [HI, dict(HI, messages=[long], max_tokens=40)]:
                self.assertEqual(s.ask("POST", "/v1/messages", body)[0], 200)
            until(lambda: not self.n_requests(s))  # an answer is out before its request has ended
            m = self.metrics(s)
            with open("/proc/%d/status" % s.process.pid) as file:
                resident = int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) * 1024
            kinds = {k: v for k, v in m.items() if k.startswith("pensieve_memory_bytes")}
            self.assertEqual(len(kinds), 6)
            self.assertTrue(all(kinds.values()), kinds)
            self.assertAlmostEqual(sum(kinds.values()) / resident, 1, delta=0.05, msg=(kinds, resident))
            self.assertAlmostEqual(m["pensieve_resident_bytes"] / resident, 1, delta=0.02)
            # 1200 tokens in pages of 64, 45 KiB a token
            self.assertGreater(m['pensieve_kv_bytes{state="kept"}'], 1000 * 30 * 3 * 64 * 2 * 2)
            self.assertEqual(m['pensieve_kv_bytes{state="running"}'], 0)
            self.assertEqual(m["pensieve_requests_total"], 2)
            r = run("memory", "--url", url + "/")
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            for word in ["all", "weights", "KV pages", "activations", "heap", "KV kept", "KV on disk"]:
                self.assertRegex(r.stdout, r"(?m)^%s +\d+\.\d MiB" % word)
        r = run("memory", "--url", url)
        self.assertEqual((r.returncode, r.stdout), (1, ""))
        self.assertIn("no server tells at %s/metrics" % url, r.stderr)

    def test_fifty_clients_at_once_all_get_answers(self):
        with Serving() as s:
            body = dict(HI, max_tokens=2)
            alone = s.ask("POST", "/v1/messages", body)[1]["content"]
            with concurrent.futures.ThreadPoolExecutor(50) as pool:
                answers = list(pool.map(lambda _: s.ask("POST", "/v1/messages", body), range(50)))
            self.assertEqual([status for status, _ in answers], [200] * 50)
            self.assertTrue(all(answer["content"] == alone for _, answer in answers))

    def test_bench(self):
        r = run("bench", model_path(), "-p", "32", "-n", "4", "-d", "0,16", "-r", "2", "--json")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        results = json.loads(r.stdout)["results"]
        self.assertEqual(
            [(t["test"], t["tokens"], t["depth"]) for t in results],
            [("prompt", 32, 0), ("generate", 4, 0), ("prompt", 32, 16), ("generate", 4, 16)],
        )
        self.assertTrue(all(t["tokens_per_second"] > 0 for t in results))
        r = run("bench", model_path(), "-p", "", "-n", "2", "-s", "1,3", "-m", "9", "-r", "1", "--json")
        self.assertEqual(
            [(t["test"], t["tokens"], t["sequences"]) for t in json.loads(r.stdout)["results"]],
            [("generate", 2, 1), ("generate", 2, 3), ("mixed", 9, 2)],
        )
        self.assertIn("generate", run("bench", model_path(), "-p", "", "-n", "2", "-r", "1").stdout)
        self.assertEqual(run("bench", model_path(), "-p", "1000000").returncode, 2)


if __name__ == "__main__":
    wanted = WithModel if sys.argv[2:] == ["model"] else WithoutModel
    if wanted is WithModel and not os.path.exists(model_path()):
        print("SKIPPED: %s is missing (pensieve pull smollm2-135m)" % model_path())
        sys.exit(77)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(wanted)
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())
