//! Two installations on one host.

use rustix::process::{Pid, Signal, kill_process};

use super::{
    daemon::{Daemon, Place},
    patience::wait_for,
    scene::{Scene, block_on},
};
use crate::common::tail;

#[test]
fn of_two_installations_neither_touches_the_other() {
    let (here, there) = (Place::take(), Place::take());
    let (ours, theirs) = (Daemon::of(&here), Daemon::of(&there));
    block_on(async {
        let scene = Scene::set(&ours.client(), "4247.5").await;
        let other = Scene::set(&theirs.client(), "4248.5").await;
        ours.nothing_is_left_of(&[]);
        let before = ours.tree();
        // The other one dies at once, and its next start clears away whatever it takes for left over.
        let old = theirs.tree();
        let outer = Pid::from_raw(theirs.outer_pid().expect("it runs")).expect("not 0");
        kill_process(outer, Signal::KILL).expect("it is there");
        wait_for("its end", || {
            theirs.ended();
            let left: Vec<_> = old.iter().filter(|p| p.lives()).map(|p| p.command()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} {}", tail(&theirs.home))) }
        });
        theirs.recover();
        other.is_stopped_and_whole(&theirs.client()).await;
        theirs.nothing_is_left_of(&old);
        let gone: Vec<_> = before.iter().filter(|p| !p.lives()).collect();
        assert!(gone.is_empty(), "{gone:?} have ended with another installation's daemon");
        scene.went_on(&ours.client()).await;
        other.clear(&theirs.client()).await;
        theirs.stop();
        scene.went_on(&ours.client()).await;
        scene.clear(&ours.client()).await;
        ours.nothing_is_left_of(&[]);
    });
    ours.stop();
}
