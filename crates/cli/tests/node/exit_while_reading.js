// Work of the thread pool is under way.
const fs = require("fs");
const { createHash, pbkdf2 } = require("crypto");
for (let i = 0; i < 8; i++) pbkdf2("a", "b", 1e6, 64, "sha512", () => console.log("never"));
fs.writeFileSync("left.txt", "left");
console.log(createHash("sha256").update(fs.readFileSync("left.txt")).digest("hex"));
process.exitCode = 3;
setTimeout(() => process.exit(), 5);
