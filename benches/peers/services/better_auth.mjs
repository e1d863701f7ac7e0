// better-auth's plugin for API keys on Node's own HTTP server, over SQLite. `node better_auth.mjs
// prepare` makes the tables and the keys; without that word it serves, one process for each core.
//
// The plugin's own rate limit, ten requests a day for each key, is off: it would refuse nearly all.

import cluster from "node:cluster";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import Database from "better-sqlite3";

const folder = process.env.FOLDER;
const database = new Database(join(folder, "keys.db"));
database.pragma("journal_mode = WAL");
database.pragma("synchronous = NORMAL");
database.pragma("busy_timeout = 5000");

const auth = betterAuth({
  baseURL: "http://localhost",
  secret: "a secret of this bench, which is long enough",
  database,
  telemetry: { enabled: false },
  emailAndPassword: { enabled: true },
  plugins: [apiKey({ rateLimit: { enabled: false } })],
});

async function prepare() {
  await (await getMigrations(auth.options)).runMigrations();
  const { user } = await auth.api.signUpEmail({
    body: { name: "Ada", email: "ada@example.com", password: "a long password" },
  });
  const lines = [];
  for (let number = 0; number < 1000; number++) {
    const { key } = await auth.api.createApiKey({
      body: { name: `deployment ${number}`, userId: user.id },
    });
    lines.push(`valid ${key}`, `unknown ${key.split("").reverse().join("")}`);
  }
  writeFileSync(join(folder, "keys"), lines.map((line) => `${line}\n`).join(""));
}

function serve() {
  createServer(async (request, response) => {
    const key = request.headers["x-api-key"];
    const { valid } = key ? await auth.api.verifyApiKey({ body: { key } }) : { valid: false };
    const body = valid ? '{"orders":[]}' : '{"error":"Unauthorized"}';
    response.writeHead(valid ? 200 : 401, {
      "content-type": "application/json",
      "content-length": body.length,
    });
    response.end(body);
  }).listen(Number(process.env.PORT), "127.0.0.1");
}

if (process.argv[2] === "prepare") {
  await prepare();
} else if (cluster.isPrimary) {
  for (let number = 0; number < availableParallelism(); number++) {
    cluster.fork();
  }
} else {
  serve();
}
