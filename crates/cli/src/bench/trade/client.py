# Orders, the same for everybody: what it does stands in PLAN, which is put before it. It prints the seconds of each order from its
# first byte to its acknowledgement; each is cancelled before the next one, which is not measured.
import http.client, json, os, time

HEAD = {"APCA-API-KEY-ID": "PKBENCHBENCHBENCH01", "APCA-API-SECRET-KEY": "benchbenchbenchbenchbenchbenchbenchbench", "Content-Type": "application/json"}
serial = 0


def connect():
    if PLAN["port"]:
        return http.client.HTTPConnection("127.0.0.1", PLAN["port"], timeout=60)
    return http.client.HTTPSConnection("paper-api.alpaca.markets", timeout=60)


def ask(connection, method, target, body=None):
    connection.request(method, target, body, HEAD)
    answer = connection.getresponse()
    return answer.status, answer.read()


def order(connection):
    global serial
    serial += 1
    price = f"{100 + serial % 50}.{PLAN['vary'] % 100:02}"
    asked = {"symbol": "IBM", "qty": "1", "side": "buy", "type": "limit", "limit_price": price, "time_in_force": "day"}
    begin = time.perf_counter()
    status, body = ask(connection, "POST", "/v2/orders", json.dumps(asked))
    took = time.perf_counter() - begin
    assert status == 200, (status, body)
    said = json.loads(body)
    assert float(said["limit_price"]) == float(price) and said["symbol"] == "IBM", said
    status, body = ask(connection, "DELETE", f"/v2/orders/{said['id']}")
    assert status == 204, (status, body)
    return took


def one_after_the_other():
    connection = connect()
    for _ in range(10):
        order(connection)
    return [order(connection) for _ in range(PLAN["count"])]


def as_quickly_as_it_goes():
    connection, times = connect(), []
    order(connection)
    end = time.monotonic() + PLAN["seconds"]
    while time.monotonic() < end:
        times.append(order(connection))
    return times


def forked():
    pipes = []
    for _ in range(PLAN["forks"]):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                out.write(json.dumps(as_quickly_as_it_goes()))
            os._exit(0)
        os.close(writer)
        pipes.append(reader)
    times = []
    for reader in pipes:
        with os.fdopen(reader) as text:
            times += json.loads(text.read())
    return times


times = forked() if PLAN["forks"] else one_after_the_other()
print(json.dumps([round(t * 1e7) for t in times], separators=(",", ":")))
