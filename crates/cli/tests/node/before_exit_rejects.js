process.once("beforeExit", () => { setTimeout(() => Promise.reject(new Error("late")), 1); });
console.log("program");
