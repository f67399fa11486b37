//! Host names in one spelling, and what is a name at all.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};

use super::excerpt;

/// Bytes of a whole name, without the root's dot (RFC 1035 section 2.3.4 allows 255 on the wire, which are 253 in writing).
pub const HOST_BYTES_MAX: usize = 253;
/// Bytes of one label (RFC 1035 section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;
/// Bytes of a text that is looked at: a name in letters of four bytes each is longer than its ASCII form.
const TEXT_BYTES_MAX: usize = 1024;

/// A host name in its one canonical form: lower case, ASCII (IDNA names as `xn--…`), labels of letters, digits, `-` and
/// `_` joined by dots, none at the end. Never an IP address in any spelling that a resolver or a URL parser would take for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a host name: {why}")]
pub struct BadHost {
    /// What was offered, cut to 80 characters and without what stood before an `@`, which may be a password.
    pub text: String,
    /// What is wrong with it.
    pub why: HostFault,
}

/// What is wrong with a text that should have been a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    /// Nothing is there, or nothing between two dots.
    #[error("it, or one of its labels, is empty")]
    Empty,
    /// Beyond [`HOST_BYTES_MAX`] or [`LABEL_BYTES_MAX`].
    #[error("it is longer than {HOST_BYTES_MAX} bytes, or one of its labels than {LABEL_BYTES_MAX}")]
    TooLong,
    /// A character that no host name has.
    #[error("it must not contain {0:?}; give the name alone, without scheme, user, port or path")]
    Character(char),
    /// It is an IP address, or something that many programs would read as one.
    #[error("it is the spelling of an IP address; rules are about names")]
    Address,
    /// `-` at the start of a label, or `_` in the last one.
    #[error("a label must not begin with `-`, and the last one must not contain `_`")]
    Label,
    /// International letters that IDNA does not allow, or an `xn--` label that stands for none.
    #[error("its international form is not valid (UTS #46)")]
    Idna,
}

impl HostName {
    /// Reads a name as people and programs write it: any case, international letters, one dot at the end.
    ///
    /// # Errors
    /// [`BadHost`] when it is no name, or the spelling of an address.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        canonical(text).map(Self).map_err(|why| bad(text, why))
    }

    /// Reads a name as it stands in a protocol (SNI, `Host`): ASCII only, because what is forwarded is not rewritten, and
    /// the other side might map international letters in its own way.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_wire(bytes: &[u8]) -> Result<Self, BadHost> {
        match std::str::from_utf8(bytes) {
            Ok(text) => match text.chars().find(|c| !c.is_ascii()) {
                Some(c) => Err(bad(text, HostFault::Character(c))),
                None => Self::parse(text),
            },
            Err(_) => Err(bad(&String::from_utf8_lossy(bytes), HostFault::Character(char::REPLACEMENT_CHARACTER))),
        }
    }

    /// Joins the labels of a DNS message. A label with a dot inside is not a way to write two.
    ///
    /// # Errors
    /// As [`Self::from_wire`].
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, BadHost> {
        let mut name = Vec::new();
        for label in labels {
            let fault = if label.is_empty() {
                Some(HostFault::Empty)
            } else if label.contains(&b'.') {
                Some(HostFault::Character('.'))
            } else if name.len() + label.len() > HOST_BYTES_MAX {
                Some(HostFault::TooLong)
            } else {
                None
            };
            if let Some(why) = fault {
                return Err(bad(&String::from_utf8_lossy(&name), why));
            }
            if !name.is_empty() {
                name.push(b'.');
            }
            name.extend_from_slice(label);
        }
        Self::from_wire(&name)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name lies below `parent`, at any depth; a name does not lie below itself.
    #[must_use]
    pub fn is_below(&self, parent: &HostName) -> bool {
        self.0.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }

    /// How many labels it has.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.0.split('.').count()
    }
}

fn bad(text: &str, why: HostFault) -> BadHost {
    BadHost { text: excerpt(text.rsplit('@').next().unwrap_or_default()), why }
}

fn canonical(text: &str) -> Result<String, HostFault> {
    if text.is_empty() {
        return Err(HostFault::Empty);
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(HostFault::TooLong);
    }
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(HostFault::Address);
    }
    if let Some(c) = text.chars().find(|c| c.is_ascii() && !is_name_char(*c)) {
        return Err(HostFault::Character(c));
    }
    // The mapping can make dots, digits and forbidden characters of others (`。`, `１`, `℀`): what is judged is its result.
    // Hyphens are not judged by it, because names of content networks have them in the third and fourth place.
    let mapped = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::Ignore)
        .map_err(|_| HostFault::Idna)?;
    let name = mapped.strip_suffix('.').unwrap_or(&mapped);
    if let Some(c) = name.chars().find(|c| !is_name_char(*c) || c.is_ascii_uppercase()) {
        return Err(HostFault::Character(c));
    }
    if name.len() > HOST_BYTES_MAX || name.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
        return Err(HostFault::TooLong);
    }
    if name.split('.').any(str::is_empty) {
        return Err(HostFault::Empty);
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if is_number(last) {
        return Err(HostFault::Address);
    }
    if last.contains('_') || name.split('.').any(|label| label.starts_with('-')) {
        return Err(HostFault::Label);
    }
    Ok(name.to_owned())
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Whether a last label makes the whole an address: `inet_aton(3)` reads decimal, octal and hexadecimal numbers, one to four of
/// them, and URL parsers take whatever ends in a number for an address (WHATWG URL, "ends in a number checker"). No
/// top-level domain looks like this.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostName {
    type Error = BadHost;
    fn try_from(text: String) -> Result<Self, BadHost> {
        Self::parse(&text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> String {
        name.0
    }
}

impl std::str::FromStr for HostName {
    type Err = BadHost;
    fn from_str(text: &str) -> Result<Self, BadHost> {
        Self::parse(text)
    }
}

/// A name, or an IP address in its plain spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// A name.
    Name(HostName),
    /// Four decimal numbers without leading zeros, or an IPv6 address without a zone.
    Address(IpAddr),
}

impl Destination {
    /// Reads a name or a plain address. IPv6 may stand in brackets, as URLs have it; no other spelling of an address is read.
    ///
    /// # Errors
    /// [`BadHost`] when it is neither.
    pub fn parse(text: &str) -> Result<Self, BadHost> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = inner.parse::<Ipv6Addr>().map_err(|_| bad(text, HostFault::Address))?;
            return Ok(Self::Address(IpAddr::V6(address)));
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => HostName::parse(text).map(Self::Name),
        }
    }

    /// The name, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = BadHost;
    fn try_from(text: String) -> Result<Self, BadHost> {
        Self::parse(&text)
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> String {
        destination.to_string()
    }
}

impl std::str::FromStr for Destination {
    type Err = BadHost;
    fn from_str(text: &str) -> Result<Self, BadHost> {
        Self::parse(text)
    }
}
