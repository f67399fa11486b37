//! One thing that is allowed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BadHostPattern, BadPathPattern, CanonicalPath, HostName, HostPattern, PathPattern, excerpt};
use crate::api::PortSpec;

/// Port ranges of one rule.
pub const PORTS_MAX: usize = 32;
/// Methods of one rule.
pub const METHODS_MAX: usize = 16;
/// Path patterns of one rule.
pub const PATHS_MAX: usize = 64;
/// Secrets of one rule.
pub const SECRETS_MAX: usize = 32;
/// The ports of a rule that names none: HTTPS. Plain HTTP is asked for by its number.
pub const PORTS_DEFAULT: [PortRange; 1] = [PortRange { first: 443, last: 443 }];
/// Characters of a method's name. The longest of the IANA registry has 17.
const METHOD_CHARS_MAX: usize = 32;

/// A port, or some that follow one another. In JSON a number, or a text such as `"8000-8010"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "PortSpec", into = "PortSpec")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why something is not a port range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a port: write a number from 1 to 65535, or two of them as in `8000-8010`, the smaller one first"
)]
pub struct BadPort {
    /// What was offered, cut to 80 characters.
    pub text: String,
}

impl PortRange {
    /// The ports from `first` to `last`, both included.
    ///
    /// # Errors
    /// [`BadPort`] for port 0 and for an empty range.
    pub fn new(first: u16, last: u16) -> Result<Self, BadPort> {
        if first == 0 || last < first {
            return Err(BadPort { text: if first == last { first.to_string() } else { format!("{first}-{last}") } });
        }
        Ok(Self { first, last })
    }

    /// Reads `443` or `8000-8010`.
    ///
    /// # Errors
    /// [`BadPort`] when it is neither.
    pub fn parse(text: &str) -> Result<Self, BadPort> {
        let bad = || BadPort { text: excerpt(text) };
        let port = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse::<u16>().map_err(|_| bad()),
            false => Err(bad()),
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(port(first)?, port(last)?)
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl TryFrom<PortSpec> for PortRange {
    type Error = BadPort;
    fn try_from(spec: PortSpec) -> Result<Self, BadPort> {
        match spec {
            PortSpec::One(port) => Self::new(port, port),
            PortSpec::Range(text) => Self::parse(&text),
        }
    }
}

impl From<PortRange> for PortSpec {
    fn from(range: PortRange) -> Self {
        if range.first == range.last { Self::One(range.first) } else { Self::Range(range.to_string()) }
    }
}

/// An HTTP method that a rule allows, in capitals. Never `CONNECT` or `TRACE`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

/// Why a text is not a method of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a method of a rule: {why}")]
pub struct BadMethod {
    /// What was offered, cut to 80 characters.
    pub text: String,
    /// What is wrong with it, and what to write.
    pub why: &'static str,
}

impl Method {
    /// Reads a method's name, in any case. `GET` does not bring `HEAD` with it.
    ///
    /// # Errors
    /// [`BadMethod`] when it is no name, or one that no rule may allow.
    pub fn parse(text: &str) -> Result<Self, BadMethod> {
        let bad = |why| BadMethod { text: excerpt(text), why };
        let is_name = text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
        if text.is_empty() || text.len() > METHOD_CHARS_MAX || !is_name {
            return Err(bad("write a name such as `GET` or `POST`; leave the list out to allow any method"));
        }
        let name = text.to_ascii_uppercase();
        match Self::never(&name) {
            Some(why) => Err(bad(why)),
            None => Ok(Self(name)),
        }
    }

    /// Why a method is never let through where the gate sees requests, if it is one of those.
    pub(super) fn never(name: &str) -> Option<&'static str> {
        match name {
            "CONNECT" => Some("it opens a tunnel, in which no rule could see anything"),
            "TRACE" => Some("its answer repeats the request, with the secrets that were put into it"),
            _ => None,
        }
    }

    /// The name in capitals.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Method {
    type Error = BadMethod;
    fn try_from(text: String) -> Result<Self, BadMethod> {
        Self::parse(&text)
    }
}

impl From<Method> for String {
    fn from(method: Method) -> String {
        method.0
    }
}

impl std::str::FromStr for Method {
    type Err = BadMethod;
    fn from_str(text: &str) -> Result<Self, BadMethod> {
        Self::parse(text)
    }
}

/// What the gate does with TLS under a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Intercept where the rule needs the inside, else pass through.
    #[default]
    Auto,
    /// Pass through; for a rule that needs nothing of the inside.
    Pass,
    /// Intercept, for the record of each request.
    Intercept,
}

/// One thing that is allowed. This is the gate's form, which also has what no agent may write; an agent's is
/// [`crate::api::NetworkRule`]. Reading it checks each part; what the parts are together is for [`Rule::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which names.
    pub host: HostPattern,
    /// Which ports; [`PORTS_DEFAULT`] unless it says otherwise.
    #[serde(default = "ports_default")]
    pub ports: Vec<PortRange>,
    /// Which methods; empty for any.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// Which paths; empty for any.
    #[serde(default)]
    pub paths: Vec<PathPattern>,
    /// What is done with TLS.
    #[serde(default)]
    pub tls: TlsMode,
    /// Names of the secrets that the gate may put into requests under this rule.
    #[serde(default)]
    pub secrets: Vec<String>,
}

fn ports_default() -> Vec<PortRange> {
    PORTS_DEFAULT.to_vec()
}

/// Why a rule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// Its host.
    #[error(transparent)]
    Host(#[from] BadHostPattern),
    /// One of its ports.
    #[error(transparent)]
    Port(#[from] BadPort),
    /// One of its methods.
    #[error(transparent)]
    Method(#[from] BadMethod),
    /// One of its paths.
    #[error(transparent)]
    Path(#[from] BadPathPattern),
    /// One of its lists is longer than its bound.
    #[error("`{list}` has {len} elements; a rule has at most {max}")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// It lets no port through.
    #[error("`ports` is empty: name at least one, such as 443")]
    NoPort,
    /// `tls: pass` together with something that needs the inside.
    #[error("`tls` is `pass`, but methods, paths and secrets need the inside of the connection; leave one of them out")]
    PassNeedsInside,
}

impl Rule {
    /// A rule that allows everything on [`PORTS_DEFAULT`] of `host`.
    #[must_use]
    pub fn host(host: HostPattern) -> Self {
        Self { host, ports: ports_default(), methods: vec![], paths: vec![], tls: TlsMode::Auto, secrets: vec![] }
    }

    /// Checks the bounds of the lists, and that the parts agree.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), BadRule> {
        let lists = [
            ("ports", self.ports.len(), PORTS_MAX),
            ("methods", self.methods.len(), METHODS_MAX),
            ("paths", self.paths.len(), PATHS_MAX),
            ("secrets", self.secrets.len(), SECRETS_MAX),
        ];
        if let Some((list, len, max)) = lists.into_iter().find(|(_, len, max)| len > max) {
            return Err(BadRule::TooMany { list, len, max });
        }
        if self.ports.is_empty() {
            return Err(BadRule::NoPort);
        }
        if self.tls == TlsMode::Pass && self.needs_inside() {
            return Err(BadRule::PassNeedsInside);
        }
        Ok(())
    }

    /// Whether the gate must see the requests of a connection to keep this rule: it has methods, paths or secrets.
    #[must_use]
    pub fn needs_inside(&self) -> bool {
        !self.methods.is_empty() || !self.paths.is_empty() || !self.secrets.is_empty()
    }

    /// Whether connections under this rule are inspected.
    #[must_use]
    pub fn inspects(&self) -> bool {
        self.needs_inside() || self.tls == TlsMode::Intercept
    }

    /// Whether it is about this name and this port.
    #[must_use]
    pub fn covers(&self, host: &HostName, port: u16) -> bool {
        self.host.matches(host) && self.ports.iter().any(|range| range.contains(port))
    }

    /// Whether it allows this method. `method` is as it stands in the request: `get` is not `GET`.
    #[must_use]
    pub fn allows_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|allowed| allowed.as_str() == method)
    }

    /// Whether it allows this path; none stands for a path that has no one reading, which only a rule without paths allows.
    #[must_use]
    pub fn allows_path(&self, path: Option<&CanonicalPath>) -> bool {
        self.paths.is_empty() || path.is_some_and(|path| self.paths.iter().any(|allowed| allowed.matches(path)))
    }
}

/// As the command line has it: `HOST`, `HOST:PORT` or `HOST:FIRST-LAST`.
impl std::str::FromStr for Rule {
    type Err = BadRule;
    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let mut rule = Self::host(HostPattern::parse(host)?);
        if let Some(port) = port {
            rule.ports = vec![PortRange::parse(port)?];
        }
        Ok(rule)
    }
}
