//! Why a request with a placeholder is not sent.

use std::fmt;

use hyper::http::HeaderName;

/// Where in a request something was seen. Holds nothing that a sandbox wrote beyond the name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The method.
    Method,
    /// The name of the host.
    Host,
    /// User information before the host (`user@host`).
    UserInfo,
    /// The path.
    Path,
    /// The query.
    Query,
    /// The name of a header.
    HeaderName,
    /// The value of this header.
    Header(HeaderName),
    /// A cookie.
    Cookie,
    /// The values of several headers, put together.
    Headers,
    /// The body.
    Body,
    /// A message of a websocket.
    Frame,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "the method",
            Self::Host => "the host name",
            Self::UserInfo => "the user information of the address",
            Self::Path => "the path",
            Self::Query => "the query",
            Self::HeaderName => "the name of a header",
            Self::Header(name) => return write!(f, "the header `{name}`"),
            Self::Cookie => "a cookie",
            Self::Headers => "the headers, split over several",
            Self::Body => "the body",
            Self::Frame => "a websocket message",
        })
    }
}

/// Why a request is not sent. Names the secret; shows neither value nor placeholder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It stands where it is not replaced.
    #[error("the placeholder of secret `{secret}` stands in {place}, where it is not bound to be")]
    Misplaced {
        /// The secret.
        secret: String,
        /// Where.
        place: Place,
    },
    /// The place is right, the host or port is not.
    #[error("secret `{secret}` is not bound to {host}:{port} (its placeholder stands in {place})")]
    Elsewhere {
        /// The secret.
        secret: String,
        /// Where in the request.
        place: Place,
        /// Where the request was to go.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The connection is not encrypted.
    #[error("secret `{secret}` is not sent without TLS")]
    Cleartext {
        /// The secret.
        secret: String,
    },
    /// It was revoked.
    #[error("secret `{secret}` was revoked")]
    Revoked {
        /// The secret.
        secret: String,
    },
    /// The same header or field stands there more than once, and peers differ in which one counts.
    #[error("{place} carries secret `{secret}` and more than one value")]
    Ambiguous {
        /// The secret.
        secret: String,
        /// Where.
        place: Place,
    },
    /// `Connection` asks the next hop to drop the header that carries it (RFC 9110, section 7.6.1).
    #[error("`Connection` names the header `{header}`, which carries secret `{secret}`")]
    HopByHop {
        /// The secret.
        secret: String,
        /// The header.
        header: HeaderName,
    },
    /// The value has characters that this place cannot hold.
    #[error("the value of secret `{secret}` cannot stand in {place}")]
    Unusable {
        /// The secret.
        secret: String,
        /// Where.
        place: Place,
    },
    /// The body is compressed, so that it cannot be searched for placeholders.
    #[error("the body of the request is compressed (`Content-Encoding`), and cannot be searched for placeholders")]
    EncodedBody,
    /// A message that holds a placeholder is too long to be taken apart.
    #[error("the websocket message with the placeholder of secret `{secret}` is longer than {bytes_max} bytes")]
    FrameTooLong {
        /// The secret.
        secret: String,
        /// The most that is read.
        bytes_max: usize,
    },
    /// A message that holds a placeholder is neither JSON nor MessagePack.
    #[error("the websocket message with the placeholder of secret `{secret}` is neither JSON nor MessagePack")]
    FrameUnreadable {
        /// The secret.
        secret: String,
    },
}

impl Refusal {
    /// The secret that it is about, for records.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Misplaced { secret, .. }
            | Self::Elsewhere { secret, .. }
            | Self::Cleartext { secret }
            | Self::Revoked { secret }
            | Self::Ambiguous { secret, .. }
            | Self::HopByHop { secret, .. }
            | Self::Unusable { secret, .. }
            | Self::FrameTooLong { secret, .. }
            | Self::FrameUnreadable { secret } => Some(secret),
            Self::EncodedBody => None,
        }
    }

    /// Whether a placeholder was somewhere it never belongs, which a policy may answer by pausing the sandbox.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        matches!(self, Self::Misplaced { .. } | Self::Elsewhere { .. } | Self::HopByHop { .. })
    }
}
