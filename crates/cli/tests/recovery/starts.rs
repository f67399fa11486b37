//! Starts and ends in order: one daemon for each state directory, and SIGTERM.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
};

use super::{
    daemon::{Daemon, Place},
    scene::{Scene, block_on},
};
use crate::common::{self, BIN, ringfence};

#[test]
fn a_second_daemon_is_refused_with_the_pid_that_holds_the_directory() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    let second = ringfence(&daemon.home, &["serve", "--tcp", "none"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains(&format!("pid {} ", daemon.outer_pid().expect("it runs"))), "{said}");
    assert!(common::answers(&daemon.home), "the first one is not disturbed");
    daemon.stop();
}

#[test]
fn sigterm_drains_and_the_next_start_has_everything() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    let scene = block_on(async { Scene::set(&daemon.client(), "4244.5").await });
    daemon.stop();
    daemon.start();
    block_on(async {
        let api = daemon.client();
        scene.is_stopped_and_whole(&api).await;
        scene.clear(&api).await;
    });
    daemon.nothing_is_left_of(&[]);
    daemon.stop();
}

#[test]
fn a_run_says_that_the_end_of_the_daemon_ended_it() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    daemon.stop();
    let config = daemon.home.join("config.toml");
    let before = fs::read_to_string(&config).unwrap_or_default();
    fs::write(&config, format!("{before}\n[daemon]\ndrain_seconds = 1\n")).expect("root writes it");
    daemon.start();
    let mut run = Command::new(BIN)
        .args(["run", "-", "--language", "python", "--home"])
        .arg(&daemon.home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let code = "import time\nprint('begun', flush=True)\ntime.sleep(60)\n";
    run.stdin.take().expect("a pipe").write_all(code.as_bytes()).expect("it reads");
    let mut first = String::new();
    BufReader::new(run.stdout.take().expect("a pipe")).read_line(&mut first).expect("it says something");
    assert_eq!(first, "begun\n");
    daemon.stop();
    let ended = run.wait().expect("it is our child");
    let mut said = String::new();
    run.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
    assert!(said.contains("the daemon was stopped"), "{said}");
    assert_eq!(ended.code(), Some(137), "killed, as shells report it: {said}");
    fs::write(&config, before).expect("root writes it");
}
