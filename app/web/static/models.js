// One row per model: its state, speculation, memory, speed and actions.

import { json, named } from "./api.js";
import { button, fill, h, keyed, say, setText, svg } from "./dom.js";
import { drawDetail } from "./detail.js";
import { notify, engineKey, engineOf, subscribe, rates, state } from "./store.js";
import { ago, bytes, memory, number, percent, seconds, stateOf } from "./words.js";

const opened = new Set();
// The result of the last action on a model, until the next one
const problems = new Map();
let search = "";

export function show(main) {
  const field = h("input", { type: "search", placeholder: "Find a model", "aria-label": "Find a model", value: search, oninput: () => { search = field.value; draw(); } });
  const hint = h("p", { class: "quiet hint" });
  const list = h("div", { class: "models", role: "list" });
  const none = h("p", { class: "empty" });
  main.append(h("div", { class: "tools" }, h("h2", {}, "Models"), field), hint, none, list);

  function draw() {
    const { admin } = state.session;
    fillHint(hint, admin);
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = families(state.models).filter(({ model }) => words.every((word) => model.id.toLowerCase().includes(word)));
    keyed(list, rows, (row) => row.model.id, makeRow, updateRow);
    none.hidden = rows.length > 0;
    if (!rows.length) {
      setText(none, state.models.length ? "No model has this name." : state.loaded ? "No models are configured. Find some in “Get models”, and add them to tandem.yaml." : "Loading …");
    }
  }
  draw();
  const clock = setInterval(draw, 1000);
  const leave = subscribe(draw);
  return () => { clearInterval(clock); leave(); };
}

function fillHint(hint, admin) {
  if (hint.admin === admin) return;
  hint.admin = admin;
  if (admin) fill(hint);
  else fill(hint, "To load, unload and watch models, sign in as the administrator: run ", h("code", {}, "llama-tandem open"), " on the gateway's machine.");
}

/** Entries with their presets and variants. */
export function families(models) {
  const ids = new Map(models.map((model) => [model.id, { model, others: [] }]));
  const parts = [];
  for (const model of models) {
    const parent = ids.get(model.root) ?? ids.get(model.id.slice(0, model.id.lastIndexOf(":")));
    if (parent && parent.model !== model) parent.others.push(model);
    else parts.push(ids.get(model.id));
  }
  return parts;
}

function makeRow({ model }) {
  const slash = model.id.lastIndexOf("/") + 1;
  const name = h("button", { type: "button", class: "name", "aria-expanded": "false", onclick: toggle }, h("span", { class: "owner" }, model.id.slice(0, slash)), h("wbr"), model.id.slice(slash));
  const detail = h("div", { class: "detail", hidden: true });
  const element = h("div", { class: "model", role: "listitem", "aria-label": model.id },
    h("div", { class: "line" }, h("div", { class: "who" }, name, h("div", { class: "tags" })),
      h("span", { class: "state" }), h("div", { class: "verdict" }, h("div"), h("div", { class: "quiet" })), h("div", { class: "speed" }), h("div", { class: "use quiet" }), h("div", { class: "acts" })), h("p", { class: "problem" }), detail);
  element.detail = detail;

  function toggle() {
    const open = !opened.delete(model.id);
    if (open) opened.add(model.id);
    updateOpen(element, model.id);
  }
  return element;
}

function updateOpen(element, id) {
  const open = opened.has(id);
  element.querySelector(".name").setAttribute("aria-expanded", String(open));
  element.detail.hidden = !open;
  if (open && !element.close) element.close = drawDetail(element.detail, id);
  if (!open && element.close) {
    element.close();
    element.close = null;
    fill(element.detail);
  }
}

function updateRow(element, { model, others }) {
  const engine = engineOf(model);
  const [who, badge, verdict, speed, use, acts] = element.firstChild.children;
  const { word, kind } = stateOf(model, engine);
  setText(badge, word);
  badge.className = `state ${kind}`;
  tags(who.lastChild, model);
  setText(verdict.firstChild, verdictOf(model, engine));
  setText(verdict.lastChild, memoryOf(model, engine));
  if (engine?.state === "ready") problems.delete(model.id);
  setText(element.children[1], problems.get(model.id) ?? model.download?.error ?? failureOf(engine));
  drawSpeed(speed, [model, ...others].map((row) => row.id));
  setText(use, useOf(engine));
  drawActions(acts, model, engine);
  updateOpen(element, model.id);
  element.detail.others?.(others, drawActions, verdictOf);
}

function failureOf(engine) {
  return engine?.diagnosis && ["fatal", "backoff"].includes(engine.state) ? `${engine.diagnosis.cause} ${engine.diagnosis.advice}` : "";
}

function tags(place, model) {
  const words = [...(model.capabilities ?? []).filter((word) => word !== "completion")];
  if (model.context_length) words.unshift(`${number(model.context_length)} ctx`);
  if (engineOf(model)?.pinned) words.unshift("pinned");
  keyed(place, words, (word) => word, (word) => h("span", { class: "tag" }, word));
}

/** The speculation mode, its gain, or why it is off. */
export function verdictOf(model, engine) {
  const speculation = engine?.speculation ?? model.speculation;
  if (!speculation) return "";
  const { requested, active, mode, reason } = speculation;
  if (active === null) return requested === "none" ? "plain" : `${requested} when loaded`;
  if (!active) return requested === "none" ? "plain" : reason ? `plain instead of ${requested}: ${reason}` : `plain instead of ${requested}`;
  const rows = state.finished.filter((row) => row.model === model.id && row.mode === mode && row.drafted);
  const drafted = rows.reduce((sum, row) => sum + row.drafted, 0);
  const accepted = rows.reduce((sum, row) => sum + (row.accepted ?? 0), 0);
  const parts = [mode];
  if (drafted) parts.push(`${percent(accepted, drafted)} accepted`);
  const gain = gainOver(model.id, rows);
  if (gain) parts.push(`${gain.toFixed(2)}x plain`);
  return parts.join(", ");
}

/** The ratio of medians of the requests that this page has seen, at least three of each. */
function gainOver(id, rows) {
  const plain = state.finished.filter((row) => row.mode === "none" && (row.model === id || row.model === `${id}:plain`));
  const [fast, slow] = [rows, plain].map((each) => each.map((row) => row.tokens_per_second).filter(Boolean));
  return fast.length >= 3 && slow.length >= 3 ? median(fast) / median(slow) : null;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** The estimated and measured memory, or the size of the files. */
export function memoryOf(model, engine) {
  const key = engineKey(model);
  const sum = (places) => Object.values(places ?? {}).reduce((all, size) => all + size, 0);
  const estimated = sum(engine?.footprint), measured = sum(engine?.measured) || state.resident.get(key);
  const parts = [];
  if (estimated) parts.push(`${memory(estimated)} estimated`);
  if (measured && engine && !["stopped", "fatal", "backoff"].includes(engine.state)) parts.push(`${memory(measured)} measured`);
  if (!parts.length && model.meta?.size) parts.push(`${bytes(model.meta.size)} of files`);
  return parts.join(" · ");
}

function drawSpeed(place, ids) {
  const each = ids.map(rates).filter((values) => values.length);
  const values = each.length ? each[0].map((_, i) => each.reduce((sum, row) => sum + row[i], 0)) : [];
  const last = state.finished.find((row) => ids.includes(row.model) && row.tokens_per_second);
  const text = last ? `${number(last.tokens_per_second, 1)} tok/s` : "";
  if (!place.firstChild) place.append(h("span"), svg("svg", { class: "spark", viewBox: "0 0 60 16", "aria-hidden": "true", preserveAspectRatio: "none" }, svg("polyline", { fill: "none" })));
  setText(place.firstChild, text);
  const most = Math.max(...values, 0);
  place.lastChild.classList.toggle("empty", !most);
  place.lastChild.firstChild.setAttribute("points", most ? values.map((value, i) => `${i},${(15 - (14 * value) / most).toFixed(1)}`).join(" ") : "");
}

function useOf(engine) {
  if (!engine) return "";
  const parts = [];
  if (engine.waiting) parts.push(`${engine.waiting} waiting`);
  if (engine.last_used) parts.push(`used ${ago(engine.last_used)}`);
  if (engine.unloads_at) parts.push(`unloads in ${seconds(Math.max(0, engine.unloads_at - Date.now() / 1000))}`);
  return parts.join(" · ");
}

/** Replaces buttons only if they differ, since a user may be pressing one. */
export function drawActions(place, model, engine) {
  const wanted = actionsFor(model, engine).map(([label]) => label).join("|");
  if (place.wanted === wanted) return;
  place.wanted = wanted;
  const focused = place.contains(document.activeElement);
  fill(place, actionsFor(model, engine).map(([label, act]) => button(label, act, { "aria-label": `${label} ${model.id}` })));
  if (focused) place.firstChild?.focus();
}

function actionsFor(model, engine) {
  const chat = ["Chat", () => { location.hash = `chat?model=${encodeURIComponent(model.id)}`; }];
  const talks = (model.capabilities ?? ["completion"]).includes("completion");
  if (!state.session.admin || model.state === "attached") return talks ? [chat] : [];
  const up = engine && !["stopped", "fatal", "backoff"].includes(engine.state);
  const acts = [];
  const pull = [...state.pulls.values()].find((each) => each.state === "running" && each.name === model.id);
  if (pull) acts.push(["Cancel pull", () => cancelPull(pull.id)]);
  else if (engine?.repo && model.meta?.size === null && !up) acts.push(["Pull", () => startPull(model.id)]);
  if (up) acts.push(["Unload", () => act(model.id, "unload")]);
  else acts.push(["Load", () => act(model.id, "load")]);
  if (engine && ["fatal", "backoff"].includes(engine.state)) acts.push(["Reset", () => act(model.id, "reset")]);
  acts.push(engine?.pinned ? ["Unpin", () => act(model.id, "unpin")] : ["Pin", () => act(model.id, "pin")]);
  if (talks) acts.push(chat);
  return acts;
}

const DONE = { load: "is loading", unload: "unloads after its running requests", pin: "stays loaded", unpin: "may be unloaded", reset: "starts again on the next request" };

async function act(id, verb) {
  try {
    problems.delete(id);
    await json(`/admin/models/${named(id)}/${verb}`, { method: "POST" });
    say(`${id} ${DONE[verb]}.`);
  } catch (error) {
    // Shown in the row, and read by screen readers
    problems.set(id, error.message);
    say(error.message, true, true);
    notify();
  }
}

async function startPull(name) {
  try {
    problems.delete(name);
    await json("/admin/pulls", { method: "POST", body: { name } });
    say(`Pulling ${name}.`);
  } catch (error) {
    problems.set(name, error.message);
    say(error.message, true);
  }
}

async function cancelPull(id) {
  try {
    await json(`/admin/pulls/${id}`, { method: "DELETE" });
    say("Cancelled; the bytes received so far are kept.");
  } catch (error) {
    say(error.message, true);
  }
}
