process.on("exit", () => process.exit(11));
process.exit(3);
