//! The dashboards of the templates `react` and `nextjs`: served from the beginning, with the bars of `/data`; what their tools do
//! inside; and what somebody sees who opens them in a browser.

mod common;

use std::fs;

use common::Sandbox;
use ringfence_engine::api::Sandboxes;
use ringfence_market::sample;
use ringfence_model::api::{Actor, CreateRequest, DownloadRequest, ExecuteRequest, ExecutionAnswer, ExecutionStatus};
use serde_json::{Value, json};

const SYMBOLS: [&str; 5] = ["AAPL", "FB", "GOOG", "IBM", "MSFT"];

async fn dashboard(template: &'static str) -> Sandbox {
    common::template(template).await;
    Sandbox::with(CreateRequest { template: template.into(), ..CreateRequest::default() }).await
}

async fn bash(sandbox: &Sandbox, code: &str) -> ExecutionAnswer {
    let request = ExecuteRequest {
        code: format!("set -e -o pipefail\n{code}"),
        language: Some("bash".into()),
        timeout: Some(240.0),
        ..ExecuteRequest::default()
    };
    let run = sandbox.request(request).await;
    assert_eq!(run.status, ExecutionStatus::Completed, "{code}\n{}\n{}", run.output, run.stderr);
    run
}

/// What a server in the sandbox answers, from as soon as it answers at all.
async fn answer(sandbox: &Sandbox, url: &str) -> Value {
    const CURL: &str =
        "curl --silent --show-error --fail --retry 120 --retry-delay 1 --retry-connrefused --output answer.json";
    bash(sandbox, &format!("{CURL} '{url}'")).await;
    let request = DownloadRequest { sandbox_id: sandbox.id.clone(), file_path: "/home/user/app/answer.json".into() };
    let file = sandbox.api.download(Actor::Operator, request).await.expect("it was just written");
    serde_json::from_str(&file.content.expect("text")).expect("JSON")
}

/// The bars of `/data`, as this program writes them there, in the form of the dashboards' answers.
fn bars(kind: &str, symbol: &str) -> Value {
    let dir = tempfile::tempdir().expect("a directory");
    sample::write(dir.path()).expect("the sample is written");
    let text = fs::read_to_string(dir.path().join(kind).join(format!("{symbol}.csv"))).expect("it is there");
    let bar = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields[at].parse::<f64>().expect("a number");
        json!({ "time": fields[0], "open": number(1), "high": number(2), "low": number(3), "close": number(4), "volume": number(5) })
    };
    text.lines().skip(1).map(bar).collect()
}

/// Whole numbers and fractions alike.
fn same(found: &Value, expected: &Value) -> bool {
    let (Some(found), Some(expected)) = (found.as_array(), expected.as_array()) else { return false };
    let number = |bar: &Value, name: &str| bar[name].as_f64();
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| {
            a["time"] == b["time"]
                && ["open", "high", "low", "close", "volume"]
                    .iter()
                    .all(|name| number(a, name).is_some() && number(a, name) == number(b, name))
        })
}

async fn serves_the_bars(sandbox: &Sandbox, server: &str) {
    let listed = answer(sandbox, &format!("{server}/api/symbols")).await;
    let listed: Vec<&str> =
        listed.as_array().expect("a list").iter().filter_map(|one| one["symbol"].as_str()).collect();
    assert_eq!(listed, SYMBOLS);
    for symbol in SYMBOLS {
        let found = answer(sandbox, &format!("{server}/api/bars?symbol={symbol}")).await;
        assert!(same(&found, &bars("adjusted", symbol)), "{symbol}: {}", found[0]);
    }
    let raw = answer(sandbox, &format!("{server}/api/bars?symbol=AAPL&kind=raw")).await;
    assert!(same(&raw, &bars("raw", "AAPL")) && !same(&raw, &bars("adjusted", "AAPL")), "{}", raw[0]);
}

/// A sandbox serves its dashboard by itself, and what that says of the bars is what `/data` holds.
async fn is_served_from_the_beginning(template: &'static str) {
    let sandbox = dashboard(template).await;
    serves_the_bars(&sandbox, "http://localhost:3000").await;
    let page = bash(&sandbox, "pwd; curl -sS http://localhost:3000/").await.output;
    assert!(page.starts_with("/home/user/app\n") && page.contains("<title>Trading dashboard</title>"), "{page}");
    let refused = "curl -sS -o /dev/null -w '%{http_code}' 'http://localhost:3000/api/bars?symbol=../../etc/passwd%00'";
    assert_eq!(bash(&sandbox, refused).await.output, "404");
}

#[tokio::test]
async fn the_dashboard_of_react_is_served_from_the_beginning_with_the_bars_of_data() {
    is_served_from_the_beginning("react").await;
}

#[tokio::test]
async fn the_dashboard_of_nextjs_is_served_from_the_beginning_with_the_bars_of_data() {
    is_served_from_the_beginning("nextjs").await;
}
