"""Alpaca as a client sees it, as far as the tests of the gate need it: account, orders, bars, and both streams.

Whoever does not show the key that is valid is refused, in the way that Alpaca refuses; whoever shows it is told it again, in
headers, bodies and messages, because that is what an echo of a real server would do. Words on the standard input, one a line:

    key ID SECRET   only this pair is valid from now on
    update          every trading stream is told of an order
    bars N          every data stream is told of N bars
    drop            every stream is closed as by a server that is started anew (1012)
    cut             every stream's connection is cut

What came in is told on the standard output, one JSON object a line.
"""

import argparse
import asyncio
import base64
import datetime
import json
import ssl
import sys
import uuid

import msgpack
from aiohttp import WSMsgType, web

NOW = "2026-01-02T15:04:05.123456Z"
ACCOUNT = str(uuid.uuid4())
# The gate's rules look at the account's clock, its positions, and what the market says.
FACTS = {
    "/v2/clock": {"timestamp": "2026-01-02T10:04:06.5-05:00", "is_open": True},
    "/v2/calendar": [{"date": "2026-01-02", "open": "09:30", "close": "16:00", "session_open": "0400", "session_close": "2000"}],
    "/v2/positions": [],
    "/v2/assets/AAPL": {"symbol": "AAPL", "class": "us_equity"},
    "/v2/stocks/quotes/latest": {"quotes": {"AAPL": {"t": NOW, "bp": 249.99, "ap": 250.01}}},
    "/v2/stocks/trades/latest": {"trades": {}},
}
valid = (None, None)
streams = {"trading": set(), "data": set()}


def say(event, **what):
    print(json.dumps({"event": event, **what}), flush=True)


def order(asked):
    stamp = {name: NOW for name in ("created_at", "updated_at", "submitted_at")}
    return {
        "id": str(uuid.uuid4()), "client_order_id": asked.get("client_order_id", "1"), **stamp,
        "asset_id": str(uuid.uuid4()), "symbol": asked["symbol"], "asset_class": "us_equity",
        "qty": str(asked["qty"]), "filled_qty": "0", "order_class": "", "order_type": asked["type"], "type": asked["type"],
        "side": asked["side"], "time_in_force": asked["time_in_force"], "status": "accepted", "extended_hours": False,
    }


def keys_of(request):
    return request.headers.get("APCA-API-KEY-ID"), request.headers.get("APCA-API-SECRET-KEY")


orders = []


@web.middleware
async def authorised(request, handler):
    if request.path in ("/stream", "/v2/iex"):
        return await handler(request)
    good = keys_of(request) == valid
    # What the gate asks by itself, and what it sends in its own words, is told by what comes of it.
    if request.headers.get("User-Agent") != "ringfence":
        say("rest", host=request.host, method=request.method, path=request.path, good=good)
    if not good:
        return web.json_response({"code": 40110000, "message": f"not authorized: {keys_of(request)}"}, status=401)
    response = await handler(request)
    response.headers["X-Echo"] = "/".join(valid)
    return response


async def account(request):
    echo = "-".join([valid[0], base64.b64encode(valid[1].encode()).decode()])
    body = {"id": ACCOUNT, "equity": "100000", "last_equity": "100000", "account_number": valid[1], "status": "ACTIVE", "currency": echo}
    # In parts that cut the key in two.
    response = web.StreamResponse(headers={"Content-Type": "application/json", "X-Echo": "/".join(valid)})
    response.enable_chunked_encoding()
    await response.prepare(request)
    text = json.dumps(body).encode()
    for at in range(0, len(text), 7):
        await response.write(text[at : at + 7])
        await asyncio.sleep(0.001)
    await response.write_eof()
    return response


async def submit(request):
    made = order(await request.json())
    orders.append(made)
    return web.json_response(made)


async def listed(_):
    return web.json_response(orders)


async def fact(request):
    return web.json_response(FACTS[request.path])


async def bars(request):
    bar = {"t": "2026-01-02T05:00:00Z", "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 100, "n": 3, "vw": 1.25}
    found = {symbol: [bar, bar] for symbol in request.query["symbols"].split(",")}
    return web.json_response({"bars": found, "next_page_token": None})


async def trading(request):
    ws = web.WebSocketResponse(autoping=True)
    await ws.prepare(request)
    async for message in ws:
        if message.type != WSMsgType.TEXT:
            continue
        asked = json.loads(message.data)
        answer = {"stream": "listening", "data": asked.get("data")}
        if asked["action"] == "authenticate":
            shown = asked["data"].get("key_id"), asked["data"].get("secret_key")
            good = shown == valid
            say("trading", good=good, fields=sorted(asked["data"]), extensions=request.headers.get("Sec-WebSocket-Extensions"))
            status = {"status": "authorized" if good else "unauthorized", "action": "authenticate", "echo": shown}
            answer = {"stream": "authorization", "data": status}
            if good:
                streams["trading"].add(ws)
        else:
            say("listening", asked=asked.get("data"))
        # As the paper endpoint does: binary frames of JSON.
        await ws.send_bytes(json.dumps(answer).encode())
    streams["trading"].discard(ws)
    say("trading closed", code=ws.close_code)
    return ws


async def told(ws, what):
    if ws.packed:
        await ws.send_bytes(msgpack.packb([what]))
    else:
        await ws.send_str(json.dumps([what], default=lambda stamp: stamp.to_datetime().isoformat().replace("+00:00", "Z")))


async def data(request):
    ws = web.WebSocketResponse(autoping=True, max_msg_size=1 << 24)
    await ws.prepare(request)
    headers = keys_of(request)
    good = headers == valid
    ws.packed = request.headers.get("Content-Type") == "application/msgpack"
    if good:
        say("data", good=True, by="headers")
        streams["data"].add(ws)
    first = {"T": "success", "msg": "authenticated" if good else "connected"}
    await told(ws, first)
    async for message in ws:
        asked = msgpack.unpackb(message.data) if ws.packed else json.loads(message.data)
        if asked["action"] == "auth":
            shown = (asked["key"], asked["secret"])
            good = shown == valid
            say("data", good=good, by="frame", content_type=request.headers.get("Content-Type"))
            answer = {"T": "success", "msg": "authenticated", "echo": shown}
            if good:
                streams["data"].add(ws)
            else:
                answer = {"T": "error", "code": 402, "msg": f"auth failed: {shown}"}
        else:
            answer = {"T": "subscription", **{name: asked.get(name, []) for name in ("trades", "quotes", "bars")}}
            say("subscription", bars=answer["bars"])
        await told(ws, answer)
    streams["data"].discard(ws)
    say("data closed", code=ws.close_code)
    return ws


async def word(line):
    global valid
    what, *rest = line.split()
    sockets = [ws for kind in streams.values() for ws in kind]
    if what == "key":
        valid = tuple(rest)
    elif what == "update":
        # Of the last order that was sent; of one that nobody has sent, if none was.
        event = {"event": "new", "timestamp": NOW, "order": orders[-1] if orders else order(dict(symbol="AAPL", qty=1, type="market", side="buy", time_in_force="day"))}
        for ws in list(streams["trading"]):
            await ws.send_bytes(json.dumps({"stream": "trade_updates", "data": {**event, "execution_id": str(uuid.uuid4())}}).encode())
    elif what == "bars":
        stamp = msgpack.Timestamp.from_datetime(datetime.datetime(2026, 1, 2, 15, tzinfo=datetime.timezone.utc))
        for ws in list(streams["data"]):
            for n in range(int(rest[0])):
                await told(ws, {"T": "b", "S": "AAPL", "o": 1, "h": 2, "l": 1, "c": float(n), "v": n, "t": stamp, "n": 1, "vw": 1.5})
    elif what == "drop":
        await asyncio.gather(*(ws.close(code=1012, message=b"service restart") for ws in sockets))
    elif what == "cut":
        for ws in sockets:
            ws._req.transport.abort()
    say("done", word=what)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--address", action="append")
    given = parser.parse_args()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(given.certificate)
    app = web.Application(middlewares=[authorised])
    app.add_routes([
        web.get("/v2/account", account), web.post("/v2/orders", submit), web.get("/v2/orders", listed),
        *[web.get(path, fact) for path in FACTS],
        web.get("/v2/stocks/bars", bars), web.get("/stream", trading), web.get("/v2/iex", data),
    ])
    runner = web.AppRunner(app)
    await runner.setup()
    for address in given.address:
        await web.TCPSite(runner, address, 443, ssl_context=tls).start()
    say("ready")
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await word(line.decode())


asyncio.run(main())
