// stdin: "AAPL 101.5\nMSFT 99\n"
const lines = require("readline").createInterface({ input: process.stdin });
lines.on("line", (line) => console.log(line.split(" ").reverse().join(" ")));
lines.on("close", () => console.log("closed"));
