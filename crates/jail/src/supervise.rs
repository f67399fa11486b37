//! The supervisor: pid 1 of a private pid namespace, root, one thread, and without a word to anybody untrusted. It starts
//! the jailer, `serve`, the gateway and the venue, and starts all anew when one of the first two dies. A gateway that dies alone
//! is started alone: the jailer has kept the sandboxes' sockets, and hands them to the new one. So is a venue, whose socket
//! the supervisor has kept.
//!
//! What it is started by (the *outer* process, which a terminal or systemd sees) waits for it, hands it SIGTERM, and a second one as
//! SIGINT, and says to the service manager what `serve` has to say. When the outer process dies the supervisor is killed, and with the
//! supervisor the kernel kills its whole pid namespace: nothing outlives the daemon.

use std::{
    ffi::{CString, OsStr},
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::net::SocketType;

use crate::{
    board::{self, Board},
    gateway,
    host::Uids,
    installation::Installation,
    notify::{self, Relay},
    say::say,
    shell::{Step, StepError},
    sys, wire,
};

/// What the daemon is started with.
#[derive(Debug)]
pub struct Daemon {
    /// State directory.
    pub home: PathBuf,
    /// Identity, claimed for as long as the daemon lives.
    pub installation: Installation,
    /// Name under which `serve` is executed: [`SERVE_ROLE`], but where a benchmark takes its place.
    pub serve_role: &'static str,
    /// Arguments of `serve`, after its name.
    pub serve_args: Vec<String>,
    /// Descriptors that `serve` finds at 5, 6, … (3 is its socket to the jailer, 4 its door).
    pub serve_fds: Vec<OwnedFd>,
    /// Arguments of the gateway, after the state directory.
    pub gateway_args: Vec<String>,
    /// Arguments of the venue, after the state directory.
    pub venue_args: Vec<String>,
    /// The socket that the venue listens on.
    pub venue_socket: OwnedFd,
    /// Variables that the roles have beside those of this process.
    pub role_env: Vec<(&'static str, String)>,
    /// Where it is put how often each role was started. `serve` has it too.
    pub board: Board,
    /// From where the service manager's words come. `serve` has the other end.
    pub relay: Relay,
    /// How long `serve` may wait for running executions before it ends, which comes on top of what an end takes.
    pub drain: Duration,
}

/// Name under which the jailer is executed.
pub const JAILER_ROLE: &str = "ringfence-jailer";

/// Name under which `serve` is executed.
pub const SERVE_ROLE: &str = "ringfence-serve";

/// With this exit code `serve`, and then the daemon, says that it would end likewise if it were started again (`EX_CONFIG` of
/// sysexits.h(3head)). The unit names it too.
pub const FOR_GOOD: i32 = 78;

/// Name under which the gateway is executed. Its first argument is the state directory; at [`CONTROL_FD`] it finds its socket to
/// the jailer, at [`DOOR_FD`] that to `serve`.
pub const GATEWAY_ROLE: &str = "ringfence-gateway";

/// Name under which the venue is executed. Its first argument is the state directory; at [`CONTROL_FD`] it finds the socket that it
/// listens on.
pub const VENUE_ROLE: &str = "ringfence-venue";

/// Descriptor of the socket between jailer and `serve`, in both.
pub const CONTROL_FD: i32 = 3;

/// Descriptor of the door, in both: through it they are handed a socket to each gateway that is started.
pub const DOOR_FD: i32 = 4;

/// A role may die so often within [`RESTART_WINDOW`] before the daemon gives up.
const RESTARTS_MAX: usize = 5;

/// See [`RESTARTS_MAX`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// How long after the death of a gateway the next one is started: at once would be a loop where it cannot live.
const GATEWAY_PAUSE: Duration = Duration::from_millis(500);

/// Longest time until a venue is started again that dies over and over, as it does when its journal is damaged.
const VENUE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A venue that has lived so long was well.
const VENUE_WELL: Duration = Duration::from_secs(60);

/// How long a gateway may outlive the others. It ends by itself when their sockets close.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(5);

/// How long `serve` may take to end after SIGTERM and what it waits for, and the jailer to clear up after it.
const STOP_PATIENCE: Duration = Duration::from_secs(45);

/// The same when it is to end at once: it waits for nothing, but writes down what it ends.
const HURRY_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the daemon until SIGTERM, SIGINT, or a stop that a client asked for; a second signal ends it without waiting for what runs.
/// Returns the exit code.
///
/// # Errors
/// It could not start.
pub fn run(daemon: &Daemon) -> Result<i32, StepError> {
    assert_eq!(sys::threads().step("counting threads")?, 1, "the daemon forks before it starts any thread");
    let signals =
        sys::signal_fd(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD]).step("blocking signals")?;
    sys::unshare(sys::CLONE_NEWPID).step("making a pid namespace")?;
    let supervisor = match sys::fork().step("forking the supervisor")? {
        sys::Forked::Child => {
            let code = match supervise(daemon, signals.as_fd()) {
                Ok(code) => code,
                Err(e) => {
                    say("ringfence", &format!("{e}"));
                    1
                }
            };
            sys::exit_now(code)
        }
        sys::Forked::Parent(pid) => pid,
    };
    let (mut asked, mut told) = (false, true);
    loop {
        let relay = told.then(|| daemon.relay.as_fd());
        match wait_for(signals.as_fd(), relay, None).step("waiting for signals")? {
            Some(libc::SIGCHLD) => {
                while let Some(ended) = sys::reap_one().step("waiting for the supervisor")? {
                    if ended.pid == supervisor {
                        daemon.relay.pass_on();
                        return Ok(ended.code.unwrap_or(1));
                    }
                }
            }
            // A terminal that is closed says SIGHUP once more to everybody: that is no wish to hurry.
            Some(signal) => {
                let hurry = asked && signal != libc::SIGHUP;
                asked = true;
                let _ = sys::kill_child(supervisor, if hurry { libc::SIGINT } else { sys::SIGTERM });
            }
            None => told = daemon.relay.pass_on(),
        }
    }
}

/// Waits for one of the blocked signals. `None` at the end of the patience.
fn wait_for_signal(signals: BorrowedFd<'_>, patience: Option<Duration>) -> io::Result<Option<i32>> {
    wait_for(signals, None, patience)
}

/// [`wait_for_signal`] that is `None` too when `also` can be read.
fn wait_for(
    signals: BorrowedFd<'_>,
    also: Option<BorrowedFd<'_>>,
    patience: Option<Duration>,
) -> io::Result<Option<i32>> {
    let end = patience.map(|p| Instant::now() + p);
    loop {
        if let Some(signal) = sys::read_signal(signals)? {
            return Ok(Some(signal));
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        let timeout = left.map(|left| rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut poll = vec![rustix::event::PollFd::new(&signals, rustix::event::PollFlags::IN)];
        poll.extend(also.iter().map(|fd| rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)));
        match rustix::event::poll(&mut poll, timeout.as_ref()) {
            Ok(_) if poll.get(1).is_some_and(|also| !also.revents().is_empty()) => return sys::read_signal(signals),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn supervise(daemon: &Daemon, signals: BorrowedFd<'_>) -> Result<i32, StepError> {
    sys::die_with_parent().step("tying the supervisor to its starter")?;
    sys::new_session().step("starting a session")?;
    sys::unshare(sys::CLONE_NEWNS).step("making a mount namespace")?;
    sys::mount("none", "/", "", sys::MS_REC | sys::MS_PRIVATE, "").step("making mounts private")?;
    let flags = sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC;
    sys::mount("proc", "/proc", "proc", flags, "").step("mounting procfs of the pid namespace")?;
    let executable = fs::File::open("/proc/self/exe").step("opening the executable")?;
    let mut starts: Vec<Instant> = Vec::new();
    let mut seen = board::Roles::default();
    loop {
        starts.retain(|at| at.elapsed() < RESTART_WINDOW);
        if starts.len() >= RESTARTS_MAX {
            say("ringfence", &format!("the roles died {RESTARTS_MAX} times within a minute; giving up"));
            return Ok(1);
        }
        starts.push(Instant::now());
        let mut roles = start_roles(daemon, executable.as_fd(), seen)?;
        if let Some(code) = watch(daemon, executable.as_fd(), &mut roles, signals)? {
            return Ok(code);
        }
        seen = roles.seen;
    }
}

#[derive(Debug)]
struct Roles {
    jailer: i32,
    serve: i32,
    gateway: Option<i32>,
    /// Ours of the doors of jailer and `serve`.
    doors: [OwnedFd; 2],
    /// When a gateway that died is started anew.
    gateway_due: Option<Instant>,
    venue: Option<i32>,
    /// When a venue that died is started anew.
    venue_due: Option<Instant>,
    /// When the venue was started, and how long the next one waits after its death.
    venue_begun: (Instant, Duration),
    /// What stands on the board.
    seen: board::Roles,
}

impl Roles {
    /// Puts on the board what has become of the roles. A board that cannot be written shows what was, and stops nobody.
    fn show(&mut self, daemon: &Daemon, change: impl FnOnce(&mut board::Roles)) {
        change(&mut self.seen);
        let _ = daemon.board.write(&self.seen);
    }
}

fn start_roles(daemon: &Daemon, executable: BorrowedFd<'_>, seen: board::Roles) -> Result<Roles, StepError> {
    let (jailer_end, serve_end) = wire::pair(SocketType::SEQPACKET).step("making the roles' socket")?;
    for end in [&jailer_end, &serve_end] {
        // A burst of plans must not stall either side; the kernel's default holds a few datagrams of the largest size.
        const BUFFER_BYTES: usize = 4 << 20;
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, BUFFER_BYTES);
    }
    let home = daemon.home.to_string_lossy().into_owned();
    let (jailer_door, to_jailer) = wire::pair(SocketType::SEQPACKET).step("making the jailer's door")?;
    let (serve_door, to_serve) = wire::pair(SocketType::SEQPACKET).step("making serve's door")?;
    let fds = [jailer_end.as_fd(), jailer_door.as_fd()];
    let jailer = start_role(daemon, executable, JAILER_ROLE, std::slice::from_ref(&home), &fds, None)?;
    let mut fds = vec![serve_end.as_fd(), serve_door.as_fd()];
    fds.extend(daemon.serve_fds.iter().map(AsFd::as_fd));
    let mut args = vec![home];
    args.extend(daemon.serve_args.iter().cloned());
    let uid = Uids::of_block(daemon.installation.uid_block).serve();
    let serve = start_role(daemon, executable, daemon.serve_role, &args, &fds, Some(uid))?;
    let mut roles = Roles {
        jailer,
        serve,
        gateway: None,
        doors: [to_jailer, to_serve],
        gateway_due: None,
        venue: None,
        venue_due: None,
        venue_begun: (Instant::now(), GATEWAY_PAUSE),
        seen,
    };
    roles.show(daemon, |seen| [&mut seen.jailer, &mut seen.serve].into_iter().for_each(board::Role::started));
    start_gateway(daemon, executable, &mut roles)?;
    start_venue(daemon, executable, &mut roles)?;
    Ok(roles)
}

/// Starts a venue. Nobody is told of it: whoever has the right connects to its socket.
fn start_venue(daemon: &Daemon, executable: BorrowedFd<'_>, roles: &mut Roles) -> Result<(), StepError> {
    let mut args = vec![daemon.home.to_string_lossy().into_owned()];
    args.extend(daemon.venue_args.iter().cloned());
    let uid = Uids::of_block(daemon.installation.uid_block).venue();
    roles.venue = Some(start_role(daemon, executable, VENUE_ROLE, &args, &[daemon.venue_socket.as_fd()], Some(uid))?);
    roles.show(daemon, |seen| seen.venue.started());
    roles.venue_due = None;
    roles.venue_begun.0 = Instant::now();
    Ok(())
}

/// Starts whatever is due.
fn start_due(daemon: &Daemon, executable: BorrowedFd<'_>, roles: &mut Roles) -> Result<(), StepError> {
    let now = Instant::now();
    if roles.gateway_due.is_some_and(|due| due <= now) {
        start_gateway(daemon, executable, roles)?;
    }
    if roles.venue_due.is_some_and(|due| due <= now) {
        start_venue(daemon, executable, roles)?;
    }
    Ok(())
}

/// Starts a gateway, and introduces it to the others.
fn start_gateway(daemon: &Daemon, executable: BorrowedFd<'_>, roles: &mut Roles) -> Result<(), StepError> {
    let (jailer_end, of_jailer) =
        wire::pair(SocketType::SEQPACKET).step("making the gateway's socket to the jailer")?;
    let (serve_end, of_serve) = wire::pair(SocketType::STREAM).step("making the gateway's socket to serve")?;
    for (door, end) in roles.doors.iter().zip([of_jailer, of_serve]) {
        // Whoever is gone already will be seen as ended.
        let _ = gateway::introduce(door.as_fd(), end);
    }
    let mut args = vec![daemon.home.to_string_lossy().into_owned()];
    args.extend(daemon.gateway_args.iter().cloned());
    let fds = [jailer_end.as_fd(), serve_end.as_fd()];
    let uid = Uids::of_block(daemon.installation.uid_block).gateway();
    roles.gateway = Some(start_role(daemon, executable, GATEWAY_ROLE, &args, &fds, Some(uid))?);
    roles.show(daemon, |seen| seen.gateway.started());
    roles.gateway_due = None;
    Ok(())
}

/// Forks and executes this program under another name. With `uid` it gives up every privilege.
fn start_role(
    daemon: &Daemon,
    executable: BorrowedFd<'_>,
    name: &str,
    args: &[String],
    fds: &[BorrowedFd<'_>],
    uid: Option<u32>,
) -> Result<i32, StepError> {
    match sys::fork().step("forking a role")? {
        sys::Forked::Parent(pid) => Ok(pid),
        sys::Forked::Child => {
            let e = match become_role(daemon, executable, name, args, fds, uid) {
                Ok(never) => match never {},
                Err(e) => e,
            };
            say("ringfence", &format!("starting {name}: {e}"));
            sys::exit_now(1)
        }
    }
}

fn become_role(
    daemon: &Daemon,
    executable: BorrowedFd<'_>,
    name: &str,
    args: &[String],
    fds: &[BorrowedFd<'_>],
    uid: Option<u32>,
) -> Result<std::convert::Infallible, StepError> {
    let stdin = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .step("opening /dev/null")?;
    let (stdout, stderr) = (rustix::stdio::stdout(), rustix::stdio::stderr());
    let mut all = vec![stdin.as_fd(), stdout, stderr];
    all.extend_from_slice(fds);
    // The executable stays above the placed descriptors and is close-on-exec.
    let executable = rustix::io::fcntl_dupfd_cloexec(executable, 64).step("keeping the executable")?;
    sys::place_fds(&all).step("placing descriptors")?;
    // What the daemon's own starter had open must not reach a role, and through the jailer a sandbox.
    sys::close_on_exec_from(i32::try_from(all.len()).expect("few descriptors")).step("closing descriptors at exec")?;
    sys::default_signals().step("restoring signals")?;
    if let Some(uid) = uid {
        sys::drop_bounding_set().step("emptying the bounding set")?;
        sys::become_id(uid, uid).step("becoming an unprivileged user")?;
        sys::set_caps(0).step("dropping capabilities")?;
        sys::no_new_privs().step("forbidding new privileges")?;
    }
    sys::die_with_parent().step("tying the role to the supervisor")?;
    let mut argv = vec![text(OsStr::new(name))];
    argv.extend(args.iter().map(|a| text(OsStr::new(a))));
    // What the service manager has said to its own child is nothing to a role, and through the jailer to a sandbox.
    let is_ours = |name: &OsStr| !notify::VARIABLES.iter().any(|other| name == *other);
    let of_role = |name: &OsStr| daemon.role_env.iter().any(|(other, _)| name == *other);
    let mut vars: Vec<_> = std::env::vars_os().filter(|(name, _)| is_ours(name) && !of_role(name)).collect();
    vars.extend(daemon.role_env.iter().map(|(name, value)| (name.into(), value.into())));
    let env: Vec<CString> = vars
        .into_iter()
        .map(|(name, value)| {
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            text(&entry)
        })
        .collect();
    Err(sys::exec_fd(executable.as_fd(), &argv, &env)).step("executing the role")
}

fn text(value: &OsStr) -> CString {
    CString::new(value.as_bytes()).expect("arguments and environment come from NUL-terminated strings")
}

/// Watches the roles. The death of jailer or `serve` ends all: `serve` keeps no state that the other's successor could not
/// rebuild from rows and cgroups. `Some` is the daemon's exit code; `None` starts all anew.
fn watch(
    daemon: &Daemon,
    executable: BorrowedFd<'_>,
    roles: &mut Roles,
    signals: BorrowedFd<'_>,
) -> Result<Option<i32>, StepError> {
    // Until when they may take, once they are to end.
    let mut until: Option<Instant> = None;
    let mut hurried = false;
    let stopping = |until: &mut Option<Instant>| {
        until.get_or_insert_with(|| Instant::now() + STOP_PATIENCE);
    };
    let (mut jailer_alive, mut serve_alive) = (true, true);
    let mut code = None;
    while jailer_alive || serve_alive {
        let due = [roles.gateway_due, roles.venue_due].into_iter().flatten().min();
        let due = until.or(due);
        let patience = due.map(|due| due.saturating_duration_since(Instant::now()));
        match wait_for_signal(signals, patience).step("waiting for signals")? {
            Some(libc::SIGCHLD) => {
                while let Some(ended) = sys::reap_one().step("reaping")? {
                    if ended.pid == roles.serve {
                        serve_alive = false;
                        roles.show(daemon, |seen| seen.serve.ended());
                        // `serve` ends with 0 when it was told to; the jailer sees its socket close and clears up.
                        if ended.code != Some(0) {
                            say("ringfence", &format!("serve ended ({})", how(ended)));
                        }
                        code = ended.code.filter(|ended| matches!(*ended, 0 | FOR_GOOD)).or(code);
                        stopping(&mut until);
                    } else if ended.pid == roles.jailer {
                        jailer_alive = false;
                        roles.show(daemon, |seen| seen.jailer.ended());
                        if serve_alive && ended.code == Some(0) {
                            // It ends with 0 when `serve` has closed its socket: that one is about to end, and its
                            // own exit code says why. A jailer without sandboxes is often the quicker of the two.
                            stopping(&mut until);
                        } else if serve_alive {
                            say("ringfence", &format!("the jailer ended ({})", how(ended)));
                            let _ = sys::kill_child(roles.serve, sys::SIGKILL);
                        }
                    } else if roles.gateway == Some(ended.pid) {
                        roles.gateway = None;
                        roles.show(daemon, |seen| seen.gateway.ended());
                        if until.is_none() {
                            say("ringfence", &format!("the gateway ended ({}); it is started anew", how(ended)));
                            roles.gateway_due = Some(Instant::now() + GATEWAY_PAUSE);
                        }
                    } else if roles.venue == Some(ended.pid) {
                        venue_ended(daemon, roles, ended, until.is_some());
                    }
                }
            }
            Some(signal) => {
                code = Some(0);
                let hurry = signal == libc::SIGINT;
                if hurry && !hurried {
                    until = Some(Instant::now() + HURRY_PATIENCE);
                } else if until.is_none() {
                    until = Some(Instant::now() + STOP_PATIENCE + daemon.drain);
                }
                hurried |= hurry;
                if serve_alive {
                    let _ = sys::kill_child(roles.serve, if hurry { libc::SIGINT } else { sys::SIGTERM });
                }
            }
            None if until.is_none() => start_due(daemon, executable, roles)?,
            None => {
                for (pid, alive) in [(roles.serve, serve_alive), (roles.jailer, jailer_alive)] {
                    if alive {
                        let _ = sys::kill_child(pid, sys::SIGKILL);
                    }
                }
                until = Some(Instant::now() + STOP_PATIENCE);
            }
        }
    }
    if let Some(venue) = roles.venue {
        let _ = sys::kill_child(venue, sys::SIGTERM);
    }
    end_others(roles, signals)?;
    Ok(code)
}

fn venue_ended(daemon: &Daemon, roles: &mut Roles, ended: sys::Ended, stopping: bool) {
    roles.venue = None;
    roles.show(daemon, |seen| seen.venue.ended());
    if stopping {
        return;
    }
    let (begun, pause) = roles.venue_begun;
    let pause = if begun.elapsed() >= VENUE_WELL { GATEWAY_PAUSE } else { pause };
    say("ringfence", &format!("the venue ended ({}); it is started anew", how(ended)));
    roles.venue_due = Some(Instant::now() + pause);
    roles.venue_begun.1 = (pause * 2).min(VENUE_PAUSE_MAX);
}

/// Waits for the gateway, whose sockets have closed with the others, and for the venue, which was told to end.
fn end_others(roles: &mut Roles, signals: BorrowedFd<'_>) -> Result<(), StepError> {
    let mut left: Vec<i32> = roles.gateway.take().into_iter().chain(roles.venue.take()).collect();
    let mut patience = Some(GATEWAY_PATIENCE);
    loop {
        while let Some(ended) = sys::reap_one().step("reaping")? {
            left.retain(|pid| *pid != ended.pid);
        }
        if left.is_empty() {
            return Ok(());
        }
        if wait_for_signal(signals, patience).step("waiting for signals")?.is_none() {
            for pid in &left {
                let _ = sys::kill_child(*pid, sys::SIGKILL);
            }
            patience = None;
        }
    }
}

fn how(ended: sys::Ended) -> String {
    match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit code {code}"),
        // A role that can leave its memory on a disk is a fault: `no_role_leaves_its_memory_on_a_disk` reads these words.
        (None, Some(signal)) if ended.dumped => format!("signal {signal}, core dumped"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

/// The lock of a state directory.
#[derive(Debug)]
pub struct HomeLock {
    _file: fs::File,
}

/// Why a state directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error(
        "a daemon with pid {pid} already serves {home}; stop it with `ringfence stop`, or choose another RINGFENCE_HOME"
    )]
    Held {
        /// State directory.
        home: String,
        /// Its outer process.
        pid: String,
    },
    /// The file cannot be used.
    #[error("locking {home}")]
    Io {
        /// State directory.
        home: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How long a new daemon waits for the processes of one that was killed.
const DYING_PATIENCE: Duration = Duration::from_secs(10);

/// Whether a process of this number is there and has not ended: proc(5), `/proc/<pid>/stat`, field 3.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

impl HomeLock {
    /// Locks `home` for this process and its forks, and writes the pid into `daemon.lock`.
    ///
    /// # Errors
    /// [`LockError::Held`] with the pid of the holder.
    pub fn take(home: &Path) -> Result<Self, LockError> {
        use std::io::Write;
        let shown = home.display().to_string();
        let io = |source| LockError::Io { home: shown.clone(), source };
        let path = home.join("daemon.lock");
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                    // One that was killed holds it until the last of its processes is gone.
                    if begun.elapsed() > DYING_PATIENCE || is_alive(&pid) {
                        return Err(LockError::Held { home: shown, pid });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(e) => return Err(io(e.into())),
            }
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}
