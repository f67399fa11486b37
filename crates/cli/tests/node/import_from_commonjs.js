const fs = require("fs");
fs.writeFileSync("neighbour.mjs", "export const twice = (n) => 2 * n;");
import("./neighbour.mjs").then(({ twice }) => console.log(twice(5)));
