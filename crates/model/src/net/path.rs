//! Paths of requests in one spelling, and the patterns that rules hold against them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::excerpt;

/// Bytes of a request's path that a rule with paths judges.
pub const PATH_BYTES_MAX: usize = 8192;
/// Bytes of one path pattern.
pub const PATTERN_BYTES_MAX: usize = 512;

/// A request's path, decoded once, which no server can read as another one: a path that leaves room for that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath(String);

/// Why a request's path has no one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It does not begin with `/`.
    #[error("it does not begin with `/`")]
    NotAbsolute,
    /// More than [`PATH_BYTES_MAX`].
    #[error("it is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// A byte that must be percent-encoded, or must not be there at all, encoded or not.
    #[error("it contains a control character, a backslash, `#`, a space or a byte beyond ASCII")]
    Character,
    /// `%2f`, `%5c`
    #[error("it contains an encoded slash or backslash")]
    EncodedSlash,
    /// `%` without two hexadecimal digits.
    #[error("it contains a `%` that encodes nothing")]
    BadEncoding,
    /// `%252e`
    #[error("it is percent-encoded twice")]
    EncodedTwice,
    /// Decoded, it is not UTF-8.
    #[error("it does not decode to UTF-8")]
    NotUtf8,
    /// `.` or `..`, also as `..;x`, which some servers take for it.
    #[error("it contains a segment `.` or `..`")]
    DotSegment,
    /// `//`, which some servers take for `/`.
    #[error("it contains an empty segment")]
    EmptySegment,
}

impl CanonicalPath {
    /// Decodes the path of a request target in origin form; what follows the first `?` is not looked at.
    ///
    /// # Errors
    /// [`PathFault`] when the path could be read in two ways.
    pub fn parse(target: &str) -> Result<Self, PathFault> {
        let path = target.split('?').next().unwrap_or_default();
        if path.len() > PATH_BYTES_MAX {
            return Err(PathFault::TooLong);
        }
        if !path.starts_with('/') {
            return Err(PathFault::NotAbsolute);
        }
        let path = decode(path)?;
        let mut segments = path.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            if segment.is_empty() && segments.peek().is_some() {
                return Err(PathFault::EmptySegment);
            }
            if matches!(segment.split(';').next(), Some("." | "..")) {
                return Err(PathFault::DotSegment);
            }
        }
        Ok(Self(path))
    }

    /// The decoded path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn decode(path: &str) -> Result<String, PathFault> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let value = match byte {
            b'%' => {
                let digits = (bytes.next().and_then(hex_digit), bytes.next().and_then(hex_digit));
                let (Some(high), Some(low)) = digits else { return Err(PathFault::BadEncoding) };
                match high << 4 | low {
                    b'/' | b'\\' => return Err(PathFault::EncodedSlash),
                    0..=0x1f | 0x7f => return Err(PathFault::Character),
                    value => value,
                }
            }
            0..=b' ' | b'\\' | b'#' | 0x7f.. => return Err(PathFault::Character),
            plain => plain,
        };
        decoded.push(value);
    }
    let is_code = |code: &[u8]| matches!(code, [b'%', a, b] if hex_digit(*a).is_some() && hex_digit(*b).is_some());
    if decoded.windows(3).any(is_code) {
        return Err(PathFault::EncodedTwice);
    }
    String::from_utf8(decoded).map_err(|_| PathFault::NotUtf8)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// A pattern of paths: `*` stands for any characters within a segment, `**` as the last segment for whatever follows.
///
/// `/v2/*` matches `/v2/orders`, not `/v2/` or `/v2/orders/7`; `/v2/**` matches all three, but not `/v2`. It is written decoded
/// (`/a b`, not `/a%20b`), case counts, and queries are not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(String);

/// Why a text is not a pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a path of a rule: {why}")]
pub struct BadPathPattern {
    /// What was offered, cut to 80 characters.
    pub text: String,
    /// What is wrong with it, and what to write.
    pub why: &'static str,
}

impl PathPattern {
    /// Checks the shape of `text`.
    ///
    /// # Errors
    /// [`BadPathPattern`] says what to write instead.
    pub fn parse(text: &str) -> Result<Self, BadPathPattern> {
        match pattern_fault(text) {
            None => Ok(Self(text.to_owned())),
            Some(why) => Err(BadPathPattern { text: excerpt(text), why }),
        }
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` is one of those that the pattern allows. The time it takes grows with the path's length alone.
    #[must_use]
    pub fn matches(&self, path: &CanonicalPath) -> bool {
        let mut wanted = self.0.split('/').skip(1);
        let mut found = path.0.split('/').skip(1);
        loop {
            match (wanted.next(), found.next()) {
                (Some("**"), Some(_)) | (None, None) => return true,
                (Some(pattern), Some(segment)) if segment_matches(pattern, segment) => {}
                _ => return false,
            }
        }
    }
}

fn pattern_fault(text: &str) -> Option<&'static str> {
    if !text.starts_with('/') {
        return Some("it must begin with `/`");
    }
    if text.len() > PATTERN_BYTES_MAX {
        return Some("it is longer than 512 bytes");
    }
    if text.contains('%') {
        return Some("write the character itself instead of its `%` code: patterns are compared with decoded paths");
    }
    if text.contains(['?', '#']) {
        return Some("leave out `?` and `#`: queries and fragments are not looked at");
    }
    if text.contains('\\') || text.chars().any(char::is_control) {
        return Some("no path that is let through contains a backslash or a control character");
    }
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment.is_empty() && !last {
            return Some("write one `/`, not two: no path that is let through has empty segments");
        }
        if matches!(segment.split(';').next(), Some("." | "..")) {
            return Some("leave out the segments `.` and `..`: no path that is let through has them");
        }
        if segment.contains("**") && (segment != "**" || !last) {
            return Some("`**` may only be the whole last segment, as in `/v2/**`; within a segment write `*`");
        }
    }
    None
}

/// The literal parts between the stars must stand in the segment in their order, the first at its start and the last at
/// its end. Taking the leftmost place for each in between is enough, so nothing is tried twice.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == segment };
    // An empty segment is the end of `/a/`, which is another resource than those in it.
    if segment.is_empty() {
        return false;
    }
    let Some(mut segment) = segment.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, after)) = segment.split_once(part) else { return false };
        segment = after;
    }
    segment.ends_with(last)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PathPattern {
    type Error = BadPathPattern;
    fn try_from(text: String) -> Result<Self, BadPathPattern> {
        Self::parse(&text)
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> String {
        pattern.0
    }
}

impl std::str::FromStr for PathPattern {
    type Err = BadPathPattern;
    fn from_str(text: &str) -> Result<Self, BadPathPattern> {
        Self::parse(text)
    }
}
