import "node:fs";
function price(symbol) {
    throw new RangeError(`no price of ${symbol}`);
}
price("AAPL");
