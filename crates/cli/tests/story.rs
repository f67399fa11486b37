//! Stories of sandboxes of a real daemon: what really happened is in them, what a sandbox writes stays in its place, and a changed entry
//! is named.

mod common;
#[path = "gate/exchange.rs"]
mod exchange;
#[path = "gate/scene.rs"]
mod scene;
#[path = "evidence/tamper.rs"]
mod tamper;
#[path = "gate/websocket.rs"]
mod websocket;

use std::{collections::BTreeMap, fs, path::Path, process::Output};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, EnvVars, SandboxRequest};
use serde_json::{Value, json};

use crate::{exchange::venue, scene::Scene};

/// Two requests, one of them with a path that would draw on a terminal and a page; and three orders, of which one is too large.
const PROGRAM: &str = r#"
import http.client, json, os, ssl
def ask(host, port, method, path, body=None):
    connection = http.client.HTTPSConnection(host, port, timeout=20)
    head = {"Content-Type": "application/json", "APCA-API-KEY-ID": os.environ["APCA_API_KEY_ID"],
            "APCA-API-SECRET-KEY": os.environ["APCA_API_SECRET_KEY"]} if "alpaca" in host else {"X-Api-Key": os.environ["STORY_KEY"]}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), head)
        answer = connection.getresponse()
        text = answer.read()
        print(host, method, answer.status, flush=True)
        return text
    except Exception as error:
        print(host, method, type(error).__name__, flush=True)
port = int(os.environ["PORT"])
ask("api.ringfence.test", port, "GET", "/hello")
ask("api.ringfence.test", port, "GET", "/&copy;*alert*")
ask("elsewhere.example.com", 443, "GET", "/")
order = {"symbol": "AAPL", "qty": "3", "side": "buy", "type": "market", "time_in_force": "day"}
ask("paper-api.alpaca.markets", 443, "POST", "/v2/orders", order)
ask("paper-api.alpaca.markets", 443, "POST", "/v2/orders", {**order, "qty": "100000"})
"#;

/// The operator's secret.
const VALUE: &str = "the-value-of-the-storys-key";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The story as JSON, and whether the command says that all of it holds.
#[track_caller]
fn story(home: &Path, sandbox: &str) -> (Value, bool) {
    let output = common::ringfence(home, &["story", sandbox, "--json"]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", said(&output));
    let story = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    (story, output.status.success())
}

fn events<'a>(story: &'a Value, name: &str) -> Vec<&'a Value> {
    story["events"].as_array().expect("events").iter().filter(|event| event["event"] == name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_is_gone_has_its_story_and_a_changed_entry_is_named() {
    let scene = Scene::new().await;
    let port = scene.serve("api.ringfence.test").await;
    let vars = [
        ("APCA_API_KEY_ID", "PKANYKEYATALL0123456".to_owned()),
        ("APCA_API_SECRET_KEY", "anySecretOf40LettersAndDigits0123456789a".to_owned()),
        ("PORT", port.to_string()),
    ];
    let vars: BTreeMap<String, String> = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let (home, of_server) = (scene.home.clone(), port.to_string());
    tokio::task::spawn_blocking(move || {
        let binding = ["--host", "api.ringfence.test", "--port", of_server.as_str(), "--header", "X-Api-Key"];
        let set = common::ringfence_with(&home, &[&["secret", "set", "STORY_KEY"], &binding[..]].concat(), VALUE);
        assert!(set.status.success(), "{}", said(&set));
    })
    .await
    .expect("the secret is set");
    let network = json!({"allow": [{"host": "api.ringfence.test", "ports": [port]}]});
    let request = CreateRequest {
        template: "python".into(),
        name: Some("told".into()),
        env_vars: EnvVars::new(vars),
        network: Some(serde_json::from_value(network).expect("a policy")),
        secrets: vec!["STORY_KEY".into()],
        ..CreateRequest::default()
    };
    let made = scene.api.create(Actor::Agent, request, None).await.expect("a sandbox");
    let id = made.sandbox_id.to_string();
    let run = scene.run(&made.sandbox_id, PROGRAM).await;
    assert_eq!(
        run.output.lines().filter(|line| line.starts_with("api.ringfence.test GET 200")).count(),
        2,
        "{}\n{}",
        run.output,
        run.stderr
    );
    assert!(run.output.contains("paper-api.alpaca.markets POST 200"), "{}\n{}", run.output, run.stderr);
    assert!(run.output.contains("paper-api.alpaca.markets POST 403"), "{}\n{}", run.output, run.stderr);
    let (_, orders) = venue(&scene.home, "GET", "/v2/orders?status=all", "");
    assert_eq!(orders.as_array().map(Vec::len), Some(1), "what the exchange has: {orders}");
    let failing = scene.run(&made.sandbox_id, "raise SystemExit(7)").await;
    assert_eq!(failing.exit_code, Some(7));
    scene.api.delete(Actor::Operator, SandboxRequest { sandbox_id: id.clone() }).await.expect("it is deleted");
    // A second of the same name, that lives: by its name it goes before, by its id the first one is found.
    let second = CreateRequest { template: "python".into(), name: Some("told".into()), ..CreateRequest::default() };
    let second = scene.api.create(Actor::Operator, second, None).await.expect("a sandbox").sandbox_id.to_string();
    let home = scene.home.clone();
    let told = tokio::task::spawn_blocking(move || {
        let (of_name, _) = story(&home, "told");
        assert_eq!(of_name["sandbox"], second.as_str());
        assert_eq!(of_name["namesakes"], json!([id]));
        check(&home, &id);
        id
    })
    .await
    .expect("it is told");

    // Somebody who owns the database changes what was decided, with its hash.
    tokio::task::spawn_blocking(move || {
        common::stop(&scene.home);
        let changed = change_a_decision(&scene.home, &told);
        let (story, holds) = story(&scene.home, &told);
        assert!(!holds, "{story}");
        let fault = story["chains"][1]["fault"].as_str().expect("the gateway's chain is broken");
        assert!(
            fault.contains(&format!("entry {}", changed + 1)),
            "{fault}: its hash is not what the next entry names"
        );
        let output = common::ringfence(&scene.home, &["story", &told]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("!! THE GATE CHAIN IS BROKEN"), "{}", said(&output));
        // And a result that is not the one of the program that was begun.
        change_a_program(&scene.home, &told);
        let output = common::ringfence(&scene.home, &["story", &told]);
        assert!(said(&output).contains("has another code hash than the row"), "{}", said(&output));
    })
    .await
    .expect("it is seen");
}

#[track_caller]
fn check(home: &Path, id: &str) {
    let (told, holds) = story(home, id);
    assert!(holds, "{told:#}");
    assert_eq!(told["row"]["status"], "deleted");
    assert_eq!(events(&told, "sandbox.create").len(), 1);
    assert_eq!(events(&told, "sandbox.create")[0]["actor"], "agent");
    let programs = events(&told, "execution.start");
    assert_eq!(programs.len(), 2, "{programs:?}");
    let digest = tempfile::NamedTempFile::new().expect("a file");
    fs::write(digest.path(), PROGRAM).expect("it is written");
    let digest = common::succeeded(std::process::Command::new("sha256sum").arg(digest.path()), "sha256sum");
    let digest = digest.split_whitespace().next().expect("a digest");
    assert_eq!(programs[0]["detail"]["code_sha256"], digest, "what ran is what was sent");
    assert_eq!(programs[0]["execution"]["exit_code"], 0);
    assert_eq!(programs[1]["execution"]["exit_code"], 7);
    let requests: Vec<&Value> =
        events(&told, "egress.allow").into_iter().filter(|event| event["detail"]["path"] == "/hello").collect();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["settled"]["status"], 200);
    assert_eq!(requests[0]["detail"]["method"], "GET");
    assert_eq!(requests[0]["detail"]["secrets"], json!(["STORY_KEY"]), "by name");
    assert!(
        events(&told, "egress.refuse").iter().any(|event| event["detail"]["host"] == "elsewhere.example.com"),
        "{told:#}"
    );
    let submitted = |name: &str| -> Vec<&Value> {
        events(&told, name).into_iter().filter(|event| event["detail"]["trade"]["kind"] == "submit").collect()
    };
    let (sent, refused) = (submitted("egress.allow"), submitted("egress.refuse"));
    assert!(sent.len() == 1 && refused.len() == 1, "{told:#}");
    assert_eq!(sent[0]["detail"]["trade"]["intent"]["symbol"], "AAPL");
    assert!(sent[0]["order"]["state"].is_string(), "{:#}", sent[0]);
    assert_eq!(refused[0]["detail"]["trade"]["rule"], "max_notional_per_order");
    assert_eq!(events(&told, "sandbox.delete").len(), 1);
    let times: Vec<u64> = told["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["chain"] == "engine")
        .map(|event| event["at_ms"].as_u64().expect("a time"))
        .collect();
    assert!(times.is_sorted());
    assert_eq!(told["usage"]["executions"], 2);
    assert!(told["usage"]["cpu_time_us"].as_u64() > Some(0), "{told:#}");
    assert!(told["usage"]["traffic"]["bytes_down"].as_u64() > Some(0), "{told:#}");
    // By the prices where none are configured: 2 to make it, and 1 for each started minute.
    let cost = &told["usage"]["cost"];
    let minutes = cost["running_ms"].as_u64().expect("a time").div_ceil(60_000);
    assert!(minutes >= 1, "{told:#}");
    let expected = (json!(2), json!(minutes), json!(minutes + 2));
    assert_eq!(
        (&cost["create"], &cost["running"], &cost["credits"]),
        (&expected.0, &expected.1, &expected.2),
        "{told:#}"
    );

    let output = common::ringfence(home, &["story", id]);
    let text = String::from_utf8(output.stdout).expect("text");
    for part in ["the engine's chain holds", "the gate's chain holds", digest, "max_notional_per_order", "exit code 7"]
    {
        assert!(text.contains(part), "no {part}:\n{text}");
    }
    assert!(text.contains("with the secrets STORY_KEY"), "{text}");
    assert!(!text.contains("anySecretOf40Letters") && !text.contains(VALUE), "values are nowhere");
    let dir = tempfile::tempdir().expect("a directory");
    for (name, raw) in [("a.html", "&copy;"), ("a.md", "*alert*")] {
        let path = dir.path().join(name);
        let path = path.to_str().expect("UTF-8");
        let output = common::ringfence(home, &["story", id, "--out", path]);
        assert!(output.status.success(), "{}", said(&output));
        let page = fs::read_to_string(path).expect("it is written");
        assert!(page.contains("alert"), "the control: the path is told");
        assert!(!page.contains(raw), "{page}");
        assert!(text.contains(raw), "the control: on a terminal it is harmless");
        assert!(!common::ringfence(home, &["story", id, "--out", path]).status.success(), "nothing is overwritten");
    }
    let nobody = common::ringfence(home, &["story", "nobody"]);
    assert!(nobody.status.code() == Some(1) && said(&nobody).contains("no sandbox has"), "{}", said(&nobody));
}

/// Changes the host of an allowed request, and its hash with it. Its number.
fn change_a_decision(home: &Path, sandbox: &str) -> u64 {
    let database = home.join("gate/gate.db");
    let chain = ringfence_store::ChainFile::open(&database, ringfence_store::DatabaseKind::Gate).expect("it opens");
    let all = chain.entries_about(sandbox, 0, 1000).expect("it is read");
    let told = all.into_iter().find(|told| told.entry.detail.contains("/hello")).expect("the request");
    let mut entry = told.entry;
    entry.detail = entry.detail.replace("/hello", "/other");
    let drop = ("DROP TRIGGER audit_is_not_changed", json!([]));
    let change = (
        "UPDATE audit SET detail = ?, hash = ? WHERE seq = ?",
        json!([entry.detail, format!("hex:{}", entry.computed()), entry.seq]),
    );
    assert_eq!(tamper::change(&database, &[drop, change]), 1);
    entry.seq
}

/// Gives an execution the code of another.
fn change_a_program(home: &Path, sandbox: &str) {
    let change = (
        "UPDATE execution SET code_sha256 = (SELECT code_sha256 FROM execution WHERE sandbox_id = ? AND exit_code = 7) \
         WHERE sandbox_id = ? AND exit_code = 0",
        json!([sandbox, sandbox]),
    );
    assert_eq!(tamper::change(&home.join("engine/engine.db"), &[change]), 1);
}
