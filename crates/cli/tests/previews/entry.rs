//! Who is let in, and by which name.

use std::process::Command;

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{Actor, AuditLogRequest, LogsRequest, PreviewRequest},
};

use crate::{
    common::{self, tail},
    scene::{Answer, PATIENCE, PORT, Place, Visitor, api_token, ask, port_of_daemon, raw},
};

/// The ways to show a token: the target's query, and a field.
fn ways(token: &str) -> [(String, String); 4] {
    [
        (String::new(), format!("X-Ringfence-Preview-Token: {token}")),
        (String::new(), format!("Authorization: Bearer {token}")),
        (String::new(), format!("Cookie: theirs=1; ringfence_preview={token}")),
        (format!("?ringfence_token={token}"), "X-Nothing: 1".to_owned()),
    ]
}

#[tokio::test]
async fn a_token_lets_in_to_its_own_sandbox_and_goes_no_further() {
    let (place, neighbour) = (Place::new().await, Place::new().await);
    for (query, field) in ways(&place.token) {
        for (target, host) in [("/seen".to_owned(), place.host()), (place.path("/seen"), common::tcp())] {
            let answer = ask("GET", &format!("{target}{query}"), &host, &[&field]).await;
            assert_eq!(answer.status, 200, "{field} {target}{query}: {answer:?}");
            // What the program saw is its answer.
            assert!(!answer.text().contains(&place.token), "{}", answer.text());
            assert!(!answer.text().contains("ringfence_"), "{}", answer.text());
            let cookies = answer.fields("set-cookie");
            match query.as_str() {
                "" => assert!(cookies.is_empty(), "{answer:?}"),
                _ => {
                    let path = if target == "/seen" { "/".to_owned() } else { place.path("/") };
                    let kept = format!("ringfence_preview={}; Path={path}; HttpOnly; SameSite=Lax", place.token);
                    assert_eq!(cookies, [kept]);
                }
            }
        }
    }
    assert!(!place.heads().await.contains(&place.token), "the server's own record");
    let before = place.heads().await;
    let wrong = [neighbour.token.clone(), place.token[1..].to_owned(), format!("{}0", place.token), String::new()];
    for token in &wrong {
        for (query, field) in ways(token) {
            for (target, host) in [("/".to_owned(), place.host()), (place.path("/"), common::tcp())] {
                let answer = ask("GET", &format!("{target}{query}"), &host, &[&field]).await;
                assert_eq!(answer.status, 401, "{field} {target}{query}: {answer:?}");
            }
        }
    }
    assert_eq!(place.heads().await, before, "nothing of it came to the program");
    // What belongs to the program comes to it: its own bearer, its own cookies.
    let answer =
        ask("GET", "/", &place.host(), &[&place.header(), "Authorization: Bearer its-own", "Cookie: theirs=1"]).await;
    assert!(answer.text().contains("Bearer its-own") && answer.text().contains("theirs=1"), "{}", answer.text());
    neighbour.sandbox.delete().await;
    place.sandbox.delete().await;
}

#[tokio::test]
async fn a_browser_leaves_the_token_behind() {
    let place = Place::new().await;
    let target = format!("/a?x=1&ringfence_token={}&y=2", place.token);
    let first = ask("GET", &target, &place.host(), &["Accept: text/html,*/*"]).await;
    assert_eq!(first.status, 303, "{first:?}");
    assert_eq!(first.fields("location"), [format!("http://{}/a?x=1&y=2", place.host())]);
    assert_eq!(first.fields("referrer-policy"), ["no-referrer"]);
    let cookie = first.fields("set-cookie").remove(0);
    let (pair, _) = cookie.split_once(';').expect("a pair and its attributes");
    assert_eq!(ask("GET", "/a?x=1&y=2", &place.host(), &[&format!("Cookie: {pair}")]).await.status, 200);
    // A service worker would see the address with which its visitor comes the next time; other scripts do not.
    for (field, status) in [("X-Nothing: 1", 200), ("Service-Worker: script", 403)] {
        let fields = [&*place.header(), field];
        assert_eq!(ask("GET", "/worker.js", &place.host(), &fields).await.status, status, "{field}");
    }
    // A path that looks like a host does not lead to one.
    let to = format!("//evil.example/?ringfence_token={}", place.token);
    let elsewhere = ask("GET", &to, &place.host(), &["Sec-Fetch-Mode: navigate"]).await;
    assert_eq!(elsewhere.fields("location"), [format!("http://{}//evil.example/", place.host())]);
    place.sandbox.delete().await;
}

#[tokio::test]
async fn the_tokens_of_the_api_and_of_previews_are_no_use_for_each_other() {
    let place = Place::new().await;
    let api = api_token();
    let health = async |token: &str| {
        ask("GET", "/v1/health", &common::tcp(), &[&format!("Authorization: Bearer {token}")]).await
    };
    assert_eq!(health(&place.token).await.status, 401);
    assert_eq!(health(&api).await.status, 200, "control");
    for (query, field) in ways(&api) {
        for (target, host) in [("/".to_owned(), place.host()), (place.path("/"), common::tcp())] {
            let answer = ask("GET", &format!("{target}{query}"), &host, &[&field]).await;
            let expected = if field.starts_with("Authorization") { 403 } else { 401 };
            assert_eq!(answer.status, expected, "{field}: {answer:?}");
        }
    }
    // Not even where the program needs no token of ours, or gets another one.
    place.preview(PORT, Some(true)).await;
    let bearer = format!("Authorization: Bearer {api}");
    for fields in [vec![bearer.as_str()], vec![bearer.as_str(), &place.header()]] {
        assert_eq!(ask("GET", "/", &place.host(), &fields).await.status, 403);
    }
    for (query, field) in ways(&api).into_iter().filter(|(_, field)| !field.starts_with("Authorization")) {
        assert_eq!(ask("GET", &format!("/{query}"), &place.host(), &[&field]).await.status, 200, "it is public");
    }
    assert!(!place.heads().await.contains(&api), "the program has seen the API's token");
    // At the name of a preview the API's paths are the program's, and the API is not there.
    let answer = place.get("/v1/health").await;
    assert!(answer.text().starts_with("GET /v1/health HTTP/1.1"), "{}", answer.text());
    place.sandbox.delete().await;
}

#[tokio::test]
async fn a_port_is_made_public_by_the_operator_alone() {
    let place = Place::new().await;
    let request =
        |public| PreviewRequest { sandbox_id: place.sandbox.id.clone(), port: PORT.into(), public, rotate: false };
    let refused = place.sandbox.api.preview(Actor::Agent, request(Some(true))).await.expect_err("agents may not");
    assert_eq!(refused.code, Code::PermissionDenied);
    assert_eq!(ask("GET", "/", &place.host(), &[]).await.status, 401);
    let opened = place.preview(PORT, Some(true)).await;
    assert!(opened.public && !opened.url.expect("an address").contains("token"));
    assert_eq!(ask("GET", "/", &place.host(), &[]).await.status, 200);
    assert_eq!(ask("GET", &place.path("/"), &common::tcp(), &[]).await.status, 200);
    // Only that port.
    place.serve("AF_INET", "127.0.0.1", 8001).await;
    let other = format!("8001-{}.localhost", place.sandbox.id);
    assert_eq!(ask("GET", "/", &other, &[]).await.status, 401);
    // What is open without a token ends with the permission; what has one stays.
    let mut free = Visitor::get("/without-end", &place.host(), &[]).await;
    let mut held = Visitor::get("/events", &place.host(), &[&place.header()]).await;
    free.until("begin").await;
    held.until("data: first\n\n").await;
    assert!(!place.preview(PORT, Some(false)).await.public);
    free.rest().await;
    place.sandbox.bash("touch /tmp/go").await;
    held.until("data: second\n\n").await;
    assert_eq!(ask("GET", "/", &place.host(), &[]).await.status, 401);

    let audit = AuditLogRequest { sandbox_id: Some(place.sandbox.id.clone()), ..AuditLogRequest::default() };
    let entries = place.sandbox.api.audit_log(Actor::Operator, audit).await.expect("entries");
    let text = serde_json::to_string(&entries).expect("plain data");
    for event in ["preview.public", "preview.private", "preview.visit"] {
        assert!(text.contains(event), "{event}: {text}");
    }
    let logs = LogsRequest { sandbox_id: place.sandbox.id.clone(), lines: None, source: None };
    let logs = place.sandbox.api.logs(Actor::Operator, logs).await.expect("lines");
    let logs = serde_json::to_string(&logs).expect("plain data");
    for written in [text, logs, tail(common::shared())] {
        assert!(!written.contains(&place.token), "the token is written down: {written}");
    }
    place.sandbox.delete().await;
}

#[tokio::test]
async fn names_that_are_not_the_previews_own_are_refused() {
    let (place, neighbour) = (Place::new().await, Place::new().await);
    let (id, theirs, daemon) = (&place.sandbox.id, &neighbour.sandbox.id, port_of_daemon());
    let own = place.header();
    // Controls: its own name in both cases, with and without the daemon's port.
    for host in [place.host(), format!("{PORT}-{id}.localhost"), place.host().to_uppercase()] {
        assert_eq!(ask("GET", "/", &host, &[&own]).await.status, 200, "{host}");
    }
    for host in [
        // A name that an attacker's server made lead here.
        "evil.example".to_owned(),
        format!("{PORT}-{id}.localhost.evil.example"),
        format!("evil.example.{PORT}-{id}.localhost"),
        format!("{PORT}-{id}.localhost.:{daemon}"),
        format!("{PORT}-{id}.127.0.0.1.nip.io"),
        format!("{PORT}-{id}"),
        format!("{id}.localhost"),
        format!("0-{id}.localhost"),
        format!("0{PORT}-{id}.localhost"),
        format!("{PORT}-{id}x.localhost"),
        format!("x@{PORT}-{id}.localhost"),
    ] {
        for target in ["/".to_owned(), place.path("/")] {
            let answer = ask("GET", &target, &host, &[&own]).await;
            assert!([400, 403].contains(&answer.status), "{host} {target}: {answer:?}");
        }
    }
    // The neighbour's name and path, with the token of another; and no name that nobody has tells whether somebody has it.
    for (target, host) in [
        ("/".to_owned(), format!("{PORT}-{theirs}.localhost")),
        ("/".to_owned(), format!("{PORT}-i{}.localhost", "z".repeat(20))),
        (neighbour.path("/"), common::tcp()),
    ] {
        assert_eq!(ask("GET", &target, &host, &[&own]).await.status, 401, "{target} at {host}");
    }
    // Two names in one request: none of them counts.
    let (ours, neighbours) = (place.host(), neighbour.host());
    let line = |target: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        format!("GET {target} HTTP/1.1\r\n{hosts}{own}\r\nConnection: close\r\n\r\n")
    };
    for (target, hosts) in [
        ("/", vec![ours.as_str(), &neighbours]),
        ("/", vec![neighbours.as_str(), &ours]),
        ("/", vec![ours.as_str(), &ours]),
        ("/", vec![]),
        (&*format!("http://{neighbours}/"), vec![ours.as_str()]),
        (&format!("http://{ours}/"), vec![neighbours.as_str()]),
        (&format!("http://{ours}/"), vec!["evil.example"]),
        (&format!("http://evil.example{}", place.path("/")), vec!["localhost"]),
    ] {
        let answer: Answer = raw(line(target, &hosts)).await;
        assert!([400, 401, 403].contains(&answer.status), "{target} {hosts:?}: {answer:?}");
    }
    assert_eq!(raw(line(&format!("http://{ours}/"), &[&ours])).await.status, 200, "control: one name, written twice");
    assert_eq!(neighbour.heads().await, "", "nothing came to the neighbour");
    for nonsense in ["/preview/", "/preview/x/1/", "/preview/ID/", "/preview/ID/0/", "/preview/ID/http/"] {
        let answer = ask("GET", &nonsense.replace("ID", id), &common::tcp(), &[&own]).await;
        assert_eq!(answer.status, 404, "{nonsense}: {answer:?}");
    }
    for method in ["TRACE", "CONNECT"] {
        let answer = ask(method, if method == "CONNECT" { &ours } else { "/" }, &ours, &[&own]).await;
        assert_ne!(answer.status, 200, "{method}");
    }
    neighbour.sandbox.delete().await;
    place.sandbox.delete().await;
}

/// A second request in the body of one that was let in would be let in with it.
#[tokio::test]
async fn no_second_request_hides_in_one() {
    let place = Place::new().await;
    let send = async |framing: &str, hidden: &str, field: &str| {
        let second = format!("GET {hidden} HTTP/1.1\r\nHost: {}\r\n{field}Connection: close\r\n\r\n", place.host());
        let framing =
            framing.replace("SECOND", &second.len().to_string()).replace("PLUS", &(second.len() + 5).to_string());
        let first = format!("POST /body HTTP/1.1\r\nHost: {}\r\n{}\r\n{framing}\r\n\r\n", place.host(), place.header());
        let end = if framing.contains("chunked") { "0\r\n\r\n" } else { "" };
        let mut visitor = Visitor::send(format!("{first}{end}{second}").as_bytes()).await;
        visitor.rest().await;
    };
    for (number, framing) in [
        "Transfer-Encoding: chunked",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: PLUS",
        "Transfer-Encoding: chunked\r\nConnection: close, transfer-encoding",
        "Content-Length: 0",
        "Content-Length: 0\r\nConnection: content-length",
        "Content-Length: 0\r\nContent-Length: SECOND",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: xchunked",
        "X: 1\n Transfer-Encoding: chunked",
    ]
    .into_iter()
    .enumerate()
    {
        send(framing, &format!("/hidden-{number}"), "").await;
    }
    let heads = place.heads().await;
    assert!(!heads.contains("/hidden") && heads.contains("/body"), "{heads}");
    // Control: what follows with a token of its own comes to the program.
    send("Transfer-Encoding: chunked", "/hidden", &format!("{}\r\n", place.header())).await;
    assert!(place.heads().await.contains("/hidden"));
    place.sandbox.delete().await;
}

/// What a page of one preview tries with the API, with its neighbours, and in the visitor's name; in a real browser where there
/// is one, and by the requests that it would send in any case.
#[tokio::test]
async fn pages_of_others_do_nothing_in_the_visitors_name() {
    let place = Place::new().await;
    let cookie = format!("Cookie: ringfence_preview={}", place.token);
    let own = format!("Origin: http://{}", place.host());
    let foreign = format!("Origin: http://{PORT}-i{}.localhost:{}", "b".repeat(20), port_of_daemon());
    for (method, fields, status) in [
        ("POST", vec![cookie.as_str(), &own], 200),
        ("POST", vec![cookie.as_str(), &foreign], 403),
        ("GET", vec![cookie.as_str(), &foreign], 403),
        ("POST", vec![cookie.as_str(), "Origin: null"], 403),
        ("GET", vec![cookie.as_str(), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"], 403),
        ("GET", vec![cookie.as_str(), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"], 200),
    ] {
        assert_eq!(ask(method, "/", &place.host(), &fields).await.status, status, "{method} {fields:?}");
    }
    // Below the path, where all pages have the same origin or none.
    for (method, fields, status) in [
        ("GET", vec![cookie.as_str()], 200),
        ("GET", vec![cookie.as_str(), "Origin: null"], 403),
        ("POST", vec![cookie.as_str()], 403),
        ("POST", vec![&*place.header()], 200),
    ] {
        assert_eq!(ask(method, &place.path("/"), &common::tcp(), &fields).await.status, status, "{method} {fields:?}");
    }
    // The API refuses what a preview's page asks, even with the API's own token; without an origin it answers (control).
    let bearer = format!("Authorization: Bearer {}", api_token());
    for (origin, status) in [(own.as_str(), 403), ("Origin: null", 403), ("X-No-Origin: 1", 200)] {
        assert_eq!(ask("GET", "/v1/health", &common::tcp(), &[&bearer, origin]).await.status, status, "{origin}");
    }
    // Cookies of the daemon's own name are not the program's.
    let answer =
        ask("GET", &place.path("/"), &common::tcp(), &[&place.header(), "Cookie: session=of-a-dashboard"]).await;
    assert!(answer.status == 200 && !answer.text().contains("of-a-dashboard"), "{answer:?}");
    let by_name = ask("GET", "/", &place.host(), &[&place.header(), "Cookie: session=its-own"]).await;
    assert!(by_name.text().contains("session=its-own"), "control: at its own name they are: {by_name:?}");
    place.sandbox.delete().await;
}

#[tokio::test]
async fn the_command_prints_what_lets_in() {
    let place = Place::new().await;
    let id = place.sandbox.id.clone();
    let run = async |words: Vec<String>| {
        let ran = tokio::task::spawn_blocking(move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            common::ringfence(common::shared(), &words)
        });
        let ran = tokio::time::timeout(PATIENCE, ran).await.expect("it ends").expect("it ran");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let url = run(words(&["preview", &id, "8000"])).await;
    // curl finds names below localhost by itself.
    let fetched = Command::new("curl").args(["-sS", "--noproxy", "*", "--fail", &url]).output().expect("curl");
    assert!(String::from_utf8_lossy(&fetched.stdout).starts_with("GET / HTTP/1.1"), "{fetched:?}");
    let public = run(words(&["preview", "public", &id, "8000", "--json"])).await;
    let public: serde_json::Value = serde_json::from_str(&public).expect("JSON");
    assert!(public["public"] == true && public["listening"] == true, "{public}");
    run(words(&["preview", "public", &id, "8000", "--off"])).await;
    assert_eq!(ask("GET", "/", &place.host(), &[]).await.status, 401);
    place.sandbox.delete().await;
}
