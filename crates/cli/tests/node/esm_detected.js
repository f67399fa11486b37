import os from "os";
const { EOL } = await import("os");
console.log(typeof os.cpus, EOL === "\n", typeof require);
export const nothing = 1;
