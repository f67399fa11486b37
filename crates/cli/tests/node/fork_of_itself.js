const { fork } = require("child_process");
if (process.argv[2] === "child") {
    process.send({ got: process.argv.slice(2), execArgv: process.execArgv });
} else {
    const child = fork(__filename, ["child", "x"]);
    child.on("message", (message) => console.log(message));
    child.on("exit", (code, signal) => console.log("child", code, signal));
}
