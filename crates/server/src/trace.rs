//! A span for each request: what it was and how it ended, and nothing that a client has written. Log lines do not show them; they are for a
//! collector, where an operator has one.

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, field};

/// Where spans of requests come from, for filters.
pub const TARGET: &str = "ringfence::request";

/// In place of a path that has no pattern, and of a method of a client's own, as OpenTelemetry has it.
const OTHER: &str = "_OTHER";

/// The pattern of a path is shown, never the path: in that are names and ids of clients, and queries.
pub(crate) async fn request(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or(OTHER, MatchedPath::as_str);
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let method = known.iter().find(|method| *method == request.method()).map_or(OTHER, Method::as_str);
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.kind = "server",
        otel.name = format_args!("{method} {route}"),
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        otel.status_code = field::Empty,
    );
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    response
}
