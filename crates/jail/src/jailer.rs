//! The jailer: one thread, one loop. It waits for requests, for the words of processes that are being made, and for the
//! death of its children; every step that could take long happens in a forked process.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::event::epoll;

use crate::{
    disk::Disks,
    gateway::Gateway,
    host::Host,
    numbers::Numbers,
    proto::{
        Done, ExecNo, FromJailer, HostFacts, MESSAGE_BYTES_MAX, Notice, Op, Refusal, Reply, Request, ShellId, ZygoteNo,
    },
    say::say,
    shell::StepError,
    sys, wire,
};

mod executions;
mod gates;
mod join;
mod room;
mod shells;
mod sockets;
mod steps;
mod zygotes;

use join::Joining;
use shells::Shell;
use zygotes::Zygote;

/// What a readable descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Token {
    Control,
    Signals,
    Builder(ShellId),
    ZygoteControl(ZygoteNo, u32),
    ZygoteOutput(ZygoteNo, u32),
    Join(u64),
    Door,
    Gateway(u32),
    Sockets(u64),
}

/// What a child of the jailer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Builder,
    Init(ShellId),
    Zygote(ZygoteNo, u32),
    Program(ShellId, ExecNo),
    Step(u32),
    Writer,
}

/// What happens when a moment has come. Timers are never cancelled: one that no longer applies does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Deadline(ShellId, ExecNo),
    OthersGone(ShellId, ExecNo),
    JoinTooLong(u64),
    Settle(u64),
    BuildTooLong(ShellId),
    ZygoteTooLong(ZygoteNo, u32),
    RemoveShell(ShellId),
    RemoveGroups,
    StepTooLong(u32),
    TellGateway,
    LookAtRoom,
}

/// The jailer's whole state.
#[derive(Debug)]
pub struct Jailer {
    host: Host,
    facts: HostFacts,
    disks: Disks,
    control: OwnedFd,
    /// For requests.
    buffer: Vec<u8>,
    epoll: OwnedFd,
    signals: OwnedFd,
    tokens: HashMap<u64, Token>,
    next_token: u64,
    shells: HashMap<ShellId, Shell>,
    used_shells: Numbers,
    zygotes: HashMap<ZygoteNo, Zygote>,
    generation: u32,
    joins: HashMap<u64, Joining>,
    waiting_joins: HashMap<ZygoteNo, VecDeque<u64>>,
    steps: HashMap<u32, steps::RunningStep>,
    sockets: HashMap<u64, sockets::Making>,
    roles: HashMap<i32, Role>,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    /// Cgroups of zygotes and steps whose processes are dying.
    dying_groups: Vec<String>,
    /// Where the supervisor introduces gateways.
    door: Option<OwnedFd>,
    gateway: Option<Gateway>,
    /// How many there have been.
    gateways: u32,
    /// A timer will go on telling the gateway what is kept for it.
    is_telling: bool,
    room: room::Room,
}

/// Why the jailer ended.
#[derive(Debug, thiserror::Error)]
pub enum JailerError {
    /// `serve` went away; everything has been ended.
    #[error("serve closed its socket")]
    ServeGone,
    /// The disks take nothing, and there is room to mount them anew.
    #[error("the disks of sandboxes are mounted anew, now that there is room")]
    DisksLost,
    /// Its own machinery failed.
    #[error("{0}")]
    Step(#[from] StepError),
    /// epoll, a socket.
    #[error("the jailer's loop")]
    Io(#[from] io::Error),
}

impl Jailer {
    /// A jailer that is ready to serve `control`, and gateways that come through `door`.
    ///
    /// # Errors
    /// Its descriptors cannot be made.
    pub fn new(
        host: Host,
        facts: HostFacts,
        disks: Disks,
        control: OwnedFd,
        door: Option<OwnedFd>,
    ) -> Result<Self, JailerError> {
        let signals = sys::signal_fd(&[libc::SIGCHLD])?;
        let mut jailer = Self {
            host,
            facts,
            disks,
            control,
            buffer: vec![0; MESSAGE_BYTES_MAX],
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?,
            signals,
            tokens: HashMap::new(),
            next_token: 0,
            shells: HashMap::new(),
            used_shells: Numbers::default(),
            zygotes: HashMap::new(),
            generation: 0,
            joins: HashMap::new(),
            waiting_joins: HashMap::new(),
            steps: HashMap::new(),
            sockets: HashMap::new(),
            roles: HashMap::new(),
            timers: BinaryHeap::new(),
            dying_groups: Vec::new(),
            door: None,
            gateway: None,
            gateways: 0,
            is_telling: false,
            room: room::Room::default(),
        };
        let control = jailer.control.try_clone()?;
        jailer.watch(control.as_fd(), Token::Control)?;
        let signals = jailer.signals.try_clone()?;
        jailer.watch(signals.as_fd(), Token::Signals)?;
        // The clones stay registered until the jailer ends with them.
        std::mem::forget((control, signals));
        if let Some(door) = door {
            jailer.watch(door.as_fd(), Token::Door)?;
            jailer.door = Some(door);
        }
        Ok(jailer)
    }

    fn watch(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.next_token += 1;
        let data = epoll::EventData::new_u64(self.next_token);
        epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?;
        self.tokens.insert(self.next_token, token);
        Ok(())
    }

    /// Forgets the tokens of descriptors that are closed (closing removes them from epoll itself).
    fn unwatch(&mut self, matches: impl Fn(&Token) -> bool) {
        self.tokens.retain(|_, token| !matches(token));
    }

    fn at(&mut self, when: Instant, timer: Timer) {
        self.timers.push(Reverse((when, timer)));
    }

    /// Serves until `serve` goes away, then ends everything.
    ///
    /// # Errors
    /// Always: there is no orderly end but the other side's.
    pub fn run(mut self) -> Result<std::convert::Infallible, JailerError> {
        let error = match self.serve() {
            Ok(never) => match never {},
            Err(e) => e,
        };
        const PATIENCE_MS: u64 = 10_000;
        let left = self.host.cgroups.remove_everything(PATIENCE_MS);
        if !left.is_empty() {
            say("jailer", &format!("these groups could not be removed: {left:?}"));
        }
        Err(error)
    }

    fn serve(&mut self) -> Result<std::convert::Infallible, JailerError> {
        self.look_at_room()?;
        let mut events = Vec::with_capacity(64);
        loop {
            let wait = self.run_timers()?;
            events.clear();
            let timeout = wait.map(|d| rustix::time::Timespec {
                tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(d.subsec_nanos()),
            });
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e).into()),
            }
            let ready: Vec<u64> = events.iter().map(|event: &epoll::Event| event.data.u64()).collect();
            for data in ready {
                let Some(token) = self.tokens.get(&data).copied() else { continue };
                self.on_ready(token)?;
            }
        }
    }

    /// Runs what is due; how long until the next.
    fn run_timers(&mut self) -> Result<Option<Duration>, JailerError> {
        loop {
            let Some(&Reverse((when, timer))) = self.timers.peek() else { return Ok(None) };
            let now = Instant::now();
            if when > now {
                return Ok(Some(when - now));
            }
            self.timers.pop();
            match timer {
                Timer::Deadline(shell, exec) => self.on_deadline(shell, exec),
                Timer::OthersGone(shell, exec) => self.on_others_gone(shell, exec),
                Timer::JoinTooLong(join) => self.on_join_too_long(join),
                Timer::Settle(join) => self.on_settle_again(join),
                Timer::BuildTooLong(shell) => self.on_build_too_long(shell),
                Timer::ZygoteTooLong(zygote, generation) => self.on_zygote_too_long(zygote, generation),
                Timer::RemoveShell(shell) => self.try_remove_shell(shell),
                Timer::RemoveGroups => self.remove_groups(),
                Timer::StepTooLong(step) => self.on_step_too_long(step),
                Timer::TellGateway => {
                    self.is_telling = false;
                    self.send_to_gateway();
                }
                Timer::LookAtRoom => self.look_at_room()?,
            }
        }
    }

    fn on_ready(&mut self, token: Token) -> Result<(), JailerError> {
        match token {
            Token::Control => self.on_requests()?,
            Token::Signals => self.on_children()?,
            Token::Builder(shell) => self.on_builder(shell),
            Token::ZygoteControl(zygote, generation) => self.on_zygote_word(zygote, generation),
            Token::ZygoteOutput(zygote, generation) => self.on_zygote_output(zygote, generation),
            Token::Join(join) => self.on_join_word(join),
            Token::Door => self.on_door(),
            Token::Gateway(number) => self.on_gateway_word(number),
            Token::Sockets(number) => self.on_sockets(number),
        }
        Ok(())
    }

    /// Takes every waiting request, up to a bound, so that children's deaths are seen between bursts.
    fn on_requests(&mut self) -> Result<(), JailerError> {
        const BURST: usize = 32;
        for _ in 0..BURST {
            let received = match wire::receive(self.control.as_fd(), &mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(()),
                // It went without having read our last words.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(JailerError::ServeGone),
                Err(e) => return Err(e.into()),
            };
            if received.len == 0 {
                return Err(JailerError::ServeGone);
            }
            match crate::proto::decode::<Request>(&self.buffer[..received.len]) {
                Ok(request) => self.on_request(request, &received.fds),
                Err(_) => self.reply(0, Err(Refusal::Plan("the request cannot be decoded".into())), Vec::new()),
            }
        }
        Ok(())
    }

    fn on_request(&mut self, Request { id, op }: Request, fds: &[OwnedFd]) {
        if let Err(refusal) = self.has_disks_for(&op) {
            return self.reply(id, Err(refusal), Vec::new());
        }
        let result = match op {
            Op::Hello => Ok(Some(Done::Host(self.facts.clone()))),
            Op::StartZygote(plan) => self.start_zygote(id, plan).map(|()| None),
            Op::StopZygote(zygote) => self.stop_zygote(zygote).map(|()| Some(Done::Ok)),
            Op::BuildShell(plan) => self.build_shell(id, plan).map(|()| None),
            Op::Park { shell, zygote, exec } => self.park(id, shell, zygote, exec).map(|()| None),
            Op::Spawn { rights, shell, exec, argv, env, cwd, timeout_ms } => {
                self.spawn(id, rights, shell, exec, &argv, &env, &cwd, timeout_ms).map(|()| None)
            }
            Op::Arm { shell, exec, timeout_ms } => self.arm(shell, exec, timeout_ms).map(|()| Some(Done::Ok)),
            Op::Account { shell, exec } => self.account(shell, exec).map(|account| Some(Done::Account(account))),
            Op::Kill { shell, exec } => self.kill_execution(shell, exec).map(|()| Some(Done::Ok)),
            Op::Forget { shell, exec } => self.forget(shell, exec).map(Some),
            Op::Freeze { shell, frozen } => self.freeze(shell, frozen).map(|()| Some(Done::Ok)),
            Op::Usage(shell) => self.usage(shell).map(|usage| Some(Done::Usage(usage))),
            Op::SetLimits { shell, limits } => self.set_limits(shell, limits).map(|()| Some(Done::Ok)),
            Op::Destroy(shell) => self.destroy(id, shell).map(|()| None),
            Op::CreateDisk { disk, size_mib } => self.create_disk(disk, size_mib).map(|()| Some(Done::Ok)),
            Op::DeleteDisk(disk) => self.delete_disk(disk).map(|()| Some(Done::Ok)),
            Op::CopyDisk { from, to, size_mib } => {
                self.copy_disk(from, to, size_mib).map(|shared_bytes| Some(Done::DiskCopied { shared_bytes }))
            }
            Op::LimitDisk { disk, bytes } => self.limit_disk(disk, bytes).map(|()| Some(Done::Ok)),
            Op::DiskUsage(disk) => self
                .disks
                .usage(disk)
                .map(|(bytes, limit_bytes)| Some(Done::DiskUsage { bytes, limit_bytes }))
                .map_err(|e| disk_refusal(&e)),
            Op::ListDisks => self.disks.list().map(|disks| Some(Done::Disks(disks))).map_err(|e| disk_refusal(&e)),
            Op::BuildStep(plan) => self.build_step(id, &plan, fds).map(|()| None),
            Op::Sockets { shell, streams } => self.make_sockets(id, shell, streams).map(|()| None),
            Op::KillStep(step) => self.kill_step(step).map(|()| Some(Done::Ok)),
            Op::LayerStep(plan) => self.layer_step(id, &plan, fds).map(|()| None),
            Op::SealLayer { tree, is_home } => self.seal_layer(id, &tree, is_home).map(|()| None),
            Op::CheckLayer(layer) => self.check_layer(id, layer).map(|()| None),
            Op::DropTree(tree) => self.drop_tree(id, &tree).map(|()| None),
            Op::DropLayer(layer) => self.drop_layer(id, &layer).map(|()| None),
            Op::ListStored => self.list_stored().map(Some),
        };
        match result {
            Ok(None) => {} // answered when it is done
            Ok(Some(done)) => self.reply(id, Ok(done), Vec::new()),
            Err(refusal) => self.reply(id, Err(refusal), Vec::new()),
        }
    }

    fn create_disk(&mut self, disk: crate::proto::DiskId, size_mib: u32) -> Result<(), Refusal> {
        let limits = ringfence_model::Limits { disk_mib: size_mib, ..Default::default() };
        limits.check().map_err(|e| Refusal::Plan(e.to_string()))?;
        self.disks.create(disk, size_mib).map_err(|e| disk_refusal(&e))
    }

    fn copy_disk(
        &mut self,
        from: crate::proto::DiskId,
        to: crate::proto::DiskId,
        size_mib: u32,
    ) -> Result<u64, Refusal> {
        let limits = ringfence_model::Limits { disk_mib: size_mib, ..Default::default() };
        limits.check().map_err(|e| Refusal::Plan(e.to_string()))?;
        if !self.disks.exists(from) {
            return Err(unknown(format!("disk {}", from.0)));
        }
        // A snapshot is of one moment of a disk that nobody writes to.
        if let Some((id, _)) = self.shells.iter().find(|(_, shell)| shell.disk() == Some(from))
            && !self.host.cgroups.is_frozen(&crate::shell::group(*id)).map_err(cgroup_refusal)?
        {
            return Err(Refusal::NotYet(format!("shell {id} is not frozen")));
        }
        self.disks.copy(from, to, size_mib).map_err(|e| disk_refusal(&e))
    }

    fn limit_disk(&mut self, disk: crate::proto::DiskId, bytes: u64) -> Result<(), Refusal> {
        /// A full disk is given so much more while a sandbox is started on it.
        const START_MIB: u64 = 4;
        // Whole ones: below a MiB nothing could be mounted, and 0 might mean that there is no limit.
        let mib = bytes >> 20;
        let size_mib = u32::try_from(if mib > START_MIB { mib - START_MIB } else { mib }).unwrap_or(u32::MAX);
        let limits = ringfence_model::Limits { disk_mib: size_mib, ..Default::default() };
        limits.check().map_err(|e| Refusal::Plan(e.to_string()))?;
        if !self.disks.exists(disk) {
            return Err(unknown(format!("disk {}", disk.0)));
        }
        self.disks.limit(disk, bytes).map_err(|e| disk_refusal(&e))
    }

    fn delete_disk(&mut self, disk: crate::proto::DiskId) -> Result<(), Refusal> {
        if self.shells.values().any(|shell| shell.disk() == Some(disk)) {
            return Err(Refusal::Plan("a shell still uses the disk".into()));
        }
        self.disks.delete(disk).map_err(|e| disk_refusal(&e))
    }

    /// Removes a cgroup as soon as the processes that were killed in it are gone.
    fn remove_group_soon(&mut self, group: String) {
        self.dying_groups.push(group);
        self.remove_groups();
    }

    fn remove_groups(&mut self) {
        const POLL: Duration = Duration::from_millis(5);
        let cgroups = &self.host.cgroups;
        self.dying_groups.retain(|group| {
            let gone = cgroups.remove(group);
            if !gone {
                let _ = cgroups.kill(group);
            }
            !gone
        });
        if !self.dying_groups.is_empty() {
            self.at(Instant::now() + POLL, Timer::RemoveGroups);
        }
    }

    /// Answers a request; `id` 0 wanted none.
    fn reply(&self, id: u64, result: Result<Done, Refusal>, fds: Vec<OwnedFd>) {
        if id != 0 {
            self.send(&FromJailer::Reply(Reply { id, result }), &fds);
        }
    }

    fn notify(&self, notice: Notice) {
        self.send(&FromJailer::Notice(notice), &[]);
    }

    /// A send that fails means that `serve` is gone, which the next read finds out.
    fn send(&self, message: &FromJailer, fds: &[OwnedFd]) {
        if let Err(e) = wire::send_message(self.control.as_fd(), message, fds) {
            say("jailer", &format!("cannot answer: {e}"));
        }
    }

    /// Reaps every child that ended.
    fn on_children(&mut self) -> Result<(), JailerError> {
        while sys::read_signal(self.signals.as_fd())?.is_some() {}
        while let Some(ended) = sys::reap_one()? {
            // Joiners and builders' helpers are nobody's: their makers look after them.
            let Some(role) = self.roles.remove(&ended.pid) else { continue };
            match role {
                Role::Builder => {}
                Role::Init(shell) => self.on_init_death(shell),
                Role::Zygote(zygote, generation) => self.on_zygote_death(zygote, generation, ended),
                Role::Program(shell, exec) => self.on_program_death(shell, exec, ended),
                Role::Step(step) => self.on_step_death(step, ended),
                Role::Writer => self.on_writer_death(ended),
            }
        }
        Ok(())
    }
}

fn kernel(error: &StepError) -> Refusal {
    Refusal::Kernel { step: error.step.clone(), reason: error.source.to_string() }
}

fn cgroup_refusal(error: crate::cgroup::CgroupError) -> Refusal {
    Refusal::Kernel { step: "using the cgroup".into(), reason: crate::shell::into_io(error).to_string() }
}

fn disk_refusal(error: &crate::disk::DiskError) -> Refusal {
    Refusal::Kernel { step: "using the disk".into(), reason: error.to_string() }
}

fn unknown(what: impl std::fmt::Display) -> Refusal {
    Refusal::Unknown(what.to_string())
}
