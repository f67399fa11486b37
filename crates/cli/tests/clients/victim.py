"""A server that reads requests as loosely as servers do, and tells what it understood: the other end of the attacks on the gate.

Where a request has both a length and chunks it goes by the length; header lines may be folded, and end as they like; paths are
decoded and shortened. A websocket is opened for whoever asks, and what comes then is told as it is. Every request is told on the
standard output, one JSON object a line, after its last byte.

Some paths answer with the request's key: /v2/echo/HOW.
"""

import argparse
import base64
import gzip
import json
import posixpath
import socket
import ssl
import threading
import urllib.parse
import zlib

lock = threading.Lock()


def say(**what):
    with lock:
        print(json.dumps(what), flush=True)


def line(reader):
    return reader.readline(65536).rstrip(b"\r\n")


def exactly(reader, size):
    body = reader.read(size)
    if len(body) < size:
        raise ValueError("it was cut off")
    return body


def chunks(reader):
    body = b""
    while True:
        size = int(line(reader).split(b";")[0], 16)
        if size == 0:
            while line(reader):
                pass
            return body
        body += exactly(reader, size)
        line(reader)


def echo(how, key):
    plain, extra = b"key=" + key + b" end", []
    if how == "gzip":
        return [plain and gzip.compress(plain)], [b"Content-Encoding: gzip"]
    if how == "transfer-gzip":
        return [gzip.compress(plain)], [b"Transfer-Encoding: gzip, chunked"]
    if how == "deflate":
        return [zlib.compress(plain)], [b"Content-Encoding: deflate"]
    if how == "header":
        return [b""], [b"X-Echo: " + key]
    if how == "location":
        return [b""], [b"Location: https://example.com/?key=" + urllib.parse.quote(key).encode()]
    if how == "chunks":
        return [plain[at : at + 1] for at in range(len(plain))], [b"Transfer-Encoding: chunked"]
    if how == "trailer":
        return [b"x"], [b"Transfer-Encoding: chunked", b"Trailer: X-Echo", b"trailer"]
    if how == "base64":
        return [b"x" + base64.b64encode(b"ab" + key + b"c")], extra
    if how == "hex":
        return [key.hex().encode()], extra
    if how == "json":
        return [json.dumps({"k": key.decode()}).replace("-", "\\u002d").encode()], extra
    if how == "percent":
        return [b"".join(b"%%%02X" % byte for byte in key)], extra
    if how == "range":
        return [plain], extra
    return [plain], extra


def answer(out, path, headers, ranged):
    key = headers.get("authorization", "").removeprefix("Bearer ").encode()
    status = b"200 OK"
    if path.startswith("/v2/echo/"):
        how = path.rsplit("/", 1)[1]
        parts, extra = echo(how, key)
        status = {"location": b"302 Found", "error": b"500 Oops"}.get(how, status)
        if how == "range" and ranged:
            first, last = (int(n) for n in ranged.removeprefix("bytes=").split("-"))
            whole = b"".join(parts)
            parts, status = [whole[first : last + 1]], b"206 Partial Content"
            extra = [b"Content-Range: bytes %d-%d/%d" % (first, last, len(whole))]
    else:
        parts, extra = [b"hello"], []
    trailer = b"trailer" in extra
    extra = [name for name in extra if name != b"trailer"]
    if any(name.startswith(b"Transfer-Encoding") for name in extra):
        out.write(b"\r\n".join([b"HTTP/1.1 " + status, *extra, b"", b""]))
        for part in parts:
            out.write(b"%x\r\n%s\r\n" % (len(part), part))
            out.flush()
        out.write(b"0\r\n" + (b"X-Echo: " + key + b"\r\n" if trailer else b"") + b"\r\n")
    else:
        body = b"".join(parts)
        out.write(b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *extra, b"", b""]) + body)
    out.flush()


def serve(connection):
    reader, out = connection.makefile("rb"), connection.makefile("wb")
    while first := line(reader):
        method, target, *_ = (first.decode("latin-1") + "  ").split(" ")
        headers, name = {}, None
        while field := line(reader):
            if field[:1] in b" \t" and name:
                headers[name] += field.strip().decode("latin-1")
                continue
            name, _, value = field.decode("latin-1").partition(":")
            name = name.strip().lower()
            # Of several lengths the first counts, of several of any other kind the last.
            if not (name == "content-length" and name in headers):
                headers[name] = value.strip()
        if "content-length" in headers:
            body = exactly(reader, int(headers["content-length"].split(",")[0]))
        elif "chunked" in headers.get("transfer-encoding", ""):
            body = chunks(reader)
        else:
            body = b""
        parsed = urllib.parse.urlsplit(target)
        host = parsed.netloc or headers.get("host", "").split(":")[0]
        path = posixpath.normpath(urllib.parse.unquote(parsed.path.replace("\\", "/").replace("..;", "..")))
        say(method=method, path=path, host=host, target=target, headers=headers, body=body.decode("latin-1"))
        if headers.get("upgrade", "").lower() in ("websocket", "h2c"):
            out.write(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n" % headers["upgrade"].encode())
            out.flush()
            while came := reader.read1(65536):
                say(path="(upgraded)", host="", body=came.decode("latin-1"))
            return
        answer(out, path, headers, headers.get("range"))


def accept(listener, tls):
    while True:
        connection, _ = listener.accept()

        def run(connection=connection):
            try:
                if tls:
                    connection = tls.wrap_socket(connection, server_side=True)
                serve(connection)
            except (OSError, ValueError):
                pass
            finally:
                connection.close()

        threading.Thread(target=run, daemon=True).start()


def raw(listener):
    while True:
        connection, _ = listener.accept()

        def run(connection=connection):
            with connection:
                if first := connection.recv(65536):
                    say(path="(raw)", host="", body=first.decode("latin-1"))
                    connection.sendall(b"heard")

        threading.Thread(target=run, daemon=True).start()


parser = argparse.ArgumentParser()
parser.add_argument("--certificate")
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(parser.parse_args().certificate)
ports = []
for run in (lambda at: accept(at, None), lambda at: accept(at, context), raw):
    at = socket.create_server(("127.0.0.1", 0), backlog=512)
    ports.append(at.getsockname()[1])
    threading.Thread(target=run, args=(at,), daemon=True).start()
say(ports=ports)
threading.Event().wait()
