//! The messages between `serve` (unprivileged) and the jailer (privileged), over one `SOCK_SEQPACKET` socket.
//!
//! One datagram is one message, encoded with postcard; descriptors travel beside it as `SCM_RIGHTS`, in the order that
//! each message documents. The jailer treats every field as hostile: bounds are checked in [`crate::check`].

use std::{fmt, io};

use ringfence_model::{LayerDigest, Limits};
use serde::{Deserialize, Serialize};

use crate::layer::image::{Blob, Setting};

/// Largest datagram on the socket, in bytes. Also the bound on argv and environment of a fresh process.
pub const MESSAGE_BYTES_MAX: usize = 160 * 1024;

/// Encodes a message for [`crate::wire`].
///
/// # Errors
/// `InvalidInput` when it is larger than [`MESSAGE_BYTES_MAX`].
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    match postcard::to_stdvec(message) {
        Ok(bytes) if bytes.len() <= MESSAGE_BYTES_MAX => Ok(bytes),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Decodes a message.
///
/// # Errors
/// `InvalidData` when it is none of that type.
pub fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Number of a shell, unique for the life of one jailer. Never used twice, as its cgroup's name must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShellId(pub u32);

/// Number of a disk (a writable layer kept across stop and start), unique for the life of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DiskId(pub u64);

/// Number of an execution within its shell, from 1, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecNo(pub u32);

/// Number of a zygote: chooses its uid. One per template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ZygoteNo(pub u16);

impl fmt::Display for ShellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A request: `id` is chosen by the sender and returned in the [`Reply`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by `serve`; 0 asks for no reply.
    pub id: u64,
    /// What to do.
    pub op: Op,
}

/// What the jailer can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Op {
    /// What this host offers. → [`Done::Host`].
    Hello,
    /// Start the warm interpreter of a template; a second start of the same number replaces the first for new children.
    /// → [`Done::ZygoteStarted`] once it has imported its preload list.
    StartZygote(ZygotePlan),
    /// End a zygote. Its children live on. → [`Done::Ok`].
    StopZygote(ZygoteNo),
    /// Make a shell: namespaces, mounts, cgroups, init as pid 1. → [`Done::ShellBuilt`] with one descriptor: the
    /// stream socket to guest init (file frames, see `ringfence_guest::frames`).
    BuildShell(ShellPlan),
    /// Fork the zygote into the shell and park the child. → [`Done::Parked`] with four descriptors: the control
    /// stream of the interpreter (see `ringfence_guest::park`), write end of stdin, read ends of stdout and stderr.
    Park {
        /// Where.
        shell: ShellId,
        /// Which zygote; must be the one that the shell was planned for.
        zygote: ZygoteNo,
        /// The execution that the interpreter will be.
        exec: ExecNo,
    },
    /// Execute a program anew in the shell. → [`Done::Spawned`] with three descriptors: write end of stdin, read ends of
    /// stdout and stderr.
    Spawn {
        /// As whom.
        rights: Rights,
        /// Where.
        shell: ShellId,
        /// The execution that it is.
        exec: ExecNo,
        /// Absolute path inside, and arguments.
        argv: Vec<String>,
        /// `NAME=value`, complete.
        env: Vec<String>,
        /// Working directory inside; absolute.
        cwd: String,
        /// Its deadline, as with [`Op::Arm`], from the moment at which it may execute. `None` for an interpreter that is to
        /// wait, until it is armed.
        timeout_ms: Option<u64>,
    },
    /// Starts the deadline of a parked execution, and resets the memory peak of its sandbox. No reply.
    Arm {
        /// Where.
        shell: ShellId,
        /// Which.
        exec: ExecNo,
        /// From now, in milliseconds.
        timeout_ms: u64,
    },
    /// The accounts of an execution whose outputs are closed. → [`Done::Account`], with the exit code once its first process
    /// is on its way out: the kernel needs milliseconds to take it apart.
    Account {
        /// Where.
        shell: ShellId,
        /// Which.
        exec: ExecNo,
    },
    /// Kill everything that the execution started. → [`Done::Ok`]; its [`Notice::Exited`] follows when it was running.
    Kill {
        /// Where.
        shell: ShellId,
        /// Which.
        exec: ExecNo,
    },
    /// Remove the cgroup of an ended execution. → [`Done::Forgotten`] (`still_running` when processes remain in it).
    Forget {
        /// Where.
        shell: ShellId,
        /// Which.
        exec: ExecNo,
    },
    /// Freeze (true) or thaw every process of the shell. → [`Done::Ok`].
    Freeze {
        /// Where.
        shell: ShellId,
        /// Freeze, not thaw.
        frozen: bool,
    },
    /// What the shell uses now. → [`Done::Usage`].
    Usage(ShellId),
    /// Change the limits of a live shell that was built with the default ones. → [`Done::Ok`].
    SetLimits {
        /// Where.
        shell: ShellId,
        /// The new ones.
        limits: Limits,
    },
    /// Kill everything in the shell, remove its cgroups and mounts. The disk stays. → [`Done::Ok`] when nothing is left.
    Destroy(ShellId),
    /// Make an empty disk of that many MiB. → [`Done::Ok`].
    CreateDisk {
        /// New number.
        disk: DiskId,
        /// Limit that the kernel enforces.
        size_mib: u32,
    },
    /// Give a disk's bytes back. It must not be mounted in a shell. Unknown disks are no error. → [`Done::Ok`].
    DeleteDisk(DiskId),
    /// Make a disk that shares what another holds now. A shell that uses it must be frozen: [`Refusal::NotYet`] until it is.
    /// → [`Done::DiskCopied`] with the bytes that it shares and that are not accounted to it.
    CopyDisk {
        /// Which is copied.
        from: DiskId,
        /// New number.
        to: DiskId,
        /// Its own limit, on what is accounted to it.
        size_mib: u32,
    },
    /// Limit what is written to a disk. → [`Done::Ok`].
    LimitDisk {
        /// Which.
        disk: DiskId,
        /// Limit that the kernel enforces, on what is accounted to this disk.
        bytes: u64,
    },
    /// Bytes that a disk holds. → [`Done::DiskUsage`].
    DiskUsage(DiskId),
    /// Every disk that exists. → [`Done::Disks`].
    ListDisks,
    /// Make sockets in the shell's network namespace, neither bound nor connected. → [`Done::Sockets`] with one descriptor
    /// of a socket for sock_diag(7), and then `streams` of sockets for TCP.
    Sockets {
        /// Where.
        shell: ShellId,
        /// How many for TCP, at most [`crate::check::STREAMS_MAX`].
        streams: u8,
    },
    /// Run one step of a template's build. → [`Done::StepStarted`] with one descriptor: read end of its output
    /// (stdout and stderr together); [`Notice::StepExited`] follows.
    BuildStep(BuildPlan),
    /// End a running build step. → [`Done::Ok`].
    KillStep(u32),
    /// Work on layers in the jail of a build step. With work that [reads something](LayerWork::has_input) comes one descriptor, its
    /// standard input. → as [`Op::BuildStep`].
    LayerStep(LayerPlan),
    /// Move a finished build tree into the layer store under its digest, and list it. → [`Done::LayerSealed`].
    SealLayer {
        /// Name of the build tree, as in [`BuildPlan::tree`].
        tree: String,
        /// It holds a home and nothing else, and hides those of the layers below it.
        is_home: bool,
    },
    /// List a layer again. → [`Done::LayerSealed`] with what it is now.
    CheckLayer(LayerDigest),
    /// Remove a build tree. Unknown ones are no error. → [`Done::Ok`].
    DropTree(String),
    /// Remove a layer that no shell and no zygote uses. An unknown one is no error. → [`Done::Ok`].
    DropLayer(LayerDigest),
    /// Every layer and every build tree. → [`Done::Stored`].
    ListStored,
}

/// As whom a program is executed in a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rights {
    /// The sandbox's user, without any capability: everything that a client hands in.
    Program,
    /// Root of the sandbox, in the *build* posture: the five capabilities of a build step in the sandbox's own user namespace, the
    /// same filter, no new privileges. For a package manager; what it leaves running ends with it.
    Installer,
}

/// A warm interpreter of one template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ZygotePlan {
    /// Chooses the uid.
    pub zygote: ZygoteNo,
    /// Root file system, uppermost layer first.
    pub layers: Vec<LayerDigest>,
    /// The interpreter and its arguments; absolute path inside the layers.
    pub argv: Vec<String>,
    /// `NAME=value`, complete.
    pub env: Vec<String>,
    /// Memory that it and its warm-up may use, in MiB.
    pub memory_mib: u32,
}

/// An empty sandbox, to be built ahead.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShellPlan {
    /// New number.
    pub shell: ShellId,
    /// Which part of the installation's uid range is its own; free, below [`HostFacts::slots`].
    pub slot: u32,
    /// The zygote whose children may join it.
    pub zygote: ZygoteNo,
    /// Read-only layers, uppermost first.
    pub layers: Vec<LayerDigest>,
    /// The writable layer. `None` for one in memory: it is charged to the shell, bounded by [a part](crate::shell::memory_files)
    /// of its limit, and gone with it.
    pub disk: Option<DiskId>,
    /// Whether what it sends is led to the gateway. Otherwise it has nothing but loopback: what is sent elsewhere is refused by the
    /// kernel at once, and nobody hears of it.
    pub gate: bool,
    /// What it may use.
    pub limits: Limits,
    /// Host name inside; `[a-z0-9-]{1,63}`.
    pub hostname: String,
    /// 32 hexadecimal digits; `/etc/machine-id` inside. The boot id is made from it.
    pub machine_id: String,
}

/// Where a build step's root file system comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuildRoot {
    /// The host's own file system, read-only, without the state directory; the tree is at `/tree`, writable.
    Host,
    /// The tree itself, writable.
    Tree,
}

/// One step of a template's build, in the *build* posture: root inside a user namespace of its own, five
/// capabilities, never host root.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildPlan {
    /// New number, for [`Op::KillStep`] and [`Notice::StepExited`].
    pub step: u32,
    /// Name of the tree being built: `[a-z0-9-]{1,64}`. Made when it does not exist.
    pub tree: String,
    /// Layers that it lies over, uppermost first: the tree then holds what the steps change in them. None for a tree that is
    /// whole.
    pub layers: Vec<LayerDigest>,
    /// What is at `/`.
    pub root: BuildRoot,
    /// Share the host's network (downloads only), with its resolver files and trust store.
    pub network: bool,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// `NAME=value`, complete.
    pub env: Vec<String>,
    /// Files to place, read-only, below `/build` inside: name (no `/`) and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Its standard input comes beside the message, as a sealed memfd.
    pub input: bool,
    /// Wall-clock limit in milliseconds.
    pub timeout_ms: u64,
}

/// Work on layers, in the jail of a build step: nothing of the host, no network, no program but this one's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerPlan {
    /// New number, as [`BuildPlan::step`].
    pub step: u32,
    /// What is done.
    pub work: LayerWork,
    /// Wall-clock limit in milliseconds.
    pub timeout_ms: u64,
}

/// What is done with layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LayerWork {
    /// Copies a home, as programs see it, into a tree, without what must not leave a sandbox. Its output is a
    /// [`crate::layer::HomeReport`] in JSON.
    CopyHome {
        /// The sandbox's disk; no shell uses it.
        disk: DiskId,
        /// Its layers, uppermost first.
        layers: Vec<LayerDigest>,
        /// Name of the tree.
        tree: String,
        /// Name of a tree for everything else, if an installer has changed something there: a whole root without its homes.
        system: Option<String>,
        /// Bytes that all files may have.
        bytes_max: u64,
        /// A file in which one of these stands, in whatever form, is left out.
        hidden: Vec<Vec<u8>>,
    },
    /// Lists layers as one: what is seen of them together. Its output is the digest.
    List(Vec<LayerDigest>),
    /// Writes an archive to its output: the manifest, which is its input, and two layers.
    Write {
        /// The template's base, uppermost first. What is seen of it becomes one layer, so that no archive has whiteouts.
        base: Vec<LayerDigest>,
        /// The digest of that, from [`LayerWork::List`].
        digest: LayerDigest,
        /// The home.
        home: LayerDigest,
    },
    /// Reads an archive's manifest, and nothing more, and writes it to its output.
    Manifest,
    /// Reads an archive: its layers, in order, into trees, or nowhere when they are known here. Its output is empty, or what is
    /// wrong with the archive.
    Unpack {
        /// Each layer: its digest, whether it is a home, and the tree that it comes into.
        layers: Vec<(LayerDigest, bool, Option<String>)>,
        /// Bytes that all files may have.
        bytes_max: u64,
    },
    /// Says which image an archive of OCI or of Docker holds. Its output is a [`crate::layer::image::ImageReport`] in JSON.
    Image {
        /// The image's tag, where there are several.
        tag: Option<String>,
    },
    /// Puts layers of such an archive into a tree. Its output is for people.
    Apply {
        /// What they lie over, uppermost first; none for a tree that is whole.
        layers: Vec<LayerDigest>,
        /// Name of the tree.
        tree: String,
        /// Lowest first.
        blobs: Vec<Blob>,
        /// Bytes that all files may have.
        bytes_max: u64,
    },
    /// Makes a tree over layers of an image one for sandboxes. Its output is empty, or what the image lacks.
    Prepare {
        /// What it lies over, uppermost first.
        layers: Vec<LayerDigest>,
        /// Name of the tree.
        tree: String,
        /// What it becomes.
        setting: Setting,
    },
    /// Says what the engine can use of layers, uppermost first. Its output is a [`crate::layer::image::Found`] in JSON.
    Find(Vec<LayerDigest>),
}

impl LayerWork {
    /// The trees that it writes to.
    #[must_use]
    pub fn trees(&self) -> Vec<&str> {
        match self {
            Self::CopyHome { tree, system, .. } => std::iter::once(tree).chain(system).map(String::as_str).collect(),
            Self::Apply { tree, .. } | Self::Prepare { tree, .. } => vec![tree],
            Self::List(_) | Self::Write { .. } | Self::Manifest | Self::Image { .. } | Self::Find(_) => Vec::new(),
            Self::Unpack { layers, .. } => layers.iter().filter_map(|(_, _, tree)| tree.as_deref()).collect(),
        }
    }

    /// Whether it reads something.
    #[must_use]
    pub fn has_input(&self) -> bool {
        !matches!(self, Self::CopyHome { .. } | Self::List(_) | Self::Prepare { .. } | Self::Find(_))
    }

    /// The layers over which its tree lies, uppermost first.
    #[must_use]
    pub fn below(&self) -> &[LayerDigest] {
        match self {
            Self::Apply { layers, .. } | Self::Prepare { layers, .. } => layers,
            _ => &[],
        }
    }
}

/// The answer to one request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// Done, or why not.
    pub result: Result<Done, Refusal>,
}

/// What was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each variant answers the operation that names it")]
pub enum Done {
    Ok,
    Host(HostFacts),
    ZygoteStarted { pid: u32, ready_ms: u32, rss_kib: u64 },
    ShellBuilt { posture: Posture },
    Parked { posture: Posture },
    Spawned { posture: Posture },
    Account(Exited),
    Forgotten { still_running: u32 },
    Usage(Usage),
    DiskUsage { bytes: u64, limit_bytes: u64 },
    DiskCopied { shared_bytes: u64 },
    Disks(Vec<DiskId>),
    Sockets,
    StepStarted,
    LayerSealed { digest: LayerDigest, bytes: u64, files: u64 },
    Stored { layers: Vec<LayerDigest>, trees: Vec<String> },
}

/// Why the jailer did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The plan is outside the jailer's bounds: a fault of `serve`, or an attack.
    #[error("the plan is refused: {0}")]
    Plan(String),
    /// No such shell, zygote, disk or execution.
    #[error("there is no {0}")]
    Unknown(String),
    /// The kernel refused a step.
    #[error("{step}: {reason}")]
    Kernel {
        /// What was being done.
        step: String,
        /// errno's text.
        reason: String,
    },
    /// What came out is not what was planned; it was destroyed.
    #[error("posture: {0}")]
    Posture(String),
    /// It did not answer in time, or died.
    #[error("{0}")]
    Failed(String),
    /// It can be done in a moment.
    #[error("not yet: {0}")]
    NotYet(String),
    /// The kernel lets nothing be written to the disks since their image had no room.
    #[error("the disks take nothing")]
    DisksLost,
}

/// What the kernel says of a process: the evidence for `isolation` in results.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// Namespaces that are not the jailer's: `mnt`, `pid`, `net`, `ipc`, `uts`, `cgroup`, `user`.
    pub namespaces: Vec<String>,
    /// Number of seccomp filters in force.
    pub seccomp_filters: u32,
    /// First host uid of the range, and its length.
    pub uid_range: (u32, u32),
    /// Union of the five capability sets of every thread.
    pub capabilities: u64,
    /// `no_new_privs`.
    pub no_new_privs: bool,
    /// Controllers that hold the sandbox's limits, such as `memory (v1)`.
    pub controllers: Vec<String>,
}

/// What a shell uses. Read from cgroups on the host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Memory charged now, in bytes.
    pub memory_bytes: u64,
    /// Largest memory since the last [`Op::Arm`] or the build, in bytes.
    pub memory_peak_bytes: u64,
    /// CPU time of all processes since the build, in microseconds.
    pub cpu_usec: u64,
    /// Processes and threads now, init included.
    pub processes: u32,
    /// Processes killed for want of memory since the build.
    pub oom_kills: u64,
    /// Command lines (cut to 200 bytes, lossy UTF-8) of the processes now alive with the execution that started each,
    /// without init and parked interpreters.
    pub running: Vec<(ExecNo, u32, String)>,
}

/// What the host offers, as the jailer found it when it started.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HostFacts {
    /// The installation's id, in every cgroup name.
    pub installation: String,
    /// Number of uid slots: shells that can exist at once.
    pub slots: u32,
    /// Kernel release.
    pub kernel: String,
    /// `v1`, `v2` or `hybrid`.
    pub cgroups: String,
    /// Where disks live: `btrfs` (kernel-enforced limit).
    pub disks: String,
    /// The layer with the Python harness, uppermost in every Python zygote and shell.
    pub harness: String,
    /// What is missing, in plain words. Empty on a host that offers everything.
    pub missing: Vec<String>,
}

/// What the jailer says unasked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Notice {
    /// The first process of an execution ended. What it left running lives on, unless it was killed.
    Exited(Exited),
    /// Init of a shell died; everything in it is gone. [`Op::Destroy`] is still owed.
    ShellDied {
        /// Which.
        shell: ShellId,
    },
    /// A zygote died; nothing can be parked until it is started anew.
    ZygoteDied {
        /// Which.
        zygote: ZygoteNo,
        /// In plain words, with the last of what it printed.
        reason: String,
    },
    /// A build step ended.
    StepExited {
        /// Which.
        step: u32,
        /// Exit code, or 128 + signal.
        code: i32,
        /// It was killed at its time limit.
        timed_out: bool,
    },
}

/// How an execution ended, measured on the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exited {
    /// Where.
    pub shell: ShellId,
    /// Which.
    pub exec: ExecNo,
    /// Exit code, when it exited.
    pub code: Option<i32>,
    /// Signal, when it was killed by one.
    pub signal: Option<i32>,
    /// The deadline passed, and everything that the execution started was killed.
    pub timed_out: bool,
    /// The kernel killed a process of the sandbox for want of memory while it ran.
    pub oom_killed: bool,
    /// CPU time of everything in the execution's cgroup since [`Op::Arm`], in microseconds.
    pub cpu_usec: u64,
    /// Since [`Op::Arm`], in microseconds; 0 when it was never armed (it died while parked).
    pub wall_usec: u64,
    /// Peak of the *sandbox* since [`Op::Arm`], in bytes.
    pub memory_peak_bytes: u64,
    /// Processes of this execution that are still alive.
    pub still_running: u32,
    /// There is something at [`ringfence_guest::park::ARTIFACTS_DIR`]. A hint: asking the guest costs a process.
    pub left_artifacts: bool,
    /// There is something at [`ringfence_guest::park::FIGURES_DIR`].
    pub left_figures: bool,
}

/// Everything that the jailer sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromJailer {
    /// An answer.
    Reply(Reply),
    /// Unasked.
    Notice(Notice),
}
