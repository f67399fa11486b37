//! The audit chain: what was decided, in order, each entry bound to the one before by its hash.
//!
//! What the chain proves: an entry that was changed, removed, moved or added in the middle breaks a hash or a number;
//! entries removed at the end contradict the remembered head, which stands in a table of its own and in the file
//! `audit.head` (of the gateway, `gate.head`) beside the database. What it cannot prove alone: that somebody who may write both files did not write
//! the whole chain anew. For that the head must be known elsewhere, so [`AuditReceipt`] gives it to whoever asks, and heads
//! are signed at intervals ([`SignedHead`]) and printed. The beginning of a chain may go, when it was exported, and leaves a
//! signed [`Checkpoint`].

mod anchor;
mod chain;
mod encoding;
mod evidence;
mod export;
mod file;
mod head;
mod sign;
mod story;
mod verify;

use std::fmt;

use ringfence_model::{ExecutionId, SandboxId};
use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Result, StoreError, doing};
use crate::kind::Kind;
use crate::store::Database;
use crate::tx::View;

pub use anchor::Anchor;
pub(crate) use chain::{ChainEnd, agrees, append, store_head};
pub use evidence::SigningPace;
pub use export::{ExportCheck, ExportError, ExportRange, ExportedChain, export};
pub use file::{ChainFile, RawEntry};
pub(crate) use head::HeadFile;
pub use sign::{AuditKey, AuditPublicKey, AuditSignature, Checkpoint, Cut, SignedHead};
pub use story::{
    CostFacts, ExecutionFacts, FillFacts, OrderFacts, SandboxFacts, SettledFacts, ToldEntry, TrafficFacts,
};
pub(crate) use verify::verify;
pub use verify::{BrokenLink, Fault, Verification, Verified};

/// Bytes that the detail of an entry may have as canonical JSON.
const DETAIL_BYTES_MAX: usize = 16 << 10;
/// Bytes that an event name may have.
const EVENT_BYTES_MAX: usize = 64;

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// A person at the command line.
    Operator,
    /// An MCP client.
    Agent,
    /// Ringfence itself, as when a lifetime ends.
    System,
}

impl Actor {
    /// The word as clients read it, and as it is hashed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Agent => "agent",
            Self::System => "system",
        }
    }

    /// The actor of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Operator, Self::Agent, Self::System].into_iter().find(|actor| actor.as_str() == text)
    }
}

/// The SHA-256 of an entry, over everything in it and the hash before.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditHash(pub(crate) [u8; 32]);

impl AuditHash {
    /// What stands before the first entry.
    pub const ZERO: Self = Self([0; 32]);

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl Serialize for AuditHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A decision to be recorded before its effect. It holds names and hashes, never values.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    pub(crate) at_ms: u64,
    pub(crate) actor: Actor,
    pub(crate) event: String,
    pub(crate) sandbox: Option<SandboxId>,
    pub(crate) execution: Option<ExecutionId>,
    pub(crate) detail: Value,
}

impl AuditEntry {
    /// An entry at `at_ms` (milliseconds since the Unix epoch) with a dotted event name such as `sandbox.create`:
    /// words of `a-z`, `0-9` and `_`, at most 64 bytes.
    #[must_use]
    pub fn new(at_ms: u64, actor: Actor, event: impl Into<String>) -> Self {
        let detail = Value::Object(serde_json::Map::new());
        Self { at_ms, actor, event: event.into(), sandbox: None, execution: None, detail }
    }

    /// The sandbox that it is about.
    #[must_use]
    pub fn sandbox(mut self, id: &SandboxId) -> Self {
        self.sandbox = Some(id.clone());
        self
    }

    /// The execution that it is about.
    #[must_use]
    pub fn execution(mut self, id: &ExecutionId) -> Self {
        self.execution = Some(id.clone());
        self
    }

    /// More about it: a JSON object of at most 16 KiB.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The detail as it is hashed and kept, if the entry is within its bounds.
    fn check(&self) -> Result<String> {
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if self.event.len() > EVENT_BYTES_MAX || !self.event.split('.').all(word) {
            let shown: String = self.event.chars().take(80).collect();
            return Err(StoreError::Refused(format!("`{}` is not an event name", shown.escape_debug())));
        }
        if !self.detail.is_object() {
            return Err(StoreError::Refused(format!("the detail of `{}` is not a JSON object", self.event)));
        }
        let detail = encoding::canonical_json(&self.detail);
        if detail.len() > DETAIL_BYTES_MAX {
            let len = detail.len();
            return Err(StoreError::Refused(format!(
                "the detail of `{}` has {len} bytes: at most {DETAIL_BYTES_MAX} are kept",
                self.event
            )));
        }
        Ok(detail)
    }
}

/// Proof that an entry is in the chain. Once [`Database::append`] or [`Database::write_with_audit`] has returned it, the entry
/// is on disk. Only the store makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an effect may only follow its receipt"]
pub struct AuditReceipt {
    seq: u64,
    hash: AuditHash,
}

impl AuditReceipt {
    /// The number of the entry.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The hash of the entry, which stands for the whole chain up to it.
    #[must_use]
    pub fn hash(&self) -> AuditHash {
        self.hash
    }
}

/// An end of the chain as somebody remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// The number of the last entry, 0 for an empty chain.
    pub seq: u64,
    /// Its hash.
    pub hash: AuditHash,
}

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its number, from 1.
    pub seq: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who.
    pub actor: Actor,
    /// What, as a dotted name.
    pub event: String,
    /// The sandbox that it is about.
    pub sandbox: Option<SandboxId>,
    /// The execution that it is about.
    pub execution: Option<ExecutionId>,
    /// More about it.
    pub detail: Value,
    /// The hash of the entry before.
    pub prev_hash: AuditHash,
    /// Its own hash.
    pub hash: AuditHash,
}

/// Which entries to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only about this sandbox.
    pub sandbox: Option<SandboxId>,
    /// Only events that begin so: `sandbox.` or `sandbox.create`.
    pub event_prefix: Option<String>,
    /// Only at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Only after this number, as one who follows the chain asks.
    pub after_seq: Option<u64>,
    /// At most so many: the newest, or with `after_seq` the oldest.
    pub limit: Option<u32>,
}

impl<K: Kind> View<'_, K> {
    /// The entries that the filter lets through: newest first, or with `after_seq` in the order of the chain.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn audit_records(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>> {
        const WHAT: &str = "list audit entries";
        let order = if filter.after_seq.is_some() { "ASC" } else { "DESC" };
        let about = if filter.sandbox.is_some() { "sandbox_id = :sandbox" } else { ":sandbox IS NULL" };
        let sql = format!(
            "SELECT seq, at_ms, actor, event, sandbox_id, execution_id, detail, prev_hash, hash FROM audit \
             WHERE {about} AND (:event IS NULL OR substr(event, 1, length(:event)) = :event) \
             AND (:since IS NULL OR at_ms >= :since) AND seq > :after ORDER BY seq {order} LIMIT :limit"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let rows = statement
            .query_map(
                named_params! {":sandbox": filter.sandbox.as_ref().map(SandboxId::as_str),
                ":event": filter.event_prefix, ":since": filter.since_ms, ":after": filter.after_seq.unwrap_or(0),
                ":limit": filter.limit.map_or(-1, i64::from)},
                read,
            )
            .map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    /// The head of the chain.
    ///
    /// # Errors
    /// As [`View::audit_records`].
    pub fn audit_head(&self) -> Result<AuditHead> {
        chain::load_head(self.conn).map_err(doing("read the head of the audit chain"))
    }
}

impl<K: Kind> Database<K> {
    /// [`View::audit_records`].
    ///
    /// # Errors
    /// As there.
    pub async fn audit_records(&self, filter: AuditFilter) -> Result<Vec<AuditRecord>> {
        self.read(move |view| view.audit_records(&filter)).await
    }

    /// [`View::audit_head`].
    ///
    /// # Errors
    /// As there.
    pub async fn audit_head(&self) -> Result<AuditHead> {
        self.read(|view| view.audit_head()).await
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<AuditRecord>> {
    let seq: u64 = row.get(0)?;
    let (at_ms, actor, event): (u64, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let (sandbox, execution): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
    let detail: String = row.get(6)?;
    let (prev_hash, hash) = (AuditHash(row.get(7)?), AuditHash(row.get(8)?));
    let unreadable = |column| StoreError::Unreadable { column, row: format!("audit entry {seq}") };
    Ok((|| {
        Ok(AuditRecord {
            actor: Actor::parse(&actor).ok_or_else(|| unreadable("actor"))?,
            sandbox: sandbox.map(SandboxId::try_from).transpose().map_err(|_| unreadable("sandbox_id"))?,
            execution: execution.map(ExecutionId::try_from).transpose().map_err(|_| unreadable("execution_id"))?,
            detail: serde_json::from_str(&detail).map_err(|_| unreadable("detail"))?,
            seq,
            at_ms,
            event,
            prev_hash,
            hash,
        })
    })())
}
