//! Requests, judged one by one.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;
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
    let (signer, other) = (Signer::new(), Signer::new());
    let server = Server::start(Some((&other, "api.test", &["http/1.1"]))).await;
    let mut world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
    world.policy(json!({"allow": [{"host": "api.test", "ports": [server.port], "methods": ["GET"]}]})).await;
    world.given("api.test").await;
    let mut sender = world.http1(server.port, "api.test").await;
    let response = sender.send_request(get("api.test", "/")).await.unwrap();
    assert_eq!(world.denied().1, "upstream_untrusted");
    let (status, body) = read(response).await;
    assert_eq!(status, 502);
    assert!(body.contains("upstream_untrusted") && body.contains("certificate"), "{body}");
    assert!(server.seen().is_empty());
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
