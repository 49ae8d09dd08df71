// One answer of a model as it streams: its text, thoughts, tools, and its figures.

import { ApiError, events, request } from "./api.js";
import { h, setText } from "./dom.js";
import { markdown } from "./markdown.js";
import { number, percent, seconds, visible } from "./words.js";

const DRAW_EVERY_MS = 80;

/** Sends a request, calls `update(answer)` for each event, and returns the answer. `error` says why it is incomplete. */
export async function ask(body, signal, update) {
  const began = performance.now();
  const answer = { content: "", thoughts: "", tools: [], error: "", figures: { seconds: 0 } };
  try {
    const response = await request("/v1/chat/completions", { method: "POST", signal, body: { ...body, stream: true, stream_options: { include_usage: true } } });
    let ended = false;
    for await (const event of events(response)) {
      if (event.data === "[DONE]") { ended = true; continue; }
      read(answer, JSON.parse(event.data), began);
      update(answer);
    }
    if (!ended && !answer.error) answer.error = "The answer was interrupted.";
  } catch (error) {
    if (error.name === "AbortError") answer.stopped = true;
    else answer.error = error instanceof ApiError ? error.message : "The answer was interrupted.";
  }
  answer.figures.seconds = (performance.now() - began) / 1000;
  return answer;
}

function read(answer, chunk, began) {
  if (chunk.error) {
    answer.error = chunk.error.message ?? String(chunk.error);
    return;
  }
  const { figures } = answer;
  const delta = chunk.choices?.[0]?.delta ?? {};
  const thought = delta.reasoning_content ?? delta.reasoning ?? "";
  if ((delta.content || thought || delta.tool_calls) && figures.ttft === undefined) figures.ttft = (performance.now() - began) / 1000;
  answer.content += delta.content ?? "";
  answer.thoughts += thought;
  for (const call of delta.tool_calls ?? []) addTool(answer.tools, call);
  if (chunk.choices?.[0]?.finish_reason) answer.finish = chunk.choices[0].finish_reason;
  if (chunk.usage) {
    figures.prompt = chunk.usage.prompt_tokens;
    figures.tokens = chunk.usage.completion_tokens;
    figures.cached = chunk.usage.prompt_tokens_details?.cached_tokens;
  }
  if (chunk.timings) {
    figures.rate = chunk.timings.predicted_per_second;
    figures.drafted = chunk.timings.draft_n;
    figures.accepted = chunk.timings.draft_n_accepted;
  }
}

function addTool(tools, call) {
  const tool = (tools[call.index ?? 0] ??= { name: "", arguments: "" });
  tool.name += call.function?.name ?? "";
  tool.arguments += call.function?.arguments ?? "";
}

/** An element with `draw(answer)`, which draws at most every DRAW_EVERY_MS, and `finish(answer)`, which draws at once. */
export function answerView() {
  const thoughts = h("details", { class: "thoughts", hidden: true }, h("summary", {}, "Thoughts"), h("div"));
  const text = h("div", { class: "markdown" });
  const tools = h("div", { class: "toolcalls" });
  const problem = h("p", { class: "problem", role: "alert" });
  const figures = h("p", { class: "figures" });
  const element = h("div", { class: "answer" }, thoughts, text, tools, problem, figures);
  let due = 0;
  let latest = null;
  // Shown until the first token, since a load takes time
  element.wait = (words) => setText(figures, words);

  function paint() {
    clearTimeout(due);
    due = 0;
    const answer = latest;
    thoughts.hidden = !answer.thoughts;
    if (answer.thoughts) markdown(thoughts.lastChild, answer.thoughts);
    markdown(text, answer.content);
    if (answer.tools.length) setText(tools, visible(answer.tools.map((tool) => `${tool.name}(${tool.arguments})`).join("\n")));
    setText(problem, answer.error ? visible(answer.error) : "");
    setText(figures, figuresOf(answer));
  }
  element.draw = (answer) => {
    latest = answer;
    due ||= setTimeout(paint, DRAW_EVERY_MS);
  };
  element.finish = (answer) => {
    latest = answer;
    paint();
  };
  return element;
}

function figuresOf({ figures, stopped, finish }) {
  const parts = [];
  if (figures.tokens !== undefined) parts.push(`${number(figures.tokens)} tokens`);
  if (figures.rate) parts.push(`${number(figures.rate, 1)} tok/s`);
  if (figures.ttft !== undefined) parts.push(`first token after ${seconds(figures.ttft)}`);
  if (figures.seconds) parts.push(`${seconds(figures.seconds)} in all`);
  if (figures.drafted) parts.push(`${figures.accepted ?? 0} of ${figures.drafted} drafted accepted (${percent(figures.accepted ?? 0, figures.drafted)})`);
  if (figures.cached) parts.push(`${number(figures.cached)} of ${number(figures.prompt)} prompt tokens cached`);
  if (finish === "length") parts.push("cut at the token limit");
  if (stopped) parts.push("stopped");
  return parts.join(" · ");
}
