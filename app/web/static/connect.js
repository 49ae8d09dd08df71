// The configuration of each client for this gateway.

import { json } from "./api.js";
import { button, copy, fill, h, options, say, setText } from "./dom.js";
import { subscribe, state } from "./store.js";

const KEY = "YOUR_KEY";
let chosen = "";

export function show(main) {
  const model = h("select", { "aria-label": "Model", onchange: () => { chosen = model.value; draw(); } });
  const places = h("div", { class: "snippets" });
  const hint = h("p", { class: "quiet hint" });
  // The page stores no key, so it is gone with this view
  let newKey = "";
  main.append(h("div", { class: "tools" }, h("h2", {}, "Connect"), h("label", {}, "Model ", model)), hint, keyForm((key) => { newKey = key; draw(); }) ?? "", places);

  function draw() {
    options(model, state.models.map((row) => row.id), chosen);
    chosen = model.value;
    const need = state.session.key_needed;
    const shown = `${chosen} ${need} ${newKey}`;
    if (places.shown === shown) return;
    places.shown = shown;
    fill(hint, newKey ? "The examples contain your key. It is shown only once: after you leave this view it is gone."
      : need ? ["Replace ", h("code", {}, KEY), " with a key", state.session.admin ? ", or create one here." : [": ", h("code", {}, "llama-tandem keys create --name NAME"), " creates one."]]
        : "This gateway requires no key. Clients that need one may send any text.");
    fill(places, snippets(location.origin, chosen || "MODEL", newKey || (need ? KEY : "none")).map(([name, text]) => h("section", { class: "code", "aria-label": name },
      h("div", { class: "codehead" }, h("h3", {}, name), button("Copy", () => copy(text, `Copied for ${name}.`), { "aria-label": `Copy for ${name}` })), h("pre", { tabindex: 0 }, h("code", {}, text)))));
  }
  draw();
  return subscribe(draw);
}

/** The form for a new key, for administrators. */
function keyForm(use) {
  if (!state.session.admin) return null;
  const name = h("input", { id: "keyname", required: true, maxlength: 64, pattern: "[\\w.@\\-]+", placeholder: "laptop", autocomplete: "off", spellcheck: "false", title: "Letters, digits, or one of . _ - @" });
  const problem = h("p", { class: "problem", role: "alert" });
  const warning = state.session.key_needed ? null : h("p", { class: "quiet" }, "This is the first key: from then on, every client needs one.");
  const form = h("form", { class: "tools", onsubmit: make }, h("label", { for: "keyname" }, "New key for"), name, h("button", { class: "first" }, "Create a key"));

  async function make(event) {
    event.preventDefault();
    setText(problem, "");
    try {
      const { key, first } = await json("/admin/keys", { method: "POST", body: { name: name.value } });
      if (first) {
        state.session.key_needed = true;
        warning?.remove();
      }
      name.value = "";
      say("Key created. Copy it now: it is shown only once.");
      use(key);
    } catch (error) {
      setText(problem, error.message);
    }
  }
  return h("details", { class: "card slim" }, h("summary", {}, "Create a key"), warning, form, problem);
}

export function snippets(root, model, key) {
  const q = JSON.stringify;
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    ["curl", `curl ${root}/v1/chat/completions -H 'Content-Type: application/json' \\\n  -H 'Authorization: Bearer ${key}' \\\n  -d ${shell(JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] }))}`],
    ["Python", `from openai import OpenAI\n\nclient = OpenAI(base_url=${q(`${root}/v1`)}, api_key=${q(key)})\nanswer = client.chat.completions.create(model=${q(model)}, messages=[{"role": "user", "content": "Hello"}])\nprint(answer.choices[0].message.content)`],
    ["JavaScript", `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: ${q(`${root}/v1`)}, apiKey: ${q(key)} });\nconst answer = await client.chat.completions.create({ model: ${q(model)}, messages: [{ role: "user", content: "Hello" }] });\nconsole.log(answer.choices[0].message.content);`],
    ["Ollama", `export OLLAMA_HOST=${root}\nollama run ${shell(model)}`],
    ["Claude Code", `export ANTHROPIC_BASE_URL=${root}\nexport ANTHROPIC_AUTH_TOKEN=${key}\nexport ANTHROPIC_MODEL=${shell(model)}\nexport ANTHROPIC_SMALL_FAST_MODEL=${shell(model)}\nclaude`],
    ["Codex", `# ~/.codex/config.toml; export TANDEM_KEY=${key}\nmodel = ${q(model)}\nmodel_provider = "tandem"\n\n[model_providers.tandem]\nname = "llama-tandem"\nbase_url = ${q(`${root}/v1`)}\nenv_key = "TANDEM_KEY"\nwire_api = "responses"`],
    ["opencode", JSON.stringify({ $schema: "https://opencode.ai/config.json", provider: { tandem: { npm: "@ai-sdk/openai-compatible", name: "llama-tandem", options: { baseURL: `${root}/v1`, apiKey: key }, models: { [model]: {} } } }, model: `tandem/${model}` }, null, 2)],
    ["Continue", `# ~/.continue/config.yaml\nname: llama-tandem\nversion: 0.0.1\nschema: v1\nmodels:\n  - name: ${q(model)}\n    provider: openai\n    model: ${q(model)}\n    apiBase: ${root}/v1\n    apiKey: ${key}\n    roles: [chat, edit, apply]`],
    ["Open WebUI", `docker run -d -p 3000:8080 --add-host=host.docker.internal:host-gateway \\\n  -e OPENAI_API_BASE_URL=${root.replace(/127\.0\.0\.1|localhost/, "host.docker.internal")}/v1 -e OPENAI_API_KEY=${key} \\\n  -v open-webui:/app/backend/data --name open-webui ghcr.io/open-webui/open-webui:main`],
  ];
}
