process.on("unhandledRejection", (reason, promise) => { console.log("heard", reason.message, promise instanceof Promise); });
Promise.reject(new Error("x"));
