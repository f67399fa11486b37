//! How a process gets into a shell: the handshake with a zygote's child or a fresh process.
//!
//! Both say HELLO when they are inside and still capable there, wait for GO, drop everything, and say PARKED. They stand
//! still while their posture is read, until a second GO lets them open descriptors of their own; only then is anybody
//! told of them. One zygote makes one child at a time, because the check that no joiner is left in the zygote's cgroup
//! needs it to be still.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::net::SocketType;

use super::{
    Jailer, Role, Timer, Token, cgroup_refusal,
    executions::{Execution, Stage, part},
    kernel, unknown,
    zygotes::Warmth,
};
use crate::{
    check,
    posture::{self, Expect, NAMESPACES},
    proto::{Done, ExecNo, Posture, Refusal, Rights, ShellId, ZygoteNo},
    shell::{self, pipe},
    spawn, sys, wire,
};

/// A child that takes longer than this from the zygote's word to its own is stuck.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// From then on it is in its sandbox's hands: in its cgroup, and soon under the uid of its programs, which may stop it. The
/// zygote makes one child at a time, so that one sandbox must not hold it up for the others.
const PARK_PATIENCE: Duration = Duration::from_secs(1);

/// How long a joiner may be seen after its child has parked. An honest one is gone within microseconds.
const JOINER_PATIENCE: Duration = Duration::from_millis(250);

/// Between two looks for it.
const JOINER_POLL: Duration = Duration::from_micros(100);

/// A process on its way into a shell.
#[derive(Debug)]
pub(super) struct Joining {
    request: u64,
    pub(super) shell: ShellId,
    exec: ExecNo,
    kind: Kind,
    stage: JoinStage,
    control: OwnedFd,
    /// Inode of the child's end of `control`.
    control_inode: u64,
    /// Ours: write end of stdin, read ends of stdout and stderr.
    ours: Vec<OwnedFd>,
    /// The child's control socket and standard descriptors, until they are sent.
    theirs: Vec<OwnedFd>,
    /// When it said that it had parked.
    parked_at: Option<Instant>,
    /// Deadline of a fresh process, which starts when it may execute.
    timeout_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Child(ZygoteNo),
    Fresh(Rights),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinStage {
    /// Its zygote is busy with another.
    Queued,
    Hello,
    Parking {
        pid: i32,
    },
}

impl Jailer {
    pub(super) fn park(&mut self, request: u64, id: ShellId, zygote: ZygoteNo, exec: ExecNo) -> Result<(), Refusal> {
        let (shell, ..) = self.alive(id)?;
        if shell.held_a_child_up || shell.frozen {
            return Err(Refusal::Failed("the sandbox does not let a child of its warm interpreter in".into()));
        }
        if shell.plan.zygote != zygote {
            return Err(Refusal::Plan("the shell was planned for another zygote".into()));
        }
        if !self.zygotes.contains_key(&zygote) {
            return Err(unknown(format!("zygote {}", zygote.0)));
        }
        let join = self.new_join(request, id, exec, Kind::Child(zygote))?;
        self.waiting_joins.entry(zygote).or_default().push_back(join);
        self.next_join(zygote);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "they are the fields of the operation")]
    pub(super) fn spawn(
        &mut self,
        request: u64,
        rights: Rights,
        id: ShellId,
        exec: ExecNo,
        argv: &[String],
        env: &[String],
        cwd: &str,
        timeout_ms: Option<u64>,
    ) -> Result<(), Refusal> {
        check::program(argv, env)?;
        if !cwd.starts_with('/') || cwd.contains('\0') {
            return Err(Refusal::Plan("the working directory is not an absolute path".into()));
        }
        let join = self.new_join(request, id, exec, Kind::Fresh(rights))?;
        if rights == Rights::Installer
            && let Some(execution) = self.shells.get_mut(&id).and_then(|shell| shell.executions.get_mut(&exec))
        {
            execution.ends_whole = true;
        }
        let (shell, init, _) = self.alive(id)?;
        let program = spawn::Program { rights, argv, env, cwd, descriptors: shell.plan.limits.descriptors };
        let joining = self.joins.get(&join).expect("made above");
        let [control, stdin, stdout, stderr] = &joining.theirs[..] else { unreachable!("four descriptors") };
        let fds = [control.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let started = spawn::start(&self.host, init, &shell::group(id), &part(exec), &program, fds);
        let joining = self.joins.get_mut(&join).expect("made above");
        joining.theirs.clear();
        joining.stage = JoinStage::Hello;
        joining.timeout_ms = timeout_ms;
        self.at(Instant::now() + JOIN_PATIENCE, Timer::JoinTooLong(join));
        if let Err(e) = started {
            self.drop_join(join);
            return Err(kernel(&e));
        }
        Ok(())
    }

    /// Sockets, pipes and a cgroup for one execution.
    fn new_join(&mut self, request: u64, id: ShellId, exec: ExecNo, kind: Kind) -> Result<u64, Refusal> {
        let (_, _, identity) = self.alive(id)?;
        if !self.shells.get_mut(&id).is_some_and(|shell| shell.used_execs.take(exec.0)) {
            return Err(Refusal::Plan(format!("execution {} is not a new number", exec.0)));
        }
        let made =
            |e: std::io::Error| Refusal::Kernel { step: "making sockets and pipes".into(), reason: e.to_string() };
        let (control, child_control) = wire::pair(SocketType::STREAM).map_err(made)?;
        rustix::net::sockopt::set_socket_passcred(&control, true).map_err(|e| made(e.into()))?;
        let control_inode = rustix::fs::fstat(&child_control).map_err(|e| made(e.into()))?.st_ino;
        let (stdin_read, stdin_write) = pipe().map_err(made)?;
        let (stdout_read, stdout_write) = pipe().map_err(made)?;
        let (stderr_read, stderr_write) = pipe().map_err(made)?;
        // /dev/stdout opens the pipe anew, with the permissions of its owner.
        let owner = Some(rustix::fs::Uid::from_raw(identity.base + crate::host::PROGRAM_UID));
        let group_owner = Some(rustix::fs::Gid::from_raw(identity.base + crate::host::PROGRAM_UID));
        for fd in [&stdin_read, &stdout_write, &stderr_write] {
            rustix::fs::fchown(fd, owner, group_owner).map_err(|e| made(e.into()))?;
        }
        self.host.cgroups.create_part(&shell::group(id), &part(exec)).map_err(cgroup_refusal)?;
        self.next_token += 1;
        let join = self.next_token;
        self.watch(control.as_fd(), Token::Join(join)).map_err(made)?;
        let shell = self.shells.get_mut(&id).expect("it is alive");
        shell.executions.insert(exec, Execution::new(exec));
        let ours = vec![stdin_write, stdout_read, stderr_read];
        let theirs = vec![child_control, stdin_read, stdout_write, stderr_write];
        self.joins.insert(
            join,
            Joining {
                request,
                shell: id,
                exec,
                kind,
                stage: JoinStage::Queued,
                control,
                control_inode,
                ours,
                theirs,
                parked_at: None,
                timeout_ms: None,
            },
        );
        Ok(join)
    }

    /// Lets the zygote make its next child, if it is idle and one is wanted.
    pub(super) fn next_join(&mut self, zygote: ZygoteNo) {
        let Some(z) = self.zygotes.get(&zygote) else { return };
        if z.warmth != Warmth::Ready || z.making.is_some() {
            return;
        }
        let Some(join) = self.waiting_joins.get_mut(&zygote).and_then(std::collections::VecDeque::pop_front) else {
            return;
        };
        if !self.joins.contains_key(&join) {
            return self.next_join(zygote);
        }
        if let Err(refusal) = self.ask_zygote(zygote, join) {
            self.finish_join(join, Err(refusal));
        }
    }

    fn ask_zygote(&mut self, zygote: ZygoteNo, join: u64) -> Result<(), Refusal> {
        let joining = self.joins.get(&join).expect("looked up by the caller");
        let (shell, init, _) = self.alive(joining.shell)?;
        let descriptors = shell.plan.limits.descriptors.min(crate::zygote::DESCRIPTORS);
        let open = |name: &&str| std::fs::File::open(format!("/proc/{init}/ns/{name}")).map(OwnedFd::from);
        let namespaces = NAMESPACES.iter().map(open).collect::<std::io::Result<Vec<_>>>();
        let namespaces =
            namespaces.map_err(|e| Refusal::Kernel { step: "opening the namespaces".into(), reason: e.to_string() })?;
        let mut word = vec![b'J'];
        word.extend_from_slice(&joining.exec.0.to_le_bytes());
        word.extend_from_slice(&u32::try_from(namespaces.len()).expect("seven").to_le_bytes());
        word.extend_from_slice(&descriptors.to_le_bytes());
        let fds: Vec<_> = joining.theirs.iter().chain(&namespaces).map(AsFd::as_fd).collect();
        let z = self.zygotes.get_mut(&zygote).expect("looked up by the caller");
        wire::send(z.control.as_fd(), &word, &fds)
            .map_err(|e| Refusal::Failed(format!("the zygote does not listen: {e}")))?;
        z.making = Some(join);
        z.unanswered.push_back(join);
        self.at(Instant::now() + JOIN_PATIENCE, Timer::JoinTooLong(join));
        let joining = self.joins.get_mut(&join).expect("looked up by the caller");
        joining.theirs.clear();
        joining.stage = JoinStage::Hello;
        Ok(())
    }

    pub(super) fn on_join_word(&mut self, join: u64) {
        let Some(joining) = self.joins.get(&join) else { return };
        let mut buffer = [0_u8; 256];
        let received = match wire::receive(joining.control.as_fd(), &mut buffer) {
            Ok(None) => return,
            Ok(Some(received)) => received,
            Err(e) => return self.fail_join(join, &format!("its socket failed: {e}")),
        };
        let word = &buffer[..received.len];
        match (joining.stage, word) {
            (JoinStage::Hello, word) if word == spawn::HELLO => match received.pid {
                Some(pid) => self.on_hello(join, pid),
                None => self.fail_join(join, "the kernel did not say who it is"),
            },
            (JoinStage::Parking { pid }, word) if word == spawn::PARKED => {
                self.joins.get_mut(&join).expect("looked up above").parked_at = Some(Instant::now());
                self.try_settle(join, pid);
            }
            (_, []) => self.fail_join(join, "it died on the way"),
            (_, [b'E', why @ ..]) => {
                let why = String::from_utf8_lossy(why).into_owned();
                self.fail_join(join, &why);
            }
            _ => self.fail_join(join, "it said something unexpected"),
        }
    }

    /// It is inside, and still capable there: put it under its limits, then let it drop everything.
    fn on_hello(&mut self, join: u64, pid: i32) {
        let joining = &self.joins[&join];
        let (id, exec, kind) = (joining.shell, joining.exec, joining.kind);
        // Whatever the pid's owner claims, only a child of ours can be waited for and killed safely.
        if parent_of(pid) != Some(std::process::id()) {
            return self.fail_join(join, "it is not the jailer's child");
        }
        // Whoever is capable in its pid namespace may name another process there.
        if self.roles.contains_key(&pid) {
            return self.fail_join(join, "it named a process that is another's");
        }
        self.roles.insert(pid, Role::Program(id, exec));
        let attached = match kind {
            Kind::Child(_) => self.host.cgroups.attach_part(&shell::group(id), &part(exec), pid),
            Kind::Fresh(_) => Ok(()), // it entered by itself, before it gave up the host
        };
        if let Err(e) = attached {
            let _ = sys::kill_child(pid, sys::SIGKILL);
            return self.fail_join(join, &shell::into_io(e).to_string());
        }
        let joining = self.joins.get_mut(&join).expect("looked up above");
        joining.stage = JoinStage::Parking { pid };
        if rustix::io::write(&joining.control, spawn::GO).is_err() {
            return self.fail_join(join, "it died on the way");
        }
        self.at(Instant::now() + PARK_PATIENCE, Timer::JoinTooLong(join));
    }

    pub(super) fn on_join_too_long(&mut self, join: u64) {
        let Some(joining) = self.joins.get(&join) else { return };
        if let (Kind::Child(_), JoinStage::Parking { .. }) = (joining.kind, joining.stage)
            && let Some(shell) = self.shells.get_mut(&joining.shell)
        {
            shell.held_a_child_up = true;
        }
        self.fail_join(join, "it did not park in time");
    }

    /// Hands out what has parked, unless its joiner is still there.
    fn try_settle(&mut self, join: u64, pid: i32) {
        let joining = &self.joins[&join];
        if let Kind::Child(zygote) = joining.kind {
            let since = joining.parked_at.map_or(Duration::ZERO, |at| at.elapsed());
            match self.nobody_is_left_with(zygote) {
                Ok(true) => {}
                // The joiner's last instructions may run on another core a little longer than the child's first ones.
                Ok(false) if since < JOINER_PATIENCE => {
                    return self.at(Instant::now() + JOINER_POLL, Timer::Settle(join));
                }
                Ok(false) => {
                    let why = "a process that could still join is left with the zygote";
                    return self.finish_join(join, Err(Refusal::Posture(why.into())));
                }
                Err(e) => return self.finish_join(join, Err(e)),
            }
        }
        let result = self.settle(join, pid);
        self.finish_join(join, result);
    }

    pub(super) fn on_settle_again(&mut self, join: u64) {
        if let Some(Joining { stage: JoinStage::Parking { pid }, parked_at: Some(_), .. }) = self.joins.get(&join) {
            let pid = *pid;
            self.try_settle(join, pid);
        }
    }

    /// It has dropped everything: read what the kernel says, and hand it out.
    fn settle(&mut self, join: u64, pid: i32) -> Result<Posture, Refusal> {
        let joining = &self.joins[&join];
        let (id, exec, kind, control) = (joining.shell, joining.exec, joining.kind, joining.control_inode);
        let (shell, _, identity) = self.alive(id)?;
        let captured = shell.check_capture(identity.network());
        // Not the zygote's fault, as a refused posture would be.
        captured.map_err(Refusal::Failed)?;
        let (filters, rights) = match kind {
            Kind::Fresh(rights) => (1, rights),
            Kind::Child(_) => (2, Rights::Program),
        };
        let controllers = self.host.cgroups.describe();
        let expect = match rights {
            Rights::Program => Expect::Program { filters, control },
            Rights::Installer => Expect::Installer { control },
        };
        let posture = posture::check(pid, &identity, expect, controllers).map_err(|why| {
            // One that died meanwhile is no fault of the zygote: a neighbour in its sandbox may have killed it.
            if is_gone(pid) { Refusal::Failed("it died on the way".into()) } else { Refusal::Posture(why) }
        })?;
        // After the check: what is alone here and holds nothing cannot have company that does.
        if matches!(kind, Kind::Child(_)) {
            let pids = self.host.cgroups.part_pids(&shell::group(id), &part(exec)).map_err(cgroup_refusal)?;
            if pids.iter().any(|other| *other != pid && !is_zombie(*other)) {
                return Err(Refusal::Posture(
                    "it is not alone: a process that it made while it was capable may still be".into(),
                ));
            }
        }
        if let Some(timeout_ms) = joining.timeout_ms {
            self.arm(id, exec, timeout_ms)?;
        }
        let joining = &self.joins[&join];
        // What it opens from here on is its own affair: the interpreter warms itself, the fresh process executes.
        if rustix::io::write(&joining.control, spawn::GO).is_err() {
            return Err(Refusal::Failed("it died on the way".into()));
        }
        let shell = self.shells.get_mut(&id).expect("it is alive");
        if let Some(execution) = shell.executions.get_mut(&exec) {
            execution.stage = Stage::Ready { pid };
        }
        Ok(posture)
    }

    /// A joiner that stayed would be fully capable in the sandbox's user namespace, unseen by the check of its child.
    fn nobody_is_left_with(&self, zygote: ZygoteNo) -> Result<bool, Refusal> {
        let Some(z) = self.zygotes.get(&zygote) else { return Ok(true) };
        let pids = self.host.cgroups.part_pids(&z.group, ".").map_err(cgroup_refusal)?;
        Ok(!pids.iter().any(|pid| *pid != z.pid && !is_zombie(*pid)))
    }

    pub(super) fn fail_join(&mut self, join: u64, why: &str) {
        self.finish_join(join, Err(Refusal::Failed(why.to_owned())));
    }

    fn finish_join(&mut self, join: u64, result: Result<Posture, Refusal>) {
        let Some(mut joining) = self.drop_join(join) else { return };
        match result {
            Ok(posture) => {
                let mut fds = std::mem::take(&mut joining.ours);
                let done = match joining.kind {
                    Kind::Child(_) => {
                        fds.insert(0, joining.control);
                        Done::Parked { posture }
                    }
                    Kind::Fresh(_) => Done::Spawned { posture },
                };
                self.reply(joining.request, Ok(done), fds);
            }
            Err(refusal) => {
                let _ = self.host.cgroups.kill_part(&shell::group(joining.shell), &part(joining.exec));
                if let JoinStage::Parking { pid } = joining.stage
                    && self.roles.contains_key(&pid)
                {
                    let _ = sys::kill_child(pid, sys::SIGKILL);
                }
                self.drop_execution(joining.shell, joining.exec);
                // What it refused may still be with the zygote: a zygote with company is not used again.
                if let Kind::Child(zygote) = joining.kind
                    && matches!(refusal, Refusal::Posture(_))
                {
                    self.kill_zygote_for(zygote, &refusal.to_string());
                }
                self.reply(joining.request, Err(refusal), Vec::new());
            }
        }
        if let Kind::Child(zygote) = joining.kind {
            self.next_join(zygote);
        }
    }

    fn drop_join(&mut self, join: u64) -> Option<Joining> {
        let joining = self.joins.remove(&join)?;
        let _ = rustix::event::epoll::delete(&self.epoll, &joining.control);
        self.unwatch(|token| *token == Token::Join(join));
        if let Kind::Child(zygote) = joining.kind
            && let Some(z) = self.zygotes.get_mut(&zygote)
            && z.making == Some(join)
        {
            z.making = None;
        }
        Some(joining)
    }
}

fn status_field(pid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

fn parent_of(pid: i32) -> Option<u32> {
    status_field(pid, "PPid")?.parse().ok()
}

/// Whether a process has given up its namespaces, which it does before it is a zombie.
fn is_gone(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/ns/mnt")).is_err()
}

pub(super) fn is_zombie(pid: i32) -> bool {
    status_field(pid, "State").is_none_or(|state| state.starts_with('Z'))
}
