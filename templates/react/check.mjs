// Last step of the build: what the template promises, tried before anybody depends on it. Runs as the user, without network, and
// without /data: the bars that are asked for are made here.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const APP = "/home/user/app";
const MADE = fs.mkdtempSync("/tmp/data-");
const BARS = [
    { time: "2024-01-02", open: 10.5, high: 12, low: 10, close: 11.25, volume: 1000 },
    { time: "2024-01-03", open: 11, high: 11.5, low: 9.75, close: 10, volume: 2500 },
];

const started = Date.now();
process.chdir(APP);
const { dependencies, devDependencies } = json("package.json");
const packages = [{ name: "node", version: process.versions.node }];
packages.push({ name: "npm", version: json("/usr/local/lib/node_modules/npm/package.json").version });
for (const [name, wanted] of Object.entries({ ...dependencies, ...devDependencies })) {
    const { version } = json(`node_modules/${name}/package.json`);
    assert.equal(version, wanted, name);
    packages.push({ name, version });
}

fs.mkdirSync(`${MADE}/adjusted`);
const listed = { symbol: "MADE", first: BARS[0].time, last: BARS[1].time, rows: BARS.length };
fs.writeFileSync(`${MADE}/manifest.json`, JSON.stringify({ symbols: [listed] }));
const rows = BARS.map((bar) => Object.values(bar).join(","));
fs.writeFileSync(`${MADE}/adjusted/MADE.csv`, `date,open,high,low,close,volume\n${rows.join("\n")}\n`);

// As it was built.
await served(["server.ts"], MADE, 3000, async (url) => {
    const page = await (await fetch(url)).text();
    const script = /<script type="module"[^>]* src="(\/assets\/[^"]+\.js)"/.exec(page)[1];
    const type = (await fetch(url + script)).headers.get("content-type");
    assert.match(type, /^text\/javascript/);
    assert.deepEqual(await answer(`${url}/api/symbols`, 200), [listed]);
    assert.deepEqual(await answer(`${url}/api/bars?symbol=MADE`, 200), BARS);
    assert.match((await answer(`${url}/api/bars?symbol=..%2f..%2fetc%2fpasswd`, 404)).error, /no bars of/);
    assert.equal((await fetch(`${url}/..%2f..%2f..%2f..%2fetc/passwd.txt`)).status, 404);
});
await served(["server.ts"], "/nowhere", 3000, async (url) => {
    assert.match((await answer(`${url}/api/symbols`, 503)).error, /nowhere\/manifest\.json cannot be read/);
});
// As it is worked on.
await served(["node_modules/vite/bin/vite.js", "--host", "127.0.0.1"], MADE, 5173, async (url) => {
    assert.match(await (await fetch(`${url}/src/main.tsx`)).text(), /Dashboard/);
    assert.deepEqual(await answer(`${url}/api/bars?symbol=MADE`, 200), BARS);
});

for (const left of [MADE, "/home/user/.npm", "node_modules/.vite"]) {
    fs.rmSync(left, { recursive: true, force: true });
}
console.log(`check: ${packages.length} packages (${Date.now() - started} ms)`);
console.log("@packages " + JSON.stringify(packages));

function json(path) {
    return JSON.parse(fs.readFileSync(path, "utf8"));
}

async function answer(url, status) {
    const response = await fetch(url);
    assert.equal(response.status, status, url);
    return response.json();
}

/** Runs a server with Node, and `use` once it answers. */
async function served(argv, data, port, use) {
    const server = spawn("node", argv, { env: { ...process.env, DATA_DIR: data }, stdio: ["ignore", "inherit", "inherit"] });
    const ended = new Promise((resolve) => server.on("exit", resolve));
    // A step of a build knows no names.
    const url = `http://127.0.0.1:${port}`;
    for (const end = Date.now() + 60_000; ; await sleep(50)) {
        assert.equal(server.exitCode, null, `${argv} has ended`);
        assert(Date.now() < end, `${argv} does not answer`);
        if (await fetch(url).then((response) => response.text()).catch(() => false)) break;
    }
    await use(url);
    server.kill("SIGKILL");
    await ended;
}
