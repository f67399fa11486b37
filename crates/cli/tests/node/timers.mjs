import "node:fs";
setTimeout(() => console.log("timeout"), 20);
process.nextTick(() => console.log("tick"));
Promise.resolve().then(() => console.log("micro"));
console.log("now");
