// Ollama's own JavaScript library: chats whole and streamed, tools, formats, embeddings, a stream that is left.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Ollama } from "ollama";

import { CHAT, CONCLUSION, EMBEDDER, SPEAKER, THINKER, THOUGHT, cities, key, schema, talk, tool, url } from "./gateway.mjs";

const client = new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });
const messages = [{ role: "user", content: "Hello" }];
const said = { model: CHAT, messages, options: { num_predict: 8 } };
// Ollama has arguments as objects.
const shown = talk.map(({ tool_calls, ...message }) => {
  const calls = tool_calls?.map(({ function: { name, arguments: text } }) => {
    return { function: { name, arguments: JSON.parse(text) } };
  });
  return calls ? { ...message, tool_calls: calls } : message;
});

async function streamed(request) {
  const parts = [];
  for await (const part of await client.chat({ ...request, stream: true })) parts.push(part);
  return parts;
}

test("a chat, whole and streamed", async () => {
  const whole = await client.chat(said);
  assert.ok(whole.message.content);
  assert.deepEqual([whole.done, whole.done_reason, whole.eval_count], [true, "length", 8]);
  const parts = await streamed(said);
  assert.ok(parts.length > 3);
  assert.deepEqual([parts.at(-1).done_reason, parts.at(-1).eval_count], ["length", 8]);
});

test("structured output keeps to its schema", async () => {
  const answer = await client.chat({ ...said, format: schema, options: { num_predict: 200 } });
  assert.ok(cities.includes(JSON.parse(answer.message.content).city));
});

test("a tool is called and answered, whole and streamed", { skip: !SPEAKER }, async () => {
  const request = { model: SPEAKER, messages: shown, tools: [tool], options: { num_predict: 60 } };
  const calls = (await streamed(request)).flatMap((part) => part.message.tool_calls ?? []);
  for (const [call] of [(await client.chat(request)).message.tool_calls, calls]) {
    assert.deepEqual([call.function.name, call.function.arguments], [tool.function.name, { city: "Paris" }]);
  }
  const turns = [...shown, { role: "assistant", content: "", tool_calls: calls }];
  turns.push({ role: "tool", tool_name: tool.function.name, content: "12 degrees" });
  const next = await client.chat({ ...request, messages: turns, options: { num_predict: 4 } });
  assert.ok(next.prompt_eval_count > 0 && next.eval_count === 4);
});

test("thoughts come apart from the text, and go back", async () => {
  const request = { model: THINKER, messages, think: true };
  const { message } = await client.chat(request);
  const parts = await streamed({ ...request, messages: [...messages, message, ...messages] });
  const together = (name) => parts.map((part) => part.message[name] ?? "").join("");
  assert.deepEqual([message.thinking.trim(), message.content], [THOUGHT, CONCLUSION]);
  assert.deepEqual([together("thinking").trim(), together("content")], [THOUGHT, CONCLUSION]);
});

test("a stream that is left does not keep the next request waiting", async () => {
  for (let i = 0; i < 4; i++) {
    const stream = await client.chat({ ...said, options: { num_predict: 1500 }, stream: true });
    for await (const _ of stream) {
      stream.abort();
      break;
    }
  }
  assert.ok((await client.chat(said)).message.content);
});

test("embeddings, models and errors", async () => {
  const found = await client.embed({ model: EMBEDDER, input: ["one", "two"] });
  assert.deepEqual(found.embeddings.map((vector) => vector.length), [64, 64]);
  assert.ok((await client.list()).models.some((model) => model.name === CHAT));
  assert.ok((await client.show({ model: CHAT })).capabilities.includes("completion"));
  await assert.rejects(client.chat({ ...said, model: "nope" }), (error) => {
    return error.status_code === 404 && error.message.includes("'nope'");
  });
});
