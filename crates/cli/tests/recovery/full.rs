//! No room is left for the daemon's own state.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::Actor;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    daemon::{Daemon, Place},
    patience::wait_for,
    scene::{bash, block_on, create, named},
};
use crate::common::{self, BIN, ringfence};

/// On a tmpfs of its own, in a mount namespace of its own: a copy of the state directory, and little room beside it.
#[test]
fn a_full_state_directory_is_said_and_loses_nothing() {
    const ROOM_MIB: u64 = 192;
    let place = Place::take();
    let source = Daemon::of(&place);
    source.stop();
    let du = Command::new("du").args(["-sm", "layers"]).current_dir(&source.home).output().expect("du(1)");
    let used: u64 =
        String::from_utf8_lossy(&du.stdout).split_whitespace().next().expect("a number").parse().expect("MiB");
    let point = tempfile::tempdir().expect("a mount point");
    let script = "set -e; mount -t tmpfs -o size=\"$1m\" tmpfs \"$2\"; cp -a \"$3/layers\" \"$3/engine\" \"$3/config.toml\" \"$2\"; \
        exec \"$4\" serve --tcp none --home \"$2\"";
    let log = fs::File::create(source.home.join("log/full.log")).expect("a log");
    let child = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh", &(used + used / 8 + ROOM_MIB).to_string()])
        .args([point.path(), &source.home, Path::new(BIN)])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .expect("unshare(1)");
    // Where this process sees it. It shares nothing with the prepared one but the way it is stopped.
    let home =
        PathBuf::from(format!("/proc/{}/root", child.id())).join(point.path().strip_prefix("/").expect("absolute"));
    let daemon = Daemon { home: home.clone(), outer: Mutex::new(Some(child)) };
    let said = || fs::read_to_string(source.home.join("log/full.log")).unwrap_or_default();
    wait_for("the daemon on the small file system", || if common::answers(&home) { Ok(()) } else { Err(said()) });
    block_on(async {
        let api = daemon.client();
        let id = create(&api).await;
        assert!(api.execute(Actor::Operator, bash(&id, "echo before > kept")).await.expect("run").success);
        // The jailer's view of the disks and their image, since nobody else has them mounted.
        let jailer = daemon.role("ringfence-jailer").expect("a jailer").pid;
        let seen =
            PathBuf::from(format!("/proc/{jailer}/root")).join(point.path().strip_prefix("/").expect("absolute"));
        // There is so little room from the beginning that what sandboxes write is written down at once. The second time from now it
        // has begun after the program's end.
        let begun = generation(&seen);
        wait_for("two times of writing down", || {
            fs::write(seen.join("disks/something"), format!("{:?}", Instant::now())).expect("written");
            let now = generation(&seen);
            if now >= begun + 2 { Ok(()) } else { Err(format!("{begun}, now {now}: {}", said())) }
        });
        wait_for("a word of it", || if said().contains("is written down every second") { Ok(()) } else { Err(said()) });

        let filler = home.join("filler");
        let mut file = fs::File::create(&filler).expect("a file");
        let block = vec![0_u8; 1 << 16];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        // A decision that cannot be written is not carried out, and the daemon says so instead of ending. The log of the database was
        // given some megabytes ahead: a program is kept with its decision, and these are larger than that together.
        let mut refused = 0;
        for round in 0..20 {
            let code = format!("echo full >> attempts # {round} {}", "x".repeat(400 << 10));
            if let Err(error) = api.execute(Actor::Operator, bash(&id, &code)).await {
                assert!(!error.message.is_empty(), "{error:?}");
                refused += 1;
            }
        }
        assert!(refused > 0, "nothing was refused: the file system was not full");
        // Sooner or later the kernel writes down what the disks hold, and has no room for it.
        wait_for("disks that take nothing", || {
            let _ = fs::create_dir(seen.join(format!("disks/full-{:?}", Instant::now())));
            let disks = fs::File::open(seen.join("disks")).expect("the disks");
            let _ = rustix::fs::syncfs(&disks);
            let flags = rustix::fs::fstatvfs(&disks).expect("statvfs").f_flag;
            if flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) { Ok(()) } else { Err(format!("{flags:?}")) }
        });
        let refusal = api.execute(Actor::Operator, bash(&id, "true")).await.expect_err("the disks take nothing");
        assert!(refusal.message.contains("disk"), "{refusal:?}");
        assert!(common::answers(&home), "{}", said());
        wait_for("a word of it", || if said().contains("their disks take nothing") { Ok(()) } else { Err(said()) });
        assert_eq!(
            daemon.role("ringfence-jailer").map(|p| p.pid),
            Some(jailer),
            "nothing is ended while there is no room"
        );

        drop(file);
        fs::remove_file(&filler).expect("removed");
        wait_for("another jailer", || match daemon.role("ringfence-jailer") {
            Some(other) if other.pid != jailer && common::answers(&home) => Ok(()),
            _ => Err(said()),
        });
        let api = daemon.client();
        let ran = api.execute(Actor::Operator, bash(&create(&api).await, "echo after > kept && cat kept")).await;
        assert_eq!(ran.expect("run").output, "after\n");
        api.resume(Actor::Operator, named(&id)).await.expect("started");
        let read =
            api.execute(Actor::Operator, bash(&id, "cat kept && echo more > kept && cat kept")).await.expect("run");
        assert_eq!(read.output, "before\nmore\n", "{read:?}");
        let verified = ringfence(&home, &["audit", "verify"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    });
    let outer = daemon.outer_pid().expect("it runs");
    kill_process(Pid::from_raw(outer).expect("not 0"), Signal::TERM).expect("it is there");
    let status = wait_for("the end after SIGTERM", || daemon.ended().ok_or_else(said));
    assert_eq!(status.code(), Some(0), "{}", said());
}

/// How often btrfs has written down, from the first copy of its superblock: at 64 KiB, the generation 72 bytes in (`linux/btrfs_tree.h`).
fn generation(seen: &Path) -> u64 {
    const AT: u64 = (64 << 10) + 72;
    let image = fs::File::open(seen.join("disks.btrfs")).expect("the image");
    let mut bytes = [0; 8];
    std::os::unix::fs::FileExt::read_exact_at(&image, &mut bytes, AT).expect("a superblock");
    u64::from_le_bytes(bytes)
}
