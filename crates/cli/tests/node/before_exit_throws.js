process.once("beforeExit", () => { throw new Error("just before the end"); });
console.log("program");
