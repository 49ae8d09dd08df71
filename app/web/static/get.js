// Models to get: pulls from the Hub, their progress, and the entry for what has come.

import { json } from "./api.js";
import { button, copy, h, keyed, say, setText } from "./dom.js";
import { listen, state } from "./store.js";
import { bytes, seconds } from "./words.js";

export function show(main) {
  if (!state.session.admin) {
    main.append(h("h2", {}, "Models to get"), h("p", {}, "Only an administrator pulls models. Run ", h("code", {}, "llama-tandem open"), " on the gateway's machine."));
    return undefined;
  }
  const field = h("input", { id: "repo", required: true, placeholder: "ORG/REPO:QUANTIZATION", spellcheck: "false", autocomplete: "off", size: 44 });
  const problem = h("p", { class: "problem", role: "alert" });
  const none = h("p", { class: "quiet" }, "Nothing was pulled since the gateway's start.");
  const list = h("div", { class: "models", role: "list" });
  main.append(h("h2", {}, "Models to get"),
    h("p", { class: "quiet" }, "A repo of huggingface.co with GGUF files, such as ", h("code", {}, "unsloth/Qwen3-0.6B-GGUF:Q4_K_M"), ", or the name of a model in the settings."),
    h("form", { class: "tools", onsubmit: submit }, h("label", { for: "repo" }, "Repo or model"), field, h("button", { class: "first" }, "Pull")),
    problem, none, list);

  async function submit(event) {
    event.preventDefault();
    setText(problem, "");
    const name = field.value.trim();
    const alias = state.models.some((model) => model.id === name);
    try {
      await json("/admin/pulls", { method: "POST", body: { name: alias || name.startsWith("hf:") ? name : `hf:${name}` } });
      field.value = "";
    } catch (error) {
      setText(problem, error.message);
    }
  }

  function draw() {
    const pulls = [...state.pulls.values()].sort((a, b) => b.created_at - a.created_at);
    none.hidden = pulls.length > 0;
    keyed(list, pulls, (pull) => pull.id, makePull, updatePull);
  }
  draw();
  return listen(draw);
}

function makePull(pull) {
  return h("div", { class: "model", role: "listitem", "aria-label": pull.name }, h("div", { class: "pull" },
    h("b", {}, pull.name), h("span", { class: "state" }), h("progress", { max: 100, "aria-label": `Progress of ${pull.name}` }), h("span", { class: "quiet" }),
    h("div", { class: "acts" }, button("Cancel", () => cancel(pull.id), { "aria-label": `Cancel ${pull.name}` }), button("Copy the entry", () => copy(entry(pull.name), "Copied the entry for tandem.yaml.")))),
    h("p", { class: "problem" }));
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
  if (runs && pull.rate) parts.push(`${bytes(pull.rate)}/s`);
  if (runs && pull.seconds_left !== null) parts.push(`${seconds(pull.seconds_left)} left`);
  setText(text, parts.join(" · "));
  acts.children[0].hidden = !runs;
  acts.children[1].hidden = runs || Boolean(pull.error) || !pull.name.startsWith("hf:");
  setText(element.lastChild, pull.error ?? "");
}

async function cancel(id) {
  try {
    await json(`/admin/pulls/${id}`, { method: "DELETE" });
    say("Cancelled; what was received is kept.");
  } catch (error) {
    say(error.message, true);
  }
}

/** As tandem.yaml takes it. */
export function entry(name) {
  const [repo, quantization] = name.replace(/^hf:/, "").split(":");
  const target = quantization ? `{repo: ${repo}, quantization: ${quantization}}` : `{repo: ${repo}}`;
  return `models:\n  ${repo}:\n    target: ${target}\n`;
}
