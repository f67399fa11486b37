import "node:fs";
setTimeout(() => console.log("timeout"), 400);
process.nextTick(() => console.log("tick"));
Promise.resolve().then(() => console.log("micro"));
console.log("now");
