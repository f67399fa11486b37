console.log(require.main === module, module.id, module.children.length, module.parent, module.loaded, module.filename === __filename);
console.log(Object.keys(require.cache).filter((name) => !name.includes("/node_modules/")).length, this === module.exports, arguments.length);
