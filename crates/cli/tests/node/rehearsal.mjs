// Nothing is left of what a Node did while it waited.
import Module from "node:module";
console.log(process.mainModule, import.meta.main);
console.log(Object.keys(Module._pathCache).filter((path) => path.startsWith("/usr/lib/ringfence")));
console.log(process._getActiveHandles().length, process._getActiveRequests().length);
await Promise.resolve();
