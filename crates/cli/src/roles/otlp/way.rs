//! The way to the collector: one connection for each batch, over TLS where the endpoint says so.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, Uri, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use ringfence_egress::tls::{
    client::{Roots, Upstream},
    server::Alpn,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    time::timeout,
};

use super::super::log;

/// For one batch, from the connection to the last byte of the answer.
const TIME: Duration = Duration::from_secs(10);
/// Of an answer that is read; nothing of it is shown.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The exporter's threads are its own; what is sent goes over the runtime of `serve`.
pub(super) struct Way {
    runtime: Handle,
    tls: Option<Upstream>,
    /// Said when it begins to fail, and when it is well again: not for every batch.
    fails: AtomicBool,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").finish_non_exhaustive()
    }
}

impl Way {
    /// # Errors
    /// There is TLS to speak, and what the system trusts cannot be read.
    pub(super) fn new(endpoint: &str, runtime: Handle) -> anyhow::Result<Self> {
        let tls = if endpoint.starts_with("https:") {
            let roots = Roots::system().context("what the system trusts")?;
            Some(Upstream::new(roots).context("preparing TLS to the collector")?)
        } else {
            None
        };
        Ok(Self { runtime, tls, fails: AtomicBool::new(false) })
    }

    /// Not through tracing: what was said of a failure would be the next thing to fail.
    fn note(&self, failed: Option<&str>) {
        let failed_before = self.fails.swap(failed.is_some(), Ordering::Relaxed);
        match failed {
            Some(why) if !failed_before => log::fail(
                "ringfence-serve",
                &format!("the collector is told nothing ({why}); what does not fit into the queue meanwhile is lost"),
            ),
            None if failed_before => log::say("ringfence-serve", "the collector is told again"),
            _ => {}
        }
    }
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Way {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sending<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let tls = self.tls.clone();
        // A timer belongs to the runtime in which it is made, and the exporter's threads have none.
        let sending = self.runtime.spawn(async move { timeout(TIME, exchange(request, tls)).await });
        Box::pin(async move {
            let answered = match sending.await {
                Ok(Ok(answered)) => answered,
                Ok(Err(_)) => Err(anyhow::anyhow!("it did not answer within {} s", TIME.as_secs())),
                Err(_) => Err(anyhow::anyhow!("the daemon is ending")),
            };
            match &answered {
                Ok(answer) if answer.status().is_success() => self.note(None),
                Ok(answer) => self.note(Some(&format!("it answers {}", answer.status()))),
                Err(error) => self.note(Some(&format!("{error:#}"))),
            }
            answered.map_err(HttpError::from)
        })
    }
}

async fn exchange(request: Request<Bytes>, tls: Option<Upstream>) -> anyhow::Result<Response<Bytes>> {
    let host = request.uri().host().context("the endpoint names no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = request.uri().port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.context("connecting")?;
    match tls {
        Some(tls) => speak(tls.connect(&host, Alpn::Http1, stream).await?, request).await,
        None => speak(stream, request).await,
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> anyhow::Result<Response<Bytes>> {
    let (mut parts, body) = request.into_parts();
    // RFC 9112, 3.2.1: the target is the path, and the name is in a header.
    let authority = parts.uri.authority().context("the endpoint names no host")?.as_str().parse()?;
    parts.headers.insert(header::HOST, authority);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    parts.uri = target.parse::<Uri>()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answering = async {
        let (parts, body) = sender.send_request(Request::from_parts(parts, Full::new(body))).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        anyhow::Ok(Response::from_parts(parts, body.to_bytes()))
    };
    tokio::pin!(answering, connection);
    tokio::select! {
        answered = &mut answering => return answered,
        ended = &mut connection => ended?,
    }
    // It may have ended with the answer.
    match timeout(Duration::ZERO, answering).await {
        Ok(answered) => answered,
        Err(_) => bail!("it hung up"),
    }
}
