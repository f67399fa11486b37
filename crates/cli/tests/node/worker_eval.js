const { Worker } = require("worker_threads");
new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true }).on("message", console.log);
