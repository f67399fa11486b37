try {
    require("./no-such-file");
} catch (error) {
    console.log(error.code, error.message.split("\n")[0]);
}
console.log(require("fs").existsSync("./no-such-file"));
