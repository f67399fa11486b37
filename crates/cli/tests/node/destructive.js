process.stdout.end?.call;
process.stdout.write("a\n", () => { console.log("written"); });
process.on("exit", () => require("fs").writeSync(1, "last words\n"));
