//! One step of a build, from fork to exec. In order:
//!
//! 1. the *stepper* (host root): cgroup, namespaces, the root; it forks pid 1 of the step, gives up everything, waits;
//! 2. pid 1 mounts procfs (only the host's root may), enters the user namespace, gives up everything but five
//!    capabilities in there, installs the last filter, forks the program, and reaps until the program has ended;
//! 3. the program: the plan's argv. It is executed anew, never forked from anything that ran third-party code.
//!
//! The death of pid 1 ends whatever the program left running.

use std::{
    convert::Infallible,
    ffi::CString,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{Mode, OFlags};

use super::root;
use crate::{
    cgroup::GroupLimits,
    host::{Host, UIDS_PER_SLOT},
    proto::BuildPlan,
    shell::{Step, StepError, into_io, pipe, user_namespace},
    sys,
    zygote::texts,
};

/// What a step's program may do in its own user namespace: give files away, read and change what is in its tree, and
/// become other users. No FSETID or SETFCAP: every mount of ours is nosuid, so that the set-group-id bits and file
/// capabilities that dpkg cannot keep would have no effect.
pub const CAPABILITIES: [u8; 5] =
    [sys::cap::CHOWN, sys::cap::DAC_OVERRIDE, sys::cap::FOWNER, sys::cap::SETGID, sys::cap::SETUID];

/// What a step may use. Compilers and package installers are hungrier than programs.
const LIMITS: GroupLimits = GroupLimits { memory_bytes: 4 << 30, cpu_millis: 2000, pids: 1024 };

const DESCRIPTORS: u64 = 1024;

/// Exit code of a step that could not be started; its output says why. Package tools do not use it.
pub const NOT_STARTED: i32 = 125;

/// Name of a step's cgroup; `generation` makes it unique, for a cgroup is never used twice.
#[must_use]
pub fn group(step: u32, generation: u32) -> String {
    format!("b-{step}-{generation}")
}

/// What a step does.
pub(crate) trait Work {
    /// Whether it shares the host's network.
    fn network(&self) -> bool;

    /// Builds its root and enters it, as host root in a mount namespace of its own with private propagation.
    ///
    /// # Errors
    /// The step that failed.
    fn enter(&self, host: &Host, base: u32, userns: BorrowedFd<'_>) -> Result<(), StepError>;

    /// The work itself, in the last process, which has nothing but the capabilities of [`CAPABILITIES`] inside. The code to exit
    /// with.
    fn run(&self) -> i32;
}

impl Work for BuildPlan {
    fn network(&self) -> bool {
        self.network
    }

    fn enter(&self, host: &Host, base: u32, userns: BorrowedFd<'_>) -> Result<(), StepError> {
        root::enter(host, self, base, userns)
    }

    fn run(&self) -> i32 {
        let (argv, env) = (texts(&self.argv), texts(&self.env));
        let e = match become_program(&argv, &env) {
            Ok(never) => match never {},
            Err(e) => e,
        };
        eprintln!("ringfence: cannot execute {}: {}", self.argv[0], e.source);
        127
    }
}

/// Forks a step. Returns its pid and the read end of its output. It exits as the program did, with 128 + signal when
/// that was killed. `input` is its standard input.
///
/// # Errors
/// It could not be forked.
pub(crate) fn start(
    host: &Host,
    plan: &dyn Work,
    group: &str,
    input: Option<&OwnedFd>,
) -> Result<(i32, OwnedFd), StepError> {
    let (output_read, output_write) = pipe().step("making a pipe")?;
    match sys::fork().step("forking the step")? {
        sys::Forked::Parent(pid) => Ok((pid, output_read)),
        sys::Forked::Child => {
            let code = take_standard_fds(input, &output_write, host.uids.build())
                .and_then(|()| run(host, plan, group, input.is_some()));
            std::mem::forget((output_read, output_write)); // closed by number
            sys::exit_now(code.unwrap_or_else(|e| explain(&e)))
        }
    }
}

/// From here on the jailer's descriptors are closed: an end of a pipe that is held here for minutes would keep some
/// execution's output from ending.
///
/// The pipe is given to root of the step, or nothing in there could open /dev/stderr.
fn take_standard_fds(input: Option<&OwnedFd>, output: &OwnedFd, owner: u32) -> Result<(), StepError> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner), rustix::fs::Gid::from_raw(owner));
    rustix::fs::fchown(output, Some(uid), Some(gid)).step("giving the output to the step")?;
    let null = open_null()?;
    let input = input.map_or(null.as_fd(), AsFd::as_fd);
    sys::place_fds(&[input, output.as_fd(), output.as_fd()]).step("placing descriptors")?;
    std::mem::forget(null);
    sys::close_from(3).step("closing descriptors")
}

fn open_null() -> Result<OwnedFd, StepError> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).step("opening /dev/null")
}

fn explain(error: &StepError) -> i32 {
    eprintln!("ringfence: the step could not be started: {error}");
    NOT_STARTED
}

/// The stepper. Returns the code to exit with.
fn run(host: &Host, plan: &dyn Work, group: &str, has_input: bool) -> Result<i32, StepError> {
    let me = i32::try_from(std::process::id()).expect("pids fit in 31 bits");
    host.cgroups.create(group, LIMITS).map_err(into_io).step("making the step's cgroup")?;
    host.cgroups.attach(group, me).map_err(into_io).step("entering the step's cgroup")?;
    fs::write("/proc/self/oom_score_adj", "500").step("raising the OOM score")?;
    sys::set_dumpable(false).step("hiding from ptrace")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    sys::keep_caps_over_setuid().step("keeping capabilities")?;
    let base = host.uids.build();
    // Who owns a user namespace has every capability in it: host root, so that no unprivileged process can reach in.
    // Made first: its helper must not become pid 1 of the pid namespace, which would die with it.
    let userns = user_namespace(0, base).step("making the user namespace")?;
    // A cgroup namespace is rooted where its maker is, so it is made after the cgroup has been entered.
    let mut namespaces =
        sys::CLONE_NEWNS | sys::CLONE_NEWPID | sys::CLONE_NEWIPC | sys::CLONE_NEWUTS | sys::CLONE_NEWCGROUP;
    if !plan.network() {
        namespaces |= sys::CLONE_NEWNET;
    }
    sys::unshare(namespaces).step("unsharing the step's namespaces")?;
    sys::mount("none", "/", "", sys::MS_REC | sys::MS_PRIVATE, "").step("making mounts private")?;
    sys::set_hostname("build").step("setting the host name")?;
    if !plan.network() {
        sys::loopback_up().step("bringing lo up")?;
    }
    plan.enter(host, base, userns.as_fd())?;
    match sys::fork().step("forking pid 1")? {
        sys::Forked::Child => sys::exit_now(reap(host, plan, userns, has_input).unwrap_or_else(|e| explain(&e))),
        sys::Forked::Parent(pid) => {
            drop(userns);
            give_up_everything().step("giving up the stepper's privileges")?;
            Ok(exit_code(sys::wait_for(pid).step("waiting for pid 1")?))
        }
    }
}

/// The stepper needs nothing any more but to wait. The id is nobody's on any host.
fn give_up_everything() -> io::Result<()> {
    const NOBODY: u32 = UIDS_PER_SLOT - 2;
    sys::drop_bounding_set()?;
    sys::become_id(NOBODY, NOBODY)?;
    sys::set_caps(0)?;
    sys::no_new_privs()?;
    sys::die_with_parent()
}

/// Pid 1 of the step. Returns the code to exit with.
fn reap(host: &Host, plan: &dyn Work, userns: OwnedFd, has_input: bool) -> Result<i32, StepError> {
    let proc = sys::new_procfs(&[("subset", "pid")]).step("making procfs")?;
    sys::attach_mount(proc.as_fd(), "/proc").step("attaching procfs")?;
    drop(proc);
    sys::new_session().step("starting a session")?;
    sys::new_session_keyring().step("making a session keyring")?;
    sys::set_limit(sys::Resource::Core, 1).step("limiting core files")?;
    sys::set_limit(sys::Resource::Descriptors, DESCRIPTORS).step("limiting descriptors")?;
    std::env::set_current_dir("/").step("entering /")?;

    // Entering resets the securebits and gives every capability in there, of which five are kept.
    sys::setns(userns.as_fd()).step("entering the user namespace")?;
    sys::become_id(0, 0).step("becoming root of the user namespace")?;
    let kept = sys::cap_mask(&CAPABILITIES);
    sys::drop_bounding_set_but(kept).step("reducing the bounding set")?;
    sys::set_caps(kept).step("keeping five capabilities")?;
    sys::no_new_privs().step("forbidding new privileges")?;
    sys::set_dumpable(false).step("hiding pid 1 from its children")?;
    sys::die_with_parent().step("tying pid 1 to the stepper")?;
    // The step's own, and not the host's.
    let null = open_null()?;
    if !has_input {
        sys::place_fd(null.as_fd(), 0).step("placing descriptors")?;
    }
    std::mem::forget((null, userns)); // closed by number
    sys::close_from(3).step("closing descriptors")?;
    sys::load_filter(&host.last_filter).step("installing the filter")?;
    match sys::fork().step("forking the program")? {
        // What panics in there must not come back here.
        sys::Forked::Child => {
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| plan.run()));
            sys::exit_now(ran.unwrap_or(101))
        }
        sys::Forked::Parent(program) => loop {
            let ended = sys::wait_for(-1).step("waiting for the program")?;
            if ended.pid == program {
                return Ok(exit_code(ended));
            }
        },
    }
}

fn become_program(argv: &[CString], env: &[CString]) -> Result<Infallible, StepError> {
    sys::default_signals().step("restoring signals")?;
    Err(sys::exec_path(&argv[0], argv, env)).step("executing the program")
}

fn exit_code(ended: sys::Ended) -> i32 {
    ended.code.unwrap_or_else(|| 128 + ended.signal.unwrap_or(0))
}
