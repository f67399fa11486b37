// What is installed in a home, said as JSON on the last line. Nothing of the home is loaded.
const fs = require("fs");
const root = "/home/user/node_modules";
const found = [];
const list = (dir) => {
  try {
    return fs.readdirSync(dir).filter((name) => !name.startsWith(".")).sort();
  } catch {
    return [];
  }
};
const look = (name) => {
  try {
    const { version } = JSON.parse(fs.readFileSync(`${root}/${name}/package.json`, "utf8"));
    if (typeof version === "string") found.push({ name, version });
  } catch {}
};
for (const name of list(root)) {
  if (name.startsWith("@")) for (const part of list(`${root}/${name}`)) look(`${name}/${part}`);
  else look(name);
}
console.log(JSON.stringify(found));
