//! The REST API. Every handler parses, calls the one trait, and answers in JSON; nothing is decided here.

pub(crate) mod access;
mod body;
pub(crate) mod credits;
pub(crate) mod exports;
pub(crate) mod jobs;
mod metrics;
pub(crate) mod pipelines;
mod reply;
pub(crate) mod routes;
pub(crate) mod secrets;
pub(crate) mod swarms;
pub(crate) mod sweeps;
pub(crate) mod trading;

use std::time::Duration;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts},
    http::{Method, request::Parts},
    routing::{get, post, put},
};
use ringfence_engine::api::{SharedNode, SharedSandboxes};
use ringfence_model::{ApiError, Caller, Code};
use ringfence_research::api::SharedResearch;

pub(crate) use body::Judge;
pub(crate) use reply::{ErrorBody, LONG_ANSWER_TIMEOUT, NDJSON, Refused, no_such_method, unauthorised};
use routes as r;

use crate::{serve::Stop, services::Services};

/// What every handler has at hand: the services as the caller sees them.
#[derive(Clone)]
pub(crate) struct Face {
    pub(crate) sandboxes: SharedSandboxes,
    pub(crate) research: SharedResearch,
    pub(crate) node: SharedNode,
    pub(crate) stop: Stop,
    /// How long a stop waits for what runs.
    pub(crate) drain: Duration,
}

impl FromRequestParts<Face> for Face {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, all: &Face) -> Result<Self, Refused> {
        // The guards have put it there; without one nobody is let through.
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| ApiError::new(Code::PermissionDenied, "nobody knows who asks"))?;
        let Face { sandboxes, research, node, stop, drain } = all.clone();
        let Services { sandboxes, research } = Services { sandboxes, research }.scoped(caller);
        Ok(Self { sandboxes, research, node, stop, drain })
    }
}

/// The routes, without guards.
pub(crate) fn routes(services: Services, node: SharedNode, stop: Stop, drain: Duration) -> Router {
    let Services { sandboxes, research } = services;
    Router::new()
        .route("/v1/sandboxes", post(r::create).get(r::list))
        .route("/v1/sandboxes/{id}", get(r::status).delete(r::delete))
        .route("/v1/sandboxes/{id}/configure", post(r::configure))
        .route("/v1/sandboxes/{id}/execute", post(r::execute))
        .route("/v1/sandboxes/{id}/stop", post(r::stop))
        .route("/v1/sandboxes/{id}/pause", post(r::pause))
        .route("/v1/sandboxes/{id}/resume", post(r::resume))
        .route("/v1/sandboxes/{id}/files", put(r::upload).get(r::download))
        .route("/v1/sandboxes/{id}/logs", get(r::logs))
        .route("/v1/sandboxes/{id}/preview", post(r::preview))
        .route("/v1/executions/{id}", get(r::execution))
        .route("/v1/templates", get(r::templates))
        .route("/v1/sandboxes/{id}/export", post(exports::export))
        .route("/v1/sandboxes/{id}/clone", post(exports::clone))
        .route("/v1/template-archives", post(exports::import))
        .route("/v1/template-images", post(exports::image))
        .route("/v1/templates/{name}", get(r::template).delete(exports::delete))
        .route("/v1/templates/{name}/archive", get(exports::archive))
        .route("/v1/templates/{name}/build", post(r::build))
        .route("/v1/prune", post(r::prune))
        .route("/v1/audit/prune", post(r::audit_prune))
        .route("/v1/audit", get(r::audit_log))
        .route("/v1/audit/verify", post(r::audit_verify))
        .route("/v1/egress", get(r::egress))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/secrets/{name}", put(secrets::set).delete(secrets::remove))
        .merge(access::routes())
        .merge(credits::routes())
        .merge(trading::routes())
        .merge(sweeps::routes())
        .merge(jobs::routes())
        .merge(pipelines::routes())
        .merge(swarms::routes())
        .route("/v1/health", get(r::health))
        .route("/v1/stop", post(r::stop_daemon))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/openapi.json", get(r::openapi))
        .fallback(reply::no_such_path)
        .method_not_allowed_fallback(|method: Method| async move { reply::no_such_method(&method) })
        // `Body` reads with its own limit, and MCP with its own; axum's default of 2 MiB would come first.
        .layer(DefaultBodyLimit::disable())
        .with_state(Face { sandboxes, research, node, stop, drain })
}
