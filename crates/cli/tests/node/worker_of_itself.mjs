import { Worker, isMainThread, parentPort } from "worker_threads";
if (isMainThread) {
    const worker = new Worker(new URL(import.meta.url));
    worker.on("message", (message) => console.log("from the worker", message));
} else {
    const { default: axios } = await import("axios");
    parentPort.postMessage(typeof axios.get);
}
