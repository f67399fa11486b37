//! A zygote whose template is poisoned gets nothing beyond its own project's sandboxes, and the posture check refuses what
//! it spoiled. Needs root, and the Python layer that the integration tests of `ringfence` build.
//!
//! The poison is a package (`poison/poison.py`) that the zygote imports like any other. What it tries is a variant of one
//! join of its own; the variant `joins_as_planned` shows that this join passes where nothing is spoiled, so that each
//! refusal is for what its variant spoils.
//!
//! What a poisoned template may do, by decision: with its own project's sandboxes it can do as it likes (it is their
//! interpreter, and was given their namespaces), and it may carry words between them.
//!
//! No test harness: the jailer forks, and only a process with one thread may.

use std::{
    fs,
    fs::File,
    io::{BufRead, BufReader},
    os::fd::{AsFd, OwnedFd},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::Command,
};

use ringfence_guest::park;
use ringfence_jail::{
    boot,
    installation::Installation,
    proto::{
        DiskId, Done, ExecNo, FromJailer, MESSAGE_BYTES_MAX, Notice, Op, Refusal, Reply, Request, ShellId, ShellPlan,
        ZygoteNo, ZygotePlan, decode, encode,
    },
    sys, wire,
};
use ringfence_model::{LayerDigest, Limits};
use rustix::net::SocketType;

/// A jailer in a child process, and our end of its socket.
struct Client {
    control: OwnedFd,
    home: PathBuf,
    harness: LayerDigest,
    python: Vec<LayerDigest>,
    next: u64,
    shells: u32,
    notices: Vec<Notice>,
}

/// A test and its name.
type Test = (&'static str, fn(&mut Client));

/// What became of one variant.
#[derive(Debug)]
struct Outcome {
    shell: ShellId,
    zygote: ZygoteNo,
    result: Result<Done, Refusal>,
    /// Control, stdin, stdout and stderr of what was parked.
    fds: Vec<OwnedFd>,
}

fn main() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("poison: these tests need root: run them with sudo");
        std::process::exit(1);
    }
    let shared = std::env::var_os("RINGFENCE_TEST_HOME")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-home"), PathBuf::from);
    let Some(python) = python_layers(&shared.join("layers")) else {
        println!(
            "poison: SKIPPED: no Python layer in {}; run `cargo test --release -p ringfence` first",
            shared.display()
        );
        println!("\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        return;
    };
    // On the file system of the layers, for hard links.
    let home = tempfile::tempdir_in(shared.parent().expect("it has a parent")).expect("a temporary directory");
    let home = home.path().canonicalize().map(|path| (home, path)).expect("it was just made");
    let (_keep, home) = (home.0, home.1);
    lay_down(&shared, &home, &python);
    // As the supervisor does for its roles: what our own starter has open reaches no sandbox.
    sys::close_on_exec_from(3).expect("descriptors are closed at exec");
    let (installation, _claim) = Installation::claim(&home).expect("an installation");
    let (ours, theirs) = wire::pair(SocketType::SEQPACKET).expect("a socket");
    let jailer = start_jailer(&home, ours.as_fd(), theirs);
    let mut client = Client {
        control: ours,
        harness: python[0].clone(),
        home: home.clone(),
        python,
        next: 0,
        shells: 0,
        notices: Vec::new(),
    };
    match client.ask(Op::Hello).0 {
        Ok(Done::Host(facts)) => client.harness = LayerDigest::parse(&facts.harness).expect("a digest"),
        other => panic!("{other:?}"),
    }
    let tests: [Test; 10] = [
        ("a_join_of_ones_own_that_spoils_nothing_passes", a_join_of_ones_own_that_spoils_nothing_passes),
        ("what_is_not_dropped_is_refused", what_is_not_dropped_is_refused),
        ("a_namespace_that_is_kept_is_refused", a_namespace_that_is_kept_is_refused),
        ("company_that_is_still_capable_is_refused", company_that_is_still_capable_is_refused),
        ("nobody_can_name_another_for_itself", nobody_can_name_another_for_itself),
        ("a_zygote_with_threads_is_refused", a_zygote_with_threads_is_refused),
        ("a_zygote_that_denies_its_threads_gains_nothing", a_zygote_that_denies_its_threads_gains_nothing),
        ("a_last_filter_of_ones_own_gains_nothing", a_last_filter_of_ones_own_gains_nothing),
        ("an_import_reaches_nothing", an_import_reaches_nothing),
        ("a_handler_after_the_fork_reaches_nothing", a_handler_after_the_fork_reaches_nothing),
    ];
    let mut failed = 0;
    for (name, test) in tests {
        let passed = std::panic::catch_unwind(AssertUnwindSafe(|| test(&mut client))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    drop(client);
    sys::wait_for(jailer).expect("the jailer's end");
    let left: Vec<PathBuf> = fs::read_dir("/sys/fs/cgroup")
        .expect("cgroups")
        .flatten()
        .map(|hierarchy| hierarchy.path().join(format!("ringfence-{}", installation.id)))
        .filter(|path| path.exists())
        .collect();
    println!("test nothing_is_left ... {}", if left.is_empty() { "ok" } else { "FAILED" });
    if !left.is_empty() {
        println!("left: {left:?}");
        failed += 1;
    }
    let passed = tests.len() + 1 - failed;
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    drop(_keep);
    std::process::exit(i32::from(failed > 0));
}

/// Layers with an interpreter and what it is linked with, uppermost first. A template is built in stages, each a layer: the one
/// with the interpreter lies over the one with the C library, unless they are one.
fn python_layers(layers: &Path) -> Option<Vec<LayerDigest>> {
    let with = |file: &str| {
        let mut found = fs::read_dir(layers).ok()?.flatten();
        let entry = found.find(|entry| entry.path().join("rootfs").join(file).symlink_metadata().is_ok())?;
        LayerDigest::parse(entry.file_name().to_str()?).ok()
    };
    let mut all = vec![with("usr/bin/python3")?, with("usr/lib/x86_64-linux-gnu/libc.so.6")?];
    all.dedup();
    Some(all)
}

/// The name of the layer with the poison: nobody compares it with its content.
fn poison_layer() -> LayerDigest {
    LayerDigest::parse(&"b".repeat(64)).expect("64 digits")
}

fn lay_down(shared: &Path, home: &Path, python: &[LayerDigest]) {
    let layers = home.join("layers");
    fs::create_dir_all(&layers).expect("a directory");
    let python = python.iter().map(|layer| shared.join("layers").join(layer.as_str()));
    let linked = Command::new("cp").arg("-al").args(python).arg(&layers).status();
    assert!(linked.expect("cp(1)").success(), "linking the Python layer");
    let packages = layers.join(poison_layer().as_str()).join("rootfs/usr/lib/python3/dist-packages");
    fs::create_dir_all(&packages).expect("a directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/poison/poison.py");
    fs::copy(source, packages.join("poison.py")).expect("the poison");
}

/// As the supervisor does it: in pid and mount namespaces of its own.
fn start_jailer(home: &Path, ours: std::os::fd::BorrowedFd<'_>, theirs: OwnedFd) -> i32 {
    // The number does not matter; the child closes its copy so that the jailer sees our end close.
    let ours = std::os::fd::AsRawFd::as_raw_fd(&ours);
    match sys::fork().expect("forked") {
        sys::Forked::Parent(pid) => {
            drop(theirs);
            pid
        }
        sys::Forked::Child => {
            drop(sys::inherited_fd(ours).expect("our end"));
            sys::unshare(sys::CLONE_NEWPID).expect("a pid namespace");
            let first = match sys::fork().expect("forked") {
                sys::Forked::Parent(pid) => pid,
                sys::Forked::Child => {
                    sys::unshare(sys::CLONE_NEWNS).expect("a mount namespace");
                    sys::mount("none", "/", "", sys::MS_REC | sys::MS_PRIVATE, "").expect("private mounts");
                    let flags = sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC;
                    sys::mount("proc", "/proc", "proc", flags, "").expect("procfs");
                    let jailer = match sys::fork().expect("forked") {
                        sys::Forked::Parent(pid) => pid,
                        sys::Forked::Child => {
                            if let Err(error) = boot::run(home, theirs, None)
                                && !error.to_string().contains("closed")
                            {
                                eprintln!("jailer: {error}: {:?}", error.source());
                            }
                            sys::exit_now(0)
                        }
                    };
                    drop(theirs);
                    let _ = sys::wait_for(jailer);
                    sys::exit_now(0)
                }
            };
            drop(theirs);
            let _ = sys::wait_for(first);
            sys::exit_now(0)
        }
    }
}

impl Client {
    fn ask(&mut self, op: Op) -> (Result<Done, Refusal>, Vec<OwnedFd>) {
        self.next += 1;
        let id = self.next;
        let request = encode(&Request { id, op }).expect("it fits");
        wire::send_waiting(self.control.as_fd(), &request, &[]).expect("sent");
        let mut buffer = vec![0_u8; MESSAGE_BYTES_MAX];
        loop {
            let received = wire::receive_waiting(self.control.as_fd(), &mut buffer).expect("received");
            assert!(received.len > 0, "the jailer ended");
            match decode(&buffer[..received.len]).expect("a message") {
                FromJailer::Reply(Reply { id: of, result }) => {
                    assert_eq!(of, id, "requests are answered in turn here");
                    return (result, received.fds);
                }
                FromJailer::Notice(notice) => self.notices.push(notice),
            }
        }
    }

    /// Starts the zygote of a variant; an empty one is honest.
    fn zygote(&mut self, number: u16, variant: &str) -> Result<Done, Refusal> {
        let mut env: Vec<String> = vec!["PATH=/usr/bin:/bin".into(), "HOME=/home/user".into(), "LANG=C.UTF-8".into()];
        env.push(format!("POISON={variant}"));
        env.push(format!("POISON_HOST={}", self.home.display()));
        let plan = ZygotePlan {
            zygote: ZygoteNo(number),
            layers: [vec![self.harness.clone(), poison_layer()], self.python.clone()].concat(),
            argv: park::zygote_argv(park::program_path("exec_1757371623056abcdef").len()),
            env: park::zygote_env(&env, &["poison"]),
            memory_mib: 512,
        };
        self.ask(Op::StartZygote(plan)).0
    }

    fn shell(&mut self, zygote: ZygoteNo) -> ShellId {
        self.shells += 1;
        let (shell, disk) = (ShellId(self.shells), DiskId(u64::from(self.shells)));
        let made = self.ask(Op::CreateDisk { disk, size_mib: 64 }).0;
        assert!(matches!(made, Ok(Done::Ok)), "{made:?}");
        let plan = ShellPlan {
            shell,
            slot: self.shells,
            zygote,
            layers: [vec![self.harness.clone(), poison_layer()], self.python.clone()].concat(),
            disk: Some(disk),
            gate: true,
            limits: Limits { disk_mib: 64, ..Limits::default() },
            hostname: format!("s{shell}"),
            machine_id: "0".repeat(32),
        };
        let (built, fds) = self.ask(Op::BuildShell(plan));
        assert!(matches!(built, Ok(Done::ShellBuilt { .. })), "{built:?}");
        // Guest init ends with its socket.
        std::mem::forget(fds);
        shell
    }

    /// Starts a variant's zygote and has it make a child.
    fn park(&mut self, variant: &str) -> Outcome {
        let zygote = ZygoteNo(1);
        let started = self.zygote(zygote.0, variant);
        assert!(matches!(started, Ok(Done::ZygoteStarted { .. })), "{variant}: {started:?}");
        let shell = self.shell(zygote);
        let (result, fds) = self.ask(Op::Park { shell, zygote, exec: ExecNo(1) });
        Outcome { shell, zygote, result, fds }
    }

    fn end(&mut self, outcome: Outcome) {
        drop(outcome.fds);
        let _ = self.ask(Op::Destroy(outcome.shell));
        let _ = self.ask(Op::StopZygote(outcome.zygote));
        self.notices.clear();
    }

    /// The variant is refused, for this reason.
    #[track_caller]
    fn refused(&mut self, variant: &str, why: &str) {
        let outcome = self.park(variant);
        match &outcome.result {
            Err(Refusal::Posture(said)) if said.contains(why) => {}
            other => panic!("{variant}: {other:?}, not refused with `{why}`"),
        }
        // A zygote that made such a child makes no other.
        let again = self.ask(Op::Park { shell: outcome.shell, zygote: outcome.zygote, exec: ExecNo(2) }).0;
        assert!(matches!(again, Err(Refusal::Unknown(_))), "{variant}: {again:?}");
        self.end(outcome);
    }

    /// The variant is handed out; what it says of its attacks.
    #[track_caller]
    fn found(&mut self, variant: &str) -> serde_json::Value {
        let mut outcome = self.park(variant);
        assert!(matches!(outcome.result, Ok(Done::Parked { .. })), "{variant}: {:?}", outcome.result);
        let mut line = String::new();
        BufReader::new(File::from(outcome.fds.remove(2))).read_line(&mut line).expect("its output");
        self.end(outcome);
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{variant}: {e}: {line:?}"))
    }
}

fn a_join_of_ones_own_that_spoils_nothing_passes(client: &mut Client) {
    for variant in ["", "joins_as_planned"] {
        let outcome = client.park(variant);
        assert!(matches!(outcome.result, Ok(Done::Parked { .. })), "{variant}: {:?}", outcome.result);
        client.end(outcome);
    }
}

fn what_is_not_dropped_is_refused(client: &mut Client) {
    client.refused("skips_the_filter", "1 seccomp filters are in force");
    client.refused("keeps_capabilities", "CapPrm");
    client.refused("keeps_bounding_set", "CapBnd");
    client.refused("keeps_its_user", "its Uid is");
    client.refused("starts_a_thread", "2 threads");
}

fn a_namespace_that_is_kept_is_refused(client: &mut Client) {
    client.refused("keeps_a_namespace", "descriptor 700 is user:");
    client.refused("keeps_a_namespace_as_stdin", "descriptor 0 is user:");
    // In the queue of a socket that stands where the jailer's should: no descriptor shows it.
    client.refused("hides_namespaces_in_a_queue", "is socket:");
}

fn company_that_is_still_capable_is_refused(client: &mut Client) {
    client.refused("leaves_a_joiner", "left with the zygote");
    client.refused("forks_before_hello", "left with the zygote");
    client.refused("forks_after_go", "it is not alone");
}

fn nobody_can_name_another_for_itself(client: &mut Client) {
    let outcome = client.park("names_init");
    assert!(matches!(&outcome.result, Err(Refusal::Failed(why)) if why.contains("another's")), "{:?}", outcome.result);
    // Init is still known for what it is: the shell can be looked at and destroyed.
    let usage = client.ask(Op::Usage(outcome.shell)).0;
    assert!(matches!(usage, Ok(Done::Usage(_))), "{usage:?}");
    client.end(outcome);
}

fn a_zygote_with_threads_is_refused(client: &mut Client) {
    let started = client.zygote(1, "starts_a_thread_at_import");
    assert!(matches!(&started, Err(Refusal::Failed(why)) if why.contains("2 threads")), "{started:?}");
}

/// Its word is believed, for it could only harm itself: a child has one thread whatever its maker has.
fn a_zygote_that_denies_its_threads_gains_nothing(client: &mut Client) {
    let outcome = client.park("denies_its_thread");
    match &outcome.result {
        Ok(Done::Parked { posture }) => assert_eq!((posture.capabilities, posture.seccomp_filters), (0, 2)),
        Err(Refusal::Failed(_) | Refusal::Posture(_)) => {}
        other => panic!("{other:?}"),
    }
    client.end(outcome);
}

/// The first filter, which is the jailer's, holds all the same; what it has beyond the last one (`setns`) needs
/// capabilities.
fn a_last_filter_of_ones_own_gains_nothing(client: &mut Client) {
    assert_eq!(client.found("own_filter"), serde_json::json!({}));
}

fn an_import_reaches_nothing(client: &mut Client) {
    let victim = client.zygote(2, "");
    assert!(matches!(victim, Ok(Done::ZygoteStarted { .. })), "{victim:?}");
    let started = client.zygote(1, "attacks_at_import");
    let Err(Refusal::Failed(why)) = &started else { panic!("{started:?}") };
    let found = why.split_once("FOUND").unwrap_or_else(|| panic!("{why}")).1;
    assert!(found.starts_with("{}"), "{found}");
    assert!(matches!(client.ask(Op::StopZygote(ZygoteNo(2))).0, Ok(Done::Ok)), "the other zygote lives");
}

fn a_handler_after_the_fork_reaches_nothing(client: &mut Client) {
    assert_eq!(client.found("attacks_after_fork"), serde_json::json!({}));
}
