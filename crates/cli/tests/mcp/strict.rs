//! The Inspector at its strictest, ten calls at once, and FastMCP's client, which checks every answer against the schema of its tool.

use std::{fs, process::Command};

use serde_json::{Value, json};

use super::{Inspector, inspector};
use crate::common::{BIN, clients, is_long, shared, succeeded, tcp, venv};

/// Calls of one load, of which ten are under way at any time.
const CALLS: u64 = 200;

/// How the Inspector reaches the daemon: by starting `ringfence mcp`, and over HTTP.
fn servers() -> [Vec<String>; 2] {
    let home = shared();
    let token = fs::read_to_string(home.join("run/token")).expect("the daemon listens on TCP");
    let header = format!("Authorization: Bearer {}", token.trim());
    let stdio = [BIN, "mcp", "--home", home.to_str().expect("plain")];
    let http = [&format!("http://{}/mcp", tcp()), "--transport", "http", "--header", &header];
    [stdio.map(str::to_owned).to_vec(), http.map(str::to_owned).to_vec()]
}

/// Every way in: both transports, sessions and the stateless era.
#[track_caller]
fn each_way(look: impl Fn(&Inspector, &[&str])) {
    let inspector = inspector();
    for server in servers() {
        for era in ["legacy", "modern"] {
            let mut way: Vec<&str> = server.iter().map(String::as_str).collect();
            way.extend(["--protocol-era", era]);
            look(&inspector, &way);
        }
    }
}

/// Calls a tool `CALLS` times, ten at once; what became of them.
#[track_caller]
fn load(inspector: &Inspector, way: &[&str], tool: &str, arguments: &Value) -> Value {
    let (calls, arguments) = (CALLS.to_string(), arguments.to_string());
    let call = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", &arguments];
    let load = ["--load", "--load-concurrency", "10", "--load-requests", &calls, "--format", "json"];
    let found = inspector.ask(way, &[&call[..], &load[..]].concat())["result"].clone();
    println!("{} {tool}: {found}", way.last().expect("an era"));
    assert_eq!((&found["requests"], &found["concurrency"]), (&json!(CALLS), &json!(10)), "{found}");
    found
}

#[test]
fn the_inspector_is_content_at_its_strictest() {
    if !is_long("the MCP Inspector at its strictest") {
        return;
    }
    // It ends with 6 where a schema is one that some client does not take.
    each_way(|inspector, way| {
        let listed = inspector.ask(way, &["--method", "tools/list", "--strict"]);
        assert!(listed["tools"].as_array().is_some_and(|tools| tools.len() >= 40), "{listed}");
    });
}

#[test]
fn ten_calls_at_once_are_all_answered() {
    if !is_long("the MCP Inspector's load") {
        return;
    }
    let [_, http] = servers();
    let http: Vec<&str> = http.iter().map(String::as_str).collect();
    let call = |tool: &str, arguments: &str| {
        let method = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", arguments];
        inspector().ask(&http, &method)["structuredContent"].clone()
    };
    let made = call("sandbox_create", r#"{"template": "python", "timeout": 600}"#);
    let named = json!({"sandbox_id": made["sandbox_id"]});
    let code = json!({"sandbox_id": made["sandbox_id"], "code": "print(6 * 7)"});
    each_way(|inspector, way| {
        for (tool, arguments) in [("sandbox_status", &named), ("sandbox_execute", &code)] {
            let found = load(inspector, way, tool, arguments);
            assert_eq!((&found["ok"], &found["errorRate"]), (&json!(CALLS), &json!(0)), "{found}");
        }
    });
    // What is refused is not counted as answered: the figures above can be other than they are.
    let unknown = json!({"sandbox_id": "i0000000000unknown000"});
    let found = load(&inspector(), &http, "sandbox_status", &unknown);
    assert_eq!((&found["ok"], &found["toolErrors"]), (&json!(0), &json!(CALLS)), "{found}");
    assert_eq!(call("sandbox_delete", &named.to_string())["already_deleted"], false);
}

#[test]
fn fastmcp_uses_the_tools_and_ten_clients_do_at_once() {
    if !is_long("FastMCP's client") {
        return;
    }
    let home = shared();
    let (token, url) = (home.join("run/token"), format!("http://{}/mcp", tcp()));
    let mut command = Command::new(venv("fastmcp"));
    command.arg("-B").arg(clients().join("fast.py")).args(["--url", &url, "--token-file"]).arg(token);
    command.args(["--stdio", BIN, "mcp", "--home"]).arg(home);
    println!("{}", succeeded(&mut command, "FastMCP's client is not content"));
}
