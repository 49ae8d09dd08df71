// Requests to the gateway. The browser sends the session's cookie. Without TLS the browser does not report a request's
// origin, so the page keeps the key in this variable until it is closed.

let heldKey = "";

export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function holdKey(key) {
  heldKey = key;
}

export async function request(path, { method = "GET", body, signal, headers = {} } = {}) {
  const sent = { ...headers };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  if (heldKey) sent.Authorization = sent.Authorization ?? `Bearer ${heldKey}`;
  let response;
  try {
    response = await fetch(path, { method, signal, headers: sent, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The gateway does not answer.", 0, "offline");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const text = await response.text().catch(() => "");
  try {
    const { error } = JSON.parse(text);
    return new ApiError(error.message ?? String(error), response.status, error.code);
  } catch {
    return new ApiError(`The gateway answered ${response.status}: ${text.slice(0, 200)}`, response.status, "");
  }
}

export async function json(path, options) {
  return (await request(path, options)).json();
}

/** The events of a `text/event-stream` answer: {id, event, data}. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = { id: undefined, event: "message", data: undefined };
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon < 1) continue;
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") event.data = event.data === undefined ? value : `${event.data}\n${value}`;
    else event[name] = value;
  }
  return event.data === undefined ? null : event;
}

/** A model's name as one part of a path, its slashes escaped. */
export function named(alias) {
  return encodeURIComponent(alias);
}
