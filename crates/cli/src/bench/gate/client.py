# The client, the same for everybody: what it does stands in PLAN, which is put before it. It prints the seconds of each request,
# and fails when an answer is not the one that was asked for.
import json, os, socket, ssl, sys, time

context = ssl.create_default_context(cadata=PLAN["roots"]) if PLAN["roots"] else ssl.create_default_context()


def line(stream):
    read = b""
    while b"\r\n\r\n" not in read:
        more = stream.recv(65536)
        assert more, "the other side hung up"
        read += more
    return read


def connect():
    plain = socket.create_connection((PLAN["address"], PLAN["port"]), 20)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if PLAN["tunnel"]:
        plain.sendall(f"CONNECT {PLAN['tunnel']} HTTP/1.1\r\nHost: {PLAN['tunnel']}\r\n\r\n".encode())
        assert b" 200 " in line(plain).split(b"\r\n")[0]
    return context.wrap_socket(plain, server_hostname=PLAN["host"])


count = 0


def ask(stream):
    global count
    count += 1
    target = f"/v2/clock?{os.getpid()}-{count}"
    stream.sendall(f"GET {target} HTTP/1.1\r\nHost: {PLAN['host']}:{PLAN['named_port']}\r\n\r\n".encode())
    read = line(stream)
    head, _, body = read.partition(b"\r\n\r\n")
    wanted = f"GET {target}".encode()
    assert head.startswith(b"HTTP/1.1 200 "), read
    while len(body) < len(wanted):
        more = stream.recv(65536)
        assert more, "the other side hung up"
        body += more
    assert body == wanted, read


def timed(what):
    begin = time.perf_counter()
    what()
    return round(time.perf_counter() - begin, 7)


def kept():
    stream = connect()
    for _ in range(20):
        ask(stream)
    return [timed(lambda: ask(stream)) for _ in range(PLAN["count"])]


def new():
    times = []
    for _ in range(PLAN["count"]):
        times.append(timed(lambda: ask(connect())))
        # The gate answers a sandbox 200 questions about names a second, and each connection asks two.
        time.sleep(0.02)
    return times


# For so long, one request every so often, or as quickly as they are answered.
def poll():
    stream = connect()
    ask(stream)
    time.sleep(max(0, PLAN["start"] - time.time()))
    times, every = [], PLAN["every"]
    begin = due = time.monotonic() + (os.getpid() * 7919 % 1000 / 1000 * every)
    while due < begin + PLAN["seconds"]:
        time.sleep(max(0, due - time.monotonic()))
        times.append(timed(lambda: ask(stream)))
        due = due + every if every else time.monotonic()
    return times


# Many at once, each a process of its own.
def forked(one):
    pipes = []
    for _ in range(PLAN["forks"]):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                out.write(json.dumps(one()))
            os._exit(0)
        os.close(writer)
        pipes.append(reader)
    times = []
    for reader in pipes:
        with os.fdopen(reader) as text:
            times += json.loads(text.read())
    return times


one = {"kept": kept, "new": new, "poll": poll}[PLAN["what"]]
# In tenths of a microsecond, and short: an answer holds 1 MiB of what is printed.
times = forked(one) if PLAN["forks"] else one()
print(json.dumps([round(t * 1e7) for t in times], separators=(",", ":")))
