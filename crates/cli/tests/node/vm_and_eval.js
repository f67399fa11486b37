const vm = require("vm");
console.log(eval("1 + 1"), new Function("return typeof require")(), vm.runInNewContext("a + 1", { a: 2 }));
eval("throw new Error('from eval')");
