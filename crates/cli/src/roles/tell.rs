//! What `serve` tells the service manager, as long as there is one: ready, stopping, how it stands, and that it answers.

use std::time::Duration;

use ringfence_engine::{Engine, api::Node};
use ringfence_jail::notify::{Teller, Word};
use ringfence_server::Stop;

/// How often it is looked how things stand, until they stand well and while the daemon drains.
const SOON: Duration = Duration::from_millis(500);
/// How often after that: to look, something is written.
const LATER: Duration = Duration::from_secs(15);

/// Tells it, until the daemon ends.
pub(super) async fn tell(teller: Teller, engine: Engine, stop: Stop, alive_every: Option<Duration>) {
    let alive = async {
        let Some(every) = alive_every else { return };
        let mut turns = tokio::time::interval(every.max(Duration::from_millis(10)));
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if engine.answers().await {
                teller.tell(&Word::Alive);
            } else {
                tracing::warn!("a part of the daemon does not answer; the service manager is not told that it does");
            }
        }
    };
    tokio::join!(alive, stands(&teller, &engine, &stop));
}

async fn stands(teller: &Teller, engine: &Engine, stop: &Stop) {
    let (mut is_ready, mut said) = (false, String::new());
    loop {
        let missing = engine.missing().await;
        if stop.is_asked() {
            break;
        }
        if missing.is_empty() && !is_ready {
            is_ready = true;
            teller.tell(&Word::Ready);
        }
        let line = if missing.is_empty() { "ready".to_owned() } else { format!("not ready: {}", missing.join("; ")) };
        if line != said {
            teller.tell(&Word::Status(line.clone()));
            said = line;
        }
        let pause = if missing.is_empty() { LATER } else { SOON };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.asked() => break,
        }
    }
    teller.tell(&Word::Stopping);
    loop {
        let missing = engine.missing().await;
        if let Some(draining) = missing.first() {
            teller.tell(&Word::Status(draining.clone()));
        }
        tokio::time::sleep(SOON).await;
    }
}
