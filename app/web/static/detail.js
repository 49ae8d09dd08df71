// An opened model: ways to decode, what a start would do and why, decisions, the command line, the log.

import { events, json, named, request } from "./api.js";
import { button, copy, fill, h, keyed, setText } from "./dom.js";
import { listen, state } from "./store.js";
import { clock, stateOf, visible } from "./words.js";

const LINES = 500;

export function drawDetail(place, id) {
  const others = h("div", { class: "others" });
  const next = h("div");
  const decisions = h("ul", { class: "plainlist" });
  place.others = (rows, drawActs) => keyed(others, rows, (row) => row.id,
    (row) => h("div", { class: "other" }, h("span", {}, row.id), h("span", { class: "state" }), h("div", { class: "acts" })),
    (element, row) => {
      const { word, kind } = stateOf(row, state.engines.get(row.id));
      setText(element.children[1], word);
      element.children[1].className = `state ${kind}`;
      drawActs(element.children[2], row, state.engines.get(row.id));
    });
  place.append(h("h3", {}, "Ways to run it"), others);
  if (!state.session.admin) return () => {};

  const failure = h("div", { class: "problem" });
  place.append(failure, h("h3", {}, "Decoding"), next, h("h3", {}, "Decisions"), decisions);
  const log = drawLog(place, id);
  drawNext(next, id);

  function draw() {
    const diagnosis = state.engines.get(id)?.diagnosis;
    setText(failure, diagnosis ? `${diagnosis.cause}. ${diagnosis.advice}` : "");
    const rows = [...state.decisions.entries()].filter(([, row]) => row.alias === id).sort((a, b) => b[1].at - a[1].at).slice(0, 12);
    keyed(decisions, rows, ([key]) => key, ([, row]) => h("li", {}, h("time", {}, clock(row.at)), ` ${row.decision}: ${row.why}`));
    decisions.previousSibling.hidden = !rows.length;
  }
  draw();
  const leave = listen(draw);
  return () => { leave(); log(); };
}

async function drawNext(place, id) {
  try {
    const answer = await json(`/admin/models/${named(id)}/speculation`);
    const rows = [["Now", answer.active === null ? "not loaded" : answer.mode], ["Reason", answer.reason], ["Chosen because", answer.why]];
    for (const [name, value] of Object.entries(answer.next_start ?? {})) {
      if (["string", "number", "boolean"].includes(typeof value) && value !== "") rows.push([`Next start, ${name.replaceAll("_", " ")}`, String(value)]);
    }
    fill(place, h("dl", {}, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  } catch (error) {
    fill(place, h("p", { class: "problem" }, error.message));
  }
}

/** The last lines and those that come, until the model is folded. */
function drawLog(place, id) {
  const text = h("pre", { class: "log", tabindex: 0, "aria-label": `Log of ${id}` });
  const lines = [];
  let words = "";
  let following = true;
  const find = h("input", { type: "search", placeholder: "Find in the log", "aria-label": "Find in the log", oninput: () => { words = find.value.toLowerCase(); draw(); } });
  const follow = h("input", { type: "checkbox", onchange: () => { following = follow.checked; draw(); } });
  follow.checked = true;
  const command = h("div");
  place.append(command, h("div", { class: "tools" }, h("h3", {}, "Log"), find, h("label", {}, follow, " Follow"),
    button("Copy", () => copy(lines.join("\n"), "Copied the log."))), text);
  drawCommand(command, id);

  function draw() {
    setText(text, (words ? lines.filter((line) => line.toLowerCase().includes(words)) : lines).join("\n"));
    if (following) text.scrollTop = text.scrollHeight;
  }
  const own = new AbortController();
  read(own.signal, id, (line) => { lines.push(line); if (lines.length > LINES) lines.splice(0, lines.length - LINES); }, draw)
    .catch((error) => { if (error.name !== "AbortError") setText(text, error.message); });
  return () => own.abort();
}

async function read(signal, id, add, draw) {
  const response = await request(`/admin/engines/${named(id)}/log?lines=${LINES}&follow=true`, { signal });
  for await (const event of events(response)) {
    const row = JSON.parse(event.data);
    for (const line of row.lines) add(visible(`${clock(line.at)} ${line.event}`));
    draw();
  }
}

async function drawCommand(place, id) {
  try {
    const plan = await json(`/admin/engines/${named(id)}/plan`);
    fill(place, h("div", { class: "tools" }, h("h3", {}, "Command line"), button("Copy", () => copy(plan.command, "Copied the command line."))),
      h("pre", { class: "command" }, visible(plan.command)),
      h("ul", { class: "plainlist" }, plan.notes.map((note) => h("li", {}, visible(note)))));
  } catch (error) {
    fill(place, h("h3", {}, "Command line"), h("p", { class: "problem" }, error.message));
  }
}
