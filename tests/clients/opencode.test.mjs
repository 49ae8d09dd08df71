// opencode, as `opencode run`: chat completions by Vercel's provider, streamed, with its whole prompt and all of its tools.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { GREETER, GREETING, key, url } from "./gateway.mjs";
import { LIMIT_MS, run } from "./run.mjs";

const SWITCHED_OFF = {
  OPENCODE_DISABLE_AUTOUPDATE: "1",
  OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
  OPENCODE_DISABLE_MODELS_FETCH: "1",
  OPENCODE_DISABLE_SHARE: "1",
};

function settings(secret) {
  const provider = {
    npm: "@ai-sdk/openai-compatible",
    name: "llama-tandem",
    options: { baseURL: `${url}/v1`, apiKey: secret },
    models: { [GREETER]: { name: "greeter", limit: { context: 65536, output: 4096 } } },
  };
  const model = `tandem/${GREETER}`;
  return { model, small_model: model, provider: { tandem: provider }, share: "disabled", autoupdate: false };
}

function ask(secret) {
  return run("opencode", ["run", "--format", "json", "Hello"], (home) => {
    writeFileSync(join(home, "opencode.json"), JSON.stringify(settings(secret)));
    return SWITCHED_OFF;
  });
}

const events = (out) => out.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));

test("opencode run prints the model's answer", { timeout: LIMIT_MS }, async () => {
  const { code, out, err } = await ask(key);
  assert.equal(code, 0, out + err);
  const said = events(out).filter((event) => event.type === "text").map((event) => event.part.text);
  assert.deepEqual(said, [GREETING], out + err);
});

test("opencode run says that its key is wrong", { timeout: LIMIT_MS }, async () => {
  const { code, out, err } = await ask("wrong");
  assert.match(out + err, /API key/i);
  assert.ok(!out.includes(GREETING), out);
});
