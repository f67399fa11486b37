//! Trials that end otherwise than by themselves, and what is left of all.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ringfence_engine::api::{TrialRequest, Trials};
use ringfence_model::api::{Actor, ExecutionStatus};
use ringfence_store::{ExecutionFilter, SealingKey, Store, Verification};

use crate::inside::{Place, program};

/// How many are begun where a daemon ends under them: more than can run at once.
const BEGUN: usize = 12;

pub(crate) async fn a_caller_that_goes_away_takes_its_trial_along(place: Place) {
    let engine = place.engine.clone();
    // Some run, and some wait for their turn.
    let callers: Vec<_> = (0..BEGUN)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.trial(Actor::Agent, program("while True: pass")).await })
        })
        .collect();
    place.until("some run", async |health| health.executions_running > 1).await;
    for caller in callers {
        caller.abort();
    }
    place.until("none runs", async |health| health.trials.running == 0 && health.executions_running == 0).await;
    let store = engine.store();
    let rows = store.executions(ExecutionFilter { limit: Some(1), ..ExecutionFilter::default() });
    let row = rows.await.expect("readable").pop().expect("one ran");
    assert_eq!(row.status.as_str(), "killed");
    assert!(row.warnings.iter().any(|warning| warning.contains("its caller went away")), "{row:?}");
    // The turns are free again.
    assert_eq!(place.run("print(1)", b"").await.status, ExecutionStatus::Completed);
}

pub(crate) async fn a_zygote_that_is_killed_harms_no_trial(place: Place) {
    let engine = place.engine.clone();
    let slow = program("import time; time.sleep(1.5); print('unharmed')");
    let slow = tokio::spawn(async move { engine.trial(Actor::Agent, slow).await.expect("it is run") });
    place.until("it runs", async |health| health.executions_running == 1).await;
    place.say("do zygote");
    // While there is none, and when there is the next.
    for _ in 0..40 {
        let answer = place.run("print(7)", b"").await;
        assert_eq!((answer.status, answer.output.as_slice()), (ExecutionStatus::Completed, &b"7\n"[..]), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let slow = slow.await.expect("it is answered");
    assert_eq!((slow.status, slow.output.as_slice()), (ExecutionStatus::Completed, &b"unharmed\n"[..]), "{slow:?}");
}

pub(crate) async fn the_shelf_is_given_back(place: Place) {
    place.run("print(1)", b"").await;
    place.until("some are made ahead", async |health| health.trials.shelf > 1).await;
    let begin = Instant::now();
    place.until("the shelf is given back", async |health| health.trials.shelf == 0).await;
    assert!(begin.elapsed() > Duration::from_secs(5), "not at once: {:?}", begin.elapsed());
}

pub(crate) async fn nothing_is_left_of_them(place: Place) {
    let store = place.engine.store();
    let running = store
        .executions(ExecutionFilter {
            status: Some(ringfence_store::ExecutionStatus::Running),
            ..ExecutionFilter::default()
        })
        .await
        .expect("readable");
    assert!(running.is_empty(), "{running:?}");
    let verified = store.verify(1, None).await.expect("readable");
    assert!(matches!(verified, Verification::Sound(_)), "{verified:?}");
    let disks = store.disks().await.expect("readable");
    let health = ringfence_engine::api::Sandboxes::health(&place.engine, Actor::Operator).await.expect("answered");
    let shelf: u32 = health.templates.iter().map(|template| template.shelf).sum();
    assert!(disks.len() <= shelf as usize + 2, "{} disks for {shelf} sandboxes on the shelf", disks.len());
}

async fn begin(place: &Place) {
    for _ in 0..BEGUN {
        let engine = place.engine.clone();
        tokio::spawn(async move {
            let endless = TrialRequest { timeout: 600.0, ..program("while True: pass") };
            engine.trial(Actor::Agent, endless).await
        });
    }
    place.until("some run", async |health| health.executions_running > 1).await;
}

/// Until the supervisor is told to stop: what `serve` does then is up to `play`'s caller.
pub(crate) async fn begin_and_stop(place: &Place) {
    begin(place).await;
    place.say("do stop");
    std::future::pending::<()>().await;
}

pub(crate) async fn begin_and_be_killed(place: &Place) {
    begin(place).await;
    place.say("do kill");
    std::future::pending::<()>().await;
}

pub(crate) async fn the_next_daemon_finds_nothing_running(place: Place) {
    let store = place.engine.store();
    let rows =
        store.executions(ExecutionFilter { limit: Some(2), ..ExecutionFilter::default() }).await.expect("readable");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row.status.as_str(), "killed", "{row:?}");
        let sandbox = store.sandbox(&row.sandbox).await.expect("readable").expect("it is there");
        assert_eq!(sandbox.status.as_str(), "deleted", "{sandbox:?}");
    }
    nothing_is_left_of_them(place.clone()).await;
    assert_eq!(place.run("print(1)", b"").await.status, ExecutionStatus::Completed);
    place.until("nothing runs", async |health| health.trials.running == 0).await;
}

/// What the rows say after a stop in order; the database is nobody's then.
pub(crate) fn rows_after_a_stop(engine: &Path) -> Vec<(String, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let key = SealingKey::load_or_create(&engine.join("sealing.key")).expect("a key");
        let store = Store::open(&engine.join("engine.db"), key).expect("it opens");
        let rows =
            store.executions(ExecutionFilter { limit: Some(2), ..ExecutionFilter::default() }).await.expect("readable");
        let mut ended = rows.len() == 2;
        for row in rows {
            let sandbox = store.sandbox(&row.sandbox).await.expect("readable").expect("it is there");
            let says = row.warnings.iter().any(|warning| warning.contains("the daemon was stopped"));
            ended &= row.status.as_str() == "killed" && says && sandbox.status.as_str() == "deleted";
        }
        vec![("a_stop_ends_trials_and_writes_it_down".to_owned(), ended)]
    })
}
