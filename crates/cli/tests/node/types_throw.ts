const price = (symbol: string): number => {
    throw new Error(`no price of ${symbol}`);
};
price("AAPL");
