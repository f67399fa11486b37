import "node:fs";
Error.stackTraceLimit = 50;
console.trace("here");
