//! What HTTP/2 can carry and HTTP/1.1 cannot, on its way to a host that speaks HTTP/1.1. Frames are written by hand: no client
//! would send these.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{LOOPBACK, PATIENCE, Seen, Server, Signer, World};

type Fields<'a> = &'a [(&'a str, &'a str)];
/// Fields, a body, and whether a naive front would be led astray by them.
type Case<'a> = (Vec<(&'a str, &'a str)>, &'a str, bool);

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields, neither compressed nor remembered (RFC 7541 6.2.2).
fn block(fields: Fields<'_>) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        assert!(text.len() < 127);
        out.push(u8::try_from(text.len()).unwrap());
        out.extend(text.as_bytes());
    };
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

/// What a front writes that copies fields as they are.
fn naively(fields: Fields<'_>, body: &str) -> String {
    let of = |wanted: &str| fields.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value);
    let (method, path, authority) = (of(":method"), of(":path"), of(":authority"));
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\n");
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(':')) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n" + body
}

const SMUGGLED: &str = "GET /pwned HTTP/1.1\r\nhost: api.test\r\n\r\n";

/// What a host that a naive front stands before sees of it.
async fn directly(text: &str) -> bool {
    let server = Server::start(None).await;
    let mut stream = TcpStream::connect((LOOPBACK, server.port)).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let _ = tokio::time::timeout(std::time::Duration::from_millis(300), stream.read_to_end(&mut Vec::new())).await;
    server
        .seen()
        .iter()
        .any(|seen| seen.target.contains("pwned") || seen.headers.get("host").is_some_and(|h| h == "other.test"))
}

#[tokio::test]
async fn nothing_that_http1_would_read_otherwise_goes_on() {
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "api.test", &["http/1.1"]))).await;
    let world = World::new(&[&signer], &[("api.test", LOOPBACK), ("other.test", LOOPBACK)]).await;
    let port = server.port;
    world
        .policy(json!({"allow": [{"host": "api.test", "ports": [port], "paths": ["/v2/**"]},
                                 {"host": "other.test", "ports": [port]}]}))
        .await;
    world.given("api.test").await;
    world.given("other.test").await;
    let usual = [(":method", "GET"), (":scheme", "https"), (":path", "/v2/a"), (":authority", "api.test")];
    let with = |more: Fields<'static>| [&usual[..], more].concat();
    let but = |name: &str, value: &'static str| {
        usual.iter().map(|(known, was)| (*known, if *known == name { value } else { *was })).collect::<Vec<_>>()
    };
    let without = |name: &str| usual.iter().copied().filter(|(known, _)| *known != name).collect::<Vec<_>>();
    let chunks = format!("0\r\n\r\n{SMUGGLED}");
    // With a control where a naive front would be led astray.
    let cases: Vec<Case<'_>> = vec![
        (with(&[("x", "a\r\n\r\nGET /pwned HTTP/1.1\r\nhost: api.test")]), "", true),
        (with(&[("x", "a\n\nGET /pwned HTTP/1.1\nhost: api.test")]), "", true),
        (with(&[("x: a\r\n\r\nGET /pwned HTTP/1.1\r\nhost: api.test\r\ny", "b")]), "", true),
        (but(":path", "/v2/a HTTP/1.1\r\nhost: api.test\r\n\r\nGET /pwned"), "", true),
        (but(":method", "GET /pwned HTTP/1.1\r\nhost: api.test\r\n\r\nGET"), "", true),
        (but(":authority", "api.test\r\n\r\nGET /pwned HTTP/1.1\r\nhost: api.test"), "", true),
        (with(&[("transfer-encoding", "chunked")]), &chunks, true),
        (with(&[("content-length", "0")]), SMUGGLED, true),
        (but(":authority", "other.test"), "", true),
        (but(":path", "/pwned"), "", true),
        (but(":path", "/v2/../pwned"), "", true),
        (with(&[("host", "other.test")]), "", false),
        (with(&[(":authority", "other.test")]), "", false),
        (with(&[("connection", "upgrade"), ("upgrade", "websocket")]), "", false),
        (with(&[("Upper", "case")]), "", false),
        (with(&[("x", "a\0b")]), "", false),
        (but(":scheme", "http"), "", false),
        (but(":path", "https://other.test/v2/a"), "", false),
        (but(":path", ""), "", false),
        (but(":method", "CONNECT"), "", false),
        (without(":path"), "", false),
        (without(":method"), "", false),
        (without(":authority"), "", false),
        ([&usual[..3], &[("x", "y")], &usual[3..]].concat(), "", false),
        ([&[(":protocol", "websocket"), (":method", "CONNECT")], &usual[1..]].concat(), "", false),
        (but(":authority", "user@api.test"), "", false),
    ];
    for (fields, body, has_control) in cases {
        if has_control {
            assert!(directly(&naively(&fields, body)).await, "its control did not succeed: {fields:?}");
        }
        let mut stream = world.tls(port, "api.test", &world.authority(), &["h2"]).await.unwrap();
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        out.extend(frame(4, 0, 0, &[]));
        out.extend(frame(HEADERS, END_HEADERS | if body.is_empty() { END_STREAM } else { 0 }, 1, &block(&fields)));
        if !body.is_empty() {
            out.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
        }
        stream.write_all(&out).await.unwrap();
        // Something comes back for it: an answer, a reset of the stream, or the end. (4: settings, 6: ping, 8: window.)
        let answered = async {
            loop {
                let mut head = [0; 9];
                if stream.read_exact(&mut head).await.is_err() {
                    return;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                if stream.read_exact(&mut payload).await.is_err() || !matches!(head[3], 4 | 6 | 8) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("no answer to {fields:?}"));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let seen = std::mem::take(&mut *server.seen.lock().unwrap());
        // The head may have gone on before the body was seen to be longer than it said; nothing of the body has.
        let is_begun =
            |seen: &Seen| fields.contains(&("content-length", "0")) && seen.target == "/v2/a" && seen.body.is_empty();
        assert!(seen.iter().all(is_begun), "{fields:?}: {seen:?}");
    }
}
