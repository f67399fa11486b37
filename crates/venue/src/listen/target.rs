//! Which of Alpaca's hosts a request is for, and what it asks there.

use hyper::{Request, header};
use percent_encoding::percent_decode_str;

use crate::refusal::Refusal;

/// Which of the venue's faces a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// The Trading API.
    Trading,
    /// What no broker has.
    Control,
    /// The trade stream.
    TradeStream,
    /// Market data, and their stream.
    Data,
}

/// A request's target, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) face: Face,
    /// The path's parts below the face's prefix, decoded.
    pub(super) path: Vec<String>,
    /// Parameters, decoded.
    pub(super) query: Vec<(String, String)>,
}

/// Longest path and query, in bytes.
const TARGET_BYTES_MAX: usize = 16 << 10;

/// Most parameters.
const PARAMETERS_MAX: usize = 64;

impl Target {
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let uri = request.uri();
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().map_err(|_| Refusal::malformed("Host is malformed"))?,
            (None, _) => "",
            (Some(_), Some(_)) => return Err(Refusal::malformed("Host is there twice")),
        };
        Self::read(host, uri.path(), uri.query())
    }

    fn read(host: &str, path: &str, query: Option<&str>) -> Result<Self, Refusal> {
        if path.len() + query.map_or(0, str::len) > TARGET_BYTES_MAX {
            return Err(Refusal::new(414, 41_410_000, "request target is too long"));
        }
        // As alpaca-trade-api for Python writes it.
        let path = if path == "/stream/" { "/stream" } else { path };
        let path = parts(path)?;
        let host = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        let face = face(&path).ok_or_else(|| Refusal::not_found("endpoint not found"))?;
        // A page in a browser can make a name of its own lead here; none of ours has a dot but those below.
        let ours = host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()) || !host.contains('.');
        let allowed = match host.as_str() {
            "paper-api.alpaca.markets" | "api.alpaca.markets" => face != Face::Data,
            "data.alpaca.markets" | "data.sandbox.alpaca.markets" | "stream.data.alpaca.markets" => face == Face::Data,
            _ => ours,
        };
        if !allowed {
            return Err(Refusal::not_found("endpoint not found"));
        }
        let below = match face {
            Face::Trading => 1,
            Face::Control => 2,
            Face::TradeStream | Face::Data => 0,
        };
        let path = path.into_iter().skip(below).collect();
        Ok(Self { face, path, query: parameters(query.unwrap_or_default())? })
    }
}

fn face(path: &[String]) -> Option<Face> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    Some(match path.as_slice() {
        ["stream"] => Face::TradeStream,
        ["ringfence", "v1", ..] => Face::Control,
        ["v2", "stocks" | "iex" | "sip" | "test" | "boats" | "otc" | "delayed_sip" | "overnight", ..] => Face::Data,
        ["v1" | "v1beta1" | "v1beta2" | "v1beta3", ..] => Face::Data,
        ["v2", _, ..] => Face::Trading,
        _ => return None,
    })
}

/// The parts of a path. An empty part, one of dots, and a slash that is encoded are refused.
fn parts(path: &str) -> Result<Vec<String>, Refusal> {
    let not_found = || Refusal::not_found("endpoint not found");
    let rest = path.strip_prefix('/').ok_or_else(not_found)?;
    rest.split('/')
        .map(|part| {
            let decoded = decoded(part).ok_or_else(not_found)?;
            let odd = decoded.is_empty()
                || matches!(decoded.as_str(), "." | "..")
                || decoded.contains(|c: char| matches!(c, '/' | '\\') || c.is_control());
            if odd { Err(not_found()) } else { Ok(decoded) }
        })
        .collect()
}

/// A text without its percent signs. None when they are none of text.
fn decoded(text: &str) -> Option<String> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = &rest[at + 3..];
    }
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut found: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = |text: &str| {
            decoded(&text.replace('+', " ")).ok_or_else(|| Refusal::malformed("query string is malformed"))
        };
        let (name, value) = (read(name)?, read(value)?);
        if found.len() >= PARAMETERS_MAX {
            return Err(Refusal::malformed("query string has too many parameters"));
        }
        if found.iter().any(|(known, _)| *known == name) {
            return Err(Refusal::malformed("query string has the same parameter twice"));
        }
        found.push((name, value));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_in_one_way_or_refused() {
        let read = |host: &str, path: &str| Target::read(host, path, None).map(|t| (t.face, t.path.join("|")));
        for (host, path, face, parts) in [
            ("localhost:1", "/v2/orders", Face::Trading, "orders"),
            ("paper-api.alpaca.markets", "/v2/orders:by_client_order_id", Face::Trading, "orders:by_client_order_id"),
            ("PAPER-API.alpaca.markets:443", "/v2/positions/BRK.B", Face::Trading, "positions|BRK.B"),
            ("localhost", "/v2/watchlists%3Aby_name", Face::Trading, "watchlists:by_name"),
            ("localhost", "/stream", Face::TradeStream, "stream"),
            ("localhost", "/stream/", Face::TradeStream, "stream"),
            ("localhost", "/ringfence/v1/clock/step", Face::Control, "clock|step"),
            ("data.alpaca.markets", "/v2/stocks/AAPL/bars", Face::Data, "v2|stocks|AAPL|bars"),
        ] {
            assert_eq!(read(host, path), Ok((face, parts.to_owned())), "{host} {path}");
        }
        for (host, path) in [
            ("localhost", "/v2//orders"),
            ("localhost", "/v2/orders/"),
            ("localhost", "//v2/orders"),
            ("localhost", "/v2%2Forders"),
            ("localhost", "/v2/../v2/orders"),
            ("localhost", "/v2/%2e%2E/orders"),
            ("localhost", "/v2/orders%00"),
            ("localhost", "/v2/orders%5Cx"),
            ("localhost", "/v2/orders%zz"),
            ("localhost", "/v2/orders%2"),
            ("localhost", "/v2/orders%ff"),
            ("localhost", "*"),
            ("data.alpaca.markets", "/v2/orders"),
            ("data.alpaca.markets", "/ringfence/v1/clock"),
            ("paper-api.alpaca.markets", "/v2/stocks/bars"),
            ("localhost", "/v3/orders"),
            ("localhost", "/v2"),
            ("localhost", "/"),
            ("evil.example", "/v2/orders"),
            ("127.0.0.1.evil.example:7434", "/v2/orders"),
        ] {
            assert!(read(host, path).is_err(), "{host} {path}");
        }
    }

    #[test]
    fn a_parameter_is_there_once() {
        let read =
            |query: &str| parameters(query).map(|p| p.iter().map(|(a, b)| format!("{a}={b}")).collect::<Vec<_>>());
        assert_eq!(read("a=1&b=x%2Cy&c"), Ok(vec!["a=1".into(), "b=x,y".into(), "c=".into()]));
        assert_eq!(read("a=1+2"), Ok(vec!["a=1 2".into()]));
        for bad in ["a=1&a=2", "a=%", "a=%ff", "%61=1&a=2"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
