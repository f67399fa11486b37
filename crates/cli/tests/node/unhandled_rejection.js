process.on("exit", (code) => console.log("exit", code, process.exitCode));
Promise.reject(new Error("nobody listens"));
setTimeout(() => console.log("not reached"), 50);
