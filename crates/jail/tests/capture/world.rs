//! The outside of the tests: a jailer, and `serve`, the supervisor and the gateway in one.

use std::{
    fs,
    fs::File,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use ringfence_jail::{
    boot,
    capture::{self, Capture, Gate},
    gateway::{self, ToGateway},
    host::PROGRAM_UID,
    proto::{
        DiskId, Done, ExecNo, FromJailer, MESSAGE_BYTES_MAX, Op, Refusal, Reply, Request, Rights, ShellId, ShellPlan,
        ZygoteNo, decode, encode,
    },
    sys::{self, sockets},
    wire,
};
use ringfence_model::{LayerDigest, Limits};
use rustix::net::SocketType;

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The outside: `serve`, the supervisor and the gateway in one.
pub(super) struct World {
    pub(super) control: OwnedFd,
    pub(super) door: OwnedFd,
    pub(super) gateway: OwnedFd,
    pub(super) harness: LayerDigest,
    pub(super) next: u64,
    pub(super) shells: u32,
}

/// A sandbox, and what the gateway was given of it.
pub(super) struct Sandbox {
    pub(super) id: ShellId,
    pub(super) base: u32,
    pub(super) execs: u32,
    pub(super) tcp: TcpListener,
    pub(super) dns: OwnedFd,
    pub(super) _frames: OwnedFd,
}

/// A program in a sandbox.
pub(super) struct Running {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) _stdin: OwnedFd,
}

/// The name of the layer with this program: nobody compares it with its content.
pub(super) fn layer() -> LayerDigest {
    LayerDigest::parse(&"c".repeat(64)).expect("64 digits")
}

/// A layer with this program and the libraries that it is linked with.
pub(super) fn lay_down(home: &Path) {
    let root = home.join("layers").join(layer().as_str()).join("rootfs");
    fs::create_dir_all(&root).expect("a directory");
    let this = std::env::current_exe().expect("this program");
    fs::copy(&this, root.join("inside")).expect("copied");
    let libraries = Command::new("ldd").arg(&this).output().expect("ldd(1)");
    for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(&word[1..]);
        fs::create_dir_all(target.parent().expect("a file")).expect("a directory");
        fs::copy(word, target).expect("copied");
    }
}

/// The jailer holds descriptors of each sandbox, and has soon more than one may have open: what it forks must not mind.
fn hold_as_much_as_one_of_many_sandboxes() {
    const MORE_THAN_A_SANDBOX_MAY: usize = 1100;
    sys::raise_descriptor_limit().expect("the hard limit");
    let null = fs::File::open("/dev/null").expect("it can be opened");
    for _ in 0..MORE_THAN_A_SANDBOX_MAY {
        std::mem::forget(null.try_clone().expect("another descriptor"));
    }
}

/// As the supervisor does it: in pid and mount namespaces of its own.
pub(super) fn start_jailer(home: &Path, ours: [&OwnedFd; 2], control: OwnedFd, door: OwnedFd) -> i32 {
    // The numbers do not matter; the child closes its copies so that the jailer sees our ends close.
    let ours = ours.map(AsRawFd::as_raw_fd);
    match sys::fork().expect("forked") {
        sys::Forked::Parent(pid) => pid,
        sys::Forked::Child => {
            drop(ours.map(|number| sys::inherited_fd(number).expect("our end")));
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
                            hold_as_much_as_one_of_many_sandboxes();
                            if let Err(error) = boot::run(home, control, Some(door))
                                && !error.to_string().contains("closed")
                            {
                                eprintln!("jailer: {error}: {:?}", error.source());
                            }
                            sys::exit_now(0)
                        }
                    };
                    drop((control, door));
                    let _ = sys::wait_for(jailer);
                    sys::exit_now(0)
                }
            };
            drop((control, door));
            let _ = sys::wait_for(first);
            sys::exit_now(0)
        }
    }
}

/// As the supervisor and a gateway do it.
pub(super) fn open_gateway(door: BorrowedFd<'_>) -> OwnedFd {
    let (ours, theirs) = wire::pair(SocketType::SEQPACKET).expect("a socket");
    gateway::introduce(door, theirs).expect("the jailer's door");
    gateway::greet(ours.as_fd()).expect("the jailer's ear");
    ours
}

/// Waits until there is something.
#[track_caller]
pub(super) fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(it) = there() {
            return it;
        }
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

#[track_caller]
pub(super) fn told(gateway: &OwnedFd) -> (ToGateway, Vec<OwnedFd>) {
    until("word from the jailer", || gateway::receive(gateway.as_fd()).expect("a live jailer"))
}

impl World {
    #[track_caller]
    pub(super) fn ask(&mut self, op: Op) -> (Done, Vec<OwnedFd>) {
        let (result, fds) = self.answer(op);
        (result.unwrap_or_else(|refusal| panic!("{refusal}")), fds)
    }

    #[track_caller]
    pub(super) fn try_ask(&mut self, op: Op) -> Result<Done, Refusal> {
        self.answer(op).0
    }

    #[track_caller]
    fn answer(&mut self, op: Op) -> (Result<Done, Refusal>, Vec<OwnedFd>) {
        self.next += 1;
        let id = self.next;
        let request = encode(&Request { id, op }).expect("it fits");
        wire::send_waiting(self.control.as_fd(), &request, &[]).expect("sent");
        let mut buffer = vec![0_u8; MESSAGE_BYTES_MAX];
        loop {
            let received = wire::receive_waiting(self.control.as_fd(), &mut buffer).expect("received");
            assert!(received.len > 0, "the jailer ended");
            if let FromJailer::Reply(Reply { id: of, result }) = decode(&buffer[..received.len]).expect("a message")
                && of == id
            {
                return (result, received.fds);
            }
        }
    }

    /// A sandbox of which the gateway has been told, if there is one.
    pub(super) fn build(&mut self) -> (ShellId, u32, OwnedFd) {
        self.shells += 1;
        let (shell, disk) = (ShellId(self.shells), DiskId(u64::from(self.shells)));
        self.ask(Op::CreateDisk { disk, size_mib: 64 });
        let (built, mut fds) = self.ask(Op::BuildShell(ShellPlan {
            shell,
            slot: self.shells,
            zygote: ZygoteNo(0),
            layers: vec![self.harness.clone(), layer()],
            disk: Some(disk),
            gate: true,
            limits: Limits { disk_mib: 64, ..Limits::default() },
            hostname: format!("s{shell}"),
            machine_id: "0".repeat(32),
        }));
        let Done::ShellBuilt { posture } = built else { panic!("{built:?}") };
        (shell, posture.uid_range.0, fds.pop().expect("init's socket"))
    }

    pub(super) fn sandbox(&mut self) -> Sandbox {
        let (id, base, frames) = self.build();
        // What a test that failed has left is passed over.
        loop {
            if let (ToGateway::Opened { shell }, fds) = told(&self.gateway)
                && shell == id
            {
                return Sandbox::new(id, base, frames, fds);
            }
        }
    }

    pub(super) fn destroy(&mut self, sandbox: Sandbox) {
        let id = sandbox.id;
        self.ask(Op::Destroy(id));
        assert_eq!(told(&self.gateway).0, ToGateway::Closed { shell: id });
    }

    pub(super) fn start(&mut self, sandbox: &mut Sandbox, what: &[&str]) -> Running {
        self.start_as(Rights::Program, sandbox, what)
    }

    pub(super) fn start_as(&mut self, rights: Rights, sandbox: &mut Sandbox, what: &[&str]) -> Running {
        sandbox.execs += 1;
        let (_, fds) = self.ask(Op::Spawn {
            rights,
            shell: sandbox.id,
            exec: ExecNo(sandbox.execs),
            argv: ["/inside", "inside"].iter().chain(what).map(|word| (*word).to_owned()).collect(),
            env: vec!["PATH=/".into()],
            cwd: "/".into(),
            timeout_ms: Some(30_000),
        });
        let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(fds).expect("three pipes");
        Running { stdout, stderr, _stdin: stdin }
    }

    pub(super) fn run(&mut self, sandbox: &mut Sandbox, what: &[&str]) -> Vec<String> {
        self.start(sandbox, what).finish()
    }
}

impl Sandbox {
    pub(super) fn new(id: ShellId, base: u32, frames: OwnedFd, fds: Vec<OwnedFd>) -> Self {
        let [tcp, dns] = <[OwnedFd; 2]>::try_from(fds).expect("two sockets");
        Self { id, base, execs: 0, tcp: tcp.into(), dns, _frames: frames }
    }

    /// Serves the next connection: where it wanted to go.
    #[track_caller]
    pub(super) fn serve(&self) -> SocketAddr {
        let (stream, _) = until("a connection", || would_wait(self.tcp.accept()));
        serve(stream)
    }

    /// Nobody waits to be served.
    #[track_caller]
    pub(super) fn is_idle(&self) {
        assert!(would_wait(self.tcp.accept()).is_none(), "a connection came");
        let mut buffer = [0; 512];
        assert!(
            sockets::receive_datagram(self.dns.as_fd(), &mut buffer).expect("a socket").is_none(),
            "a question came"
        );
    }

    /// The next datagram: its bytes, who sent it, and to which address.
    #[track_caller]
    pub(super) fn question(&self) -> (Vec<u8>, SocketAddr, IpAddr) {
        let mut buffer = [0; 512];
        let datagram =
            until("a question", || sockets::receive_datagram(self.dns.as_fd(), &mut buffer).expect("an open socket"));
        (buffer[..datagram.len].to_vec(), datagram.from, datagram.to.expect("the kernel tells"))
    }

    /// Does something in its network namespace, as its user but without its filter.
    pub(super) fn without_filter(&self, what: fn()) -> Vec<String> {
        self.in_namespace(Some(self.base + PROGRAM_UID), what)
    }

    /// As root, for controls.
    pub(super) fn as_root(&self, what: fn()) -> Vec<String> {
        self.in_namespace(None, what)
    }

    pub(super) fn in_namespace(&self, uid: Option<u32>, what: fn()) -> Vec<String> {
        let namespace = sockets::namespace_of(self.tcp.as_fd()).expect("its network namespace");
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        io::stdout().flush().expect("stdout");
        match sys::fork().expect("forked") {
            sys::Forked::Parent(pid) => {
                drop(write);
                let said = lines(read);
                let ended = sys::wait_for(pid).expect("it ends");
                assert_eq!(ended.code, Some(0), "{said:?}");
                said
            }
            sys::Forked::Child => {
                sys::setns(namespace.as_fd()).expect("entered");
                if let Some(uid) = uid {
                    sys::drop_bounding_set().expect("an empty set");
                    sys::become_id(uid, uid).expect("its user");
                    sys::set_caps(0).expect("no capability");
                }
                rustix::stdio::dup2_stdout(&write).expect("our output");
                let done = std::panic::catch_unwind(what);
                let _ = io::stdout().flush();
                sys::exit_now(i32::from(done.is_err()))
            }
        }
    }
}

impl Running {
    pub(super) fn finish(self) -> Vec<String> {
        let said = lines(self.stdout);
        let errors = lines(self.stderr);
        assert!(errors.is_empty(), "{said:?} {errors:?}");
        said
    }
}

pub(super) fn lines(fd: OwnedFd) -> Vec<String> {
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).expect("its output");
    text.lines().map(str::to_owned).collect()
}

pub(super) fn would_wait<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(it) => Some(it),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
        Err(e) => panic!("{e}"),
    }
}

/// Reads its greeting and says where it wanted to go.
pub(super) fn serve(mut stream: TcpStream) -> SocketAddr {
    let local = stream.local_addr().expect("an address");
    let to = SocketAddr::new(local.ip().to_canonical(), local.port());
    stream.set_nonblocking(false).expect("an open socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    let mut hello = [0; 6];
    stream.read_exact(&mut hello).expect("a greeting");
    write!(stream, "gateway for {to}").expect("it listens");
    to
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A capture in a network namespace of its own, made by a forked process as the builder is one.
pub(super) fn in_new_namespace(gate: &Gate) -> (Capture, OwnedFd) {
    in_namespace_made_with(gate, || {})
}

/// The same, after something was done in the namespace.
pub(super) fn in_namespace_made_with(gate: &Gate, before: impl FnOnce()) -> (Capture, OwnedFd) {
    let (ours, theirs) = wire::pair(SocketType::SEQPACKET).expect("a socket");
    let pid = match sys::fork().expect("forked") {
        sys::Forked::Child => {
            sys::unshare(sys::CLONE_NEWNET).expect("a network namespace");
            let namespace = OwnedFd::from(File::open("/proc/self/ns/net").expect("it"));
            before();
            let capture = capture::set_up(namespace.as_fd(), gate).expect("a capture");
            let fds = [&capture.tcp, &capture.dns, &capture.link, &namespace].map(AsFd::as_fd);
            wire::send_waiting(theirs.as_fd(), b"C", &fds).expect("sent");
            sys::exit_now(0)
        }
        sys::Forked::Parent(pid) => pid,
    };
    drop(theirs);
    let received = wire::receive_waiting(ours.as_fd(), &mut [0; 8]).expect("a capture");
    sys::wait_for(pid).expect("it ends");
    let [tcp, dns, link, namespace] = <[OwnedFd; 4]>::try_from(received.fds).expect("four descriptors");
    (Capture { tcp, dns, link }, namespace)
}

/// What was said there by a process without privilege.
pub(super) fn in_namespace_of(namespace: &OwnedFd, what: impl FnOnce() -> String) -> String {
    const NOBODY: u32 = 65_534;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    match sys::fork().expect("forked") {
        sys::Forked::Child => {
            sys::setns(namespace.as_fd()).expect("entered");
            sys::become_id(NOBODY, NOBODY).expect("nobody");
            sys::set_caps(0).expect("no capability");
            File::from(write).write_all(what().as_bytes()).expect("said");
            sys::exit_now(0)
        }
        sys::Forked::Parent(pid) => {
            drop(write);
            let said = lines(read).concat();
            sys::wait_for(pid).expect("it ends");
            said
        }
    }
}
