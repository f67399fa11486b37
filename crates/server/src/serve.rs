//! Listening: connections in, the router over them, and an orderly end.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, http::HeaderValue, middleware, response::IntoResponse};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ringfence_engine::Engine;
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
    rest,
    services::Services,
};

/// Connections of one listener at once; the next ones wait in the kernel's queue.
const CONNECTIONS_MAX: u32 = 1024;
/// Time that a client may take for the head of a request.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that requests have to end once a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// What to serve, and where.
pub struct Config {
    /// Who answers.
    pub services: Services,
    /// Whose sandboxes can be visited over TCP, if any can.
    pub previews: Option<Engine>,
    /// Version and hash of this build, for the header of every answer.
    pub build: String,
    /// The bound socket of the operator.
    pub unix: UnixListener,
    /// The uids that may connect to it. Others are hung up on.
    pub unix_uids: Vec<u32>,
    /// The bound TCP socket, if there is one.
    pub tcp: Option<Tcp>,
}

/// A TCP listener and what it demands.
pub struct Tcp {
    /// Bound, on the loopback interface.
    pub listener: TcpListener,
    /// What every request must present.
    pub token: Token,
}

/// Ends the serving: from a signal, or from `POST /v1/stop`. Clones end the same one.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Asks for the end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the end was asked for.
    pub async fn stopped(&self) {
        let mut stopped = self.0.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

/// Serves until [`Stop::stop`], then lets running requests end for a while.
///
/// # Errors
/// The build has characters that no header may have.
pub async fn serve(config: Config, stop: Stop) -> io::Result<()> {
    let mcp = mcp::http(config.services.clone(), stop.clone());
    serve_mcp(config, mcp, stop).await
}

/// [`serve`] with any service at `/mcp`.
pub(crate) async fn serve_mcp<S>(config: Config, mcp: S, stop: Stop) -> io::Result<()>
where
    S: Service<Request, Response: IntoResponse, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
{
    let build = HeaderValue::from_str(&config.build).map_err(io::Error::other)?;
    let own = config.tcp.as_ref().map(|tcp| tcp.token.clone());
    let door = Door::new(config.services.clone(), own);
    let routes = rest::routes(config.services, stop.clone()).nest_service("/mcp", mcp);
    let labelled = |router: Router| router.layer(middleware::from_fn_with_state(build.clone(), guard::build));
    let unix = labelled(routes.clone().layer(middleware::from_fn_with_state(door.clone(), guard::unix)));
    let unix = listen_unix(config.unix, config.unix_uids, unix, stop.clone());
    match config.tcp {
        None => unix.await,
        Some(Tcp { listener, token }) => {
            let api = labelled(routes.layer(middleware::from_fn_with_state(door, guard::tcp)));
            let tcp = match config.previews {
                Some(engine) => {
                    let previews = Previews::new(engine, token, stop.clone());
                    // Around the whole router: at a preview's name, the API's paths are the program's.
                    let intercepting = middleware::from_fn_with_state(previews, preview::intercept);
                    Router::new().fallback_service(api).layer(intercepting)
                }
                None => api,
            };
            tokio::join!(unix, listen_tcp(listener, tcp, stop));
        }
    }
    Ok(())
}

async fn listen_unix(listener: UnixListener, uids: Vec<u32>, router: Router, stop: Stop) {
    let connections = Connections::new(router, stop.clone());
    loop {
        let permit = connections.permit().await;
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            () = stop.stopped() => break,
        };
        match stream {
            Ok(stream) if is_peer(&stream, &uids) => connections.spawn(stream, permit),
            Ok(_) => tracing::warn!("hung up on a peer whose uid is not allowed"),
            Err(e) => accept_failed(&e).await,
        }
    }
    connections.drain().await;
}

async fn listen_tcp(listener: TcpListener, router: Router, stop: Stop) {
    let connections = Connections::new(router, stop.clone());
    loop {
        let permit = connections.permit().await;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.stopped() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                // Answers are small and waited for.
                let _ = stream.set_nodelay(true);
                connections.spawn(stream, permit);
            }
            Err(e) => accept_failed(&e).await,
        }
    }
    connections.drain().await;
}

/// The peer's uid as the kernel recorded it at connect, SO_PEERCRED in unix(7).
fn is_peer(stream: &UnixStream, uids: &[u32]) -> bool {
    stream.peer_cred().is_ok_and(|peer| uids.contains(&peer.uid()))
}

/// Most often want of descriptors: another attempt at once would spin.
async fn accept_failed(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// The connections of one listener.
struct Connections {
    router: Router,
    permits: Arc<Semaphore>,
    stop: Stop,
}

impl Connections {
    fn new(router: Router, stop: Stop) -> Self {
        Self { router, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)), stop }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        self.permits.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    fn spawn(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, permit: OwnedSemaphorePermit) {
        let router = self.router.clone();
        let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            tower::ServiceExt::oneshot(router.clone(), request.map(Body::new))
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
        if tokio::time::timeout(DRAIN, self.permits.acquire_many(CONNECTIONS_MAX)).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
    }
}
