import fs from "node:fs";
import { fileURLToPath } from "node:url";
console.log(import.meta.main, import.meta.filename === process.argv[1], fileURLToPath(import.meta.url) === process.argv[1]);
console.log(typeof require, typeof module, this, fs.readFileSync(import.meta.filename, "utf8").length > 10);
