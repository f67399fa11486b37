const axios = require("axios");
const WebSocket = require("ws");
const Alpaca = require("@alpacahq/alpaca-trade-api");
console.log(typeof axios.get, axios.VERSION, typeof WebSocket, typeof Alpaca, require.resolve("ws"));
const alpaca = new Alpaca({ keyId: "k", secretKey: "s", paper: true });
console.log(typeof alpaca.getAccount);
