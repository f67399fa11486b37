//! What the gate adds to a request, beside a direct connection and beside mitmproxy, and how many it can take.

mod disk;
pub(super) mod home;
mod mitmproxy;
pub(super) mod server;

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use futures::future::{join_all, try_join_all};
use ringfence_engine::api::SharedSandboxes;
use ringfence_model::api::{Actor, CreateRequest, Network, SandboxRequest};
use serde_json::{Value, json};

use self::{home::Home, mitmproxy::Mitmproxy, server::Server};
use super::{
    contender, place,
    result::{Outcome, Row},
};
use crate::output;

/// Names that lead to the server: one is seen into, one passed through.
const SEEN: &str = "seen.ringfence.test";
const PASSED: &str = "passed.ringfence.test";
const CLIENT: &str = include_str!("gate/client.py");
/// Turns, in each of which everybody is measured once.
const TURNS: u32 = 5;
/// New connections of one turn.
const NEW: u32 = 60;
/// Processes that ask as quickly as they are answered, and for how long.
const HURRIED: u32 = 8;
const HURRIED_S: u32 = 4;
/// Sandboxes that poll at once, how often each does, and for how long.
const POLLING: u32 = 200;
const POLLING_EVERY_S: f64 = 0.1;
const POLLING_S: u32 = 10;
/// How long they have to get ready before they begin together.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// One at a time, so many requests a turn; and some at once.
    pub(super) latency: Option<u32>,
    /// Many sandboxes.
    pub(super) polling: bool,
}

/// Who is asked through, and how a client gets there.
struct Way {
    who: &'static str,
    /// In a sandbox, or on the host.
    inside: bool,
    address: String,
    port: u16,
    tunnel: String,
    host: &'static str,
    roots: String,
}

struct Scene {
    api: SharedSandboxes,
    template: &'static str,
    rootfs: PathBuf,
    /// The sandbox of those that ask alone.
    sandbox: String,
    server: Server,
}

/// Measures with a daemon of its own beside `home`'s, and a server in this process. Each answer is compared with what was asked.
///
/// # Errors
/// Something cannot be started, a request was refused, or an answer was wrong.
pub(super) async fn run(
    home: &Path,
    template: &'static str,
    wanted: Wanted,
) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let server = Server::start(&[SEEN, PASSED])?;
    let ours = Home::start(home, template, &[SEEN, PASSED], &server.authority).await?;
    let measured = measure(home, &ours, server, template, wanted).await;
    let ended = ours.end().await;
    let found = measured?;
    ended?;
    Ok(found)
}

async fn measure(
    theirs: &Path,
    ours: &Home,
    server: Server,
    template: &'static str,
    wanted: Wanted,
) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let rootfs = contender::rootfs(theirs).context("the template has no interpreter")?;
    let api = ours.daemon.api.clone();
    let mut scene = Scene { api, template, rootfs, sandbox: String::new(), server };
    scene.sandbox = scene.create().await?;
    let mut ways = vec![
        scene.way("direct", false, "127.0.0.1", SEEN),
        scene.way("ringfence, passed through", true, PASSED, PASSED),
        Way { roots: String::new(), ..scene.way("ringfence, seen into", true, SEEN, SEEN) },
    ];
    let mitmproxy = match Mitmproxy::start(&theirs.join("bench"), &ours.path.join("servers.pem")) {
        Ok(mitmproxy) => {
            let tunnel = scene.server.address().to_string();
            let (port, roots) = (mitmproxy.port, mitmproxy.authority.clone());
            ways.push(Way { port, tunnel, roots, ..scene.way("mitmproxy", false, "127.0.0.1", SEEN) });
            Some(mitmproxy)
        }
        Err(error) => {
            output::note(&format!("bench: without mitmproxy: {error:#}"));
            None
        }
    };
    let (mut rows, mut outcomes) = (Vec::new(), Vec::new());
    if let Some(rounds) = wanted.latency {
        // Where the gateway's own database is.
        let dir = ours.path.join("gate");
        let disk = tokio::task::spawn_blocking(move || disk::pages(&dir)).await??;
        let disk = Row::of("a page that waits for the disk", "the disk alone", disk)?;
        let version = mitmproxy.as_ref().map(|mitmproxy| &*mitmproxy.version);
        let (found, outcome) = scene.latency(&ways, rounds, version, &disk).await?;
        rows.push(disk);
        rows.extend(found);
        outcomes.push(outcome);
    }
    if wanted.polling {
        rows.extend(scene.polling(&ways).await?);
    }
    Ok((rows, outcomes))
}

impl Scene {
    fn way(&self, who: &'static str, inside: bool, address: &str, host: &'static str) -> Way {
        let roots = self.server.authority.clone();
        Way { who, inside, address: address.to_owned(), port: self.server.port, tunnel: String::new(), host, roots }
    }

    async fn create(&self) -> anyhow::Result<String> {
        let port = self.server.port;
        let rules = json!({"allow": [
            {"host": SEEN, "ports": [port], "methods": ["GET"], "paths": ["/v2/**"]},
            {"host": PASSED, "ports": [port]},
        ]});
        let network: Network = serde_json::from_value(rules)?;
        let template = self.template.to_owned();
        let request = CreateRequest { template, network: Some(network), ..CreateRequest::default() };
        Ok(self.api.create(Actor::Operator, request, None).await?.sandbox_id.to_string())
    }

    /// Everybody once in each turn, so that whatever else the host does hits all alike.
    async fn in_turns(&self, what: &str, ways: &[Way], plan: &Value, turns: u32) -> anyhow::Result<Vec<Row>> {
        let mut seconds = vec![Vec::new(); ways.len()];
        for _ in 0..turns {
            for (way, seconds) in ways.iter().zip(&mut seconds) {
                seconds.extend(
                    self.client(way, plan, &self.sandbox).await.with_context(|| format!("{what}, {}", way.who))?,
                );
            }
        }
        rows(what, ways, seconds)
    }

    async fn latency(
        &self,
        ways: &[Way],
        rounds: u32,
        mitmproxy: Option<&str>,
        disk: &Row,
    ) -> anyhow::Result<(Vec<Row>, Outcome)> {
        let kept = json!({"what": "kept", "count": rounds});
        let kept = self.in_turns("request on a kept connection", ways, &kept, TURNS).await?;
        let new = json!({"what": "new", "count": NEW});
        let new = self.in_turns("connection and request", ways, &new, TURNS).await?;
        let hurried = json!({"what": "poll", "every": 0, "seconds": HURRIED_S, "forks": HURRIED});
        let mut hurried = self.in_turns(&format!("{HURRIED} processes that ask at once"), ways, &hurried, 1).await?;
        for row in &mut hurried {
            row.remark = Some(format!("{:.0} requests a second", row.count as f64 / f64::from(HURRIED_S)));
        }
        let added = |rows: &[Row], who: &str| {
            let p50 = |who: &str| rows.iter().find(|row| row.who == who).map(|row| row.p50);
            Some(p50(who)? - p50("direct")?)
        };
        let of_all =
            |rows: &[Row]| -> Value { ways.iter().map(|way| (way.who, json!(added(rows, way.who)))).collect() };
        let seen = added(&kept, "ringfence, seen into").unwrap_or(f64::NAN);
        let outcome = Outcome {
            what: "the gate, each answer compared with what was asked".to_owned(),
            found: format!(
                "{:+.3} ms p50 on a kept connection that is seen into; a page alone takes this disk {:.3} ms",
                seen * 1e3,
                disk.p50 * 1e3
            ),
            data: json!({
                "kept_added_p50_s": of_all(&kept),
                "disk_page_p50_s": disk.p50,
                "new_added_p50_s": of_all(&new),
                "mitmproxy": mitmproxy,
                "mitmproxy_verifies_upstream": true,
            }),
            is_good: true,
        };
        Ok((kept.into_iter().chain(new).chain(hurried).collect(), outcome))
    }

    /// Many sandboxes, beside as many processes on the host.
    async fn polling(&self, ways: &[Way]) -> anyhow::Result<Vec<Row>> {
        let sandboxes = try_join_all((0..POLLING).map(|_| self.create())).await?;
        let mut seconds = Vec::new();
        for way in ways {
            let patience = START_PATIENCE.as_secs() + u64::from(POLLING_S);
            output::note(&format!("bench: {POLLING} that poll, {} ({patience} s)", way.who));
            let start = SystemTime::now().duration_since(UNIX_EPOCH)? + START_PATIENCE;
            let forks = if way.inside { 0 } else { POLLING };
            let plan = json!({"what": "poll", "every": POLLING_EVERY_S, "seconds": POLLING_S, "forks": forks,
                "start": start.as_secs_f64()});
            let found = match way.inside {
                true => join_all(sandboxes.iter().map(|sandbox| self.client(way, &plan, sandbox))).await,
                false => vec![self.client(way, &plan, "").await],
            };
            let failed = found.iter().filter(|one| one.is_err()).count();
            if failed > 0 {
                let why = found.iter().find_map(|one| one.as_ref().err()).map(|error| format!("{error:#}"));
                bail!("{failed} of {POLLING} that poll by way of {} failed: {}", way.who, why.unwrap_or_default());
            }
            seconds.push(found.into_iter().flatten().flatten().collect());
        }
        for sandbox in sandboxes {
            self.api.delete(Actor::Operator, SandboxRequest { sandbox_id: sandbox }).await?;
        }
        let mut rows = rows(&format!("{POLLING} that poll, each 10 times a second"), ways, seconds)?;
        for row in &mut rows {
            row.remark = Some(format!("{:.0} requests a second, no error", row.count as f64 / f64::from(POLLING_S)));
        }
        Ok(rows)
    }

    /// Runs the client: the seconds of each request.
    async fn client(&self, way: &Way, plan: &Value, sandbox: &str) -> anyhow::Result<Vec<f64>> {
        let mut whole = json!({"address": way.address, "port": way.port, "named_port": self.server.port, "host": way.host,
            "tunnel": way.tunnel, "roots": way.roots, "forks": 0, "start": 0});
        if let (Some(whole), Some(plan)) = (whole.as_object_mut(), plan.as_object()) {
            whole.extend(plan.clone());
        }
        let code = format!("import json\nPLAN = json.loads({:?})\n{CLIENT}", whole.to_string());
        let printed = if way.inside {
            place::inside(&self.api, sandbox, code).await?
        } else {
            place::outside(&self.rootfs, &code).await?
        };
        let tenths: Vec<f64> = serde_json::from_str(&printed).with_context(|| format!("reading {printed:.200}"))?;
        ensure!(!tenths.is_empty(), "nothing was measured");
        Ok(tenths.into_iter().map(|tenth| tenth / 1e7).collect())
    }
}

/// A row each, with what it adds to the direct one.
fn rows(what: &str, ways: &[Way], seconds: Vec<Vec<f64>>) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (way, seconds) in ways.iter().zip(seconds) {
        rows.push(Row::of(what, way.who, seconds)?);
    }
    let direct = rows.first().map_or(0.0, |row| row.p50);
    let ours = rows.iter().find(|row| row.who == "ringfence, seen into").map(|row| row.p50);
    for row in rows.iter_mut().skip(1) {
        row.remark = Some(format!("{:+.3} ms p50", (row.p50 - direct) * 1e3));
        if row.who == "mitmproxy" {
            row.ours_is_quicker_by = ours.map(|ours| row.p50 / ours);
        }
    }
    Ok(rows)
}
