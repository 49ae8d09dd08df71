// Running and finished requests.

import { json } from "./api.js";
import { button, download, fill, h, keyed, options, say, setText } from "./dom.js";
import { showCapture } from "./captures.js";
import { subscribe, state } from "./store.js";
import { clock, number, seconds } from "./words.js";

const SHOWN = 200;
const COLUMNS = ["time", "model", "mode", "status", "prompt", "cached", "out", "TTFT", "tok/s", "accepted", "request id", ""];
const NUMBERS = new Set(["prompt", "cached", "out", "TTFT", "tok/s", "tokens", "age", "requests", "failed", "TTFT median", "TTFT 95 %", "tok/s median", "tok/s slowest 5 %", "accepted"]);

export function show(main) {
  if (!state.session.admin) {
    main.append(h("h2", {}, "Activity"), h("p", {}, "Only administrators can see requests. To sign in, run ", h("code", {}, "llama-tandem open"), " on the gateway's machine."));
    return undefined;
  }
  const model = h("select", { "aria-label": "Model", onchange: draw });
  const outcome = h("select", { "aria-label": "Outcome", onchange: draw }, ["all", "succeeded", "failed"].map((word) => h("option", { value: word }, word)));
  const words = h("input", { type: "search", placeholder: "Key, request id, error", "aria-label": "Filter", oninput: draw });
  const running = h("tbody");
  const ended = h("tbody");
  const sums = h("tbody");
  const mode = h("select", { "aria-label": "Mode", onchange: draw });
  const none = h("p", { class: "empty" }, "No request is running.");
  const nothing = h("p", { class: "empty" });
  const kept = h("p", { class: "quiet hint" });
  main.append(
    h("div", { class: "tools" }, h("h2", {}, "In flight")), none, table(["model", "key", "state", "age", "tokens", "tok/s", ""], running, "Running requests"),
    h("div", { class: "tools" }, h("h2", {}, "Finished"), model, mode, outcome, words, button("Export CSV", () => download("requests.csv", "text/csv", csv(rows())))),
    kept, nothing, table(COLUMNS, ended, "Finished requests"),
    h("div", { class: "tools" }, h("h2", {}, "By model")), table(["model", "requests", "failed", "TTFT median", "TTFT 95 %", "tok/s median", "tok/s slowest 5 %"], sums, "Percentiles by model"));

  function rows() {
    const text = words.value.toLowerCase();
    return state.finished.filter((row) => (!model.value || row.model === model.value)
      && (!mode.value || modeOf(row) === mode.value)
      && (outcome.value === "all" || (row.status < 400) === (outcome.value === "succeeded"))
      && (!text || `${row.key} ${row.request_id} ${row.error} ${row.request}`.toLowerCase().includes(text)));
  }

  function draw() {
    options(model, [...new Set(state.finished.map((row) => row.model).filter(Boolean))].sort(), "", "all models");
    options(mode, [...new Set(state.finished.map(modeOf))].sort(), "", "all modes");
    const now = [...state.requests.values()];
    none.hidden = now.length > 0;
    running.parentNode.parentNode.hidden = !now.length;
    keyed(running, now, (row) => row.id, makeRunning, updateRunning);
    const found = rows();
    nothing.hidden = found.length > 0;
    setText(nothing, state.finished.length ? "No request matches the filters." : "No requests since the gateway started.");
    ended.parentNode.parentNode.hidden = sums.parentNode.parentNode.hidden = !found.length;
    setText(kept, keptWords(found.length));
    keyed(ended, found.slice(0, SHOWN), (row) => row.id, finishedRow);
    keyed(sums, percentiles(found), (row) => row[0], (row) => h("tr", {}, row.map((_, i) => h("td", { class: i ? "num" : null }))), (element, row) => row.forEach((value, i) => setText(element.children[i], value)));
  }
  draw();
  const tick = setInterval(draw, 1000);
  const leave = subscribe(draw);
  return () => { clearInterval(tick); leave(); };
}

function table(names, body, label) {
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": label }, h("table", {}, h("thead", {}, h("tr", {}, names.map((name) => (name ? h("th", { scope: "col", class: NUMBERS.has(name) ? "num" : null }, name) : h("td"))))), body));
}

function modeOf(row) {
  return row.mode === "none" ? "plain" : row.mode ?? "–";
}

function keptWords(count) {
  const shown = count > SHOWN ? `Shows the last ${SHOWN} of ${number(count)}; the CSV has all. ` : "";
  const { captures } = state.gateway;
  return `${shown}${captures ? `Bodies of the last ${captures} requests are kept in memory.` : "Bodies are not kept. To keep those of the last N requests in memory, set captures: N in tandem.yaml."}`;
}

function makeRunning(row) {
  return h("tr", {}, h("td", {}, row.model), h("td", {}, row.key || "–"), h("td"), h("td", { class: "num" }), h("td", { class: "num" }), h("td", { class: "num" }), h("td", {}, button("Cancel", () => cancel(row), { "aria-label": `Cancel ${row.request_id}` })));
}

function updateRunning(element, row) {
  const age = Date.now() / 1000 - row.at;
  const decoding = row.ttft === null ? 0 : age - row.ttft;
  setText(element.children[2], row.state);
  setText(element.children[3], seconds(Math.max(0, age)));
  setText(element.children[4], number(row.tokens));
  setText(element.children[5], row.tokens && decoding > 0.2 ? number(row.tokens / decoding, 1) : "–");
}

async function cancel(row) {
  try {
    await json(`/admin/requests/${row.id}`, { method: "DELETE" });
    say("Cancelled. The client got an error.");
  } catch (error) {
    say(error.message, true);
  }
}

function finishedRow(row) {
  const share = row.drafted ? `${row.accepted ?? 0}/${row.drafted}` : "–";
  const cells = [clock(row.at), row.model || row.request, modeOf(row), row.status, number(row.prompt_tokens), number(row.cached_tokens), number(row.completion_tokens), seconds(row.ttft), number(row.tokens_per_second, 1), share, row.request_id];
  return h("tr", { class: row.status >= 400 ? "bad" : null, title: row.error || null }, cells.map((cell, i) => h("td", { class: NUMBERS.has(COLUMNS[i]) ? "num" : i === 10 ? "id" : null }, String(cell))),
    h("td", {}, row.captured ? button("Bodies", () => showCapture(row), { "aria-label": `Bodies of ${row.request_id}` }) : null));
}

function percentiles(rows) {
  const models = new Map();
  for (const row of rows) if (row.model) models.set(row.model, [...(models.get(row.model) ?? []), row]);
  return [...models].map(([model, all]) => {
    const ttft = all.map((row) => row.ttft).filter((value) => value !== null).sort((a, b) => a - b);
    const rate = all.map((row) => row.tokens_per_second).filter((value) => value !== null).sort((a, b) => a - b);
    return [model, String(all.length), String(all.filter((row) => row.status >= 400).length), seconds(at(ttft, 0.5)), seconds(at(ttft, 0.95)), number(at(rate, 0.5), 1), number(at(rate, 0.05), 1)];
  });
}

function at(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : null;
}

const FIELDS = ["at", "model", "mode", "key", "status", "error", "request", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds", "ttft", "tokens_per_second", "drafted", "accepted", "request_id"];

/** Text that a spreadsheet would read as a formula gets an apostrophe. */
export function csv(rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [FIELDS.join(","), ...rows.map((row) => FIELDS.map((name) => cell(row[name])).join(","))].join("\r\n");
}
