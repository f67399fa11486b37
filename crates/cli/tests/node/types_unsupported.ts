enum Side { Buy, Sell }
console.log(Side.Buy);
