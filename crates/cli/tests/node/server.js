const http = require("http");
const server = http.createServer((request, answer) => answer.end("bars of " + request.url)).listen(0, async () => {
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/AAPL`);
    console.log(answer.status, await answer.text());
    server.close(() => console.log("closed"));
});
