console.log("one");
console.log(`a
b`.length);
throw new Error("x");
