# Bars as they come, for so long; prints how many there were. With asyncio, as alpaca-py listens: of the threaded client of `websockets`,
# which reads and writes one TLS connection from two threads, one of a hundred at once never got an answer to its handshake.
import asyncio, json, time
from websockets.asyncio.client import connect

async def listen():
    count = 0
    async with connect("wss://stream.data.alpaca.markets/v2/iex", max_size=None, open_timeout=60) as ws:
        assert json.loads(await ws.recv())[0]["msg"] == "connected"
        keys = {"key": "PKBENCHBENCHBENCH01", "secret": "benchbenchbenchbenchbenchbenchbenchbench"}
        await ws.send(json.dumps({"action": "auth", **keys}))
        assert json.loads(await ws.recv())[0]["msg"] == "authenticated"
        await ws.send(json.dumps({"action": "subscribe", "bars": ["*"]}))
        assert json.loads(await ws.recv())[0]["T"] == "subscription"
        await asyncio.sleep(max(0, PLAN["start"] - time.time()))
        end, last = time.monotonic() + PLAN["seconds"], {}
        while (left := end - time.monotonic()) > 0:
            try:
                messages = json.loads(await asyncio.wait_for(ws.recv(), left))
            except TimeoutError:
                break
            for bar in messages:
                assert bar["T"] == "b" and bar["t"] > last.get(bar["S"], ""), bar
                last[bar["S"]] = bar["t"]
                count += 1
    return count

print(asyncio.run(listen()))
