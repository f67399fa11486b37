const fs = require("fs");
for (const fd of [0, 1, 2]) console.log(fs.fstatSync(fd).isFIFO());
console.log(process.stdout.isTTY, process.stderr.writableHighWaterMark, process.stdout.writable, process.stdin.readable);
console.log(fs.readdirSync("/proc/self/fd").filter((fd) => { try { return fs.readlinkSync("/proc/self/fd/" + fd).startsWith("/"); } catch { return false; } }).length);
