const first = new Error("first").stack; // the first line is where columns could be off

function second() {
    return new Error("second").stack;
}
console.log(first.split("\n").slice(0, 2).join("\n"), second().split("\n").slice(0, 3).join("\n"));
console.log(first.split("\n").length, second().split("\n").length);
