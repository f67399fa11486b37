//! Who may come in: the access token, the names by which a browser may know us, and on whose behalf a request is made.

use std::hint::black_box;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ringfence_model::{ApiError, Code, api::Actor};

use crate::{
    ACTOR_HEADER, BUILD_HEADER,
    parse::invalid,
    rest::{Refused, unauthorised},
};

/// The secret that a caller over TCP presents. It cannot be printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token; at least 16 visible ASCII characters.
    ///
    /// # Errors
    /// A sentence, when it is shorter or has other characters.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.len() < 16 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a token has at least 16 visible ASCII characters");
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether `offered` is this token. Takes as long for a wrong one as for the right one of the same length.
    pub(crate) fn is(&self, offered: &[u8]) -> bool {
        let ours = self.0.as_bytes();
        let differing = ours.iter().zip(offered).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
        ours.len() == offered.len() && differing == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Over TCP: Host and Origin are this machine's, the token is right. Whoever comes this way is an agent.
pub(crate) async fn tcp(State(token): State<Token>, mut request: Request, next: Next) -> Response {
    // Host first: a page that was rebound to this address learns nothing, not even that a token is wanted.
    if let Err(error) = check_names(request.uri(), request.headers()) {
        return Refused(error).into_response();
    }
    if !bearer(request.headers()).is_some_and(|offered| token.is(offered)) {
        return unauthorised();
    }
    request.extensions_mut().insert(Actor::Agent);
    next.run(request).await
}

/// Over the Unix socket: the peer was checked when it connected. It is the operator unless it says otherwise.
pub(crate) async fn unix(mut request: Request, next: Next) -> Response {
    let actor = match request.headers().get(ACTOR_HEADER).map(HeaderValue::as_bytes) {
        None | Some(b"operator") => Actor::Operator,
        Some(b"agent") => Actor::Agent,
        Some(_) => {
            return Refused(invalid(format!("header {ACTOR_HEADER} must be `operator` or `agent`"))).into_response();
        }
    };
    request.extensions_mut().insert(actor);
    next.run(request).await
}

/// Outermost: every answer says which build gave it.
pub(crate) async fn build(State(build): State<HeaderValue>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(BUILD_HEADER, build);
    response
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn check_names(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let refused =
        |what: &str| ApiError::new(Code::PermissionDenied, format!("{what} must be localhost, 127.0.0.1 or [::1]"));
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), uri.authority()) {
        (Some(host), _) => host.to_str().ok(),
        (None, Some(authority)) => Some(authority.as_str()),
        (None, None) => None,
    };
    if hosts.next().is_some() || !host.is_some_and(is_local) {
        return Err(refused("Host"));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let host = origin.to_str().ok().and_then(|o| o.strip_prefix("http://").or_else(|| o.strip_prefix("https://")));
        if !host.is_some_and(is_local) {
            return Err(refused("Origin"));
        }
    }
    Ok(())
}

/// Whether this is a name of this machine, with any port or none.
pub(crate) fn is_local(authority: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].into_iter().any(|name| {
        let Some((host, rest)) = authority.split_at_checked(name.len()) else { return false };
        let port = |text: &str| !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
        host.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for name in ["localhost", "LOCALHOST:7433", "127.0.0.1:7433", "[::1]", "[::1]:1"] {
            assert!(is_local(name), "{name}");
        }
        for name in [
            "",
            "localhost.evil.com",
            "localhost:",
            "localhost:7433/x",
            "localhost:123456",
            "127.0.0.2",
            "evil.com",
            "::1",
        ] {
            assert!(!is_local(name), "{name}");
        }
    }

    #[test]
    fn a_token_is_itself_alone() {
        let token = Token::new("0123456789abcdef\n").expect("long enough");
        assert!(token.is(b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcde", b"0123456789abcdefg", b"0123456789abcdeF"] {
            assert!(!token.is(other));
        }
        assert!(Token::new("short").is_err());
        assert_eq!(format!("{token:?}"), "Token");
    }
}
