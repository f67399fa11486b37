//! The simulated exchange: how it begins as a role of the daemon, and by itself for people.

use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{PermissionsExt, chown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use jiff::Timestamp;
use ringfence_jail::{host::Uids, supervise, sys};
use ringfence_market::{BarTape, Library};
use ringfence_venue::{
    listen::{self, Doors},
    venue::Venue,
};

/// Seed of the paths that prices take within a day: the same for every installation, so that results can be compared.
const TAPE_SEED: u64 = 0;

/// Binds the socket that the gateway hands requests on to. Only the gateway's group and root get as far as to it, and only its
/// uid and root are answered.
pub(super) fn bind(home: &Path, uids: Uids) -> anyhow::Result<OwnedFd> {
    let dir = home.join("run/venue");
    fs::create_dir_all(&dir).context("making the venue's directory")?;
    chown(&dir, Some(0), Some(uids.gateway())).context("opening the venue's directory to the gateway")?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o710)).context("closing the venue's directory to others")?;
    let socket = listener(&dir.join("api.sock"))?;
    chown(dir.join("api.sock"), Some(0), Some(uids.gateway())).context("giving the venue's socket to the gateway")?;
    fs::set_permissions(dir.join("api.sock"), fs::Permissions::from_mode(0o660)).context("closing the socket")?;
    Ok(socket.into())
}

/// A socket in place of one that nobody serves any more.
fn listener(path: &Path) -> anyhow::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).context("removing the old socket"),
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("binding {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("closing the socket")?;
    Ok(listener)
}

/// What the role is told at its start: who else than root may use it.
pub(super) fn arguments(uids: Uids) -> Vec<String> {
    vec![uids.gateway().to_string()]
}

/// Plays the role until it is told to end.
pub(super) fn role(args: &[String]) -> anyhow::Result<i32> {
    let [home, gateway] = args else { bail!("wrong arguments") };
    let socket = UnixListener::from(sys::inherited_fd(supervise::CONTROL_FD).context("taking the venue's socket")?);
    sys::raise_descriptor_limit().context("raising the descriptor limit")?;
    super::log::init(&["hyper=warn", "tungstenite=warn"])?;
    let uids = vec![0, gateway.parse().context("the gateway's uid")?];
    run(Path::new(home), Some((socket, Some(uids))), None)
}

/// What `ringfence venue` was asked for.
#[derive(Debug)]
pub(crate) struct VenueOptions {
    /// State directory.
    pub home: PathBuf,
    /// Where to listen on TCP.
    pub tcp: Option<SocketAddr>,
    /// Where to listen on a Unix socket.
    pub socket: Option<PathBuf>,
}

/// Serves the venue by itself, in the foreground.
///
/// # Errors
/// It cannot begin: another venue has the state directory, or a socket cannot be bound.
pub(crate) fn alone(options: &VenueOptions) -> anyhow::Result<i32> {
    super::log::init(&["hyper=warn", "tungstenite=warn"])?;
    if let Some(address) = options.tcp.filter(|address| !address.ip().is_loopback()) {
        bail!("{address} is not a loopback address; the venue believes whatever key it is shown");
    }
    fs::create_dir_all(&options.home).with_context(|| format!("making {}", options.home.display()))?;
    let socket = options.socket.as_deref().map(listener).transpose()?;
    let ended = run(&options.home, socket.map(|socket| (socket, None)), options.tcp);
    if let Some(path) = &options.socket {
        let _ = fs::remove_file(path);
    }
    ended
}

fn tape(home: &Path) -> Result<Arc<BarTape>, String> {
    match Library::load(&home.join("market"), TAPE_SEED) {
        Ok(tape) => Ok(Arc::new(tape)),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

fn run(home: &Path, unix: Option<(UnixListener, Option<Vec<u32>>)>, tcp: Option<SocketAddr>) -> anyhow::Result<i32> {
    let data = home.to_owned();
    let read = tape(home).map_err(anyhow::Error::msg).context("reading the market data")?;
    let venue = Venue::open(&home.join("venue"), read, Timestamp::now, Box::new(move || tape(&data)))
        .context("opening the venue")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(64)
        .build()
        .context("starting the runtime")?;
    let served = runtime.block_on(async {
        let tcp = match tcp {
            Some(address) => {
                let listener = listen::tcp(address).await.with_context(|| {
                    format!("listening on {address}; another program uses it? choose one with --listen")
                })?;
                super::log::say("ringfence", &format!("the venue listens on http://{}", listener.local_addr()?));
                Some(listener)
            }
            None => None,
        };
        let (unix, unix_uids) = match unix {
            Some((socket, uids)) => {
                socket.set_nonblocking(true)?;
                (Some(tokio::net::UnixListener::from_std(socket)?), uids)
            }
            None => (None, None),
        };
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        listen::serve(Arc::new(venue), Doors { unix, unix_uids, tcp }, stop).await.context("serving the venue")
    });
    // A step through years is not waited for: what it has done is in the journal.
    runtime.shutdown_background();
    served.map(|()| 0)
}
