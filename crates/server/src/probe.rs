//! `GET /health` and `GET /ready`, for whoever watches over the daemon: they need no token, and are answered before the engine is there.
//! Every other request waits for it here.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use ringfence_engine::api::SharedNode;
use ringfence_model::{
    ApiError, Code,
    api::{AliveAnswer, ReadyAnswer},
};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::{
    BUILD_HEADER,
    guard::{self, Limiter, Rate},
    rest::{Refused, no_such_method},
    serve::Stop,
};

/// Where it is answered that the process answers.
pub(crate) const HEALTH: &str = "/health";
/// Where it is answered whether it takes work.
pub(crate) const READY: &str = "/ready";

/// Of all probes over TCP together: they come without a token, from anybody on this machine.
const PROBE_RATE: Rate = Rate { burst: 60.0, per_second: 20.0 };
/// The bucket of probes.
const PROBES: &str = "probes";
/// How old an answer may be: to find out what is missing, something is written.
const FRESH: Duration = Duration::from_secs(1);

/// What probes are answered by.
pub(crate) struct Probes {
    node: OnceLock<SharedNode>,
    stop: Stop,
    limiter: Limiter,
    last: tokio::sync::Mutex<Option<(Instant, Vec<String>)>>,
}

impl Probes {
    pub(crate) fn new(stop: Stop) -> Self {
        Self { node: OnceLock::new(), stop, limiter: Limiter::default(), last: tokio::sync::Mutex::default() }
    }

    /// It has started.
    pub(crate) fn started(&self, node: SharedNode) {
        let _ = self.node.set(node);
    }

    /// Whether work is taken, and what is missing for it.
    pub(crate) async fn ready(&self) -> ReadyAnswer {
        let Some(node) = self.node.get() else {
            let missing = vec!["starting: what an earlier run has left is put in order".to_owned()];
            return ReadyAnswer { ready: false, status: "starting".into(), missing };
        };
        // One looks, and those who come meanwhile have its answer. What it waits for has a drain's seconds in it, so it is not kept then.
        let mut last = self.last.lock().await;
        let known = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH && !self.stop.is_asked());
        let missing = match known {
            Some((_, missing)) => missing.clone(),
            None => {
                let missing = node.missing().await;
                *last = Some((Instant::now(), missing.clone()));
                missing
            }
        };
        drop(last);
        let status = match (self.stop.is_asked(), missing.is_empty()) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "not ready",
        };
        let missing = match (status, missing.is_empty()) {
            ("draining", true) => vec!["draining: the daemon is stopping".to_owned()],
            _ => missing,
        };
        ReadyAnswer { ready: status == "ready", status: status.into(), missing }
    }

    async fn answer(&self, path: &str) -> Response {
        let mut response = if path == HEALTH { alive().into_response() } else { ready(self).await.into_response() };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Whether the process answers. Needs no token.
#[utoipa::path(get, path = "/health", tag = "system", security(()), responses((status = 200, body = AliveAnswer)))]
pub(crate) fn alive() -> Json<AliveAnswer> {
    Json(AliveAnswer { status: "ok".into() })
}

/// Whether work is taken, and what is missing for it. Needs no token.
#[utoipa::path(get, path = "/ready", tag = "system", security(()),
    responses((status = 200, body = ReadyAnswer), (status = 503, body = ReadyAnswer)))]
pub(crate) async fn ready(probes: &Probes) -> (StatusCode, Json<ReadyAnswer>) {
    let ready = probes.ready().await;
    (if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(ready))
}

/// Where every request of one listener comes in.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub(crate) probes: Arc<Probes>,
    /// Whether anybody on this machine may come: then names of the host are looked at, and rates.
    pub(crate) is_open: bool,
    pub(crate) build: HeaderValue,
    /// What answers everything else, once it is there.
    pub(crate) router: watch::Receiver<Option<Router>>,
    pub(crate) stop: Stop,
}

impl Entrance {
    /// Answers a request.
    pub(crate) async fn enter(mut self, request: Request<Body>) -> Response {
        if let Some(probe) = self.probe(&request) {
            let mut response = match probe {
                Ok(path) => self.probes.answer(path).await,
                Err(refused) => *refused,
            };
            response.headers_mut().insert(BUILD_HEADER, self.build);
            return response;
        }
        let router = tokio::select! {
            router = self.router.wait_for(Option::is_some) => router.ok().and_then(|router| router.clone()),
            () = self.stop.stopped() => None,
        };
        match router {
            Some(router) => match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            None => {
                let error = ApiError::new(Code::InsufficientResources, "the daemon is stopping; try again later");
                Refused(error).into_response()
            }
        }
    }

    /// Which probe it is, or why that is not answered. `None` when it is none, or comes to a name that is none of this machine's: a preview
    /// has pages of any path.
    fn probe(&self, request: &Request<Body>) -> Option<Result<&'static str, Box<Response>>> {
        let path = [HEALTH, READY].into_iter().find(|path| *path == request.uri().path())?;
        let refused = |response: Response| Some(Err(Box::new(response)));
        if self.is_open {
            if !guard::is_to_us(request.uri(), request.headers()) {
                return None;
            }
            if let Err(error) = guard::check_names(request.uri(), request.headers()) {
                return refused(Refused(error).into_response());
            }
            if let Err(wait) = self.probes.limiter.take(PROBES, PROBE_RATE, Instant::now()) {
                return refused(guard::too_often("too many probes came", wait));
            }
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let allow = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
            return refused((allow, no_such_method(request.method())).into_response());
        }
        Some(Ok(path))
    }
}
