console.log("before");
await Promise.reject(new TypeError("no price"));
