const text = require("fs").readFileSync(__filename, "utf8");
console.log(text.length, text.split("\n")[0]);
