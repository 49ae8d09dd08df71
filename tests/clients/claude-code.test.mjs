// Claude Code, as `claude -p`: Anthropic's API, streamed, with its whole system prompt and all of its tools.
import assert from "node:assert/strict";
import { test } from "node:test";

import { GREETER, GREETING, key, url } from "./gateway.mjs";
import { LIMIT_MS, run } from "./run.mjs";

const SWITCHED_OFF = {
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  CLAUDE_CODE_MAX_RETRIES: "0",
  DISABLE_AUTOUPDATER: "1",
  DISABLE_ERROR_REPORTING: "1",
  DISABLE_TELEMETRY: "1",
};

function ask(secret) {
  const environment = { ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: secret, ...SWITCHED_OFF };
  return run("claude", ["-p", "Hello", "--model", GREETER, "--output-format", "json"], () => environment);
}

test("claude -p prints the model's answer", { timeout: LIMIT_MS }, async () => {
  const { code, out, err } = await ask(key);
  assert.equal(code, 0, out + err);
  const result = JSON.parse(out);
  assert.deepEqual([result.is_error, result.result, result.stop_reason], [false, GREETING, "end_turn"]);
  assert.ok(result.usage.input_tokens + result.usage.cache_read_input_tokens > 1000);
});

test("claude -p says that its key is wrong", { timeout: LIMIT_MS }, async () => {
  const { code, out, err } = await ask("wrong");
  assert.notEqual(code, 0, out + err);
  assert.equal(JSON.parse(out).api_error_status, 401);
});
