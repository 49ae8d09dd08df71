// The frame: tabs, views, the header, banners, and the form for a key.

import { button, copy, fill, h, keyed, say, setText } from "./dom.js";
import { begin, learnSession, signIn, signOut } from "./live.js";
import { drawGauges } from "./gauges.js";
import { subscribe, state } from "./store.js";
import { seconds } from "./words.js";

const VIEWS = [
  ["models", "Models", () => import("./models.js")],
  ["activity", "Activity", () => import("./activity.js")],
  ["chat", "Chat", () => import("./chat.js")],
  ["get", "Get models", () => import("./get.js")],
  ["connect", "Connect", () => import("./connect.js")],
  ["api", "API", () => import("./reference.js")],
];

const main = document.getElementById("main");
let shown = "";
let stop = () => {};

/** `#chat?model=a/b` -> ["chat", its parameters]. */
function place() {
  const [view, query] = location.hash.slice(1).split("?");
  const first = location.pathname === "/docs" ? "api" : "models";
  return [VIEWS.some(([name]) => name === view) ? view : first, new URLSearchParams(query)];
}

async function show() {
  const [view, query] = place();
  const keyMissing = needsKey();
  const wanted = keyMissing ? "key" : `${view}?${query}`;
  if (shown === wanted) return;
  stop();
  stop = () => {};
  shown = wanted;
  drawTabs();
  if (keyMissing) {
    askForKey();
    return;
  }
  try {
    const module = await VIEWS.find(([name]) => name === view)[2]();
    if (shown !== wanted) return;
    stop = module.show(fill(main), query) ?? (() => {});
  } catch (error) {
    shown = "";
    fill(main, h("p", { class: "quiet" }, `This view did not load: ${error.message} `, button("Try again", show)));
  }
}

function needsKey() {
  return state.session.key_needed && state.session.key === null;
}

function drawTabs() {
  const [view] = place();
  fill(document.getElementById("tabs"), VIEWS.map(([name, title]) =>
    h("a", { href: `#${name}`, "aria-current": name === view ? "page" : null }, title)));
}

function askForKey() {
  const field = h("input", { id: "key", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const problem = h("p", { class: "problem", role: "alert" });
  const form = h("form", { class: "card narrow", onsubmit: submit },
    h("h2", {}, "API key required"),
    h("p", {}, "This gateway requires an API key. The page does not store it: it exchanges the key for a session of twelve hours."),
    h("label", { for: "key" }, "API key"), field, h("button", { class: "first" }, "Sign in"), problem,
    h("p", { class: "quiet" }, "If you run the gateway, ", h("code", {}, "llama-tandem open"), " signs you in as its administrator."));

  async function submit(event) {
    event.preventDefault();
    setText(problem, "");
    try {
      await signIn({ key: field.value.trim() });
      show();
    } catch (error) {
      setText(problem, error.message);
      field.select();
    }
  }
  fill(main, form);
  field.focus();
}

function drawHead() {
  const { session, gateway } = state;
  const facts = document.getElementById("facts");
  const parts = [
    session.version && ["version", session.version],
    gateway.started && ["up", seconds(Date.now() / 1000 - gateway.started)],
    gateway.engine && ["engine", engineName(gateway.engine), gateway.engine],
    gateway.started && ["loaded", gateway.max_loaded ? `${gateway.loaded} of ${gateway.max_loaded}` : String(gateway.loaded)],
    session.key && ["key", session.key],
  ].filter(Boolean);
  keyed(facts, parts, ([name]) => name, ([name]) => h("span", { class: "fact" }, h("span", { class: "quiet" }, `${name} `), h("b")),
    (element, [, value, more]) => { setText(element.lastChild, value); element.title = more ?? ""; });
  facts.address ??= facts.parentNode.appendChild(
    button(`${location.origin}/v1`, () => copy(`${location.origin}/v1`, "Copied the address."), { class: "address", title: "Copy the address of the API" }));
  facts.leave ??= facts.parentNode.appendChild(button("Sign out", async () => { await signOut(); show(); }, { class: "plain" }));
  facts.leave.hidden = session.key === null;
  drawGauges(document.getElementById("gauges"), state.memory);
}

/** The configured engine, and the builds of running engines. */
function engineName(origin) {
  const builds = new Set([...state.engines.values()].map((engine) => engine.build).filter((build) => build && !/^b0-/.test(build)));
  // The tooltip shows the path of the binary
  const short = /\(\/.*?([^/]+)\)$/.exec(origin)?.[1] ?? origin;
  return [short, ...builds].join(", ");
}

function drawBanners() {
  const rows = [];
  if (!state.online) rows.push({ key: "offline", kind: "warning", text: "The gateway does not answer. The page keeps trying, and shows the last known state." });
  for (const engine of state.engines.values()) {
    const { diagnosis } = engine;
    if (!diagnosis || !["fatal", "backoff"].includes(engine.state)) continue;
    rows.push({ key: engine.alias, kind: "failure", text: `${engine.alias}: ${diagnosis.cause}`, more: diagnosis.advice });
  }
  keyed(document.getElementById("banners"), rows.slice(0, 5), (row) => row.key,
    (row) => h("div", { class: `banner ${row.kind}`, role: "alert" }, h("b"), h("span")),
    (element, row) => { setText(element.children[0], row.text); setText(element.children[1], row.more ? ` ${row.more}` : ""); });
}

async function start() {
  const link = /^#link=([\w-]+)$/.exec(location.hash)?.[1];
  if (link) history.replaceState(null, "", location.pathname);
  await learnSession().catch(() => { state.online = false; });
  let problem = "";
  if (link) await signIn({ link }).catch((error) => { problem = error.message; });
  window.addEventListener("hashchange", () => { drawTabs(); show(); });
  subscribe(() => {
    drawHead();
    drawBanners();
    if (needsKey() !== (shown === "key")) show();
  });
  begin();
  drawHead();
  await show();
  if (problem) say(problem, true);
}

start();
