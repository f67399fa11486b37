//! The daemon's roles: how each begins. What they do is in the crates that they are made of.

use std::{
    fs, io,
    io::Write,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::config::{Config, CreditConfig, TemplateConfig};
use ringfence_jail::{
    board::Board,
    boot, build,
    host::Uids,
    installation::Installation,
    notify::{self, Relay, Teller},
    supervise, sys,
};
use ringfence_model::LayerDigest;
use ringfence_store::OpenError;

mod gateway;
pub(crate) mod log;
mod otlp;
mod pip;
mod serve;
mod tell;
pub(crate) mod venue;

pub(crate) use pip::registries_of_host;

/// What `ringfence serve` was asked for.
#[derive(Debug, Clone)]
pub(crate) struct ServeOptions {
    /// State directory.
    pub home: PathBuf,
    /// Where to listen beside the Unix socket.
    pub tcp: Option<SocketAddr>,
    /// The form of the log, in place of the one in `config.toml`.
    pub log_format: Option<log::LogFormat>,
}

/// What `serve` is told of how it is watched and how it ends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Watch {
    /// Seconds that running executions have once a stop was asked for.
    drain_seconds: u32,
    /// Whether a service manager listens.
    is_told: bool,
    /// How often it wants to hear that the daemon answers, in milliseconds.
    alive_every_ms: Option<u64>,
}

/// Name under which the benchmark of trials starts a daemon of its own, with a socket to it as standard input.
pub(crate) const BENCH_ROLE: &str = "ringfence-bench";

/// Name of what is `serve` in that daemon.
pub(crate) const BENCH_SERVE_ROLE: &str = "ringfence-bench-serve";

/// Descriptors that `serve` finds, after its socket to the jailer and its door.
const UNIX_FD: i32 = 5;
const TOKEN_FD: i32 = 6;
const BOARD_FD: i32 = 7;
const TELLER_FD: i32 = 8;
const TCP_FD: i32 = 9;

/// Plays the role whose name this process was started under; `None` when it is a command.
pub(crate) fn dispatch() -> Option<i32> {
    let mut args = std::env::args();
    let name = args.next()?;
    let args: Vec<String> = args.collect();
    let role: fn(&[String]) -> anyhow::Result<i32> = match name.as_str() {
        supervise::JAILER_ROLE => jailer,
        supervise::SERVE_ROLE => serve_role,
        supervise::GATEWAY_ROLE => gateway::role,
        supervise::VENUE_ROLE => venue::role,
        BENCH_ROLE => bench_role,
        BENCH_SERVE_ROLE => bench_serve_role,
        _ => return None,
    };
    log::begin_role(&name);
    Some(match role(&args) {
        Ok(code) => code,
        Err(error) => {
            log::fail(&name, &format!("{error:#}"));
            let open = error.chain().find_map(|cause| cause.downcast_ref::<OpenError>());
            if open.is_some_and(OpenError::is_for_good) { supervise::FOR_GOOD } else { 1 }
        }
    })
}

/// What passes through the memory of a role or a command (`secret set`, keys in calls of MCP, logins that `serve` reads from the host) is
/// nobody else's: no core file, and no look by another process of its user. (The limit on core files is left alone: the jailer's
/// children could not raise it again.)
///
/// # Errors
/// prctl(2).
pub(crate) fn hide_memory() -> anyhow::Result<()> {
    sys::set_dumpable(false).context("hiding from ptrace")
}

/// Which build this is: the version, and what tells this executable from another. The same for every process of one file.
#[must_use]
pub(crate) fn build_id() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match fs::metadata("/proc/self/exe") {
        Ok(file) => format!("{version}+{:x}-{:x}", file.size(), file.mtime_nsec().wrapping_add(file.mtime() << 20)),
        Err(_) => version.to_owned(),
    }
}

fn jailer(args: &[String]) -> anyhow::Result<i32> {
    let home = args.first().context("no state directory")?;
    let control = sys::inherited_fd(supervise::CONTROL_FD).context("taking the socket to serve")?;
    let door = sys::inherited_fd(supervise::DOOR_FD).context("taking the door")?;
    match boot::run(Path::new(home), control, Some(door)) {
        Ok(never) => match never {},
        // `serve` ends first when the daemon ends: that is no fault.
        Err(error)
            if error.downcast_ref().is_some_and(|e| matches!(e, ringfence_jail::jailer::JailerError::ServeGone)) =>
        {
            Ok(0)
        }
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(e) = cause {
                text = format!("{text}: {e}");
                cause = e.source();
            }
            bail!(text)
        }
    }
}

/// Runs the daemon in the foreground until it is told to end. The exit code.
///
/// # Errors
/// It could not start: not root, another daemon has the state directory, a socket cannot be bound.
pub(crate) fn serve(options: &ServeOptions) -> anyhow::Result<i32> {
    serve_as(options, None)
}

/// With the socket of a benchmark, that takes the place of the faces.
fn serve_as(options: &ServeOptions, bench: Option<OwnedFd>) -> anyhow::Result<i32> {
    if !rustix::process::geteuid().is_root() {
        bail!("the daemon needs root to build sandboxes: run `sudo ringfence serve` (`ringfence doctor` explains)");
    }
    let home = prepare_home(&options.home)?;
    let _lock = supervise::HomeLock::take(&home)?;
    let (installation, _claim) = Installation::claim(&home).context("claiming a range of uids")?;
    let uids = Uids::of_block(installation.uid_block);
    let mut config = Config::load(&home)?;
    otlp::check(&config.otlp)?;
    let format = options.log_format.unwrap_or(config.log.format);
    log::begin(format);
    let pip = pip::PipSettings::of_host();
    for login in &pip.logins {
        let host = &login.host;
        log::say(
            "ringfence",
            &format!(
                "who pip's settings say that you are at {host} stays outside of sandboxes; the gate says it for them"
            ),
        );
    }
    gateway::write_logins(&home, &pip.logins)?;
    config.gate.registries.extend(pip.registries());
    config.gate.registries.extend(pip::debian_mirror(std::env::var("RINGFENCE_DEBIAN_MIRROR").ok().as_deref()));
    let trust = gateway::trust_layer(&home, &config, &pip)?;
    own_by(&home.join("engine"), uids.serve())?;
    own_by(&home.join("gate"), uids.gateway())?;
    own_by(&home.join("venue"), uids.venue())?;
    let venue_socket = venue::bind(&home, uids)?;
    let data = data_layer(&home)?;
    let owner = invoking_user();
    let unix = bind_unix(&home, owner)?;
    let (token, token_fd) = token(&home, owner)?;
    let serve_role = if bench.is_some() { BENCH_SERVE_ROLE } else { supervise::SERVE_ROLE };
    let board = Board::new().context("making the board of the roles")?;
    let (teller, relay) = Relay::pair().context("making the way to the service manager")?;
    let mut fds = match bench {
        Some(bench) => vec![bench],
        None => {
            let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().context("handing a descriptor over");
            vec![OwnedFd::from(unix), token_fd, own(board.as_fd())?, own(teller.as_fd())?]
        }
    };
    if let Some(address) = options.tcp {
        if !address.ip().is_loopback() {
            bail!("{address} is not a loopback address; the API over TCP is for this machine alone");
        }
        let listener = TcpListener::bind(address).with_context(|| {
            format!("listening on {address}; another program uses it? choose one with --tcp, or `--tcp none`")
        })?;
        let token = token.display();
        log::say("ringfence", &format!("listening on http://{address} (MCP at /mcp; the token is in {token})"));
        fds.push(OwnedFd::from(listener));
    }
    if serve_role == supervise::SERVE_ROLE {
        log::say("ringfence", &format!("listening on {}", home.join("run/api.sock").display()));
    }
    let tcp = if options.tcp.is_some() { "tcp" } else { "" };
    let owner = owner.unwrap_or(0).to_string();
    let templates = serde_json::to_string(&config.templates).context("the settings of templates")?;
    let credits = serde_json::to_string(&config.credits).context("the settings of credits")?;
    let drain_seconds = config.daemon.drain_seconds();
    let alive_every_ms = notify::alive_every().map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
    let is_told = std::env::var_os("NOTIFY_SOCKET").is_some();
    let watch =
        serde_json::to_string(&Watch { drain_seconds, is_told, alive_every_ms }).context("how it is watched")?;
    let otlp = config.otlp.endpoint.clone().map(String::from).unwrap_or_default();
    let serve_args =
        vec![data.to_string(), trust.to_string(), build_id(), owner, tcp.to_owned(), templates, credits, watch, otlp];
    let daemon = supervise::Daemon {
        home,
        installation,
        serve_role,
        serve_args,
        serve_fds: fds,
        gateway_args: gateway::arguments(&config)?,
        venue_args: venue::arguments(uids),
        venue_socket,
        role_env: log::variables(format, config.log.level),
        board,
        relay,
        drain: Duration::from_secs(u64::from(drain_seconds)),
    };
    let ended = supervise::run(&daemon);
    // Another installation may be given this block of uids next: it must find nothing that it owns.
    for dir in ["engine", "gate", "venue"] {
        own_tree(&daemon.home.join(dir), 0).context("taking the state back from the unprivileged roles")?;
    }
    Ok(ended?)
}

/// The user behind sudo, who may use the socket too.
fn invoking_user() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

fn prepare_home(home: &Path) -> anyhow::Result<PathBuf> {
    for dir in ["", "run", "layers", "builds", "engine", "gate", "venue", "log"] {
        let dir = home.join(dir);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let home = fs::canonicalize(home).context("finding the state directory")?;
    // Entered by `serve` and by clients on their way to what they own; listed by root alone.
    for dir in ["", "run"] {
        fs::set_permissions(home.join(dir), fs::Permissions::from_mode(0o711))
            .context("opening the state directory")?;
    }
    for dir in ["layers", "builds", "engine", "gate", "venue", "log"] {
        fs::set_permissions(home.join(dir), fs::Permissions::from_mode(0o700))
            .context("closing the state directory")?;
    }
    Ok(home)
}

/// `serve`'s own directory follows its uid, which differs when another installation took the block meanwhile.
fn own_by(dir: &Path, uid: u32) -> anyhow::Result<()> {
    if fs::symlink_metadata(dir)?.uid() == uid
        && fs::read_dir(dir)?.flatten().all(|e| e.metadata().is_ok_and(|m| m.uid() == uid))
    {
        return Ok(());
    }
    own_tree(dir, uid).with_context(|| format!("giving {} to the unprivileged role", dir.display()))
}

fn own_tree(path: &Path, uid: u32) -> io::Result<()> {
    // Nothing in it was made by a sandbox; links are not followed all the same.
    std::os::unix::fs::lchown(path, Some(uid), Some(uid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own_tree(&entry?.path(), uid)?;
        }
    }
    Ok(())
}

/// Lays the sample bars down as a layer, unless they are there.
fn data_layer(home: &Path) -> anyhow::Result<LayerDigest> {
    let unfinished = home.join("builds").join("data");
    let data = unfinished.join("rootfs/data");
    if unfinished.exists() {
        build::remove::tree(&unfinished).context("removing an unfinished data layer")?;
    }
    fs::create_dir_all(&data).context("making the data layer")?;
    ringfence_market::sample::write(&data).context("writing the sample bars")?;
    let (digest, _) = build::seal_dir(&unfinished, &home.join("layers"))?;
    Ok(digest)
}

fn bind_unix(home: &Path, owner: Option<u32>) -> anyhow::Result<UnixListener> {
    let path = home.join("run/api.sock");
    // The lock is held, so nobody serves it any more.
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context("removing the old socket"),
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("binding {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).context("closing the socket")?;
    if let Some(owner) = owner {
        chown(&path, Some(owner), None).context("giving the socket to the user behind sudo")?;
    }
    Ok(listener)
}

/// The token of the API over TCP: made once, readable by root and the user behind sudo, handed to `serve` in memory.
fn token(home: &Path, owner: Option<u32>) -> anyhow::Result<(PathBuf, OwnedFd)> {
    let path = home.join("run/token");
    let text = match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => text.trim().to_owned(),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context("reading the token"),
        _ => {
            let mut bytes = [0_u8; 32];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("making a token")?;
            let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            writeln!(file, "{text}").context("writing the token")?;
            text
        }
    };
    if let Some(owner) = owner {
        chown(&path, Some(owner), None).context("giving the token to the user behind sudo")?;
    }
    let fd = boot::sealed("ringfence-token", text.as_bytes()).context("handing the token over")?;
    Ok((path, fd))
}

fn serve_role(args: &[String]) -> anyhow::Result<i32> {
    let [home, data, trust, build, owner, tcp, templates, credits, watch, otlp] = args else {
        bail!("wrong arguments")
    };
    let watch: Watch = serde_json::from_str(watch).context("how it is watched")?;
    let unix = UnixListener::from(sys::inherited_fd(UNIX_FD).context("taking the Unix socket")?);
    let token = sys::inherited_fd(TOKEN_FD).context("taking the token")?;
    let board = Board::of(sys::inherited_fd(BOARD_FD).context("taking the board of the roles")?);
    let teller = Teller::of(sys::inherited_fd(TELLER_FD).context("taking the way to the service manager")?);
    let tcp = match tcp.as_str() {
        "tcp" => Some(TcpListener::from(sys::inherited_fd(TCP_FD).context("taking the TCP socket")?)),
        _ => None,
    };
    sys::raise_descriptor_limit().context("raising the descriptor limit")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    // Ends before the runtime does.
    let (beside, _exporting) = otlp::start(otlp, build, runtime.handle())?;
    log::init_with(log::QUIET_IN_SERVE, beside)?;
    let mut unix_uids = vec![0];
    unix_uids.extend(owner.parse::<u32>().ok().filter(|uid| *uid != 0));
    let address =
        tcp.as_ref().map(TcpListener::local_addr).transpose().context("asking for the TCP socket's address")?;
    let mut config = engine_config(home, data, trust, build, [templates, credits], address)?;
    config.board = Some(board);
    let doors = serve::Doors { unix, unix_uids, tcp, token };
    runtime.block_on(serve::serve(config, doors, watch, teller))
}

/// A daemon for the benchmark of trials.
fn bench_role(args: &[String]) -> anyhow::Result<i32> {
    let home = args.first().context("no state directory")?;
    let socket =
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 10).context("taking the benchmark's socket")?;
    serve_as(&ServeOptions { home: home.into(), tcp: None, log_format: None }, Some(socket))
}

fn bench_serve_role(args: &[String]) -> anyhow::Result<i32> {
    let [home, data, trust, build, _, _, templates, credits, _, _] = args else { bail!("wrong arguments") };
    sys::raise_descriptor_limit().context("raising the descriptor limit")?;
    log::init(&[])?;
    crate::bench::trials::play(engine_config(home, data, trust, build, [templates, credits], None)?)
}

/// What an engine is started with in the role of `serve`.
fn engine_config(
    home: &str,
    data: &str,
    trust: &str,
    build: &str,
    [templates, credits]: [&str; 2],
    tcp: Option<SocketAddr>,
) -> anyhow::Result<ringfence_engine::Config> {
    Ok(ringfence_engine::Config {
        home: PathBuf::from(home),
        data: LayerDigest::parse(data)?,
        trust: LayerDigest::parse(trust)?,
        jailer: sys::inherited_fd(supervise::CONTROL_FD).context("taking the socket to the jailer")?,
        door: sys::inherited_fd(supervise::DOOR_FD).context("taking the door")?,
        tcp,
        build: build.to_owned(),
        board: None,
        templates: serde_json::from_str::<TemplateConfig>(templates)?.settings(Path::new(home)),
        credits: serde_json::from_str::<CreditConfig>(credits)?.settings(),
    })
}
