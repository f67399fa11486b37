//! What is open ends with what it leads to; and a sandbox that does not run says so.

use std::time::Instant;

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::Actor;

use crate::{
    common,
    scene::{PATIENCE, Place, Visitor, ask, head},
};

#[tokio::test]
async fn a_sandbox_that_does_not_run_says_so_to_those_who_may_know() {
    let place = Place::new().await;
    let (api, named) = (place.sandbox.api.clone(), place.sandbox.named());
    let strangers = async || {
        for (target, host) in [("/".to_owned(), place.host()), (place.path("/"), common::tcp())] {
            assert_eq!(ask("GET", &target, &host, &[]).await.status, 401);
        }
    };
    assert_eq!(place.get("/").await.status, 200, "control");
    api.pause(Actor::Operator, named.clone()).await.expect("paused");
    let paused = place.get("/").await;
    assert!(paused.status == 503 && paused.text().contains("paused"), "{paused:?}");
    strangers().await;
    api.resume(Actor::Operator, named.clone()).await.expect("resumed");
    assert_eq!(place.get("/").await.status, 200);
    api.stop(Actor::Operator, named.clone()).await.expect("stopped");
    let stopped = place.get("/").await;
    assert!(stopped.status == 503 && stopped.text().contains("stopped"), "{stopped:?}");
    assert!(place.ports().await.is_empty());
    strangers().await;
    api.resume(Actor::Operator, named.clone()).await.expect("resumed");
    assert_eq!(place.get("/").await.status, 502, "its programs have ended");
    place.serve("AF_INET", "127.0.0.1", 8000).await;
    assert_eq!(place.get("/").await.status, 200, "the same token, another network");
    api.delete(Actor::Operator, named).await.expect("deleted");
    let deleted = place.get("/").await;
    assert!(deleted.status == 410 && deleted.text().contains("deleted"), "{deleted:?}");
    strangers().await;
}

#[tokio::test]
async fn streams_end_with_their_sandbox() {
    let place = Place::new().await;
    let fields = [place.header(), "Connection: upgrade".into(), "Upgrade: websocket".into()];
    let handshake = format!(
        "GET /websocket HTTP/1.1\r\nHost: {}\r\n{}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        place.host(),
        fields.join("\r\n")
    );
    let mut socket = Visitor::send(handshake.as_bytes()).await;
    assert!(socket.until("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    let mut stream = Visitor::get("/without-end", &place.host(), &[&place.header()]).await;
    stream.until("begin").await;
    let silent = Visitor::get("/silent", &place.host(), &[&place.header()]).await;
    let sending = head("POST", "/body", &place.host(), &[&place.header(), "Content-Length: 1000000"]);
    let sending = Visitor::send((sending + "begin").as_bytes()).await;
    // All have come to the program before it ends.
    let end = Instant::now() + PATIENCE;
    loop {
        let heads = place.heads().await;
        if ["/websocket", "/without-end", "/silent", "/body"].iter().all(|path| heads.contains(path)) {
            break;
        }
        assert!(Instant::now() < end, "{heads}");
    }
    place.sandbox.api.stop(Actor::Operator, place.sandbox.named()).await.expect("stopped");
    socket.rest().await;
    let rest = String::from_utf8_lossy(&stream.rest().await).into_owned();
    assert!(!rest.contains("0\r\n\r\n"), "it is not taken for a whole answer: {rest}");
    assert_eq!(silent.answer().await.status, 502);
    assert_eq!(sending.answer().await.status, 502);
    place.sandbox.delete().await;
}
