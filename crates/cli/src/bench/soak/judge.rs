//! What is left, and whether what callers were told is still so.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ringfence_engine::api::{Sandboxes, Trading};
use ringfence_jail::installation::Installation;
use ringfence_model::api::{
    Actor, AuditVerifyRequest, LIST_MAX, ListRequest, SandboxRequest, SandboxStatus, TemplateRequest,
    TradeOrdersRequest,
};
use ringfence_store::{DatabaseKind, SealingKey, Store, copy_database, gate::GateStore};

use super::{Shared, daemon::Owned, work};
use crate::bench::leftovers::{Leftovers, cgroups};

/// How long what is being removed may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the daemon has on its host now.
pub(super) fn state(daemon: &Owned) -> anyhow::Result<Leftovers> {
    Leftovers::count(&daemon.home)
}

/// Bytes of the state directory, without the disks, the log, and what all homes share.
pub(super) fn bytes_below(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() && name != "log" && name != "layers" {
            bytes += bytes_below(&entry.path());
        } else if metadata.is_file() && name != "disks.btrfs" {
            bytes += metadata.len();
        }
    }
    bytes
}

/// Compares with what was told, removes everything, and compares with what there was before.
///
/// # Errors
/// The daemon does not answer.
pub(super) async fn judge(shared: &Shared, before: &Leftovers) -> anyhow::Result<()> {
    sandboxes(shared).await?;
    orders(shared).await?;
    books(shared).await?;
    chains(shared).await?;
    clear(shared).await?;
    leftovers(shared, before).await
}

/// Every sandbox is as its caller was told, with its lines.
async fn sandboxes(shared: &Shared) -> anyhow::Result<()> {
    let api = shared.daemon.api();
    let (kept, gone) = {
        let told = shared.told.lock().expect("nothing panics under this lock");
        (told.kept.clone(), told.gone.clone())
    };
    for id in gone {
        match api.status(Actor::Operator, SandboxRequest { sandbox_id: id.clone() }).await {
            Ok(answer) if answer.status == SandboxStatus::Deleted => {}
            Ok(answer) => shared.fault(format!("{id} was deleted, and is {:?}", answer.status)),
            Err(error) => shared.fault(format!("{id} was deleted and is not known: {error}")),
        }
    }
    for (id, lines) in kept {
        let named = SandboxRequest { sandbox_id: id.clone() };
        let status = match api.status(Actor::Operator, named.clone()).await {
            Ok(answer) => answer.status,
            Err(error) => {
                shared.fault(format!("{id} was created and is not known: {error}"));
                continue;
            }
        };
        if status != SandboxStatus::Running
            && let Err(error) = api.resume(Actor::Operator, named).await
        {
            shared.fault(format!("{id} is {status:?} and does not resume: {error}"));
            continue;
        }
        // One more may have been carried out than was answered, for each kill.
        let read = work::run(&api, &id, "bash", "cat kept 2>/dev/null | wc -l".into()).await?;
        let found: usize = read.output.trim().parse().with_context(|| format!("lines of {id}: {}", read.output))?;
        if found < lines {
            shared.fault(format!("{id} has {found} lines of {lines} that were answered"));
        }
    }
    Ok(())
}

/// Every order that was taken is at the exchange, once; the exchange has none that nobody sent; the gate knows them all.
async fn orders(shared: &Shared) -> anyhow::Result<()> {
    let (taken, tried) = {
        let told = shared.told.lock().expect("nothing panics under this lock");
        (told.orders.clone(), told.tried.clone())
    };
    let mut at_venue: BTreeMap<String, u32> = BTreeMap::new();
    for name in record(&shared.daemon.home, &tried)? {
        *at_venue.entry(name).or_default() += 1;
    }
    for (name, count) in &at_venue {
        if *count > 1 {
            shared.fault(format!("the exchange has {count} orders {name}"));
        }
        if !tried.contains(name) {
            shared.fault(format!("the exchange has an order {name} that nobody sent"));
        }
    }
    for name in taken.iter().filter(|name| !at_venue.contains_key(*name)) {
        shared.fault(format!("the order {name} was taken, and the exchange does not have it"));
    }
    // What is in doubt is looked up by the gate until it is known.
    let begin = Instant::now();
    loop {
        let request = TradeOrdersRequest { open: Some(true), limit: Some(LIST_MAX), ..TradeOrdersRequest::default() };
        let open = shared.daemon.api().trade_orders(Actor::Operator, request).await?;
        let in_doubt: Vec<_> = open
            .orders
            .iter()
            .filter(|order| matches!(order.state.as_str(), "reserved" | "sent" | "ambiguous"))
            .map(|order| format!("{} ({})", order.client_order_id, order.state))
            .collect();
        if in_doubt.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            shared.fault(format!("orders in doubt: {}", in_doubt.join(", ")));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Those names that the exchange has an order of, asked past the gate, as root may; and those that it has beside them.
fn record(home: &Path, tried: &std::collections::BTreeSet<String>) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let newest = ask(home, "/v2/orders?status=all&limit=500")?;
    let orders = newest.as_array().context("the exchange's orders are no list")?;
    found.extend(orders.iter().filter_map(|order| Some(order["client_order_id"].as_str()?.to_owned())));
    // A page holds 500: older ones are asked for by name.
    let listed: std::collections::BTreeSet<String> = found.iter().cloned().collect();
    if orders.len() >= 500 {
        for name in tried.iter().filter(|name| !listed.contains(*name)) {
            let order = ask(home, &format!("/v2/orders:by_client_order_id?client_order_id={name}"))?;
            found.extend(order["client_order_id"].as_str().map(str::to_owned));
        }
    }
    Ok(found)
}

fn ask(home: &Path, target: &str) -> anyhow::Result<serde_json::Value> {
    let mut stream = UnixStream::connect(home.join("run/venue/api.sock")).context("connecting to the exchange")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: paper-api.alpaca.markets\r\nAPCA-API-KEY-ID: x\r\nAPCA-API-SECRET-KEY: y\r\n\
         Connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading what the exchange answers")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("the exchange's answer has no head")?;
    Ok(serde_json::from_str(body)?)
}

/// The books add up: the reservations of orders, the ledger of credits and the meters.
async fn books(shared: &Shared) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let gate = shared.daemon.home.join("gate");
    copy_database(DatabaseKind::Gate, &gate.join("gate.db"), &dir.path().join("gate.db"))?;
    fs::copy(gate.join("gate.key"), dir.path().join("gate.key"))?;
    let key = SealingKey::load_or_create(&dir.path().join("gate.key"))?;
    let store = GateStore::open(&dir.path().join("gate.db"), key)?;
    for broken in store.trade_check().await? {
        shared.fault(format!("the orders' ledger: {broken}"));
    }
    store.close().await?;
    let engine = shared.daemon.home.join("engine/engine.db");
    copy_database(DatabaseKind::Engine, &engine, &dir.path().join("engine.db"))?;
    fs::copy(shared.daemon.home.join("engine/sealing.key"), dir.path().join("sealing.key"))?;
    let key = SealingKey::load_or_create(&dir.path().join("sealing.key"))?;
    let store = Store::open(&dir.path().join("engine.db"), key)?;
    for broken in store.read(|view| view.check_credits()).await? {
        shared.fault(format!("the ledger of credits: {broken}"));
    }
    store.close().await?;
    Ok(())
}

/// Both chains hold.
async fn chains(shared: &Shared) -> anyhow::Result<()> {
    let request = AuditVerifyRequest { from: None, to: None, remembered: None };
    let answer = shared.daemon.api().audit_verify(Actor::Operator, request).await?;
    if !answer.valid {
        shared.fault(format!("the chain is broken at {:?}: {:?}", answer.broken_at, answer.fault));
    }
    match answer.gate {
        Some(gate) if gate.valid => {}
        Some(gate) => shared.fault(format!("the gateway's chain is broken at {:?}: {:?}", gate.broken_at, gate.fault)),
        None => shared.fault("the gateway does not answer".into()),
    }
    Ok(())
}

/// Deletes all that there is.
async fn clear(shared: &Shared) -> anyhow::Result<()> {
    let api = shared.daemon.api();
    for status in ["creating", "running", "paused", "stopped", "failed"] {
        loop {
            let request = ListRequest { status: Some(status.into()), limit: Some(LIST_MAX), ..ListRequest::default() };
            let list = api.list(Actor::Operator, request).await?;
            if list.sandboxes.is_empty() {
                break;
            }
            if status == "creating" {
                shared.fault(format!("{} sandboxes are still being made", list.sandboxes.len()));
                break;
            }
            for row in list.sandboxes {
                api.delete(Actor::Operator, SandboxRequest { sandbox_id: row.sandbox_id.to_string() }).await?;
            }
        }
    }
    let templates = std::mem::take(&mut shared.told.lock().expect("nothing panics under this lock").templates);
    for template_name in templates {
        // An export that was cut off has left none, or one that is whole.
        let _ = api.template_delete(Actor::Operator, TemplateRequest { template_name }).await;
    }
    Ok(())
}

/// No more than there was before the first caller came.
async fn leftovers(shared: &Shared, before: &Leftovers) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        shared.daemon.settle().await?;
        let more = state(&shared.daemon)?.more_than(before);
        if more.is_empty() {
            break;
        }
        if begin.elapsed() > PATIENCE {
            shared.fault(format!("left over: {}; before: {before}", more.join(", ")));
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let health = shared.daemon.api().health(Actor::Operator).await?;
    if health.executions_running > 0 {
        shared.fault(format!("{} executions run in no sandbox", health.executions_running));
    }
    Ok(())
}

/// Ends the daemon: nothing of it may be on the host.
///
/// # Errors
/// It does not end.
pub(super) async fn end(shared: &Shared) -> anyhow::Result<()> {
    let home = &shared.daemon.home;
    let installation = Installation::load(home).context("reading the installation")?;
    shared.daemon.end().await?;
    let begin = Instant::now();
    loop {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let shown = home.to_string_lossy();
        let mut left: Vec<String> =
            mounts.lines().filter(|line| line.contains(&*shown)).map(|line| format!("the mount {line}")).collect();
        left.extend(cgroups(&format!("ringfence-{}", installation.id)).iter().map(|dir| dir.display().to_string()));
        left.extend(loops(&home.join("disks.btrfs")));
        if left.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            shared.fault(format!("left after the end: {}", left.join(", ")));
            return Ok(());
        }
        ensure!(home.exists(), "the state directory is gone");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Loop devices over the disks' image.
fn loops(image: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let over = devices.filter(|device| {
        fs::read_to_string(device.path().join("loop/backing_file"))
            .is_ok_and(|file| Path::new(file.trim_end()) == image)
    });
    over.map(|device| device.file_name().to_string_lossy().into_owned()).collect()
}
