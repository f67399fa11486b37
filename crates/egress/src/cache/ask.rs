//! Which requests may be answered from the cache, and what of such a request goes out.

use hyper::http::request::Parts;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use ringfence_model::net::HostName;

/// Bytes of a path that is kept.
const PATH_BYTES_MAX: usize = 1024;

/// Headers with which a request is its sender's own: what is answered is nobody else's.
const PERSONAL: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
/// Headers with which a part is asked for: that is answered by the registry.
const PARTIAL: [HeaderName; 2] = [header::RANGE, header::IF_RANGE];
/// Headers that a request without a body has none of.
const OF_A_BODY: [HeaderName; 3] = [header::TRANSFER_ENCODING, header::CONTENT_ENCODING, header::UPGRADE];

/// Forms of one resource, by what clients of registries ask for. The first one that a client names is what is asked for, in
/// these words and no others.
const FORMS: [(&str, &str); 5] = [
    // PEP 691: pip and uv. The order of preference is pip's.
    (
        "application/vnd.pypi.simple.v1+json",
        "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
    ),
    // npm, which installs from the short form of a package's document.
    ("application/vnd.npm.install-v1+json", "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*"),
    ("application/json", "application/json"),
    ("text/html", "text/html"),
    ("*/*", "*/*"),
];

/// A request that may be answered from the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Everything that decides about the answer: two requests with one key are one request.
    pub(crate) key: String,
    /// What the request has of headers upstream, but for `Host` and conditions.
    pub(crate) headers: HeaderMap,
    /// Whether the client reads gzip.
    pub(crate) gzip: bool,
    /// The client has a copy of this tag.
    pub(crate) if_none_match: Option<HeaderValue>,
    /// The client does not want what was kept.
    pub(crate) reload: bool,
}

/// Reads a request of a TLS connection that was verified for `host`; none when it is not for the cache.
pub(crate) fn read(host: &HostName, port: u16, parts: &Parts, has_body: bool) -> Option<Wanted> {
    if parts.method != Method::GET || has_body {
        return None;
    }
    let has = |names: &[HeaderName]| names.iter().any(|name| parts.headers.contains_key(name));
    if has(&PERSONAL) || has(&PARTIAL) || has(&OF_A_BODY) {
        return None;
    }
    // Neither pip nor npm asks for packages with a query; whatever has one is somebody's own.
    if parts.uri.query().is_some() || parts.uri.path().len() > PATH_BYTES_MAX {
        return None;
    }
    let form = form(&parts.headers)?;
    let gzip = reads_gzip(&parts.headers);
    let coding = if gzip { "gzip" } else { "identity" };
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(form));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(coding));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("ringfence/", env!("CARGO_PKG_VERSION"))));
    let mut if_none_match = parts.headers.get_all(header::IF_NONE_MATCH).iter();
    Some(Wanted {
        // None of the parts has a line feed in it.
        key: format!("GET\nhttps\n{host}\n{port}\n{}\n{form}\n{coding}", parts.uri.path()),
        headers,
        gzip,
        if_none_match: if_none_match.next().filter(|_| if_none_match.next().is_none()).cloned(),
        reload: reloads(&parts.headers),
    })
}

/// In which words a form is asked for; none for a form that no client of a registry wants.
fn form(headers: &HeaderMap) -> Option<&'static str> {
    let mut named = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        for one in value.to_str().ok()?.split(',') {
            let mut parts = one.split(';').map(str::trim);
            let name = parts.next()?.to_ascii_lowercase();
            // `q=0` says that it is not wanted.
            if !parts.any(|part| matches!(part.replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                named.push(name);
            }
        }
    }
    if !headers.contains_key(header::ACCEPT) {
        named.push("*/*".to_owned());
    }
    FORMS.iter().find(|(name, _)| named.iter().any(|named| named == name)).map(|(_, words)| *words)
}

fn reads_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    // With a weight it may be one that is not wanted; then it is not used, which is always right.
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"gzip"))
}

/// `no-cache` is honoured. `max-age=0` is not: pip sends it with each index page, and the caches in front of pypi.org do not
/// heed it either.
fn reloads(headers: &HeaderMap) -> bool {
    let said = headers.get_all(header::CACHE_CONTROL).iter().chain(headers.get_all(header::PRAGMA));
    let mut said = said.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    said.any(|word| {
        let word = word.trim_ascii();
        word.eq_ignore_ascii_case(b"no-cache") || word.eq_ignore_ascii_case(b"no-store")
    })
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn wanted(headers: &[(&str, &str)], target: &str) -> Option<Wanted> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        read(&HostName::parse("pypi.org").expect("a name"), 443, &parts, false)
    }

    #[test]
    fn nothing_goes_out_that_is_not_in_the_key() {
        let pip = ("accept", "application/vnd.pypi.simple.v1+json, text/html; q=0.01");
        let plain = wanted(&[pip], "/simple/six/").expect("it may be answered");
        let dressed = [
            pip,
            ("x-forwarded-host", "evil.test"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/simple/evil/"),
            ("user-agent", "evil"),
            ("accept-language", "tlh"),
            ("origin", "https://evil.test"),
            ("referer", "https://evil.test"),
            ("connection", "accept"),
            ("forwarded", "host=evil.test"),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("cache-control", "max-age=0"),
        ];
        assert_eq!(wanted(&dressed, "/simple/six/"), Some(plain.clone()));
        let names: Vec<_> = plain.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["accept", "accept-encoding", "user-agent"]);
        // What makes another answer makes another key.
        for (headers, target) in [
            (&[pip, ("accept-encoding", "gzip")][..], "/simple/six/"),
            (&[("accept", "text/html")], "/simple/six/"),
            (&[pip], "/simple/six"),
            (&[pip], "/simple/%73ix/"),
            (&[pip], "//simple/six/"),
        ] {
            assert_ne!(wanted(headers, target).expect("it may be answered").key, plain.key, "{headers:?} {target}");
        }
    }

    #[test]
    fn what_is_somebodys_own_is_not_for_the_cache() {
        for headers in [
            &[("authorization", "Basic dTpw")][..],
            &[("cookie", "session=1")],
            &[("range", "bytes=0-9")],
            &[("transfer-encoding", "chunked")],
            &[("accept", "image/png")],
            &[("accept", "application/json;q=0")],
            &[("accept", "text/html\u{e9}")],
        ] {
            assert_eq!(wanted(headers, "/simple/six/"), None, "{headers:?}");
        }
        assert_eq!(wanted(&[], "/simple/six/?a=b"), None);
        assert_eq!(wanted(&[], "/simple/six/?"), None);
        let (parts, ()) = Request::head("/simple/six/").body(()).expect("a request").into_parts();
        let host = HostName::parse("pypi.org").expect("a name");
        assert_eq!(read(&host, 443, &parts, false), None);
        let (parts, ()) = Request::get("/simple/six/").body(()).expect("a request").into_parts();
        assert_eq!(read(&host, 443, &parts, true), None);
        assert!(read(&host, 443, &parts, false).is_some_and(|wanted| !wanted.reload && !wanted.gzip));
    }
}
