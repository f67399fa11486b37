//! Which answers may be kept, and for how long they are served without asking again (RFC 9111).

use hyper::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::ask::Wanted;

/// Longest time for which an answer is served without asking again.
const FRESH_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
/// How long a file of a package is served when the registry does not say. It never changes under its name, and whoever
/// installs it checks it against the digest in the index.
const FILE_MS: u64 = 30 * 24 * 3600 * 1000;
/// What the name of a package's file ends with, or of the metadata beside it (PEP 658).
const FILES: [&str; 6] = [".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".metadata"];

/// Headers of an answer that are kept. The rest is about one answer, or about who was answered.
const KEPT: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
    header::VARY,
    HeaderName::from_static("x-pypi-last-serial"),
];
/// Bytes of a header that is kept.
const HEADER_BYTES_MAX: usize = 2048;

/// What is kept of an answer's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) headers: HeaderMap,
    pub(crate) fresh_ms: u64,
}

/// Whether an answer may be kept. `index_ms` is for pages that do not say how long.
pub(crate) fn keep(
    wanted: &Wanted,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
    index_ms: u64,
) -> Option<Keep> {
    if status != StatusCode::OK || headers.contains_key(header::SET_COOKIE) {
        return None;
    }
    // It was asked without anything else that an answer could vary by.
    if words(headers, &header::VARY).any(|word| word == b"*") {
        return None;
    }
    let coding = |word: &[u8]| word == b"identity" || (wanted.gzip && word.eq_ignore_ascii_case(b"gzip"));
    if !words(headers, &header::CONTENT_ENCODING).all(coding) {
        return None;
    }
    let mut kept = HeaderMap::new();
    for name in &KEPT {
        for value in headers.get_all(name) {
            if value.len() > HEADER_BYTES_MAX || value.to_str().is_err() {
                return None;
            }
            kept.append(name, value.clone());
        }
    }
    Some(Keep { headers: kept, fresh_ms: fresh_ms(path, headers, index_ms)? })
}

/// For how long an answer with these headers is served, also one that says that nothing changed; none when it may not be kept.
pub(crate) fn fresh_ms(path: &str, headers: &HeaderMap, index_ms: u64) -> Option<u64> {
    let mut seconds = None;
    let mut shared = None;
    let mut asks_again = false;
    for word in words(headers, &header::CACHE_CONTROL) {
        let word = String::from_utf8_lossy(word).to_ascii_lowercase();
        let (name, value) = word.split_once('=').unwrap_or((&word, ""));
        // One that cannot be read is over at once.
        let number = || Some(value.trim_matches('"').parse::<u64>().unwrap_or(0));
        match name {
            "no-store" | "private" => return None,
            "no-cache" => asks_again = true,
            "max-age" => seconds = seconds.min(number()).or(number()),
            "s-maxage" => shared = shared.min(number()).or(number()),
            _ => {}
        }
    }
    if asks_again {
        return Some(0);
    }
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse::<u64>().ok()).unwrap_or(0);
    let said = shared.or(seconds).map(|seconds| seconds.saturating_sub(age).saturating_mul(1000));
    let fresh = match said {
        Some(ms) => ms,
        // A date that would have to be read. Registries say it in seconds.
        None if headers.contains_key(header::EXPIRES) || headers.contains_key(header::PRAGMA) => 0,
        None if FILES.iter().any(|end| path.ends_with(end)) => FILE_MS,
        None => index_ms,
    };
    Some(fresh.min(FRESH_MS_MAX))
}

/// By what the registry recognises what was kept.
pub(crate) fn conditions(kept: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)];
    pairs.into_iter().filter_map(|(is, asks)| Some((asks, kept.get(is)?.clone()))).collect()
}

/// Whether the client has what was kept already.
pub(crate) fn client_has_it(wanted: &Wanted, kept: &HeaderMap) -> bool {
    let strong = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    match (&wanted.if_none_match, kept.get(header::ETAG)) {
        (Some(asked), Some(tag)) => strong(asked.as_bytes()) == strong(tag.as_bytes()),
        _ => false,
    }
}

fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).iter();
    let words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    words.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, headers: &[(&str, &str)], fresh_ms: Option<u64>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        let wanted =
            Wanted { key: String::new(), headers: HeaderMap::new(), gzip: true, if_none_match: None, reload: false };
        let kept = keep(&wanted, path, StatusCode::OK, &map, 600_000);
        assert_eq!(kept.map(|kept| kept.fresh_ms), fresh_ms, "{path} {headers:?}");
        assert_eq!(keep(&wanted, path, StatusCode::NOT_FOUND, &map, 600_000), None);
        assert_eq!(keep(&wanted, path, StatusCode::PARTIAL_CONTENT, &map, 600_000), None);
    }

    #[test]
    fn what_the_registry_says_counts() {
        let cc = |text| ("cache-control", text);
        check("/simple/six/", &[cc("max-age=600, public")], Some(600_000));
        check("/simple/six/", &[cc("max-age=600"), ("age", "100")], Some(500_000));
        check("/simple/six/", &[cc("max-age=600"), ("age", "1000")], Some(0));
        check("/simple/six/", &[cc("max-age=600, s-maxage=60")], Some(60_000));
        check("/simple/six/", &[cc("max-age=600, max-age=1")], Some(1000));
        check("/simple/six/", &[cc("max-age=600"), cc("max-age=oops")], Some(0));
        check("/simple/six/", &[cc("No-Store")], None);
        check("/simple/six/", &[cc("max-age=600, private")], None);
        check("/simple/six/", &[cc("max-age=600, no-cache")], Some(0));
        check("/simple/six/", &[("expires", "Thu, 01 Jan 1970 00:00:00 GMT")], Some(0));
        check("/simple/six/", &[cc("max-age=99999999999999999999")], Some(0));
        check("/packages/a/six.whl", &[cc("max-age=365000000, immutable, public")], Some(FRESH_MS_MAX));
        check("/simple/six/", &[], Some(600_000));
        check("/packages/a/six.whl", &[], Some(FILE_MS));
        check("/react/-/react-19.0.0.tgz", &[], Some(FILE_MS));
        check("/simple/six/", &[("set-cookie", "a=b")], None);
        check("/simple/six/", &[("vary", "*")], None);
        check("/simple/six/", &[("vary", "Accept, Accept-Encoding, Origin")], Some(600_000));
        check("/simple/six/", &[("content-encoding", "gzip")], Some(600_000));
        check("/simple/six/", &[("content-encoding", "br")], None);
    }
}
