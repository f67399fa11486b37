//! A database whose pages are not what they were.

use std::{
    fs,
    os::unix::fs::FileExt,
    process::{Command, Stdio},
};

use super::daemon::{Daemon, Place};
use crate::common::{self, BIN};

/// Files of the database, each with what is in it.
fn files(daemon: &Daemon) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let names = ["engine.db", "engine.db-wal", "engine.db-shm"];
    let paths = names.map(|name| daemon.home.join("engine").join(name));
    paths.into_iter().filter_map(|path| Some((path.clone(), fs::read(path).ok()?))).collect()
}

#[test]
fn a_damaged_database_is_said_with_the_way_back_and_left_as_it_is() {
    const PAGE: u64 = 4096;
    let place = Place::take();
    let daemon = Daemon::of(&place);
    daemon.stop();
    let whole = files(&daemon);
    for (path, _) in &whole[1..] {
        fs::remove_file(path).expect("nobody has it open");
    }
    let file = fs::OpenOptions::new().write(true).open(&whole[0].0).expect("root opens it");
    let length = whole[0].1.len() as u64;
    assert!(length > 2 * PAGE);
    file.write_all_at(&vec![0xa5; usize::try_from(length - PAGE).expect("it is small")], PAGE).expect("written");
    drop(file);
    let damaged = fs::read(&whole[0].0).expect("root reads it");
    let ended = Command::new("timeout")
        .args(["60", BIN, "serve", "--tcp", "none", "--home"])
        .arg(&daemon.home)
        .stdin(Stdio::null())
        .output()
        .expect("timeout(1)");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(78), "it ends by itself, for good: {said}");
    assert_eq!(said.matches("is damaged").count(), 1, "{said}");
    assert!(said.contains("is damaged") && said.contains("`ringfence restore`"), "{said}");
    assert!(fs::read(&whole[0].0).expect("root reads it") == damaged, "nothing was written to it");

    // The control: it was the pages.
    for (path, content) in &whole {
        fs::write(path, content).expect("root writes it");
    }
    daemon.start();
    assert!(common::answers(&daemon.home));
    daemon.stop();
}
