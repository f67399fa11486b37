//! Build steps on a real jailer. Needs root: the point is what a step cannot do although root started it.
//!
//! No test harness: the jailer forks, and only a process with one thread may.

use std::{
    fs,
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
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
    let tests: [Test; 13] = [
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
        ("a_tree_over_layers_holds_what_was_changed", a_tree_over_layers_holds_what_was_changed),
        ("a_layer_in_use_is_kept", a_layer_in_use_is_kept),
        ("an_input_is_memory_that_nobody_changes", an_input_is_memory_that_nobody_changes),
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
        self.ask_with(op, &[])
    }

    fn ask_with(&mut self, op: Op, fds: &[BorrowedFd<'_>]) -> (Result<Done, Refusal>, Vec<OwnedFd>) {
        self.next += 1;
        let id = self.next;
        let request = encode(&Request { id, op }).expect("it fits");
        wire::send_waiting(self.control.as_fd(), &request, fds).expect("sent");
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
            layers: Vec::new(),
            root,
            network: false,
            argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
            env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into(), format!("STATE={}", self.home.display())],
            files: vec![("note".into(), b"a file of the plan\n".to_vec())],
            input: false,
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

fn seal(client: &mut Client, tree: &str) -> LayerDigest {
    match client.ask(Op::SealLayer { tree: tree.into(), is_home: false }).0 {
        Ok(Done::LayerSealed { digest, .. }) => digest,
        other => panic!("{other:?}"),
    }
}

/// A layer with programs, and things to change.
fn lowest(client: &mut Client) -> LayerDigest {
    assert!(matches!(client.ask(Op::DropTree("tree".into())).0, Ok(Done::Ok)));
    client.fill_tree();
    client.works(
        BuildRoot::Host,
        "cd /tree; mkdir -p srv/dir srv/same; echo 1 > srv/gone; echo 2 > srv/dir/old; echo 3 > srv/same/kept",
    );
    seal(client, "tree")
}

fn a_tree_over_layers_holds_what_was_changed(client: &mut Client) {
    let below = lowest(client);
    let over = |client: &mut Client, root, script: &str| {
        let plan = BuildPlan { tree: "over".into(), layers: vec![below.clone()], ..client.plan(root, script) };
        let ran = client.run_plan(plan);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.said
    };
    let build = |client: &mut Client| {
        assert!(matches!(client.ask(Op::DropTree("over".into())).0, Ok(Done::Ok)));
        let said = over(
            client,
            BuildRoot::Host,
            "cat /tree/srv/same/kept; rm /tree/srv/gone; ls -A / | grep '^[.]' || echo clean",
        );
        assert_eq!(said, "3\nclean\n", "the layers show nowhere else");
        // A second step goes on where the first has ended. A program's own whiteout is refused, and no one sees overlayfs's.
        let script =
            "set -e; test ! -e /srv/gone; rm -r /srv/dir; mkdir /srv/dir; echo new > /srv/dir/new; mkdir /srv/made
            mknod /srv/made/own c 0 0 2> /dev/null && echo WROTE whiteout; ls /srv /srv/dir";
        assert_eq!(over(client, BuildRoot::Tree, script), "/srv:\ndir\nmade\nsame\n\n/srv/dir:\nnew\n");
        seal(client, "over")
    };
    let first = build(client);
    let root = client.home.join("layers").join(first.as_str()).join("rootfs");
    let gone = fs::symlink_metadata(root.join("srv/gone")).expect("a whiteout");
    assert_eq!((gone.mode() & libc::S_IFMT, gone.rdev()), (libc::S_IFCHR, 0));
    let opaque = |dir: &str| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(root.join(dir), "trusted.overlay.opaque", &mut value).is_ok()
    };
    assert!(opaque("srv/dir") && !opaque("srv"));
    assert!(!root.join("srv/same").exists() && !root.join("bin").exists(), "what was not changed is below");
    assert!(!client.home.join("layers").join(first.as_str()).join("wk").exists());
    assert_eq!(build(client), first, "the same changes are the same layer");

    // What is hidden is a part of the digest: without the whiteout, or the mark, it is another layer.
    let digest = |root: &Path| {
        ringfence_jail::build::listing::list(&File::open(root).expect("it is there").into()).expect("listed").digest
    };
    assert_eq!(digest(&root), first.as_str());
    let number = rustix::fs::makedev(0, 0);
    fs::remove_file(root.join("srv/gone")).expect("removed");
    assert_ne!(digest(&root), first.as_str());
    let mode = rustix::fs::Mode::from_raw_mode(gone.mode() & 0o7777);
    rustix::fs::mknodat(rustix::fs::CWD, root.join("srv/gone"), rustix::fs::FileType::CharacterDevice, mode, number)
        .expect("made");
    assert_eq!(digest(&root), first.as_str());
    rustix::fs::removexattr(root.join("srv/dir"), "trusted.overlay.opaque").expect("removed");
    assert_ne!(digest(&root), first.as_str());
    for layer in [first, below] {
        assert!(matches!(client.ask(Op::DropLayer(layer)).0, Ok(Done::Ok)));
    }
}

fn a_layer_in_use_is_kept(client: &mut Client) {
    let below = lowest(client);
    let plan = BuildPlan {
        tree: "over".into(),
        layers: vec![below.clone()],
        ..client.plan(BuildRoot::Tree, "echo up; sleep 1000")
    };
    let (step, mut output) = (plan.step, File::from(client.start(plan)));
    output.read_exact(&mut [0; 3]).expect("it has begun");
    assert!(matches!(client.ask(Op::DropLayer(below.clone())).0, Err(Refusal::Plan(_))));
    assert!(matches!(client.ask(Op::KillStep(step)).0, Ok(Done::Ok)));
    client.finish(step, output.into());
    let stored = |client: &mut Client| match client.ask(Op::ListStored).0 {
        Ok(Done::Stored { layers, trees }) => (layers.contains(&below), trees),
        other => panic!("{other:?}"),
    };
    assert_eq!(stored(client), (true, vec!["over".to_owned()]));
    for op in [Op::DropTree("over".into()), Op::DropLayer(below.clone()), Op::DropLayer(below.clone())] {
        assert!(matches!(client.ask(op).0, Ok(Done::Ok)));
    }
    assert_eq!(stored(client), (false, Vec::new()));
    assert!(!client.home.join("layers").join(below.as_str()).exists());
}

fn an_input_is_memory_that_nobody_changes(client: &mut Client) {
    use std::io::{Seek, Write};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let memory = |seals| {
        let mut file =
            File::from(memfd_create("input", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memory"));
        file.write_all(b"what it is given").expect("written");
        file.rewind().expect("rewound");
        fcntl_add_seals(&file, seals).expect("sealed");
        file
    };
    let sealed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    let plan = |client: &mut Client| BuildPlan {
        input: true,
        ..client.plan(BuildRoot::Host, "cat; ls /proc/self/fd | wc -l")
    };

    let (given, wanted) = (memory(sealed), plan(client));
    let step = wanted.step;
    let (result, mut fds) = client.ask_with(Op::BuildStep(wanted), &[given.as_fd()]);
    assert!(matches!(result, Ok(Done::StepStarted)), "{result:?}");
    let ran = client.finish(step, fds.pop().expect("its output"));
    assert_eq!(ran.said, "what it is given4\n");

    let host = File::open("/etc/shadow").expect("root reads it");
    let unsealed = memory(SealFlags::SHRINK);
    for fds in [vec![], vec![host.as_fd()], vec![unsealed.as_fd()], vec![given.as_fd(), given.as_fd()]] {
        let plan = plan(client);
        assert!(matches!(client.ask_with(Op::BuildStep(plan), &fds).0, Err(Refusal::Plan(_))));
    }
    let unasked = client.plan(BuildRoot::Host, "true");
    assert!(matches!(client.ask_with(Op::BuildStep(unasked), &[given.as_fd()]).0, Err(Refusal::Plan(_))));
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
