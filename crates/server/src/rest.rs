//! The REST API. Every handler parses, calls the one trait, and answers in JSON; nothing is decided here.

mod body;
pub(crate) mod exports;
mod reply;
pub(crate) mod routes;
pub(crate) mod secrets;
pub(crate) mod trading;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::Method,
    routing::{get, post, put},
};
use ringfence_engine::api::SharedSandboxes;

pub(crate) use body::Judge;
pub(crate) use reply::{ErrorBody, LONG_ANSWER_TIMEOUT, NDJSON, Refused, unauthorised};
use routes as r;

use crate::serve::Stop;

/// What every handler has at hand.
#[derive(Clone)]
pub(crate) struct Face {
    pub(crate) sandboxes: SharedSandboxes,
    pub(crate) stop: Stop,
}

/// The routes, without guards.
pub(crate) fn routes(sandboxes: SharedSandboxes, stop: Stop) -> Router {
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
        .route("/v1/templates/{name}", get(r::template).delete(exports::delete))
        .route("/v1/templates/{name}/archive", get(exports::archive))
        .route("/v1/templates/{name}/build", post(r::build))
        .route("/v1/prune", post(r::prune))
        .route("/v1/audit", get(r::audit_log))
        .route("/v1/audit/verify", post(r::audit_verify))
        .route("/v1/egress", get(r::egress))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/secrets/{name}", put(secrets::set).delete(secrets::remove))
        .merge(trading::routes())
        .route("/v1/health", get(r::health))
        .route("/v1/stop", post(r::stop_daemon))
        .route("/v1/openapi.json", get(r::openapi))
        .fallback(reply::no_such_path)
        .method_not_allowed_fallback(|method: Method| async move { reply::no_such_method(&method) })
        // `Body` reads with its own limit, and MCP with its own; axum's default of 2 MiB would come first.
        .layer(DefaultBodyLimit::disable())
        .with_state(Face { sandboxes, stop })
}
