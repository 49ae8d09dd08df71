// openai-node: the SDK that most JavaScript programs use.
import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { CHAT, CONCLUSION, EMBEDDER, SPEAKER, THINKER, THOUGHT, cities, key, schema, talk, tool, url } from "./gateway.mjs";

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

test("a response, streamed and not, keeps to its schema", async () => {
  const format = { type: "json_schema", name: "place", strict: true, schema };
  const body = { model: CHAT, input: "Which city?", text: { format }, max_output_tokens: 200 };
  const streamed = await client.responses.stream(body).finalResponse();
  for (const answer of [await client.responses.parse(body), streamed]) {
    assert.ok(cities.includes(answer.output_parsed.city));
  }
});

test("a response calls a tool and goes on from it", { skip: !SPEAKER }, async () => {
  const { name, description, parameters } = tool.function;
  const input = talk.flatMap(({ role, content, tool_calls: calls, tool_call_id }) => {
    if (role === "tool") return [{ type: "function_call_output", call_id: tool_call_id, output: content }];
    if (!calls) return [{ role, content }];
    return calls.map((call) => ({ type: "function_call", call_id: call.id, ...call.function }));
  });
  const tools = [{ type: "function", name, description, parameters, strict: true }];
  const body = { model: SPEAKER, input, tools, max_output_tokens: 60 };
  const streamed = await client.responses.stream(body).finalResponse();
  for (const answer of [await client.responses.create(body), streamed]) {
    const [call] = answer.output;
    assert.deepEqual([call.type, call.name, JSON.parse(call.arguments)], ["function_call", name, { city: "Paris" }]);
    const next = await client.responses.create({
      ...{ model: SPEAKER, tools, max_output_tokens: 4, previous_response_id: answer.id },
      input: [{ type: "function_call_output", call_id: call.call_id, output: "12 degrees" }],
    });
    assert.ok(next.usage.input_tokens > answer.usage.input_tokens);
  }
});

test("thoughts come as an item of their own, and go back packed", async () => {
  const body = { model: THINKER, input: "Which city?", store: false, include: ["reasoning.encrypted_content"] };
  const first = await client.responses.stream(body).finalResponse();
  const input = [{ role: "user", content: body.input }, ...first.output, { role: "user", content: "Sure?" }];
  for (const answer of [first, await client.responses.create({ ...body, input })]) {
    const [thoughts] = answer.output;
    assert.deepEqual([thoughts.type, thoughts.content[0].text.trim()], ["reasoning", THOUGHT]);
    assert.equal(answer.output_text, CONCLUSION);
  }
});

test("a response that is left does not keep the next one waiting", async () => {
  for (let i = 0; i < 4; i++) {
    const stream = await client.responses.create({ model: CHAT, input: "Hello", max_output_tokens: 1500, stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") break;
  }
  assert.ok((await client.responses.create({ model: CHAT, input: "Hello", max_output_tokens: 4 })).output_text);
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
