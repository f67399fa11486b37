const names = Object.keys(process.env).filter((name) => !["_", "SHLVL", "OLDPWD", "PWD"].includes(name)).sort();
console.log(names.map((name) => `${name}=${process.env[name]}`).join("\n"));
process.env.ADDED = 5;
console.log(require("child_process").execSync("echo $ADDED $HOME", { encoding: "utf8" }));
