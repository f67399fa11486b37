//! One part is killed, and what it held is looked at.

use std::{
    fs,
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, ExecuteRequest, ExecutionRequest, ExecutionStatus, ListRequest, SandboxStatus,
};

use super::{
    daemon::{Daemon, Place, Victim},
    patience::wait_for,
    process::Process,
    scene::{Scene, bash, block_on, named},
};

/// Kills a part of the daemon and looks at everything afterwards.
fn check(victim: Victim) {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    block_on(async {
        let api = daemon.client();
        let scene = Scene::set(&api, "4242.5").await;
        let old = daemon.tree();
        let killed = wait_for("somebody to kill", || daemon.victim(victim).ok_or_else(|| format!("no {victim:?}")));
        killed.kill();
        wait_for("its death", || if killed.lives() { Err(format!("{victim:?}")) } else { Ok(()) });
        let all_die = !matches!(victim, Victim::Zygote | Victim::ParkedInterpreter);
        if all_die {
            wait_for("the end of the old roles", || {
                let left: Vec<_> = old.iter().filter(|p| p.command().starts_with("ringfence-") && p.lives()).collect();
                if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
            });
        }
        daemon.recover();
        let api = daemon.client();
        if all_die {
            scene.is_stopped_and_whole(&api).await;
            // The outer process and the supervisor live on when only the roles died.
            let gone: Vec<_> = old
                .iter()
                .copied()
                .filter(|p| {
                    !(matches!(victim, Victim::Serve | Victim::Jailer)
                        && (Some(p.pid) == daemon.outer_pid() || Some(*p) == daemon.supervisor()))
                })
                .collect();
            daemon.nothing_is_left_of(&gone);
        } else {
            scene.went_on(&api).await;
            daemon.nothing_is_left_of(&[killed]);
        }
        scene.clear(&api).await;
        daemon.nothing_is_left_of(&[killed]);
    });
    daemon.stop();
}

#[test]
fn serve_is_killed() {
    check(Victim::Serve);
}

#[test]
fn the_jailer_is_killed() {
    check(Victim::Jailer);
}

#[test]
fn the_supervisor_is_killed() {
    check(Victim::Supervisor);
}

#[test]
fn the_outer_process_is_killed() {
    check(Victim::Outer);
}

#[test]
fn a_zygote_is_killed() {
    check(Victim::Zygote);
}

#[test]
fn parked_interpreters_are_killed() {
    check(Victim::ParkedInterpreter);
}

/// Kills the first process of the sandbox in which a program with this mark runs. Answers the program.
fn kill_init(daemon: &Daemon, mark: &str) -> Process {
    let sleeper = wait_for("the sleeper", || {
        let found = daemon.tree().into_iter().find(|p| p.command().contains(mark) && p.depth() == 3);
        found.ok_or_else(|| "not there".into())
    });
    // The only process whose parent is the jailer and which is pid 1 of the sleeper's namespace.
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", sleeper.pid)).expect("its namespace");
    let init = daemon.tree().into_iter().find(|p| {
        fs::read_link(format!("/proc/{}/ns/pid", p.pid)).is_ok_and(|n| n == namespace)
            && p.command().starts_with("init")
    });
    init.expect("an init").kill();
    sleeper
}

#[test]
fn a_failed_sandbox_is_cleared_away_when_its_lifetime_is_over() {
    const LIFETIME_S: u64 = 30;
    // Failed ones are looked for every minute.
    const PATIENCE: Duration = Duration::from_secs(150);
    let place = Place::take();
    let daemon = Daemon::of(&place);
    block_on(async {
        let api = daemon.client();
        let request =
            CreateRequest { template: "python".into(), timeout: Some(LIFETIME_S), ..CreateRequest::default() };
        let id = api.create(Actor::Operator, request, None).await.expect("a sandbox").sandbox_id.to_string();
        let sleep = ExecuteRequest { background: true, ..bash(&id, "sleep 4244.5") };
        api.execute(Actor::Operator, sleep).await.expect("begun");
        let sleeper = kill_init(&daemon, "4244.5");
        wait_for("the failed state", || {
            let failed = daemon.listed("failed");
            if failed.contains(&id) { Ok(()) } else { Err(format!("{failed:?}")) }
        });
        let listed = api.list(Actor::Operator, ListRequest::default()).await.expect("a list").sandboxes;
        assert!(
            listed.iter().any(|one| one.sandbox_id.as_str() == id && one.disk_bytes.is_some()),
            "it keeps its files"
        );
        let end = Instant::now() + PATIENCE;
        while !daemon.listed("expired").contains(&id) {
            assert!(Instant::now() < end, "it is still there: {:?}", daemon.listed("failed"));
            std::thread::sleep(Duration::from_millis(200));
        }
        let status = api.status(Actor::Operator, named(&id)).await.expect("known").sandbox;
        assert!(status.reason.is_some_and(|why| why.contains("first process died")));
        daemon.nothing_is_left_of(&[sleeper]);
    });
    daemon.stop();
}

#[test]
fn a_sandbox_whose_first_process_is_killed_has_failed_alone() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    block_on(async {
        let api = daemon.client();
        let scene = Scene::set(&api, "4243.5").await;
        let sleeper = kill_init(&daemon, "4243.5");
        wait_for("the failed state", || {
            let failed = daemon.listed("failed");
            if failed.contains(&scene.running) { Ok(()) } else { Err(format!("{failed:?}")) }
        });
        let request = ExecutionRequest { execution_id: scene.execution.clone(), wait: None };
        let execution = api.execution(Actor::Operator, request).await.expect("known");
        // `failed` when its own end, by SIGKILL, is seen before init's.
        assert!(matches!(execution.status, ExecutionStatus::Killed | ExecutionStatus::Failed), "{execution:?}");
        assert_eq!(execution.exit_code, Some(137));
        assert_eq!(
            api.status(Actor::Operator, named(&scene.paused)).await.expect("known").status,
            SandboxStatus::Paused
        );
        api.resume(Actor::Operator, named(&scene.paused)).await.expect("resumed");
        scene.has_its_files(&api, &scene.paused).await;
        daemon.nothing_is_left_of(&[sleeper]);
        scene.clear(&api).await;
        daemon.nothing_is_left_of(&[sleeper]);
    });
    daemon.stop();
}
