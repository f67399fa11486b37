process.on("exit", () => { throw new Error("at the end"); });
console.log("program");
