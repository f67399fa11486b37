# Bars as they come, for so long; prints how many there were.
import json, time
from websockets.sync.client import connect

count = 0
with connect("wss://stream.data.alpaca.markets/v2/iex", max_size=None) as ws:
    assert json.loads(ws.recv())[0]["msg"] == "connected"
    ws.send(json.dumps({"action": "auth", "key": "PKBENCHBENCHBENCH01", "secret": "benchbenchbenchbenchbenchbenchbenchbench"}))
    assert json.loads(ws.recv())[0]["msg"] == "authenticated"
    ws.send(json.dumps({"action": "subscribe", "bars": ["*"]}))
    assert json.loads(ws.recv())[0]["T"] == "subscription"
    time.sleep(max(0, PLAN["start"] - time.time()))
    end, last = time.monotonic() + PLAN["seconds"], {}
    while (left := end - time.monotonic()) > 0:
        try:
            messages = json.loads(ws.recv(timeout=left))
        except TimeoutError:
            break
        for bar in messages:
            assert bar["T"] == "b" and bar["t"] > last.get(bar["S"], ""), bar
            last[bar["S"]] = bar["t"]
            count += 1
print(count)
