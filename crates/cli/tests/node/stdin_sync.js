// stdin: "all of it\nat once"
console.log(JSON.stringify(require("fs").readFileSync(0, "utf8")), process.stdin.isTTY);
