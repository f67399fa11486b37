//! Who may come in: the access token, the names by which a browser may know us, and on whose behalf a request is made.

mod rate;

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ringfence_model::{ApiError, Caller, Code, Project, Role};
use serde_json::json;

use crate::{
    ACTOR_HEADER, BUILD_HEADER, PROJECT_HEADER,
    parse::invalid,
    rest::{ErrorBody, Refused, unauthorised},
    services::Services,
};
pub(crate) use rate::{Limiter, Rate};
use rate::{TOKEN_RATE, WRONG_RATE};

/// Where a client reads how this API is entered, RFC 9728.
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";
/// Longest secret that is looked up.
const SECRET_BYTES_MAX: usize = 256;
/// The bucket of the installation's own token. No id of a token has this form.
const OWN: &str = "the installation's";
/// The bucket of wrong tokens.
const WRONG: &str = "wrong";

/// What a guard knows.
#[derive(Clone)]
pub(crate) struct Door {
    own: Option<Token>,
    services: Services,
    limiter: Arc<Limiter>,
}

impl Door {
    /// A door that the services' tokens open, and the installation's own if there is one.
    pub(crate) fn new(services: Services, own: Option<Token>) -> Self {
        Self { own, services, limiter: Arc::default() }
    }

    /// Who comes with that token.
    async fn caller(&self, offered: &[u8], uri: &Uri, headers: &HeaderMap) -> Result<Caller, Response> {
        let caller = if self.own.as_ref().is_some_and(|own| own.is(offered)) {
            Some(Caller::agent(Project::default()))
        } else if offered.len() > SECRET_BYTES_MAX {
            None
        } else {
            self.services.caller(offered.to_vec()).await.map_err(|error| Refused(error).into_response())?
        };
        let Some(caller) = caller else {
            // Who has a right one is never kept out by those who try wrong ones.
            self.limiter.take(WRONG, WRONG_RATE, Instant::now()).map_err(|wait| too_often(TOO_OFTEN, wait))?;
            return Err(challenge(uri, headers));
        };
        let bucket = caller.token.as_deref().unwrap_or(OWN);
        self.limiter.take(bucket, TOKEN_RATE, Instant::now()).map_err(|wait| too_often(TOO_OFTEN, wait))?;
        narrowed(caller, headers).map_err(|error| Refused(error).into_response())
    }
}

/// 401 that says where to read on.
fn challenge(uri: &Uri, headers: &HeaderMap) -> Response {
    let mut response = unauthorised();
    let value = format!("Bearer resource_metadata=\"{}{RESOURCE_METADATA}\"", origin(uri, headers));
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

/// What has come too often, where a token is asked for.
const TOO_OFTEN: &str = "too many requests came with this token, or with wrong ones";

/// 429 with the time after which it may be tried again.
pub(crate) fn too_often(what: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let message = format!("{what}; try again in {seconds} s");
    let error = ApiError::new(Code::QuotaExceeded, message);
    let mut response = (StatusCode::TOO_MANY_REQUESTS, Json(ErrorBody { error })).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The scheme, host and port by which the client reached us; the host is one of this machine's names, or nobody came so far.
fn origin(uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    format!("http://{}", host.or(uri.authority().map(|a| a.as_str())).unwrap_or("localhost"))
}

/// The caller, limited to the project that the request names. A token of a project is not widened by it.
fn narrowed(caller: Caller, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let Some(named) = headers.get(PROJECT_HEADER) else { return Ok(caller) };
    let text = named.to_str().map_err(|_| invalid(format!("header {PROJECT_HEADER} is no text")))?;
    let project = Project::parse(text)?;
    if caller.project.as_ref().is_some_and(|own| *own != project) {
        let text = format!("header {PROJECT_HEADER} names another project than the one that you are of; leave it out");
        return Err(ApiError::new(Code::PermissionDenied, text));
    }
    Ok(Caller { project: Some(project), ..caller })
}

fn let_in(caller: Caller, request: &mut Request) {
    request.extensions_mut().insert(caller.role.actor());
    request.extensions_mut().insert(caller);
}

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

/// Over TCP: Host and Origin are this machine's, the token is right. Nothing but the header is looked at: a cookie lets nobody in,
/// so that no page can make a browser ask for its visitor.
pub(crate) async fn tcp(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    // Host first: a page that was rebound to this address learns nothing, not even that a token is wanted.
    if let Err(error) = check_names(request.uri(), request.headers()) {
        return Refused(error).into_response();
    }
    let path = request.uri().path();
    if path == RESOURCE_METADATA || path.strip_prefix(RESOURCE_METADATA) == Some("/mcp") {
        let origin = origin(request.uri(), request.headers());
        return Json(json!({
            "resource": format!("{origin}/mcp"), "bearer_methods_supported": ["header"], "resource_name": "ringfence",
        }))
        .into_response();
    }
    let Some(offered) = bearer(request.headers()).map(<[u8]>::to_vec) else {
        return challenge(request.uri(), request.headers());
    };
    match door.caller(&offered, request.uri(), request.headers()).await {
        Ok(caller) => let_in(caller, &mut request),
        Err(refused) => return refused,
    }
    next.run(request).await
}

/// Over the Unix socket: the peer was checked when it connected. It is the operator unless it says otherwise, or comes with a token,
/// which then says who it is.
pub(crate) async fn unix(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if let Some(offered) = bearer(request.headers()).map(<[u8]>::to_vec) {
        match door.caller(&offered, request.uri(), request.headers()).await {
            Ok(caller) => let_in(caller, &mut request),
            Err(refused) => return refused,
        }
        return next.run(request).await;
    }
    let caller = match request.headers().get(ACTOR_HEADER).map(HeaderValue::as_bytes) {
        None | Some(b"operator") => Caller::operator(),
        Some(b"agent") => Caller { project: None, ..Caller::agent(Project::default()) },
        Some(_) => {
            return Refused(invalid(format!("header {ACTOR_HEADER} must be `operator` or `agent`"))).into_response();
        }
    };
    match narrowed(caller, request.headers()) {
        // Only an operator is of no project.
        Ok(caller) if caller.role == Role::Operator => let_in(caller, &mut request),
        Ok(caller) => let_in(Caller { project: Some(caller.makes_for()), ..caller }, &mut request),
        Err(error) => return Refused(error).into_response(),
    }
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

pub(crate) fn check_names(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let refused =
        |what: &str| ApiError::new(Code::PermissionDenied, format!("{what} must be localhost, 127.0.0.1 or [::1]"));
    if !is_to_us(uri, headers) {
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

/// Whether a request names this machine alone as the one that it is to.
pub(crate) fn is_to_us(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), uri.authority()) {
        (Some(host), _) => host.to_str().ok(),
        (None, Some(authority)) => Some(authority.as_str()),
        (None, None) => None,
    };
    hosts.next().is_none() && host.is_some_and(is_local)
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
