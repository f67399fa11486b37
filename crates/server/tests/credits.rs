//! Credits over the real routes: everybody reads his own project's, and nobody widens it from within.

mod fake;
mod host;

use ringfence_model::Role;
use serde_json::{Value, json};

use fake::access::token;
use host::{Answer, Host, TOKEN};

async fn ask(host: &Host, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("host", "localhost"), ("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    host.send(host.connect_tcp().await, method.parse().expect("a method"), path, &headers, body).await
}

/// On the machine itself, narrowed to a project or not.
async fn operate(host: &Host, project: Option<&str>, method: &str, path: &str, body: &Value) -> Answer {
    let mut headers = vec![("host", "localhost"), ("content-type", "application/json")];
    headers.extend(project.map(|project| (ringfence_server::PROJECT_HEADER, project)));
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    host.send(host.connect_unix().await, method.parse().expect("a method"), path, &headers, body).await
}

#[tokio::test]
async fn nobody_widens_a_budget_from_within_its_project() {
    let host = Host::start().await;
    let (grant, budget) = (json!({"credits": 5.5}), json!({"unlimited": true}));
    let narrow = operate(&host, Some("fund"), "PUT", "/v1/credits/budget", &json!({"credits": 3})).await;
    assert_eq!((narrow.status.as_u16(), narrow.json()["balance"].as_f64()), (200, Some(3.0)), "{}", narrow.body);
    // Every role of a token of the project, an operator's too, and the installation's own token.
    for secret in Role::ALL.map(|role| token(role, "fund")).iter().map(String::as_str).chain([TOKEN]) {
        for body in [&grant, &json!({"credits": 5, "project": "fund"})] {
            let refused = ask(&host, secret, "POST", "/v1/credits/grant", body).await;
            assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);
        }
        let refused = ask(&host, secret, "PUT", "/v1/credits/budget", &budget).await;
        assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);
    }
    let left = operate(&host, Some("fund"), "GET", "/v1/credits", &Value::Null).await;
    assert_eq!((left.json()["balance"].as_f64(), left.json()["unlimited"].as_bool()), (Some(3.0), Some(false)));
    // The control: the operator of the machine does.
    let given = operate(&host, Some("fund"), "POST", "/v1/credits/grant", &grant).await;
    assert_eq!((given.status.as_u16(), given.json()["balance"].as_f64()), (200, Some(8.5)), "{}", given.body);
    let named = operate(&host, None, "POST", "/v1/credits/grant", &json!({"credits": 1, "project": "rival"})).await;
    assert_eq!(named.json()["project"], "rival", "{}", named.body);
    let other =
        operate(&host, Some("fund"), "POST", "/v1/credits/grant", &json!({"credits": 1, "project": "rival"})).await;
    assert_eq!(other.status.as_u16(), 403, "{}", other.body);
}

#[tokio::test]
async fn what_is_left_is_read_in_ones_own_project_alone() {
    let host = Host::start().await;
    operate(&host, None, "PUT", "/v1/credits/budget", &json!({"credits": 7, "project": "rival"})).await;
    for role in Role::ALL {
        let secret = token(role, "fund");
        for path in ["/v1/credits", "/v1/credits?project=fund"] {
            let own = ask(&host, &secret, "GET", path, &Value::Null).await;
            assert_eq!((own.status.as_u16(), own.json()["project"].as_str()), (200, Some("fund")), "{}", own.body);
        }
        let usage = ask(&host, &secret, "GET", "/v1/usage?by=project&days=7", &Value::Null).await;
        assert_eq!(usage.json()["rows"][0]["project"], "fund", "{}", usage.body);
        // One that there is and one that there is not are refused in the same words.
        for path in ["/v1/credits?project=", "/v1/usage?project="] {
            let there = ask(&host, &secret, "GET", &format!("{path}rival"), &Value::Null).await;
            let not_there = ask(&host, &secret, "GET", &format!("{path}nobody"), &Value::Null).await;
            assert_eq!((there.status.as_u16(), there.body), (403, not_there.body));
        }
        let unknown = ask(&host, &secret, "GET", "/v1/usage?sandbox_id=i00000000000000000000", &Value::Null).await;
        assert_eq!(unknown.status.as_u16(), 404, "{}", unknown.body);
    }
}

#[tokio::test]
async fn amounts_and_arguments_are_checked() {
    let host = Host::start().await;
    for (method, path, body) in [
        ("POST", "/v1/credits/grant", json!({"credits": 0})),
        ("POST", "/v1/credits/grant", json!({"credits": -5})),
        ("POST", "/v1/credits/grant", json!({"credits": 0.0001})),
        ("POST", "/v1/credits/grant", json!({"credits": "5"})),
        ("POST", "/v1/credits/grant", json!({"credits": 1e300})),
        ("POST", "/v1/credits/grant", json!({"credits": 1, "key": ""})),
        ("POST", "/v1/credits/grant", json!({"credits": 1, "more": 1})),
        ("PUT", "/v1/credits/budget", json!({})),
        ("PUT", "/v1/credits/budget", json!({"credits": -1})),
        ("PUT", "/v1/credits/budget", json!({"credits": 1, "unlimited": true})),
        ("GET", "/v1/usage?by=year", Value::Null),
        ("GET", "/v1/usage?days=0", Value::Null),
        ("GET", "/v1/usage?days=367", Value::Null),
        ("GET", "/v1/credits?project=../x", Value::Null),
    ] {
        let refused = operate(&host, None, method, path, &body).await;
        assert_eq!(refused.status.as_u16(), 400, "{path} {body}: {}", refused.body);
    }
}
