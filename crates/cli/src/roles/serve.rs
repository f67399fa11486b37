//! The role `serve`: the engine, the faces over it, and how both come to their end.

use std::{
    fs, io,
    net::TcpListener,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use ringfence_jail::notify::Teller;
use ringfence_server::{Services, Started, Stop, Token};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{Watch, log, tell};

/// Where it listens.
pub(super) struct Doors {
    pub(super) unix: UnixListener,
    /// Who may connect there.
    pub(super) unix_uids: Vec<u32>,
    pub(super) tcp: Option<TcpListener>,
    /// What is asked for over TCP: a file in memory.
    pub(super) token: OwnedFd,
}

impl Doors {
    fn config(self, build: String, drain: Duration) -> anyhow::Result<ringfence_server::Config> {
        let mut text = String::new();
        let mut token = fs::File::open(format!("/proc/self/fd/{}", self.token.as_raw_fd()))?;
        io::Read::read_to_string(&mut token, &mut text).context("reading the token")?;
        log::hide(text.trim());
        self.unix.set_nonblocking(true)?;
        let tcp = match self.tcp {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                let token = Token::new(&text).map_err(anyhow::Error::msg)?;
                Some(ringfence_server::Tcp { listener: tokio::net::TcpListener::from_std(listener)?, token })
            }
            None => None,
        };
        let unix = tokio::net::UnixListener::from_std(self.unix)?;
        Ok(ringfence_server::Config { build, unix, unix_uids: self.unix_uids, tcp, drain })
    }
}

/// Serves until it is told to end, or until the jailer is gone. The exit code.
pub(super) async fn serve(
    config: ringfence_engine::Config,
    doors: Doors,
    watch: Watch,
    teller: Teller,
) -> anyhow::Result<i32> {
    let stop = Stop::default();
    obey_signals(&stop)?;
    let (open, opened) = oneshot::channel::<Started>();
    let started = async {
        match opened.await {
            Ok(started) => started,
            // It did not start: this process ends.
            Err(_) => std::future::pending().await,
        }
    };
    let settings = doors.config(config.build.clone(), Duration::from_secs(u64::from(watch.drain_seconds)))?;
    // From here on probes are answered; other requests wait until it has started.
    let mut server = tokio::spawn(ringfence_server::serve(settings, started, stop.clone()));
    let research =
        ringfence_research::Settings { dir: config.home.join("engine/research"), market: config.home.join("market") };
    let starting = async {
        let (engine, gone) = ringfence_engine::Engine::start(config).await?;
        let desk = ringfence_research::Desk::start(engine.clone(), research).await.context("the desk of research")?;
        anyhow::Ok((engine, gone, desk))
    };
    let (engine, gone, desk) = tokio::select! {
        started = starting => started?,
        () = stop.asked() => {
            server.await??;
            tracing::info!("stopped before it had started");
            return Ok(0);
        }
    };
    let services = Services { sandboxes: Arc::new(engine.clone()), research: Arc::new(desk) };
    let _ = open.send(Started { services, previews: Some(engine.clone()), node: Arc::new(engine.clone()) });
    if watch.is_told {
        let alive_every = watch.alive_every_ms.map(Duration::from_millis);
        tokio::spawn(tell::tell(teller, engine.clone(), stop.clone(), alive_every));
    }
    tokio::select! {
        served = &mut server => {
            served??;
            engine.close().await;
            tracing::info!("stopped in order");
            Ok(0)
        }
        _ = gone => bail!("the jailer is gone; starting anew"),
    }
}

/// The supervisor says SIGTERM for an end in order, as often as it likes, and SIGINT for one that waits for nothing.
fn obey_signals(stop: &Stop) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => stop.ask(),
                _ = interrupt.recv() => {
                    tracing::warn!("told to end at once");
                    stop.at_once();
                }
            }
        }
    });
    Ok(())
}
