#!/usr/bin/env node
console.log("after the first line", new Error().stack.split("\n")[1].split(":").slice(-2).join(":"));
