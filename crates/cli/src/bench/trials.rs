//! A thousand small programs and backtests: each in a sandbox of its own, beside a pool of processes without any sandbox, and beside
//! new interpreters. Every output is compared with what the pool printed.

mod role;

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::{fs::DirBuilderExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ringfence_jail::sys;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

pub(crate) use self::role::play;
use self::role::{Asked, Found};
use super::{
    TEMPLATE, contender,
    gate::home,
    result::{Outcome, Row},
};
use crate::{output, roles};

const WORK: &str = include_str!("trials/work.py");
const OTHERS: &str = include_str!("trials/others.py");

/// Symbol of the bars that every backtest is given.
const SYMBOL: &str = "AAPL";

/// Turns, in each of which everybody is measured once. The best of each counts: what else the host does only adds.
const TURNS: usize = 3;

/// One kind of work.
struct Work {
    what: &'static str,
    how: Option<&'static str>,
    /// Pairs of lengths that each program is given.
    batch: usize,
    /// Programs or backtests in all, of a thousand.
    share: f64,
    /// Whether new interpreters are measured too.
    beside_new: bool,
}

const WORKS: [Work; 7] = [
    Work { what: "print(N)", how: None, batch: 1, share: 1.0, beside_new: true },
    Work { what: "pandas backtest", how: Some("vectorised"), batch: 1, share: 1.0, beside_new: true },
    Work { what: "pandas backtest, 25 a sandbox", how: Some("vectorised"), batch: 25, share: 1.0, beside_new: false },
    Work { what: "pandas backtest, 250 a sandbox", how: Some("vectorised"), batch: 250, share: 1.0, beside_new: false },
    Work { what: "backtest bar by bar", how: Some("bar_by_bar"), batch: 1, share: 1.0, beside_new: false },
    Work {
        what: "backtest bar by bar, 25 a sandbox",
        how: Some("bar_by_bar"),
        batch: 25,
        share: 1.0,
        beside_new: false,
    },
    Work { what: "backtest with events", how: Some("with_events"), batch: 1, share: 0.1, beside_new: false },
];

/// Measures with a daemon of its own beside `theirs`, so many backtests of each kind.
///
/// # Errors
/// Something cannot be started, a trial was refused, or an output was wrong.
pub(super) async fn run(theirs: &Path, count: u32) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let rootfs = contender::rootfs(theirs).context("the template has no interpreter")?;
    for (from, to) in [("/dev", "dev"), ("/proc", "proc")] {
        // multiprocessing needs semaphores in /dev/shm.
        sys::mount(from, &rootfs.join(to).display().to_string(), "", sys::MS_BIND | sys::MS_REC, "")
            .with_context(|| format!("binding {from} for the pool"))?;
    }
    let theirs = theirs.canonicalize().with_context(|| format!("looking for {}", theirs.display()))?;
    let closes = closes(&theirs)?;
    let daemon = Daemon::start(&theirs).await?;
    let measured = measure(&daemon, &rootfs, &closes, count).await;
    daemon.end()?;
    measured
}

async fn measure(
    daemon: &Daemon,
    rootfs: &Path,
    closes: &[u8],
    count: u32,
) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let (mut rows, mut outcomes) = (Vec::new(), Vec::new());
    for work in &WORKS {
        output::note(&format!("bench: trials, {}", work.what));
        let asked = work.asked(count, closes);
        let (mut ours, mut pool, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            pool.push(others(rootfs, &asked, "pool").await?);
            ours.push(daemon.run(&asked).await?);
            if work.beside_new {
                let few = Asked {
                    heads: asked.heads.iter().take(asked.heads.len() / 20).cloned().collect(),
                    ..work.asked(count, closes)
                };
                new.push(others(rootfs, &few, "new").await?);
            }
        }
        for found in &ours {
            ensure!(found.printed == pool[0].printed, "{}: a trial printed something else than the pool", work.what);
        }
        let best = |all: &[Found]| all.iter().map(|found| found.wall).fold(f64::INFINITY, f64::min);
        let (of_ours, of_pool) = (best(&ours), best(&pool));
        let backtests = asked.heads.len() * work.batch;
        for (who, all) in [("ringfence", &ours), ("multiprocessing.Pool", &pool), ("new python3 each", &new)] {
            if all.is_empty() {
                continue;
            }
            let wall = best(all);
            let found = all.iter().find(|found| found.wall <= wall).context("one is the best")?;
            let programs = found.printed.len() as f64;
            let mut row = Row::of(&format!("trials: {}", work.what), who, found.seconds.clone())?;
            let mut remark = format!(
                "{:.0} backtests a second, {:.2} ms of processor each",
                programs * work.batch as f64 / wall,
                found.cpu / programs / work.batch as f64 * 1e3
            );
            if who == "ringfence" {
                let by = found.cpu_by.iter().map(|(role, cpu)| {
                    format!("{} {:.2}", role.trim_start_matches("ringfence-"), cpu / programs * 1e3)
                });
                remark.push_str(&format!(
                    "; each sandbox, in ms of processor: inside {:.2}, {}",
                    found.cpu_inside / programs * 1e3,
                    by.collect::<Vec<_>>().join(", ")
                ));
            }
            row.remark = Some(remark);
            rows.push(row);
        }
        outcomes.push(Outcome {
            what: format!("{backtests} times {}, beside a pool without sandboxes", work.what),
            found: format!("{of_ours:.2} s, the pool {of_pool:.2} s: {:.2} times as long", of_ours / of_pool),
            data: json!({"wall_s": ours.iter().map(|f| f.wall).collect::<Vec<_>>(),
                "pool_wall_s": pool.iter().map(|f| f.wall).collect::<Vec<_>>(),
                "new_wall_s": new.iter().map(|f| f.wall).collect::<Vec<_>>(),
                "ratio": of_ours / of_pool, "batch": work.batch}),
            is_good: true,
        });
    }
    Ok((rows, outcomes))
}

impl Work {
    fn asked(&self, count: u32, closes: &[u8]) -> Asked {
        let programs = (f64::from(count) * self.share) as usize / self.batch;
        // Another pair, or number, for each: no answer can be an old one.
        let pair = |number: usize| [5 + number % 40, 50 + number / 40];
        let (codes, heads) = match self.how {
            None => ((0..programs).map(|n| format!("print({n})")).collect(), vec![String::new(); programs]),
            Some(how) => {
                let head = |n: usize| {
                    let pairs: Vec<_> = (n * self.batch..(n + 1) * self.batch).map(pair).collect();
                    json!({"how": how, "pairs": pairs}).to_string()
                };
                (vec![WORK.to_owned()], (0..programs).map(head).collect())
            }
        };
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        Asked { codes, heads, bars: BASE64_STANDARD.encode(closes), who: String::new(), workers }
    }
}

/// The closes of the sample as doubles.
fn closes(home: &Path) -> anyhow::Result<Vec<u8>> {
    let name = format!("rootfs/data/adjusted/{SYMBOL}.csv");
    let layers = fs::read_dir(home.join("layers"))?.flatten();
    let file = layers.map(|layer| layer.path().join(&name)).find(|path| path.is_file()).context("no sample bars")?;
    let text = fs::read_to_string(file)?;
    let mut lines = text.lines();
    let at = lines.next().and_then(|head| head.split(',').position(|name| name == "close")).context("no `close`")?;
    let mut bytes = Vec::new();
    for line in lines {
        let close: f64 = line.split(',').nth(at).context("a short line")?.parse()?;
        bytes.extend(close.to_le_bytes());
    }
    Ok(bytes)
}

/// Without sandboxes.
async fn others(rootfs: &Path, asked: &Asked, who: &str) -> anyhow::Result<Found> {
    let plan =
        json!({"codes": asked.codes, "heads": asked.heads, "bars": asked.bars, "who": who, "workers": asked.workers});
    let mut command = tokio::process::Command::new("chroot");
    command.arg(rootfs).args(["/usr/bin/python3", "-c", OTHERS]).env_clear();
    command.env("PATH", "/usr/bin:/bin:/usr/sbin").env("OPENBLAS_NUM_THREADS", "1").env("LANG", "C.UTF-8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("running chroot")?;
    let mut stdin = child.stdin.take().context("piped")?;
    let given = plan.to_string();
    let (_, done) = tokio::join!(
        async move {
            let _ = stdin.write_all(given.as_bytes()).await;
        },
        child.wait_with_output()
    );
    let done = done?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{who} ended with {}: {said:.2000}", done.status);
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// A daemon of the benchmark's own, whose `serve` runs trials for it.
struct Daemon {
    path: PathBuf,
    child: Child,
    socket: tokio::sync::Mutex<BufReader<tokio::net::UnixStream>>,
}

impl Daemon {
    async fn start(theirs: &Path) -> anyhow::Result<Self> {
        let name = theirs.file_name().unwrap_or_default().to_string_lossy();
        let path = theirs.with_file_name(format!("{name}-trials-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&path).with_context(|| format!("making {}", path.display()))?;
        home::lay_down(theirs, &path, TEMPLATE).await?;
        let (ours, its) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(roles::BENCH_ROLE).arg(&path).env("RINGFENCE_LOG", "warn");
        let child = command.stdin(OwnedFd::from(its)).spawn().context("starting a daemon")?;
        ours.set_nonblocking(true)?;
        let socket = tokio::sync::Mutex::new(BufReader::new(tokio::net::UnixStream::from_std(ours)?));
        Ok(Self { path, child, socket })
    }

    async fn run(&self, asked: &Asked) -> anyhow::Result<Found> {
        let mut socket = self.socket.lock().await;
        socket.write_all(format!("{}\n", serde_json::to_string(asked)?).as_bytes()).await?;
        let mut line = String::new();
        socket.read_line(&mut line).await?;
        ensure!(!line.is_empty(), "the benchmark's daemon ended");
        serde_json::from_str::<Result<Found, String>>(&line)?.map_err(anyhow::Error::msg)
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.socket);
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the benchmark's daemon ended with {ended}");
        fs::remove_dir_all(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}
