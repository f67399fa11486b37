//! What this node can make: shells with their disks, interpreters parked in them, programs executed in them. Everything
//! goes through the jailer; nothing here decides anything.

use std::{
    collections::{BTreeSet, HashSet},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use ringfence_jail::proto::{
    DiskId, Done, ExecNo, Exited, HostFacts, Op, Posture, Refusal, Rights, ShellId, ShellPlan, Usage, ZygoteNo,
    ZygotePlan,
};
use ringfence_model::{LayerDigest, Limits, api::MakingHealth};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixStream, unix::pipe},
    sync::{Semaphore, oneshot},
};

use crate::{
    guest::GuestClient,
    jailer::{Jailer, JailerError},
    ports::Ports,
    recent::Recent,
    registry::{Template, Warm},
};

mod disks;

/// Length of a program's path inside: ids of executions have 24 characters.
const PROGRAM_PATH_BYTES: usize = "/run/ringfence/exec_1757371623056abcdef.py".len();

/// Why something could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The jailer said no.
    #[error(transparent)]
    Jailer(#[from] JailerError),
    /// All uid ranges are in use.
    #[error("all {0} places for sandboxes are taken")]
    Full(u32),
    /// A descriptor could not be used.
    #[error("using a descriptor from the jailer")]
    Descriptor(#[source] std::io::Error),
}

impl MachineError {
    /// Whether the jailer does not know what it was asked about.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Jailer(JailerError::Refused(Refusal::Unknown(_))))
    }

    /// Whether it can be done in a moment.
    pub(crate) fn is_not_yet(&self) -> bool {
        matches!(self, Self::Jailer(JailerError::Refused(Refusal::NotYet(_))))
    }

    /// Whether a warm interpreter is not there, or died while it was asked: packages of somebody's template may see to that.
    pub(crate) fn is_without_zygote(&self) -> bool {
        self.is_unknown() || matches!(self, Self::Jailer(JailerError::Refused(Refusal::Failed(_))))
    }
}

/// Uid ranges in use, and the next never used.
#[derive(Debug, Default)]
struct Slots {
    free: BTreeSet<u32>,
    next: u32,
}

/// The jailer's hands.
#[derive(Debug)]
pub(crate) struct Machine {
    jailer: Jailer,
    facts: HostFacts,
    harness: LayerDigest,
    data: LayerDigest,
    trust: LayerDigest,
    slots: Mutex<Slots>,
    /// Shells that died unasked and are not destroyed yet.
    dead: Mutex<HashSet<ShellId>>,
    /// Disks whose deletion was asked for and is not done yet.
    pub(crate) doomed: Mutex<HashSet<DiskId>>,
    next_shell: AtomicU32,
    /// Forks of zygotes under way. More than the cores can run at once only delay each other.
    parking: Semaphore,
    /// How long shells, and joins of warm interpreters into them, took of late.
    shells_took: Recent,
    joins_took: Recent,
}

/// The files of a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Those of a sandbox, on a disk that exists, and the sample bars at `/data`.
    Kept(DiskId),
    /// Those of a trial, in memory, with nothing at `/data`: bars there are the future of every backtest.
    Passing,
}

/// What a shell is made of.
#[derive(Debug, Clone)]
pub(crate) struct ShellSpec {
    /// Which zygote's children may join.
    pub zygote: ZygoteNo,
    /// The template's layers, uppermost first.
    pub layers: Vec<LayerDigest>,
    /// What it may write to, and whether it sees the sample bars.
    pub files: Files,
    /// What it may use.
    pub limits: Limits,
    /// Host name inside.
    pub hostname: String,
    /// 32 hexadecimal digits.
    pub machine_id: String,
}

/// A living shell.
#[derive(Debug)]
pub(crate) struct Shell {
    /// Its number.
    pub id: ShellId,
    slot: u32,
    zygote: ZygoteNo,
    /// Files.
    pub guest: GuestClient,
    /// What the kernel said of its init.
    pub posture: Posture,
    next_exec: AtomicU32,
    /// Its ports, from outside.
    pub ports: Ports,
}

/// A process in a shell, stopped just before it becomes a program (parked), or just started (spawned).
#[derive(Debug)]
pub(crate) struct Process {
    /// Its number in the shell.
    pub exec: ExecNo,
    /// Where a parked interpreter takes its program from, and says that it is over.
    pub control: Option<UnixStream>,
    /// Write end.
    pub stdin: pipe::Sender,
    /// Read end.
    pub stdout: pipe::Receiver,
    /// Read end.
    pub stderr: pipe::Receiver,
    /// Fires when it ends.
    pub exit: oneshot::Receiver<Exited>,
    /// What the kernel said of it.
    pub posture: Posture,
}

impl Process {
    /// Has a parked interpreter touch the pages that a first program would otherwise pay for. It costs 6 MiB, so it is for
    /// those that wait on the shelf.
    pub(crate) async fn warm(&mut self) {
        if let Some(control) = &mut self.control {
            // Twelve bytes into an empty socket: they fit, or it is dead, and that is seen when it is taken.
            let _ = control.write_all(&ringfence_guest::park::WARM).await;
        }
    }
}

impl Machine {
    /// Asks the jailer what it is, and prepares to use it. `data` is the layer with the sample bars, `trust` that with the
    /// certificates that programs trust.
    ///
    /// # Errors
    /// The jailer is gone or confused.
    pub(crate) async fn new(jailer: Jailer, data: LayerDigest, trust: LayerDigest) -> Result<Self, MachineError> {
        let (Done::Host(facts), _) = jailer.call(Op::Hello).await? else { return Err(JailerError::Confused.into()) };
        let harness = LayerDigest::parse(&facts.harness).map_err(|_| JailerError::Confused)?;
        let parking = Semaphore::new(std::thread::available_parallelism().map_or(2, |n| n.get().max(2)));
        Ok(Self {
            jailer,
            facts,
            harness,
            data,
            trust,
            slots: Mutex::default(),
            dead: Mutex::default(),
            doomed: Mutex::default(),
            next_shell: AtomicU32::new(1),
            parking,
            shells_took: Recent::default(),
            joins_took: Recent::default(),
        })
    }

    /// How long the parts of a sandbox took of late.
    pub(crate) fn making(&self) -> MakingHealth {
        #[allow(clippy::cast_precision_loss, reason = "microseconds of an operation are far below 2^52")]
        let ms = |recent: &Recent| recent.median_us().map(|us| us as f64 / 1000.0);
        MakingHealth { shell_ms: ms(&self.shells_took), join_ms: ms(&self.joins_took) }
    }

    /// What the host offers.
    #[must_use]
    pub(crate) fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// The jailer itself, for what concerns no shell.
    #[must_use]
    pub(crate) fn jailer(&self) -> &Jailer {
        &self.jailer
    }

    fn take_slot(&self) -> Result<u32, MachineError> {
        let mut slots = self.slots.lock().expect("nothing panics under this lock");
        if let Some(slot) = slots.free.pop_first() {
            return Ok(slot);
        }
        if slots.next >= self.facts.slots {
            return Err(MachineError::Full(self.facts.slots));
        }
        slots.next += 1;
        Ok(slots.next - 1)
    }

    fn return_slot(&self, slot: u32) {
        self.slots.lock().expect("nothing panics under this lock").free.insert(slot);
    }

    /// Starts the warm interpreter of a template. The answer comes once it has imported its list. (`ready_ms`, RSS in KiB)
    ///
    /// # Errors
    /// It could not be started, or an import failed.
    pub(crate) async fn start_zygote(&self, template: &Template, memory_mib: u32) -> Result<(u32, u64), MachineError> {
        let mut layers = vec![self.harness.clone()];
        layers.extend_from_slice(&template.layers);
        let Warm::Forked(preload) = &template.warm else { return Err(JailerError::Confused.into()) };
        let preload: Vec<&str> = preload.split(',').collect();
        let plan = ZygotePlan {
            zygote: template.zygote,
            layers,
            argv: ringfence_guest::park::zygote_argv(PROGRAM_PATH_BYTES),
            env: ringfence_guest::park::zygote_env(&crate::environment::base_environment(template), &preload),
            memory_mib,
        };
        match self.jailer.call(Op::StartZygote(plan)).await?.0 {
            Done::ZygoteStarted { ready_ms, rss_kib, .. } => Ok((ready_ms, rss_kib)),
            _ => Err(JailerError::Confused.into()),
        }
    }

    /// Ends a warm interpreter; its children live on.
    ///
    /// # Errors
    /// There is no such zygote.
    pub(crate) async fn stop_zygote(&self, zygote: ZygoteNo) -> Result<(), MachineError> {
        Ok(self.jailer.done(Op::StopZygote(zygote)).await?)
    }

    /// What a layer holds now; `None` when there is none of that digest.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn look_at(&self, layer: LayerDigest) -> Result<Option<LayerDigest>, MachineError> {
        match self.jailer.call(Op::CheckLayer(layer)).await {
            Ok((Done::LayerSealed { digest, .. }, _)) => Ok(Some(digest)),
            Err(JailerError::Refused(Refusal::Unknown(_))) => Ok(None),
            Ok(_) => Err(JailerError::Confused.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Layers of ringfence's own, which every sandbox has.
    pub(crate) fn own_layers(&self) -> Vec<LayerDigest> {
        vec![self.harness.clone(), self.data.clone(), self.trust.clone()]
    }

    /// Every layer, and every build tree.
    ///
    /// # Errors
    /// The jailer is gone.
    pub(crate) async fn stored(&self) -> Result<(Vec<LayerDigest>, Vec<String>), MachineError> {
        match self.jailer.call(Op::ListStored).await?.0 {
            Done::Stored { layers, trees } => Ok((layers, trees)),
            _ => Err(JailerError::Confused.into()),
        }
    }

    /// Removes a layer.
    ///
    /// # Errors
    /// A shell or a zygote uses it.
    pub(crate) async fn drop_layer(&self, layer: LayerDigest) -> Result<(), MachineError> {
        Ok(self.jailer.done(Op::DropLayer(layer)).await?)
    }

    /// Removes a build tree.
    ///
    /// # Errors
    /// A step works on it.
    pub(crate) async fn drop_tree(&self, tree: String) -> Result<(), MachineError> {
        Ok(self.jailer.done(Op::DropTree(tree)).await?)
    }

    /// Builds a shell.
    ///
    /// # Errors
    /// A step failed; nothing is left of it then.
    pub(crate) async fn build_shell(&self, spec: ShellSpec) -> Result<Shell, MachineError> {
        let slot = self.take_slot()?;
        let id = ShellId(self.next_shell.fetch_add(1, Ordering::Relaxed));
        let (disk, mut layers) = match spec.files {
            Files::Kept(disk) => (Some(disk), self.own_layers()),
            Files::Passing => (None, vec![self.harness.clone(), self.trust.clone()]),
        };
        layers.extend(spec.layers);
        let plan = ShellPlan {
            shell: id,
            slot,
            zygote: spec.zygote,
            layers,
            disk,
            // A trial asks nobody for anything.
            gate: disk.is_some(),
            limits: spec.limits,
            hostname: spec.hostname,
            machine_id: spec.machine_id,
        };
        let begin = Instant::now();
        let built = match self.jailer.call(Op::BuildShell(plan)).await {
            Ok((Done::ShellBuilt { posture }, fds)) => stream(fds).map(|stream| (posture, stream)),
            Ok(_) => Err(JailerError::Confused.into()),
            Err(e) => Err(e.into()),
        };
        match built {
            Ok((posture, stream)) => {
                self.shells_took.note(begin);
                Ok(Shell {
                    id,
                    slot,
                    zygote: spec.zygote,
                    guest: GuestClient::new(stream),
                    posture,
                    next_exec: AtomicU32::new(1),
                    ports: Ports::default(),
                })
            }
            Err(e) => {
                // What a failed builder left is removed before its uid range is used again.
                if let Ok(()) | Err(JailerError::Refused(Refusal::Unknown(_))) = self.jailer.done(Op::Destroy(id)).await
                {
                    self.return_slot(slot);
                }
                Err(e)
            }
        }
    }

    /// Has an interpreter wait in the shell, as its template has them.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) async fn park(&self, shell: &Shell, template: &Template) -> Result<Process, MachineError> {
        let _turn = self.parking.acquire().await.expect("the semaphore is never closed");
        let Warm::Node(packages) = &template.warm else { return self.fork(shell).await };
        let argv = ringfence_guest::node::argv(ringfence_guest::node::PARKED_PROGRAM);
        let mut env = crate::environment::base_environment(template);
        env.push(format!("{}={packages}", ringfence_guest::node::PRELOAD_VARIABLE));
        self.spawn(shell, Rights::Program, argv, env, crate::run::HOME.to_owned(), None).await
    }

    /// Forks the zygote into the shell and parks the child.
    ///
    /// # Errors
    /// The zygote is dead, or what came out was not as planned.
    async fn fork(&self, shell: &Shell) -> Result<Process, MachineError> {
        let exec = ExecNo(shell.next_exec.fetch_add(1, Ordering::Relaxed));
        let exit = self.jailer.on_exit(shell.id, exec);
        let begin = Instant::now();
        let answer = self.jailer.call(Op::Park { shell: shell.id, zygote: shell.zygote, exec }).await;
        let (done, mut fds) = answer.inspect_err(|_| self.jailer.forget_exit(shell.id, exec))?;
        let Done::Parked { posture } = done else { return Err(JailerError::Confused.into()) };
        self.joins_took.note(begin);
        if fds.len() != 4 {
            // Without the other end of its control socket the interpreter ends by itself.
            self.jailer.forget_exit(shell.id, exec);
            return Err(JailerError::Descriptors.into());
        }
        let control = stream(vec![fds.remove(0)])?;
        process(exec, Some(control), fds, exit, posture)
    }

    /// Executes a program in the shell. Without a time limit it waits, to be armed when it is given its work.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) async fn spawn(
        &self,
        shell: &Shell,
        rights: Rights,
        argv: Vec<String>,
        env: Vec<String>,
        cwd: String,
        timeout_ms: Option<u64>,
    ) -> Result<Process, MachineError> {
        let exec = ExecNo(shell.next_exec.fetch_add(1, Ordering::Relaxed));
        let exit = self.jailer.on_exit(shell.id, exec);
        let answer = self.jailer.call(Op::Spawn { rights, shell: shell.id, exec, argv, env, cwd, timeout_ms }).await;
        let (done, fds) = answer.inspect_err(|_| self.jailer.forget_exit(shell.id, exec))?;
        let Done::Spawned { posture } = done else { return Err(JailerError::Confused.into()) };
        let made = process(exec, None, fds, exit, posture);
        if made.is_err() {
            // It runs already, and nobody could hear it.
            let _ = self.jailer.tell(Op::Kill { shell: shell.id, exec }).await;
        }
        made
    }

    /// Starts an execution's deadline.
    ///
    /// # Errors
    /// The jailer is gone.
    pub(crate) async fn arm(&self, shell: ShellId, exec: ExecNo, timeout_ms: u64) -> Result<(), MachineError> {
        Ok(self.jailer.tell(Op::Arm { shell, exec, timeout_ms }).await?)
    }

    /// As [`Self::arm`], for one whose program is sent on another way, which the jailer does not see: it has begun to measure
    /// when this returns.
    ///
    /// # Errors
    /// The jailer is gone.
    pub(crate) async fn arm_first(&self, shell: ShellId, exec: ExecNo, timeout_ms: u64) -> Result<(), MachineError> {
        match self.jailer.done(Op::Arm { shell, exec, timeout_ms }).await {
            // It has died meanwhile, and its end tells.
            Ok(()) | Err(JailerError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What an execution has used, while its first process is still there.
    ///
    /// # Errors
    /// It is not there any more.
    pub(crate) async fn account(&self, shell: ShellId, exec: ExecNo) -> Result<Exited, MachineError> {
        match self.jailer.call(Op::Account { shell, exec }).await?.0 {
            Done::Account(account) => Ok(account),
            _ => Err(JailerError::Confused.into()),
        }
    }

    /// Kills everything that an execution started.
    ///
    /// # Errors
    /// There is no such execution.
    pub(crate) async fn kill(&self, shell: ShellId, exec: ExecNo) -> Result<(), MachineError> {
        Ok(self.jailer.done(Op::Kill { shell, exec }).await?)
    }

    /// Removes the cgroup of an ended execution. How many of its processes are still alive (then it stays).
    ///
    /// # Errors
    /// There is no such execution.
    pub(crate) async fn forget(&self, shell: ShellId, exec: ExecNo) -> Result<u32, MachineError> {
        match self.jailer.call(Op::Forget { shell, exec }).await?.0 {
            Done::Forgotten { still_running } => Ok(still_running),
            _ => Err(JailerError::Confused.into()),
        }
    }

    /// What a shell uses now.
    ///
    /// # Errors
    /// There is no such shell.
    pub(crate) async fn usage(&self, shell: ShellId) -> Result<Usage, MachineError> {
        match self.jailer.call(Op::Usage(shell)).await?.0 {
            Done::Usage(usage) => Ok(usage),
            _ => Err(JailerError::Confused.into()),
        }
    }

    /// Freezes or thaws a shell.
    ///
    /// # Errors
    /// There is no such shell.
    pub(crate) async fn freeze(&self, shell: ShellId, frozen: bool) -> Result<(), MachineError> {
        Ok(self.jailer.done(Op::Freeze { shell, frozen }).await?)
    }

    /// Kills everything in a shell and removes it; its disk stays. Must run to its end: the uid range is used again after.
    ///
    /// # Errors
    /// A process does not die; its uid range is then not used again.
    pub(crate) async fn destroy(&self, shell: &Shell) -> Result<(), MachineError> {
        shell.ports.close();
        let destroyed = self.jailer.done(Op::Destroy(shell.id)).await;
        // Whoever waits for an end in it hears now that none will come.
        self.jailer.forget_exits(shell.id);
        self.dead().remove(&shell.id);
        match destroyed {
            // The jailer removes a shell by itself when its init dies, and forgets it only when nothing of it is left.
            Ok(()) | Err(JailerError::Refused(Refusal::Unknown(_))) => {
                self.return_slot(shell.slot);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Notes that a shell died, for whoever is about to use it.
    pub(crate) fn note_death(&self, shell: ShellId) {
        self.dead().insert(shell);
    }

    /// Whether a shell has died.
    pub(crate) fn is_dead(&self, shell: ShellId) -> bool {
        self.dead().contains(&shell)
    }

    fn dead(&self) -> std::sync::MutexGuard<'_, HashSet<ShellId>> {
        self.dead.lock().expect("nothing panics under this lock")
    }
}

fn stream(fds: Vec<OwnedFd>) -> Result<UnixStream, MachineError> {
    let fd = fds.into_iter().next().ok_or(JailerError::Descriptors)?;
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true).map_err(MachineError::Descriptor)?;
    UnixStream::from_std(stream).map_err(MachineError::Descriptor)
}

fn process(
    exec: ExecNo,
    control: Option<UnixStream>,
    fds: Vec<OwnedFd>,
    exit: oneshot::Receiver<Exited>,
    posture: Posture,
) -> Result<Process, MachineError> {
    let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(fds).map_err(|_| JailerError::Descriptors)?;
    Ok(Process {
        exec,
        control,
        stdin: pipe::Sender::from_owned_fd(stdin).map_err(MachineError::Descriptor)?,
        stdout: pipe::Receiver::from_owned_fd(stdout).map_err(MachineError::Descriptor)?,
        stderr: pipe::Receiver::from_owned_fd(stderr).map_err(MachineError::Descriptor)?,
        exit,
        posture,
    })
}

/// Shells are shared by everything that happens in them.
pub(crate) type SharedShell = Arc<Shell>;
