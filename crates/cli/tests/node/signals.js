process.on("SIGTERM", (name, number) => { console.log("got", name, number); process.exit(6); });
setTimeout(() => {}, 5000);
setTimeout(() => process.kill(process.pid, "SIGTERM"), 5);
