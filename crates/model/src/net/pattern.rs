//! Which names a rule is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BadHost, HostFault, HostName, excerpt};

/// Second labels under which two-letter top-level domains sell names, as in `co.uk` and `com.au`. It is no list of public
/// suffixes, which would be data to keep fresh; it catches the wildcards that somebody writes by mistake.
const CATEGORIES: [&str; 12] = ["ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "or", "org"];

/// One name, or everything below one.
///
/// `*.example.com` matches names below `example.com` at any depth (`a.example.com`, `a.b.example.com`), but not
/// `example.com` itself, which takes a rule of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    name: HostName,
    below: bool,
}

/// Why a text is not a pattern of host names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a host of a rule: {why}")]
pub struct BadHostPattern {
    /// What was offered, cut to 80 characters.
    pub text: String,
    /// What is wrong with it, and what to write.
    pub why: PatternFault,
}

/// What is wrong with a text that should have been a pattern of host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// `*`
    #[error("`*` would allow every host; name them, or let the operator set the policy `open`")]
    Everything,
    /// `*.com`, `*.co.uk`
    #[error("everybody can have a name below it; write a wildcard below a name of one owner, such as `*.example.com`")]
    PublicSuffix,
    /// A star elsewhere than as the whole first label.
    #[error("`*` may only stand for whole labels at the start, once, as in `*.example.com`")]
    Star,
    /// The name is none.
    #[error("{0}")]
    Host(HostFault),
}

impl HostPattern {
    /// Reads `name` or `*.name`.
    ///
    /// # Errors
    /// [`BadHostPattern`] says what to write instead.
    pub fn parse(text: &str) -> Result<Self, BadHostPattern> {
        let bad = |why| BadHostPattern { text: excerpt(text.rsplit('@').next().unwrap_or_default()), why };
        if matches!(text, "*" | "*." | "*.*" | "**") {
            return Err(bad(PatternFault::Everything));
        }
        let (rest, below) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if rest.contains('*') {
            return Err(bad(PatternFault::Star));
        }
        let name = HostName::parse(rest).map_err(|BadHost { why, .. }| bad(PatternFault::Host(why)))?;
        if below && is_suffix_of_many(&name) {
            return Err(bad(PatternFault::PublicSuffix));
        }
        Ok(Self { name, below })
    }

    /// The pattern of one name.
    #[must_use]
    pub fn exact(name: HostName) -> Self {
        Self { name, below: false }
    }

    /// Whether `name` is one of those that the pattern is about.
    #[must_use]
    pub fn matches(&self, name: &HostName) -> bool {
        if self.below { name.is_below(&self.name) } else { *name == self.name }
    }

    /// Whether every name that `other` is about is one of those that this pattern is about.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if !other.below {
            return self.matches(&other.name);
        }
        self.below && (self.name == other.name || other.name.is_below(&self.name))
    }

    /// The one name that it is about; none for a wildcard.
    #[must_use]
    pub fn as_exact(&self) -> Option<&HostName> {
        if self.below { None } else { Some(&self.name) }
    }
}

fn is_suffix_of_many(name: &HostName) -> bool {
    match name.as_str().split_once('.') {
        None => true,
        Some((category, top)) => top.len() == 2 && CATEGORIES.contains(&category),
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.below {
            f.write_str("*.")?;
        }
        self.name.fmt(f)
    }
}

impl TryFrom<String> for HostPattern {
    type Error = BadHostPattern;
    fn try_from(text: String) -> Result<Self, BadHostPattern> {
        Self::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> String {
        pattern.to_string()
    }
}

impl From<HostName> for HostPattern {
    fn from(name: HostName) -> Self {
        Self::exact(name)
    }
}

impl std::str::FromStr for HostPattern {
    type Err = BadHostPattern;
    fn from_str(text: &str) -> Result<Self, BadHostPattern> {
        Self::parse(text)
    }
}
