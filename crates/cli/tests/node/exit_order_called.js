process.on("exit", (code) => { console.log("first", code); });
process.on("beforeExit", () => console.log("never"));
setTimeout(() => process.exit(), 5);
process.exitCode = 9;
