const { WebSocketServer } = require("ws");
const server = new WebSocketServer({ port: 0 }, () => {
    const client = new WebSocket(`ws://127.0.0.1:${server.address().port}`);
    client.onmessage = (event) => { console.log(event.data); client.close(); server.close(); };
});
server.on("connection", (socket) => socket.send("bar"));
