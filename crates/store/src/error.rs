//! What can go wrong, one sentence each; causes are in `source()`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::kind::DatabaseKind;
use crate::sandbox::SandboxStatus;

/// The result of an operation on the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has the database open.
    #[error("the database {path} is in use by process {}: stop that one first", .pid.map_or_else(|| "(unknown)".into(), |pid| pid.to_string()))]
    InUse {
        /// The database.
        path: PathBuf,
        /// Who holds it, when the lock file says so.
        pid: Option<u32>,
    },
    /// A newer ringfence has written this database.
    #[error(
        "the database {path} has schema {found} and this ringfence knows schemas up to {known}: use the version that wrote it, or a newer one"
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The schema that it has.
        found: u32,
        /// The newest schema that this program knows.
        known: u32,
    },
    /// The file belongs to another program.
    #[error("{path} is not a database of ringfence: move it away, or choose another path")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// It is a database of ringfence, and not the one that was asked for.
    #[error("{path} is the {found}'s database, where that of the {wanted} was expected: choose its path")]
    OtherKind {
        /// The database.
        path: PathBuf,
        /// Whose it is.
        found: DatabaseKind,
        /// Whose it should be.
        wanted: DatabaseKind,
    },
    /// A migration that was applied once has another text now.
    #[error(
        "migration {number} of the database {path} is not the one that this ringfence contains: use the build that wrote the database"
    )]
    ForeignMigration {
        /// The database.
        path: PathBuf,
        /// Which migration.
        number: u32,
    },
    /// The sealing key is not the one of this database.
    #[error(
        "the key does not open the sealed values in {path}: put back the key file that this database was made with, or move the database away to begin with an empty one"
    )]
    WrongKey {
        /// The database.
        path: PathBuf,
    },
    /// A file of the store could not be made or opened.
    #[error("could not {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its pages contradict each other: a disk has failed, or somebody has written into it.
    #[error(
        "the database {path} is damaged ({found}): nothing is written to it; restore the newest backup into an empty directory with `ringfence restore`, and keep this one"
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite found.
        found: String,
    },
    /// SQLite refused.
    #[error("could not {operation} of the database {path}")]
    Sql {
        /// What was tried.
        operation: &'static str,
        /// The database.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// Whether the next attempt would fail likewise, until somebody has put another program, key or database there.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        match self {
            Self::NewerSchema { .. }
            | Self::NotOurs { .. }
            | Self::OtherKind { .. }
            | Self::ForeignMigration { .. }
            | Self::WrongKey { .. }
            | Self::Damaged { .. } => true,
            Self::InUse { .. } | Self::File { .. } | Self::Sql { .. } => false,
        }
    }

    /// What SQLite's refusal means.
    pub(crate) fn of_sql(operation: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => Self::Damaged { path, found: source.to_string() },
            _ => Self::Sql { operation, path, source },
        }
    }
}

/// Why an operation on an open store failed. Unless it says otherwise, nothing of the operation was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// An audit entry in a change that need not last: see [`Store::note`](crate::Store::note).
    #[error("an audit entry must last, and this change need not")]
    NotLasting,
    /// SQLite refused a statement.
    #[error("could not {operation}")]
    Sql {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The shared transaction did not reach the disk; nothing of it was kept.
    #[error("could not commit to the database")]
    Commit {
        /// Why not.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// There is no such row.
    #[error("there is no {kind} `{id}`")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Under which id.
        id: String,
    },
    /// There is such a row already.
    #[error("there is a {kind} `{id}` already")]
    Exists {
        /// What was to be added.
        kind: &'static str,
        /// Under which id.
        id: String,
    },
    /// A sandbox cannot go from this state to that one.
    #[error("sandbox {id} is {from} and cannot become {to}")]
    NoSuchEdge {
        /// The sandbox.
        id: String,
        /// Its state.
        from: SandboxStatus,
        /// The state asked for.
        to: SandboxStatus,
    },
    /// An execution that has ended cannot end again.
    #[error("execution {id} has ended already")]
    EndedAlready {
        /// The execution.
        id: String,
    },
    /// An argument is outside what the store keeps.
    #[error("{0}")]
    Refused(String),
    /// A project has too little left for what was to begin.
    #[error("project {project} has {} credits left, and {} are needed", .balance.text(), .needed.text())]
    InsufficientCredits {
        /// The project.
        project: ringfence_model::Project,
        /// What was to be paid.
        needed: ringfence_model::credit::MilliCredits,
        /// What is left.
        balance: ringfence_model::credit::MilliCredits,
    },
    /// A sealed value cannot be opened: it was changed, moved to another row, or sealed with another key.
    #[error("the sealed value `{name}` of {owner} cannot be opened")]
    Unsealable {
        /// Whose value it is.
        owner: String,
        /// Its name.
        name: String,
    },
    /// A stored text is not what this program writes.
    #[error("the {column} of {row} is not readable")]
    Unreadable {
        /// Which column.
        column: &'static str,
        /// Of which row.
        row: String,
    },
    /// A bug: the closure of this operation panicked. Other operations are unharmed.
    #[error("an operation on the database panicked: {0}")]
    Panicked(String),
    /// The store is closed, or its writer ended after a failure of the disk; every later call gets this.
    #[error("the store no longer works: {0}")]
    Gone(Arc<str>),
}

/// Names the operation that SQLite refused: `.map_err(doing("list the sandboxes"))`.
pub(crate) fn doing(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sql { operation, source: Arc::new(source) }
}
