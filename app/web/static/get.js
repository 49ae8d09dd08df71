// Get models: search the Hub, show which quantizations and drafts fit, pull them, show progress.

import { json } from "./api.js";
import { button, copy, fill, h, keyed, say, setText } from "./dom.js";
import { subscribe, state } from "./store.js";
import { bytes, memory, number, seconds } from "./words.js";

const CONTEXTS = [4096, 8192, 16384, 32768, 65536, 131072];
const EXAMPLES = ["Qwen3", "gemma-3", "Llama-3.2", "gpt-oss"];
let searched = "";
let context = 8192;

export function show(main) {
  if (!state.session.admin) {
    main.append(h("h2", {}, "Get models"), h("p", {}, "Only administrators can pull models. To sign in, run ", h("code", {}, "llama-tandem open"), " on the gateway's machine."));
    return undefined;
  }
  const field = h("input", { id: "repo", type: "search", required: true, placeholder: "A name, or ORG/REPO", spellcheck: "false", autocomplete: "off", value: searched });
  const problem = h("p", { class: "problem", role: "alert" });
  const results = h("div", { class: "results" });
  const pulls = h("div", { class: "models", role: "list" });
  const none = h("p", { class: "empty" }, "No pulls since the gateway started.");
  main.append(
    h("div", { class: "tools" }, h("h2", {}, "Get models")),
    h("form", { class: "search", onsubmit: submit }, h("label", { for: "repo", class: "offscreen" }, "Search the Hub"), field, h("button", { class: "first" }, "Search")),
    h("p", { class: "quiet hint" }, "Searches GGUF repositories on huggingface.co. Nothing is sent there before you search. Examples: ",
      EXAMPLES.map((name) => [button(name, () => { field.value = name; submit(); }, { class: "link" }), " "])),
    problem, results, h("h2", {}, "Pulls"), none, pulls);

  async function submit(event) {
    event?.preventDefault();
    const text = field.value.trim();
    searched = text;
    setText(problem, "");
    if (!text) return;
    if (/^(hf:|https?:\/\/)?[\w.-]+\/[\w.-]+/.test(text)) showRepo(text);
    else await find(text);
  }

  async function find(text) {
    fill(results, h("p", { class: "quiet", role: "status" }, "Searching …"));
    try {
      const { data } = await json(`/admin/hub/search?text=${encodeURIComponent(text)}&limit=30`);
      fill(results, data.length ? h("ul", { class: "rows" }, data.map(foundRow)) : h("p", { class: "empty" }, `No GGUF repository matches “${text}”.`));
    } catch (error) {
      fill(results);
      setText(problem, error.message);
    }
  }

  function foundRow(row) {
    return h("li", {}, button(row.repo, () => showRepo(row.repo), { class: "link strong" }),
      h("span", { class: "quiet" }, `${number(row.downloads)} downloads · ${number(row.likes)} likes`), row.gated ? h("span", { class: "tag" }, "licence to accept") : null);
  }

  function showRepo(repo) {
    setText(problem, "");
    const back = button("Back to the results", () => { if (/\//.test(searched)) fill(results); else find(searched); });
    repoView(fill(results), repo, back);
  }

  function draw() {
    const rows = [...state.pulls.values()].sort((a, b) => b.created_at - a.created_at);
    none.hidden = rows.length > 0;
    keyed(pulls, rows, (pull) => pull.id, makePull, updatePull);
  }
  draw();
  return subscribe(draw);
}

/** Shows the quantizations, then again after the search for drafts. */
function repoView(place, repo, back) {
  const select = h("select", { "aria-label": "Context", onchange: () => { context = Number(select.value); ask(); } }, CONTEXTS.map((size) => h("option", { value: size }, `${number(size)} tokens`)));
  select.value = context;
  const note = h("p", { class: "quiet", role: "status" });
  const table = h("div");
  const drafts = h("div");
  const problem = h("p", { class: "problem", role: "alert" });
  place.append(h("section", { class: "card", "aria-label": repo },
    h("div", { class: "tools" }, h("h3", {}, repo), h("label", {}, "Context ", select), back), problem, note, table, drafts));
  let last = 0;

  async function ask() {
    const own = ++last;
    for (const looked of [false, true]) {
      setText(note, looked ? "Looking for drafts with the same vocabulary …" : "Reading the header …");
      try {
        const page = await json(`/admin/hub/repos/${encodeURIComponent(repo)}?context=${context}&drafts=${looked}`);
        if (own !== last) return;
        drawOffers(table, page);
        if (looked) drawDrafts(drafts, page);
        setText(note, page.basis.join(" "));
      } catch (error) {
        if (own !== last) return;
        setText(note, "");
        setText(problem, error.message);
        return;
      }
    }
  }
  ask();
}

const WHERE = { devices: "", "devices and host": ", partly on the host", host: "" };

function drawOffers(place, page) {
  if (!page.data.length) {
    fill(place, h("p", { class: "empty" }, "This repo has no GGUF model."));
    return;
  }
  const cell = (offer) => {
    const kind = { fits: "ready", "fits without draft": "moving", "does not fit": "failed", unknown: "" }[offer.fits] ?? "";
    return h("span", { class: `state ${kind}` }, offer.fits === "unknown" ? "memory unknown" : `${offer.fits}${WHERE[offer.where] ?? ""}`);
  };
  fill(place, h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Quantizations" }, h("table", {},
    h("thead", {}, h("tr", {}, ["quantization", "size", "memory", "fits"].map((name) => h("th", { scope: "col", class: ["size", "memory"].includes(name) ? "num" : null }, name)), h("td"))),
    h("tbody", {}, page.data.map((offer) => h("tr", {}, h("td", {}, h("b", {}, offer.name)), h("td", { class: "num" }, bytes(offer.size)), h("td", { class: "num" }, memory(offer.needs)), h("td", {}, cell(offer)),
      h("td", {}, h("div", { class: "acts" }, pullButton(offer), button("Copy entry", () => copy(offer.entry, "Copied the entry for tandem.yaml."), { "aria-label": `Copy the entry of ${offer.name}` })))))))));
}

function pullButton(offer) {
  if (offer.here === "complete") return h("span", { class: "tag" }, "here");
  const why = !offer.complete ? "Some of its files are missing on the Hub." : !offer.disk ? "The disk has too little space." : null;
  return button("Pull", () => pull(offer.pull), { disabled: why !== null, title: why, "aria-label": `Pull ${offer.name}` });
}

function drawDrafts(place, page) {
  fill(place, h("h3", {}, "Drafts with the same vocabulary"), page.drafts.length
    ? h("ul", { class: "rows" }, page.drafts.map((draft) => h("li", {}, h("span", { class: "strong" }, draft.name), h("span", { class: "quiet" }, `${bytes(draft.size)}, ${memory(draft.needs)} of memory. ${draft.reason}`),
      draft.here || !draft.source.repo ? h("span", { class: "tag" }, "here") : button("Pull", () => pull({ name: `hf:${draft.source.repo}:${draft.source.quantization}` }), { "aria-label": `Pull ${draft.name}` }))))
    : h("p", { class: "quiet" }, "No draft was found, locally or among smaller models of this family. Speculation without a draft model (ngram) works with every model."));
}

async function pull(body) {
  try {
    await json("/admin/pulls", { method: "POST", body });
    say(`Pulling ${body.name.replace(/^hf:/, "")}.`);
  } catch (error) {
    say(error.message, true);
  }
}

function makePull(pull) {
  return h("div", { class: "model", role: "listitem", "aria-label": pull.name }, h("div", { class: "pull" },
    h("b", {}, pull.name.replace(/^hf:/, "")), h("span", { class: "state" }), h("progress", { max: 100, "aria-label": `Progress of ${pull.name}` }), h("span", { class: "quiet" }),
    h("div", { class: "acts" }, button("Cancel", () => cancel(pull.id), { "aria-label": `Cancel ${pull.name}` }), button("Copy entry", () => copy(entry(pull.name), "Copied the entry for tandem.yaml."), { "aria-label": `Copy the entry of ${pull.name}` }))),
    h("p", { class: "problem" }), h("p", { class: "quiet notes" }));
}

const KINDS = { running: "moving", failed: "failed", cancelled: "idle" };

function updatePull(element, pull) {
  const [, badge, bar, text, acts] = element.firstChild.children;
  const runs = pull.state === "running";
  setText(badge, runs ? pull.phase : pull.state);
  badge.className = `state ${KINDS[pull.state] ?? "ready"}`;
  if (pull.percent === null) bar.removeAttribute("value");
  else bar.value = pull.percent;
  bar.hidden = !runs;
  const parts = [`${bytes(pull.received)}${pull.size ? ` of ${bytes(pull.size)}` : ""}`];
  if (runs && pull.percent !== null) parts.push(`${Math.floor(pull.percent)} %`);
  if (runs && pull.rate) parts.push(`${bytes(pull.rate)}/s`);
  if (runs && pull.seconds_left !== null) parts.push(`${seconds(pull.seconds_left)} left`);
  setText(text, parts.join(" · "));
  acts.children[0].hidden = !runs;
  acts.children[1].hidden = runs || Boolean(pull.error) || !pull.name.startsWith("hf:");
  setText(element.children[1], pull.error ?? "");
  setText(element.children[2], pull.notes.at(-1) ?? "");
}

async function cancel(id) {
  try {
    await json(`/admin/pulls/${id}`, { method: "DELETE" });
    say("Cancelled; the bytes received so far are kept.");
  } catch (error) {
    say(error.message, true);
  }
}

/** The entry for tandem.yaml. */
export function entry(name) {
  const [repo, quantization] = name.replace(/^hf:/, "").split(":");
  const target = quantization ? `{repo: ${repo}, quantization: ${quantization}}` : `{repo: ${repo}}`;
  return `models:\n  ${repo}:\n    target: ${target}\n`;
}
