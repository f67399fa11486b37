const fs = require("fs");
fs.writeFileSync("helper.js", "exports.twice = (n) => 2 * n; exports.main = require.main === module; exports.parent = typeof module.parent;");
fs.mkdirSync("lib", { recursive: true });
fs.writeFileSync("lib/index.js", "module.exports = require('../helper').twice(21);");
fs.writeFileSync("data.json", '{"a": [1, 2]}');
console.log(require("./helper").twice(4), require("./helper.js").main, require("./lib"), require("./lib/"), require("./data.json"));
console.log(require.resolve("./helper") === process.cwd() + "/helper.js", require("./helper").parent);
