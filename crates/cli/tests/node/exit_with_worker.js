const { Worker } = require("worker_threads");
process.on("exit", (code) => console.log("exit", code));
const worker = new Worker("for (;;);", { eval: true });
worker.on("online", () => process.exit(5));
