//! Copies of databases that are in use, and of damaged ones.

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringfence_store::{CopyError, DatabaseKind, Store, Verification, copy_database};
use support::{Place, add_sandbox, append, sandbox_id};

/// Bytes of SQLite's pages here.
const PAGE: u64 = 4096;

/// Opens a copy with the key of the original.
fn open_copy(place: &Place, dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("engine.db"), place.key()).expect("a copy opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_database_that_is_written_to_is_whole() {
    let place = Place::new();
    let store = place.open();
    add_sandbox(&store, 1).await;
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, over) = (store.clone(), Arc::clone(&over));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                append(&store, 1).await;
            }
        })
    };
    let mut last = 0;
    for _ in 0..10 {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (place.database(), dir.path().join("engine.db"));
        let made = tokio::task::spawn_blocking(move || copy_database(DatabaseKind::Engine, &from, &to));
        let copied = made.await.expect("no panic").expect("it is copied");
        assert!(copied.head.seq >= last, "{copied:?}");
        last = copied.head.seq;
        let mode = fs::metadata(dir.path().join("engine.db")).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        let copy = open_copy(&place, &dir);
        assert!(copy.sandbox(&sandbox_id(1)).await.expect("readable").is_some());
        let Verification::Sound(whole) = copy.verify(1, None).await.expect("readable") else { panic!("not whole") };
        assert_eq!(whole.head, copied.head);
        copy.close().await.expect("closed");
    }
    over.store(true, Ordering::Relaxed);
    writer.await.expect("the writer was not disturbed");
}

#[tokio::test]
async fn another_kind_another_file_and_a_copy_in_the_way_are_refused() {
    let place = Place::new();
    add_sandbox(&place.open(), 1).await;
    let dir = tempfile::tempdir().expect("a directory");
    let to = dir.path().join("copy");
    let error = copy_database(DatabaseKind::Gate, &place.database(), &to).expect_err("it is the engine's");
    assert!(matches!(error, CopyError::NotOurs { .. }), "{error}");
    fs::write(dir.path().join("diary"), "Dear diary, ".repeat(100)).expect("a file");
    let error = copy_database(DatabaseKind::Engine, &dir.path().join("diary"), &to).expect_err("it is none");
    assert!(matches!(error, CopyError::NotOurs { .. }), "{error}");
    fs::write(&to, "mine").expect("a file");
    let error = copy_database(DatabaseKind::Engine, &place.database(), &to).expect_err("it would be overwritten");
    assert!(matches!(error, CopyError::File { .. }), "{error}");
    assert_eq!(fs::read_to_string(&to).expect("it is there"), "mine");
}

/// The newest page is overwritten: what is said, and what becomes of the rest.
#[tokio::test]
async fn a_damaged_newest_page_is_found_by_a_copy_which_writes_nothing_to_its_source() {
    let place = Place::new();
    let store = place.open();
    append(&store, 200).await;
    store.close().await.expect("closed");
    let pages = fs::metadata(place.database()).expect("it is there").len() / PAGE;
    let file = OpenOptions::new().write(true).open(place.database()).expect("root and owner may");
    file.write_all_at(&[0xa5; PAGE as usize], (pages - 1) * PAGE).expect("written");
    drop(file);
    let before = fs::read(place.database()).expect("readable");
    let dir = tempfile::tempdir().expect("a directory");
    let error = copy_database(DatabaseKind::Engine, &place.database(), &dir.path().join("copy")).expect_err("damaged");
    assert!(matches!(error, CopyError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("restore the newest backup"), "{error}");
    assert!(fs::read(place.database()).expect("readable") == before, "a copy writes nothing to its source");
}
