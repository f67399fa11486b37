// stdin: "a\nb\nc\n"
let text = "";
for await (const chunk of process.stdin) text += chunk;
console.log(text.length, text.trim().split("\n"));
