//! MCP over HTTP as bytes, over a fake of the engine: both protocol eras, on both listeners.

mod fake;
mod host;

use hyper::Method;
use serde_json::{Value, json};

use host::{Answer, Host, TOKEN};

const ACCEPT: (&str, &str) = ("accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("content-type", "application/json");

/// The JSON-RPC message of an answer, be it plain or an event.
#[track_caller]
fn message(answer: &Answer) -> Value {
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).find(|d| !d.is_empty());
    serde_json::from_str(data.unwrap_or(&answer.body))
        .unwrap_or_else(|e| panic!("{e}: {} {}", answer.status, answer.body))
}

async fn post(host: &Host, headers: &[(&str, &str)], body: Value) -> Answer {
    let headers = [&[ACCEPT, JSON, ("host", "localhost")], headers].concat();
    host.send(host.connect_unix().await, Method::POST, "/mcp", &headers, body.to_string().into_bytes()).await
}

#[tokio::test]
async fn an_older_client_begins_with_initialize() {
    let host = Host::start().await;
    let client =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let bearer = format!("Bearer {TOKEN}");
    let headers = [ACCEPT, JSON, ("host", "localhost"), ("authorization", bearer.as_str())];
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}).to_string();
    let hello = host.send(host.connect_tcp().await, Method::POST, "/mcp", &headers, hello.into_bytes()).await;
    let result = message(&hello)["result"].clone();
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(result["serverInfo"]["name"], "ringfence");
    assert!(result["instructions"].as_str().expect("instructions").contains("sandbox_execute"));
    assert_eq!(hello.session, None, "nothing belongs to a session");
    // Also a client that kept one, from before a restart of an older daemon, is served.
    for session in [&[][..], &[("mcp-session-id", "forgotten")]] {
        let headers = [&[("mcp-protocol-version", "2025-11-25")], session].concat();
        let noted = post(&host, &headers, json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        assert_eq!(noted.status.as_u16(), 202, "{}", noted.body);
        let listed = post(&host, &headers, json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
        let tools = message(&listed)["result"]["tools"].clone();
        assert_eq!(tools.as_array().expect("tools").len(), 43);
    }
}

#[tokio::test]
async fn an_answer_without_signs_of_life_is_one_document() {
    let host = Host::start().await;
    let ask = async |meta: Value, version: &str| {
        let params = json!({"name": "system_health", "arguments": {}, "_meta": meta});
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let headers = [("mcp-protocol-version", version), ("mcp-method", "tools/call"), ("mcp-name", "system_health")];
        post(&host, &headers, request).await
    };
    let modern = json!({
        "progressToken": 1,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    for (meta, version) in [(json!({"progressToken": 1}), "2025-11-25"), (modern, "2026-07-28")] {
        let answer = ask(meta, version).await;
        assert_eq!(answer.json()["result"]["structuredContent"]["success"], true, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_stateless_request_needs_no_session() {
    let host = Host::start().await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    let ask = async |method: &str, name: Option<&str>, mut params: Value| {
        params["_meta"] = meta.clone();
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        headers.extend(name.map(|name| ("mcp-name", name)));
        message(&post(&host, &headers, json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await)
    };
    let found = ask("server/discover", None, json!({})).await;
    assert!(found["result"]["supportedVersions"].to_string().contains("2026-07-28"), "{found}");
    let call = json!({"name": "sandbox_execute", "arguments": {"sandbox_id": "nope", "code": "1"}});
    let refused = ask("tools/call", Some("sandbox_execute"), call).await["result"].clone();
    assert_eq!(refused["isError"], true);
    assert_eq!(refused["structuredContent"]["code"], "SANDBOX_NOT_FOUND");
    let text = refused["content"][0]["text"].as_str().expect("text");
    assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), refused["structuredContent"]);
    // Whichever way it comes, an MCP client is an agent.
    assert!(host.fake.actors().iter().all(|actor| actor.as_str() == "agent"));
}
