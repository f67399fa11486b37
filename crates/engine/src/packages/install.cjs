// Installs packages into the home of the sandbox's user with npm, and says as JSON on its last line what came of it.
//
// Reads a list of `name` or `name@version` as JSON. It is run in the sandbox, as any program is, while the gate lets it reach the
// registries. npm puts back what was there when it fails.

const fs = require("fs");
const { spawnSync } = require("child_process");

// What strategies are usually written with: names to be suggested, no more.
const KNOWN = `@alpacahq/alpaca-trade-api @alpacahq/typescript-sdk @anthropic-ai/sdk @polygon.io/client-js axios bignumber.js binance
binance-api-node bitfinex-api-node ccxt chart.js cheerio commander csv-parse csv-parser csv-stringify d3 danfojs danfojs-node date-fns
dayjs decimal.js dotenv ethers express fast-csv fastify finnhub got ioredis jsdom kafkajs kraken-api lightweight-charts lodash
luxon mathjs ml-matrix ml-regression moment moment-timezone mongodb mongoose mysql2 next node-cron node-fetch node-schedule openai
papaparse pg pino playwright prisma puppeteer react react-dom recharts redis reconnecting-websocket rxjs simple-statistics socket.io
socket.io-client sqlite3 talib technicalindicators tulind typescript undici uuid vite web3 winston ws yahoo-finance2 zod`.split(/\s+/);

function distance(a, b) {
    let row = Array.from({ length: b.length + 1 }, (_, i) => i);
    for (let i = 1; i <= a.length; i++) {
        const next = [i];
        for (let j = 1; j <= b.length; j++) {
            next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
        }
        row = next;
    }
    return row[b.length];
}

function near(name) {
    const allowed = Math.max(1, Math.floor(name.length / 3));
    const found = KNOWN.map((known) => [distance(name.toLowerCase(), known), known]);
    return found.filter(([far]) => far > 0 && far <= allowed).sort((a, b) => a[0] - b[0]).slice(0, 3).map(([, known]) => known);
}

const wanted = JSON.parse(fs.readFileSync(0, "utf8"));
const home = process.env.HOME;
const args = ["install", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error", "--prefix", home, "--", ...wanted];
const ran = spawnSync("npm", args, { cwd: home, stdio: ["ignore", "pipe", "pipe"], encoding: "utf8", maxBuffer: 64 << 20 });
const said = `${ran.stdout || ""}${ran.stderr || ""}${ran.error ? String(ran.error) : ""}`;
const installed = [];
if (ran.status === 0) {
    for (const each of wanted) {
        const name = each.replace(/(.)@.*/, "$1");
        const { version } = JSON.parse(fs.readFileSync(`${home}/node_modules/${name}/package.json`, "utf8"));
        installed.push({ name, version });
    }
}
const missing = [...said.matchAll(/'(@?[^@']+)@[^']*' (?:is not in this registry|could not be found)/g)].map((match) => match[1]);
const last = said.split("\n").filter((line) => line.trim()).slice(-12);
const report = { exit_code: ran.status ?? 1, installed, near: Object.fromEntries(missing.map((name) => [name, near(name)])), said: last };
console.log(JSON.stringify(report));
