// Elements as values. Text is always a text node: nothing here takes HTML.

export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(4)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Replaces the text only if it differs, so that a selection and a screen reader's place stay. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/**
 * Keeps one child of `parent` for each item, in order. An element stays as long as its item's key does, so that the
 * focus, a selection and what is unfolded survive an update.
 */
export function keyed(parent, items, keyOf, make, update) {
  parent.kept ??= new Map();
  const kept = parent.kept;
  const now = new Set();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    now.add(key);
    let element = kept.get(key);
    if (!element) {
      element = make(item);
      kept.set(key, element);
    }
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
    update?.(element, item);
  }
  for (const [key, element] of kept) {
    if (now.has(key)) continue;
    element.remove();
    kept.delete(key);
  }
}

let saying;

/** Shows a message for some seconds. Screen readers read it; a `quiet` one is only read. */
export function say(text, failed = false, quiet = false) {
  const place = document.getElementById("said");
  fill(place, text);
  place.className = quiet ? "said" : failed ? "said shown failed" : "said shown";
  clearTimeout(saying);
  saying = setTimeout(() => { place.className = "said"; }, failed ? 9000 : 4000);
}

export async function copy(text, what = "Copied.") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS a page can copy only this way
    const area = h("textarea", { class: "offscreen", value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(what);
}

export function button(label, act, props = {}) {
  return h("button", { type: "button", onclick: act, ...props }, label);
}

/** Sets a menu's entries only if they differ, since that would close an open menu. */
export function options(select, names, chosen, first) {
  const wanted = first === undefined ? names : ["", ...names];
  const same = wanted.length === select.options.length && wanted.every((name, i) => select.options[i].value === name);
  if (!same) {
    const before = select.value;
    fill(select, wanted.map((name) => h("option", { value: name }, name || first)));
    select.value = [before, chosen, wanted[0]].find((name) => wanted.includes(name)) ?? "";
  }
}

export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
