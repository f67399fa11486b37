//! Previews of another project: whoever comes without the sandbox's own preview token reads what he reads of a sandbox that nobody has.

use serde_json::Value;

use crate::{
    common,
    scene::{Answer, PORT, Place, ask, port_of_daemon},
};

const UNKNOWN: &str = "i00000000000000000000";

/// Id and secret of an agent's token of a project.
async fn token(project: &'static str) -> (String, String) {
    let made = tokio::task::spawn_blocking(move || {
        let args = ["token", "create", "--role", "agent", "--project", project, "--name", "previews", "--json"];
        common::ringfence(common::shared(), &args)
    });
    let made: Value = serde_json::from_slice(&made.await.expect("it ends").stdout).expect("an answer");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&made["token"]["id"]), text(&made["secret"]))
}

async fn revoke(id: String) {
    let revoked = tokio::task::spawn_blocking(move || {
        common::ringfence(common::shared(), &["token", "revoke", &id]).status.success()
    });
    assert!(revoked.await.expect("it ends"));
}

/// Both forms of the address of a port: target and host.
fn forms(id: &str) -> [(String, String); 2] {
    let by_name = format!("{PORT}-{id}.localhost:{}", port_of_daemon());
    [("/".to_owned(), by_name), (format!("/preview/{id}/{PORT}/"), common::tcp())]
}

/// All of an answer but the time at which it came.
fn said(answer: &Answer) -> (u16, Vec<String>, String) {
    let fields = answer.head.lines().skip(1).filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
    (answer.status, fields.map(str::to_owned).collect(), answer.text())
}

#[tokio::test]
async fn the_preview_of_another_project_is_that_of_a_sandbox_that_there_is_not() {
    let (fund, rival) = (Place::of("fund").await, Place::of("rival").await);
    let (fund_id, fund_api) = token("fund").await;
    let (rival_id, rival_api) = token("rival").await;
    let before = rival.heads().await;
    // The visitor is of `fund`, and has all that one of `fund` can have.
    let mut shown: Vec<(String, Option<String>)> = vec![(String::new(), None)];
    for secret in [&fund.token, &fund_api, &rival_api, &shaped()] {
        shown.push((format!("?ringfence_token={secret}"), None));
        for field in ["X-Ringfence-Preview-Token: ", "Authorization: Bearer ", "Cookie: ringfence_preview="] {
            shown.push((String::new(), Some(format!("{field}{secret}"))));
        }
    }
    for (query, field) in &shown {
        let fields: Vec<&str> = field.iter().map(String::as_str).collect();
        for ((target, host), (unknown, unknown_host)) in forms(&rival.sandbox.id).into_iter().zip(forms(UNKNOWN)) {
            let theirs = ask("GET", &format!("{target}{query}"), &host, &fields).await;
            let nobodys = ask("GET", &format!("{unknown}{query}"), &unknown_host, &fields).await;
            let what = format!("{target}{query} {field:?}: {theirs:?}");
            assert!([401, 403].contains(&theirs.status), "{what}");
            assert_eq!(said(&theirs), said(&nobodys), "{what}");
            assert!(!theirs.text().contains(&rival.sandbox.id) && !theirs.text().contains("rival"), "{what}");
        }
    }
    assert_eq!(rival.heads().await, before, "nothing of it came to the program");
    // A sandbox that has ended is no different, for who has not its token.
    for place in [&fund, &rival] {
        for (target, host) in forms(&place.sandbox.id) {
            let own = ask("GET", &target, &host, &[&place.header()]).await;
            assert_eq!(own.status, 200, "the control: {own:?}");
        }
    }
    let (id, header) = (rival.sandbox.id.clone(), fund.header());
    rival.sandbox.delete().await;
    for ((target, host), (unknown, unknown_host)) in forms(&id).into_iter().zip(forms(UNKNOWN)) {
        let (ended, nobodys) =
            (ask("GET", &target, &host, &[&header]).await, ask("GET", &unknown, &unknown_host, &[&header]).await);
        assert_eq!((ended.status, said(&ended)), (401, said(&nobodys)));
    }
    fund.sandbox.delete().await;
    revoke(fund_id).await;
    revoke(rival_id).await;
}

/// What has the form of a token, and is none.
fn shaped() -> String {
    format!("rf_{}", "0".repeat(64))
}

#[tokio::test]
async fn the_api_token_of_a_project_is_not_shown_to_a_program() {
    let place = Place::of("fund").await;
    let (id, secret) = token("fund").await;
    let bearer = format!("Authorization: Bearer {secret}");
    let cookie = format!("Cookie: ringfence_preview={}", place.token);
    for open in [false, true] {
        place.preview(PORT, Some(open)).await;
        for (target, host) in forms(&place.sandbox.id) {
            for fields in
                [vec![bearer.as_str()], vec![bearer.as_str(), &place.header()], vec![bearer.as_str(), &cookie]]
            {
                let answer = ask("GET", &target, &host, &fields).await;
                assert_eq!(answer.status, 403, "{fields:?}: {answer:?}");
            }
            // The control: a bearer of the program's own comes to it.
            let own = ask("GET", &target, &host, &[&place.header(), "Authorization: Bearer rf_its-own"]).await;
            assert!(own.status == 200 && own.text().contains("Bearer rf_its-own"), "{own:?}");
        }
    }
    assert!(!place.heads().await.contains(&secret), "the program has seen the token");
    place.sandbox.delete().await;
    revoke(id).await;
}
