const crypto = require("crypto");
console.log(crypto.createHmac("sha256", "key").update("order").digest("hex"), crypto.randomBytes(8).length, crypto.randomUUID().length);
crypto.pbkdf2("a", "b", 10, 16, "sha512", (error, key) => console.log(error, key.toString("hex")));
