console.log(Object.getOwnPropertyNames(globalThis).sort().join(" "));
console.log(Object.keys(globalThis).join(" "));
leaked = 1;
console.log(globalThis.leaked, typeof exports, typeof __filename);
