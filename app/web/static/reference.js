// The API reference, from `/openapi.json`.

import { json } from "./api.js";
import { fill, h } from "./dom.js";

export function show(main) {
  const list = h("div", { class: "endpoints" }, h("p", { class: "quiet" }, "Loading …"));
  const field = h("input", { type: "search", placeholder: "Find an endpoint", "aria-label": "Find an endpoint", oninput: draw });
  main.append(h("div", { class: "tools" }, h("h2", {}, "API"), field, h("a", { href: "/openapi.json" }, "openapi.json")), list);
  let page = null;
  json("/openapi.json").then((found) => { page = found; draw(); }).catch((error) => fill(list, h("p", { class: "problem" }, error.message)));

  function draw() {
    if (!page) return;
    const words = field.value.toLowerCase();
    const rows = Object.entries(page.paths).flatMap(([path, verbs]) => Object.entries(verbs).map(([verb, about]) => ({ path, verb: verb.toUpperCase(), about })));
    const found = rows.filter(({ path, verb, about }) => `${verb} ${path} ${about.summary ?? ""}`.toLowerCase().includes(words)).sort((a, b) => a.path.localeCompare(b.path));
    fill(list, found.length ? found.map((row) => endpoint(row, page)) : h("p", { class: "empty" }, "No endpoint matches."));
  }
}

function endpoint({ path, verb, about }, page) {
  const body = about.requestBody?.content?.["application/json"];
  return h("details", {}, h("summary", {}, h("b", { class: `verb ${verb}` }, verb), h("code", {}, path), h("span", { class: "quiet" }, about.summary ?? "")),
    about.description ? h("p", {}, about.description) : null,
    (about.parameters ?? []).length ? [h("h3", {}, "Parameters"), h("ul", {}, about.parameters.map((each) => h("li", {}, h("code", {}, each.name), ` (${each.in}${each.required ? ", required" : ""}) ${each.description ?? ""}`)))] : null,
    body ? [h("h3", {}, "Body"), fields(body.schema, page), example(body.example, `Body of ${verb} ${path}`)] : null,
    h("h3", {}, "Responses"), h("ul", {}, Object.entries(about.responses ?? {}).map(([status, answer]) => h("li", {}, h("b", {}, status), ` ${answer.description ?? ""}`))),
    Object.values(about.responses ?? {}).flatMap((answer) => Object.values(answer.content ?? {})).slice(0, 1).map((kind) => example(kind.example, `Response of ${verb} ${path}`)));
}

function example(value, label) {
  if (value === undefined) return null;
  return h("pre", { tabindex: 0, "aria-label": label }, typeof value === "string" ? value : JSON.stringify(value, null, 2));
}

function fields(schema, page) {
  const found = schema.$ref ? page.components.schemas[schema.$ref.split("/").pop()] : schema;
  const names = Object.entries(found?.properties ?? {});
  if (!names.length) return h("p", { class: "quiet" }, "A JSON object.");
  const required = new Set(found.required ?? []);
  return h("ul", {}, names.map(([name, about]) => h("li", {}, h("code", {}, name), required.has(name) ? " (required) " : " ", about.description ?? about.type ?? "")));
}
