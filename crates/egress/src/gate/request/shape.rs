//! The form of a request: for whom it is, whether it has one reading, and what of its head goes no further than one hop.

use std::net::SocketAddr;

use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header, response};
use ringfence_model::net::{DenialReason, Destination, HostName, Protocol};

use crate::gate::record::About;

/// Headers that are about one hop (RFC 9110 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// For whom a request is.
#[derive(Debug, Clone)]
pub(in crate::gate) struct Asked {
    /// The host; none when it is named by its address, which the policy `open` alone lets through.
    pub(in crate::gate) host: Option<HostName>,
    pub(in crate::gate) method: String,
    pub(in crate::gate) path: String,
    /// It wants to go on as a websocket.
    pub(in crate::gate) websocket: bool,
}

impl Asked {
    pub(in crate::gate) fn about(&self, to: SocketAddr) -> About<'_> {
        let request = Some((self.method.as_str(), self.path.as_str()));
        About { protocol: Protocol::Http, host: self.host.as_ref(), to: Some(to), request }
    }
}

/// Reads for whom it is: `name` is that of the TLS connection that it came by, if it came by one.
pub(super) fn read(parts: &Parts, name: Option<&HostName>, port: u16) -> Result<Asked, DenialReason> {
    if parts.method == Method::CONNECT {
        return Err(DenialReason::MethodNotAllowed);
    }
    // The form of CONNECT alone (RFC 9112 3.2.3): it has no path that could be judged.
    if parts.uri.authority().is_some() && parts.uri.scheme().is_none() {
        return Err(DenialReason::Malformed);
    }
    framing(&parts.headers)?;
    let mut named = Vec::new();
    if let Some(authority) = parts.uri.authority() {
        named.push(authority.as_str().as_bytes());
    }
    let hosts = parts.headers.get_all(header::HOST);
    if hosts.iter().count() > 1 {
        return Err(DenialReason::Malformed);
    }
    named.extend(hosts.iter().map(HeaderValue::as_bytes));
    let mut named = named.into_iter().map(|text| read_host(text, port));
    let host = named.next().ok_or(DenialReason::Malformed)??;
    for other in named {
        if other? != host {
            return Err(DenialReason::HostMismatch);
        }
    }
    let host = match host {
        Destination::Name(host) => Some(host),
        Destination::Address(_) => None,
    };
    if name.is_some() && name != host.as_ref() {
        return Err(DenialReason::HostMismatch);
    }
    let scheme = if name.is_some() { "https" } else { "http" };
    if parts.uri.scheme_str().is_some_and(|asked| asked != scheme) {
        return Err(DenialReason::HostMismatch);
    }
    let websocket = upgrade(&parts.headers)?;
    // Only HTTP/1.1 changes its protocol like this.
    let websocket = websocket && parts.version == Version::HTTP_11 && parts.method == Method::GET;
    Ok(Asked { host, method: parts.method.to_string(), path: parts.uri.path().to_owned(), websocket })
}

/// `name`, `name:port`, or an address, without a user.
fn read_host(text: &[u8], port: u16) -> Result<Destination, DenialReason> {
    let text = std::str::from_utf8(text).map_err(|_| DenialReason::BadHost)?;
    if !text.is_ascii() {
        return Err(DenialReason::BadHost);
    }
    let (host, asked) = match text.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => (host, Some(digits)),
        _ => (text, None),
    };
    if let Some(digits) = asked {
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok()).flatten();
        if number != Some(port) {
            return Err(DenialReason::HostMismatch);
        }
    }
    Destination::parse(host).map_err(|_| DenialReason::BadHost)
}

/// Where the body ends must have one reading.
fn framing(headers: &HeaderMap) -> Result<(), DenialReason> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let chunked = coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    if !chunked || codings.next().is_some() || lengths > 1 || (coding.is_some() && lengths > 0) {
        return Err(DenialReason::Malformed);
    }
    Ok(())
}

/// Whether a websocket is wanted. HTTP/2 in the clear is refused, and every other wish is not passed on.
fn upgrade(headers: &HeaderMap) -> Result<bool, DenialReason> {
    let wishes = headers.get_all(header::UPGRADE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut websocket = false;
    for wish in wishes {
        match wish.trim_ascii() {
            wish if wish.eq_ignore_ascii_case(b"h2c") => return Err(DenialReason::NotInspectable),
            wish => websocket |= wish.eq_ignore_ascii_case(b"websocket"),
        }
    }
    Ok(websocket && connection_names(headers).any(|name| name.eq_ignore_ascii_case(b"upgrade")))
}

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let listed = headers.get_all(header::CONNECTION).iter();
    listed.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Takes away what is about this hop, and writes the host as it was judged. `Connection` stays until placeholders were looked
/// for: one in a header that it names is refused, and not dropped.
pub(super) fn strip(parts: &mut Parts, asked: &Asked, port: u16, secure: bool) {
    if let Some(host) = &asked.host {
        let usual = if secure { 443 } else { 80 };
        let text = if port == usual { host.to_string() } else { format!("{host}:{port}") };
        if let Ok(value) = HeaderValue::from_str(&text) {
            parts.headers.insert(header::HOST, value);
        }
    }
    // The body is read and sent on at once: nobody is left to be told to go on.
    parts.headers.remove(header::EXPECT);
    // Written anew: of `http://host#x` and `http://host?x` there would be no path left.
    let target = match (parts.uri.path(), parts.uri.query()) {
        (path, Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")),
        (path, None) => PathAndQuery::try_from(if path.is_empty() { "/" } else { path }),
    };
    parts.uri = target.map_or_else(|_| Uri::default(), Uri::from);
    parts.version = Version::HTTP_11;
}

/// Takes away every header that is about one hop.
pub(super) fn strip_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> =
        connection_names(headers).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in HOP_BY_HOP.iter().chain(&listed) {
        // `Connection: host` would take away what was judged.
        if *name != header::HOST {
            headers.remove(name);
        }
    }
}

/// Asks for a websocket, or says that it is one: without extensions, by which messages could not be read.
pub(super) fn keep_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
}

/// Takes away what the answer says about the hop that it came by.
pub(super) fn strip_answer(head: &mut response::Parts, version: Version) {
    strip_hop(&mut head.headers);
    // Another way to the host, around this gate or by UDP.
    head.headers.remove(header::ALT_SVC);
    head.version = version;
}

/// Whether a body is other than it is: in a coding, in one for its transfer, or a part.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter().chain(headers.get_all(header::TRANSFER_ENCODING));
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let plain =
        |coding: &[u8]| [&b""[..], b"identity", b"chunked"].iter().any(|plain| coding.eq_ignore_ascii_case(plain));
    !codings.all(|coding| plain(coding.trim_ascii())) || headers.contains_key(header::CONTENT_RANGE)
}

/// Whether a body is text, in which nothing says how long a part of it is. What does not say what it is, is taken for one.
pub(super) fn is_text(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = kind.as_bytes().to_ascii_lowercase();
    let texts = [&b"text"[..], b"json", b"xml", b"javascript", b"x-www-form-urlencoded"];
    texts.iter().any(|text| kind.windows(text.len()).any(|part| part == *text))
}
