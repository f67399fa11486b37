import fs from "fs";
fs.writeFileSync("neighbour.mjs", "export const twice = (n) => 2 * n; export default import.meta.main;");
fs.writeFileSync("old.cjs", "exports.three = 3; exports.dir = __dirname;");
const { twice, default: main } = await import("./neighbour.mjs");
const { three, dir } = await import("./old.cjs");
console.log(twice(4), main, three, dir === process.cwd(), import.meta.resolve("./x.js") === "file://" + process.cwd() + "/x.js");
