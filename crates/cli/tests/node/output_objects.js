console.log({ a: 1, b: [1, 2, { c: new Map([["k", new Set([1n])]]) }], d: new Date(0), e: Symbol("s"), f() {} }, [undefined, null, -0], new (class Order { qty = 1 })());
console.table([{ symbol: "AAPL", price: 1.5 }, { symbol: "MSFT", price: 2 }]);
console.error("%s is %d and %j", "x", 4.5, { a: 1 });
