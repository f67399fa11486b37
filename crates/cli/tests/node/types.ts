interface Bar { open: number; close: number }
type Side = "buy" | "sell";
const bars: Bar[] = [{ open: 1, close: 2 }];
function side(bar: Bar): Side { return bar.close > bar.open ? "buy" : "sell"; }
console.log(bars.map(side), (bars[0] as Bar).close satisfies number);
