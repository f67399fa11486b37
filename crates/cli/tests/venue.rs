//! The simulated exchange as people and the daemon run it: alpaca-py against it, what it refuses to read, and a death at any moment.

mod common;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A venue by itself.
struct Alone {
    child: Child,
    address: String,
}

impl Alone {
    /// Starts one over `home`, on whatever port is free.
    #[track_caller]
    fn start(home: &Path) -> Self {
        let mut child = Command::new(common::BIN)
            .args(["venue", "--listen", "127.0.0.1:0", "--home"])
            .arg(home)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the executable runs");
        let stderr = child.stderr.take().expect("piped");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
        let address = loop {
            let line = lines.next().expect("it says where it listens").expect("text");
            if let Some((_, address)) = line.split_once("http://") {
                break address.to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
        Self { child, address }
    }

    fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Client { stream, host: "paper-api.alpaca.markets" }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// HTTP/1.1 by hand, so that it can be written as nobody writes it.
struct Client<S> {
    stream: S,
    host: &'static str,
}

impl<S: Read + Write> Client<S> {
    /// Status and body; none when the connection ends.
    fn send(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Option<(u16, Value)> {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{headers}{length}\r\n", self.host);
        self.stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut body).ok()?;
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    fn ask(&mut self, method: &str, target: &str, body: &Value) -> Option<(u16, Value)> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, target, &format!("{KEYS}Content-Type: application/json\r\n"), &bytes)
    }
}

const KEYS: &str = "APCA-API-KEY-ID: anybody\r\nAPCA-API-SECRET-KEY: anything\r\n";

/// Runs a client of the tests at a venue of its own, and answers what it printed.
#[track_caller]
fn client(requirements: &str, program: &str) -> String {
    let home = tempfile::tempdir().expect("a directory");
    let venue = Alone::start(home.path());
    let python = common::venv(requirements);
    // Without -P its own directory comes first, and in it an `alpaca.py` of ours.
    let ran = Command::new(python)
        .arg("-P")
        .arg("-B")
        .arg(common::clients().join(program))
        .arg(format!("http://{}", venue.address))
        .output()
        .expect("python runs");
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    print!("{printed}");
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    printed
}

/// `make test` has alpaca-py in sandboxes (`trade.rs`), and every answer held to Alpaca's own description (below).
#[test]
fn alpaca_py_finds_everything_that_it_looks_for() {
    if !common::is_long("every part of alpaca-py, and a replayed year") {
        return;
    }
    client("venue", "venue.py");
}

#[test]
fn every_answer_is_one_that_alpacas_own_description_has() {
    let printed = client("openapi", "openapi.py");
    assert!(printed.contains("58 operations, "), "what is asked grew less: {printed}");
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_changes_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let venue = Alone::start(home.path());
    let mut client = venue.connect();
    let stepped = client.ask("PUT", "/ringfence/v1/clock", &json!({"mode": "stepped"})).expect("an answer");
    assert_eq!(stepped.0, 200, "{stepped:?}");
    let good = r#"{"symbol":"AAPL","qty":"1","side":"buy","type":"market","time_in_force":"day"}"#;
    let json_type = format!("{KEYS}Content-Type: application/json\r\n");
    let long = format!(r#"{{"symbol":"{}"}}"#, "A".repeat(1 << 20));
    let deep = "[".repeat(100_000);
    for (name, target, headers, body, status) in [
        ("no keys", "/v2/orders", "Content-Type: application/json\r\n", good, 401),
        ("half a key", "/v2/orders", "APCA-API-KEY-ID: x\r\nContent-Type: application/json\r\n", good, 401),
        ("two keys", "/v2/orders", &format!("{KEYS}{KEYS}"), good, 401),
        ("a form", "/v2/orders", &format!("{KEYS}Content-Type: application/x-www-form-urlencoded\r\n"), good, 415),
        ("no body", "/v2/orders", &json_type, "", 400),
        ("a list", "/v2/orders", &json_type, "[1]", 400),
        ("half", "/v2/orders", &json_type, &good[..40], 400),
        ("twice", "/v2/orders", &json_type, &good.replace(r#""qty":"1""#, r#""qty":"1","qty":"2""#), 400),
        ("both", "/v2/orders", &json_type, &good.replace(r#""qty":"1""#, r#""qty":"1","notional":"2""#), 422),
        ("NaN", "/v2/orders", &json_type, &good.replace(r#""1""#, "NaN"), 400),
        ("exponent", "/v2/orders", &json_type, &good.replace(r#""1""#, "1e2"), 422),
        ("negative", "/v2/orders", &json_type, &good.replace(r#""1""#, "-1"), 422),
        ("large", "/v2/orders", &json_type, &long, 413),
        ("deep", "/v2/orders", &json_type, &deep, 400),
        ("two slashes", "//v2/orders", &json_type, good, 404),
        ("two slashes", "/v2//orders", &json_type, good, 404),
        ("a slash behind", "/v2/orders/", &json_type, good, 404),
        ("a hidden slash", "/v2%2Forders", &json_type, good, 404),
        ("dots", "/v2/x/../orders", &json_type, good, 404),
        ("a parameter twice", "/v2/orders?a=1&a=2", &json_type, good, 400),
        ("another version", "/v3/orders", &json_type, good, 404),
        ("an option", "/v2/options/contracts", &json_type, "", 422),
    ] {
        let mut client = venue.connect();
        let (found, answer) = client.send("POST", target, headers, body.as_bytes()).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(found, status, "{name}: {answer}");
        assert!(answer["code"].is_u64() && answer["message"].is_string(), "{name}: {answer}");
    }
    let (status, orders) = client.ask("GET", "/v2/orders?status=all", &Value::Null).expect("an answer");
    assert_eq!((status, orders), (200, json!([])));
    let (status, order) = client.send("POST", "/v2/orders", &json_type, good.as_bytes()).expect("an answer");
    assert_eq!((status, &order["status"]), (200, &json!("pending_new")));
}

#[test]
fn what_an_order_is_judged_by_is_what_clients_read() {
    let home = tempfile::tempdir().expect("a directory");
    let venue = Alone::start(home.path());
    let mut client = venue.connect();
    let mut ask = |target: &str| client.ask("GET", target, &Value::Null).expect("an answer");
    let mut setting = venue.connect();
    let stepped = setting.ask("PUT", "/ringfence/v1/clock", &json!({"mode": "stepped"})).expect("an answer");
    assert_eq!(stepped.0, 200, "{stepped:?}");
    for symbol in ["AAPL", "MSFT"] {
        let order = json!({"symbol": symbol, "qty": "3", "side": "buy", "type": "market", "time_in_force": "day"});
        assert_eq!(setting.ask("POST", "/v2/orders", &order).expect("an answer").0, 200);
    }
    setting.ask("POST", "/ringfence/v1/clock/step", &json!({"by": 60})).expect("an answer");
    let (status, facts) = ask("/ringfence/v1/facts?symbols=AAPL,MSFT");
    assert_eq!(status, 200, "{facts}");
    for part in ["account", "clock", "positions"] {
        assert_eq!(facts[part], ask(&format!("/v2/{part}")).1, "{part}");
    }
    assert_eq!(facts["positions"].as_array().map(Vec::len), Some(2));
    let mut data = venue.connect();
    data.host = "data.alpaca.markets";
    for part in ["quotes", "trades"] {
        let target = format!("/v2/stocks/{part}/latest?symbols=AAPL,MSFT");
        let (_, latest) = data.ask("GET", &target, &Value::Null).expect("an answer");
        assert_eq!((&facts[part], facts[part].as_object().map(serde_json::Map::len)), (&latest[part], Some(2)));
    }
    assert_eq!(ask("/ringfence/v1/facts?symbols=NOSUCH").1["quotes"], json!({}));
    assert_eq!(ask("/ringfence/v1/facts").1["trades"], json!({}));
    assert_eq!(ask("/ringfence/v1/facts?symbols=%00").0, 200, "what is no symbol has neither");
}

#[test]
fn a_time_without_its_zone_is_refused_and_not_taken_for_a_day() {
    let home = tempfile::tempdir().expect("a directory");
    let venue = Alone::start(home.path());
    let mut client = venue.connect();
    let mut ask = |method: &str, target: &str, body: Value| client.ask(method, target, &body).expect("an answer");
    let clock = "/ringfence/v1/clock";
    assert_eq!(ask("PUT", clock, json!({"mode": "stepped"})).0, 200);
    let (status, said) = ask("PUT", clock, json!({"now": "2012-06-01T10:00"}));
    assert_eq!((status, said["message"].as_str().is_some_and(|text| text.contains("its zone"))), (422, true), "{said}");
    assert_eq!(ask("POST", &format!("{clock}/step"), json!({"to": "2012-06-01 10:00"})).0, 422);
    assert_eq!(ask("GET", "/v2/orders?after=2012-06-01T10:00", Value::Null).0, 422);
    for (text, now) in [("2012-06-01", "2012-06-01T04:00:00Z"), ("2012-06-01T10:00:00-04:00", "2012-06-01T14:00:00Z")] {
        let (status, said) = ask("PUT", clock, json!({"now": text}));
        assert_eq!((status, said["now"].as_str()), (200, Some(now)), "{said}");
    }
}

/// A number below `n` from a seed that is printed.
fn random(state: &mut u64, n: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % n
}

#[test]
fn a_venue_that_dies_keeps_every_order_that_it_acknowledged_once() {
    let home = tempfile::tempdir().expect("a directory");
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut state = seed;
    let mut acknowledged = BTreeSet::new();
    let order = |id: &str| json!({"symbol": "AAPL", "qty": 1, "side": "buy", "type": "limit", "limit_price": 1, "time_in_force": "gtc", "client_order_id": id});
    for round in 0..6 {
        let mut venue = Alone::start(home.path());
        let mut setting = venue.connect();
        setting.ask("PUT", "/ringfence/v1/clock", &json!({"mode": "stepped"})).expect("an answer");
        let heard = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let mut client = venue.connect();
                let heard = heard.clone();
                std::thread::spawn(move || {
                    let mut sent = Vec::new();
                    for n in 0..100_000 {
                        let id = format!("{round}-{sender}-{n}");
                        match client.ask("POST", "/v2/orders", &order(&id)) {
                            Some((200, _)) => {
                                heard.fetch_add(1, Ordering::Relaxed);
                                sent.push((id, true));
                            }
                            Some((403, answer)) => panic!("{answer}"),
                            _ => {
                                sent.push((id, false));
                                return sent;
                            }
                        }
                    }
                    sent
                })
            })
            .collect();
        // At some moment after a few were acknowledged.
        let end = Instant::now() + Duration::from_secs(60);
        while heard.load(Ordering::Relaxed) < 4 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(random(&mut state, 150)));
        venue.child.kill().expect("it is our child");
        venue.child.wait().expect("it ends");
        let sent: Vec<(String, bool)> =
            senders.into_iter().flat_map(|sender| sender.join().expect("it ends")).collect();
        assert!(sent.iter().filter(|(_, yes)| *yes).count() > 3, "something was acknowledged");
        let venue = Alone::start(home.path());
        let mut client = venue.connect();
        for (id, yes) in sent {
            let (status, _) = client
                .ask("GET", &format!("/v2/orders:by_client_order_id?client_order_id={id}"), &Value::Null)
                .expect("an answer");
            assert!(status == 200 || (!yes && status == 404), "{id} was acknowledged and is {status}");
            // Sent again, it is either new or known, and never there twice.
            let (again, answer) = client.ask("POST", "/v2/orders", &order(&id)).expect("an answer");
            assert_eq!(again == 422, status == 200, "{id}: {answer}");
            acknowledged.insert(id);
        }
        let (_, orders) = client.ask("DELETE", "/v2/orders", &Value::Null).expect("an answer");
        assert!(orders.as_array().is_some_and(|orders| !orders.is_empty()));
    }
    let venue = Alone::start(home.path());
    let mut client = venue.connect();
    let (_, account) = client.ask("GET", "/ringfence/v1/accounts/default", &Value::Null).expect("an answer");
    assert_eq!(account["orders"], json!(acknowledged.len()), "each is there once");
}

#[test]
fn orders_pass_at_a_rate_worth_telling() {
    let home = tempfile::tempdir().expect("a directory");
    let venue = Alone::start(home.path());
    venue.connect().ask("PUT", "/ringfence/v1/clock", &json!({"mode": "stepped"})).expect("an answer");
    const EACH: usize = 250;
    for clients in [1, 8] {
        let begun = Instant::now();
        let all: Vec<_> = (0..clients)
            .map(|_| {
                let mut client = venue.connect();
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        let side = if n % 2 == 0 { "buy" } else { "sell" };
                        // Each its own share: what one has bought another may have sold.
                        let order =
                            json!({"symbol": "AAPL", "qty": 1, "side": side, "type": "market", "time_in_force": "day"});
                        let (status, answer) = client.ask("POST", "/v2/orders", &order).expect("an answer");
                        assert!(status == 200 || status == 403, "{answer}");
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|client| client.join().expect("it ends"));
        let rate = (clients * EACH) as f64 / begun.elapsed().as_secs_f64();
        println!("{clients} clients: {rate:.0} orders a second, each on disk");
        assert!(rate > 5.0);
    }
}

#[test]
fn the_daemons_venue_is_the_gateways_alone_and_comes_back() {
    common::shared();
    let socket = common::home().join("run/venue/api.sock");
    let ask = || -> Option<(u16, Value)> {
        let stream = UnixStream::connect(&socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        Client { stream, host: "paper-api.alpaca.markets" }.ask("GET", "/v2/clock", &Value::Null)
    };
    let answered = || {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match ask() {
                Some((200, clock)) => return clock,
                _ if Instant::now() > end => panic!("it does not answer: {}", common::tail(&common::home())),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    };
    assert!(answered()["timestamp"].is_string());
    let owner = |path: &Path| {
        let meta = std::fs::metadata(path).expect("it is there");
        (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta))
    };
    let (venue, _) = owner(&common::home().join("venue"));
    let (_, gateway) = owner(&socket);
    let (serve, _) = owner(&common::home().join("engine"));
    assert!(venue != gateway && venue != serve && gateway != serve);
    let as_uid = |uid: u32| {
        let id = uid.to_string();
        let ran = Command::new("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups", "curl", "-s", "-o", "/dev/null", "--unix-socket"])
            .arg(&socket)
            .arg("http://venue/v2/clock")
            .status();
        ran.expect("setpriv and curl are there").success()
    };
    assert!(as_uid(gateway), "the gateway gets in");
    for other in [serve, venue, 65_534] {
        assert!(!as_uid(other), "{other} does not");
    }
    let pid = process_of(venue).expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{status}");
    }
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill(1)");
    assert!(killed.success());
    let end = Instant::now() + Duration::from_secs(20);
    while process_of(venue).is_none_or(|now| now == pid) {
        assert!(Instant::now() < end, "it is not started anew");
        std::thread::sleep(Duration::from_millis(50));
    }
    answered();
}

/// The process that runs as a user.
fn process_of(uid: u32) -> Option<u32> {
    let dirs = std::fs::read_dir("/proc").ok()?.flatten();
    dirs.filter_map(|dir| dir.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|status| status.contains(&format!("Uid:\t{uid}\t")))
    })
}
