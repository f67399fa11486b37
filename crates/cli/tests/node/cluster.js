const cluster = require("cluster");
if (cluster.isPrimary) {
    cluster.fork().on("message", (message) => { console.log(message); }).on("exit", (code) => console.log("ended", code));
} else {
    process.send("from a worker");
    process.exit(0);
}
