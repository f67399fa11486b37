//! The dashboards of the templates `react` and `nextjs`: served from the beginning, with the bars of `/data`; what their tools do
//! inside; and what somebody sees who opens them in a browser.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use common::{BIN, Sandbox, clients, is_long, shared, succeeded, target, venv};
use ringfence_engine::api::Sandboxes;
use ringfence_market::sample;
use ringfence_model::api::{
    Actor, CreateRequest, DownloadRequest, EnvVars, ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExecutionStatus,
    PreviewRequest,
};
use serde::Deserialize;
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
    let mut run = sandbox.request(request).await;
    // The answer comes before the end where that is far.
    while run.status == ExecutionStatus::Running {
        let later = ExecutionRequest { execution_id: run.execution_id.to_string(), wait: Some(30.0) };
        run = sandbox.api.execution(Actor::Operator, later).await.expect("it is known");
    }
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
    if !is_long("the template of Next.js") {
        return;
    }
    is_served_from_the_beginning("nextjs").await;
}

/// Changes the heading of the page in its sources.
const EDIT: &str = "sed -i 's/>Trading dashboard</>Trading board</' src/dashboard/Dashboard.tsx";

const VITE: (u16, &str) = (5173, "(setsid npx vite > /tmp/vite.log 2>&1 &)");
const NEXT_DEV: (u16, &str) = (3001, "(setsid npx next dev --port 3001 > /tmp/dev.log 2>&1 &)");

#[tokio::test]
async fn vite_does_inside_what_it_does_outside() {
    if !is_long("Vite") {
        return;
    }
    let sandbox = dashboard("react").await;
    bash(&sandbox, "npm run check").await;
    // What serves what was built serves what is built now.
    let built =
        bash(&sandbox, &format!("{EDIT}; npx vite build; cat dist/assets/*.js | grep -c 'Trading board'")).await;
    assert!(built.output.contains("built in") && built.output.ends_with("\n1\n"), "{}", built.output);
    let page = "curl -sS http://localhost:3000$(curl -sS http://localhost:3000/ | grep -o '/assets/[^\"]*.js')";
    assert!(bash(&sandbox, page).await.output.contains("Trading board"));
    bash(&sandbox, VITE.1).await;
    serves_the_bars(&sandbox, "http://localhost:5173").await;
    let source = "curl -sS http://localhost:5173/src/dashboard/Dashboard.tsx";
    assert!(bash(&sandbox, source).await.output.contains("Trading board"));
}

#[tokio::test]
async fn next_does_inside_what_it_does_outside() {
    if !is_long("Next.js") {
        return;
    }
    let sandbox = dashboard("nextjs").await;
    bash(&sandbox, NEXT_DEV.1).await;
    serves_the_bars(&sandbox, "http://localhost:3001").await;
    // Beside both servers, within the template's own limits.
    let built = bash(&sandbox, &format!("{EDIT}; npx next build; npm run check")).await;
    assert!(built.output.contains("/api/bars"), "{}", built.output);
    let again = "pkill -f 'next-server|next dev' || true; (setsid npx next start > /tmp/start.log 2>&1 &)";
    bash(&sandbox, again).await;
    serves_the_bars(&sandbox, "http://localhost:3000").await;
    let page = bash(&sandbox, "curl -sS http://localhost:3000/").await.output;
    assert!(page.contains("Trading board") && !page.contains("<h1>Trading dashboard"), "{page}");
}

/// What `dashboard.py` has seen.
#[derive(Debug, Deserialize)]
struct Page {
    symbols: BTreeMap<String, Seen>,
    /// Pixels of the named colours, in the dark.
    dark: BTreeMap<String, u64>,
    /// Its background: in the light, in the dark by choice, the same after it was loaded anew, and in the dark by the system.
    grounds: [String; 4],
    /// Whether the page followed a change of its sources without being loaded anew.
    follows: Option<bool>,
    complaints: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Seen {
    r#return: String,
    cagr: String,
    sharpe: String,
    drawdown: String,
    trades: String,
    bar: String,
    pixels: BTreeMap<String, u64>,
    /// Lengths of the drawn curves.
    curves: Vec<usize>,
}

/// The same strategy, by pandas in a sandbox of Python: the program of `ringfence demo`.
async fn computed(python: &Sandbox, symbol: &str) -> Value {
    let request = ExecuteRequest {
        code: include_str!("../demo/sma.py").into(),
        env_vars: EnvVars::new(BTreeMap::from([("SYMBOL".to_owned(), symbol.to_owned())])),
        ..ExecuteRequest::default()
    };
    let run = python.request(request).await;
    serde_json::from_str(&run.output).unwrap_or_else(|e| panic!("{e}: {}", run.stderr))
}

/// The page of a port, opened in Chromium by the address of its preview: figures as pandas has them, candles and curves drawn from
/// the bars, nothing that it complains of; with `edit`, it follows its sources.
async fn is_seen(sandbox: &Sandbox, port: u16, picture: &str, edit: bool) {
    let request = PreviewRequest { sandbox_id: sandbox.id.clone(), port: port.into(), ..PreviewRequest::default() };
    let url = sandbox.api.preview(Actor::Operator, request).await.expect("an address").url.expect("the daemon listens");
    let pictures = target().join("pictures");
    fs::create_dir_all(&pictures).expect("a directory");
    let (picture, id) = (pictures.join(picture), sandbox.id.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(venv("playwright"));
        command.arg("-B").arg(clients().join("dashboard.py")).args([&url, &picture.display().to_string()]);
        if edit {
            command.args([BIN, "--home"]).arg(shared()).args([
                "sandbox",
                "exec",
                &id,
                "--language",
                "bash",
                "-c",
                EDIT,
            ]);
        }
        succeeded(&mut command, "the page could not be looked at: install chromium (`make suites` does)")
    });
    let page: Page = serde_json::from_str(&looked.await.expect("it is looked at")).expect("JSON");
    assert_eq!(page.complaints, Vec::<String>::new());
    assert_eq!(page.follows, edit.then_some(true));
    assert_eq!(page.symbols.keys().collect::<Vec<_>>(), SYMBOLS);
    let python = Sandbox::new().await;
    let mut bars_seen = BTreeSet::new();
    for (symbol, seen) in &page.symbols {
        let expected = computed(&python, symbol).await;
        let figure = |name: &str| expected["strategy"][name].as_f64();
        let percent = |name: &str| figure(name).map_or("n/a".to_owned(), |value| format!("{:.2} %", value * 100.0));
        let ratio = |name: &str| figure(name).map_or("n/a".to_owned(), |value| format!("{value:.2}"));
        assert_eq!(seen.r#return.replace(',', ""), percent("total_return"), "{symbol}");
        assert_eq!((&seen.cagr, &seen.sharpe), (&percent("cagr"), &ratio("sharpe")), "{symbol}");
        assert_eq!(
            (&seen.drawdown, &seen.trades),
            (&percent("max_drawdown"), &expected["trades"].to_string()),
            "{symbol}"
        );
        let bars = bars("adjusted", symbol);
        let last = bars.as_array().and_then(|bars| bars.last()).expect("bars");
        let price = |name: &str| last[name].as_f64().map(|price| format!("{price:.2}")).expect("a price");
        let bar = ["open", "high", "low", "close"].map(price);
        let shown =
            format!("{} O {} H {} L {} C {} V ", last["time"].as_str().expect("a day"), bar[0], bar[1], bar[2], bar[3]);
        assert!(seen.bar.starts_with(&shown), "{symbol}: {} is not {shown}", seen.bar);
        assert!(
            seen.pixels.len() == 6 && seen.pixels.values().all(|count| *count > 200),
            "{symbol}: {:?}",
            seen.pixels
        );
        assert!(
            seen.curves.len() >= 3 && seen.curves.iter().all(|length| *length > 1000),
            "{symbol}: {:?}",
            seen.curves
        );
        bars_seen.insert(format!("{:?}", seen.pixels));
    }
    assert_eq!(bars_seen.len(), SYMBOLS.len(), "each symbol has a chart of its own");
    let [light, dark @ ..] = &page.grounds;
    assert!(dark.iter().all(|ground| ground != light && *ground == dark[0]), "{:?}", page.grounds);
    assert!(page.dark.values().all(|count| *count > 200), "{:?}", page.dark);
}

/// As it is served from the beginning, and as it is worked on.
async fn is_seen_in_a_browser(template: &'static str, (port, serve): (u16, &str)) {
    if !is_long("Chromium") {
        return;
    }
    let sandbox = dashboard(template).await;
    answer(&sandbox, "http://localhost:3000/api/symbols").await;
    is_seen(&sandbox, 3000, template, false).await;
    bash(&sandbox, serve).await;
    answer(&sandbox, &format!("http://localhost:{port}/api/symbols")).await;
    is_seen(&sandbox, port, &format!("{template}-dev"), true).await;
}

#[tokio::test]
async fn react_is_seen_in_a_browser_through_the_preview() {
    is_seen_in_a_browser("react", VITE).await;
}

#[tokio::test]
async fn nextjs_is_seen_in_a_browser_through_the_preview() {
    is_seen_in_a_browser("nextjs", NEXT_DEV).await;
}
