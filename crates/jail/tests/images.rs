//! Images that somebody hostile wrote, and what honest ones become. Each attack on files is tried on a reader that is not ready for it
//! too, where it succeeds.
//!
//! These tests give files to other users, and need root for it: they say so and fail where it is missing.
#![allow(missing_docs, reason = "tests")]

#[path = "images/bench.rs"]
mod bench;
#[path = "images/hostile.rs"]
mod hostile;
#[path = "images/whole.rs"]
mod whole;

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use bench::{Encoding, Entry, Image, Scene, dir, file, hard, link, tar, whiteout};
use ringfence_jail::layer::image::{
    Found, Setting,
    prepare::{self, prepare},
};

#[test]
fn layers_lie_over_one_another_however_they_are_compressed() {
    let layers = [
        tar(&[dir("a"), file("a/kept", "1"), file("a/gone", "2"), file("a/changed", "3"), link("l", "a")]),
        tar(&[whiteout("a/gone"), file("a/changed", "new"), hard("a/other", "a/kept"), file("l/through", "4")]),
    ];
    for encoding in [Encoding::Plain, Encoding::Gzip, Encoding::Zstd] {
        let scene = Scene::new();
        let done = scene.unpack(&Image::of(&layers).encoding(encoding).archive()).expect("it is unpacked");
        assert_eq!(scene.listed(), ["a/", "a/changed", "a/kept", "a/other", "a/through", "l"], "{encoding:?}");
        assert_eq!(scene.read("a/changed"), "new");
        let inode = |path: &str| fs::metadata(scene.path(path)).expect("there").ino();
        assert_eq!(inode("a/kept"), inode("a/other"), "a hard link");
        assert_eq!((done.entries, done.devices), (9, 0));
    }
}

/// The image specification, `layer.md`: whiteouts speak of the layers below, wherever in their layer they stand.
#[test]
fn whiteouts_hide_what_lies_below_and_nothing_of_their_own_layer() {
    let below = tar(&[dir("d"), file("d/old", "1"), dir("d/sub"), file("d/sub/old", "2"), file("f", "3")]);
    for first in [true, false] {
        let mut entries: Vec<Entry> = vec![dir("d"), file("d/new", "4"), dir("d/sub"), file("d/sub/new", "5")];
        entries.insert(if first { 0 } else { 4 }, whiteout("d/.wh..opq"));
        let scene = Scene::new();
        scene.unpack(&Image::of(&[below.clone(), tar(&entries)]).archive()).expect("it is unpacked");
        assert_eq!(scene.listed(), ["d/", "d/new", "d/sub/", "d/sub/new", "f"], "first: {first}");
    }
    // A file that is hidden and made anew by one layer.
    for entries in [[whiteout("f"), file("f", "new")], [file("f", "new"), whiteout("f")]] {
        let scene = Scene::new();
        scene.unpack(&Image::of(&[below.clone(), tar(&entries)]).archive()).expect("it is unpacked");
        assert_eq!(scene.read("f"), "new");
    }
    // What is hidden may not be there, or anywhere; what aufs kept for itself says nothing.
    let scene = Scene::new();
    let odd = tar(&[whiteout("no/such"), whiteout("d/none"), file(".wh..wh.plnk", ""), whiteout("d/sub")]);
    scene.unpack(&Image::of(&[below, odd]).archive()).expect("it is unpacked");
    assert_eq!(scene.listed(), ["d/", "d/old", "f"]);
}

#[test]
fn what_comes_later_replaces_what_was_there() {
    let layers = [
        tar(&[dir("a"), file("a/x", "1"), file("b", "2"), link("c", "a")]),
        tar(&[file("a", "a file"), dir("b"), file("b/y", "3"), dir("c"), file("b/y", "last")]),
    ];
    let scene = Scene::new();
    scene.unpack(&Image::of(&layers).archive()).expect("it is unpacked");
    assert_eq!(scene.listed(), ["a", "b/", "b/y", "c/"]);
    assert_eq!(scene.read("b/y"), "last", "of two entries of one name the later counts");
}

#[test]
fn devices_and_set_id_bits_stay_behind_and_are_counted() {
    let layer = tar(&[
        file("su", "x").mode(0o4755),
        dir("mail").mode(0o2775),
        dir("tmp").mode(0o1777),
        Entry { kind: b'3', ..file("sda", "") },
        Entry { kind: b'6', ..file("fifo", "") },
        file("theirs", "x").owner(70_000),
        file("ours", "x").owner(1000),
    ]);
    let scene = Scene::new();
    let done = scene.unpack(&Image::of(&[layer]).archive()).expect("it is unpacked");
    assert_eq!((done.devices, done.set_ids, done.foreign), (2, 2, 1));
    assert_eq!(scene.listed(), ["mail/", "ours", "su", "theirs", "tmp/"]);
    let of = |path: &str| fs::metadata(scene.path(path)).map(|m| (m.mode() & 0o7777, m.uid())).expect("there");
    assert_eq!([of("su"), of("mail"), of("tmp")].map(|(mode, _)| mode), [0o755, 0o775, 0o1777]);
    assert_eq!((of("theirs").1, of("ours").1), (65_534, 1000));
}

fn setting(needs: &[(&str, &str)]) -> Setting {
    Setting {
        login: "app".into(),
        working_dir: "/srv/app".into(),
        path: vec!["/opt/bin".into(), "/usr/bin".into()],
        needs: needs.iter().map(|(name, why)| ((*name).into(), (*why).into())).collect(),
    }
}

#[test]
fn an_image_gets_what_every_sandbox_has() {
    let scene = Scene::new();
    let layer = tar(&[
        file("bin/bash", "#!").mode(0o755),
        file("opt/bin/python3.12", "#!").mode(0o755),
        link("opt/bin/python3", "python3.12"),
        file("usr/lib/python3.12/EXTERNALLY-MANAGED", "x"),
        file("etc/passwd", "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\napp:x:7:7::/:/bin/sh\n"),
        file("etc/shadow", "root:*:1::::::\nnode:!:1::::::\n").mode(0o600),
        link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
    ]);
    scene.unpack(&Image::of(&[layer]).archive()).expect("it is unpacked");
    prepare(&scene.root(), &setting(&[("/bin/bash", "bash"), ("python3", "python")])).expect("everything is there");
    assert_eq!(
        scene.read("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\ninit:x:999:999::/nonexistent:/usr/sbin/nologin\napp:x:1000:1000::/home/user:/bin/bash\n"
    );
    assert!(scene.read("etc/shadow").ends_with("init:!:19000::::::\napp:!:19000::::::\n"));
    assert_eq!(fs::metadata(scene.path("etc/shadow")).expect("there").mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(scene.path("etc/resolv.conf")).expect("there").is_file());
    assert_eq!(fs::read_link(scene.path("usr/bin/python3")).expect("a link").as_os_str(), "/opt/bin/python3");
    assert!(!scene.path("usr/lib/python3.12/EXTERNALLY-MANAGED").exists());
    for (path, owner) in [("home/user", 1000), ("srv/app", 1000), ("data", 0), ("run", 0)] {
        assert_eq!(fs::metadata(scene.path(path)).expect("made").uid(), owner, "{path}");
    }
    let found = prepare::look(&scene.root()).expect("it is looked at");
    assert_eq!(found, Found { python: Some("3.12".into()), forks: false, node: false });
}

#[test]
fn what_an_image_lacks_is_said_before_anything_is_changed() {
    let scene = Scene::new();
    scene.unpack(&Image::of(&[tar(&[file("bin/bash", "not executable"), dir("opt")])]).archive()).expect("unpacked");
    symlink("/opt", scene.path("etc")).expect("a link");
    let needs = [("/bin/bash", "it runs bash"), ("python3", "its language")];
    let refused = prepare(&scene.root(), &setting(&needs)).expect_err("refused").to_string();
    for word in ["/etc as a directory", "/bin/bash (it runs bash)", "python3 (its language)"] {
        assert!(refused.contains(word), "{refused}");
    }
    assert_eq!(scene.listed(), ["bin/", "bin/bash", "etc", "opt/"]);
}

#[test]
fn only_the_python_that_the_harness_is_made_for_is_forked() {
    let with = |python: &str, linker: &str| {
        let scene = Scene::new();
        let layer = tar(&[
            file(python, "x").mode(0o755),
            link("usr/bin/python3", &format!("/{python}")),
            file(linker, "x").mode(0o755),
        ]);
        scene.unpack(&Image::of(&[layer]).archive()).expect("it is unpacked");
        prepare::look(&scene.root()).expect("it is looked at")
    };
    const GLIBC: &str = "lib64/ld-linux-x86-64.so.2";
    assert!(with("usr/bin/python3.11", GLIBC).forks);
    for (python, linker) in [
        ("usr/local/bin/python3.11", GLIBC),
        ("usr/bin/python3.12", GLIBC),
        ("usr/bin/python3.11", "lib/ld-musl-x86_64.so.1"),
    ] {
        let found = with(python, linker);
        assert!(!found.forks && found.python.is_some(), "{python} {linker}: {found:?}");
    }
}
