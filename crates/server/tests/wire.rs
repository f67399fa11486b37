//! The wire, over a fake of the engine: what comes in and what goes out, not what sandboxes do.

mod fake;
mod host;

use hyper::{Method, StatusCode};
use ringfence_model::api::Actor;
use serde_json::json;

use host::{Answer, Host, TOKEN};

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, word: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], code, "{}", answer.body);
    let message = error["message"].as_str().expect("a sentence");
    assert!(message.contains(word), "{message}");
    assert_eq!(answer.build.as_deref(), Some("test"), "every answer says which build gave it");
}

#[tokio::test]
async fn a_sandbox_is_made_and_used_over_rest() {
    let host = Host::start().await;
    let made = host.unix("POST", "/v1/sandboxes", json!({"template": "python", "name": "my box"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let id = made.json()["sandbox_id"].as_str().expect("an id").to_owned();
    for (method, path, body) in [
        ("GET", format!("/v1/sandboxes/{id}"), json!(null)),
        ("GET", "/v1/sandboxes/my%20box".into(), json!(null)),
        ("GET", "/v1/sandboxes?status=running&limit=5".into(), json!(null)),
        ("POST", format!("/v1/sandboxes/{id}/configure"), json!({"env_vars": {"A": 1}})),
        ("POST", format!("/v1/sandboxes/{id}/execute"), json!({"code": "1", "sandbox_id": id})),
        ("POST", format!("/v1/sandboxes/{id}/pause"), json!(null)),
        ("POST", format!("/v1/sandboxes/{id}/resume"), json!(null)),
        ("POST", format!("/v1/sandboxes/{id}/stop"), json!(null)),
        ("PUT", format!("/v1/sandboxes/{id}/files"), json!({"file_path": "a b", "content": "x"})),
        ("GET", format!("/v1/sandboxes/{id}/files?path=a%20b"), json!(null)),
        ("GET", format!("/v1/sandboxes/{id}/logs?lines=1&source=system"), json!(null)),
        ("GET", "/v1/templates".into(), json!(null)),
        ("GET", "/v1/templates/python".into(), json!(null)),
        ("DELETE", "/v1/templates/mine".into(), json!(null)),
        ("GET", "/v1/audit?event=sandbox.create".into(), json!(null)),
        ("POST", "/v1/audit/verify".into(), json!({})),
        ("GET", "/v1/egress?after=3&limit=5&sandbox_id=my%20box".into(), json!(null)),
        ("PUT", "/v1/secrets/KEY".into(), json!({"value": "v", "hosts": ["example.com"], "placements": ["bearer"]})),
        ("GET", "/v1/secrets".into(), json!(null)),
        ("DELETE", "/v1/secrets/KEY".into(), json!(null)),
        ("GET", "/v1/health".into(), json!(null)),
        ("DELETE", format!("/v1/sandboxes/{id}"), json!(null)),
    ] {
        let answer = host.unix(method, &path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {}", answer.body);
        assert_eq!(answer.json()["success"], true, "{method} {path}");
    }
}

#[tokio::test]
async fn swarms_and_tasks_are_asked_for_over_rest() {
    let host = Host::start().await;
    let made = host.unix("POST", "/v1/swarms", json!({"topology": "star", "maxAgents": 3})).await;
    assert_eq!((made.status, &made.json()["topology"]), (StatusCode::CREATED, &json!("star")));
    let (id, task) = ("swarm_aaaaaaaaaaaaaaaa", "task_aaaaaaaaaaaaaaaa");
    for (method, path, body, name, value) in [
        ("GET", "/v1/swarms?status=all&limit=5".to_owned(), json!(null), "count", json!(0)),
        ("GET", format!("/v1/swarms/{id}"), json!(null), "swarm_id", json!(id)),
        // The newest active one, whichever that is.
        ("GET", "/v1/swarms/newest".into(), json!(null), "swarm_id", json!("swarm_newest0000000000")),
        ("POST", format!("/v1/swarms/{id}/agents"), json!({"type": "risk", "name": "x"}), "swarm_id", json!(id)),
        ("POST", format!("/v1/swarms/{id}/scale"), json!({"target_agents": 7}), "message", json!("7")),
        ("GET", format!("/v1/tasks/{task}?wait=1"), json!(null), "status", json!("completed")),
        ("GET", format!("/v1/tasks/{task}"), json!(null), "status", json!("running")),
        ("DELETE", format!("/v1/tasks/{task}"), json!(null), "status", json!("cancelled")),
        ("DELETE", format!("/v1/swarms/{id}"), json!(null), "status", json!("destroyed")),
    ] {
        let answer = host.unix(method, &path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {}", answer.body);
        assert_eq!(answer.json()[name], value, "{method} {path}: {}", answer.body);
    }
    let begun = host.unix("POST", "/v1/tasks", json!({"task": "backtest", "inputs": [{"symbol": "AAPL"}]})).await;
    assert_eq!((begun.status, &begun.json()["status"]), (StatusCode::CREATED, &json!("running")));
    for (method, path, body, status, code, word) in [
        ("POST", "/v1/swarms", json!({"topology": "grid"}), 400, "INVALID_ARGUMENT", "topology"),
        ("POST", "/v1/swarms", json!({"topology": "mesh", "agents": 3}), 400, "INVALID_ARGUMENT", "`agents`"),
        ("GET", "/v1/swarms/", json!(null), 404, "SWARM_NOT_FOUND", "empty"),
        ("GET", "/v1/swarms/nobody", json!(null), 404, "SWARM_NOT_FOUND", "nobody"),
        ("GET", "/v1/tasks/nobody", json!(null), 404, "TASK_NOT_FOUND", "nobody"),
        ("POST", "/v1/tasks", json!({"task": "x", "inputs": ["text"]}), 400, "INVALID_ARGUMENT", "inputs"),
        ("POST", "/v1/tasks", json!({}), 400, "INVALID_ARGUMENT", "`task`"),
    ] {
        refused(&host.unix(method, path, body).await, status, code, word);
    }
}

#[tokio::test]
async fn trading_is_told_to_all_and_changed_by_the_operator() {
    let host = Host::start().await;
    let made = host.unix("POST", "/v1/sandboxes", json!({"template": "python", "name": "box"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let live = json!({"mode": "live", "until": "2026-01-02T04:00:00Z", "account": "live:a", "confirm": "live:a"});
    for (method, path, body, is_agents) in [
        ("GET", "/v1/trade/status?account=sim:a", json!(null), true),
        ("PUT", "/v1/trade/mode", live, false),
        ("GET", "/v1/trade/limits?sandbox_id=box", json!(null), true),
        ("PUT", "/v1/trade/limits", json!({"limits": {"max_open_orders": 5, "no_shorting": true}}), false),
        ("POST", "/v1/trade/limits/tighten", json!({"sandbox_id": "box", "tighten": {"max_open_orders": "4"}}), true),
        ("POST", "/v1/trade/halt", json!({"reason": "loop"}), true),
        ("POST", "/v1/trade/reduce", json!({}), false),
        ("POST", "/v1/trade/resume", json!(null), false),
        ("GET", "/v1/trade/orders?open=true&limit=5", json!(null), true),
        ("GET", "/v1/trade/positions", json!(null), true),
        ("GET", "/v1/trade/holds", json!(null), true),
        ("POST", "/v1/trade/holds/4/approve", json!(null), false),
        ("POST", "/v1/trade/holds/4/refuse", json!(null), false),
    ] {
        let answer = host.unix(method, path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {}", answer.body);
        assert_eq!(answer.json()["success"], true, "{method} {path}");
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("host", "localhost"), ("authorization", bearer.as_str())];
        // An agent is refused before its body is read.
        let body = if is_agents { body.to_string().replace("null", "") } else { "not even JSON".to_owned() };
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = host.send(host.connect_tcp().await, method, path, &headers, body.into_bytes()).await;
        if is_agents {
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        } else {
            refused(&answer, 403, "PERMISSION_DENIED", "operator");
        }
    }
    let status = host.unix("GET", "/v1/trade/status", json!(null)).await.json();
    assert_eq!((&status["mode"], &status["until"]), (&json!("live"), &json!("2026-01-02T04:00:00Z")));
    for (method, path, body, word) in [
        ("PUT", "/v1/trade/limits", json!({"limits": {}}), "limits"),
        ("PUT", "/v1/trade/limits", json!({"limits": {"max_everything": 1}}), "max_everything"),
        ("POST", "/v1/trade/limits/tighten", json!({"tighten": {"max_open_orders": 1}}), "sandbox_id"),
        ("POST", "/v1/trade/halt", json!({"flatten": true, "sandbox_id": "box"}), "flatten"),
        ("POST", "/v1/trade/holds/four/approve", json!(null), "digits"),
        ("GET", "/v1/trade/orders?limit=0", json!(null), "limit"),
        ("GET", "/v1/trade/orders?all=true", json!(null), "all"),
    ] {
        refused(&host.unix(method, path, body).await, 400, "INVALID_ARGUMENT", word);
    }
}

#[tokio::test]
async fn templates_are_exported_and_moved_over_rest() {
    let host = Host::start().await;
    let export = json!({"template_name": "mine", "tags": ["momentum"]});
    let made = host.unix("POST", "/v1/sandboxes/box/export", export).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!((&made.json()["template_id"], &made.json()["warnings"][0]), (&json!("mine:1"), &json!("momentum")));
    let wrong = host.unix("POST", "/v1/sandboxes/box/export", json!({"template_name": "../mine"})).await;
    refused(&wrong, 400, "INVALID_ARGUMENT", "template_name");
    let archive = host.unix("GET", "/v1/templates/mine/archive", json!(null)).await;
    assert_eq!((archive.status, &archive.body[..]), (StatusCode::OK, "archive of mine"));
    let read = host.raw_unix("POST", "/v1/template-archives?template_name=other", &[], "0123456789").await;
    assert_eq!(read.status, StatusCode::CREATED, "{}", read.body);
    assert_eq!(read.json()["template"]["size_bytes"], 11, "one of the fake's own, and ten that came");
    let wrong = host.raw_unix("POST", "/v1/template-archives?as=other", &[], "0123456789").await;
    refused(&wrong, 400, "INVALID_ARGUMENT", "as");
    let clone = host.unix("POST", "/v1/sandboxes/box/clone", json!({"name": "copy"})).await;
    refused(&clone, 409, "SANDBOX_NOT_RUNNING", "runs");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_json() {
    let host = Host::start().await;
    host.unix("POST", "/v1/sandboxes", json!({"template": "python", "name": "box"})).await;
    let check = |method: &'static str, path: &'static str, body: &'static str| host.raw_unix(method, path, &[], body);
    refused(&check("GET", "/v1/nothing", "").await, 404, "INVALID_ARGUMENT", "/v1/nothing");
    refused(&check("DELETE", "/v1/health", "").await, 405, "INVALID_ARGUMENT", "DELETE");
    refused(&check("GET", "/v1/sandboxes/nope", "").await, 404, "SANDBOX_NOT_FOUND", "nope");
    refused(&check("DELETE", "/v1/sandboxes/", "").await, 404, "SANDBOX_NOT_FOUND", "empty");
    refused(&check("POST", "/v1/sandboxes//execute", "{}").await, 404, "SANDBOX_NOT_FOUND", "no sandbox");
    refused(&check("GET", "/v1/executions/?wait=1", "").await, 404, "EXECUTION_NOT_FOUND", "empty");
    refused(&check("GET", "/v1/templates/", "").await, 404, "TEMPLATE_NOT_FOUND", "empty");
    refused(&check("GET", "/v1/executions/nope", "").await, 404, "EXECUTION_NOT_FOUND", "nope");
    refused(&check("GET", "/v1/sandboxes?limit=x", "").await, 400, "INVALID_ARGUMENT", "limit");
    refused(&check("GET", "/v1/sandboxes?limt=1", "").await, 400, "INVALID_ARGUMENT", "`limt`");
    refused(&check("GET", "/v1/sandboxes?status=gone", "").await, 400, "INVALID_ARGUMENT", "paused");
    refused(&check("GET", "/v1/sandboxes/box/files", "").await, 400, "INVALID_ARGUMENT", "path");
    refused(&check("GET", "/v1/sandboxes/%ff", "").await, 400, "INVALID_ARGUMENT", "UTF-8");
    let execute = "/v1/sandboxes/box/execute";
    refused(&check("POST", execute, "{").await, 400, "INVALID_ARGUMENT", "body");
    refused(&check("POST", execute, "").await, 400, "INVALID_ARGUMENT", "`code`");
    refused(&check("POST", execute, r#"{"code": 1}"#).await, 400, "INVALID_ARGUMENT", "`code`");
    refused(&check("POST", execute, r#"{"code": "", "code": ""}"#).await, 400, "INVALID_ARGUMENT", "twice");
    refused(&check("POST", execute, r#"{"code": "", "kode": ""}"#).await, 400, "INVALID_ARGUMENT", "`kode`");
    refused(&check("POST", execute, r#"{"code": "", "sandbox_id": "x"}"#).await, 400, "INVALID_ARGUMENT", "path");
    let secret = r#"{"code": "", "env_vars": "KEY=hunter2"}"#;
    assert!(!check("POST", execute, secret).await.body.contains("hunter2"));
    let broken =
        host.send(host.connect_unix().await, Method::POST, execute, &[], b"{\"code\": \"\xff\"}".to_vec()).await;
    refused(&broken, 400, "INVALID_ARGUMENT", "UTF-8");
    let packages = r#"{"template": "python", "install_packages": ["--index-url=x"]}"#;
    refused(&check("POST", "/v1/sandboxes", packages).await, 400, "INVALID_ARGUMENT", "install_packages");
    let swarm = r#"{"template": "python", "swarm_id": "s"}"#;
    refused(&check("POST", "/v1/sandboxes", swarm).await, 404, "SWARM_NOT_FOUND", "swarm_id");
}

#[tokio::test]
async fn what_a_sandbox_may_reach_is_judged() {
    let host = Host::start().await;
    let create = |network: serde_json::Value| json!({"template": "python", "network": network}).to_string();
    let agent = [("x-ringfence-actor", "agent")];
    let rules = json!({"allow": [{"host": "API.example.com", "ports": [443, "8000-8010"]}]});
    for network in [json!("none"), json!("packages"), rules] {
        let made = host.raw_unix("POST", "/v1/sandboxes", &agent, &create(network.clone())).await;
        assert_eq!(made.json()["network"], network, "{}", made.body);
    }
    let open = create(json!("open"));
    refused(&host.raw_unix("POST", "/v1/sandboxes", &agent, &open).await, 403, "PERMISSION_DENIED", "operator");
    assert_eq!(host.raw_unix("POST", "/v1/sandboxes", &[], &open).await.json()["network"], "open");
    for (network, word) in [
        (json!({"allow": [{"host": "*"}]}), "`allow[0]`"),
        (json!({"allow": [{"host": "a.example"}, {"host": "127.0.0.1"}]}), "`allow[1]`"),
        (json!({"allow": [{"host": "a.example", "ports": [0]}]}), "port"),
        (json!({"alow": []}), "`alow`"),
        (json!("everything"), "packages"),
    ] {
        refused(&host.raw_unix("POST", "/v1/sandboxes", &agent, &create(network)).await, 400, "INVALID_ARGUMENT", word);
    }
    let secrets = r#"{"template": "python", "secrets": ["A B"]}"#;
    refused(&host.raw_unix("POST", "/v1/sandboxes", &agent, secrets).await, 400, "INVALID_ARGUMENT", "`secrets`");
}

#[tokio::test]
async fn a_secret_is_never_repeated() {
    let host = Host::start().await;
    for (body, status) in [
        (json!({"value": "hunter2"}), 200),
        (json!({"value": ["hunter2"]}), 400),
        (json!({"value": "hunter2", "hosts": "hunter2"}), 400),
        (json!({"value": "hunter2", "hosts": ["example.com"]}), 400),
        (json!({"value": "hunter2", "name": "OTHER"}), 400),
        (json!({"valu": "hunter2"}), 400),
    ] {
        let answer = host.unix("PUT", "/v1/secrets/KEY", body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.body);
        assert!(!answer.body.contains("hunter2"), "{}", answer.body);
    }
    // Over TCP nobody is the operator, whatever a header says.
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("host", "localhost"), ("authorization", bearer.as_str()), ("x-ringfence-actor", "operator")];
    for (method, path) in
        [(Method::GET, "/v1/secrets"), (Method::PUT, "/v1/secrets/KEY"), (Method::DELETE, "/v1/secrets/KEY")]
    {
        let answer = host.send(host.connect_tcp().await, method, path, &headers, b"not even JSON".to_vec()).await;
        refused(&answer, 403, "PERMISSION_DENIED", "ringfence secret");
    }
}

#[tokio::test]
async fn the_sandbox_is_looked_up_before_other_arguments_are_judged() {
    let host = Host::start().await;
    for body in [json!({}), json!({"code": 5}), json!({"kode": "x"}), json!({"code": "", "timeout": -1})] {
        let answer = host.unix("POST", "/v1/sandboxes/nope/execute", body).await;
        refused(&answer, 404, "SANDBOX_NOT_FOUND", "nope");
    }
    for path in ["/v1/sandboxes/nope/files", "/v1/sandboxes/nope/logs?lines=x"] {
        refused(&host.unix("GET", path, json!(null)).await, 404, "SANDBOX_NOT_FOUND", "nope");
    }
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let host = Host::start().await;
    let body = format!(r#"{{"template": "{}"}}"#, "x".repeat(49 << 20));
    let answer = host.send(host.connect_unix().await, Method::POST, "/v1/sandboxes", &[], body.into_bytes()).await;
    refused(&answer, 413, "TOO_LARGE", "48 MiB");
}

#[tokio::test]
async fn tcp_wants_a_token_and_a_local_name() {
    let host = Host::start().await;
    let bearer = format!("Bearer {TOKEN}");
    let good = ("authorization", bearer.as_str());
    let port = format!("localhost:{}", host.port);
    for (name, headers, status) in [
        ("right", vec![("host", port.as_str()), good], 200),
        ("lower case", vec![("host", "127.0.0.1"), ("authorization", &format!("bearer {TOKEN}"))], 200),
        ("same origin", vec![("host", "[::1]:1"), good, ("origin", "http://localhost:3000")], 200),
        ("no token", vec![("host", "localhost")], 401),
        ("wrong token", vec![("host", "localhost"), ("authorization", "Bearer 0123456789abcdeX")], 401),
        ("half a token", vec![("host", "localhost"), ("authorization", "Bearer 0123456789")], 401),
        ("another scheme", vec![("host", "localhost"), ("authorization", &format!("Basic {TOKEN}"))], 401),
        ("another host", vec![("host", "evil.example"), good], 403),
        ("a longer host", vec![("host", "localhost.evil.example"), good], 403),
        ("no host", vec![good], 403),
        ("another origin", vec![("host", "localhost"), good, ("origin", "http://evil.example")], 403),
        ("no origin's origin", vec![("host", "localhost"), good, ("origin", "null")], 403),
        ("an origin in disguise", vec![("host", "localhost"), good, ("origin", "http://localhost@evil.example")], 403),
    ] {
        for path in ["/v1/health", "/mcp"] {
            let answer = host.send(host.connect_tcp().await, Method::GET, path, &headers, vec![]).await;
            assert_eq!(answer.build.as_deref(), Some("test"), "{name} {path}");
            if status == 200 && path == "/mcp" {
                // Let in; what MCP says to a bare GET is its own affair.
                assert!(!matches!(answer.status.as_u16(), 401 | 403), "{name} {path}");
            } else {
                assert_eq!(answer.status.as_u16(), status, "{name} {path}: {}", answer.body);
            }
            assert!(!answer.body.contains(TOKEN));
        }
    }
}

#[tokio::test]
async fn the_actor_is_told_by_the_way_in() {
    let host = Host::start().await;
    let bearer = format!("Bearer {TOKEN}");
    let tcp = [("host", "localhost"), ("authorization", bearer.as_str()), ("x-ringfence-actor", "operator")];
    let made = host.unix("POST", "/v1/sandboxes", json!({"template": "python", "name": "x"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    host.raw_unix("GET", "/v1/sandboxes/x", &[], "").await;
    host.raw_unix("GET", "/v1/sandboxes/x", &[("x-ringfence-actor", "agent")], "").await;
    host.send(host.connect_tcp().await, Method::GET, "/v1/sandboxes/x", &tcp, vec![]).await;
    assert_eq!(host.fake.actors(), [Actor::Operator, Actor::Operator, Actor::Agent, Actor::Agent]);
    let answer = host.raw_unix("GET", "/v1/health", &[("x-ringfence-actor", "root")], "").await;
    refused(&answer, 400, "INVALID_ARGUMENT", "x-ringfence-actor");
}

#[tokio::test]
async fn a_peer_whose_uid_is_not_listed_is_hung_up_on() {
    let host = Host::start_for(vec![]).await;
    let mut stream = tokio::net::UnixStream::connect(host.socket()).await.expect("the kernel accepts");
    let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn only_the_operator_ends_the_daemon() {
    let host = Host::start().await;
    let agent = host.raw_unix("POST", "/v1/stop", &[("x-ringfence-actor", "agent")], "").await;
    refused(&agent, 403, "PERMISSION_DENIED", "operator");
    let operator = host.raw_unix("POST", "/v1/stop", &[], "").await;
    assert_eq!(operator.json()["success"], true);
    host.ended().await;
}

#[tokio::test]
async fn a_build_answers_in_lines_of_which_the_last_is_the_result() {
    let host = Host::start().await;
    let answer = host.raw_unix("POST", "/v1/templates/python/build", &[], "").await;
    let lines: Vec<serde_json::Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["progress"]["message"], "installing");
    assert_eq!(lines.last().expect("a result")["result"]["success"], true);
    let answer = host.raw_unix("POST", "/v1/templates/broken/build", &[], "{}").await;
    assert!(answer.body.contains(r#"{"error":{"code":"PACKAGE_INSTALL_FAILED""#), "{}", answer.body);
    let ndjson = [("accept", "application/x-ndjson")];
    let answer = host.raw_unix("POST", "/v1/sandboxes", &ndjson, r#"{"template": "slow"}"#).await;
    assert_eq!(answer.body.lines().count(), 4, "{}", answer.body);
}
