const { execFileSync, spawnSync } = require("child_process");
console.log(execFileSync("node", ["-p", "6 * 7"], { encoding: "utf8" }).trim());
const ran = spawnSync("sh", ["-c", "echo out; echo err >&2; exit 4"], { encoding: "utf8" });
console.log(ran.status, ran.stdout, ran.stderr);
spawnSync("sh", ["-c", "echo inherited"], { stdio: "inherit" });
