const value = await new Promise((resolve) => setTimeout(() => resolve(42), 5));
console.log(value);
for await (const each of (async function* () { yield 1; yield 2; })()) console.log(each);
