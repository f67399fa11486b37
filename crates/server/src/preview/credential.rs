//! What a visitor shows to be let in. It is taken out of the request before that goes on.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts, uri::PathAndQuery};
use ringfence_engine::previews::TOKEN_FIELD;

use super::address::{Address, Form};

/// The header with a token.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-ringfence-preview-token");

/// The cookie with a token.
pub(super) const COOKIE: &str = "ringfence_preview";

/// Tokens that are looked at.
const TOKENS_MAX: usize = 8;

/// Where a token stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Bearer,
    Query,
    /// The only one that a browser sends by itself.
    Cookie,
}

/// What was offered, what a visitor means to show before what a browser sends by itself.
#[derive(Debug, Default)]
pub(super) struct Offered {
    tokens: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
}

impl Offered {
    fn push(&mut self, kind: Kind, token: &[u8]) {
        if self.tokens.len() < TOKENS_MAX {
            self.tokens.push(token.to_vec());
            self.kinds.push(kind);
        }
    }

    pub(super) fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    pub(super) fn kind(&self, index: usize) -> Option<Kind> {
        self.kinds.get(index).copied()
    }

    /// A token that was found to be the right one.
    pub(super) fn text(&self, index: Option<usize>) -> &str {
        index
            .and_then(|index| self.tokens.get(index))
            .and_then(|token| std::str::from_utf8(token).ok())
            .unwrap_or_default()
    }
}

/// The tokens of all `Authorization: Bearer`.
pub(super) fn bearers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    })
}

/// Takes what is offered out of header, cookies and query. A bearer stays until it is known whose it is: the program may
/// have its own. Below the path all cookies go, for there they are the daemon's and other sandboxes'.
pub(super) fn take(parts: &mut Parts, address: &Address) -> Offered {
    let mut offered = Offered::default();
    for value in parts.headers.get_all(&TOKEN_HEADER) {
        offered.push(Kind::Header, value.as_bytes().trim_ascii());
    }
    parts.headers.remove(&TOKEN_HEADER);
    for token in bearers(&parts.headers) {
        offered.push(Kind::Bearer, token);
    }
    let (query, tokens) = without_token(parts.uri.query());
    for token in &tokens {
        offered.push(Kind::Query, token.as_bytes());
    }
    if !tokens.is_empty() {
        parts.uri = with_query(&parts.uri, query.as_deref());
    }
    let mut others = Vec::new();
    for value in parts.headers.get_all(header::COOKIE) {
        for pair in value.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
            match pair.strip_prefix(COOKIE.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
                Some(token) => offered.push(Kind::Cookie, token),
                None => others.push(pair),
            }
        }
    }
    let kept = HeaderValue::from_bytes(&others.join(&b"; "[..])).ok();
    parts.headers.remove(header::COOKIE);
    if let Some(kept) = kept.filter(|kept| !kept.is_empty() && address.form == Form::Name) {
        parts.headers.insert(header::COOKIE, kept);
    }
    // A browser that was not told better says whence it comes.
    let names_token = |value: &HeaderValue| {
        value.as_bytes().windows(TOKEN_FIELD.len()).any(|window| window == TOKEN_FIELD.as_bytes())
    };
    if parts.headers.get_all(header::REFERER).iter().any(names_token) {
        parts.headers.remove(header::REFERER);
    }
    offered
}

/// The query without the field of the token, and what stood in it.
fn without_token(query: Option<&str>) -> (Option<String>, Vec<&str>) {
    let mut tokens = Vec::new();
    let mut others = Vec::new();
    for field in query.unwrap_or_default().split('&') {
        match field.strip_prefix(TOKEN_FIELD).and_then(|rest| rest.strip_prefix('=')) {
            Some(token) => tokens.push(token),
            None => others.push(field),
        }
    }
    let others = others.join("&");
    ((!others.is_empty()).then_some(others), tokens)
}

fn with_query(uri: &Uri, query: Option<&str>) -> Uri {
    let target = match query {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from_static("/"))
}

fn field(headers: &HeaderMap, name: &'static str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_ascii_lowercase)
}

/// Whether a browser wants to show the answer as a page.
pub(super) fn is_navigation(parts: &Parts) -> bool {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return false;
    }
    match field(&parts.headers, "sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => field(&parts.headers, "accept").is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Whether it was the preview's own page, or the visitor, who asked: a cookie comes with what other pages ask for, too, where
/// a browser does not keep it back. Below the path nobody can tell pages apart, so only what changes nothing is answered.
pub(super) fn is_own_wish(parts: &Parts, address: &Address) -> bool {
    let site = field(&parts.headers, "sec-fetch-site");
    if site.as_deref() == Some("cross-site") && !is_navigation(parts) {
        return false;
    }
    let mut origins = parts.headers.get_all(header::ORIGIN).iter();
    match address.form {
        Form::Path => origins.next().is_none() && matches!(parts.method, Method::GET | Method::HEAD),
        Form::Name => origins.all(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            host.is_some_and(|host| host.eq_ignore_ascii_case(&address.host))
        }),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use ringfence_model::SandboxId;

    use super::*;

    fn address(form: Form) -> Address {
        let sandbox = SandboxId::parse("ihhhhhhhhhhhhhhhhhhhh").expect("an id");
        Address { sandbox, port: 8000, form, host: "8000-ihhhhhhhhhhhhhhhhhhhh.localhost:7433".into() }
    }

    fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers.iter().fold(Request::builder().method(method).uri(target), |r, (n, v)| r.header(*n, *v));
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn what_lets_in_goes_no_further() {
        let mut parts = parts(
            "GET",
            "/a?x=1&ringfence_token=q&y=2",
            &[
                ("cookie", "a=1; ringfence_preview=c1; b=2"),
                ("cookie", "ringfence_preview=c2;ringfence_previews=3"),
                ("x-ringfence-preview-token", "h"),
                ("authorization", "bearer b"),
                ("referer", "http://x/?ringfence_token=q"),
            ],
        );
        let offered = take(&mut parts, &address(Form::Name));
        let shown: Vec<_> = offered.tokens.iter().map(|t| String::from_utf8_lossy(t).into_owned()).collect();
        assert_eq!(shown, ["h", "b", "q", "c1", "c2"]);
        assert_eq!(parts.uri, "/a?x=1&y=2");
        assert_eq!(parts.headers[header::COOKIE], "a=1; b=2; ringfence_previews=3");
        assert_eq!(parts.headers.len(), 2, "{:?}", parts.headers);
        assert_eq!(offered.kind(1), Some(Kind::Bearer));
    }

    #[test]
    fn below_the_path_no_cookie_goes_on() {
        let mut parts = parts("GET", "/?ringfence_token=q", &[("cookie", "dashboard=secret; ringfence_preview=c")]);
        assert_eq!(take(&mut parts, &address(Form::Path)).tokens.len(), 2);
        assert!(parts.headers.is_empty(), "{:?}", parts.headers);
        assert_eq!(parts.uri, "/");
    }

    #[test]
    fn a_cookie_serves_the_previews_own_pages() {
        #[track_caller]
        fn check(form: Form, method: &str, headers: &[(&str, &str)], is_own: bool) {
            assert_eq!(is_own_wish(&parts(method, "/", headers), &address(form)), is_own, "{headers:?}");
        }
        let own = ("origin", "http://8000-ihhhhhhhhhhhhhhhhhhhh.localhost:7433");
        check(Form::Name, "POST", &[own], true);
        check(Form::Name, "GET", &[], true);
        check(Form::Name, "GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], true);
        check(Form::Name, "GET", &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], false);
        for origin in
            ["http://8000-ibbbbbbbbbbbbbbbbbbbb.localhost:7433", "null", "http://evil.com", "http://localhost:7433"]
        {
            check(Form::Name, "GET", &[("origin", origin)], false);
        }
        check(Form::Name, "POST", &[own, ("origin", "http://evil.com")], false);
        check(Form::Path, "GET", &[], true);
        check(Form::Path, "GET", &[("origin", "null")], false);
        check(Form::Path, "POST", &[], false);
    }
}
