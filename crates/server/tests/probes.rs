//! Probes and the end, over fakes: who may ask, what is said, and in which order a daemon comes to its end.

mod fake;
mod host;

use std::{sync::atomic::Ordering, time::Duration};

use hyper::Method;
use serde_json::{Value, json};

use host::{Answer, Host, TOKEN};

impl Host {
    async fn over_tcp(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.send(self.connect_tcp().await, method, path, headers, Vec::new()).await
    }

    fn misses(&self, what: &[&str]) {
        *self.node.missing.lock().expect("no panic") = what.iter().map(|text| (*text).to_owned()).collect();
    }
}

const LOCAL: (&str, &str) = ("host", "localhost");

#[tokio::test]
async fn whoever_is_on_this_machine_may_ask_whether_the_process_answers() {
    let host = Host::start().await;
    for answer in [host.over_tcp("GET", "/health", &[LOCAL]).await, host.unix("GET", "/health", json!(null)).await] {
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        assert_eq!(answer.json(), json!({"status": "ok"}), "nothing that is anybody's business");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    for path in ["/health", "/ready"] {
        let head = host.over_tcp("HEAD", path, &[LOCAL]).await;
        assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
        let post = host.over_tcp("POST", path, &[LOCAL]).await;
        // RFC 9110, 15.5.6: it says what the path does take.
        assert_eq!((post.status.as_u16(), post.headers["allow"].to_str().expect("text")), (405, "GET, HEAD"));
    }
    // Every other path asks for the token as before.
    for path in ["/health/", "/v1/health", "/readyz", "/metrics", "/"] {
        assert_eq!(host.over_tcp("GET", path, &[LOCAL]).await.status.as_u16(), 401, "{path}");
    }
}

#[tokio::test]
async fn a_page_of_elsewhere_learns_nothing_from_a_probe() {
    let host = Host::start().await;
    for headers in [
        &[("host", "evil.com")][..],
        &[("host", "localhost.evil.com:7433")],
        &[LOCAL, ("origin", "https://evil.com")],
        &[LOCAL, ("origin", "null")],
    ] {
        for path in ["/health", "/ready"] {
            let answer = host.over_tcp("GET", path, headers).await;
            assert_eq!(answer.status.as_u16(), 403, "{headers:?}: {}", answer.body);
            assert_eq!(answer.json()["error"]["code"], "PERMISSION_DENIED");
        }
    }
    let own = host.over_tcp("GET", "/ready", &[LOCAL, ("origin", "http://127.0.0.1:7433")]).await;
    assert_eq!(own.status.as_u16(), 200);
}

#[tokio::test]
async fn what_is_missing_is_said_in_words() {
    let host = Host::start().await;
    let ready = host.over_tcp("GET", "/ready", &[LOCAL]).await;
    assert_eq!(ready.status.as_u16(), 200);
    assert_eq!(ready.json(), json!({"ready": true, "status": "ready", "missing": []}));
    host.misses(&["the gateway does not answer", "the disk is full"]);
    // An answer is kept for a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let answer = host.unix("GET", "/ready", json!(null)).await;
    assert_eq!(answer.status.as_u16(), 503);
    let missing = json!(["the gateway does not answer", "the disk is full"]);
    assert_eq!(answer.json(), json!({"ready": false, "status": "not ready", "missing": missing}));
}

#[tokio::test]
async fn many_probes_look_once_and_too_many_over_tcp_are_refused() {
    let host = Host::start().await;
    let mut refused = None;
    for _ in 0..200 {
        let answer = host.over_tcp("GET", "/ready", &[LOCAL]).await;
        if answer.status.as_u16() == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status.as_u16(), 200);
    }
    let refused = refused.expect("at some point");
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.body);
    assert_eq!(refused.json()["error"]["code"], "QUOTA_EXCEEDED");
    assert!(host.node.looks.load(Ordering::SeqCst) <= 20, "one look a second");
    // Whoever has the token, or the socket, is not kept out by it.
    let bearer = format!("Bearer {TOKEN}");
    let authorised = host.over_tcp("GET", "/v1/health", &[LOCAL, ("authorization", &bearer)]).await;
    assert_eq!(authorised.status.as_u16(), 200);
    assert_eq!(host.unix("GET", "/ready", json!(null)).await.status.as_u16(), 200);
}

#[tokio::test]
async fn until_it_has_started_probes_are_answered_and_the_rest_waits() {
    let (host, start) = Host::unstarted().await;
    let health = host.over_tcp("GET", "/health", &[LOCAL]).await;
    assert_eq!(health.json(), json!({"status": "ok"}));
    let ready = host.over_tcp("GET", "/ready", &[LOCAL]).await;
    assert_eq!((ready.status.as_u16(), &ready.json()["status"]), (503, &json!("starting")));
    let asked = host.unix("GET", "/v1/health", Value::Null);
    tokio::pin!(asked);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut asked).await.is_err(), "it waits");
    start();
    assert_eq!(asked.await.status.as_u16(), 200);
    assert_eq!(host.over_tcp("GET", "/ready", &[LOCAL]).await.json()["status"], "ready");
}

#[tokio::test]
async fn one_that_is_stopped_before_it_has_started_ends_and_says_so_to_who_waits() {
    let (host, _start) = Host::unstarted().await;
    let answer = {
        let asked = host.raw_unix("GET", "/v1/health", &[], "");
        tokio::pin!(asked);
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut asked).await.is_err());
        host.stop.ask();
        asked.await
    };
    assert_eq!(answer.status.as_u16(), 503, "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
    host.ended().await;
}

#[tokio::test]
async fn a_stop_drains_first_and_answers_meanwhile() {
    let host = Host::start().await;
    host.node.executions.store(2, Ordering::SeqCst);
    let stopped = host.unix("POST", "/v1/stop", Value::Null).await;
    assert_eq!(stopped.json(), json!({"success": true, "executions_running": 2, "drain_seconds": 70}));
    let ready = host.over_tcp("GET", "/ready", &[LOCAL]).await;
    assert_eq!((ready.status.as_u16(), &ready.json()["status"]), (503, &json!("draining")), "{}", ready.body);
    assert!(ready.body.contains("draining: "), "{}", ready.body);
    // Whoever waits for an execution gets its end.
    assert_eq!(host.unix("GET", "/v1/health", Value::Null).await.status.as_u16(), 200);
    assert!(host.node.draining.load(Ordering::SeqCst));
    assert_eq!(*host.node.patience.lock().expect("no panic"), Some(Duration::from_secs(70)));
    host.node.idle.notify_one();
    host.ended().await;
}

#[tokio::test]
async fn a_second_wish_cuts_a_drain_short() {
    let host = Host::start().await;
    host.node.executions.store(1, Ordering::SeqCst);
    // One that is asked to stop before it has started has nothing to drain.
    assert_eq!(host.unix("GET", "/ready", Value::Null).await.status.as_u16(), 200);
    host.stop.ask();
    host.stop.ask();
    tokio::time::timeout(Duration::from_secs(60), async {
        while !host.node.draining.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it drains");
    assert_eq!(host.unix("GET", "/health", Value::Null).await.status.as_u16(), 200, "asking twice is no hurry");
    let begin = std::time::Instant::now();
    host.stop.at_once();
    host.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(35), "the drain has 70 s");
}

#[tokio::test]
async fn figures_of_the_installation_are_for_whom_its_project_is() {
    let host = Host::start().await;
    let failed = "ringfence_sandbox_creates_total{result=\"failed\"} 77";
    let own = host.unix("GET", "/metrics", Value::Null).await;
    assert!(own.body.lines().any(|line| line == failed), "{}", own.body);
    let guest = host.raw_unix("GET", "/metrics", &[("x-ringfence-project", "fund")], "").await;
    assert_eq!(guest.status.as_u16(), 200);
    assert!(!guest.body.contains("creates_total") && guest.body.contains("ringfence_sandboxes"), "{}", guest.body);
}
