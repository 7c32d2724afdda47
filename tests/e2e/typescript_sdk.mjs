// The official TypeScript SDK against the server at PENSIEVE_URL.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({
  baseURL: process.env.PENSIEVE_URL,
  apiKey: "local",
  maxRetries: 0,
  timeout: 300_000,
});
const base = {
  model: "claude-opus-4-8",
  max_tokens: 40,
  temperature: 0,
  messages: [{ role: "user", content: "Name three colours." }],
};
const weather = {
  name: "get_weather",
  description: "Returns the current weather of a city.",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const askWeather = { role: "user", content: "What is the weather in Paris? Call get_weather." };

function cpuSeconds() {
  const stat = readFileSync(`/proc/${process.env.PENSIEVE_PID}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function isIdle() {
  for (let i = 0; i < 40; i++) {
    const before = cpuSeconds();
    await sleep(500);
    if (cpuSeconds() - before < 0.05) return true;
  }
  return false;
}

test("a message", async () => {
  const message = await client.messages.create(base);
  assert.equal(message.type, "message");
  assert.equal(message.role, "assistant");
  assert.ok(message.content[0].text.length > 3);
  assert.ok(["end_turn", "max_tokens"].includes(message.stop_reason));
  assert.ok(message.usage.input_tokens + message.usage.cache_read_input_tokens > 5);
  assert.ok(message._request_id.startsWith("req_"));
});

test("a stream adds up to the message", async () => {
  const pieces = [];
  const stream = client.messages.stream(base).on("text", (text) => pieces.push(text));
  const final = await stream.finalMessage();
  const whole = await client.messages.create(base);
  assert.ok(pieces.length > 3);
  assert.equal(pieces.join(""), whole.content[0].text);
  assert.deepEqual(final.content.map((b) => b.text), whole.content.map((b) => b.text));
  assert.equal(final.stop_reason, whole.stop_reason);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
});

test("raw events come in the documented order", async () => {
  const names = [];
  for await (const event of await client.messages.create({ ...base, stream: true })) names.push(event.type);
  const collapsed = names.filter((name, i) => name !== names[i - 1]);
  assert.deepEqual(collapsed, [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
  ]);
});

test("system, turns, max_tokens and stop_sequences", async () => {
  const turns = await client.messages.create({
    ...base,
    system: [{ type: "text", text: "You answer with one short sentence." }],
    messages: [
      { role: "user", content: "My dog is called Bruno." },
      { role: "assistant", content: "What a nice name!" },
      { role: "user", content: "What is my dog called?" },
    ],
  });
  assert.match(turns.content[0].text, /Bruno/);
  const short = await client.messages.create({ ...base, max_tokens: 5 });
  assert.equal(short.stop_reason, "max_tokens");
  assert.equal(short.usage.output_tokens, 5);
  const stopped = await client.messages.create({
    ...base,
    max_tokens: 60,
    messages: [{ role: "user", content: "Count from 1 to 10, one number per line." }],
    stop_sequences: ["5"],
  });
  assert.equal(stopped.stop_reason, "stop_sequence");
  assert.equal(stopped.stop_sequence, "5");
});

test("a tool round trip, streamed", async () => {
  const first = await client.messages
    .stream({ ...base, max_tokens: 200, tools: [weather], messages: [askWeather] })
    .finalMessage();
  assert.equal(first.stop_reason, "tool_use");
  const call = first.content.find((b) => b.type === "tool_use");
  assert.equal(call.name, "get_weather");
  assert.match(call.input.city, /paris/i);
  const second = await client.messages.create({
    ...base,
    max_tokens: 100,
    tools: [weather],
    messages: [
      askWeather,
      { role: "assistant", content: first.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "Sunny, 24 degrees." }] },
    ],
  });
  assert.match(second.content.map((b) => b.text ?? "").join(""), /\S/);
  assert.equal(second.stop_reason, "end_turn");
});

test("count_tokens equals the real input", async () => {
  const body = { model: "local", tools: [weather], messages: [{ role: "user", content: "Hello, 世界!" }] };
  const { input_tokens } = await client.messages.countTokens(body);
  const { usage } = await client.messages.create({ ...body, max_tokens: 1 });
  assert.equal(
    input_tokens,
    usage.input_tokens + (usage.cache_creation_input_tokens ?? 0) + (usage.cache_read_input_tokens ?? 0),
  );
});

test("models", async () => {
  const models = [];
  for await (const model of client.models.list()) models.push(model);
  assert.equal(models.length, 1);
  assert.equal((await client.models.retrieve(models[0].id)).id, models[0].id);
});

test("errors are typed", async () => {
  await assert.rejects(client.messages.create({ ...base, messages: [] }), (error) => {
    assert.ok(error instanceof Anthropic.BadRequestError);
    assert.equal(error.status, 400);
    assert.equal(error.error.error.type, "invalid_request_error");
    assert.ok(error.requestID.startsWith("req_"));
    return true;
  });
  await assert.rejects(client.get("/v1/nowhere"), Anthropic.NotFoundError);
});

test("abort in the middle of a stream ends the generation", async () => {
  const stream = client.messages.stream({
    ...base,
    max_tokens: 8000,
    messages: [{ role: "user", content: "Write a very long story about a mountain, with many chapters." }],
  });
  let n = 0;
  await assert.rejects(async () => {
    for await (const event of stream) if (event.type === "content_block_delta" && ++n === 3) stream.abort();
    await stream.done();
  }, Anthropic.APIUserAbortError);
  assert.ok(await isIdle(), "it went on computing");
});
