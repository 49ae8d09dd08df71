// Vercel's AI SDK with its provider for OpenAI-compatible servers; opencode and many others are built on it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, jsonSchema, streamText, tool as aTool } from "ai";

import { CHAT, EMBEDDER, SPEAKER, cities, key, schema, tool, url } from "./gateway.mjs";

const tandem = createOpenAICompatible({
  name: "tandem",
  baseURL: `${url}/v1`,
  apiKey: key,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const said = { model: tandem(CHAT), prompt: "Hello", maxOutputTokens: 8, maxRetries: 0 };

test("a whole answer", async () => {
  const answer = await generateText(said);
  assert.ok(answer.text);
  assert.equal(answer.finishReason, "length");
  assert.equal(answer.usage.outputTokens, 8);
});

test("a stream, with usage at its end", async () => {
  const answer = streamText(said);
  const pieces = [];
  for await (const piece of answer.textStream) pieces.push(piece);
  assert.ok(pieces.length > 2);
  assert.equal((await answer.usage).outputTokens, 8);
});

test("structured output keeps to its schema", async () => {
  const output = Output.object({ schema: jsonSchema(schema) });
  const answer = await generateText({ ...said, maxOutputTokens: 200, output });
  assert.ok(cities.includes(answer.output.city));
});

test("a tool is called, in a stream", { skip: !SPEAKER }, async () => {
  const { name, description, parameters } = tool.function;
  const turns = ["Oslo", "Rome"].flatMap((city) => {
    const call = { toolCallId: `call-${city}`, toolName: name };
    const output = { type: "text", value: "12 degrees" };
    return [
      { role: "user", content: `Weather in ${city}?` },
      { role: "assistant", content: [{ type: "tool-call", ...call, input: { city } }] },
      { role: "tool", content: [{ type: "tool-result", ...call, output }] },
    ];
  });
  const answer = streamText({
    model: tandem(SPEAKER),
    messages: [...turns, { role: "user", content: "Weather in Paris?" }],
    tools: { [name]: aTool({ description, inputSchema: jsonSchema(parameters) }) },
    maxOutputTokens: 60,
    maxRetries: 0,
  });
  const [call] = await answer.toolCalls;
  assert.deepEqual([call.toolName, call.input], [name, { city: "Paris" }]);
});

test("embeddings", async () => {
  const found = await embedMany({ model: tandem.embeddingModel(EMBEDDER), values: ["one", "two"] });
  assert.deepEqual(found.embeddings.map((vector) => vector.length), [64, 64]);
});

test("an unknown model is an error with its status", async () => {
  await assert.rejects(generateText({ ...said, model: tandem("nope") }), (error) => {
    return APICallError.isInstance(error) && error.statusCode === 404 && error.message.includes("'nope'");
  });
});
