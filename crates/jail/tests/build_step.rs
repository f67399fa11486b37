//! Build steps on a real jailer. Needs root: the point is what a step cannot do although root started it.
//!
//! No test harness: the jailer forks, and only a process with one thread may.

use std::{
    fs,
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::{MetadataExt, PermissionsExt},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ringfence_jail::{
    build::step::CAPABILITIES,
    capture::Gate,
    cgroup::Cgroups,
    disk::Disks,
    host::{Host, Uids},
    installation::Installation,
    jailer::Jailer,
    proto::{
        BuildPlan, BuildRoot, Done, FromJailer, HostFacts, MESSAGE_BYTES_MAX, Notice, Op, Refusal, Reply, Request,
    },
    proto::{decode, encode},
    seccomp, sys, wire,
};
use ringfence_model::LayerDigest;
use rustix::net::SocketType;

/// A jailer in a child process, and our end of its socket.
struct Client {
    control: OwnedFd,
    home: PathBuf,
    next: u64,
    exits: Vec<(u32, i32, bool)>,
}

/// How a step ended, and what it said.
#[derive(Debug)]
struct Ran {
    code: i32,
    timed_out: bool,
    said: String,
}

fn main() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("build_step: these tests need root: run them with sudo");
        std::process::exit(1);
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let (installation, _claim) = Installation::claim(home.path()).expect("an installation");
    let (ours, theirs) = wire::pair(SocketType::SEQPACKET).expect("a socket");
    let jailer = match sys::fork().expect("forked") {
        sys::Forked::Child => {
            drop(ours);
            serve(home.path(), &installation, theirs);
            sys::exit_now(0)
        }
        sys::Forked::Parent(pid) => pid,
    };
    drop(theirs);
    let mut client = Client { control: ours, home: home.path().to_owned(), next: 0, exits: Vec::new() };
    type Test = (&'static str, fn(&mut Client));
    let tests: [Test; 10] = [
        ("a_host_step_holds_five_capabilities", a_host_step_holds_five_capabilities),
        ("what_is_host_roots_cannot_be_read", what_is_host_roots_cannot_be_read),
        ("the_host_cannot_be_written", the_host_cannot_be_written),
        ("a_tree_step_is_root_of_its_tree", a_tree_step_is_root_of_its_tree),
        ("a_link_in_the_tree_leads_nowhere", a_link_in_the_tree_leads_nowhere),
        ("only_a_download_has_the_hosts_network", only_a_download_has_the_hosts_network),
        ("what_a_step_leaves_running_is_ended", what_a_step_leaves_running_is_ended),
        ("steps_end_with_their_code", steps_end_with_their_code),
        ("plans_are_checked", plans_are_checked),
        ("a_tree_becomes_one_layer", a_tree_becomes_one_layer),
    ];
    let mut failed = 0;
    for (name, test) in tests {
        let passed = std::panic::catch_unwind(AssertUnwindSafe(|| test(&mut client))).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    drop(client);
    sys::wait_for(jailer).expect("the jailer's end");
    // Whoever is pid 1 here may take a moment to reap what a killed step left.
    let patience = Instant::now() + Duration::from_secs(5);
    let mut left = leftovers(home.path(), &installation.id);
    while !left.is_empty() && Instant::now() < patience {
        std::thread::yield_now();
        left = leftovers(home.path(), &installation.id);
    }
    println!("test nothing_is_left ... {}", if left.is_empty() { "ok" } else { "FAILED" });
    if !left.is_empty() {
        println!("left: {left:?}");
        failed += 1;
    }
    let passed = tests.len() + 1 - failed;
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    drop(home);
    std::process::exit(i32::from(failed > 0));
}

fn serve(home: &Path, installation: &Installation, control: OwnedFd) {
    sys::become_subreaper().expect("a subreaper");
    for dir in ["layers", "builds", "run/mnt"] {
        fs::create_dir_all(home.join(dir)).expect("a state directory");
    }
    let nothing = || OwnedFd::from(File::open("/dev/null").expect("/dev/null"));
    let host = Host {
        home: home.to_owned(),
        installation: installation.id.clone(),
        uids: Uids::of_block(installation.uid_block),
        cgroups: Cgroups::set_up(&installation.id).expect("cgroups"),
        guest_init: nothing(),
        last_filter_fd: nothing(),
        last_filter: seccomp::compile(seccomp::Kind::Last),
        zygote_filter: Vec::new(),
        harness: LayerDigest::parse(&"0".repeat(64)).expect("64 digits"),
        gate: Gate::new().expect("a gate"),
    };
    let jailer = Jailer::new(host, HostFacts::default(), Disks::mounted(home), control, None).expect("a jailer");
    let Err(end) = jailer.run();
    assert!(end.to_string().contains("closed"), "{end}");
}

impl Client {
    fn ask(&mut self, op: Op) -> (Result<Done, Refusal>, Vec<OwnedFd>) {
        self.next += 1;
        let id = self.next;
        let request = encode(&Request { id, op }).expect("it fits");
        wire::send_waiting(self.control.as_fd(), &request, &[]).expect("sent");
        loop {
            if let (Some(Reply { id: of, result }), fds) = self.receive() {
                assert_eq!(of, id, "requests are answered in turn here");
                return (result, fds);
            }
        }
    }

    /// The next reply; notices are kept.
    fn receive(&mut self) -> (Option<Reply>, Vec<OwnedFd>) {
        let mut buffer = vec![0_u8; MESSAGE_BYTES_MAX];
        let received = wire::receive_waiting(self.control.as_fd(), &mut buffer).expect("received");
        assert!(received.len > 0, "the jailer ended");
        match decode(&buffer[..received.len]).expect("a message") {
            FromJailer::Reply(reply) => (Some(reply), received.fds),
            FromJailer::Notice(Notice::StepExited { step, code, timed_out }) => {
                self.exits.push((step, code, timed_out));
                (None, Vec::new())
            }
            FromJailer::Notice(other) => panic!("unexpected: {other:?}"),
        }
    }

    fn plan(&mut self, root: BuildRoot, script: &str) -> BuildPlan {
        self.next += 1;
        BuildPlan {
            step: u32::try_from(self.next).expect("few"),
            tree: "tree".into(),
            root,
            network: false,
            argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
            env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into(), format!("STATE={}", self.home.display())],
            files: vec![("note".into(), b"a file of the plan\n".to_vec())],
            timeout_ms: 30_000,
        }
    }

    fn start(&mut self, plan: BuildPlan) -> OwnedFd {
        let (result, mut fds) = self.ask(Op::BuildStep(plan));
        assert!(matches!(result, Ok(Done::StepStarted)), "{result:?}");
        fds.pop().expect("its output")
    }

    fn finish(&mut self, step: u32, output: OwnedFd) -> Ran {
        let mut bytes = Vec::new();
        File::from(output).read_to_end(&mut bytes).expect("its output");
        loop {
            if let Some(at) = self.exits.iter().position(|(of, ..)| *of == step) {
                let (_, code, timed_out) = self.exits.remove(at);
                return Ran { code, timed_out, said: String::from_utf8_lossy(&bytes).into_owned() };
            }
            assert!(self.receive().0.is_none(), "no request is open");
        }
    }

    fn run_plan(&mut self, plan: BuildPlan) -> Ran {
        let step = plan.step;
        let output = self.start(plan);
        self.finish(step, output)
    }

    fn run(&mut self, root: BuildRoot, script: &str) -> Ran {
        let plan = self.plan(root, script);
        self.run_plan(plan)
    }

    /// Runs a script that must succeed; what it said.
    #[track_caller]
    fn works(&mut self, root: BuildRoot, script: &str) -> String {
        let ran = self.run(root, script);
        assert_eq!(ran.code, 0, "{}", ran.said);
        ran.said
    }

    fn tree(&self) -> PathBuf {
        self.home.join("builds/tree/rootfs")
    }

    /// Puts the host's shell and a few programs into the tree.
    fn fill_tree(&mut self) {
        let script = "set -e; cd /tree; mkdir -p bin lib lib64 usr/bin etc
            for name in sh cat chown ls mkdir mknod mount sleep grep touch rm readlink; do
                program=$(command -v $name); cp -L $program bin/
                ldd $program | grep -o '/[^ ]*' | while read -r library; do mkdir -p .$(dirname $library); cp -L $library .$library; done
            done";
        self.works(BuildRoot::Host, script);
    }
}

fn a_host_step_holds_five_capabilities(client: &mut Client) {
    let said = client.works(BuildRoot::Host, "id -u; cat /proc/self/status; cat /proc/self/uid_map");
    let mask = format!("{:016x}", sys::cap_mask(&CAPABILITIES));
    assert!(said.starts_with("0\n"), "{said}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(said.contains(&format!("{set}:\t{mask}")), "{set}: {said}");
    }
    assert!(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"), "{said}");
    let map = said
        .lines()
        .last()
        .expect("a map")
        .split_whitespace()
        .map(|n| n.parse().expect("a number"))
        .collect::<Vec<u32>>();
    assert!(map[0] == 0 && map[1] >= ringfence_jail::host::UID_FLOOR && map[2] == 65_536, "{map:?}");
}

fn what_is_host_roots_cannot_be_read(client: &mut Client) {
    let script = "cat /etc/passwd > /dev/null || echo no-passwd
        cat /etc/shadow 2> /dev/null && echo LEAK shadow
        for path in \"$STATE\" /root /home /var/lib /proc/kallsyms /proc/1/root/etc /sys /dev/kmsg /run/systemd; do
            ls \"$path\" > /dev/null 2>&1 && echo \"LEAK $path\"
        done
        ls /proc/self/fd; true";
    let said = client.works(BuildRoot::Host, script);
    assert!(!said.contains("LEAK") && !said.contains("no-passwd"), "{said}");
    // The standard three, and the one with which `ls` reads the directory.
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{said}");
}

fn the_host_cannot_be_written(client: &mut Client) {
    let script = "for path in /usr/x /etc/x /usr/bin/x /proc/sys/kernel/hostname /proc/1/oom_score_adj /build/x; do
            (echo > $path) 2> /dev/null && echo \"WROTE $path\"
        done
        mknod /tree/device b 8 0 2> /dev/null && echo WROTE device
        mount -t tmpfs none /mnt 2> /dev/null && echo WROTE mount
        mount -o remount,rw /usr 2> /dev/null && echo WROTE remount
        unshare -U true 2> /dev/null && echo WROTE userns
        echo told > /dev/stderr; cat /build/note";
    assert_eq!(client.works(BuildRoot::Host, script), "told\na file of the plan\n");
}

fn a_tree_step_is_root_of_its_tree(client: &mut Client) {
    client.fill_tree();
    let script = "set -e; cat /build/note; echo mine > /etc/own; echo theirs > /etc/given; chown 1000:1000 /etc/given
        echo changed > /etc/given; test ! -e /etc/shadow; test ! -e /tree; test -w /tmp; ls / > /dev/null; touch /tmp/gone";
    assert_eq!(client.works(BuildRoot::Tree, script), "a file of the plan\n");
    let owner = |name: &str| fs::symlink_metadata(client.tree().join(name)).map(|m| (m.uid(), m.gid())).expect("made");
    // Ids on disk are those inside, wherever the installation's range lies.
    assert_eq!((owner("etc/own"), owner("etc/given"), owner("etc")), ((0, 0), (1000, 1000), (0, 0)));
    assert!(!client.tree().join("build").exists(), "the plan's files leave a mount point behind");
    assert!(!client.tree().join("tmp/gone").exists());
}

fn a_link_in_the_tree_leads_nowhere(client: &mut Client) {
    let outside = client.home.join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).expect("mode");
    let link = format!(
        "rm -rf /tree/var /tree/run; mkdir -p /tree{0}; ln -s {0} /tree/var; ln -s ../../../../..{0} /tree/run",
        outside.display()
    );
    client.works(BuildRoot::Host, &link);
    // Mount points are made below both links by the stepper, which is host root.
    let ran = client.run(BuildRoot::Tree, "exit 0");
    assert_eq!(fs::read_dir(&outside).expect("listed").count(), 0, "{ran:?}");
    client.works(BuildRoot::Host, "rm -rf /tree/var /tree/run /tree/tmp");
}

fn only_a_download_has_the_hosts_network(client: &mut Client) {
    let ours = fs::read_link("/proc/self/ns/net").expect("a link").display().to_string();
    let mut plan = client.plan(BuildRoot::Host, "readlink /proc/self/ns/net; cat /etc/resolv.conf > /dev/null");
    assert!(!client.run_plan(plan.clone()).said.contains(&ours));
    (plan.network, plan.step) = (true, plan.step + 1_000_000);
    let ran = client.run_plan(plan);
    assert_eq!((ran.code, ran.said.trim()), (0, ours.as_str()));
}

fn what_a_step_leaves_running_is_ended(client: &mut Client) {
    let began = Instant::now();
    client.works(BuildRoot::Host, "(setsid sleep 1000 &); sleep 1000 & exit 0");
    assert!(began.elapsed() < Duration::from_secs(10), "its output ends only with its last process");
}

fn steps_end_with_their_code(client: &mut Client) {
    assert_eq!(client.run(BuildRoot::Host, "exit 3").code, 3);
    assert_eq!(client.run(BuildRoot::Host, "kill -9 $$").code, 137);
    let mut plan = client.plan(BuildRoot::Host, "sleep 1000");
    plan.argv[0] = "/nowhere".into();
    let ran = client.run_plan(plan);
    assert!(ran.code == 127 && ran.said.contains("/nowhere"), "{ran:?}");

    let mut plan = client.plan(BuildRoot::Host, "trap '' TERM; while :; do sleep 1; done");
    plan.timeout_ms = 200;
    let ran = client.run_plan(plan);
    assert_eq!((ran.code, ran.timed_out), (137, true));

    let plan = client.plan(BuildRoot::Host, "sleep 1000");
    let step = plan.step;
    let output = client.start(plan);
    assert!(matches!(client.ask(Op::KillStep(step)).0, Ok(Done::Ok)));
    let ran = client.finish(step, output);
    assert_eq!((ran.code, ran.timed_out), (137, false));
    assert!(matches!(client.ask(Op::KillStep(step)).0, Err(Refusal::Unknown(_))));
}

fn plans_are_checked(client: &mut Client) {
    for change in [
        |p: &mut BuildPlan| p.tree = "../x".into(),
        |p: &mut BuildPlan| p.argv[0] = "sh".into(),
        |p: &mut BuildPlan| p.files[0].0 = "../note".into(),
        |p: &mut BuildPlan| p.timeout_ms = 0,
    ] {
        let mut plan = client.plan(BuildRoot::Host, "true");
        change(&mut plan);
        assert!(matches!(client.ask(Op::BuildStep(plan)).0, Err(Refusal::Plan(_))));
    }
    let plan = client.plan(BuildRoot::Host, "sleep 1000");
    let (step, output) = (plan.step, client.start(plan));
    for op in [Op::SealLayer { tree: "tree".into(), is_home: false }, Op::DropTree("tree".into())] {
        assert!(matches!(client.ask(op).0, Err(Refusal::Plan(_))), "a tree in use is left alone");
    }
    assert!(matches!(client.ask(Op::KillStep(step)).0, Ok(Done::Ok)));
    client.finish(step, output);
    assert!(matches!(client.ask(Op::SealLayer { tree: "missing".into(), is_home: false }).0, Err(Refusal::Unknown(_))));
    assert!(matches!(client.ask(Op::DropTree("missing".into())).0, Ok(Done::Ok)));
}

fn a_tree_becomes_one_layer(client: &mut Client) {
    let seal = |client: &mut Client| {
        assert!(matches!(client.ask(Op::DropTree("tree".into())).0, Ok(Done::Ok)));
        client.works(BuildRoot::Host, "mkdir /tree/d; echo content > /tree/d/f; chown 1000 /tree/d/f");
        match client.ask(Op::SealLayer { tree: "tree".into(), is_home: false }).0 {
            Ok(Done::LayerSealed { digest, bytes, files }) => (digest, bytes, files),
            other => panic!("{other:?}"),
        }
    };
    let first = seal(client);
    assert_eq!((first.1, first.2), (8, 1));
    let file = client.home.join("layers").join(first.0.as_str()).join("rootfs/d/f");
    assert_eq!(fs::metadata(&file).expect("it is there").uid(), 1000);
    assert_eq!(seal(client), first, "the same content is the same layer");
    assert_eq!(fs::read_dir(client.home.join("builds")).expect("listed").count(), 0);
}

/// Mounts, cgroups and processes of the installation that are still there.
fn leftovers(home: &Path, installation: &str) -> Vec<String> {
    let name = format!("ringfence-{installation}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let mut left: Vec<String> =
        mounts.lines().filter(|line| line.contains(&*home.to_string_lossy())).map(str::to_owned).collect();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
        left.extend([hierarchy.path().join(&name)].into_iter().filter(|p| p.exists()).map(|p| p.display().to_string()));
    }
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if groups.contains(&name) {
            left.push(format!("process {}", entry.file_name().to_string_lossy()));
        }
    }
    left
}
