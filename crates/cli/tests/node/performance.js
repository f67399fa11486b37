const { performance } = require("perf_hooks");
const begin = performance.now();
for (let i = 0; i < 1000; i++) Math.sqrt(i);
console.log(performance.now() - begin < 1000, typeof performance.timeOrigin);
