// Renders Markdown as elements. A model's text is never read as HTML. Links go to http, https or mail only.

import { button, copy, h } from "./dom.js";
import { visible } from "./words.js";

/**
 * Shows `text` in `place`. Unchanged blocks keep their elements, so that a growing answer redraws only its last
 * block.
 */
export function markdown(place, text) {
  const blocks = split(visible(text));
  const old = place.blocks ?? [];
  blocks.forEach((block, i) => {
    if (old[i] === block) return;
    const element = draw(block);
    if (place.children[i]) place.children[i].replaceWith(element);
    else place.append(element);
  });
  while (place.children.length > blocks.length) place.lastChild.remove();
  place.blocks = blocks;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;

/** Paragraphs, lists, tables and fenced code, each as the text of its lines. */
function split(text) {
  const blocks = [];
  let lines = [];
  let fence = "";
  const end = () => { if (lines.length) blocks.push(lines.join("\n")); lines = []; };
  for (const line of text.replace(/\r\n?/g, "\n").split("\n")) {
    const mark = FENCE.exec(line);
    if (fence) {
      lines.push(line);
      if (mark && mark[1].startsWith(fence) && !mark[2]) { fence = ""; end(); }
    } else if (mark) {
      end();
      fence = mark[1];
      lines.push(line);
    } else if (!line.trim()) end();
    else if (/^ {0,3}#{1,6}\s/.test(line)) { end(); lines.push(line); end(); }
    else {
      if (lines.length && kindOf(lines[0]) !== kindOf(line) && kindOf(line) !== "text") end();
      lines.push(line);
    }
  }
  end();
  return blocks;
}

function kindOf(line) {
  if (/^\s*([-*+]|\d{1,9}[.)])\s/.test(line)) return "list";
  if (/^\s*>/.test(line)) return "quote";
  if (/^\s*\|/.test(line)) return "table";
  return "text";
}

function draw(block) {
  const fence = FENCE.exec(block);
  if (fence) return code(block, fence);
  const heading = /^ {0,3}(#{1,6})\s+(.*)/.exec(block);
  if (heading) return h(`h${Math.min(6, heading[1].length + 2)}`, {}, inline(heading[2]));
  if (/^ {0,3}([-*_])( *\1){2,}\s*$/.test(block)) return h("hr");
  const lines = block.split("\n");
  switch (kindOf(block)) {
    case "list": return list(lines);
    case "quote": return quote(lines);
    case "table": return table(lines) ?? paragraph(lines);
    default: return paragraph(lines);
  }
}

function paragraph(lines) {
  return h("p", {}, lines.map((line, i) => [i ? h("br") : null, inline(line)]));
}

function code(block, [, mark, language]) {
  const lines = block.split("\n").slice(1);
  if (lines.at(-1)?.trim().startsWith(mark)) lines.pop();
  const text = lines.join("\n");
  return h("div", { class: "code" },
    h("div", { class: "codehead" }, h("span", {}, language || "code"), button("Copy", () => copy(text, "Copied the code."))),
    h("pre", { tabindex: 0 }, h("code", {}, text)));
}

function quote(lines) {
  const place = h("blockquote");
  markdown(place, lines.map((line) => line.replace(/^\s*> ?/, "")).join("\n"));
  return place;
}

const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)/;

/** Nested by indentation, up to six deep. */
function list(lines) {
  const root = { depth: -1, element: h("div") };
  const stack = [root];
  let item = null;
  for (const line of lines) {
    const match = ITEM.exec(line);
    if (!match) {
      item?.append(h("br"), ...[inline(line.trim())].flat(3));
      continue;
    }
    const depth = match[1].length;
    while (stack.length > 1 && stack.at(-1).depth > depth) stack.pop();
    if (stack.length === 1 || (stack.at(-1).depth < depth && stack.length < 7)) {
      const ordered = /\d/.test(match[2]);
      const element = h(ordered ? "ol" : "ul", ordered ? { start: parseInt(match[2], 10) } : {});
      (stack.length === 1 ? root.element : item).append(element);
      stack.push({ depth, element });
    }
    item = h("li", {}, inline(match[3]));
    stack.at(-1).element.append(item);
  }
  return root.element.children.length === 1 ? root.element.firstChild : root.element;
}

function table(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  if (lines.length < 2 || !/^[\s|:-]+$/.test(lines[1])) return null;
  return h("div", { class: "wide", tabindex: 0 }, h("table", {},
    h("thead", {}, h("tr", {}, cells(lines[0]).map((cell) => h("th", {}, inline(cell))))),
    h("tbody", {}, lines.slice(2).map((line) => h("tr", {}, cells(line).map((cell) => h("td", {}, inline(cell))))))));
}

// A longer line is shown as plain text.
const LONGEST_LINE = 5000;
const INLINE = /(`+)([^`]+?)\1(?!`)|\*\*([^*\n]{1,500})\*\*|(?<![\w*])\*([^*\s][^*\n]{0,500}?)\*(?!\w)|~~([^~\n]{1,500})~~|\[([^\]\n]{1,300})\]\(([^()\s]{1,1000})\)|(https?:\/\/[^\s<>"'`)\]]{1,1000})/g;

function inline(text) {
  if (text.length > LONGEST_LINE) return text;
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    const [whole, , codeText, strong, emphasis, struck, label, address, bare] = match;
    if (codeText !== undefined) parts.push(h("code", {}, codeText));
    else if (strong !== undefined) parts.push(h("strong", {}, inline(strong)));
    else if (emphasis !== undefined) parts.push(h("em", {}, inline(emphasis)));
    else if (struck !== undefined) parts.push(h("s", {}, struck));
    else parts.push(link(bare ?? address, label ?? bare) ?? whole);
  }
  parts.push(text.slice(end));
  return parts;
}

function link(address, label) {
  if (!/^(https?:\/\/|mailto:)/i.test(address)) return null;
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, label);
}
