//! Listening: connections in, the router over them, and an orderly end.

mod spare;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, http::HeaderValue, middleware, response::IntoResponse};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ringfence_engine::{Engine, api::SharedNode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tower::Service;

use crate::{
    guard,
    guard::{Door, Token},
    mcp,
    preview::{self, Previews},
    probe::{Entrance, Probes},
    rest,
    services::Services,
    trace,
};
use spare::Spare;

/// Connections of one listener at once; the next ones wait in the kernel's queue.
const CONNECTIONS_MAX: u32 = 1024;
/// Time that a client may take for the head of a request.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that requests have to end once nothing runs any more that they could wait for.
const DRAIN: Duration = Duration::from_secs(10);

/// Where to serve, and how to end.
pub struct Config {
    /// Version and hash of this build, for the header of every answer.
    pub build: String,
    /// The bound socket of the operator.
    pub unix: UnixListener,
    /// The uids that may connect to it. Others are hung up on.
    pub unix_uids: Vec<u32>,
    /// The bound TCP socket, if there is one.
    pub tcp: Option<Tcp>,
    /// How long running executions have to end by themselves once a stop was asked for.
    pub drain: Duration,
}

/// Who answers, once it is there.
pub struct Started {
    /// Every request but probes.
    pub services: Services,
    /// Whose sandboxes can be visited over TCP, if any can.
    pub previews: Option<Engine>,
    /// What is asked whether work is taken, and told that none is any more.
    pub node: SharedNode,
}

/// A TCP listener and what it demands.
pub struct Tcp {
    /// Bound, on the loopback interface.
    pub listener: TcpListener,
    /// What every request must present.
    pub token: Token,
}

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Nobody has asked for it.
    No,
    /// No new work is taken, and what runs may end.
    Asked,
    /// Nothing is served any more but requests that have begun.
    Over,
    /// Nor is anything waited for.
    AtOnce,
}

/// Ends the serving: from a signal, or from `POST /v1/stop`. Clones end the same one.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<End>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(End::No)))
    }
}

impl Stop {
    /// Asks for the end: no new work is taken, and what runs has its time.
    pub fn ask(&self) {
        self.at_least(End::Asked);
    }

    /// Ends it now; requests that have begun have a little time.
    pub fn stop(&self) {
        self.at_least(End::Over);
    }

    /// Ends it without waiting for anything.
    pub fn at_once(&self) {
        self.at_least(End::AtOnce);
    }

    /// Waits until the end was asked for.
    pub async fn asked(&self) {
        self.reaches(End::Asked).await;
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow() >= End::Asked
    }

    /// Waits until nothing new is served.
    pub async fn stopped(&self) {
        self.reaches(End::Over).await;
    }

    async fn hurried(&self) {
        self.reaches(End::AtOnce).await;
    }

    fn at_least(&self, end: End) {
        self.0.send_if_modified(|now| {
            let later = end > *now;
            *now = end.max(*now);
            later
        });
    }

    async fn reaches(&self, end: End) {
        let mut ends = self.0.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = ends.wait_for(|now| *now >= end).await;
    }
}

/// Serves until [`Stop::ask`] and all that follows from it, or [`Stop::stop`]. Until `started` is there, probes are answered, and every
/// other request waits for it.
///
/// # Errors
/// The build has characters that no header may have.
pub async fn serve(config: Config, started: impl Future<Output = Started>, stop: Stop) -> io::Result<()> {
    serve_mcp(config, started, mcp::http, stop).await
}

/// [`serve`] with any service at `/mcp`.
pub(crate) async fn serve_mcp<S>(
    config: Config,
    started: impl Future<Output = Started>,
    mcp: impl FnOnce(Services, Stop) -> S,
    stop: Stop,
) -> io::Result<()>
where
    S: Service<Request, Response: IntoResponse, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    let build = HeaderValue::from_str(&config.build).map_err(io::Error::other)?;
    let Config { unix, unix_uids, tcp, drain, .. } = config;
    let probes = Arc::new(Probes::new(stop.clone()));
    let (listener, token) = tcp.map(|Tcp { listener, token }| (listener, token)).unzip();
    let (unix_router, unix_routes) = watch::channel(None);
    let (tcp_router, tcp_routes) = watch::channel(None);
    let entrance = |is_open, router| {
        let (probes, build, stop) = (probes.clone(), build.clone(), stop.clone());
        Entrance { probes, is_open, build, router, stop }
    };
    let listening = async {
        let unix = listen_unix(unix, unix_uids, entrance(false, unix_routes), stop.clone());
        match listener {
            None => unix.await,
            Some(listener) => {
                tokio::join!(unix, listen_tcp(listener, entrance(true, tcp_routes), stop.clone()));
            }
        }
    };
    let living = async {
        let Started { services, previews, node } = tokio::select! {
            started = started => started,
            () = stop.asked() => return stop.stop(),
        };
        let door = Door::new(services.clone(), token.clone());
        let mcp = mcp(services.clone(), stop.clone());
        let routes = rest::routes(services, node.clone(), stop.clone(), drain).nest_service("/mcp", mcp);
        let labelled = |router: Router| {
            router
                .layer(middleware::from_fn_with_state(build.clone(), guard::build))
                .layer(middleware::from_fn(trace::request))
        };
        let unix = labelled(routes.clone().layer(middleware::from_fn_with_state(door.clone(), guard::unix)));
        unix_router.send_replace(Some(unix));
        if let Some(token) = token {
            let api = labelled(routes.layer(middleware::from_fn_with_state(door, guard::tcp)));
            let tcp = match previews {
                Some(engine) => {
                    let previews = Previews::new(engine, token, stop.clone());
                    // Around the whole router: at a preview's name, the API's paths are the program's.
                    let intercepting = middleware::from_fn_with_state(previews, preview::intercept);
                    Router::new().fallback_service(api).layer(intercepting)
                }
                None => api,
            };
            tcp_router.send_replace(Some(tcp));
        }
        probes.started(node.clone());
        stop.asked().await;
        tokio::select! {
            () = node.drain(drain) => {}
            () = stop.stopped() => {}
        }
        stop.stop();
    };
    tokio::join!(listening, living);
    Ok(())
}

async fn listen_unix(listener: UnixListener, uids: Vec<u32>, entrance: Entrance, stop: Stop) {
    let connections = Connections::new(entrance, stop.clone());
    let mut spare = Spare::new();
    loop {
        let permit = connections.permit().await;
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            () = stop.stopped() => break,
        };
        match stream {
            Ok(stream) if is_peer(&stream, &uids) => connections.spawn(stream, permit),
            Ok(_) => tracing::warn!("hung up on a peer whose uid is not allowed"),
            Err(e) => {
                let ours = async {
                    let (stream, _) = listener.accept().await?;
                    if is_peer(&stream, &uids) { Ok(stream) } else { Err(io::ErrorKind::PermissionDenied.into()) }
                };
                if let Some(stream) = spare.failed(&e, ours).await {
                    connections.spawn(stream, permit);
                }
            }
        }
    }
    connections.drain().await;
}

async fn listen_tcp(listener: TcpListener, entrance: Entrance, stop: Stop) {
    let connections = Connections::new(entrance, stop.clone());
    let mut spare = Spare::new();
    loop {
        let permit = connections.permit().await;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.stopped() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => Some(stream),
            Err(e) => spare.failed(&e, async { Ok(listener.accept().await?.0) }).await,
        };
        if let Some(stream) = stream {
            // Answers are small and waited for.
            let _ = stream.set_nodelay(true);
            connections.spawn(stream, permit);
        }
    }
    connections.drain().await;
}

/// The peer's uid as the kernel recorded it at connect, SO_PEERCRED in unix(7).
fn is_peer(stream: &UnixStream, uids: &[u32]) -> bool {
    stream.peer_cred().is_ok_and(|peer| uids.contains(&peer.uid()))
}

/// The connections of one listener.
struct Connections {
    entrance: Entrance,
    permits: Arc<Semaphore>,
    stop: Stop,
}

impl Connections {
    fn new(entrance: Entrance, stop: Stop) -> Self {
        Self { entrance, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)), stop }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        self.permits.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    fn spawn(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, permit: OwnedSemaphorePermit) {
        let entrance = self.entrance.clone();
        let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let entered = entrance.clone().enter(request.map(Body::new));
            async move { Ok::<_, Infallible>(entered.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .with_upgrades();
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.stopped() => {
                    // The request that runs is the last one.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(permit);
        });
    }

    /// Waits until every connection has ended.
    async fn drain(self) {
        let ended = tokio::select! {
            ended = tokio::time::timeout(DRAIN, self.permits.acquire_many(CONNECTIONS_MAX)) => ended.is_ok(),
            () = self.stop.hurried() => false,
        };
        if !ended {
            tracing::warn!("some requests did not end in time");
        }
    }
}
