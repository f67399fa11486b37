//! What is open ends with what it leads to; and a sandbox that does not run says so.

use std::time::Instant;

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, AuditLogRequest, PreviewRequest};

use crate::{
    common,
    scene::{PATIENCE, PORT, Place, Visitor, ask, head},
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

/// A websocket to the program of a place, with a token.
async fn websocket(place: &Place, header: &str) -> Visitor {
    let fields = [header, "Connection: upgrade", "Upgrade: websocket"];
    let handshake = format!(
        "GET /websocket HTTP/1.1\r\nHost: {}\r\n{}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        place.host(),
        fields.join("\r\n")
    );
    let mut socket = Visitor::send(handshake.as_bytes()).await;
    assert!(socket.until("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    socket
}

/// Replaces the token of a place: the place as those see it who have the new one.
async fn rotated(place: Place, by: Actor) -> Place {
    let request =
        PreviewRequest { sandbox_id: place.sandbox.id.clone(), port: 1, rotate: true, ..PreviewRequest::default() };
    let url = place.sandbox.api.preview(by, request).await.expect("another token").url.expect("an address");
    let token = url.split_once("?ringfence_token=").expect("the address has the token").1.to_owned();
    assert_ne!(token, place.token);
    Place { token, ..place }
}

#[tokio::test]
async fn a_token_that_was_replaced_lets_nobody_in_and_what_it_has_opened_ends() {
    let (place, neighbour) = (Place::new().await, Place::new().await);
    let leaked = place.header();
    let (target, host) = (place.path("/"), place.host());
    let answers = async |field: &str| {
        let mut seen = Vec::new();
        for (target, host) in [("/", host.as_str()), (&target, &common::tcp())] {
            seen.push(ask("GET", target, host, &[field]).await.status);
        }
        seen
    };
    // What was open before, with the token, and at a port that needs none.
    place.serve("AF_INET", "127.0.0.1", 8001).await;
    place.preview(8001, Some(true)).await;
    let public = format!("8001-{}.localhost", place.sandbox.id);
    let mut free = Visitor::get("/events", &public, &[]).await;
    free.until("data: first\n\n").await;
    let mut socket = websocket(&place, &leaked).await;
    let mut stream = Visitor::get("/without-end", &host, &[&leaked]).await;
    stream.until("begin").await;
    assert_eq!(answers(&leaked).await, [200, 200], "control: who has it gets in until it is replaced");

    let place = rotated(place, Actor::Operator).await;
    assert_eq!(answers(&leaked).await, [401, 401]);
    socket.rest().await;
    stream.rest().await;
    place.sandbox.bash("touch /tmp/go").await;
    free.until("data: second\n\n").await;
    assert_eq!(answers(&place.header()).await, [200, 200]);
    assert_eq!(neighbour.get("/").await.status, 200, "another sandbox keeps its own");
    let listed = place.ports().await;
    let shown = listed.iter().find(|port| port.port == PORT).and_then(|port| port.url.clone()).expect("it is listed");
    assert!(shown.ends_with(&format!("={}", place.token)), "{shown}");

    // Neither of them comes back: with another one, while it is stopped, and when it has ended.
    let second = place.header();
    let place = rotated(place, Actor::Agent).await;
    for old in [&leaked, &second] {
        assert_eq!(answers(old).await, [401, 401]);
    }
    let (api, named) = (place.sandbox.api.clone(), place.sandbox.named());
    api.stop(Actor::Operator, named.clone()).await.expect("stopped");
    assert_eq!((answers(&second).await, answers(&place.header()).await), (vec![401, 401], vec![503, 503]));
    api.delete(Actor::Operator, named).await.expect("deleted");
    for old in [&leaked, &second] {
        assert_eq!(answers(old).await, [401, 401], "nor do they say that there was such a sandbox");
    }
    assert_eq!(answers(&place.header()).await, [410, 410]);

    let audit = AuditLogRequest { sandbox_id: Some(place.sandbox.id.clone()), ..AuditLogRequest::default() };
    let entries = place.sandbox.api.audit_log(Actor::Operator, audit).await.expect("entries");
    let text = serde_json::to_string(&entries).expect("plain data");
    assert_eq!(text.matches("preview.rotate").count(), 2, "{text}");
    assert!(!text.contains(&place.token), "{text}");
    neighbour.sandbox.delete().await;
}

#[tokio::test]
async fn streams_end_with_their_sandbox() {
    let place = Place::new().await;
    let mut socket = websocket(&place, &place.header()).await;
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
