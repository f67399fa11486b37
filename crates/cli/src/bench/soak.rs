//! Everything at once for a long time, and roles killed meanwhile: what is left afterwards, and whether everything that callers
//! were told is still so.
//!
//! The daemon is the soak's own, beside the one whose template it takes: it is killed in every part, again and again.

mod daemon;
mod judge;
mod work;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ringfence_engine::api::Trading;
use ringfence_model::api::{Actor, TradeLimitsSetRequest};
use serde::Serialize;

use crate::{args::Global, commands::soak::SoakArgs, numbers, output};
use daemon::{Owned, Role};
use work::{Random, Told};

/// Longest and shortest time between two kills.
const KILL_EVERY_MS: (u64, u64) = (1_000, 6_000);
/// How often the roles are weighed.
const WEIGH_EVERY: Duration = Duration::from_secs(5);

/// What callers, the killer and the judge share.
struct Shared {
    /// The daemon under test.
    daemon: Owned,
    /// What callers were told.
    told: Mutex<Told>,
    /// Operations that were answered, by name; refused ones apart.
    done: Mutex<BTreeMap<&'static str, (u64, u64)>>,
    /// All of them.
    count: AtomicU64,
    /// Nobody begins anything any more.
    over: AtomicBool,
    /// What must not happen and did.
    faults: Mutex<Vec<String>>,
}

impl Shared {
    /// Counts an operation.
    fn note(&self, what: &'static str, is_done: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut done = self.done.lock().expect("nothing panics under this lock");
        let (answered, refused) = done.entry(what).or_default();
        *(if is_done { answered } else { refused }) += 1;
    }

    /// Notes what must not happen.
    fn fault(&self, what: String) {
        output::note(&format!("soak: FAULT: {what}"));
        self.faults.lock().expect("nothing panics under this lock").push(what);
    }
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    success: bool,
    seed: u64,
    seconds: f64,
    operations: u64,
    /// By name: answered, and refused or cut off.
    by_name: BTreeMap<&'static str, (u64, u64)>,
    /// Kills by role.
    kills: BTreeMap<&'static str, u64>,
    /// Orders that programs were told are taken.
    orders_taken: usize,
    /// Most memory of each role, and the last, in bytes.
    memory: BTreeMap<&'static str, (u64, u64)>,
    /// Most descriptors of each role, and the last.
    descriptors: BTreeMap<&'static str, (usize, usize)>,
    /// Bytes of the state directory without the image of the disks, before and after.
    disk: (u64, u64),
    /// What is not as it must be.
    faults: Vec<String>,
}

/// Runs it. The exit code is 1 when something was found.
///
/// # Errors
/// The daemon cannot be started, or does not come back.
pub(crate) async fn run(global: &Global, args: &SoakArgs) -> anyhow::Result<i32> {
    ensure!(rustix::process::geteuid().is_root(), "the soak kills roles and reads cgroups: run it as root");
    let theirs = crate::daemon::home(global.home.as_deref());
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed);
    output::note(&format!("soak: seed {seed}"));
    let daemon = Owned::start(&theirs, super::TEMPLATE).await?;
    let report = soak(daemon, args, seed).await?;
    if global.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(i32::from(!report.success))
}

async fn soak(daemon: Owned, args: &SoakArgs, seed: u64) -> anyhow::Result<Report> {
    loosen(&daemon).await?;
    daemon.settle().await?;
    let before = judge::state(&daemon)?;
    let disk_before = judge::bytes_below(&daemon.home);
    let shared = Arc::new(Shared {
        daemon,
        told: Mutex::default(),
        done: Mutex::default(),
        count: AtomicU64::new(0),
        over: AtomicBool::new(false),
        faults: Mutex::default(),
    });
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(args.minutes * 60.0);
    let callers: Vec<_> = (1..=u64::from(args.callers))
        .map(|number| tokio::spawn(work::caller(Arc::clone(&shared), number, seed.wrapping_mul(31) + number)))
        .collect();
    let mut random = Random::new(seed);
    let mut kills: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut weights = Weights::default();
    let (mut next_kill, mut next_weigh) = (begin + Duration::from_secs(2), begin);
    let is_enough = || match args.operations {
        Some(operations) => shared.count.load(Ordering::Relaxed) >= operations,
        None => Instant::now() >= end,
    };
    let mut said = begin;
    while !is_enough() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        shared.daemon.keep().await?;
        let now = Instant::now();
        if now >= next_weigh {
            weights.weigh(&shared.daemon);
            next_weigh = now + WEIGH_EVERY;
        }
        if now >= next_kill && !args.no_kills {
            let role = Role::ALL[random.below(Role::ALL.len() as u64) as usize];
            if shared.daemon.kill(role) {
                *kills.entry(role.name()).or_default() += 1;
            }
            let (least, most) = KILL_EVERY_MS;
            next_kill = now + Duration::from_millis(least + random.below(most - least));
        }
        if said.elapsed() > Duration::from_secs(60) {
            said = now;
            let (count, kills) = (shared.count.load(Ordering::Relaxed), kills.values().sum::<u64>());
            output::note(&format!("soak: {count} operations, {kills} kills, {:.0} s", begin.elapsed().as_secs_f64()));
        }
    }
    shared.over.store(true, Ordering::Relaxed);
    // A caller that waits for a daemon that died needs one that lives.
    let ended = async {
        for caller in callers {
            if let Err(error) = caller.await {
                shared.fault(format!("a caller panicked: {error}"));
            }
        }
    };
    let kept = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Err(error) = shared.daemon.keep().await {
                return error;
            }
        }
    };
    tokio::select! {
        () = ended => {}
        error = kept => return Err(error),
    }
    let seconds = begin.elapsed().as_secs_f64();
    shared.daemon.recover().await?;
    judge::judge(&shared, &before).await?;
    weights.weigh(&shared.daemon);
    let disk = (disk_before, judge::bytes_below(&shared.daemon.home));
    judge::end(&shared).await?;
    let faults = std::mem::take(&mut *shared.faults.lock().expect("nothing panics under this lock"));
    if faults.is_empty() {
        shared.daemon.remove();
    } else {
        output::note(&format!("soak: the state directory stays for you to look at: {}", shared.daemon.home.display()));
    }
    let by_name = std::mem::take(&mut *shared.done.lock().expect("nothing panics under this lock"));
    let orders_taken = shared.told.lock().expect("nothing panics under this lock").orders.len();
    Ok(Report {
        success: faults.is_empty(),
        seed,
        seconds,
        operations: shared.count.load(Ordering::Relaxed),
        by_name,
        kills,
        orders_taken,
        memory: weights.memory,
        descriptors: weights.descriptors,
        disk,
        faults,
    })
}

/// What is tried is the ledger's work, not the limits out of the box.
async fn loosen(daemon: &Owned) -> anyhow::Result<()> {
    let names = ["max_messages_per_s", "max_daily_notional", "max_position_notional", "max_open_orders"];
    let limits = names.map(|name| (name.to_owned(), "none".to_owned())).into();
    let request = TradeLimitsSetRequest { limits, ..TradeLimitsSetRequest::default() };
    daemon.api().trade_limits_set(Actor::Operator, request).await?;
    Ok(())
}

#[derive(Default)]
struct Weights {
    memory: BTreeMap<&'static str, (u64, u64)>,
    descriptors: BTreeMap<&'static str, (usize, usize)>,
}

impl Weights {
    fn weigh(&mut self, daemon: &Owned) {
        for role in Role::ALL {
            let Some((memory, descriptors)) = daemon.weight(role) else { continue };
            let (most, last) = self.memory.entry(role.name()).or_default();
            (*most, *last) = ((*most).max(memory), memory);
            let (most, last) = self.descriptors.entry(role.name()).or_default();
            (*most, *last) = ((*most).max(descriptors), descriptors);
        }
    }
}

fn show(report: &Report) -> anyhow::Result<()> {
    let kills: u64 = report.kills.values().sum();
    output::line(&format!(
        "{} operations in {}, {kills} kills, {} orders taken, seed {}",
        report.operations,
        numbers::seconds(report.seconds),
        report.orders_taken,
        report.seed
    ))?;
    let mut table = output::table(&["operation", "answered", "refused or cut off"]);
    for (name, (answered, refused)) in &report.by_name {
        table.add_row([(*name).to_owned(), answered.to_string(), refused.to_string()]);
    }
    output::show(table)?;
    let mut table =
        output::table(&["role", "kills", "memory at most", "at the end", "descriptors at most", "at the end"]);
    for role in Role::ALL {
        let (memory, last) = report.memory.get(role.name()).copied().unwrap_or_default();
        let (most, now) = report.descriptors.get(role.name()).copied().unwrap_or_default();
        let killed = report.kills.get(role.name()).copied().unwrap_or_default();
        table.add_row([
            role.name().to_owned(),
            killed.to_string(),
            numbers::bytes(memory),
            numbers::bytes(last),
            most.to_string(),
            now.to_string(),
        ]);
    }
    output::show(table)?;
    let (before, after) = report.disk;
    output::line(&format!("state without disks: {} before, {} after", numbers::bytes(before), numbers::bytes(after)))?;
    for fault in &report.faults {
        output::line(&format!("BAD  {fault}"))?;
    }
    if report.success {
        output::line("ok   nothing is left over, no order is lost or doubled, the chains hold")?;
    }
    Ok(())
}

/// Reads the file of a process.
fn procfs(pid: i32, file: &str) -> anyhow::Result<Vec<u8>> {
    let path = Path::new("/proc").join(pid.to_string()).join(file);
    std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
}
