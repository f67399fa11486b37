//! What a preview carries.

use std::process::Command;

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, EgressRequest};
use tokio::io::AsyncWriteExt;

use crate::{
    common,
    scene::{PORT, Place, Visitor, ask, head, port_of_daemon},
};

#[tokio::test]
async fn a_server_is_visited_by_name_and_below_a_path() {
    let place = Place::new().await;
    let (id, daemon) = (place.sandbox.id.clone(), port_of_daemon());
    let listed = place.ports().await;
    let [port] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((port.port, port.address.as_str(), port.public), (PORT, "127.0.0.1", false));
    let token = &place.token;
    let url = format!("http://{PORT}-{id}.localhost:{daemon}/?ringfence_token={token}");
    let path_url = format!("http://127.0.0.1:{daemon}/preview/{id}/{PORT}/?ringfence_token={token}");
    assert_eq!(port.url.as_deref(), Some(url.as_str()));
    assert_eq!(port.path_url.as_deref(), Some(path_url.as_str()));

    let by_name = place.get("/a/b?c=d").await;
    assert_eq!(by_name.status, 200, "{by_name:?}");
    let seen = by_name.text();
    assert!(seen.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{seen}");
    let has = |line: &str| seen.lines().any(|seen| seen.eq_ignore_ascii_case(line));
    assert!(has(&format!("host: {}", place.host())), "{seen}");
    assert!(has(&format!("x-forwarded-host: {}", place.host())) && has("x-forwarded-proto: http"), "{seen}");
    assert!(by_name.fields("content-security-policy").is_empty(), "it is an origin of its own");

    let below = ask("GET", &place.path("/a/b?c=d"), &common::tcp(), &[&place.header()]).await;
    assert_eq!(below.status, 200, "{below:?}");
    assert!(below.text().starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{}", below.text());
    assert!(below.text().contains(&format!("x-forwarded-prefix: {}", place.path(""))), "{}", below.text());
    assert_eq!(below.fields("content-security-policy"), ["sandbox allow-scripts allow-forms"]);
    place.sandbox.delete().await;
}

#[tokio::test]
async fn events_arrive_before_the_answer_ends() {
    let place = Place::new().await;
    let mut visitor = Visitor::get("/events", &place.host(), &[&place.header()]).await;
    visitor.until("data: first\n\n").await;
    // The second is not sent before this.
    place.sandbox.bash("touch /tmp/go").await;
    visitor.until("data: second\n\n").await;
    place.sandbox.delete().await;
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let place = Place::new().await;
    let down = place.get("/large").await;
    assert!(down.whole && down.body.len() == 48 << 20, "{} of {:?}", down.body.len(), down.head);
    assert!(down.body.chunks(1 << 20).enumerate().all(|(n, part)| part.iter().all(|b| usize::from(*b) == n)));

    const SIZE: usize = 48 << 20;
    let text = String::from_utf8(vec![b'x'; SIZE]).expect("ASCII");
    let sum = place.sandbox.python(&format!("import hashlib; print(hashlib.sha256(b'x' * {SIZE}).hexdigest())")).await;
    let expected = format!("{SIZE} {}", sum.output.trim());
    let length = format!("Content-Length: {SIZE}");
    let whole = head("POST", "/body", &place.host(), &[&place.header(), &length]) + &text;
    assert_eq!(Visitor::send(whole.as_bytes()).await.answer().await.text(), expected);

    let chunked = head("POST", "/body", &place.host(), &[&place.header(), "Transfer-Encoding: chunked"]);
    let chunk = format!("{:x}\r\n{}\r\n", SIZE / 4, &text[..SIZE / 4]);
    let chunked = chunked + &chunk.repeat(4) + "0\r\n\r\n";
    assert_eq!(Visitor::send(chunked.as_bytes()).await.answer().await.text(), expected);
    place.sandbox.delete().await;
}

const CLIENT: &str = r#"
import asyncio, sys, websockets
url, port, *headers = sys.argv[1:]
async def main():
    fields = [tuple(h.split(": ", 1)) for h in headers]
    try:
        async with websockets.connect(url, additional_headers=fields, proxy=None, host="127.0.0.1", port=int(port)) as socket:
            for message in ["hello", "x" * 60000, b"\x00\xff"]:
                await socket.send(message)
                assert await socket.recv() == message
        print("echoed")
    except websockets.InvalidStatus as e:
        print(e.response.status_code)
asyncio.run(main())
"#;

#[tokio::test]
async fn a_websocket_is_carried() {
    let python = tokio::task::spawn_blocking(|| common::venv("websockets")).await.expect("a client");
    let place = Place::new().await;
    let connect = async |url: String, headers: Vec<String>| {
        let mut client = Command::new(&python);
        client.args(["-c", CLIENT, &url, &port_of_daemon().to_string()]).args(headers);
        let ran = tokio::task::spawn_blocking(move || common::succeeded(&mut client, "the client failed"));
        ran.await.expect("it ran").trim().to_owned()
    };
    // As a browser would, whose resolver knows names below localhost.
    let url = format!("ws://{}/websocket", place.host());
    let below = format!("ws://{}{}", common::tcp(), place.path("/websocket"));
    let cookie = format!("Cookie: ringfence_preview={}", place.token);
    let own = format!("Origin: http://{}", place.host());
    let foreign = "Origin: http://evil.example".to_owned();
    let neighbour = format!("Origin: http://{PORT}-i{}.localhost:{}", "b".repeat(20), port_of_daemon());
    for (url, headers, said) in [
        (&url, vec![place.header()], "echoed"),
        (&url, vec![cookie.clone(), own], "echoed"),
        (&format!("{url}?ringfence_token={}", place.token), vec![], "echoed"),
        (&below, vec![place.header()], "echoed"),
        (&url, vec![], "401"),
        // A page that opens it in the visitor's name.
        (&url, vec![cookie.clone(), foreign], "403"),
        (&url, vec![cookie, neighbour], "403"),
    ] {
        assert_eq!(connect(url.clone(), headers.clone()).await, said, "{url} {headers:?}");
    }
    place.sandbox.delete().await;
}

#[tokio::test]
async fn loopback_addresses_of_both_families_are_reached_and_no_other() {
    let place = Place::empty().await;
    for (family, address, port) in [
        ("AF_INET6", "::1", 8001),
        ("AF_INET", "0.0.0.0", 8002),
        ("AF_INET6", "::", 8003),
        ("AF_INET", "127.0.0.2", 8004),
    ] {
        place.serve(family, address, port).await;
    }
    for listed in place.ports().await {
        let reached = listed.port != 8004;
        assert_eq!(listed.url.is_some(), reached, "{listed:?}");
        let host = format!("{}-{}.localhost", listed.port, place.sandbox.id);
        let answer = ask("GET", "/", &host, &[&place.header()]).await;
        assert_eq!(answer.status, if reached { 200 } else { 502 }, "{listed:?}: {answer:?}");
    }
    assert_eq!(place.ports().await.len(), 4, "the gate's own sockets are not listed");
    place.sandbox.delete().await;
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_asked_of_the_gate() {
    let place = Place::empty().await;
    let decisions = async || {
        let request = EgressRequest { sandbox_id: Some(place.sandbox.id.clone()), ..EgressRequest::default() };
        place.sandbox.api.egress_list(Actor::Operator, request).await.expect("decisions").decisions
    };
    // 1 is the port of the gate's listener, 53 that of its socket for names.
    for port in [1, 53, 80, 443, 8000, 65535] {
        let host = format!("{port}-{}.localhost", place.sandbox.id);
        let answer = ask("GET", "/", &host, &[&place.header()]).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert!(answer.text().contains(&format!("nothing listens on port {port} ")), "{}", answer.text());
    }
    assert_eq!(decisions().await, []);
    // Control: what the sandbox sends to another address comes to the gate.
    let ask = "import urllib.request\ntry: urllib.request.urlopen('http://192.0.2.1:8000/', timeout=10)\nexcept OSError: pass";
    place.sandbox.python(ask).await;
    assert_ne!(decisions().await, []);
    place.sandbox.delete().await;
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let place = Place::new().await;
    let one = format!("GET /one HTTP/1.1\r\nHost: {}\r\n{}\r\n\r\n", place.host(), place.header());
    let mut visitor = Visitor::send(one.as_bytes()).await;
    visitor.until("GET /one HTTP/1.1").await;
    // The same connection, and now for the API: who was let in there is let in nowhere else.
    let two = format!("GET /v1/health HTTP/1.1\r\nHost: {}\r\n\r\n", common::tcp());
    visitor.write(two.as_bytes()).await;
    visitor.until("HTTP/1.1 401").await;
    let three = format!("GET /three HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", place.host());
    visitor.write(three.as_bytes()).await;
    visitor.until("HTTP/1.1 401").await;
    assert!(!place.heads().await.contains("/three"));
    place.sandbox.delete().await;
}

impl Visitor {
    async fn write(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).await.expect("it reads");
    }
}
