// openai-node: the SDK that most JavaScript programs use.
import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { CHAT, EMBEDDER, SPEAKER, cities, key, schema, talk, tool, url } from "./gateway.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 60_000 });
const said = { model: CHAT, messages: [{ role: "user", content: "Hello" }], max_tokens: 8 };

test("a whole answer has text and usage", async () => {
  const answer = await client.chat.completions.create(said);
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.usage.completion_tokens, 8);
  assert.ok(answer._request_id);
});

test("a stream comes in pieces and ends with usage", async () => {
  const pieces = [];
  const stream = await client.chat.completions.create({ ...said, stream: true, stream_options: { include_usage: true } });
  for await (const piece of stream) pieces.push(piece);
  assert.ok(pieces.length > 3);
  assert.equal(pieces.at(-1).usage.completion_tokens, 8);
});

test("a stream that is left does not keep the next request waiting", async () => {
  for (let i = 0; i < 4; i++) {
    const stream = await client.chat.completions.create({ ...said, max_tokens: 1500, stream: true });
    for await (const _ of stream) break;
  }
  assert.ok((await client.chat.completions.create(said)).choices[0].message.content);
});

test("structured output keeps to its schema", async () => {
  const json_schema = { name: "place", strict: true, schema };
  const answer = await client.chat.completions.parse({
    ...said,
    max_tokens: 200,
    response_format: { type: "json_schema", json_schema },
  });
  assert.ok(cities.includes(JSON.parse(answer.choices[0].message.content).city));
});

test("a tool is called, whole and in pieces", { skip: !SPEAKER }, async () => {
  const body = { model: SPEAKER, messages: talk, tools: [tool], max_tokens: 60 };
  const whole = await client.chat.completions.create(body);
  const streamed = await client.chat.completions.stream(body).finalChatCompletion();
  for (const answer of [whole, streamed]) {
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(call.function.name, tool.function.name);
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
  }
});

test("embeddings and responses", async () => {
  const found = await client.embeddings.create({ model: EMBEDDER, input: ["one", "two"] });
  assert.deepEqual(found.data.map((row) => row.embedding.length), [64, 64]);
  const kinds = [];
  let last;
  // The model does not stop by itself, so its six tokens are cut by the limit
  const stream = await client.responses.create({ model: CHAT, input: "Hello", max_output_tokens: 6, stream: true });
  for await (const event of stream) kinds.push((last = event).type);
  assert.equal(kinds[0], "response.created");
  assert.equal(kinds.at(-1), "response.incomplete");
  assert.equal(last.response.incomplete_details.reason, "max_output_tokens");
});

test("models and errors", async () => {
  const names = [];
  for await (const row of client.models.list()) names.push(row.id);
  assert.ok(names.includes(CHAT));
  assert.equal((await client.models.retrieve(CHAT)).id, CHAT);
  await assert.rejects(client.chat.completions.create({ ...said, model: "nope" }), (error) => {
    return error instanceof OpenAI.NotFoundError && error.code === "model_not_found" && Boolean(error.requestID);
  });
  const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});
