// The bodies of a request and its answer, which the setting `captures` keeps.

import { json } from "./api.js";
import { button, copy, fill, h } from "./dom.js";
import { visible } from "./words.js";

/** Opens a dialog over the page; Escape closes it. */
export async function showCapture(row) {
  const body = h("div", { class: "bodies" }, h("p", { class: "quiet" }, "Loading …"));
  const dialog = h("dialog", { "aria-label": `Bodies of ${row.request_id}`, onclose: () => dialog.remove() },
    h("div", { class: "tools" }, h("h2", {}, row.model || row.request), button("Close", () => dialog.close())), body);
  document.body.append(dialog);
  dialog.showModal();
  try {
    const capture = await json(`/admin/requests/${row.id}/capture`);
    fill(body, h("p", { class: "quiet" }, `${capture.request} · ${capture.request_id}. Secrets are removed.${capture.cut ? " Only the first 256 KiB of a body are kept." : ""}`),
      part("Sent to the engine", capture.sent), part("Received", capture.received));
  } catch (error) {
    fill(body, h("p", { class: "problem" }, error.message));
  }
}

function part(title, text) {
  const shown = visible(pretty(text)) || "Empty.";
  return h("section", { class: "code" }, h("div", { class: "codehead" }, h("h3", {}, title), button("Copy", () => copy(text), { "aria-label": `Copy: ${title}` })),
    h("pre", { tabindex: 0, "aria-label": title }, shown));
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
