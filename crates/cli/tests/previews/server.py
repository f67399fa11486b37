"""A server of raw sockets, so that it can also answer what no server should. argv: family, address, port, log of heads."""

import base64
import hashlib
import os
import socket
import sys
import threading
import time

family, address, port, log = sys.argv[1:5]


def read_head(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return None, b""
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def field(head, name):
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def body_parts(connection, head, rest):
    length = field(head, b"content-length")
    if length is not None:
        missing = int(length)
        while missing > 0:
            part = rest or connection.recv(65536)
            rest = b""
            if not part:
                return
            missing -= len(part)
            yield part
    elif field(head, b"transfer-encoding") == b"chunked":
        stream = connection.makefile("rb")
        buffer = [rest]

        def line():
            while b"\r\n" not in buffer[0]:
                buffer[0] += stream.readline()
            text, _, buffer[0] = buffer[0].partition(b"\r\n")
            return text

        def exactly(count):
            while len(buffer[0]) < count:
                buffer[0] += stream.read(count - len(buffer[0]))
            data, buffer[0] = buffer[0][:count], buffer[0][count:]
            return data

        while size := int(line(), 16):
            yield exactly(size)
            line()


def answer(connection, body, more=b"", status=b"200 OK"):
    head = b"HTTP/1.1 " + status + b"\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(body)
    connection.sendall(head + more + b"\r\n" + body)


def websocket(connection, head, rest):
    key = field(head, b"sec-websocket-key") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    stream = connection.makefile("rb")

    def exactly(count):
        nonlocal rest
        while len(rest) < count:
            part = stream.read(count - len(rest))
            if not part:
                raise EOFError
            rest += part
        data, rest = rest[:count], rest[count:]
        return data

    while True:
        first, second = exactly(2)
        size = second & 127
        if size == 126:
            size = int.from_bytes(exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(exactly(8), "big")
        mask = exactly(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(exactly(size)))
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        connection.sendall(bytes([first]) + length + data)
        if first & 15 == 8:
            return


def serve(connection):
    head, rest = read_head(connection)
    if head is None:
        return
    with open(log, "ab") as file:
        file.write(head + b"\r\n\r\n")
    path = head.split(b" ")[1].partition(b"?")[0].decode()
    if path == "/body":
        digest, size = hashlib.sha256(), 0
        for part in body_parts(connection, head, rest):
            digest.update(part)
            size += len(part)
        answer(connection, f"{size} {digest.hexdigest()}".encode())
    elif path == "/large":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (48 << 20))
        for number in range(48):
            connection.sendall(bytes([number]) * (1 << 20))
    elif path == "/events":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: first\n\n")
        while not os.path.exists("/tmp/go"):
            time.sleep(0.01)
        connection.sendall(b"data: second\n\n")
    elif path == "/websocket":
        websocket(connection, head, rest)
    elif path == "/garbage":
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    elif path == "/endless-head":
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-More: " + b"x" * 8000 + b"\r\n")
    elif path == "/many-fields":
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n")
    elif path == "/close":
        pass
    elif path == "/silent":
        while connection.recv(65536):
            pass
    elif path == "/short":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
    elif path == "/two-answers":
        answer(connection, b"one")
        answer(connection, b"two")
    elif path == "/switch":
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nraw")
        time.sleep(1)
    elif path == "/without-end":
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        while connection.recv(65536):
            pass
    elif path == "/cookies":
        more = b"".join(
            b"Set-Cookie: " + cookie + b"\r\n"
            for cookie in [
                b"own=1; Path=/",
                b"wide=2; Domain=localhost; Path=/",
                b"ringfence_preview=stolen; Path=/",
            ]
        )
        answer(connection, b"cookies", more + b'Clear-Site-Data: "*"\r\nService-Worker-Allowed: /\r\n')
    elif path.startswith("/redirect/"):
        answer(connection, b"", b"Location: " + path.removeprefix("/redirect").encode() + b"\r\n", b"302 Found")
    else:
        answer(connection, head)


def handle(connection):
    try:
        with connection:
            serve(connection)
    except (OSError, EOFError):
        pass


listener = socket.create_server((address, int(port)), family=getattr(socket, family), backlog=256)
while True:
    threading.Thread(target=handle, args=[listener.accept()[0]], daemon=True).start()
