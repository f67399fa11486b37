const preço = "ação €";
console.log(preço, preço.length, Buffer.from(preço).length, "\u{1F4C8}");
