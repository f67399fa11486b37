//! No memory is left for what is asked. An allocation that fails ends the process (there is nothing else that it could do in the middle
//! of a request), and with it the daemon's roles; the supervisor starts them again.

use std::fs;

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, UploadRequest};
use ringfence_store::{DatabaseKind, SealingKey, Store, copy_database};

use super::{
    daemon::{Daemon, Place, Victim},
    limits::limit,
    patience::wait_for,
    process::Process,
    scene::{Scene, block_on},
};
use crate::common::tail;

/// What is sent is held whole, as it came and as text: more than this in any case.
const FILE_BYTES: usize = 24 << 20;
/// Memory beside what the process has: enough for small requests.
const FREE_BYTES: u64 = 4 << 20;
/// One may come to nothing for want of a thread, which is a refusal: the process lives on then.
const TRIES: usize = 8;

#[test]
fn serve_without_memory_takes_no_large_request_and_whoever_serves_then_has_everything() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    block_on(async {
        let api = daemon.client();
        let scene = Scene::set(&api, "4246.5").await;
        let old = daemon.tree();
        let serve = daemon.victim(Victim::Serve).expect("serve");
        // Of this process alone: the next one has none. (RLIMIT_AS would not do: the allocator has reserved more than it uses.)
        limit(serve, "data", &(data(serve.pid) + FREE_BYTES).to_string());
        for _ in 0..TRIES {
            let file = UploadRequest {
                sandbox_id: scene.running.clone(),
                file_path: "large".into(),
                content: Some("x".repeat(FILE_BYTES)),
                content_base64: None,
            };
            let refused = api.upload(Actor::Operator, file).await.expect_err("there was memory for it");
            assert!(!refused.message.is_empty(), "{refused:?}");
            if !serve.lives() {
                break;
            }
        }
        let died = !serve.lives();
        println!("serve {}", if died { "died, and was started anew" } else { "refused, and lives on" });
        if died {
            let of_roles = old.iter().filter(|p| p.command().starts_with("ringfence-"));
            let roles: Vec<_> = of_roles.filter(|p| Some(**p) != daemon.supervisor()).copied().collect();
            wait_for("the end of the old roles", || {
                let left: Vec<_> = roles.iter().filter(|p| Some(p.pid) != daemon.outer_pid() && p.lives()).collect();
                if left.is_empty() { Ok(()) } else { Err(format!("{left:?} {}", tail(&daemon.home))) }
            });
            daemon.recover();
            let api = daemon.client();
            scene.is_stopped_and_whole(&api).await;
            let outlives = |p: &Process| Some(p.pid) == daemon.outer_pid() || Some(*p) == daemon.supervisor();
            // The audit chain is verified there as well.
            daemon.nothing_is_left_of(&old.into_iter().filter(|p| !outlives(p)).collect::<Vec<_>>());
        } else {
            limit(serve, "data", "unlimited");
            scene.went_on(&daemon.client()).await;
        }
        let api = daemon.client();
        books_add_up(&daemon).await;
        scene.clear(&api).await;
        daemon.nothing_is_left_of(&[]);
    });
    daemon.stop();
}

/// In bytes, of proc_pid_status(5).
fn data(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("root reads it");
    let line = text.lines().find_map(|line| line.strip_prefix("VmData:")).expect("a line");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// The ledger sums to the balances, and a meter is open for what runs and for nothing else. Read from a copy, beside the daemon.
async fn books_add_up(daemon: &Daemon) {
    let copy = tempfile::tempdir().expect("a directory");
    let (from, to) = (daemon.home.join("engine"), copy.path().join("engine.db"));
    copy_database(DatabaseKind::Engine, &from.join("engine.db"), &to).expect("it can be copied");
    fs::copy(from.join("sealing.key"), copy.path().join("sealing.key")).expect("a key");
    let key = SealingKey::load_or_create(&copy.path().join("sealing.key")).expect("a key");
    let store = Store::open(&to, key).expect("the copy opens");
    assert_eq!(store.read(|view| view.check_credits()).await.expect("readable"), Vec::<String>::new());
    store.close().await.expect("closed");
}
