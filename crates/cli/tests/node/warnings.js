process.emitWarning("prices are old", "DeprecationWarning", "DEP9999");
process.on("warning", (warning) => console.log(warning.name, warning.message));
new Buffer(4);
