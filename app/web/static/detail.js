// An opened model: its speculation, figures, decisions, presets and variants, command line and log.

import { events, json, named, request } from "./api.js";
import { button, copy, fill, h, keyed, setText } from "./dom.js";
import { engineOf, subscribe, state } from "./store.js";
import { clock, number, stateOf, visible } from "./words.js";

const LINES = 500;

export function drawDetail(place, id) {
  const others = h("div", { class: "others" });
  const variantsTitle = h("h3", {}, "Presets and speculation modes");
  place.others = (rows, drawActions, verdictOf) => {
    variantsTitle.hidden = !rows.length;
    keyed(others, rows, (row) => row.id,
      (row) => h("div", { class: "other" }, h("span", {}, row.id.startsWith(id) ? row.id.slice(id.length) : row.id), h("span", { class: "quiet" }), h("span", { class: "state" }), h("div", { class: "acts" })),
      (element, row) => {
        const engine = engineOf(row);
        const { word, kind } = stateOf(row, engine);
        setText(element.children[1], verdictOf(row, engine));
        setText(element.children[2], word);
        element.children[2].className = `state ${kind}`;
        drawActions(element.children[3], row, engine);
      });
  };
  if (!state.session.admin) {
    place.append(variantsTitle, others);
    return () => {};
  }
  const next = h("div");
  const measured = h("div");
  const decisions = h("ul", { class: "plainlist" });
  const nothing = h("p", { class: "quiet" }, "No decisions yet.");
  const command = h("div");
  place.append(h("div", { class: "columns" }, h("section", {}, h("h3", {}, "Decoding"), next), h("section", {}, h("h3", {}, "Last decisions"), decisions, nothing)),
    h("h3", {}, "Figures by mode"), measured, variantsTitle, others, command);
  const log = drawLog(place, id);
  let seen = "";

  function draw() {
    const engine = state.engines.get(id);
    const rows = [...state.decisions.entries()].filter(([, row]) => row.alias === id || row.alias.startsWith(`${id}:`)).sort((a, b) => b[1].at - a[1].at).slice(0, 12);
    keyed(decisions, rows, ([key]) => key, ([, row]) => h("li", {}, h("time", {}, clock(row.at)), ` ${row.decision}${row.alias === id ? "" : ` ${row.alias.slice(id.length)}`}: ${row.why}`));
    nothing.hidden = rows.length > 0;
    // The next start and the command line change with the state
    const now = `${engine?.state} ${engine?.since}`;
    if (seen === now) return;
    seen = now;
    drawNext(next, measured, id);
    drawCommand(command, id);
  }
  draw();
  const leave = subscribe(draw);
  return () => { leave(); log(); };
}

async function drawNext(place, measured, id) {
  try {
    const answer = await json(`/admin/models/${named(id)}/speculation`);
    const next = answer.next_start;
    const rows = [
      ["Requested", plainly(answer.requested)],
      ["Now", answer.active === null ? "not loaded" : answer.active ? answer.mode : `plain${answer.requested === "none" ? "" : ", speculation is off"}`],
      ["Reason", answer.reason], ["Chosen because", answer.active === null ? "" : answer.why],
      ["Next start", next && plainly(next.mode)], ["Because", next && next.why !== answer.why ? next.why : ""],
    ];
    fill(place, h("dl", {}, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
    fill(measured, figures(answer.figures ?? {}));
  } catch (error) {
    fill(place, h("p", { class: "problem" }, error.message));
    fill(measured, figures({}));
  }
}

function plainly(mode) {
  return mode === "none" ? "plain" : mode;
}

/** Measurements of each mode, from traffic. */
function figures(modes) {
  const rows = Object.entries(modes);
  if (!rows.length) return h("p", { class: "quiet" }, "No measurements yet with these files, options and this engine.");
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Figures by mode" }, h("table", {},
    h("thead", {}, h("tr", {}, ["mode", "tok/s alone", "2–3 at once", "4 or more", "against plain", "requests", "starts"].map((name) => h("th", { scope: "col", class: name === "mode" || name === "against plain" ? null : "num" }, name)))),
    h("tbody", {}, rows.map(([mode, row]) => h("tr", {}, h("td", {}, plainly(mode)), ["1", "2-3", "4+"].map((level) => h("td", { class: "num" }, number(row.goodput?.[level], 1))), h("td", {}, gain(row.gain)), h("td", { class: "num" }, number(row.requests)), h("td", { class: "num" }, number(row.cold_starts)))))));
}

/** A gain and the bounds of its 90 % interval. */
function gain(found) {
  if (!found) return "–";
  const share = (value) => `${value >= 0 ? "+" : "−"}${Math.abs(Math.round(100 * value))} %`;
  return found.low === null ? `${share(found.mean)}, too few starts for an interval` : `${share(found.mean)} (${share(found.low)} to ${share(found.high)})`;
}

/** Follows the log until the model is closed. */
function drawLog(place, id) {
  const text = h("pre", { class: "log", tabindex: 0, "aria-label": `Log of ${id}` });
  const lines = [];
  let words = "";
  let following = true;
  const find = h("input", { type: "search", placeholder: "Find in the log", "aria-label": "Find in the log", oninput: () => { words = find.value.toLowerCase(); draw(); } });
  const follow = h("input", { type: "checkbox", onchange: () => { following = follow.checked; draw(); } });
  follow.checked = true;
  place.append(h("div", { class: "tools" }, h("h3", {}, "Log"), find, h("label", {}, follow, " Follow"),
    button("Copy", () => copy(lines.join("\n"), "Copied the log."))), text);

  function draw() {
    const found = words ? lines.filter((line) => line.toLowerCase().includes(words)) : lines;
    setText(text, found.length ? found.join("\n") : words ? "No line matches." : "No lines: the engine has not run since the gateway started.");
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
