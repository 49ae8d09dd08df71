// Continue, as `cn -p`: chat completions, streamed, with its whole prompt and all of its tools.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { GREETER, GREETING, key, url } from "./gateway.mjs";
import { LIMIT_MS, run } from "./run.mjs";

function settings(secret) {
  return `
name: tandem
version: 1.0.0
schema: v1
models:
  - name: greeter
    provider: openai
    model: ${GREETER}
    apiBase: ${url}/v1
    apiKey: ${secret}
    roles: [chat]
`;
}

function ask(secret) {
  return run("cn", ["-p", "--config", "config.yaml", "Hello"], (home) => {
    writeFileSync(join(home, "config.yaml"), settings(secret));
    return { CONTINUE_TELEMETRY_ENABLED: "0", CONTINUE_GLOBAL_DIR: home };
  });
}

test("cn -p prints the model's answer", { timeout: LIMIT_MS }, async () => {
  const { code, out, err } = await ask(key);
  assert.equal(code, 0, out + err);
  assert.ok(out.includes(GREETING), out + err);
});

test("cn -p says that its key is wrong", { timeout: LIMIT_MS }, async () => {
  const { code, out, err } = await ask("wrong");
  assert.notEqual(code, 0, out + err);
  assert.match(out + err, /401/);
});
