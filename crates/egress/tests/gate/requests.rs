//! Requests, judged one by one.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;
use std::future::Future;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{LOOPBACK, PATIENCE, Server, Signer, World, get, read};

async fn with_path(alpn: &[&str]) -> (World, Server) {
    let signer = Signer::new();
    let server = Server::start(Some((&signer, "api.test", alpn))).await;
    let world = World::new(&[&signer], &[("api.test", LOOPBACK), ("other.test", LOOPBACK)]).await;
    let port = server.port;
    world
        .policy(json!({"allow": [{"host": "api.test", "ports": [port], "methods": ["GET"], "paths": ["/v2/**"]},
                                 {"host": "other.test", "ports": [port]}]}))
        .await;
    world.given("api.test").await;
    (world, server)
}

#[tokio::test]
async fn a_path_that_no_rule_allows_is_403_and_the_connection_goes_on() {
    let (mut world, server) = with_path(&["http/1.1"]).await;
    let mut sender = world.http1(server.port, "api.test").await;
    assert_eq!(read(sender.send_request(get("api.test", "/v2/account?key=1")).await.unwrap()).await.0, 200);
    let response = sender.send_request(get("api.test", "/v1/account?key=1")).await.unwrap();
    assert_eq!(world.denied().1, "path_not_allowed");
    let (status, body) = read(response).await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["error"]["code"]), (403, &json!("path_not_allowed")));
    assert!(body["error"]["allow"].as_str().unwrap().contains("--allow api.test"), "{body}");
    assert_eq!(read(sender.send_request(get("api.test", "/v2/orders")).await.unwrap()).await.0, 200);
    let targets: Vec<_> = server.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/v2/account?key=1", "/v2/orders"]);
    assert_eq!(*server.connections.lock().unwrap(), 1, "one connection is kept");
    let requests: Vec<_> = world.decisions().await.into_iter().filter_map(|decision| decision.request).collect();
    assert_eq!(requests, ["GET /v2/account", "GET /v1/account", "GET /v2/orders"]);
}

#[tokio::test]
async fn http2_is_judged_the_same_and_many_requests_at_once() {
    for upstream in [&["h2"][..], &["http/1.1"]] {
        let (mut world, server) = with_path(upstream).await;
        let sender = world.http2(server.port, "api.test").await;
        let uri = |path: &str| format!("https://api.test:{}{path}", server.port);
        let ask = |path: &str| {
            let mut sender = sender.clone();
            let request = Request::get(uri(path)).body(Full::<Bytes>::default()).unwrap();
            async move { read(sender.send_request(request).await.unwrap()).await.0 }
        };
        let (a, b, c) = tokio::join!(ask("/v2/a"), ask("/v2/b"), ask("/v1/c"));
        assert_eq!((a, b, c), (200, 200, 403), "{upstream:?}");
        assert_eq!(world.denied().1, "path_not_allowed");
        assert_eq!(server.seen().len(), 2);
        assert_eq!(*server.connections.lock().unwrap(), 1);
    }
}

#[tokio::test]
async fn a_host_that_is_not_the_one_of_the_handshake_is_refused() {
    let (mut world, server) = with_path(&["http/1.1"]).await;
    world.given("other.test").await;
    for (host, path) in [
        ("other.test", "/v2/a"),
        ("api.test:1", "/v2/a"),
        ("127.0.0.1", "/v2/a"),
        ("api.test", "https://other.test/v2/a"),
        ("api.test", "http://api.test/v2/a"),
    ] {
        let mut sender = world.http1(server.port, "api.test").await;
        let response = sender.send_request(get(host, path)).await.unwrap();
        assert_eq!(response.status(), 403, "{host} {path}");
        assert_eq!(world.denied().1, "host_mismatch", "{host} {path}");
    }
    assert!(server.seen().is_empty());
    let mut sender = world.http1(server.port, "api.test").await;
    let response =
        sender.send_request(get("API.test.", &format!("https://api.test:{}/v2/a", server.port))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(server.seen()[0].headers["host"], format!("api.test:{}", server.port));
}

#[tokio::test]
async fn a_server_that_does_not_verify_is_502_and_hears_nothing() {
    let (signer, other, mut late) = (Signer::new(), Signer::new(), Signer::new());
    late.late = true;
    // Whom nobody knows, another's name, a wildcard that is too wide, and what is over; the control is what it should be.
    for (by, name, verifies) in [
        (&other, "api.test", false),
        (&signer, "other.test", false),
        (&signer, "*.api.test", false),
        (&late, "api.test", false),
        (&signer, "api.test", true),
    ] {
        let server = Server::start(Some((by, name, &["http/1.1"]))).await;
        let mut world = World::new(&[&signer, &late], &[("api.test", LOOPBACK)]).await;
        world.policy(json!({"allow": [{"host": "api.test", "ports": [server.port], "methods": ["GET"]}]})).await;
        world.given("api.test").await;
        let mut sender = world.http1(server.port, "api.test").await;
        let response = sender.send_request(get("api.test", "/")).await.unwrap();
        if verifies {
            assert_eq!((read(response).await.0, server.seen().len()), (200, 1), "the control");
            continue;
        }
        assert_eq!(world.denied().1, "upstream_untrusted", "{name}");
        let (status, body) = read(response).await;
        assert_eq!(status, 502, "{name}");
        assert!(body.contains("upstream_untrusted") && body.contains("certificate"), "{name}: {body}");
        assert!(server.seen().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn plain_http_is_judged_by_its_host() {
    let server = Server::start(None).await;
    let mut world = World::new(&[], &[("deb.test", LOOPBACK), ("other.test", LOOPBACK)]).await;
    world.allow("deb.test", server.port).await;
    world.given("deb.test").await;
    let ask = async |world: &World, head: String| {
        let mut stream = world.connect(server.port).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    };
    let head = |host: &str| format!("GET /pool HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = ask(&world, head(&format!("deb.test:{}", server.port))).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask(&world, head("other.test")).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("host_not_allowed"), "{answer}");
    assert_eq!(world.denied().1, "host_not_allowed");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_host_closed_is_made_anew() {
    // Closes each connection after one answer, without saying so before.
    let signer = Signer::new();
    let (world, server) = {
        let server = Server::start(Some((&signer, "api.test", &["http/1.1"]))).await;
        let world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
        world.policy(json!({"allow": [{"host": "api.test", "ports": [server.port], "methods": ["GET"]}]})).await;
        world.given("api.test").await;
        (world, server)
    };
    let mut sender = world.http1(server.port, "api.test").await;
    let close = Request::get("/").header("host", "api.test").header("x-close", "1").body(Full::default()).unwrap();
    assert_eq!(read(sender.send_request(close).await.unwrap()).await.0, 200);
    assert_eq!(read(sender.send_request(get("api.test", "/")).await.unwrap()).await.0, 200);
    assert_eq!(*server.connections.lock().unwrap(), 2);
}

/// Servers that speak as they are told, and the raw connection to one of them.
async fn raw(alpn: &[&str]) -> (World, tokio::net::TcpListener, tokio_rustls::TlsAcceptor, u16) {
    let signer = Signer::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
    world.policy(json!({"allow": [{"host": "api.test", "ports": [port], "methods": ["GET", "POST"]}]})).await;
    world.given("api.test").await;
    let acceptor = tokio_rustls::TlsAcceptor::from(signer.config("api.test", alpn));
    (world, listener, acceptor, port)
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

#[tokio::test]
async fn bodies_under_way_end_with_the_policy_that_let_them_through() {
    for (request, answer) in [
        // A download, an upload, an upload after its answer, and a question that has none yet.
        ("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin"),
        ("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000\r\n\r\nbegin", ""),
        (
            "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000\r\n\r\nbegin",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        ("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", ""),
    ] {
        let (mut world, listener, acceptor, port) = raw(&["http/1.1"]).await;
        let mut client = world.tls(port, "api.test", &world.authority(), &["http/1.1"]).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut server = patiently(async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() }).await;
        let mut seen = Vec::new();
        let end = if request.starts_with("GET") { "\r\n\r\n" } else { "begin" };
        while !seen.ends_with(end.as_bytes()) {
            seen.push(patiently(server.read_u8()).await.unwrap());
        }
        server.write_all(answer.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        while !answer.is_empty() && !got.ends_with(answer.rsplit("\r\n").next().unwrap().as_bytes()) {
            got.push(patiently(client.read_u8()).await.unwrap());
        }
        // One that still allows it changes nothing.
        world
            .policy(
                json!({"allow": [{"host": "api.test", "ports": [port], "methods": ["GET", "POST"], "paths": ["/"]}]}),
            )
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(world.denials().is_empty());
        world.policy(json!("none")).await;
        // The host hears no more of it, and the program learns why, or that its connection is over.
        let mut rest = Vec::new();
        let _ = patiently(server.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{request} {answer}: {rest:?}");
        let mut told = Vec::new();
        // A connection whose answer was whole may stay: what its program goes on to send is thrown away.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), client.read_to_end(&mut told)).await;
        let told = String::from_utf8_lossy(&told).into_owned();
        let refused = told.starts_with("HTTP/1.1 403") && told.contains("policy_changed");
        assert!(told.is_empty() || refused || !answer.is_empty() && told.starts_with("HTTP/1.1 200"), "{told}");
        assert_eq!(world.denials()[0].reason.code(), "policy_changed", "{request} {answer}");
    }
}
