// Codex, as `codex exec`: OpenAI's Responses API, streamed, with its whole instructions and all of its tools.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { GREETER, GREETING, key, url } from "./gateway.mjs";
import { LIMIT_MS, run } from "./run.mjs";

const SETTINGS = `
model = "${GREETER}"
model_provider = "tandem"
check_for_update_on_startup = false
analytics.enabled = false

[model_providers.tandem]
name = "llama-tandem"
base_url = "${url}/v1"
env_key = "TANDEM_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
`;

function ask(secret) {
  return run("codex", ["exec", "--json", "--skip-git-repo-check", "--sandbox", "read-only", "Hello"], (home) => {
    writeFileSync(join(home, "config.toml"), SETTINGS);
    return { CODEX_HOME: home, TANDEM_KEY: secret };
  });
}

const events = (out) => out.split("\n").filter(Boolean).map((line) => JSON.parse(line));

test("codex exec prints the model's answer", { timeout: LIMIT_MS }, async () => {
  const { code, out, err } = await ask(key);
  assert.equal(code, 0, out + err);
  const said = events(out).filter((event) => event.item?.type === "agent_message");
  assert.deepEqual(said.map((event) => event.item.text), [GREETING]);
  const { usage } = events(out).find((event) => event.type === "turn.completed");
  assert.ok(usage.input_tokens > 1000);
});

test("codex exec says that its key is wrong", { timeout: LIMIT_MS }, async () => {
  const { code, out, err } = await ask("wrong");
  assert.notEqual(code, 0, out + err);
  assert.match(events(out).at(-1).error.message, /401/);
});
