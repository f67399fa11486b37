setImmediate(() => console.log("immediate"));
setTimeout(() => console.log("timeout"), 400);
process.nextTick(() => console.log("tick"));
Promise.resolve().then(() => console.log("micro"));
queueMicrotask(() => console.log("queued"));
console.log("now");
