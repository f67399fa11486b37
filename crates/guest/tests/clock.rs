//! The module `ringfence` of the harness, with the python3 of this host, against a server that says what it was asked.

use std::{path::Path, process::Command};

const PROGRAM: &str = r#"
import datetime, http.server, json, os, sys, threading

# Not by PYTHONPATH: the sitecustomize beside it is for the Python of a template.
sys.path.insert(0, sys.argv[1])
import ringfence, ringfence._exchange
os.environ.update(APCA_API_KEY_ID="key", APCA_API_SECRET_KEY="secret")
asked = []
refuses = False


class Exchange(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked.append((self.command, self.path, json.loads(body) if body else None, self.headers["apca-api-key-id"]))
        status, said = 200, {"now": "2024-01-02T15:00:00.123456789Z", "mode": "replay", "is_open": True}
        if refuses:
            status, said = 403, {"code": 40310000, "message": "firewall: no", "rule": "endpoint_allow_list"}
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = answer

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Exchange)
threading.Thread(target=server.serve_forever, daemon=True).start()
ringfence._exchange._HOST = f"http://127.0.0.1:{server.server_port}"
utc = datetime.timezone.utc
assert ringfence.clock.now() == datetime.datetime(2024, 1, 2, 15, 0, 0, 123456, utc)
assert ringfence.clock.is_open() and ringfence.trading.mode() == "simulated"
ringfence.clock.step("next_open")
ringfence.clock.step(by=datetime.timedelta(minutes=5))
ringfence.clock.step(to=datetime.datetime(2024, 1, 3, tzinfo=utc))
ringfence.clock.step(bars=2, timeframe="1Day")
ringfence.clock.set_speed(600)
path = "/ringfence/v1/clock"
assert asked[:3] == [("GET", path, None, "key")] * 3, asked
assert asked[3:] == [
    ("POST", path + "/step", {"to": "next_open"}, "key"),
    ("POST", path + "/step", {"by": 300.0}, "key"),
    ("POST", path + "/step", {"to": "2024-01-03T00:00:00+00:00"}, "key"),
    ("POST", path + "/step", {"bars": 2, "timeframe": "1Day"}, "key"),
    ("PUT", path, {"mode": "replay", "speed": 600}, "key"),
], asked
for wrong in (lambda: ringfence.clock.step(), lambda: ringfence.clock.step("next_open", by=1),
              lambda: ringfence.clock.step(datetime.datetime(2024, 1, 3)), lambda: ringfence.clock.set()):
    try:
        wrong()
    except ValueError:
        continue
    raise AssertionError("nothing was said")
refuses = True
assert ringfence.trading.mode() == "broker"
try:
    ringfence.clock.now()
except ringfence.Error as error:
    assert (error.status, error.rule) == (403, "endpoint_allow_list"), error
else:
    raise AssertionError("it was refused")
print("held")
"#;

#[test]
fn the_clock_is_asked_in_the_words_of_the_exchange() {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/usr/lib/python3.11");
    let ran = Command::new("python3").args(["-B", "-c", PROGRAM]).arg(module).output().expect("python3 runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.trim() == "held", "{said}{}", String::from_utf8_lossy(&ran.stderr));
}
