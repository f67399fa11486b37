undeclared = 010;
console.log(undeclared, (function () { return this === globalThis; })());
