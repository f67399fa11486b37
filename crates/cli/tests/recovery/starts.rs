//! Starts and ends in order: one daemon for each state directory, and SIGTERM.

use super::{
    daemon::{Daemon, Place},
    scene::{Scene, block_on},
};
use crate::common::{self, ringfence};

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
