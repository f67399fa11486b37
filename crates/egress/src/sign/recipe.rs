//! What is signed, how, and where the signature goes: one recipe per exchange, as data.

use hyper::http::HeaderName;

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

/// How a secret becomes the key of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// Its bytes are the key.
    Text,
    /// It is base64 of the key.
    Base64,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal in small letters.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Time or nonce, as it is sent.
    Stamp,
    /// The public name of the key.
    KeyId,
    /// The method, in capitals.
    Method,
    /// The path, without the query.
    Path,
    /// The query, without its question mark.
    Query,
    /// Path and query, as in the request line.
    Target,
    /// The body.
    Body,
    /// The query of a GET or DELETE, the body of anything else.
    QueryOrBody,
    /// A whole number that the client may choose in a header, sent in any case.
    Number {
        /// The header.
        header: HeaderName,
        /// What it is when the client sends none.
        default: u64,
        /// The most that a client may choose.
        max: u64,
    },
    /// Fixed text.
    Literal(String),
    /// The SHA-256 hash, as bytes, of other parts.
    Sha256(Vec<Piece>),
}

/// Where something goes in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// A header.
    Header(HeaderName),
    /// A field of the query. One that the client put into a form in the body stays there.
    Query(String),
    /// A field of the body, which is a form or a JSON object.
    Body(String),
}

/// What the stamp is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampForm {
    /// The time in milliseconds since 1970.
    Milliseconds,
    /// The time as `2020-12-08T09:08:57.715Z`.
    Iso8601,
    /// The next number of the key's nonces.
    Nonce,
}

/// How an exchange wants its requests signed by HMAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The hash.
    pub hash: Hash,
    /// The form of the key.
    pub key: KeyForm,
    /// What is signed: these parts, one after the other.
    pub message: Vec<Piece>,
    /// How the signature is written.
    pub encoding: Encoding,
    /// Where it goes. One in a query is its last field.
    pub signature: Slot,
    /// What the stamp is.
    pub stamp: StampForm,
    /// Where the stamp goes.
    pub stamp_slot: Slot,
    /// The header with the public name of the key.
    pub key_id: HeaderName,
}

impl Recipe {
    /// Binance: the query and the body, together without a separator, by HMAC-SHA256, as the last field of the query
    /// (developers.binance.com, "Request security").
    #[must_use]
    pub fn binance() -> Self {
        Self {
            hash: Hash::Sha256,
            key: KeyForm::Text,
            message: vec![Piece::Query, Piece::Body],
            encoding: Encoding::Hex,
            signature: Slot::Query("signature".into()),
            stamp: StampForm::Milliseconds,
            stamp_slot: Slot::Query("timestamp".into()),
            key_id: HeaderName::from_static("x-mbx-apikey"),
        }
    }

    /// Bybit v5: time, key, window, then query or body, by HMAC-SHA256
    /// (bybit-exchange.github.io/docs/v5/guide, "Authentication").
    #[must_use]
    pub fn bybit() -> Self {
        Self {
            hash: Hash::Sha256,
            key: KeyForm::Text,
            message: vec![
                Piece::Stamp,
                Piece::KeyId,
                Piece::Number { header: HeaderName::from_static("x-bapi-recv-window"), default: 5_000, max: 60_000 },
                Piece::QueryOrBody,
            ],
            encoding: Encoding::Hex,
            signature: Slot::Header(HeaderName::from_static("x-bapi-sign")),
            stamp: StampForm::Milliseconds,
            stamp_slot: Slot::Header(HeaderName::from_static("x-bapi-timestamp")),
            key_id: HeaderName::from_static("x-bapi-api-key"),
        }
    }

    /// OKX: time, method, path with query, body, by HMAC-SHA256 in base64 (www.okx.com/docs-v5, "REST authentication"). The
    /// passphrase of the key is a secret of its own, which is put into its header as it is.
    #[must_use]
    pub fn okx() -> Self {
        Self {
            hash: Hash::Sha256,
            key: KeyForm::Text,
            message: vec![Piece::Stamp, Piece::Method, Piece::Target, Piece::Body],
            encoding: Encoding::Base64,
            signature: Slot::Header(HeaderName::from_static("ok-access-sign")),
            stamp: StampForm::Iso8601,
            stamp_slot: Slot::Header(HeaderName::from_static("ok-access-timestamp")),
            key_id: HeaderName::from_static("ok-access-key"),
        }
    }

    /// Kraken: the path and the SHA-256 of nonce and body, by HMAC-SHA512 under the decoded secret, in base64
    /// (docs.kraken.com/api, "Spot REST authentication").
    #[must_use]
    pub fn kraken() -> Self {
        Self {
            hash: Hash::Sha512,
            key: KeyForm::Base64,
            message: vec![Piece::Path, Piece::Sha256(vec![Piece::Stamp, Piece::Body])],
            encoding: Encoding::Base64,
            signature: Slot::Header(HeaderName::from_static("api-sign")),
            stamp: StampForm::Nonce,
            stamp_slot: Slot::Body("nonce".into()),
            key_id: HeaderName::from_static("api-key"),
        }
    }
}
