// Figures and states as text.

const FILE_UNITS = ["B", "KB", "MB", "GB", "TB"];
const MEMORY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Sizes of files and transfers, in decimal units, as for disks. */
export function bytes(count) {
  return sized(count, 1000, FILE_UNITS);
}

/** Sizes of memory, in binary units, as in drivers' reports. */
export function memory(count) {
  return sized(count, 1024, MEMORY_UNITS);
}

function sized(count, step, units) {
  if (count === null || count === undefined) return "–";
  let unit = 0;
  let value = count;
  while (value >= step && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  if (value < 36 * 3600) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

export function ago(at) {
  if (!at) return "never";
  const passed = Date.now() / 1000 - at;
  return passed < 2 ? "now" : `${seconds(passed)} ago`;
}

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour12: false });
}

export function number(value, digits = 0) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits });
}

export function percent(part, whole) {
  return whole ? `${Math.round((100 * part) / whole)} %` : "–";
}

/** The state of a model: {word, kind}. `kind` selects the colour. */
export function stateOf(model, engine) {
  const state = engine && model.state !== "downloading" ? engine.state : model.state;
  const loading = engine?.loading ?? model.loading;
  switch (state) {
    case "attached": return { word: "attached", kind: "ready" };
    case "downloading": {
      const share = model.download?.percent;
      return { word: share === null || share === undefined ? "downloading" : `downloading ${Math.floor(share)} %`, kind: "moving" };
    }
    case "starting":
      return { word: loading?.size ? `loading ${bytes(loading.read)} of ${bytes(loading.size)}` : "loading", kind: "moving" };
    case "ready":
      return engine?.in_flight
        ? { word: engine.slots ? `busy ${engine.in_flight}/${engine.slots}` : "busy", kind: "busy" }
        : { word: "ready", kind: "ready" };
    case "draining": return { word: "draining", kind: "moving" };
    case "stopping": return { word: "stopping", kind: "moving" };
    case "backoff":
      return { word: engine?.retry_after ? `retry in ${seconds(engine.retry_after)}` : "retrying", kind: "failed" };
    case "fatal": return { word: "failed", kind: "failed" };
    default:
      if (model.download?.error) return { word: "download failed", kind: "failed" };
      if (model.meta && model.meta.size === null) return { word: engine?.repo ? "not downloaded" : "files missing", kind: "idle" };
      return { word: "stopped", kind: "idle" };
  }
}

// Control characters are invisible, and those that change the direction of writing can disguise text.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

export function visible(text) {
  return text.replace(INVISIBLE, "\ufffd");
}
