// How each client is told of this gateway.

import { button, copy, fill, h, options } from "./dom.js";
import { listen, state } from "./store.js";

const KEY = "YOUR_KEY";
let chosen = "";

export function show(main) {
  const model = h("select", { "aria-label": "Model", onchange: () => { chosen = model.value; draw(); } });
  const places = h("div", { class: "snippets" });
  const hint = h("p", { class: "quiet" });
  main.append(h("div", { class: "tools" }, h("h2", {}, "Connect"), h("label", {}, "Model ", model)), hint, places);

  function draw() {
    options(model, state.models.map((row) => row.id), chosen);
    chosen = model.value;
    const need = state.session.key_needed;
    const shown = `${chosen} ${need}`;
    if (places.shown === shown) return;
    places.shown = shown;
    fill(hint, need ? ["Replace ", h("code", {}, KEY), " by a key: ", h("code", {}, "llama-tandem keys create --name NAME"), " makes one."] : "This gateway takes no key; clients that want one may send anything.");
    const root = location.origin;
    fill(places, snippets(root, chosen || "MODEL", need ? KEY : "none").map(([name, text]) => h("section", { class: "code", "aria-label": name },
      h("div", { class: "codehead" }, h("h3", {}, name), button("Copy", () => copy(text, `Copied for ${name}.`), { "aria-label": `Copy for ${name}` })), h("pre", { tabindex: 0 }, h("code", {}, text)))));
  }
  draw();
  return listen(draw);
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
