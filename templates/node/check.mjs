// Last step of the build: what the template promises, tried before anybody depends on it. Runs as the user, without network.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";

const started = Date.now();
const wanted = JSON.parse(fs.readFileSync("/build/package.json", "utf8")).dependencies;
const require = createRequire("/home/user/program.js");
const packages = [{ name: "node", version: process.versions.node }];
for (const [name, spec] of Object.entries(wanted)) {
    const { version } = JSON.parse(fs.readFileSync(`/usr/local/lib/node_modules/${name}/package.json`, "utf8"));
    assert.equal(version, spec.replace(/^npm:.*@/, ""), name);
    packages.push({ name, version });
}

// From where programs are, as CommonJS and as modules.
process.chdir("/home/user");
assert.equal(typeof require("axios").get, "function");
assert.equal(typeof require("ws").WebSocketServer, "function");
assert.equal(typeof require("@alpacahq/alpaca-trade-api"), "function");
for (const name of ["axios", "ws", "@alpacahq/alpaca-trade-api", "@alpacahq/alpaca-trade-api-v4"]) {
    const code = `import * as found from "${name}"; process.exit(Object.keys(found).length > 0 ? 0 : 1)`;
    execFileSync("node", ["--input-type=module", "-e", code], { stdio: "inherit" });
}
assert.match(execFileSync("npm", ["--version"], { encoding: "utf8" }), /^\d+\./);
assert.equal(execFileSync("npm", ["root", "-g"], { encoding: "utf8" }).trim(), "/home/user/.local/lib/node_modules");
// The packages at the root of the file system are not taken for a project.
for (const directory of ["/home/user", "/tmp"]) {
    assert.equal(execFileSync("npm", ["prefix"], { cwd: directory, encoding: "utf8" }).trim(), directory);
}
fs.rmSync("/home/user/.npm", { recursive: true, force: true });
console.log(`check: ${packages.length} packages (${Date.now() - started} ms)`);
console.log("@packages " + JSON.stringify(packages));
