//! Decisions: what the gate let out and what it did not, recorded before anything happens.

mod rows;

use std::fmt;
use std::net::IpAddr;

use ringfence_model::SandboxId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check_line;
use super::secret::SecretName;
use crate::audit::{Actor, AuditEntry};
use crate::error::{Result, StoreError};

/// Bytes of a host name: a DNS name has 253, and an address in brackets fewer.
const HOST_BYTES_MAX: usize = 255;
const METHOD_BYTES_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 2048;
const RULE_BYTES_MAX: usize = 512;
const REASON_BYTES_MAX: usize = 1024;
const SIGNED_BYTES_MAX: usize = 32;
/// Secrets that one request may use.
const SECRETS_MAX: usize = 16;

/// The number of a decision: that of its audit entry, so that later ones have higher numbers and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(u64);

impl DecisionId {
    /// The decision of this number, as one who follows them names the last that was seen.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What was asked of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the usual words")]
pub enum Protocol {
    Dns,
    Tcp,
    Tls,
    Http,
    Ws,
    Udp,
}

impl Protocol {
    const ALL: [Self; 6] = [Self::Dns, Self::Tcp, Self::Tls, Self::Http, Self::Ws, Self::Udp];

    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Ws => "ws",
            Self::Udp => "udp",
        }
    }

    /// The protocol of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text)
    }
}

/// Whether it may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not.
    Refuse {
        /// Why, in a sentence of at most 1 KiB.
        reason: String,
    },
}

impl Verdict {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Allow => None,
            Self::Refuse { reason } => Some(reason),
        }
    }
}

/// A decision about one name, connection or request. It holds names, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which sandbox asked.
    pub sandbox: SandboxId,
    /// What it spoke.
    pub protocol: Protocol,
    /// The host, as far as it was named: at most 255 bytes.
    pub host: Option<String>,
    /// The address that it went to, or would have.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Of HTTP, the method: at most 32 bytes.
    pub method: Option<String>,
    /// Of HTTP, the path without its query: at most 2 KiB.
    pub path: Option<String>,
    /// The rule that decided, if one did: at most 512 bytes.
    pub rule: Option<String>,
    /// The secrets that are used: at most 16.
    pub secrets: Vec<SecretName>,
    /// In whose way the gate signs it, in place of the sandbox: at most 32 bytes.
    pub signed: Option<String>,
    /// It is answered from what the gate has kept of earlier answers; nothing goes out.
    pub cached: bool,
    /// The decision.
    pub verdict: Verdict,
}

impl Decision {
    /// Allows it, with everything else unknown.
    #[must_use]
    pub fn allow(at_ms: u64, sandbox: SandboxId, protocol: Protocol, port: u16) -> Self {
        let (host, address, method, path, rule, signed) = (None, None, None, None, None, None);
        let (secrets, cached, verdict) = (Vec::new(), false, Verdict::Allow);
        Self { at_ms, sandbox, protocol, host, address, port, method, path, rule, secrets, signed, cached, verdict }
    }

    /// Refuses it, with everything else unknown.
    #[must_use]
    pub fn refuse(at_ms: u64, sandbox: SandboxId, protocol: Protocol, port: u16, reason: impl Into<String>) -> Self {
        let verdict = Verdict::Refuse { reason: reason.into() };
        Self { verdict, ..Self::allow(at_ms, sandbox, protocol, port) }
    }

    fn check(&self) -> Result<()> {
        for (what, text, bytes_max) in [
            ("host", self.host.as_deref(), HOST_BYTES_MAX),
            ("method", self.method.as_deref(), METHOD_BYTES_MAX),
            ("path", self.path.as_deref(), PATH_BYTES_MAX),
            ("rule", self.rule.as_deref(), RULE_BYTES_MAX),
            ("way of signing", self.signed.as_deref(), SIGNED_BYTES_MAX),
            ("reason", self.verdict.reason(), REASON_BYTES_MAX),
        ] {
            check_line(what, text.unwrap_or_default(), bytes_max)?;
        }
        if self.path.as_ref().is_some_and(|path| path.contains(['?', '#'])) {
            return Err(StoreError::Refused("the path has a query: values may stand there, which are not kept".into()));
        }
        if self.secrets.len() > SECRETS_MAX {
            let count = self.secrets.len();
            return Err(StoreError::Refused(format!("{count} secrets in one request: at most {SECRETS_MAX}")));
        }
        Ok(())
    }

    fn entry(&self, trade: Value) -> AuditEntry {
        let event = match self.verdict {
            Verdict::Allow => "egress.allow",
            Verdict::Refuse { .. } => "egress.refuse",
        };
        let mut detail = serde_json::Map::new();
        detail.insert("protocol".into(), json!(self.protocol));
        detail.insert("port".into(), json!(self.port));
        for (key, text) in [
            ("host", self.host.as_deref()),
            ("method", self.method.as_deref()),
            ("path", self.path.as_deref()),
            ("rule", self.rule.as_deref()),
            ("signed", self.signed.as_deref()),
            ("reason", self.verdict.reason()),
        ] {
            if let Some(text) = text {
                detail.insert(key.into(), json!(text));
            }
        }
        if let Some(address) = self.address {
            detail.insert("address".into(), json!(address));
        }
        if self.cached {
            detail.insert("cached".into(), json!(true));
        }
        if !self.secrets.is_empty() {
            detail.insert("secrets".into(), json!(self.secrets));
        }
        if !trade.is_null() {
            detail.insert("trade".into(), trade);
        }
        AuditEntry::new(self.at_ms, Actor::System, event).sandbox(&self.sandbox).detail(detail.into())
    }
}

/// What became of it, known when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Of HTTP, the status that was answered.
    pub status: Option<u16>,
    /// Bytes that the sandbox sent.
    pub bytes_up: u64,
    /// Bytes that it was sent.
    pub bytes_down: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A decision as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// Its number.
    pub id: DecisionId,
    /// What was decided.
    pub decision: Decision,
    /// What became of it; none while it goes on, and for ever when the gateway died meanwhile.
    pub settlement: Option<Settlement>,
}

/// Which decisions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// Only of this sandbox.
    pub sandbox: Option<SandboxId>,
    /// Only after this one, as one who follows them asks.
    pub after: Option<DecisionId>,
    /// At most so many, and never more than 10,000: the newest, or with `after` the oldest.
    pub limit: Option<u32>,
}

/// What a sandbox did in all, pruned decisions included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Decisions, refused ones included.
    pub requests: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// Bytes that it sent, of what is over.
    pub bytes_up: u64,
    /// Bytes that it was sent, of what is over.
    pub bytes_down: u64,
}

/// Which decisions are kept. Audit entries always are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Only those at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Only so many, the newest.
    pub rows_max: Option<u64>,
}
