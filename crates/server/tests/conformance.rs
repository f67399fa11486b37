//! The protocol's own conformance suite (`@modelcontextprotocol/conformance`) against this server's listeners, guards and
//! transport: all that either revision requires, with the tools, resources and prompts that the suite asks for; and what it
//! asks of every server, with the product's own face. Needs npm and its registry the first time; `make suites` runs it.

#[path = "conformance/bearer.rs"]
mod bearer;
mod fake;
#[path = "conformance/fixture.rs"]
mod fixture;
#[path = "conformance/rounds.rs"]
mod rounds;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use ringfence_server::{Config, Services, Started, Stop, Tcp, Token, serve, serve_handler};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};

use fixture::Fixture;

const TOKEN: &str = "0123456789abcdef";
const SUITE: &str = "@modelcontextprotocol/conformance@0.2.0-alpha.12";
const NODE: &str = "node@22.23.3";

/// What serves at `/mcp`.
enum Face {
    Product,
    Fixture { has_sessions: bool },
}

/// A server that runs until the test ends; where the suite finds it.
async fn start(face: Face, dir: &TempDir) -> String {
    let fake = Arc::new(fake::Fake::default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let config = Config {
        build: "test".into(),
        unix: UnixListener::bind(dir.path().join("api.sock")).expect("a socket"),
        unix_uids: Vec::new(),
        tcp: Some(Tcp { listener, token: Token::new(TOKEN).expect("long enough") }),
        drain: Duration::ZERO,
    };
    let services = Services { sandboxes: fake.clone(), research: fake };
    let started = Started { services, previews: None, node: Arc::new(fake::node::FakeNode::default()) };
    match face {
        Face::Product => drop(tokio::spawn(serve(config, std::future::ready(started), Stop::default()))),
        Face::Fixture { has_sessions } => {
            let fixture = Fixture::default();
            drop(tokio::spawn(serve_handler(config, started, move || fixture.clone(), has_sessions, Stop::default())));
        }
    }
    format!("http://127.0.0.1:{}/mcp", bearer::listen(port, TOKEN).await)
}

/// What one run of the suite ended with.
struct Run {
    /// The checks of each scenario.
    checks: Vec<(String, Vec<Value>)>,
    /// Its own verdict.
    is_success: bool,
}

/// The suite, installed when it is not there.
struct Suite {
    node: PathBuf,
    dir: PathBuf,
}

impl Suite {
    fn install() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/conformance");
        let package = dir.join("node_modules/@modelcontextprotocol/conformance");
        if !package.join("dist/index.js").exists() {
            fs::create_dir_all(&dir).expect("a directory");
            let installed = Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
                .arg(&dir)
                .args([NODE, SUITE])
                .stdin(Stdio::null())
                .output()
                .expect("npm must be there: install Node.js");
            let said = String::from_utf8_lossy(&installed.stderr);
            assert!(installed.status.success(), "the suite could not be installed from registry.npmjs.org: {said}");
        }
        Self { node: dir.join("node_modules/.bin/node"), dir: package }
    }

    async fn run(&self, url: &str, arguments: &[&str]) -> Run {
        let results = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(&self.node);
        command.current_dir(results.path()).arg(self.dir.join("dist/index.js")).args(["server", "--url", url]);
        command.args(arguments).arg("--output-dir").arg(results.path()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
        let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let mut run = Vec::new();
        for entry in fs::read_dir(results.path()).expect("it is there") {
            let entry = entry.expect("readable");
            let Ok(checks) = fs::read_to_string(entry.path().join("checks.json")) else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            // `server-`, the scenario, and the time.
            let name = name.strip_prefix("server-").unwrap_or(&name);
            let name = name[..name.len().saturating_sub("-2026-11-27T01-56-34-469Z".len())].to_owned();
            run.push((name, serde_json::from_str(&checks).expect("JSON")));
        }
        assert!(!run.is_empty(), "nothing was run:\n{said}");
        Run { checks: run, is_success: output.status.success() }
    }

    /// What a revision requires of servers.
    fn required(&self, revision: &str) -> BTreeSet<String> {
        let text =
            fs::read_to_string(self.dir.join(format!("requirements/{revision}.yaml"))).expect("it is part of it");
        let of_servers =
            text.lines().skip_while(|line| *line != "server:").skip(1).take_while(|line| line.starts_with("  - "));
        of_servers.map(|line| line.trim_start_matches("  - ").to_owned()).collect()
    }
}

fn is_long() -> bool {
    let asked = std::env::var_os("RINGFENCE_LONG").is_some();
    if !asked {
        println!("SKIPPED: the conformance suite of MCP is a long one; `make suites` runs it");
    }
    asked
}

/// Each scenario of `wanted` was run, and no check of it failed or warned.
#[track_caller]
fn judge(run: &Run, wanted: &BTreeSet<String>) {
    let names: BTreeSet<_> = run.checks.iter().map(|(name, _)| name.clone()).collect();
    let missing: Vec<_> = wanted.difference(&names).collect();
    assert!(missing.is_empty(), "not run: {missing:?} of {names:?}");
    let mut passed = 0;
    let mut wrong = Vec::new();
    for (name, checks) in &run.checks {
        for check in checks {
            match check["status"].as_str() {
                Some("SUCCESS") => passed += 1,
                Some("FAILURE" | "WARNING") if wanted.contains(name) => wrong.push((name, check)),
                status => println!("{name}: {} {}", check["id"], status.unwrap_or("?")),
            }
        }
    }
    println!("{} scenarios, {passed} checks passed", run.checks.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(run.is_success, "the suite is not content");
}

async fn require(revision: &str, has_sessions: bool) {
    if !is_long() {
        return;
    }
    let (suite, dir) = (Suite::install(), tempfile::tempdir().expect("a directory"));
    let url = start(Face::Fixture { has_sessions }, &dir).await;
    let run = suite.run(&url, &["--requirements", revision]).await;
    judge(&run, &suite.required(revision));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_2025_11_25_requires_of_servers_holds() {
    require("2025-11-25", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_2026_07_28_requires_of_servers_holds() {
    require("2026-07-28", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_suite_asks_of_every_server_holds_for_the_product() {
    if !is_long() {
        return;
    }
    let (suite, dir) = (Suite::install(), tempfile::tempdir().expect("a directory"));
    let url = start(Face::Product, &dir).await;
    for (version, scenarios) in [
        ("2025-11-25", &["server-initialize", "ping", "tools-list", "dns-rebinding-protection"][..]),
        ("2026-07-28", &["tools-list", "dns-rebinding-protection", "http-header-validation"][..]),
    ] {
        for scenario in scenarios {
            let run = suite.run(&url, &["--scenario", scenario, "--spec-version", version]).await;
            judge(&run, &BTreeSet::from([(*scenario).to_owned()]));
        }
    }
}
