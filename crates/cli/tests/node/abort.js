console.log("before");
setTimeout(() => process.kill(process.pid, "SIGABRT"), 2);
setTimeout(() => {}, 5000);
