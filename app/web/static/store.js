// The state of the page, and its subscribers.

export const state = {
  session: { version: "", key: null, admin: false, key_needed: false },
  online: true,
  models: [],
  // True once the list of models has arrived
  loaded: false,
  gateway: {},
  engines: new Map(),
  requests: new Map(),
  pulls: new Map(),
  decisions: new Map(),
  finished: [],
  memory: null,
  // Bytes of the host that each engine's process holds, by its name
  resident: new Map(),
};

/** The name of a model's engine. Presets and aliases share the engine of their entry. */
export function engineKey(model) {
  if (!model.root) return model.id;
  const [, variant] = model.id.startsWith(`${model.root}:`) ? model.id.slice(model.root.length + 1).split(":") : [];
  return variant ? `${model.root}:${variant}` : model.root;
}

export function engineOf(model) {
  return state.engines.get(engineKey(model));
}

const KEPT = 1000;
const listeners = new Set();
let pending = false;

export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Calls each listener once for all changes within 40 ms. */
export function notify() {
  if (pending) return;
  pending = true;
  setTimeout(() => {
    pending = false;
    // An earlier listener may have closed a later one's view
    for (const listener of [...listeners]) if (listeners.has(listener)) listener();
  }, 40);
}

export function addFinished(rows) {
  const known = new Set(state.finished.map((row) => row.id));
  const fresh = rows.filter((row) => !known.has(row.id));
  if (!fresh.length) return;
  state.finished = [...fresh, ...state.finished].sort((a, b) => Number(b.id) - Number(a.id)).slice(0, KEPT);
  for (const row of fresh) addTokens(row.model, row.at, Math.max(0, (row.completion_tokens ?? 0) - (seen.get(row.request_id) ?? 0)));
  for (const row of fresh) seen.delete(row.request_id);
  notify();
}

// Tokens by model in steps of ten seconds, for ten minutes.
export const STEP_S = 10;
const STEPS = 60;
const series = new Map();
const seen = new Map();

export function addProgress(row) {
  if (row.tokens === null) return;
  const before = seen.get(row.request_id) ?? 0;
  if (row.tokens > before) addTokens(row.model, Date.now() / 1000, row.tokens - before);
  seen.set(row.request_id, row.tokens);
}

function addTokens(model, at, count) {
  if (!count) return;
  const steps = series.get(model) ?? new Map();
  series.set(model, steps);
  const step = Math.floor(at / STEP_S);
  steps.set(step, (steps.get(step) ?? 0) + count);
  const oldest = Math.floor(Date.now() / 1000 / STEP_S) - STEPS;
  for (const each of steps.keys()) if (each < oldest) steps.delete(each);
}

/** Tokens per second over the last ten minutes, oldest first. */
export function rates(model) {
  const steps = series.get(model);
  if (!steps) return [];
  const now = Math.floor(Date.now() / 1000 / STEP_S);
  return Array.from({ length: STEPS }, (_, i) => (steps.get(now - STEPS + 1 + i) ?? 0) / STEP_S);
}

export function clearLive() {
  for (const name of ["engines", "requests", "pulls", "decisions"]) state[name].clear();
  state.gateway = {};
  state.finished = [];
  state.memory = null;
  state.resident.clear();
  series.clear();
  seen.clear();
}
