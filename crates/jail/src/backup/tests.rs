//! Backups there and back, and archives that somebody else has made.

use std::{
    fs,
    io::Write,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    build::listing,
    layer::entry::{END, Entry, Kind},
};

fn manifest(disks_bytes: Option<u64>) -> Manifest {
    let engine = Head { seq: 3, hash: "ab".repeat(32), schema: 7 };
    Manifest { format: FORMAT, version: "0.0.0".into(), engine, gate: None, disks_bytes }
}

fn digest_of(root: &Path) -> String {
    let root = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("a directory");
    listing::list(&root).expect("it is listed").digest
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A state directory with something of everything; the name of its layer.
fn home(dir: &Path) -> (PathBuf, String) {
    let home = dir.join("home");
    for below in ["engine/logs", "engine/builds", "gate/cache", "venue", "run", "layers/new"] {
        fs::create_dir_all(home.join(below)).expect("a directory");
    }
    let root = home.join("layers/new/rootfs");
    let long = "d".repeat(120);
    fs::create_dir_all(root.join("usr/lib").join(&long)).expect("a directory");
    fs::write(root.join("usr/lib").join(&long).join("a\nb"), "in a layer").expect("a file");
    fs::set_permissions(root.join("usr/lib"), fs::Permissions::from_mode(0o750)).expect("it is ours");
    symlink("../lib/x", root.join("usr/link")).expect("a link");
    if is_root() {
        let usr = fs::File::open(root.join("usr")).expect("a directory");
        rustix::fs::fsetxattr(&usr, listing::OPAQUE, b"y", rustix::fs::XattrFlags::empty()).expect("root may");
        let at = rustix::fs::CWD;
        let gone = root.join("gone");
        rustix::fs::mknodat(at, &gone, rustix::fs::FileType::CharacterDevice, Mode::empty(), 0).expect("root may");
        fs::set_permissions(root.join("usr/lib"), fs::Permissions::from_mode(0o4750)).expect("it is ours");
    }
    let digest = digest_of(&root);
    fs::rename(home.join("layers/new"), home.join("layers").join(&digest)).expect("it gets its name");
    for (path, text, mode) in [
        ("engine/sealing.key", "a key of the engine", 0o400),
        ("engine/engine.db", "in use", 0o600),
        ("engine/engine.db-wal", "in use", 0o600),
        ("engine/logs/1.stdout", "output", 0o600),
        ("engine/builds/1.log", "made anew", 0o600),
        ("gate/gate.key", "a key of the gate", 0o400),
        ("gate/cache/x", "fetched again", 0o600),
        ("venue/journal-0", "orders", 0o600),
        ("venue/lock", "", 0o600),
        ("run/token", "a token", 0o600),
        ("installation", "who", 0o600),
        ("config.toml", "[gate]\n", 0o644),
    ] {
        fs::write(home.join(path), text).expect("a file");
        fs::set_permissions(home.join(path), fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    fs::write(dir.join("copy.db"), "a copy").expect("a file");
    let image = fs::File::create(home.join("disks.btrfs")).expect("a file");
    image.set_len(1 << 30).expect("sparse");
    image.write_all_at(b"the first", 0).expect("written");
    image.write_all_at(b"the last", (1 << 30) - 8).expect("written");
    (home, digest)
}

fn written(dir: &Path, home: &Path, disks: bool) -> Vec<u8> {
    let copies = [("engine/engine.db".to_owned(), dir.join("copy.db"))];
    let source = Source { home, copies: &copies, manifest: manifest(disks.then_some(1 << 30)) };
    let mut bytes = Vec::new();
    write(&mut bytes, &source).expect("it is written");
    bytes
}

#[test]
fn a_home_comes_back_as_it_was_without_what_is_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (home, digest) = home(dir.path());
    let backup = written(dir.path(), &home, true);
    assert_eq!(written(dir.path(), &home, true), backup, "the same state is the same bytes");
    assert!(backup.len() < 1 << 20, "holes take no room");
    let to = dir.path().join("restored");
    fs::create_dir(&to).expect("an empty directory may be there");
    let summary = restore(&backup[..], &to).expect("it is restored");
    assert_eq!((summary.layers, summary.manifest), (1, manifest(Some(1 << 30))));
    let text = |path: &str| fs::read_to_string(to.join(path)).unwrap_or_else(|e| format!("{e}"));
    assert_eq!(text("engine/engine.db"), "a copy");
    assert_eq!(text("engine/sealing.key"), "a key of the engine");
    assert_eq!(text("gate/gate.key"), "a key of the gate");
    assert_eq!(text("venue/journal-0"), "orders");
    assert_eq!(text("engine/logs/1.stdout"), "output");
    let key = fs::metadata(to.join("engine/sealing.key")).expect("it is there");
    assert_eq!(key.mode() & 0o7777, 0o400);
    assert_eq!(fs::metadata(&to).expect("it is there").mode() & 0o077, 0, "nobody else looks into it");
    for gone in ["engine/engine.db-wal", "engine/builds", "gate/cache", "venue/lock", "run", "installation"] {
        assert!(!to.join(gone).exists(), "{gone}");
    }
    assert_eq!(digest_of(&to.join("layers").join(&digest).join("rootfs")), digest);
    let image = fs::File::open(to.join("disks.btrfs")).expect("it is there");
    assert_eq!(image.metadata().expect("it is there").len(), 1 << 30);
    let mut last = [0; 8];
    image.read_exact_at(&mut last, (1 << 30) - 8).expect("it is as long");
    assert_eq!(&last, b"the last");
    assert!(image.metadata().expect("it is there").blocks() * 512 < 64 << 20, "holes are holes again");
    // Without the disks, and into what is not empty.
    let error = restore(&backup[..], &to).expect_err("it is not empty");
    assert!(matches!(error, BackupError::Cannot(_)), "{error}");
    let without = restore(&written(dir.path(), &home, false)[..], &dir.path().join("other")).expect("restored");
    assert_eq!(without.manifest.disks_bytes, None);
    assert!(!dir.path().join("other/disks.btrfs").exists());
}

/// An archive as anybody can make one.
struct Archive(Vec<u8>, Vec<u8>);

impl Archive {
    fn new() -> Self {
        let mut archive = Self(Vec::new(), Vec::new());
        archive.file("backup.json", &serde_json::to_vec(&manifest(None)).expect("JSON"));
        archive
    }

    fn entry(&mut self, path: &str, kind: Kind, mode: u32) {
        let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let entry = Entry { path: path.into(), kind, mode, ids, time: 0 };
        self.0.extend(crate::layer::entry::encode(&entry).expect("it fits"));
    }

    fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, Kind::File(content.len() as u64), 0o600);
        self.content(content);
        let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        self.1.extend(format!("{hex}  {}\n", path.as_bytes().escape_ascii()).into_bytes());
    }

    fn content(&mut self, content: &[u8]) {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn dir(&mut self, path: &str) {
        self.entry(path, Kind::Directory, 0o700);
    }

    fn packed(mut self, after: impl FnOnce(&mut Self)) -> Vec<u8> {
        let digests = self.1.clone();
        self.entry("digests", Kind::File(digests.len() as u64), 0o600);
        self.content(&digests);
        after(&mut self);
        self.0.extend_from_slice(&END);
        let mut out = zstd::stream::Encoder::new(Vec::new(), 1).expect("zstd");
        out.write_all(&self.0).expect("in memory");
        out.finish().expect("in memory")
    }
}

/// `words` are in the refusal; `None` is the control.
#[track_caller]
fn check(words: Option<&str>, backup: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    let to = dir.path().join("home");
    match (restore(backup, &to), words) {
        (Ok(_), None) => assert!(to.join("engine/x").exists()),
        (Err(error), Some(words)) => {
            assert!(format!("{error:?} {error}").contains(words), "{words}: {error:?}");
            let left: Vec<_> = fs::read_dir(dir.path()).expect("it is there").flatten().map(|e| e.path()).collect();
            assert_eq!(left, Vec::<PathBuf>::new(), "{words}");
        }
        (done, _) => panic!("{words:?}: {done:?}"),
    }
}

const LAYER: &str = "layers/abababababababababababababababababababababababababababababababab/rootfs";

fn plain() -> Archive {
    let mut archive = Archive::new();
    archive.dir("engine");
    archive.file("engine/x", b"content");
    archive
}

#[test]
fn what_is_no_backup_of_ours_is_refused_and_leaves_nothing() {
    check(None, &plain().packed(|_| ()));
    type Change = fn(&mut Archive);
    let changes: [(&str, Change); 14] = [
        ("holds run/token", |a| a.file("run/token", b"x")),
        ("holds etc/passwd", |a| a.file("etc/passwd", b"x")),
        ("holds installation", |a| a.file("installation", b"x")),
        ("leads elsewhere", |a| a.file("engine/../../x", b"x")),
        ("absolute path", |a| a.file("/etc/cron.d/x", b"x")),
        ("not what backups hold", |a| a.entry("engine/link", Kind::Link(b"/etc".to_vec()), 0o777)),
        ("not what backups hold", |a| a.entry("engine", Kind::Link(b"/etc".to_vec()), 0o777)),
        ("not what backups hold", |a| {
            a.entry("engine/suid", Kind::File(0), 0o4700);
        }),
        ("AlreadyExists", |a| a.file("engine/x", b"again")),
        ("disks that it does not announce", |a| a.file("disks/0000000000000000", b"x")),
        ("holds layers/x/rootfs", |a| a.dir("layers/x/rootfs")),
        ("holds layers/", |a| a.dir(&LAYER[..LAYER.len() - 1])),
        ("is another", |a| {
            a.dir(LAYER);
            a.file(&format!("{LAYER}/x"), b"not of this digest");
        }),
        // ELOOP: a layer's link is not followed when something is made behind it.
        ("reaching", |a| {
            a.dir(LAYER);
            a.entry(&format!("{LAYER}/out"), Kind::Link(b"/tmp".to_vec()), 0o777);
            a.file(&format!("{LAYER}/out/ringfence-was-here"), b"x");
        }),
    ];
    for (words, change) in changes {
        let mut archive = plain();
        change(&mut archive);
        check(Some(words), &archive.packed(|_| ()));
    }
    assert!(!Path::new("/tmp/ringfence-was-here").exists());
    check(Some("follows its digests"), &plain().packed(|a| a.file("engine/late", b"x")));
    let mut other = plain();
    other.1[0] ^= 1;
    check(Some("not the one of which it has the digest"), &other.packed(|_| ()));
    let mut fewer = plain();
    fewer.1.truncate(10);
    check(Some("other files than its digests"), &fewer.packed(|_| ()));
    let whole = plain().packed(|_| ());
    check(Some("refused"), &whole[..whole.len() / 2]);
    check(Some("refused"), b"Dear diary, ");
    check(Some("refused"), b"");
    let mut newer = Archive(Vec::new(), Vec::new());
    newer.file("backup.json", br#"{"format": 2, "more": 1}"#);
    check(Some("its format is 2"), &newer.packed(|_| ()));
    let mut headless = Archive(Vec::new(), Vec::new());
    headless.dir("engine");
    check(Some("does not begin with the manifest"), &headless.packed(|_| ()));
}
