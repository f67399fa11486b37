//! Shells as the jailer keeps them: building, alive, dying.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use ringfence_model::Limits;

use super::{
    Jailer, Role, Timer, Token, cgroup_refusal,
    executions::{Execution, is_over},
    kernel, unknown,
};
use crate::{
    capture::Capture,
    check,
    gateway::ToGateway,
    numbers::Numbers,
    posture::{self, Expect, ShellIdentity},
    proto::{DiskId, Done, ExecNo, Notice, Posture, Refusal, ShellId, ShellPlan, Usage},
    shell, sys,
};

/// A builder that takes longer than this is stuck.
const BUILD_PATIENCE: Duration = Duration::from_secs(30);

/// How long a dying shell's processes and cgroups may take to go.
const DEATH_PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at a dying shell.
const DEATH_POLL: Duration = Duration::from_millis(2);

/// Between two looks at one that takes longer than anybody waits.
const LATE_DEATH_POLL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Shell {
    pub(super) plan: ShellPlan,
    pub(super) state: State,
    pub(super) executions: HashMap<ExecNo, Execution>,
    pub(super) used_execs: Numbers,
    /// Frozen now.
    pub(super) frozen: bool,
    /// A child of the zygote was stopped inside before it had parked: none is sent there again.
    pub(super) held_a_child_up: bool,
    /// What leads its connections to the gateway, while it is alive, where that was planned.
    pub(super) capture: Option<Capture>,
}

#[derive(Debug)]
pub(super) enum State {
    Building { request: u64, builder: i32, report: OwnedFd },
    Alive { init: i32, identity: ShellIdentity },
    Dying { requests: Vec<u64>, since: Instant },
}

impl Shell {
    pub(super) fn disk(&self) -> Option<DiskId> {
        self.plan.disk
    }

    /// Whether what it sends goes where it was planned to go, as the kernel says.
    ///
    /// # Errors
    /// The first difference, in words.
    pub(super) fn check_capture(&self, network_namespace: u64) -> Result<(), String> {
        match (&self.capture, self.plan.gate) {
            (Some(capture), true) => capture.check(network_namespace),
            (None, false) => Ok(()),
            _ => Err("its connections lead elsewhere than planned".into()),
        }
    }

    pub(super) fn layers(&self) -> &[ringfence_model::LayerDigest] {
        &self.plan.layers
    }
}

impl Jailer {
    pub(super) fn build_shell(&mut self, request: u64, plan: ShellPlan) -> Result<(), Refusal> {
        check::shell(&plan)?;
        let id = plan.shell;
        if self.shells.values().any(|s| s.plan.slot == plan.slot) {
            return Err(Refusal::Plan(format!("slot {} is taken", plan.slot)));
        }
        if let Some(disk) = plan.disk {
            if self.shells.values().any(|s| s.plan.disk == Some(disk)) {
                return Err(Refusal::Plan(format!("disk {} is taken", disk.0)));
            }
            if !self.disks.exists(disk) {
                return Err(unknown(format!("disk {}", disk.0)));
            }
        }
        for layer in &plan.layers {
            if !self.host.layers().join(layer.as_str()).join("rootfs").is_dir() {
                return Err(unknown(format!("layer {layer}")));
            }
        }
        if !self.used_shells.take(id.0) {
            return Err(Refusal::Plan(format!("shell {id} is not a new number")));
        }
        if let Some(disk) = plan.disk {
            self.disks.ready_again(disk).map_err(|e| super::disk_refusal(&e))?;
        }
        self.write_synthetic(&plan.limits)?;
        let (builder, report) = shell::start_builder(&self.host, &plan).map_err(|e| kernel(&e))?;
        self.roles.insert(builder, Role::Builder);
        self.at(Instant::now() + BUILD_PATIENCE, Timer::BuildTooLong(id));
        let watched = self.watch(report.as_fd(), Token::Builder(id));
        let state = State::Building { request, builder, report };
        self.shells.insert(
            id,
            Shell {
                plan,
                state,
                executions: HashMap::new(),
                used_execs: Numbers::default(),
                frozen: false,
                held_a_child_up: false,
                capture: None,
            },
        );
        if let Err(e) = watched {
            self.end_shell(id);
            return Err(Refusal::Failed(format!("watching the builder: {e}")));
        }
        Ok(())
    }

    /// The synthetic procfs files are shared by all sandboxes of one size.
    fn write_synthetic(&self, limits: &Limits) -> Result<(), Refusal> {
        let cpus = shell::shown_cpus(limits.cpu_millis);
        let dir = self.host.synthetic(limits.memory_mib, cpus);
        if dir.exists() {
            return Ok(());
        }
        crate::synth::write(&dir, limits.memory_mib, cpus, &self.facts.kernel, "virtual CPU")
            .map_err(|e| Refusal::Kernel { step: "writing the synthetic procfs files".into(), reason: e.to_string() })
    }

    pub(super) fn on_builder(&mut self, id: ShellId) {
        let Some(Shell { state: State::Building { request, report, .. }, .. }) = self.shells.get(&id) else { return };
        let request = *request;
        let report = match shell::read_report(report.as_fd()) {
            Ok(None) => return,
            Ok(Some(report)) => report,
            Err(e) => shell::Report::Failed(format!("the builder's socket: {e}")),
        };
        self.unwatch_builder(id);
        let result = match report {
            shell::Report::Failed(why) => Err(Refusal::Failed(why)),
            shell::Report::Built(init, frames, capture) => {
                self.adopt_shell(id, init, capture).map(|posture| (posture, frames))
            }
        };
        match result {
            Ok((posture, frames)) => self.reply(request, Ok(Done::ShellBuilt { posture }), vec![frames]),
            Err(refusal) => {
                self.reply(request, Err(refusal), Vec::new());
                self.end_shell(id);
            }
        }
    }

    /// Init is alive: move it to its leaf, read its posture.
    fn adopt_shell(&mut self, id: ShellId, init: i32, capture: Option<Capture>) -> Result<Posture, Refusal> {
        self.roles.insert(init, Role::Init(id));
        let group = shell::group(id);
        self.host.cgroups.attach_part(&group, "init", init).map_err(cgroup_refusal)?;
        let shell = self.shells.get_mut(&id).ok_or_else(|| unknown(format!("shell {id}")))?;
        let base = self.host.uids.slot(shell.plan.slot);
        let identity = posture::identify(init, base).map_err(Refusal::Posture)?;
        shell.state = State::Alive { init, identity };
        shell.capture = capture;
        let gate = shell.plan.gate;
        shell.check_capture(identity.network()).map_err(Refusal::Posture)?;
        let posture = posture::check(init, &identity, Expect::Init, self.host.cgroups.describe());
        let posture = posture.map_err(Refusal::Posture)?;
        if gate {
            self.tell_gateway(ToGateway::Opened { shell: id });
        }
        Ok(posture)
    }

    pub(super) fn on_build_too_long(&mut self, id: ShellId) {
        let Some(Shell { state: State::Building { request, builder, .. }, .. }) = self.shells.get(&id) else { return };
        let (request, builder) = (*request, *builder);
        let _ = sys::kill_child(builder, sys::SIGKILL);
        self.reply(request, Err(Refusal::Failed("the builder was stuck".into())), Vec::new());
        self.end_shell(id);
    }

    pub(super) fn alive(&self, id: ShellId) -> Result<(&Shell, i32, ShellIdentity), Refusal> {
        match self.shells.get(&id) {
            Some(shell) => match shell.state {
                State::Alive { init, identity } => Ok((shell, init, identity)),
                _ => Err(unknown(format!("live shell {id}"))),
            },
            None => Err(unknown(format!("shell {id}"))),
        }
    }

    pub(super) fn on_init_death(&mut self, id: ShellId) {
        let Some(shell) = self.shells.get(&id) else { return };
        if matches!(shell.state, State::Dying { .. }) {
            return;
        }
        self.notify(Notice::ShellDied { shell: id });
        self.end_shell(id);
    }

    pub(super) fn destroy(&mut self, request: u64, id: ShellId) -> Result<(), Refusal> {
        let shell = self.shells.get_mut(&id).ok_or_else(|| unknown(format!("shell {id}")))?;
        if let State::Dying { requests, .. } = &mut shell.state {
            requests.push(request);
            return Ok(());
        }
        self.end_shell(id);
        if let Some(Shell { state: State::Dying { requests, .. }, .. }) = self.shells.get_mut(&id) {
            requests.push(request);
        } else {
            self.reply(request, Ok(Done::Ok), Vec::new());
        }
        Ok(())
    }

    /// Kills everything in a shell and starts its removal.
    fn end_shell(&mut self, id: ShellId) {
        self.tell_ends_of(id);
        let Some(shell) = self.shells.get_mut(&id) else { return };
        if let State::Building { builder, .. } = shell.state {
            let _ = sys::kill_child(builder, sys::SIGKILL);
            self.unwatch_builder(id);
        }
        let Some(shell) = self.shells.get_mut(&id) else { return };
        if let State::Alive { init, .. } = shell.state {
            // The death of pid 1 takes its whole pid namespace with it (pid_namespaces(7)).
            let _ = sys::kill_child(init, sys::SIGKILL);
        }
        shell.state = State::Dying { requests: Vec::new(), since: Instant::now() };
        if shell.capture.take().is_some() {
            self.tell_gateway(ToGateway::Closed { shell: id });
        }
        self.fail_joins_of(id, "its sandbox ended");
        let _ = self.host.cgroups.kill(&shell::group(id));
        self.at(Instant::now() + DEATH_POLL, Timer::RemoveShell(id));
    }

    /// Not by closing: builders that were forked meanwhile have a copy, and as long as one of them lives epoll would tell of a
    /// socket that nobody reads, without an end.
    fn unwatch_builder(&mut self, id: ShellId) {
        if let Some(Shell { state: State::Building { report, .. }, .. }) = self.shells.get(&id) {
            let _ = rustix::event::epoll::delete(&self.epoll, report);
        }
        self.unwatch(|token| *token == Token::Builder(id));
    }

    fn fail_joins_of(&mut self, id: ShellId, why: &str) {
        let joins: Vec<u64> = self.joins.iter().filter(|(_, j)| j.shell == id).map(|(n, _)| *n).collect();
        for join in joins {
            self.fail_join(join, why);
        }
    }

    pub(super) fn try_remove_shell(&mut self, id: ShellId) {
        let Some(Shell { state: State::Dying { since, .. }, .. }) = self.shells.get(&id) else { return };
        let is_late = since.elapsed() >= DEATH_PATIENCE;
        let group = shell::group(id);
        if self.host.cgroups.remove(&group) {
            if let Some(Shell { state: State::Dying { requests, .. }, .. }) = self.shells.remove(&id) {
                for request in requests {
                    self.reply(request, Ok(Done::Ok), Vec::new());
                }
            }
            return;
        }
        // A process that was being made may have arrived after the first kill.
        let _ = self.host.cgroups.kill(&group);
        if is_late && let Some(Shell { state: State::Dying { requests, .. }, .. }) = self.shells.get_mut(&id) {
            // Its uid range and its disk stay taken as long as anything of it lives.
            for request in std::mem::take(requests) {
                self.reply(request, Err(Refusal::Failed(format!("shell {id}: a process does not die"))), Vec::new());
            }
        }
        let poll = if is_late { LATE_DEATH_POLL } else { DEATH_POLL };
        self.at(Instant::now() + poll, Timer::RemoveShell(id));
    }

    pub(super) fn freeze(&mut self, id: ShellId, frozen: bool) -> Result<(), Refusal> {
        self.alive(id)?;
        if frozen {
            self.fail_joins_of(id, "its sandbox was frozen");
        }
        self.host.cgroups.freeze(&shell::group(id), frozen).map_err(cgroup_refusal)?;
        if let Some(shell) = self.shells.get_mut(&id) {
            shell.frozen = frozen;
        }
        Ok(())
    }

    pub(super) fn set_limits(&mut self, id: ShellId, limits: Limits) -> Result<(), Refusal> {
        limits.check().map_err(|e| Refusal::Plan(e.to_string()))?;
        self.alive(id)?;
        self.host.cgroups.set_limits(&shell::group(id), shell::group_limits(&limits)).map_err(cgroup_refusal)?;
        if let Some(shell) = self.shells.get_mut(&id) {
            shell.plan.limits = limits;
        }
        Ok(())
    }

    pub(super) fn usage(&self, id: ShellId) -> Result<Usage, Refusal> {
        let (shell, ..) = self.alive(id)?;
        let group = shell::group(id);
        let cgroups = &self.host.cgroups;
        let mut running = Vec::new();
        for exec in shell.executions.values().filter(|e| e.is_visible()) {
            let pids = cgroups.part_pids(&group, &exec.part()).unwrap_or_default();
            // One whose end has been told may still be giving its memory back.
            for pid in pids.into_iter().filter(|pid| !is_over(*pid)) {
                const LISTED_MAX: usize = 256;
                if running.len() < LISTED_MAX {
                    running.push((exec.number, u32::try_from(pid).unwrap_or(0), command_line(pid)));
                }
            }
        }
        Ok(Usage {
            memory_bytes: cgroups.memory_bytes(&group).map_err(cgroup_refusal)?,
            memory_peak_bytes: cgroups.memory_peak_bytes(&group).unwrap_or(0),
            cpu_usec: cgroups.cpu_usec(&group).unwrap_or(0),
            processes: cgroups.process_count(&group),
            oom_kills: cgroups.oom_kills(&group),
            running,
        })
    }
}

/// A process's command line for people: NULs as spaces, cut, lossy.
fn command_line(pid: i32) -> String {
    const BYTES_MAX: u64 = 200;
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(format!("/proc/{pid}/cmdline")) {
        let _ = file.take(BYTES_MAX).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
