//! Homes that somebody hostile filled, and archives that somebody hostile wrote. Each attack is tried on a tool that is not ready for
//! it too, where it succeeds.
//!
//! These tests give files to other users, and need root for it: they say so and fail where it is missing.
#![allow(missing_docs, reason = "tests")]

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, PermissionsExt, chown, symlink},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ringfence_jail::{
    build::listing,
    layer::{
        HomeReport,
        archive::{self, MANIFEST},
        entry::{self, Entry, Kind},
        home, outside, system, unpack,
    },
};
use ringfence_model::LayerDigest;

const MIB: u64 = 1 << 20;

#[track_caller]
fn must_be_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test gives files away and needs root: run it with `sudo make test`"
    );
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).expect("the test made it").into()
}

/// A sandbox's files with a home, those of its template, and an empty tree.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        must_be_root();
        let dir = tempfile::tempdir().expect("a temporary directory");
        for root in ["seen", "template"] {
            fs::create_dir_all(dir.path().join(root).join("home/user")).expect("directories");
        }
        fs::create_dir(dir.path().join("tree")).expect("a directory");
        fs::set_permissions(dir.path().join("tree"), fs::Permissions::from_mode(0o755)).expect("a mode");
        Self { dir }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("seen/home/user")
    }

    fn copied(&self) -> PathBuf {
        self.dir.path().join("tree/home/user")
    }

    fn copy(&self, bytes_max: u64, hidden: &[&str]) -> Result<HomeReport, String> {
        let at = |name: &str| open(&self.dir.path().join(name));
        let hidden: Vec<Vec<u8>> = hidden.iter().map(|value| value.as_bytes().to_vec()).collect();
        home::copy(&at("seen"), &at("template"), &at("tree"), bytes_max, &hidden)
    }
}

fn left(report: &HomeReport) -> Vec<&str> {
    let mut paths: Vec<&str> = report.left_out.iter().map(|(path, _)| path.as_str()).collect();
    paths.sort_unstable();
    paths
}

#[test]
fn what_is_no_file_stays_behind_and_links_are_not_followed() {
    let scene = Scene::new();
    let outside = tempfile::tempdir().expect("a temporary directory");
    fs::write(outside.path().join("shadow"), "of the host").expect("a file");
    let home = scene.home();
    symlink(outside.path().join("shadow"), home.join("link")).expect("a link");
    symlink(outside.path(), home.join("dir")).expect("a link");
    symlink("link", home.join("chain")).expect("a link");
    fs::write(home.join("kept.py"), "print(1)").expect("a file");
    fs::set_permissions(home.join("kept.py"), fs::Permissions::from_mode(0o6755)).expect("a mode");
    fs::write(home.join("closed"), "x").expect("a file");
    fs::set_permissions(home.join("closed"), fs::Permissions::from_mode(0o000)).expect("a mode");
    let newline = home.join(std::ffi::OsStr::from_bytes(b"new\nline \xff\xfe"));
    fs::write(&newline, "x").expect("a file");
    let _socket = UnixListener::bind(home.join("socket")).expect("a socket");
    rustix::fs::mknodat(rustix::fs::CWD, home.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .expect("a FIFO");
    rustix::fs::setxattr(home.join("kept.py"), "user.x", b"y", rustix::fs::XattrFlags::empty()).expect("an attribute");
    // The control: a copy that follows links has the host's file.
    let naive = outside.path().join("naive");
    let status = Command::new("cp").arg("-rL").arg(home.join("link")).arg(&naive).status().expect("cp(1)");
    assert!(status.success() && fs::read_to_string(&naive).expect("copied") == "of the host");

    let report = scene.copy(MIB, &[]).expect("copied");
    assert_eq!(left(&report), ["fifo", "socket"]);
    let copied = scene.copied();
    assert_eq!(fs::read_link(copied.join("link")).expect("a link"), outside.path().join("shadow"));
    assert!(fs::symlink_metadata(copied.join("dir")).expect("there").is_symlink());
    let kept = fs::metadata(copied.join("kept.py")).expect("there");
    assert_eq!((kept.mode() & 0o7777, kept.uid(), kept.gid()), (0o755, 1000, 1000), "no set-id bit, and the user's");
    assert!(rustix::fs::getxattr(copied.join("kept.py"), "user.x", &mut [0; 8][..]).is_err(), "no attribute");
    assert!(copied.join(newline.file_name().expect("named")).exists());
    assert_eq!(fs::read_to_string(copied.join("closed")).expect("there"), "x");
}

#[test]
fn secrets_and_what_stands_for_them_stay_behind_in_every_form() {
    const VALUE: &str = "PKTESTTESTTESTTESTTESTTEST1";
    let fill = |scene: &Scene| {
        let home = scene.home();
        let base64 = Command::new("base64").arg("-w0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut base64 = base64.expect("base64(1)");
        std::io::Write::write_all(&mut base64.stdin.take().expect("piped"), format!("x{VALUE}y").as_bytes())
            .expect("reads");
        let base64 = base64.wait_with_output().expect("ends").stdout;
        fs::write(home.join("base64.txt"), base64).expect("a file");
        fs::write(home.join("plain.py"), format!("KEY = '{VALUE}'")).expect("a file");
        // Across the blocks that are read at once.
        let mut long = vec![b'.'; (256 << 10) - 10];
        long.extend_from_slice(VALUE.as_bytes());
        fs::write(home.join("long.bin"), long).expect("a file");
        let hex: String = VALUE.bytes().map(|byte| format!("{byte:02x}")).collect();
        fs::write(home.join("hex.txt"), hex).expect("a file");
        fs::write(home.join(format!("named-{VALUE}")), "x").expect("a file");
        symlink(format!("/nowhere/{VALUE}"), home.join("to")).expect("a link");
        fs::write(home.join("pem.txt"), "-----BEGIN EC PRIVATE KEY-----\nAAAA\n").expect("a file");
        fs::write(home.join(".env"), "A=b").expect("a file");
        fs::write(home.join(".bash_history"), "export A=b").expect("a file");
        fs::create_dir_all(home.join(".ssh")).expect("a directory");
        fs::write(home.join(".ssh/id_rsa"), "x").expect("a file");
        let package = home.join(".local/lib/python3.11/site-packages/p");
        fs::create_dir_all(&package).expect("directories");
        fs::write(package.join("test.pem"), "-----BEGIN PRIVATE KEY-----").expect("a file");
        fs::write(home.join("strategy.py"), "print('no secret')").expect("a file");
    };
    let scene = Scene::new();
    fill(&scene);
    let report = scene.copy(MIB, &[VALUE]).expect("copied");
    let expected = [
        "(a name with a secret in it)",
        ".bash_history",
        ".env",
        ".ssh",
        "base64.txt",
        "hex.txt",
        "long.bin",
        "pem.txt",
        "plain.py",
        "to",
    ];
    assert_eq!(left(&report), expected);
    assert!(!serde_json::to_string(&report).expect("plain").contains(VALUE), "the report tells it");
    let found = Command::new("grep").arg("-rl").arg(VALUE).arg(scene.copied()).output().expect("grep(1)");
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    assert!(scene.copied().join("strategy.py").exists());
    assert!(scene.copied().join(".local/lib/python3.11/site-packages/p/test.pem").exists(), "what a package ships");
    // The control: where nothing is to be hidden, the same files come along.
    let control = Scene::new();
    fill(&control);
    control.copy(MIB, &[]).expect("copied");
    let found = Command::new("grep").arg("-rl").arg(VALUE).arg(control.copied()).output().expect("grep(1)");
    assert_eq!(String::from_utf8_lossy(&found.stdout).lines().count(), 2, "plain.py and long.bin");
}

#[test]
fn a_home_is_bounded_in_bytes_and_depth() {
    let scene = Scene::new();
    let sparse = fs::File::create(scene.home().join("sparse")).expect("a file");
    sparse.set_len(64 * MIB).expect("a size");
    assert_eq!(
        fs::metadata(scene.home().join("sparse")).expect("there").blocks(),
        0,
        "the control: it takes no room here"
    );
    let refused = scene.copy(32 * MIB, &[]).expect_err("refused");
    assert!(refused.contains("sparse"), "{refused}");
    let fits = Scene::new();
    fs::rename(scene.home().join("sparse"), fits.home().join("sparse")).expect("moved");
    fits.copy(64 * MIB, &[]).expect("copied");
    let copied = fs::metadata(fits.copied().join("sparse")).expect("there");
    assert_eq!((copied.len(), copied.blocks()), (64 * MIB, 0), "zeros take no room");

    let deep = Scene::new();
    let path = (0..150).fold(deep.home(), |path, _| path.join("d"));
    fs::create_dir_all(path).expect("directories");
    let refused = deep.copy(MIB, &[]).expect_err("refused");
    assert!(refused.contains("deeper"), "{refused}");
}

#[test]
fn what_is_left_out_is_the_templates_own() {
    let scene = Scene::new();
    let template = scene.dir.path().join("template/home/user/.cache/fonts");
    fs::create_dir_all(&template).expect("directories");
    fs::write(template.join("list"), "of the template").expect("a file");
    fs::create_dir_all(scene.home().join(".cache/fonts")).expect("directories");
    fs::write(scene.home().join(".cache/fonts/list"), "of the sandbox").expect("a file");
    fs::write(scene.home().join(".cache/token"), "of the sandbox").expect("a file");
    // A file of the template that the sandbox has deleted stays deleted.
    fs::write(scene.dir.path().join("template/home/user/deleted.py"), "x").expect("a file");
    let report = scene.copy(MIB, &[]).expect("copied");
    assert_eq!(left(&report), [".cache"]);
    assert_eq!(fs::read_to_string(scene.copied().join(".cache/fonts/list")).expect("there"), "of the template");
    assert!(!scene.copied().join(".cache/token").exists() && !scene.copied().join("deleted.py").exists());
}

/// Files below a directory, with their directories; each belongs to root or to whom it is given.
fn fill(root: &Path, files: &[(&str, &str, u32)]) {
    for (path, text, owner) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("directories");
        fs::write(&path, text).expect("a file");
        chown(&path, Some(*owner), Some(*owner)).expect("given away");
    }
}

#[test]
fn in_a_root_what_is_not_roots_is_judged_and_keys_of_one_machine_stay_behind() {
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n";
    let scene = Scene::new();
    let at = |name: &str| open(&scene.dir.path().join(name));
    fill(
        &scene.dir.path().join("seen"),
        &[
            ("etc/ssh/ssh_host_ed25519_key", KEY, 0),
            ("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA", 0),
            ("etc/ssh/sshd_config", "Port 22", 0),
            ("etc/machine-id", "00000000000000000000000000000001", 0),
            ("etc/service/tls.txt", KEY, 0),
            ("usr/share/doc/tls/example.pem", KEY, 0),
            ("srv/packaged/.netrc", "an example", 0),
            ("srv/app/.netrc", "machine x", 1000),
            ("srv/app/notes.txt", KEY, 1000),
            ("srv/app/server.key", "x", 1000),
            ("srv/app/main.py", "print(1)", 1000),
            ("srv/app/node_modules/tls/test.pem", KEY, 1000),
            ("var/lib/postgresql/.pgpass", "x", 105),
            ("home/user/strategy.py", "print(2)", 1000),
        ],
    );
    let report = system::copy(&at("seen"), &at("tree"), MIB, &[]).expect("copied");
    let expected = [
        "/etc/machine-id",
        "/etc/service/tls.txt",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/srv/app/.netrc",
        "/srv/app/notes.txt",
        "/srv/app/server.key",
        "/var/lib/postgresql/.pgpass",
    ];
    assert_eq!(left(&report), expected);
    let tree = scene.dir.path().join("tree");
    for path in expected {
        assert!(!tree.join(&path[1..]).exists(), "{path}");
    }
    for path in [
        "etc/ssh/sshd_config",
        "usr/share/doc/tls/example.pem",
        "srv/packaged/.netrc",
        "srv/app/main.py",
        "srv/app/node_modules/tls/test.pem",
    ] {
        assert!(tree.join(path).exists(), "{path}");
    }
    assert!(!tree.join("home/user/strategy.py").exists(), "the home has a layer of its own");
}

#[test]
fn changes_outside_of_the_home_are_found() {
    let scene = Scene::new();
    let at = |name: &str| open(&scene.dir.path().join(name));
    let of = |name: &str| scene.dir.path().join(name);
    fs::create_dir(of("changes")).expect("a directory");
    let app = [("srv/app/main.py", "1", 1000), ("srv/app/old.py", "2", 1000), ("srv/app/lib/a.py", "3", 1000)];
    fill(&of("template"), &app);
    fill(&of("template"), &[("srv/app/same/b.py", "4", 1000), ("etc/x", "5", 0)]);
    fill(&of("seen"), &[("srv/app/main.py", "changed", 1000), ("srv/app/same/b.py", "4", 1000), ("etc/x", "5", 0)]);
    // The control: what is asked for elsewhere, and directories in which nothing was changed.
    let elsewhere = [("home/user/z", "z", 1000), ("tmp/t", "t", 1000), ("var/tmp/v", "v", 1000)];
    fill(&of("changes"), &elsewhere);
    for dir in ["etc", "srv/app/same"] {
        fs::create_dir_all(of("changes").join(dir)).expect("directories");
    }
    fs::create_dir_all(of("seen").join("var/tmp")).expect("directories");
    fs::create_dir_all(of("template").join("var/tmp")).expect("directories");
    let quiet = Scene::new();
    fs::rename(of("changes"), quiet.dir.path().join("changes")).expect("moved");
    let changes = || open(&quiet.dir.path().join("changes"));
    let missing = outside::look(&changes(), &at("template"), &at("template"), &[]).expect("looked at");
    assert_eq!((left(&missing), missing.left_out_count), (Vec::new(), 0));

    let changed = quiet.dir.path().join("changes");
    fill(&changed, &[("srv/app/main.py", "changed", 1000), ("srv/app/new/deep/f", "x", 1000)]);
    // A whiteout, and a directory that was made anew and hides the template's.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        changed.join("srv/app/old.py"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .expect("a whiteout");
    for root in [&changed, &of("seen")] {
        fs::create_dir(root.join("srv/app/lib")).expect("a directory");
    }
    fill(&of("seen"), &[("srv/app/new/deep/f", "x", 1000)]);
    let report = outside::look(&changes(), &at("seen"), &at("template"), &[]).expect("looked at");
    assert_eq!(left(&report), ["/srv/app/lib", "/srv/app/main.py", "/srv/app/new", "/srv/app/old.py"]);
    assert_eq!(report.left_out_count, 4);
    // A name tells no secret.
    let hidden = outside::look(&changes(), &at("seen"), &at("template"), &[b"main.py".to_vec()]).expect("looked at");
    assert!(left(&hidden).contains(&"(a name with a secret in it)") && !left(&hidden).contains(&"/srv/app/main.py"));
}

/// A home as a layer on disk, its digest as a home, and its archive.
fn layer() -> (tempfile::TempDir, LayerDigest, Vec<u8>) {
    let scene = Scene::new();
    fs::write(scene.home().join("a.py"), "print(1)\n").expect("a file");
    fs::create_dir(scene.home().join("b")).expect("a directory");
    fs::write(scene.home().join("b/long-".to_owned() + &"n".repeat(120)), vec![7; 3000]).expect("a file");
    symlink("a.py", scene.home().join("c")).expect("a link");
    scene.copy(MIB, &[]).expect("copied");
    let root = scene.dir.path().join("tree");
    for path in [&root, &root.join("home")] {
        chown(path, Some(0), Some(0)).expect("given back");
    }
    let home = open(&scene.copied());
    rustix::fs::fsetxattr(&home, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).expect("as root");
    let digest = LayerDigest::parse(&listing::list(&open(&root)).expect("listed").digest).expect("a digest");
    let mut bytes = Vec::new();
    archive::write(&mut bytes, b"{}", &[(digest.clone(), open(&root))]).expect("written");
    (scene.dir, digest, bytes)
}

/// Unpacks into a directory beside which a file lies that must stay as it is.
fn unpacked(bytes: &[u8], digest: &LayerDigest, bytes_max: u64) -> (Result<(), String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("beside"), "untouched").expect("a file");
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).expect("a directory");
    let done = unpack::unpack(&mut &bytes[..], vec![(digest.clone(), true, Some(open(&tree)))], bytes_max);
    let around: Vec<_> = fs::read_dir(dir.path()).expect("a directory").flatten().map(|e| e.file_name()).collect();
    assert_eq!(around.len(), 2, "it wrote beside its tree: {around:?}");
    assert_eq!(fs::read_to_string(dir.path().join("beside")).expect("there"), "untouched");
    (done.map_err(|e| e.to_string()), dir)
}

#[test]
fn an_archive_comes_back_as_it_was_and_is_the_same_twice() {
    let (scene, digest, bytes) = layer();
    let (done, dir) = unpacked(&bytes, &digest, MIB);
    done.expect("unpacked");
    let home = open(&dir.path().join("tree/home/user"));
    rustix::fs::fsetxattr(&home, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).expect("as root");
    let root = dir.path().join("tree");
    assert_eq!(listing::list(&open(&root)).expect("listed").digest, digest.as_str());
    let time = |root: &Path| fs::metadata(root.join("home/user/a.py")).expect("there").mtime();
    assert_eq!(time(&root), time(&scene.path().join("tree")));
    let mut again = Vec::new();
    archive::write(&mut again, b"{}", &[(digest.clone(), open(&root))]).expect("written");
    assert!(again == bytes, "the same layer is the same bytes, also from where it was unpacked");
    assert_eq!(unpack::manifest(&mut &bytes[..]).expect("there"), b"{}");
}

#[test]
fn an_archive_that_was_changed_is_refused_wherever_it_was() {
    let (_scene, digest, bytes) = layer();
    unpacked(&bytes, &digest, MIB).0.expect("the control");
    // What is not looked at: the manifest's own content, which is judged by whoever reads it, and times.
    let mut accepted = 0;
    for at in (0..bytes.len()).step_by(37) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x11;
        let manifest = entry::BLOCK..entry::BLOCK + 2;
        accepted += i32::from(unpacked(&changed, &digest, MIB).0.is_ok() && !manifest.contains(&at));
    }
    assert_eq!(accepted, 0);
    for length in (0..bytes.len()).step_by(101) {
        assert!(unpacked(&bytes[..length], &digest, MIB).0.is_err(), "cut off after {length} bytes");
    }
}

/// Any bytes, from a seed: no panic, and nothing outside.
#[test]
fn no_bytes_write_outside_or_panic() {
    let (_scene, digest, bytes) = layer();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..600 {
        let mut changed = bytes.clone();
        for _ in 0..=random() % 8 {
            let at = usize::try_from(random()).expect("64 bits") % changed.len();
            match random() % 4 {
                0 => changed[at] = random().to_le_bytes()[0],
                1 => {
                    changed.truncate(at.max(1));
                }
                2 => {
                    let block = at / 512 * 512;
                    let copied: Vec<u8> = changed[block..changed.len().min(block + 512)].to_vec();
                    changed.splice(block..block, copied);
                }
                _ => {
                    // A header whose sum is right again after it was changed.
                    let block = at / 512 * 512;
                    if let Some(header) = changed.get_mut(block..block + 512) {
                        header[usize::try_from(random() % 257).expect("small")] = b"/.\0a5"[round % 5];
                        header[148..156].fill(b' ');
                        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
                        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
                    }
                }
            }
        }
        let _ = unpacked(&changed, &digest, MIB);
    }
}

/// An archive of a home with these entries in the place of what is in it.
fn forged(digest: &LayerDigest, entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let root = String::from_utf8(archive::root_path(digest)).expect("plain");
    let mut bytes = Vec::new();
    let mut put = |entry: &Entry, content: &[u8]| {
        bytes.extend_from_slice(&entry::encode(entry).expect("it can be written"));
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(entry::BLOCK), 0);
    };
    let dir = |path: &str, id| Entry { path: path.into(), kind: Kind::Directory, mode: 0o755, ids: (id, id), time: 0 };
    put(&Entry { kind: Kind::File(2), mode: 0o644, path: MANIFEST.to_vec(), ..dir("", 0) }, b"{}");
    put(&dir(&root, 0), b"");
    put(&dir(&format!("{root}/home"), 0), b"");
    put(&dir(&format!("{root}/home/user"), 1000), b"");
    for (entry, content) in entries {
        let path = [root.as_bytes(), b"/", &entry.path].concat();
        put(&Entry { path, ..entry.clone() }, content);
    }
    bytes.extend_from_slice(&entry::END);
    bytes
}

#[track_caller]
fn refused(digest: &LayerDigest, entries: &[(Entry, &[u8])], why: &str) {
    let error = unpacked(&forged(digest, entries), digest, MIB).0.expect_err("refused");
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_hostile_archive_is_refused_where_tar_obeys() {
    let (_scene, digest, _) = layer();
    let user = |path: &str, kind| Entry { path: path.into(), kind, mode: 0o644, ids: (1000, 1000), time: 0 };
    let file = |path: &str| user(path, Kind::File(0));
    // Nothing of this is refused but that the digest is another one: the forger's own format is right.
    refused(&digest, &[(file("home/user/a"), b"")], "was changed");

    refused(&digest, &[(file("home/user/../../../beside"), b"")], "elsewhere");
    refused(&digest, &[(file("etc/passwd"), b"")], "not in the home");
    refused(&digest, &[(file("home/user2"), b"")], "not in the home");
    refused(&digest, &[(file("usr/bin/python3"), b"")], "not in the home");
    refused(&digest, &[(file("home/user/a"), b""), (file("home/user/a"), b"")], "twice");
    refused(&digest, &[(file("home/user/b"), b""), (file("home/user/a"), b"")], "order");
    refused(&digest, &[(file("home/user/missing/a"), b"")], "directory is missing");
    refused(&digest, &[(Entry { mode: 0o4755, ..file("home/user/a") }, b"")], "set-id");
    refused(&digest, &[(Entry { ids: (0, 0), ..file("home/user/a") }, b"")], "somebody else");
    refused(&digest, &[(Entry { ids: (1000, 70_000), ..file("home/user/a") }, b"")], "nobody");
    refused(&digest, &[(user("home/user/big", Kind::File(2 * MIB)), b"")], "more bytes");
    // A link that leads out, and then a file through it: where tar is told to keep what is there, it writes through.
    let through = [(user("home/user/l", Kind::Link(b"/tmp".to_vec())), &b""[..]), (file("home/user/l/through"), b"")];
    refused(&digest, &through, "directory is missing");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
    fs::create_dir(&inside).expect("a directory");
    fs::create_dir(&outside).expect("a directory");
    let target = outside.as_os_str().as_bytes().to_vec();
    let control =
        forged(&digest, &[(user("home/user/l", Kind::Link(target)), b""), (file("home/user/l/through"), b"")]);
    let mut tar = Command::new("tar")
        .args(["--extract", "--keep-directory-symlink", "--absolute-names", "--directory"])
        .arg(&inside)
        .stdin(Stdio::piped())
        .spawn()
        .expect("tar(1)");
    std::io::Write::write_all(&mut tar.stdin.take().expect("piped"), &control).expect("tar reads");
    tar.wait().expect("it ends");
    assert!(outside.join("through").exists(), "the control: another program obeys");
}

#[test]
fn what_an_archive_must_not_hold_has_no_form() {
    let (_scene, digest, bytes) = layer();
    // Every entry of the real archive, turned into what it must not be.
    for (kind, why) in [(b'1', "hard link"), (b'3', "device"), (b'4', "device"), (b'6', "FIFO"), (b'7', "unknown")] {
        let mut changed = bytes.clone();
        let at = changed.windows(5).position(|w| w == b"/a.py").expect("it is there") / entry::BLOCK * entry::BLOCK;
        let header = &mut changed[at..at + entry::BLOCK];
        header[156] = kind;
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let error = unpacked(&changed, &digest, MIB).0.expect_err("refused");
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn an_archive_that_grows_too_much_is_refused() {
    const GROWN: u64 = 512 << 20;
    let zeros = std::io::Read::take(std::io::repeat(0), GROWN);
    let bomb = zstd::encode_all(zeros, 3).expect("encoded");
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    // The control: zstd alone gives all of it.
    let mut all = zstd::stream::Decoder::new(&bomb[..]).expect("zstd");
    assert_eq!(std::io::copy(&mut all, &mut std::io::sink()).expect("decoded"), GROWN);
    let mut bounded = unpack::decoder(&bomb[..]).expect("zstd");
    let error = std::io::copy(&mut bounded, &mut std::io::sink()).expect_err("refused");
    assert!(error.to_string().contains("times its size"), "{error}");
    // Text that shrinks to a tenth is welcome.
    let text: String = (0..4_000_000_u64).map(|n| format!("{},{}\n", n, n.wrapping_mul(0x9e37_79b9))).collect();
    assert!(text.len() as u64 > 64 * MIB);
    let packed = zstd::encode_all(text.as_bytes(), 3).expect("encoded");
    let mut bounded = unpack::decoder(&packed[..]).expect("zstd");
    assert_eq!(std::io::copy(&mut bounded, &mut std::io::sink()).expect("decoded"), text.len() as u64);
}
