"""The official Python SDK against the server at PENSIEVE_URL."""
import os
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anthropic

client = anthropic.Anthropic(base_url=os.environ["PENSIEVE_URL"], api_key="local", max_retries=0, timeout=300)
GREEDY = {"temperature": 0}  # version 2 of the SDK has no argument for it
PID = os.environ.get("PENSIEVE_PID")
WEATHER = {
    "name": "get_weather",
    "description": "Returns the current weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def create(content="Name three colours.", **more):
    options = {"model": "any-name-will-do", "max_tokens": 40, "extra_body": GREEDY,
               "messages": [{"role": "user", "content": content}], **more}
    return client.messages.create(**options)


def cpu_seconds():
    fields = Path(f"/proc/{PID}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Messages(unittest.TestCase):
    def test_a_message(self):
        message = create()
        self.assertEqual((message.type, message.role), ("message", "assistant"))
        self.assertGreater(len(message.content[0].text), 3)
        self.assertIn(message.stop_reason, ("end_turn", "max_tokens"))
        self.assertGreater(message.usage.input_tokens, 0)
        self.assertGreater(message.usage.output_tokens, 0)
        self.assertTrue(message._request_id.startswith("req_"))

    def test_a_stream_adds_up_to_the_message(self):
        with client.messages.stream(model="local", max_tokens=40, extra_body=GREEDY,
                                    messages=[{"role": "user", "content": "Name three colours."}]) as stream:
            pieces = list(stream.text_stream)
            final = stream.get_final_message()
        self.assertGreater(len(pieces), 3)
        self.assertEqual("".join(pieces), final.content[0].text)
        self.assertEqual(final.content[0].text, create().content[0].text)
        self.assertIn(final.stop_reason, ("end_turn", "max_tokens"))
        self.assertGreater(final.usage.output_tokens, 3)

    def test_raw_events(self):
        events = [e.type for e in create(stream=True)]
        self.assertEqual(events[0], "message_start")
        self.assertEqual(events[-3:], ["content_block_stop", "message_delta", "message_stop"])

    def test_system_in_every_form_changes_the_answer(self):
        question = "Greet me, please."
        plain = create(question).content[0].text
        order = "You speak German only. Always answer in German."
        as_string = create(question, system=order).content[0].text
        as_blocks = create(question, system=[{"type": "text", "text": order}]).content[0].text
        self.assertEqual(as_string, as_blocks)
        self.assertNotEqual(plain, as_string)

    def test_several_turns(self):
        message = create(messages=[
            {"role": "user", "content": "My favourite number is 4711. Remember it."},
            {"role": "assistant", "content": "I will remember that your favourite number is 4711."},
            {"role": "user", "content": [{"type": "text", "text": "What is my favourite number?"}]}])
        self.assertIn("4711", message.content[0].text)

    def test_max_tokens(self):
        message = create("Count from 1 to 100.", max_tokens=7)
        self.assertEqual(message.stop_reason, "max_tokens")
        self.assertEqual(message.usage.output_tokens, 7)

    def test_stop_sequences(self):
        message = create("Count from 1 to 10, one number per line.", stop_sequences=["XYZZY", "5"],
                         max_tokens=60)
        self.assertEqual((message.stop_reason, message.stop_sequence), ("stop_sequence", "5"))
        self.assertNotIn("5", message.content[0].text)

    def test_the_same_greedy_answer_beside_neighbours(self):
        alone = create("Tell me about rivers.").content[0].text
        questions = ["Tell me about rivers.", "Tell me about stars.", "Tell me about bees.", "Tell me about rivers."]
        with ThreadPoolExecutor(4) as pool:
            together = [m.content[0].text for m in pool.map(create, questions)]
        self.assertEqual([together[0], together[3]], [alone, alone])
        self.assertNotEqual(together[1], together[2])


class Tools(unittest.TestCase):
    question = {"role": "user", "content": "What is the weather in Paris? Call get_weather."}

    def test_a_round_trip(self):
        first = create(tools=[WEATHER], max_tokens=200, messages=[self.question])
        self.assertEqual(first.stop_reason, "tool_use", first)
        call = next(b for b in first.content if b.type == "tool_use")
        self.assertEqual(call.name, "get_weather")
        self.assertIn("paris", call.input["city"].lower())
        second = create(tools=[WEATHER], max_tokens=100, messages=[
            self.question, {"role": "assistant", "content": first.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id,
                                          "content": "Sunny, 24 degrees Celsius."}]}])
        text = "".join(b.text for b in second.content if b.type == "text")
        self.assertTrue(text.strip())  # what half a billion parameters make of it is theirs
        self.assertEqual(second.stop_reason, "end_turn")

    def test_the_same_as_a_stream(self):
        with client.messages.stream(model="local", max_tokens=200, extra_body=GREEDY, tools=[WEATHER],
                                    messages=[self.question]) as stream:
            final = stream.get_final_message()
        call = next(b for b in final.content if b.type == "tool_use")
        self.assertIn("paris", call.input["city"].lower())
        self.assertEqual(final.stop_reason, "tool_use")


class Counting(unittest.TestCase):
    def test_count_tokens_equals_the_real_input(self):
        body = {"model": "local", "system": "Be brief.", "tools": [WEATHER],
                "messages": [{"role": "user", "content": "How many tokens is this? 🙂"}]}
        counted = client.messages.count_tokens(**body).input_tokens
        usage = client.messages.create(**body, max_tokens=1).usage
        self.assertEqual(counted, usage.input_tokens + (usage.cache_creation_input_tokens or 0) +
                         (usage.cache_read_input_tokens or 0))


class Models(unittest.TestCase):
    def test_list_and_retrieve(self):
        models = list(client.models.list())
        self.assertEqual(len(models), 1)
        self.assertIn("qwen", models[0].id.lower())
        again = client.models.retrieve(models[0].id)
        self.assertEqual((again.id, again.type, again.display_name), (models[0].id, "model", models[0].display_name))


class Errors(unittest.TestCase):
    def test_bad_requests_are_typed(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            create(messages=[])
        self.assertEqual(caught.exception.status_code, 400)
        self.assertEqual(caught.exception.body["error"]["type"], "invalid_request_error")
        self.assertIn("messages", caught.exception.body["error"]["message"])
        with self.assertRaises(anthropic.BadRequestError):
            create(max_tokens=0)

    def test_not_found_is_typed(self):
        with self.assertRaises(anthropic.NotFoundError):
            client.get("/v1/nowhere", cast_to=object)


class Leaving(unittest.TestCase):
    def test_closing_a_stream_ends_the_generation(self):
        with client.messages.stream(model="local", max_tokens=8000, messages=[
                {"role": "user", "content": "Write a very long story about the sea, with many chapters."}]) as stream:
            for _ in zip(range(3), stream.text_stream):
                pass
        deadline = time.monotonic() + 20
        while True:
            before = cpu_seconds()
            time.sleep(0.5)
            if cpu_seconds() - before < 0.05:
                return
            self.assertLess(time.monotonic(), deadline, "it went on computing")


if __name__ == "__main__":
    print(f"anthropic {anthropic.__version__}")
    unittest.main(verbosity=2)
