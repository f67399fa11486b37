setTimeout(() => { throw new Error("later"); }, 5);
process.on("exit", (code) => console.log("exit", code));
