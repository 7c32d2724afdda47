"""How the command behaves as a Unix program: closed pipes and full disks, closed descriptors, homes that cannot be,
signals, text of others on a terminal, model files that are cut while they are in use.

Usage: test_habits.py BINARY WRITE_TINY, the second of which writes a tiny model (tests/support/write_tiny.c)."""

import http.client
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BINARY, WRITE_TINY = map(os.path.abspath, sys.argv[1:3])
NAME = 'evil"name\n\033[31m\x9bend'  # U+009B is a CSI in one character
PATIENCE = 240  # seconds that anything may take on a machine that is slow, or does other things, too
HI = {"model": "any", "max_tokens": 4, "messages": [{"role": "user", "content": "Hi."}]}


class Habits(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.model = self.path("tiny.gguf")
        self.home = self.path("home")
        subprocess.run([WRITE_TINY, self.model, NAME], check=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def environment(self, **changes):
        env = {**os.environ, "PENSIEVE_HOME": self.home, **changes}
        return {k: v for k, v in env.items() if v is not None}

    def run_it(self, *args, env=None, **more):
        more.setdefault("capture_output", "stdout" not in more)
        more.setdefault("input", b"")
        return subprocess.run([BINARY, *args], env=env or self.environment(), timeout=PATIENCE, **more)

    def serve(self, *args, env=None, **more):
        """A server and its port, once it answers."""
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", open(self.path("log"), "wb"))
        p = subprocess.Popen([BINARY, "serve", "-m", self.model, "-p", "0", "-t", "1", *args],
                             env=env or self.environment(), **more)
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.wait(), p.stdout and p.stdout.close()))
        if p.stdout:
            self.said = [p.stdout.readline() for _ in range(3)]
            port = int(re.search(rb":(\d+)$", self.said[0].strip()).group(1))
        else:
            port = int(args[args.index("-p") + 1])
        self.until(lambda: self.ask(port, "GET", "/health")[0] == 200)
        return p, port

    def written_bytes(self):
        """Of the KV store's files, which are longer than what was written to them."""
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(self.path("home/kv")) for name in names]
        return sum(os.stat(path).st_blocks * 512 for path in paths)

    def until(self, holds):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if holds():
                    return
            except OSError:
                pass
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def ask(self, port, method="POST", path="/v1/messages", body=HI):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        c.request(method, path, json.dumps(body) if method == "POST" else None)
        r = c.getresponse()
        answer = r.status, r.read()
        c.close()
        return answer

    def stop(self, p, number=signal.SIGINT):
        p.send_signal(number)
        return p.wait(timeout=PATIENCE)

    def log(self):
        with open(self.path("log"), "rb") as file:
            return file.read()

    def every_command_that_writes(self):
        yield ["run", self.model, "Hi.", "-n", "3", "--seed", "1"]
        yield ["show", self.model]
        yield ["show", self.model, "--json", "--all"]
        yield ["show", self.model, "--template"]
        yield ["tokenize", self.model, "Hi."]
        yield ["tokenize", self.model, "--decode", "65"]
        for words in ["list", "--help", "--version", "serve --help", "pull --help"]:
            yield words.split()

    # ---- standard output ----

    def test_a_full_disk_is_said(self):
        for args in self.every_command_that_writes():
            with open("/dev/full", "wb") as full:
                r = self.run_it(*args, stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(r.returncode, 1, args)
            self.assertRegex(r.stderr, rb"\Apensieve.*: No space left on device\n\Z", args)

    def test_a_pipe_that_nobody_reads_ends_it_in_silence(self):
        for args in self.every_command_that_writes():
            reader, writer = os.pipe()
            os.close(reader)
            r = self.run_it(*args, stdout=writer, stderr=subprocess.PIPE)
            os.close(writer)
            self.assertEqual((r.returncode, r.stderr), (141, b""), args)

    def test_a_pipe_that_closes_in_the_middle_ends_the_answer(self):
        p = subprocess.Popen([BINARY, "run", self.model, "Hi.", "--temperature", "5"], env=self.environment(),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(p.stdout.read(1))
        p.stdout.close()
        self.assertEqual((p.wait(timeout=PATIENCE), p.stderr.read()), (141, b""))
        p.stderr.close()

    def closed(self, *descriptors):
        return lambda: [os.close(fd) for fd in descriptors]

    def test_closed_descriptors_are_no_place_for_files(self):
        for args in self.every_command_that_writes():
            r = self.run_it(*args, stdout=None, capture_output=False, stderr=subprocess.PIPE,
                            preexec_fn=self.closed(1))
            self.assertEqual(r.returncode, 1, args)
            self.assertIn(b"Bad file descriptor", r.stderr, args)
        r = self.run_it("run", self.model, input=None, preexec_fn=self.closed(0))
        self.assertEqual((r.returncode, r.stdout), (1, b""))
        self.assertIn(b"standard input: Bad file descriptor", r.stderr)
        with open(self.path("none"), "wb") as log:
            p, port = self.serve("-p", "21651", stdout=None, stderr=log, preexec_fn=self.closed(0, 1, 2))
        self.assertEqual(self.ask(port)[0], 200)
        for fd in range(3):
            where = "/proc/%d/fd/%d" % (p.pid, fd)
            self.assertTrue(not os.path.exists("/proc/self") or os.readlink(where) == "/dev/null")
        self.assertEqual(self.stop(p), 0)

    def test_a_server_outlives_those_who_read_its_log(self):
        reader, writer = os.pipe()
        p, port = self.serve(stderr=writer)
        os.close(writer)
        os.close(reader)
        p.stdout.close()
        for _ in range(3):
            self.assertEqual(self.ask(port)[0], 200)
        self.assertEqual(self.stop(p), 0)

    def test_signals_end_a_server(self):
        for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
            p, _ = self.serve()
            self.assertEqual(self.stop(p, number), 0)
            self.assertIn(b"stopping", self.log())

    # ---- homes ----

    def test_it_serves_without_a_home(self):
        nowhere = {"HOME": None, "XDG_DATA_HOME": None, "PENSIEVE_HOME": None}
        p, port = self.serve(env=self.environment(**nowhere))
        self.assertEqual(self.ask(port)[0], 200)
        self.assertEqual(self.stop(p), 0)
        self.assertEqual(len(re.findall(rb"no prefixes are kept on disk: no folder for files", self.log())), 1)
        r = self.run_it("list", env=self.environment(**nowhere))
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"PENSIEVE_HOME", r.stderr)

    def test_it_serves_with_a_home_that_cannot_be_made(self):
        p, port = self.serve(env=self.environment(PENSIEVE_HOME="/dev/null/x"))
        self.assertEqual(self.ask(port)[0], 200)
        self.assertEqual(self.stop(p), 0)
        self.assertRegex(self.log(), rb"no prefixes are kept on disk: .*/dev/null/x: Not a directory")

    def test_a_relative_home_lies_where_it_was_started(self):
        r = self.run_it("list", env=self.environment(PENSIEVE_HOME="mine"), cwd=self.folder)
        self.assertEqual(r.returncode, 0)
        self.assertIn(("store: " + self.path("mine/models")).encode(), r.stdout)

    # ---- names ----

    def test_what_is_no_model_is_said(self):
        os.mkfifo(self.path("pipe"))
        for name, words in [
            ("", "''"),
            (self.folder, "has no config.json; it has tiny.gguf, which can be opened by its own path"),
            ("/dev/zero", "is not a file"),
            (self.path("pipe"), "is not a file"),
            ("/nowhere/x.gguf", "no such file or folder: /nowhere/x.gguf"),
            (self.model + "/x", "no such file"),
            ("x" * 300 + "/x", "File name too long"),
            ("smolm2-135m", "did you mean smollm2-135m?"),
            ("x\033[31m", "x\\x1b[31m"),
        ]:
            r = self.run_it("run", name, "Hi.")
            self.assertEqual((r.returncode, r.stdout, r.stderr.count(b"\n")), (1, b"", 1), r.stderr)
            self.assertIn(words.encode(), r.stderr)
            self.assertNotIn(b"Success", r.stderr)

    def test_misspelt_words_are_answered_with_the_right_ones(self):
        for args, word in [
            (["sevre"], "serve"),
            (["serve", "--prot", "1"], "--port"),
            (["run", "--temprature=1", "x"], "--temperature"),
            (["tokenize", "--decod", "x"], "--decode"),
        ]:
            r = self.run_it(*args)
            self.assertEqual((r.returncode, r.stdout), (2, b""))
            self.assertIn(("did you mean %s?" % word).encode(), r.stderr)

    # ---- text of others ----

    def assert_tame(self, text, what):
        self.assertIsNone(re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", text), (what, text))

    def test_names_in_files_reach_no_terminal_as_they_are(self):
        stored = self.path("home/models")
        os.makedirs(stored)
        shutil.copy(self.model, os.path.join(stored, "a\033]0;x\a.gguf"))
        for args in [["show", self.model], ["show", self.model, "--all"], ["list"],
                     ["run", self.path("\033[2J"), "Hi."], ["show", "\033[2J"], ["serve", "--\033[2J"]]:
            r = self.run_it(*args)
            self.assert_tame(r.stdout + r.stderr, args)
            self.assertTrue(b"\\x1b" in r.stdout + r.stderr, args)
        self.model = os.path.join(stored, "a\033]0;x\a.gguf")
        p, port = self.serve()
        status, models = self.ask(port, "GET", "/v1/models")
        shown = json.loads(models)["data"][0]
        self.assertEqual(shown["display_name"], 'evil"name[31mend')
        self.assertEqual(shown["id"], "a]0;x")
        self.assertEqual(self.stop(p), 0)
        for text in [b"".join(self.said), self.log()]:
            self.assert_tame(text, "serve")
        self.assertIn(b"a\\x1b]0;x\\x07.gguf, context", self.log())

    def on_a_terminal(self, *args):
        ours, theirs = pty.openpty()
        p = subprocess.Popen([BINARY, *args], env=self.environment(), stdout=theirs, stderr=subprocess.PIPE,
                             stdin=subprocess.DEVNULL)
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux' way to say that the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        self.assertEqual((p.wait(timeout=PATIENCE), p.stderr.read()), (0, b""))
        p.stderr.close()
        return shown.replace(b"\r\n", b"\n")

    def test_an_answer_gives_no_orders_to_a_terminal(self):
        args = ["run", self.model, "Hi.", "--temperature", "5", "--seed", "7", "-n", "300"]
        piped = self.run_it(*args).stdout
        self.assertRegex(piped, rb"[\x00-\x08\x0b-\x1f]")  # the noise has everything in it
        shown = self.on_a_terminal(*args)
        self.assert_tame(shown, args)
        back = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m.group(1), 16)]), shown)
        self.assertEqual(back, piped)
        for args in [["tokenize", self.model, "--decode", " ".join(map(str, range(256)))],
                     ["tokenize", self.model, "\033[31m"],
                     ["show", self.model, "--json"]]:
            self.assert_tame(self.on_a_terminal(*args), args)

    # ---- the model's file ----

    def test_a_file_that_is_cut_in_use_is_said_and_nothing_is_lost(self):
        body = dict(HI, messages=[{"role": "user", "content": "one two three " * 20}])
        whole = self.path("whole.gguf")
        shutil.copy2(self.model, whole)
        p, port = self.serve()
        self.assertEqual(self.ask(port, body=body)[0], 200)
        n_bytes = 2 * 2 * 64 * 2 * 16 * 2 * 2  # two pages: layers, tokens, heads, their size, both, f16
        self.until(lambda: self.written_bytes() >= n_bytes)
        time.sleep(0.5)  # a page's own entry comes last
        os.truncate(self.model, 4096)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.ask(port)
        self.assertEqual(p.wait(timeout=PATIENCE), 1)
        last = self.log().splitlines()[-1].decode()
        self.assertTrue(last.startswith("pensieve: %s cannot be read any more: it was cut" % self.model), last)
        r = self.run_it("run", self.model, "Hi.")
        self.assertEqual((r.returncode, r.stdout), (1, b""))
        shutil.copy2(whole, self.model)
        p, port = self.serve()
        usage = json.loads(self.ask(port, body=body)[1])["usage"]
        self.assertGreater(usage["cache_read_input_tokens"], 64, usage)
        self.assertEqual(self.stop(p), 0)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Habits)
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())
