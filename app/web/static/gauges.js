// Memory bars of the host and each device: used by our engines, used by others, and free.

import { h, keyed, setText, svg } from "./dom.js";
import { memory } from "./words.js";

export function drawGauges(place, memory) {
  keyed(place, rowsOf(memory), (row) => row.name, make, update);
}

function make(row) {
  const bar = svg("svg", { class: "membar", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img" },
    svg("rect", { class: "others", y: 0, height: 8, x: 0, width: 0 }), svg("rect", { class: "ours", y: 0, height: 8, x: 0, width: 0 }), svg("rect", { class: "budget", y: 0, height: 8, x: 0, width: 0.6 }));
  return h("div", { class: "gauge" }, h("span", { class: "name" }, row.name), bar, h("span", { class: "quiet" }));
}

function update(element, row) {
  const [others, ours, budget] = element.children[1].children;
  const share = (size) => (row.total ? Math.max(0, Math.min(100, (100 * size) / row.total)) : 0);
  set(others, "width", share(row.others));
  set(ours, "x", share(row.others));
  set(ours, "width", Math.min(share(row.ours), 100 - share(row.others)));
  // Where the budget of our engines ends
  set(budget, "x", Math.min(99.4, share(row.others + row.budget)));
  const words = `ours ${memory(row.ours)} · others ${memory(row.others)} · free ${memory(row.free)} of ${memory(row.total)} · budget ${memory(row.budget)}`;
  element.children[1].setAttribute("aria-label", `${row.name}: ${words}`);
  setText(element.lastChild, words);
}

function set(element, name, value) {
  const text = value.toFixed(2);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** A row for each place of `GET /admin/memory`. */
function rowsOf(memory) {
  if (!memory) return [];
  return memory.data.filter((place) => place.total).map((place) => ({
    name: place.name, total: place.total, others: place.others, budget: place.budget,
    ours: Object.values(place.engines ?? {}).reduce((sum, size) => sum + size, 0), free: place.free,
  }));
}
