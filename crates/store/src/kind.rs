//! The kinds of database. Each has a schema and file names of its own; the writer, the readers, the sealing and the
//! audit chain are one machinery for all.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which database: the word for people and in audit entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// `engine.db`: sandboxes and executions.
    Engine,
    /// `gate.db`: secrets, policies, and what was decided about the network.
    Gate,
}

impl DatabaseKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Engine, Self::Gate];

    /// The word as it is written in audit entries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Gate => "gate",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What tells its files from those of other programs and of the other kind (`PRAGMA application_id`).
    pub(crate) fn application_id(self) -> i32 {
        match self {
            Self::Engine => i32::from_be_bytes(*b"RFst"),
            Self::Gate => i32::from_be_bytes(*b"RFgt"),
        }
    }

    pub(crate) fn of_application_id(id: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.application_id() == id)
    }
}

impl fmt::Display for DatabaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind of database as a type, so that what belongs into one cannot be written into the other.
pub trait Kind: sealed::Kind + Send + Sync + 'static {}

impl<K: sealed::Kind + Send + Sync + 'static> Kind for K {}

/// The engine's database, of which [`Store`](crate::Store) is the handle.
#[derive(Debug)]
pub enum EngineKind {}

/// The gateway's database, of which [`GateStore`](crate::gate::GateStore) is the handle.
#[derive(Debug)]
pub enum GateKind {}

pub(crate) mod sealed {
    use super::{DatabaseKind, EngineKind, GateKind};

    /// What the machinery needs to know of a kind.
    pub trait Kind {
        /// Its name.
        const KIND: DatabaseKind;
        /// Every migration in order; the first has number 1. An applied migration is never edited: add one. Files in
        /// `shared` are a part of both, so that what is the same for all kinds is written once.
        const MIGRATIONS: &'static [(&'static str, &'static str)];
        /// The file beside the database that remembers an end of the audit chain.
        const HEAD_FILE: &'static str;
    }

    impl Kind for EngineKind {
        const KIND: DatabaseKind = DatabaseKind::Engine;
        const MIGRATIONS: &'static [(&'static str, &'static str)] = &[
            (
                "first",
                concat!(
                    include_str!("../migrations/shared/0001_facts.sql"),
                    include_str!("../migrations/engine/0001_first.sql"),
                    include_str!("../migrations/shared/0001_audit.sql")
                ),
            ),
            ("exposed", include_str!("../migrations/engine/0002_exposed.sql")),
            ("stage", include_str!("../migrations/engine/0003_stage.sql")),
            ("public_ports", include_str!("../migrations/engine/0004_public_ports.sql")),
            ("startup", include_str!("../migrations/engine/0005_startup.sql")),
            ("job", include_str!("../migrations/engine/0006_job.sql")),
            ("trial", include_str!("../migrations/engine/0007_trial.sql")),
            ("evidence", include_str!("../migrations/shared/0002_evidence.sql")),
            ("access", include_str!("../migrations/engine/0009_access.sql")),
            ("credit", include_str!("../migrations/engine/0010_credit.sql")),
            ("preview_token", include_str!("../migrations/engine/0011_preview_token.sql")),
            ("inherited", include_str!("../migrations/engine/0012_inherited.sql")),
        ];
        const HEAD_FILE: &'static str = "audit.head";
    }

    impl Kind for GateKind {
        const KIND: DatabaseKind = DatabaseKind::Gate;
        const MIGRATIONS: &'static [(&'static str, &'static str)] = &[
            (
                "first",
                concat!(
                    include_str!("../migrations/shared/0001_facts.sql"),
                    include_str!("../migrations/gate/0001_first.sql"),
                    include_str!("../migrations/shared/0001_audit.sql")
                ),
            ),
            ("signing", include_str!("../migrations/gate/0002_signing.sql")),
            ("cached", include_str!("../migrations/gate/0003_cached.sql")),
            ("trade", include_str!("../migrations/gate/0004_trade.sql")),
            ("trading_account", include_str!("../migrations/gate/0005_trading_account.sql")),
            ("evidence", include_str!("../migrations/shared/0002_evidence.sql")),
        ];
        const HEAD_FILE: &'static str = "gate.head";
    }
}
