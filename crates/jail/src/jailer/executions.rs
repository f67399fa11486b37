//! Executions: their deadlines, their ends, their accounts.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    time::{Duration, Instant},
};

use ringfence_guest::park::{ARTIFACTS_DIR, FIGURES_DIR};

use super::{Jailer, Timer, cgroup_refusal, join::is_zombie, shells::State, unknown};
use crate::{
    proto::{Done, ExecNo, Exited, Notice, Refusal, ShellId},
    shell, sys,
};

#[derive(Debug)]
pub(super) struct Execution {
    pub(super) number: ExecNo,
    pub(super) stage: Stage,
    armed: Option<Armed>,
    timed_out: bool,
    /// Everything in it was killed.
    killed: bool,
    /// Nothing that it started outlives its first process.
    pub(super) ends_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Being made.
    Joining,
    /// Parked, or running.
    Ready { pid: i32 },
    /// Its first process was killed with all others, of which some have not gone yet: its end is told when they have.
    Dying { ended: sys::Ended, since: Instant },
    /// Its first process ended, and that was told; others may live on.
    Ended,
}

/// How long what was killed may take to go, until the end of its execution is told all the same. A large memory is taken
/// apart in tens of milliseconds; one that hangs in a system call may take forever.
const WHOLE_PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks at a dying execution, at least; and the longer it takes, the longer (the eighth part), so that many that
/// hang do not keep the jailer at looking.
const WHOLE_POLL: Duration = Duration::from_millis(1);

/// The accounts when an execution began.
#[derive(Debug, Clone, Copy)]
struct Armed {
    at: Instant,
    cpu_usec: u64,
    oom_kills: u64,
}

impl Execution {
    pub(super) fn new(number: ExecNo) -> Self {
        Self { number, stage: Stage::Joining, armed: None, timed_out: false, killed: false, ends_whole: false }
    }

    pub(super) fn part(&self) -> String {
        part(self.number)
    }

    /// Whether its processes are a program's: parked interpreters are not listed.
    pub(super) fn is_visible(&self) -> bool {
        self.armed.is_some()
    }
}

/// Whether there is something at an absolute path inside. No link is followed and nothing is opened for reading: the walk
/// stays in the sandbox's root whatever a program made of it (openat2(2)).
fn exists(init: Option<i32>, path: &str) -> bool {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
    let Some(init) = init else { return false };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let beneath = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    open(format!("/proc/{init}/root"), flags | OFlags::DIRECTORY, Mode::empty())
        .and_then(|root| openat2(root, path, flags, Mode::empty(), beneath))
        .is_ok()
}

/// The exit code of a process that is on its way out, which the kernel knows before it has taken the memory apart. `None`
/// while it lives, and for one that a signal ends.
fn ending_code(pid: i32) -> Option<i32> {
    // The kernel takes the code of one line before the flags. One that has just begun to exit may be seen to do so with the
    // code of before, 0: what counts is the code of a line that was begun later.
    let (before, _) = exiting(pid)?;
    let (threads, status) = exiting(pid)?;
    // A thread that another made before it ended may have come too late for the first list.
    let none_is_new = threads.is_subset(&before);
    (none_is_new && status & 0x7f == 0).then(|| i32::try_from((status >> 8) & 0xff).ok()).flatten()
}

/// Whether a process is on its way out, with all of its threads.
pub(super) fn is_over(pid: i32) -> bool {
    exiting(pid).is_some()
}

/// The threads, and the exit code as wait(2) gives it, of a process whose every thread is exiting: fields 9 (flags), 20 (threads)
/// and 52 (exit code) of `/proc/<pid>/stat`, proc(5). The last of them takes the memory apart, which may last for milliseconds.
fn exiting(pid: i32) -> Option<(BTreeSet<OsString>, u64)> {
    const PF_EXITING: u64 = 4;
    /// Node has a dozen. A program must not be able to keep the jailer at reading: of one with more, the end is waited for.
    const THREADS_MAX: u64 = 64;
    let fields = |stat: &str, numbers: [usize; 3]| -> Option<[u64; 3]> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let [a, b, c] = numbers.map(|number| fields.get(number - 3)?.parse().ok());
        Some([a?, b?, c?])
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let [flags, count, status] = fields(&stat, [9, 20, 52])?;
    if flags & PF_EXITING == 0 || count > THREADS_MAX {
        return None;
    }
    let mut threads = BTreeSet::new();
    if count > 1 {
        // A main thread may end before its process does.
        for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let thread = thread.ok()?;
            // One that has gone meanwhile has ended too.
            let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { continue };
            let [flags, ..] = fields(&stat, [9, 20, 52])?;
            if flags & PF_EXITING == 0 {
                return None;
            }
            threads.insert(thread.file_name());
        }
    }
    Some((threads, status))
}

/// Name of an execution's cgroup below its shell's.
pub(super) fn part(exec: ExecNo) -> String {
    format!("e-{}", exec.0)
}

impl Jailer {
    fn execution(&mut self, id: ShellId, exec: ExecNo) -> Result<&mut Execution, Refusal> {
        self.alive(id)?;
        let shell = self.shells.get_mut(&id).ok_or_else(|| unknown(format!("shell {id}")))?;
        shell.executions.get_mut(&exec).ok_or_else(|| unknown(format!("execution {} of shell {id}", exec.0)))
    }

    pub(super) fn arm(&mut self, id: ShellId, exec: ExecNo, timeout_ms: u64) -> Result<(), Refusal> {
        let group = shell::group(id);
        let armed = Armed {
            at: Instant::now(),
            cpu_usec: self.host.cgroups.part_cpu_usec(&group, &part(exec)).unwrap_or(0),
            oom_kills: self.host.cgroups.oom_kills(&group),
        };
        self.execution(id, exec)?.armed = Some(armed);
        self.host.cgroups.reset_memory_peak(&group);
        // A deadline so far away that it cannot be represented is none.
        if let Some(when) = armed.at.checked_add(Duration::from_millis(timeout_ms)) {
            self.at(when, Timer::Deadline(id, exec));
        }
        Ok(())
    }

    pub(super) fn on_deadline(&mut self, id: ShellId, exec: ExecNo) {
        let Ok(execution) = self.execution(id, exec) else { return };
        if matches!(execution.stage, Stage::Ready { .. }) {
            execution.timed_out = true;
            let _ = self.kill_execution(id, exec);
        }
    }

    pub(super) fn kill_execution(&mut self, id: ShellId, exec: ExecNo) -> Result<(), Refusal> {
        let stage = self.execution(id, exec)?.stage;
        let killed = self.host.cgroups.kill_part(&shell::group(id), &part(exec)).map_err(cgroup_refusal);
        if killed.is_ok()
            && let Ok(execution) = self.execution(id, exec)
        {
            execution.killed = true;
        }
        if killed.is_err()
            && let Stage::Ready { pid } = stage
        {
            let _ = sys::kill_child(pid, sys::SIGKILL);
        }
        killed
    }

    pub(super) fn on_program_death(&mut self, id: ShellId, exec: ExecNo, ended: sys::Ended) {
        let Some(shell) = self.shells.get_mut(&id) else { return };
        let Some(execution) = shell.executions.get_mut(&exec) else { return };
        if execution.ends_whole {
            execution.killed |= self.host.cgroups.kill_part(&shell::group(id), &part(exec)).is_ok();
        }
        match execution.stage {
            Stage::Ready { .. } => {}
            Stage::Joining => return execution.stage = Stage::Ended, // its socket tells
            Stage::Dying { .. } | Stage::Ended => return self.drop_execution(id, exec),
        }
        execution.stage = Stage::Dying { ended, since: Instant::now() };
        self.on_others_gone(id, exec);
    }

    /// Tells the end of an execution whose first process has ended: of one that was killed, as soon as nothing of it lives.
    pub(super) fn on_others_gone(&mut self, id: ShellId, exec: ExecNo) {
        let Some(shell) = self.shells.get(&id) else { return };
        let Some(execution) = shell.executions.get(&exec) else { return };
        let Stage::Dying { since, .. } = execution.stage else { return };
        let may_wait =
            execution.killed && matches!(shell.state, State::Alive { .. }) && since.elapsed() < WHOLE_PATIENCE;
        let is_alive = |pid: &i32| !is_zombie(*pid);
        if may_wait && self.part_pids(id, exec).iter().any(is_alive) {
            return self.at(Instant::now() + WHOLE_POLL.max(since.elapsed() / 8), Timer::OthersGone(id, exec));
        }
        self.tell_end(id, exec);
    }

    /// Of a shell that ends itself, nobody waits for the processes of one of its executions.
    pub(super) fn tell_ends_of(&mut self, id: ShellId) {
        let Some(shell) = self.shells.get(&id) else { return };
        let dying = shell.executions.values().filter(|execution| matches!(execution.stage, Stage::Dying { .. }));
        for exec in dying.map(|execution| execution.number).collect::<Vec<_>>() {
            self.tell_end(id, exec);
        }
    }

    fn tell_end(&mut self, id: ShellId, exec: ExecNo) {
        let account = self.accounts_of(id, exec);
        let Some(execution) = self.shells.get_mut(&id).and_then(|shell| shell.executions.get_mut(&exec)) else {
            return;
        };
        let Stage::Dying { ended, .. } = execution.stage else { return };
        execution.stage = Stage::Ended;
        if let Some(account) = account {
            self.notify(Notice::Exited(Exited { code: ended.code, signal: ended.signal, ..account }));
        }
    }

    fn part_pids(&self, id: ShellId, exec: ExecNo) -> Vec<i32> {
        self.host.cgroups.part_pids(&shell::group(id), &part(exec)).unwrap_or_default()
    }

    /// Forgets an execution that nobody was told of, with its cgroup as soon as that is empty: at its process's death, or at
    /// the latest with its shell.
    pub(super) fn drop_execution(&mut self, id: ShellId, exec: ExecNo) {
        let removed = self.host.cgroups.remove_part(&shell::group(id), &part(exec));
        let Some(shell) = self.shells.get_mut(&id) else { return };
        if removed {
            shell.executions.remove(&exec);
        } else if let Some(execution) = shell.executions.get_mut(&exec) {
            execution.stage = Stage::Ended;
        }
    }

    /// As they are before its first process has ended.
    pub(super) fn account(&mut self, id: ShellId, exec: ExecNo) -> Result<Exited, Refusal> {
        match self.execution(id, exec)?.stage {
            Stage::Ready { pid } => {
                let account = self.accounts_of(id, exec).ok_or_else(|| unknown(format!("shell {id}")))?;
                Ok(Exited { code: ending_code(pid), ..account })
            }
            Stage::Joining | Stage::Dying { .. } | Stage::Ended => {
                Err(unknown(format!("running execution {} of shell {id}", exec.0)))
            }
        }
    }

    fn accounts_of(&self, id: ShellId, exec: ExecNo) -> Option<Exited> {
        let shell = self.shells.get(&id)?;
        let execution = shell.executions.get(&exec)?;
        let init = match shell.state {
            State::Alive { init, .. } => Some(init),
            State::Building { .. } | State::Dying { .. } => None,
        };
        let first = match execution.stage {
            Stage::Ready { pid } => Some(pid),
            Stage::Joining | Stage::Dying { .. } | Stage::Ended => None,
        };
        let armed = execution.armed;
        let group = shell::group(id);
        let cgroups = &self.host.cgroups;
        let since = |now: u64, then: Option<u64>| now.saturating_sub(then.unwrap_or(0));
        let others = self.part_pids(id, exec).into_iter().filter(|pid| Some(*pid) != first).count();
        Some(Exited {
            shell: id,
            exec,
            code: None,
            signal: None,
            timed_out: execution.timed_out,
            oom_killed: since(cgroups.oom_kills(&group), armed.map(|a| a.oom_kills)) > 0,
            cpu_usec: since(cgroups.part_cpu_usec(&group, &part(exec)).unwrap_or(0), armed.map(|a| a.cpu_usec)),
            wall_usec: armed.map_or(0, |a| u64::try_from(a.at.elapsed().as_micros()).unwrap_or(u64::MAX)),
            memory_peak_bytes: cgroups.memory_peak_bytes(&group).unwrap_or(0),
            still_running: u32::try_from(others).unwrap_or(u32::MAX),
            left_artifacts: exists(init, ARTIFACTS_DIR),
            left_figures: exists(init, FIGURES_DIR),
        })
    }

    pub(super) fn forget(&mut self, id: ShellId, exec: ExecNo) -> Result<Done, Refusal> {
        let stage = self.execution(id, exec)?.stage;
        if stage != Stage::Ended {
            return Err(Refusal::Plan(format!("execution {} of shell {id} has not ended", exec.0)));
        }
        let group = shell::group(id);
        if self.host.cgroups.remove_part(&group, &part(exec)) {
            if let Some(shell) = self.shells.get_mut(&id) {
                shell.executions.remove(&exec);
            }
            return Ok(Done::Forgotten { still_running: 0 });
        }
        let pids = self.part_pids(id, exec);
        Ok(Done::Forgotten { still_running: u32::try_from(pids.len()).unwrap_or(u32::MAX).max(1) })
    }
}
