// Memory bars of each machine and its devices: used by our engines, used by others, and free.

import { h, keyed, setText, svg } from "./dom.js";
import { memory } from "./words.js";

const LOCAL = "local";
// With more nodes than these, their bars are folded at first
const OPEN_UP_TO = 4;

/** The bars of this machine. Those of nodes are below each other, as there may be hundreds. */
export function drawGauges(place, memory) {
  const rows = rowsOf(memory);
  const nodes = byNode(rows);
  const local = nodes.get(LOCAL) ?? [];
  nodes.delete(LOCAL);
  const parts = local.map((row) => ({ key: row.name, row }));
  if (nodes.size) parts.push({ key: "nodes/", nodes });
  keyed(place, parts, (part) => part.key, (part) => (part.nodes ? makeNodes(part.nodes) : make(part.row)),
    (element, part) => (part.nodes ? updateNodes(element, part.nodes) : update(element, part.row)));
}

function byNode(rows) {
  const nodes = new Map();
  for (const row of rows) {
    if (!nodes.has(row.node)) nodes.set(row.node, []);
    nodes.get(row.node).push(row);
  }
  return nodes;
}

function makeNodes(nodes) {
  return h("details", { class: "nodes", open: nodes.size <= OPEN_UP_TO }, h("summary", {}), h("ul", {}));
}

function updateNodes(element, nodes) {
  const rows = [...nodes.values()].flat();
  const sum = (name) => rows.reduce((total, row) => total + row[name], 0);
  const many = nodes.size === 1 ? "1 node" : `${nodes.size} nodes`;
  setText(element.firstChild, `${many}: ours ${memory(sum("ours"))} · free ${memory(sum("free"))} of ${memory(sum("total"))}`);
  keyed(element.lastChild, [...nodes], ([name]) => name, ([name]) => h("li", { "aria-label": name }, h("b", {}, name), h("div", { class: "gauges" })),
    (item, [, places]) => keyed(item.lastChild, places, (row) => row.name, make, update));
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
    node: place.node ?? LOCAL, name: place.name, total: place.total, others: place.others, budget: place.budget,
    ours: Object.values(place.engines ?? {}).reduce((sum, size) => sum + size, 0), free: place.free,
  }));
}
