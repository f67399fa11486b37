//! Answers of our own, in plain text.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use ringfence_engine::previews::Turned;

use super::address::Address;

/// A sentence.
pub(super) fn page(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("ringfence: {text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ringfence preview\""));
    }
    response
}

/// Leads elsewhere.
pub(super) fn redirect(status: StatusCode, to: &str) -> Response {
    let mut response = page(status, "it is there");
    match HeaderValue::from_str(to) {
        Ok(to) => drop(response.headers_mut().insert(header::LOCATION, to)),
        Err(_) => return page(StatusCode::BAD_REQUEST, "the address holds what no address may hold"),
    }
    // The address that led here may hold a token.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Why a visitor was turned away.
pub(super) fn turned(turned: Turned, address: &Address) -> Response {
    let Address { sandbox, port, .. } = address;
    match turned {
        Turned::NoToken => page(
            StatusCode::UNAUTHORIZED,
            "this address needs its sandbox's preview token: open the address that `sandbox_status` or `ringfence preview \
             SANDBOX PORT` shows, or send the header X-Ringfence-Preview-Token",
        ),
        Turned::Unknown(text) => page(StatusCode::NOT_FOUND, &text),
        Turned::Gone(text) => page(StatusCode::GONE, &text),
        Turned::NotRunning(text) => page(StatusCode::SERVICE_UNAVAILABLE, &text),
        Turned::Nobody => page(
            StatusCode::BAD_GATEWAY,
            &format!(
                "nothing listens on port {port} in sandbox {sandbox}: start a server there that listens on 127.0.0.1, ::1 or \
                 all addresses"
            ),
        ),
        Turned::Busy => page(
            StatusCode::GATEWAY_TIMEOUT,
            &format!("the program that listens on port {port} in sandbox {sandbox} takes no connection"),
        ),
        Turned::TooMany => page(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests and streams are open at once; close some and try again",
        ),
        Turned::Failed => page(StatusCode::INTERNAL_SERVER_ERROR, "the visit failed; the daemon's log says why"),
    }
}

/// Why a program's answer could not be had.
pub(super) fn no_answer(error: &hyper::Error, address: &Address) -> Response {
    tracing::debug!(error = ?error, sandbox = %address.sandbox, port = address.port, "a program did not answer a visit");
    let why = if error.is_parse_too_large() {
        "answered with a head that is too long"
    } else if error.is_parse() || error.is_parse_status() {
        "answered something that is not HTTP/1.1"
    } else {
        "closed the connection without an answer"
    };
    page(StatusCode::BAD_GATEWAY, &format!("the program on port {} in sandbox {} {why}", address.port, address.sandbox))
}
