//! A daemon over a state directory of its own: a build that fails makes the shared one's health another.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::Actor;
use ringfence_server::Client;

use crate::{
    common::{self, BIN, client_of, ringfence, shared},
    layout::Dir,
};

/// It ends with the value that stands for it. One test at a time has it.
pub(crate) struct Own {
    pub(crate) home: PathBuf,
    pub(crate) api: Arc<Client>,
    outer: Child,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Own {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With these lines under `[templates]`.
    pub(crate) async fn with(lines: &str) -> Self {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        static HOME: OnceLock<PathBuf> = OnceLock::new();
        let turn = TURN.lock().await;
        let prepared = || {
            HOME.get_or_init(|| {
                let shared = shared();
                let home = common::beside("own");
                common::prepare_with(shared, &home, &["python", "base"]);
                home
            })
        };
        let home = tokio::task::spawn_blocking(prepared).await.expect("a state directory").clone();
        std::fs::write(home.join("config.toml"), format!("{}{lines}", common::SMALL_SHELF)).expect("a configuration");
        let outer = Command::new(BIN)
            .args(["serve", "--tcp", "none", "--home"])
            .arg(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon can be started");
        let api = client_of(&home);
        let end = Instant::now() + Duration::from_secs(60);
        while api.health(Actor::Operator).await.is_err() {
            assert!(Instant::now() < end, "the daemon does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { home, api, outer, _turn: turn }
    }

    /// What is said of a recipe that is refused.
    #[track_caller]
    pub(crate) fn refused(&self, dir: &Dir) -> String {
        let built = ringfence(&self.home, &["template", "build", &dir.path()]);
        assert!(!built.status.success(), "{}", String::from_utf8_lossy(&built.stdout));
        String::from_utf8_lossy(&built.stderr).into_owned()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = ringfence(&self.home, &["stop"]);
        let _ = self.outer.wait();
    }
}
