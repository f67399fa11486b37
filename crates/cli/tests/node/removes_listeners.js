process.removeAllListeners("exit");
process.removeAllListeners();
console.log("still here");
process.exitCode = 4;
