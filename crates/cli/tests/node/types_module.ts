import fs from "node:fs";
import type { Stats } from "node:fs";
const stats: Stats = fs.statSync(".");
const found = await Promise.resolve<boolean>(stats.isDirectory());
console.log(found);
