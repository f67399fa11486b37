// Reads the sample bars, and writes the closes up to the day before the simulated exchange's first one.
const fs = require("node:fs");

const LAST_DAY = "2011-12-30";
const bars = {};
for (const symbol of ["AAPL", "IBM", "MSFT"]) {
  const [head, ...rows] = fs.readFileSync(`/data/adjusted/${symbol}.csv`, "utf8").trim().split("\n");
  const names = head.split(",");
  const [day, close] = [names.indexOf("date"), names.indexOf("close")];
  bars[symbol] = rows
    .map((row) => row.split(","))
    .filter((cells) => cells[day].slice(0, 10) <= LAST_DAY)
    .slice(-250)
    .map((cells) => ({ day: cells[day].slice(0, 10), close: Number(cells[close]) }));
}
fs.writeFileSync("bars.json", JSON.stringify(bars));
for (const [symbol, closes] of Object.entries(bars)) {
  console.log(`${symbol}: ${closes.length} closes, ${closes[0].day} to ${closes.at(-1).day}`);
}
