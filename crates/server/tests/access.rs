//! Roles, tools and projects over the real routes: who may do what, and that nothing of another project is found.

mod fake;
mod host;

use hyper::Method;
use ringfence_model::{Operation, Role};
use serde_json::{Value, json};

use fake::access::token;
use host::{Answer, Host, TOKEN};

const UNKNOWN: &str = "i00000000000000000000";

async fn ask(host: &Host, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("host", "localhost"), ("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    host.send(host.connect_tcp().await, method.parse().expect("a method"), path, &headers, body).await
}

async fn call(host: &Host, token: &str, name: &str, arguments: Value) -> Value {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("host", "localhost"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let request =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    let body = request.to_string().into_bytes();
    let answer = host.send(host.connect_tcp().await, Method::POST, "/mcp", &headers, body).await;
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).find(|d| !d.is_empty());
    serde_json::from_str(data.unwrap_or(&answer.body)).unwrap_or_else(|e| panic!("{e}: {}", answer.body))
}

async fn sandbox_of(host: &Host, project: &str) -> String {
    let (token, body) = (token(Role::Agent, project), json!({"template": "python", "name": "lab"}));
    let made = ask(host, &token, "POST", "/v1/sandboxes", &body).await;
    made.json()["sandbox_id"].as_str().expect("made").to_owned()
}

/// Every route about one sandbox, with what it is in the table of operations.
fn routes(id: &str) -> Vec<(Operation, &'static str, String, Value)> {
    let of = |rest: &str| format!("/v1/sandboxes/{id}{rest}");
    vec![
        (Operation::Status, "GET", of(""), Value::Null),
        (Operation::Logs, "GET", of("/logs"), Value::Null),
        (Operation::Configure, "POST", of("/configure"), json!({"timeout": 60})),
        (Operation::Execute, "POST", of("/execute"), json!({"code": "1"})),
        (Operation::Stop, "POST", of("/stop"), json!({})),
        (Operation::Pause, "POST", of("/pause"), json!({})),
        (Operation::Resume, "POST", of("/resume"), json!({})),
        (Operation::Upload, "PUT", of("/files"), json!({"file_path": "a", "content": "b"})),
        (Operation::Download, "GET", of("/files?path=a"), Value::Null),
        (Operation::Preview, "POST", of("/preview"), json!({"port": 80})),
        (Operation::ExportTemplate, "POST", of("/export"), json!({"template_name": "mine"})),
        (Operation::CloneSandbox, "POST", of("/clone"), json!({})),
        (Operation::AuditLog, "GET", format!("/v1/audit?sandbox_id={id}"), Value::Null),
        (Operation::Egress, "GET", format!("/v1/egress?sandbox_id={id}"), Value::Null),
        (Operation::TradeOrders, "GET", format!("/v1/trade/orders?sandbox_id={id}"), Value::Null),
        (Operation::TradeHalt, "POST", "/v1/trade/halt".into(), json!({"sandbox_id": id})),
        (Operation::Delete, "DELETE", of(""), Value::Null),
    ]
}

/// Routes about no sandbox.
fn others() -> Vec<(Operation, &'static str, &'static str, Value)> {
    vec![
        (Operation::List, "GET", "/v1/sandboxes", Value::Null),
        (Operation::Templates, "GET", "/v1/templates", Value::Null),
        (Operation::Health, "GET", "/v1/health", Value::Null),
        (Operation::Sweep, "POST", "/v1/sweeps", json!({"strategy": "sma_cross"})),
        (Operation::SweepList, "GET", "/v1/sweeps", Value::Null),
        (Operation::SwarmList, "GET", "/v1/swarms", Value::Null),
        (Operation::PipelineList, "GET", "/v1/pipelines", Value::Null),
        (Operation::Prune, "POST", "/v1/prune", json!({})),
        (Operation::AuditVerify, "POST", "/v1/audit/verify", json!({})),
        (Operation::SecretList, "GET", "/v1/secrets", Value::Null),
        (Operation::TradeModeSet, "PUT", "/v1/trade/mode", json!({"mode": "paper"})),
        (Operation::TradeResume, "POST", "/v1/trade/resume", json!({})),
        (Operation::CheckBalance, "GET", "/v1/credits", Value::Null),
        (Operation::Usage, "GET", "/v1/usage", Value::Null),
        (Operation::CreditGrant, "POST", "/v1/credits/grant", json!({"credits": 1})),
        (Operation::CreditBudget, "PUT", "/v1/credits/budget", json!({"unlimited": true})),
        (Operation::TokenList, "GET", "/v1/tokens", Value::Null),
        (Operation::TokenCreate, "POST", "/v1/tokens", json!({"name": "x", "role": "operator"})),
        (Operation::ProjectList, "GET", "/v1/projects", Value::Null),
        (Operation::StopDaemon, "POST", "/v1/stop", json!({})),
    ]
}

#[tokio::test]
async fn every_role_may_what_the_table_says() {
    for role in Role::ALL {
        for project in ["default", "fund"] {
            let host = Host::start().await;
            let id = sandbox_of(&host, project).await;
            let of_it = routes(&id).into_iter();
            let rest =
                others().into_iter().map(|(operation, method, path, body)| (operation, method, path.to_owned(), body));
            for (operation, method, path, body) in of_it.chain(rest) {
                let may = role.may(operation.needs());
                let answer = ask(&host, &token(role, project), method, &path, &body).await;
                let what = format!("{} {project} {method} {path}: {} {}", role.as_str(), answer.status, answer.body);
                if !may {
                    assert_eq!(answer.status.as_u16(), 403, "{what}");
                } else {
                    assert!(!answer.body.contains("is not for the role"), "{what}");
                    // What concerns one sandbox of the caller's own is never refused to who may do it.
                    let is_own = path.starts_with("/v1/sandboxes/") && operation != Operation::ExportTemplate;
                    assert!(!is_own || ![401, 403].contains(&answer.status.as_u16()), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_sandbox_of_another_project_is_one_that_there_is_not() {
    let host = Host::start().await;
    for (owner, other) in [("fund", "default"), ("default", "fund"), ("fund", "rival")] {
        let id = sandbox_of(&host, owner).await;
        for role in Role::ALL {
            for ((operation, method, path, body), (_, _, unknown, unknown_body)) in
                routes(&id).into_iter().zip(routes(UNKNOWN))
            {
                let theirs = ask(&host, &token(role, other), method, &path, &body).await;
                let nobodys = ask(&host, &token(role, other), method, &unknown, &unknown_body).await;
                let what = format!("{} of {other}: {}", role.as_str(), operation.name());
                assert_eq!(theirs.status, nobodys.status, "{what}");
                assert_eq!(theirs.body.replace(&id, UNKNOWN), nobodys.body, "{what}");
                if role.may(operation.needs()) {
                    assert_eq!(theirs.status.as_u16(), 404, "{what}: {}", theirs.body);
                }
            }
        }
        // The control: its own project's agent finds it.
        let own = ask(&host, &token(Role::Agent, owner), "GET", &format!("/v1/sandboxes/{id}"), &Value::Null).await;
        assert_eq!(own.status.as_u16(), 200, "{}", own.body);
    }
}

#[tokio::test]
async fn tools_are_scoped_as_routes_are() {
    let host = Host::start().await;
    let id = sandbox_of(&host, "fund").await;
    let status = async |token: &str, id: &str| call(&host, token, "sandbox_status", json!({"sandbox_id": id})).await;
    let theirs = status(&token(Role::Agent, "rival"), &id).await.to_string();
    let nobodys = status(&token(Role::Agent, "rival"), UNKNOWN).await.to_string();
    assert_eq!(theirs.replace(&id, UNKNOWN), nobodys);
    assert!(theirs.contains("SANDBOX_NOT_FOUND"), "{theirs}");
    let own = status(&token(Role::Agent, "fund"), &id).await.to_string();
    assert!(!own.contains("SANDBOX_NOT_FOUND"), "{own}");
    let by_auditor = call(&host, &token(Role::Auditor, "fund"), "sandbox_create", json!({"template": "python"})).await;
    assert!(by_auditor.to_string().contains("PERMISSION_DENIED"), "{by_auditor}");
    // An operator's token over MCP is an agent's.
    let open = json!({"template": "python", "network": "open"});
    let by_operator = call(&host, &token(Role::Operator, "fund"), "sandbox_create", open).await;
    assert!(by_operator.to_string().contains("PERMISSION_DENIED"), "{by_operator}");
}

#[tokio::test]
async fn an_agent_widens_nothing_and_names_no_project() {
    let host = Host::start().await;
    let agent = token(Role::Agent, "fund");
    let open = json!({"template": "python", "network": "open"});
    assert_eq!(ask(&host, &agent, "POST", "/v1/sandboxes", &open).await.status.as_u16(), 403);
    // The control: the operator may.
    assert_eq!(ask(&host, &token(Role::Operator, "fund"), "POST", "/v1/sandboxes", &open).await.status.as_u16(), 201);
    let named = json!({"template": "python", "project": "rival"});
    assert_eq!(ask(&host, &agent, "POST", "/v1/sandboxes", &named).await.status.as_u16(), 400);
    let bearer = format!("Bearer {agent}");
    let headers = [("host", "localhost"), ("authorization", bearer.as_str()), ("x-ringfence-project", "rival")];
    let narrowed = host.send(host.connect_tcp().await, Method::GET, "/v1/sandboxes", &headers, Vec::new()).await;
    assert_eq!(narrowed.status.as_u16(), 403, "{}", narrowed.body);
}

#[tokio::test]
async fn no_cookie_lets_anybody_in_and_wrong_tokens_are_slowed_down() {
    let host = Host::start().await;
    let cookie = format!("ringfence_token={TOKEN}; token={TOKEN}; authorization=Bearer {TOKEN}");
    let headers = [("host", "localhost"), ("cookie", cookie.as_str())];
    let answer = host.send(host.connect_tcp().await, Method::GET, "/v1/sandboxes", &headers, Vec::new()).await;
    assert_eq!(answer.status.as_u16(), 401, "{}", answer.body);
    let headers = [("host", "localhost")];
    let path = "/.well-known/oauth-protected-resource";
    let metadata = host.send(host.connect_tcp().await, Method::GET, path, &headers, Vec::new()).await;
    assert_eq!(metadata.json()["resource"], "http://localhost/mcp");
    let mut last = 0;
    for number in 0..40 {
        last = ask(&host, &format!("rf_wrong{number}"), "GET", "/v1/health", &Value::Null).await.status.as_u16();
    }
    assert_eq!(last, 429);
    // Who has a right one is not kept out.
    assert_eq!(ask(&host, TOKEN, "GET", "/v1/health", &Value::Null).await.status.as_u16(), 200);
}

#[tokio::test]
async fn who_is_refused_is_told_where_to_read_and_when_to_come_again() {
    let host = Host::start().await;
    let refused = ask(&host, "rf_wrong", "GET", "/v1/health", &Value::Null).await;
    assert_eq!(refused.status.as_u16(), 401);
    let read_on = "Bearer resource_metadata=\"http://localhost/.well-known/oauth-protected-resource\"";
    assert_eq!(refused.headers["www-authenticate"], read_on);
    let mut last = refused;
    for number in 0..40 {
        last = ask(&host, &format!("rf_wrong{number}"), "GET", "/v1/health", &Value::Null).await;
    }
    assert_eq!(last.status.as_u16(), 429);
    let wait = last.headers["retry-after"].to_str().expect("a text").parse::<u64>().expect("seconds");
    assert!((1..=2).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_token_over_the_unix_socket_says_who_comes() {
    let host = Host::start().await;
    let id = sandbox_of(&host, "fund").await;
    let path = format!("/v1/sandboxes/{id}");
    let status = async |secret: &str, method: &str, path: &str| {
        let bearer = format!("Bearer {secret}");
        let headers = [("authorization", bearer.as_str()), ("x-ringfence-actor", "operator")];
        host.raw_unix(method, path, &headers, "").await.status.as_u16()
    };
    assert_eq!(status(&token(Role::Agent, "rival"), "GET", &path).await, 404);
    assert_eq!(status(&token(Role::Auditor, "fund"), "DELETE", &path).await, 403);
    assert_eq!(status(&token(Role::Agent, "fund"), "GET", "/v1/tokens").await, 403);
    assert_eq!(status("rf_wrong", "GET", &path).await, 401);
    // The controls: its own project's agent, and the operator, who needs none.
    assert_eq!(status(&token(Role::Agent, "fund"), "GET", &path).await, 200);
    assert_eq!(host.raw_unix("GET", "/v1/tokens", &[], "").await.status.as_u16(), 200);
}
