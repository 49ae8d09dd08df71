// Vercel's AI SDK with the providers for OpenAI (Responses) and Anthropic (Messages): the gateway's own translations.
import assert from "node:assert/strict";
import { test } from "node:test";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { Output, embed, generateText, jsonSchema, streamText, tool as aTool } from "ai";

import { CHAT, CONCLUSION, EMBEDDER, SPEAKER, THINKER, THOUGHT, cities, key, schema, tool, url } from "./gateway.mjs";

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: key });
const { name, description, parameters } = tool.function;
const output = { type: "text", value: "12 degrees" };

// Two turns that show how the tool is called, then a question.
const shown = ["Oslo", "Rome"].flatMap((city) => {
  const call = { toolCallId: `call-${city}`, toolName: name };
  return [
    { role: "user", content: `Weather in ${city}?` },
    { role: "assistant", content: [{ type: "tool-call", ...call, input: { city } }] },
    { role: "tool", content: [{ type: "tool-result", ...call, output }] },
  ];
});
const talk = [...shown, { role: "user", content: "Weather in Paris?" }];

// Which models can do what is in tables of the SDK, and the gateway's are not.
const providerOptions = {
  openai: { forceReasoning: true, reasoningSummary: "auto" },
  anthropic: { structuredOutputMode: "outputFormat" },
};

for (const [api, provider] of [["Responses", openai], ["Messages", anthropic]]) {
  const said = { model: provider(CHAT), prompt: "Hello", maxOutputTokens: 8, maxRetries: 0 };

  test(`${api}: a whole answer and a stream say that they were cut`, async () => {
    const whole = await generateText(said);
    assert.ok(whole.text);
    const stream = streamText(said);
    const parts = [];
    for await (const part of stream.fullStream) parts.push(part);
    assert.deepEqual(parts.filter((part) => part.type === "error"), []);
    assert.ok((await stream.text).length > 0);
    for (const answer of [whole, stream]) {
      assert.deepEqual([await answer.finishReason, (await answer.usage).outputTokens], ["length", 8]);
    }
  });

  test(`${api}: structured output keeps to its schema`, async () => {
    const wanted = { ...said, providerOptions, maxOutputTokens: 200, output: Output.object({ schema: jsonSchema(schema) }) };
    assert.ok(cities.includes((await generateText(wanted)).output.city));
    assert.ok(cities.includes((await streamText(wanted).output).city));
  });

  test(`${api}: a tool is called and answered, whole and streamed`, { skip: !SPEAKER }, async () => {
    const request = {
      model: provider(SPEAKER),
      messages: talk,
      tools: { [name]: aTool({ description, inputSchema: jsonSchema(parameters) }) },
      maxOutputTokens: 60,
      maxRetries: 0,
    };
    for (const answer of [await generateText(request), streamText(request)]) {
      const [call] = await answer.toolCalls;
      assert.deepEqual([call.toolName, call.input], [name, { city: "Paris" }]);
      assert.equal(await answer.finishReason, "tool-calls");
      const said = (await answer.response).messages;
      const result = { type: "tool-result", toolCallId: call.toolCallId, toolName: name, output };
      const turns = [...talk, ...said, { role: "tool", content: [result] }];
      const next = await generateText({ ...request, messages: turns, maxOutputTokens: 4 });
      assert.ok(next.usage.inputTokens > (await answer.usage).inputTokens);
    }
  });

  test(`${api}: thoughts come apart from the text, and go back`, async () => {
    const request = { model: provider(THINKER), maxRetries: 0, providerOptions };
    const first = streamText({ ...request, prompt: "Which city?" });
    assert.deepEqual([(await first.reasoningText).trim(), await first.text], [THOUGHT, CONCLUSION]);
    const user = (content) => ({ role: "user", content });
    const turns = [user("Which city?"), ...(await first.response).messages, user("Sure?")];
    const second = await generateText({ ...request, messages: turns });
    assert.deepEqual([second.reasoningText.trim(), second.text], [THOUGHT, CONCLUSION]);
  });
}

test("an embedding is as short as was asked for", async () => {
  const shorter = { openai: { dimensions: 16 } };
  const { embedding } = await embed({ model: openai.embedding(EMBEDDER), value: "one", providerOptions: shorter });
  assert.equal(embedding.length, 16);
});
