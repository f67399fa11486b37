"""Exchanges, as far as they check signatures: over TLS, each under its own name, with Python's hmac and hashlib (and
openssl(1) for tokens). Arguments: certificate, key, public key of Coinbase, and an address of loopback at which Binance's testnet has
port 443; the keys are on standard input, as JSON.

A request whose signature is right is answered 200, any other 401. Each is written down on standard output: exchange, path,
verdict, and what counts up."""

import base64, hashlib, hmac, json, ssl, subprocess, sys, tempfile, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEYS = json.loads(sys.stdin.readline())


def mac(exchange, text, digest=hashlib.sha256, key=None):
    return hmac.new(key or KEYS[exchange]["secret"].encode(), text, digest)


def fresh(ms):
    return abs(time.time() * 1000 - int(ms)) < 30_000


BINANCE_PUBLIC = ["/api/v3/" + name for name in ("time", "exchangeInfo", "ticker/price", "ticker/bookTicker")]


def binance(r):
    query = r.query
    signed, _, signature = query.rpartition("signature=")
    fields = parse_qs(query + "&" + r.body.decode())
    # What the market says is told to anybody, and to nobody who signs for it.
    if urlsplit(r.path).path in BINANCE_PUBLIC:
        return "signature" not in fields and KEYS["binance"]["id"]
    right = hmac.compare_digest(signature, mac("binance", signed.removesuffix("&").encode() + r.body).hexdigest())
    return right and len(fields["signature"]) == 1 and fresh(fields["timestamp"][0]) and r.headers["X-MBX-APIKEY"]


def binance_says(r):
    """What the spot testnet answers: an account with 1000 dollars, one market, and orders that are filled at once."""
    fields = {name: values[0] for name, values in parse_qs(r.query + "&" + r.body.decode()).items()}
    market = {"symbol": "LTCUSDT", "status": "TRADING", "baseAsset": "LTC", "quoteAsset": "USDT"}
    now = int(time.time() * 1000)
    said = {
        "/api/v3/time": {"serverTime": now},
        "/api/v3/account": {"uid": 7, "balances": [{"asset": "USDT", "free": "1000.0", "locked": "0.0"}]},
        "/api/v3/exchangeInfo": {"symbols": [market]},
        "/api/v3/ticker/price": [{"symbol": "LTCUSDT", "price": "100.0"}],
        "/api/v3/ticker/bookTicker": {"symbol": "LTCUSDT", "bidPrice": "99.9", "bidQty": "5", "askPrice": "100.1", "askQty": "5"},
        "/api/v3/openOrders": [],
    }.get(urlsplit(r.path).path, {})
    if urlsplit(r.path).path == "/api/v3/order":
        said = {"symbol": "LTCUSDT", "orderId": 42, "clientOrderId": fields.get("newClientOrderId", ""), "status": "FILLED"}
        said |= {"executedQty": fields.get("quantity", "1"), "cummulativeQuoteQty": "100.1", "transactTime": now, "fills": []}
    return said


def bybit(r):
    stamp, window = r.headers["X-BAPI-TIMESTAMP"], r.headers["X-BAPI-RECV-WINDOW"]
    payload = r.query.encode() if r.command == "GET" else r.body
    text = (stamp + KEYS["bybit"]["id"] + window).encode() + payload
    return hmac.compare_digest(r.headers["X-BAPI-SIGN"], mac("bybit", text).hexdigest()) and fresh(stamp) and r.headers["X-BAPI-API-KEY"]


def okx(r):
    stamp = r.headers["OK-ACCESS-TIMESTAMP"]
    tag = mac("okx", (stamp + r.command + r.path).encode() + r.body).digest()
    right = r.headers["OK-ACCESS-SIGN"] == base64.b64encode(tag).decode()
    return right and r.headers["OK-ACCESS-PASSPHRASE"] == KEYS["okx"]["passphrase"] and r.headers["OK-ACCESS-KEY"]


def kraken(r):
    nonce = parse_qs(r.body.decode())["nonce"]
    inner = hashlib.sha256(nonce[0].encode() + r.body).digest()
    tag = mac("kraken", r.path.encode() + inner, hashlib.sha512, base64.b64decode(KEYS["kraken"]["secret"])).digest()
    r.count = int(nonce[0])
    return r.headers["API-Sign"] == base64.b64encode(tag).decode() and r.headers["API-Key"]


def coinbase(r):
    plain = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    head, claims, signature = r.headers["Authorization"].removeprefix("Bearer ").split(".")
    raw = plain(signature)
    der = b"".join(integer(raw[at : at + 32]) for at in (0, 32))
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\x30" + bytes([len(der)]) + der)
        file.flush()
        command = ["openssl", "dgst", "-sha256", "-verify", sys.argv[3], "-signature", file.name]
        right = subprocess.run(command, input=(head + "." + claims).encode(), capture_output=True).returncode == 0
    claims, head = json.loads(plain(claims)), json.loads(plain(head))
    right = right and claims["uri"] == f"{r.command} api.coinbase.com{urlsplit(r.path).path}"
    return right and claims["nbf"] <= time.time() + 5 < claims["exp"] and claims["sub"] == head["kid"] and head["kid"]


def integer(half):
    half = half.lstrip(b"\0")
    half = (b"\0" if half[:1] >= b"\x80" else b"") + half
    return b"\x02" + bytes([len(half)]) + half


EXCHANGES = {
    "testnet.binance.vision": binance,
    "api.bybit.com": bybit,
    "www.okx.com": okx,
    "api.kraken.com": kraken,
    "api.coinbase.com": coinbase,
}
ANSWERS = {"okx": {"code": "0", "data": []}, "kraken": {"error": [], "result": {}}, "bybit": {"retCode": 0, "result": {}}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0

    def answer(self):
        self.query = urlsplit(self.path).query
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        check = EXCHANGES[self.headers["Host"].split(":")[0]]
        try:
            right = check(self) == KEYS[check.__name__]["id"]
        except Exception as error:
            right = False
            print("error", check.__name__, repr(error), file=sys.stderr, flush=True)
        verdict = "accepted" if right else "refused"
        print(check.__name__, urlsplit(self.path).path, verdict, self.count, flush=True)
        # What came is said again, as careless servers do.
        said = {"echo": [self.path, self.body.decode(), dict(self.headers)], **ANSWERS.get(check.__name__, {})}
        if check is binance:
            more = binance_says(self)
            said = more if isinstance(more, list) else {**said, **more}
        text = json.dumps(said).encode()
        self.send_response(200 if right else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
servers = [ThreadingHTTPServer(address, Handler) for address in (("127.0.0.1", 0), (sys.argv[4], 443))]
for server in servers:
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(servers[0].server_address[1], flush=True)
threading.Thread(target=servers[1].serve_forever, daemon=True).start()
servers[0].serve_forever()
