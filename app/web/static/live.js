// Updates the store: by the event stream for administrators, else by polling the models.

import { ApiError, events, holdKey, json, request } from "./api.js";
import { addFinished, notify, clearLive, addProgress, state } from "./store.js";

const MODELS_EVERY_MS = 2000;
const MODELS_SELDOM_MS = 15000;
const MEMORY_EVERY_MS = 10000;
const LONGEST_WAIT_MS = 8000;

// The gateway does not log polls
const POLL = { headers: { "X-Tandem-Poll": "1" } };

let stream = null;
let lastId = "";
let asking = false;
let askedAt = 0;
let hasMemory = true;
let memoryAt = 0;

export async function learnSession() {
  state.session = await json("/ui/session");
  notify();
}

/** Signs in with a one-time link or a key. */
export async function signIn({ link, key }) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (key && !window.isSecureContext) {
    holdKey(key);
    await learnSession().catch((error) => { holdKey(""); throw error; });
  } else {
    state.session = await json("/ui/session", { method: "POST", body: link ? { link } : {}, headers });
  }
  restart();
}

export async function signOut() {
  holdKey("");
  await json("/ui/session", { method: "DELETE" }).catch(() => {});
  clearLive();
  state.models = [];
  await learnSession();
  restart();
}

export function restart() {
  stream?.abort();
  stream = null;
  lastId = "";
  askedAt = 0;
  notify();
  if (state.session.admin) follow();
  askModels();
}

export function begin() {
  restart();
  setInterval(tick, 500);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
}

function tick() {
  if (document.hidden) return;
  const every = state.session.admin && state.online ? MODELS_SELDOM_MS : MODELS_EVERY_MS;
  if (Date.now() - askedAt >= every) askModels();
  if (state.session.admin && hasMemory && Date.now() - memoryAt >= MEMORY_EVERY_MS) askMemory();
}

export async function askModels() {
  if (asking) return;
  asking = true;
  askedAt = Date.now();
  try {
    const { data } = await json("/v1/models?variants=true", POLL);
    if (!state.online && !state.session.admin) await learnSession();
    state.models = data;
    state.loaded = true;
    state.online = true;
  } catch (error) {
    await handleFailure(error);
  } finally {
    asking = false;
    notify();
  }
}

async function askMemory() {
  memoryAt = Date.now();
  try {
    const [memory, engines] = await Promise.all([json("/admin/memory", POLL), json("/admin/engines", POLL)]);
    state.memory = memory;
    state.resident = new Map(engines.data.filter((row) => row.memory).map((row) => [row.alias, row.memory]));
    notify();
  } catch (error) {
    if (error.status === 404) hasMemory = false;
  }
}

async function handleFailure(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 401) {
    state.models = [];
    if (state.session.key !== null) await forgetSession();
  } else if (error.status === 0) {
    state.online = false;
  }
}

async function forgetSession() {
  clearLive();
  holdKey("");
  await learnSession().catch(() => {});
}

async function follow() {
  const own = new AbortController();
  stream = own;
  let wait = 500;
  while (stream === own) {
    try {
      const headers = lastId ? { "Last-Event-ID": lastId } : {};
      const response = await request("/admin/events", { signal: own.signal, headers });
      state.online = true;
      wait = 500;
      for await (const event of events(response)) {
        if (stream !== own) return;
        lastId = event.id ?? lastId;
        applyEvent(event.event, JSON.parse(event.data));
      }
    } catch (error) {
      if (stream !== own || error.name === "AbortError") return;
      if (error.status === 401 || error.status === 403 || error.status === 404) {
        stream = null;
        await forgetSession();
        restart();
        return;
      }
    }
    if (stream !== own) return;
    state.online = false;
    notify();
    await new Promise((resume) => { setTimeout(resume, wait); });
    wait = Math.min(LONGEST_WAIT_MS, wait * 2);
  }
}

const SECTIONS = ["engines", "requests", "pulls", "decisions"];

function applyEvent(kind, data) {
  if (kind === "snapshot") {
    for (const name of SECTIONS) state[name] = new Map(Object.entries(data[name] ?? {}));
    state.gateway = data.gateway?.self ?? {};
    state.finished = [];
    json("/admin/requests?limit=1000").then((rows) => addFinished(rows.finished)).catch(() => {});
    askModels();
  } else {
    applyChange(data);
  }
  notify();
}

function applyChange({ set = {}, gone = {}, finished = [] }) {
  if (set.gateway) state.gateway = set.gateway.self;
  for (const name of SECTIONS) {
    for (const [key, row] of Object.entries(set[name] ?? {})) state[name].set(key, row);
    for (const key of gone[name] ?? []) state[name].delete(key);
  }
  for (const row of Object.values(set.requests ?? {})) addProgress(row);
  addFinished(finished);
  // A model's files and context in its row change with its engine
  if (set.engines || set.pulls || gone.pulls) askedAt = Math.min(askedAt, Date.now() - MODELS_SELDOM_MS + 1000);
}
