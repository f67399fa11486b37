const fs = require("fs");
fs.mkdirSync("node_modules/mine", { recursive: true });
fs.writeFileSync("node_modules/mine/package.json", '{"name": "mine", "version": "1.2.3", "main": "m.js"}');
fs.writeFileSync("node_modules/mine/m.js", "module.exports = 'mine';");
console.log(require("mine"), require("mine/package.json").version, require.resolve("mine") === process.cwd() + "/node_modules/mine/m.js");
import("mine").then((found) => console.log(found.default));
