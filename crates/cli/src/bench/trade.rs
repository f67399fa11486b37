//! Trading: orders through the gate beside the same ones at an exchange that nothing stands before, bars to many sandboxes at once, and
//! how quickly a market is replayed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use futures::future::{join_all, try_join_all};
use ringfence_engine::api::SharedSandboxes;
use ringfence_market::{
    Symbol,
    tape::{BarTape, replay},
};
use ringfence_model::api::{Actor, CreateRequest, EnvVars, TradeLimitsSetRequest};
use serde_json::{Value, json};

use super::{
    contender,
    gate::{home::Home, server::Server},
    place,
    result::{Outcome, Row},
};

const CLIENT: &str = include_str!("trade/client.py");
const STREAM: &str = include_str!("trade/stream.py");
/// Orders one after the other.
const ORDERS: u32 = 400;
/// Processes that send orders as quickly as they are acknowledged, and for how long.
const HURRIED: u32 = 8;
const HURRIED_S: u32 = 4;
/// Sandboxes that listen to bars, for how long, and how much quicker than time the market goes by.
const LISTENING: usize = 100;
const LISTENING_S: u32 = 10;
const SPEED: u32 = 600;
/// How long they may take to be connected.
const START_PATIENCE: Duration = Duration::from_secs(25);
/// How long an exchange may take to listen.
const VENUE_PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    api: SharedSandboxes,
    template: &'static str,
    rootfs: PathBuf,
}

/// An exchange by itself, which ends with this.
struct Alone {
    child: tokio::process::Child,
    port: u16,
    _home: tempfile::TempDir,
}

/// Measures with a daemon of its own beside `home`'s. Each answer is compared with what was asked.
///
/// # Errors
/// Something cannot be started, an order was refused, or an answer was wrong.
pub(super) async fn run(home: &Path, template: &'static str) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    const NAME: &str = "bench.ringfence.test";
    let server = Server::start(&[NAME])?;
    let ours = Home::start(home, template, &[NAME], &server.authority).await?;
    let rootfs = contender::rootfs(home).context("the template has no interpreter")?;
    let scene = Scene { api: ours.daemon.api.clone(), template, rootfs };
    let measured = scene.measure().await;
    let ended = ours.end().await;
    let found = measured?;
    ended?;
    Ok(found)
}

impl Scene {
    async fn measure(&self) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
        self.loosen().await?;
        let alone = Alone::start().await?;
        let sandbox = self.create().await?;
        let mut rows = Vec::new();
        for (what, count, forks) in [("order to acknowledgement", ORDERS, 0), ("orders at once", 0, HURRIED)] {
            let what = if forks == 0 { what.to_owned() } else { format!("{forks} processes that send orders at once") };
            for (who, port) in [("the exchange alone", alone.port), ("ringfence, judged by the gate", 0)] {
                let vary = u32::from(UNIX_EPOCH.elapsed()?.subsec_millis() as u16);
                let plan = json!({"port": port, "count": count, "forks": forks, "seconds": HURRIED_S, "vary": vary});
                let code = format!("import json\nPLAN = json.loads({:?})\n{CLIENT}", plan.to_string());
                let printed = if port == 0 {
                    place::inside(&self.api, &sandbox, code).await?
                } else {
                    place::outside(&self.rootfs, &code).await?
                };
                let tenths: Vec<f64> =
                    serde_json::from_str(&printed).with_context(|| format!("reading {printed:.200}"))?;
                let mut row = Row::of(&what, who, tenths.into_iter().map(|tenth| tenth / 1e7).collect())?;
                if forks > 0 {
                    let rate = row.count as f64 / f64::from(HURRIED_S);
                    row.remark = Some(format!("{rate:.0} orders a second, each cancelled"));
                }
                rows.push(row);
            }
        }
        drop(alone);
        let outcomes = vec![self.listen().await?, replayed()?];
        Ok((rows, outcomes))
    }

    /// What is measured is the work of the controls, not the limits out of the box.
    async fn loosen(&self) -> anyhow::Result<()> {
        let limits = [
            ("max_messages_per_s", "none"),
            ("max_daily_notional", "none"),
            ("max_position_notional", "none"),
            ("max_open_orders", "none"),
        ];
        let limits: BTreeMap<_, _> = limits.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let request = TradeLimitsSetRequest { limits, ..TradeLimitsSetRequest::default() };
        self.api.trade_limits_set(Actor::Operator, request).await?;
        Ok(())
    }

    async fn create(&self) -> anyhow::Result<String> {
        let keys = [
            ("APCA_API_KEY_ID", "PKBENCHBENCHBENCH01"),
            ("APCA_API_SECRET_KEY", "benchbenchbenchbenchbenchbenchbenchbench"),
        ];
        let keys: BTreeMap<_, _> = keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let template = self.template.to_owned();
        let request = CreateRequest { template, env_vars: EnvVars::new(keys), ..CreateRequest::default() };
        Ok(self.api.create(Actor::Operator, request, None).await?.sandbox_id.to_string())
    }

    /// Bars to many sandboxes at once: everybody gets all of them, in order.
    async fn listen(&self) -> anyhow::Result<Outcome> {
        let sandboxes = try_join_all((0..LISTENING).map(|_| self.create())).await?;
        let clock = format!(
            "import urllib.request, json\nrequest = urllib.request.Request('https://paper-api.alpaca.markets/ringfence/v1/clock', \
             method='PUT', data=json.dumps({{'speed': {SPEED}}}).encode(), headers={{'Content-Type': 'application/json', \
             'APCA-API-KEY-ID': 'PKBENCH', 'APCA-API-SECRET-KEY': 'bench'}})\nprint(urllib.request.urlopen(request).status)"
        );
        ensure!(place::inside(&self.api, &sandboxes[0], clock).await?.trim() == "200", "the clock was not set");
        let start = SystemTime::now().duration_since(UNIX_EPOCH)? + START_PATIENCE;
        let plan = json!({"seconds": LISTENING_S, "start": start.as_secs_f64()});
        let code = format!("import json\nPLAN = json.loads({:?})\n{STREAM}", plan.to_string());
        let heard = join_all(sandboxes.iter().map(|sandbox| place::inside(&self.api, sandbox, code.clone()))).await;
        let mut counts = Vec::new();
        for heard in heard {
            counts.push(heard?.trim().parse::<u64>().context("a count")?);
        }
        counts.sort_unstable();
        let (least, most) = (counts[0], counts[LISTENING - 1]);
        let rate = counts.iter().sum::<u64>() / u64::from(LISTENING_S);
        Ok(Outcome {
            what: format!("{LISTENING} sandboxes that listen to the bars of a market {SPEED} times as quick as time"),
            found: format!("{rate} bars a second in all, {least} to {most} each, in order"),
            data: json!({"sandboxes": LISTENING, "speed": SPEED, "seconds": LISTENING_S, "counts": counts}),
            is_good: least > 0,
        })
    }
}

impl Alone {
    async fn start() -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(["venue", "--listen", &format!("127.0.0.1:{port}"), "--home"]).arg(home.path());
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            ensure!(begin.elapsed() < VENUE_PATIENCE, "the exchange does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { child, port, _home: home })
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
    }
}

/// A symbol's whole past, tick by tick, on a tape that has worked nothing out yet.
fn replayed() -> anyhow::Result<Outcome> {
    let tape = BarTape::sample(u64::from(std::process::id()))?;
    let symbol = Symbol::parse("AAPL")?;
    let (after, until) = ("2000-01-01T00:00:00Z".parse()?, "2013-06-01T00:00:00Z".parse()?);
    let begin = Instant::now();
    let found = replay(&tape, &symbol, after, until);
    let took = begin.elapsed().as_secs_f64();
    let rate = found.minutes as f64 / took;
    let data: Value = json!({"ticks": found.ticks, "minutes": found.minutes, "days": found.days, "seconds": took});
    Ok(Outcome {
        what: "13 years of AAPL, replayed".to_owned(),
        found: format!("{:.0} ms: {:.1} million minute bars a second", took * 1e3, rate / 1e6),
        data,
        is_good: found.days > 3000,
    })
}
