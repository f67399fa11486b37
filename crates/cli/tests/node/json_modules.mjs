import fs from "fs";
fs.writeFileSync("config.json", '{"symbol": "AAPL"}');
const { default: config } = await import("./config.json", { with: { type: "json" } });
console.log(config.symbol);
