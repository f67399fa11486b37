// Nothing is left of what a Node did while it waited.
const Module = require("module");
const ours = (path) => path.startsWith("/usr/lib/ringfence") || path.includes("waits-for");
console.log(Object.keys(require.cache).filter(ours), Object.keys(Module._pathCache).filter(ours));
console.log(process.mainModule === module, require.main === module, module.id, module.children.length);
console.log(process._getActiveHandles().length, process._getActiveRequests().length);
console.log(Object.getOwnPropertyDescriptor(process, "mainModule").value === module);
console.log(process.cwd(), process.exitCode, process.listenerCount("warning"), process.listenerCount("uncaughtException"));
