// One command line in a home of its own, with nothing of this machine's environment but PATH.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const bin = fileURLToPath(new URL("node_modules/.bin/", import.meta.url));
export const LIMIT_MS = 120_000;

// `prepare(home)` may write settings there and returns the environment; resolves to what was printed.
export async function run(name, args, prepare) {
  const home = mkdtempSync(join(tmpdir(), `tandem-${name}-`));
  try {
    const env = { PATH: process.env.PATH, HOME: home, NO_PROXY: "127.0.0.1", ...prepare(home) };
    return await finished(spawn(join(bin, name), args, { cwd: home, env, stdio: ["ignore", "pipe", "pipe"] }));
  } finally {
    rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

function finished(child) {
  let [out, err] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (err += text));
  const limit = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(limit);
      resolve({ code: signal ?? code, out, err });
    });
  });
}
