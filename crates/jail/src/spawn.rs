//! Executing a program anew in a shell: the jailer's own child enters the namespaces, drops everything, and waits until
//! its posture has been read before it becomes the program.
//!
//! It says the same words on its control socket as a zygote's child does (`ringfence_guest::park`), so that one state
//! machine in the jailer serves both.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crate::{
    build::step::CAPABILITIES,
    host::{Host, PROGRAM_UID},
    posture::NAMESPACES,
    proto::Rights,
    shell::{Step, StepError, into_io},
    sys,
    zygote::{PENDING_SIGNALS, texts},
};

/// First word of a process that is inside and still holds capabilities in the sandbox's user namespace.
pub const HELLO: &[u8; 8] = b"RFHELLO1";

/// Word of a process that has dropped everything.
pub const PARKED: &[u8; 8] = b"RFPARK_1";

/// The jailer's word: first to drop everything, then, when the posture has been read, to go on (to execute, or to warm
/// up and wait for a program).
pub const GO: &[u8; 1] = b"G";

/// What to execute.
#[derive(Debug)]
pub struct Program<'a> {
    /// As whom.
    pub rights: Rights,
    /// Absolute path inside, and arguments.
    pub argv: &'a [String],
    /// `NAME=value`, complete.
    pub env: &'a [String],
    /// Working directory.
    pub cwd: &'a str,
    /// Limit of open descriptors.
    pub descriptors: u32,
}

/// Forks the process that enters. `fds` are its control socket, stdin, stdout and stderr.
///
/// # Errors
/// It could not be forked.
pub fn start(
    host: &Host,
    init_pid: i32,
    group: &str,
    part: &str,
    program: &Program<'_>,
    fds: [BorrowedFd<'_>; 4],
) -> Result<i32, StepError> {
    match sys::fork().step("forking")? {
        sys::Forked::Parent(pid) => Ok(pid),
        sys::Forked::Child => {
            let [control, ..] = fds;
            let code = match enter(host, init_pid, group, part) {
                Ok(sys::Forked::Parent(_)) => 0,
                Ok(sys::Forked::Child) => {
                    let e = match become_program(host, program, fds) {
                        Ok(never) => match never {},
                        Err(e) => e,
                    };
                    say_error(control, &e);
                    111
                }
                Err(e) => {
                    say_error(control, &e);
                    111
                }
            };
            sys::exit_now(code)
        }
    }
}

fn say_error(control: BorrowedFd<'_>, error: &StepError) {
    let _ = rustix::io::write(control, format!("E{error}").as_bytes());
}

fn enter(host: &Host, init_pid: i32, group: &str, part: &str) -> Result<sys::Forked, StepError> {
    sys::set_dumpable(false).step("hiding from ptrace")?;
    let me = i32::try_from(std::process::id()).expect("pids fit in 31 bits");
    host.cgroups.attach_part(group, part, me).map_err(into_io).step("entering the execution's cgroup")?;
    fs::write("/proc/self/oom_score_adj", "500").step("raising the OOM score")?;
    let open = |name: &&str| fs::File::open(format!("/proc/{init_pid}/ns/{name}")).map(OwnedFd::from);
    let namespaces = NAMESPACES.iter().map(open).collect::<io::Result<Vec<_>>>().step("opening the namespaces")?;
    for (namespace, name) in namespaces.iter().zip(NAMESPACES) {
        sys::setns(namespace.as_fd()).step(&format!("entering the {name} namespace"))?;
    }
    drop(namespaces);
    sys::fork_sibling().step("forking inside")
}

fn become_program(
    host: &Host,
    program: &Program<'_>,
    fds: [BorrowedFd<'_>; 4],
) -> Result<std::convert::Infallible, StepError> {
    let [control, stdin, stdout, stderr] = fds;
    say(control, HELLO)?;
    wait_for_go(control)?;
    sys::new_session().step("starting a session")?;
    sys::new_session_keyring().step("making a session keyring")?;
    sys::set_limit(sys::Resource::Core, 1).step("limiting core files")?;
    sys::set_limit(sys::Resource::PendingSignals, PENDING_SIGNALS).step("limiting pending signals")?;
    let (argv, env) = (texts(program.argv), texts(program.env));
    sys::place_fds(&[stdin, stdout, stderr, control]).step("placing descriptors")?;
    sys::close_from(4).step("closing descriptors")?;
    // Not before: what was inherited of the jailer may be more than a sandbox may have.
    sys::set_limit(sys::Resource::Descriptors, u64::from(program.descriptors)).step("limiting descriptors")?;
    let control = sys::inherited_fd(3).step("keeping the control socket")?;
    sys::default_signals().step("restoring signals")?;
    let (id, kept) = match program.rights {
        Rights::Program => (PROGRAM_UID, 0),
        Rights::Installer => (0, sys::cap_mask(&CAPABILITIES)),
    };
    sys::drop_bounding_set_but(kept).step("reducing the bounding set")?;
    sys::become_id(id, id).step("becoming the user")?;
    sys::set_caps(kept).step("dropping capabilities")?;
    // Root regains them when it executes; nobody else inherits any.
    sys::set_inheritable(0).step("inheriting no capability")?;
    sys::no_new_privs().step("forbidding new privileges")?;
    sys::load_filter(&host.last_filter).step("installing the filter")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    say(control.as_fd(), PARKED)?;
    wait_for_go(control.as_fd())?;
    // From here on failures are the program's to see: its posture is settled, and its output is open.
    if let Err(e) = std::env::set_current_dir(program.cwd) {
        eprintln!("ringfence: cannot enter the working directory {}: {e}", program.cwd);
        sys::exit_now(126);
    }
    let e = sys::exec_path(&argv[0], &argv, &env);
    eprintln!("ringfence: cannot execute {}: {e}", program.argv[0]);
    sys::exit_now(127)
}

fn say(control: BorrowedFd<'_>, word: &[u8]) -> Result<(), StepError> {
    rustix::io::write(control, word).map(drop).step("speaking to the jailer")
}

fn wait_for_go(control: BorrowedFd<'_>) -> Result<(), StepError> {
    let mut word = [0];
    match rustix::io::read(control, &mut word) {
        Ok(1) if word == *GO => Ok(()),
        Ok(_) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)).step("waiting for the jailer"),
        Err(e) => Err(e).step("waiting for the jailer"),
    }
}
