//! What ringfence remembers: sandboxes, executions, disks, templates, logs, sealed environment values, and the audit
//! chain, in one SQLite file with one writer; and in a second such file what the [gateway](gate) remembers.
//!
//! Every change is a closure over a [`Tx`], whose methods are the only SQL in the program. Changes that arrive together
//! share one transaction (group commit), and each is acknowledged after the commit has reached the disk. Reads run
//! beside the writer on read-only connections and see a consistent [`View`].
//!
//! ```no_run
//! # async fn example(store: ringfence_store::Store, id: ringfence_model::SandboxId) -> ringfence_store::Result<()> {
//! use ringfence_store::{Actor, AuditEntry, SandboxChange, SandboxStatus};
//!
//! let now_ms = 1_757_371_623_056;
//! let entry = AuditEntry::new(now_ms, Actor::Agent, "sandbox.stop").sandbox(&id);
//! let change = SandboxChange { stopped_at_ms: Some(now_ms), ..SandboxChange::default() };
//! let (_, receipt) =
//!     store.write_with_audit(entry, move |tx| tx.move_sandbox(&id, SandboxStatus::Stopped, &change)).await?;
//! // Only now is the effect carried out: the receipt proves that the decision is on disk.
//! # drop(receipt); Ok(())
//! # }
//! ```
//!
//! The store reads no clock: every time is an argument, in milliseconds since the Unix epoch. It never writes an
//! environment value that is not sealed, never changes an audit entry, and removes some only from the beginning of a chain, when
//! they were exported, leaving a signed checkpoint.

mod access;
mod audit;
mod copy;
mod credit;
mod disk;
mod environment;
mod error;
mod execution;
pub mod gate;
mod job;
mod key_file;
mod kind;
mod lock;
mod log;
mod meta;
mod migrate;
mod preview;
mod reader;
mod sandbox;
mod seal;
mod stage;
mod startup;
mod store;
mod template;
mod trial;
mod tx;
mod writer;

pub use access::AccessTokenRow;
pub use audit::{
    Actor, Anchor, AuditEntry, AuditFilter, AuditHash, AuditHead, AuditKey, AuditPublicKey, AuditReceipt, AuditRecord,
    AuditSignature, BrokenLink, ChainFile, Checkpoint, CostFacts, Cut, ExecutionFacts, ExportCheck, ExportError,
    ExportRange, ExportedChain, Fault, FillFacts, OrderFacts, RawEntry, SandboxFacts, SettledFacts, SignedHead,
    SigningPace, ToldEntry, TrafficFacts, Verification, Verified, export,
};
pub use copy::{Copied, CopyError, copy_database};
pub use credit::{Billed, Standing, Stepped, TrafficTotals, Usage, UsageBy, UsageFilter, UsageOf};
pub use disk::DiskRow;
pub use environment::{EnvMode, EnvironmentChange};
pub use error::{OpenError, Result, StoreError};
pub use execution::{
    CodeHash, ExecutionEnd, ExecutionFilter, ExecutionOutput, ExecutionRow, ExecutionStatus, Interpreter, NewExecution,
};
pub use job::{JobPartRow, JobRow};
pub use key_file::KeyError;
pub use kind::{DatabaseKind, EngineKind, GateKind, Kind};
pub use log::{LogEntry, LogLevel, LogRow};
pub use sandbox::{Refund, SandboxChange, SandboxFilter, SandboxRow, SandboxStatus};
pub use seal::{PreviewKey, SealingKey, SecretValue};
pub use stage::StageRow;
pub use store::{Database, Options, Statistics, Store};
pub use template::{TemplateRow, TemplateStatus};
pub use trial::TrialRow;
pub use tx::{Tx, View};
