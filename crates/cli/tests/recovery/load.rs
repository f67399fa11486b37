//! Parts are killed at any moment while callers work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, ListRequest, SandboxStatus};

use super::{
    daemon::{Daemon, Place, Victim},
    patience::wait_for,
    scene::{bash, block_on, named},
};

/// xorshift64*: the same moments in every run of a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// What callers were told, which a crash must not make untrue.
#[derive(Debug, Default)]
struct Told {
    /// Sandboxes with the number of lines that are in their file.
    kept: BTreeMap<String, usize>,
    /// Deleted.
    gone: BTreeSet<String>,
}

/// Creates, writes, stops, resumes and deletes until it is told to end. Failed calls are what a killed daemon answers.
async fn load(daemon: Arc<Daemon>, seed: u64, told: Arc<Mutex<Told>>, over: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut random = Random(seed);
    let mut mine: Option<String> = None;
    while !over.load(Ordering::Relaxed) {
        let api = daemon.client();
        let Some(id) = mine.clone() else {
            let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
            match api.create(Actor::Operator, request, None).await {
                Ok(made) => {
                    let id = made.sandbox_id.to_string();
                    told.lock().expect("no panic").kept.insert(id.clone(), 0);
                    mine = Some(id);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            continue;
        };
        match random.below(10) {
            0..=5 => {
                let wrote = api.execute(Actor::Operator, bash(&id, "echo line >> kept")).await;
                match wrote {
                    Ok(run) if run.success => {
                        *told.lock().expect("no panic").kept.entry(id).or_default() += 1;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    // It may be stopped: by a restart, or by itself.
                    _ => drop(api.resume(Actor::Operator, named(&id)).await),
                }
            }
            6 => drop(api.stop(Actor::Operator, named(&id)).await),
            7 => drop(api.pause(Actor::Operator, named(&id)).await),
            8 => drop(api.resume(Actor::Operator, named(&id)).await),
            _ => {
                mine = None; // what became of it is known only when the answer came
                let deleted = api.delete(Actor::Operator, named(&id)).await;
                let mut told = told.lock().expect("no panic");
                told.kept.remove(&id);
                if deleted.is_ok() {
                    told.gone.insert(id);
                }
            }
        }
    }
}

#[test]
fn killed_at_any_moment_under_load_nothing_that_was_answered_is_lost() {
    const KILLS: u64 = 20;
    let place = Place::take();
    let daemon = Arc::new(Daemon::of(&place));
    let seed = std::env::var("RINGFENCE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    println!("RINGFENCE_SEED={seed}");
    let mut random = Random(seed);
    let (told, over, done) =
        (Arc::<Mutex<Told>>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    block_on(async {
        let loads: Vec<_> = (1..=3)
            .map(|n| {
                tokio::spawn(load(
                    Arc::clone(&daemon),
                    seed * 31 + n,
                    Arc::clone(&told),
                    Arc::clone(&over),
                    Arc::clone(&done),
                ))
            })
            .collect();
        let mut old = Vec::new();
        for kill in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(random.below(700))).await;
            let victims = [
                Victim::Serve,
                Victim::Jailer,
                Victim::Supervisor,
                Victim::Outer,
                Victim::Zygote,
                Victim::ParkedInterpreter,
            ];
            let victim = victims[usize::try_from(random.below(victims.len() as u64)).expect("small")];
            let Some(killed) = daemon.victim(victim) else { continue };
            let tree = daemon.tree();
            killed.kill();
            println!("kill {kill}: {victim:?} {}", killed.pid);
            wait_for("its death", || if killed.lives() { Err(format!("{victim:?}")) } else { Ok(()) });
            let (d, at_once) = (Arc::clone(&daemon), random.below(2) == 0);
            // Half of the time the next kill comes while the daemon is still on its way up.
            if at_once {
                if d.outer_pid().is_none() || d.ended().is_some() {
                    tokio::task::spawn_blocking(move || d.start()).await.expect("started");
                }
            } else {
                tokio::task::spawn_blocking(move || d.recover()).await.expect("recovered");
            }
            old.push((victim, killed));
            if matches!(victim, Victim::Supervisor | Victim::Outer) {
                old.extend(tree.into_iter().map(|p| (victim, p)));
            }
        }
        over.store(true, Ordering::Relaxed);
        for load in loads {
            load.await.expect("no load panics");
        }
        let d = Arc::clone(&daemon);
        tokio::task::spawn_blocking(move || d.recover()).await.expect("recovered");
        let api = daemon.client();
        let told = std::mem::take(&mut *told.lock().expect("no panic"));
        println!(
            "{} calls were answered; {} sandboxes kept, {} deleted",
            done.load(Ordering::Relaxed),
            told.kept.len(),
            told.gone.len()
        );
        let list = api
            .list(Actor::Operator, ListRequest { limit: Some(1000), ..ListRequest::default() })
            .await
            .expect("listed");
        for row in &list.sandboxes {
            let id = row.sandbox_id.to_string();
            assert!(
                !told.gone.contains(&id) || row.status == SandboxStatus::Deleted,
                "{id} was deleted, and is {:?}",
                row.status
            );
            assert_ne!(row.status, SandboxStatus::Creating, "{id}");
        }
        for (id, lines) in &told.kept {
            let status = api.status(Actor::Operator, named(id)).await.expect("what was created is known");
            if status.status != SandboxStatus::Running {
                api.resume(Actor::Operator, named(id))
                    .await
                    .unwrap_or_else(|e| panic!("{id} ({:?}) does not resume: {e:?}", status.status));
            }
            let read = api.execute(Actor::Operator, bash(id, "cat kept 2>/dev/null | wc -l")).await.expect("run");
            let found: usize = read.output.trim().parse().expect("a number");
            // One call more may have been carried out than was answered, for each kill.
            assert!(found >= *lines, "{id}: {found} lines, of {lines} that were answered");
        }
        daemon.nothing_is_left_of(&old.iter().map(|(_, p)| *p).collect::<Vec<_>>());
        for row in &list.sandboxes {
            let _ = api.delete(Actor::Operator, named(&row.sandbox_id.to_string())).await;
        }
        daemon.nothing_is_left_of(&[]);
    });
    daemon.stop();
}
