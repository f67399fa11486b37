console.log(process.argv.length, process.argv[0], process.argv0.endsWith("node"), process.execArgv, process.execPath);
console.log(process.argv[1] === __filename, __dirname === require("path").dirname(__filename));
