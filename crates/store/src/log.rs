//! Log lines of a sandbox, bounded: the oldest make room.

use ringfence_model::SandboxId;
use rusqlite::{named_params, params};
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError, doing};
use crate::store::Store;
use crate::tx::{Tx, View};

/// Lines kept of one sandbox.
const LINES_MAX: u64 = 10_000;
/// Bytes kept of one message; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 4096;

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the usual words")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// The level as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Debug, Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.as_str() == text)
    }
}

/// A line to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Of which sandbox.
    pub sandbox: SandboxId,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// Where it comes from: `system`, `stdout`, `stderr`, `audit`.
    pub source: String,
    /// The line, of which the first 4 KiB are kept.
    pub message: String,
}

/// A line as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its number in the sandbox's log, from 1, without gaps.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// Where it comes from.
    pub source: String,
    /// The line.
    pub message: String,
}

impl View<'_> {
    /// The newest `lines` lines of a sandbox, of one source or of all, oldest first.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn logs(&self, sandbox: &SandboxId, lines: u32, source: Option<&str>) -> Result<Vec<LogRow>> {
        const WHAT: &str = "read a log";
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT number, at_ms, level, source, message FROM log WHERE sandbox_id = :sandbox \
                 AND (:source IS NULL OR source = :source) ORDER BY number DESC LIMIT :lines",
            )
            .map_err(doing(WHAT))?;
        let rows = statement
            .query_map(named_params! {":sandbox": sandbox.as_str(), ":source": source, ":lines": lines}, |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?, row.get(4)?))
            })
            .map_err(doing(WHAT))?;
        let mut lines = rows
            .map(|row| {
                let (number, at_ms, level, source, message) = row.map_err(doing(WHAT))?;
                let level = LogLevel::parse(&level).ok_or_else(|| StoreError::Unreadable {
                    column: "level",
                    row: format!("log line {number} of sandbox {sandbox}"),
                })?;
                Ok(LogRow { number, at_ms, level, source, message })
            })
            .collect::<Result<Vec<_>>>()?;
        lines.reverse();
        Ok(lines)
    }
}

impl Tx<'_> {
    /// Appends a line to its sandbox's log and drops the oldest beyond 10,000.
    ///
    /// # Errors
    /// The database refuses, as it does when there is no such sandbox.
    pub fn append_log(&self, entry: &LogEntry) -> Result<()> {
        const WHAT: &str = "append to a log";
        let mut end = entry.message.len().min(MESSAGE_BYTES_MAX);
        while !entry.message.is_char_boundary(end) {
            end -= 1;
        }
        let number: u64 = self
            .conn
            .prepare_cached(
                "INSERT INTO log (sandbox_id, number, at_ms, level, source, message) VALUES \
                 (?1, (SELECT coalesce(max(number), 0) + 1 FROM log WHERE sandbox_id = ?1), ?2, ?3, ?4, ?5) \
                 RETURNING number",
            )
            .and_then(|mut statement| {
                let params = params![
                    entry.sandbox.as_str(),
                    entry.at_ms,
                    entry.level.as_str(),
                    entry.source,
                    &entry.message[..end]
                ];
                statement.query_row(params, |row| row.get(0))
            })
            .map_err(doing(WHAT))?;
        if number > LINES_MAX {
            self.conn
                .prepare_cached("DELETE FROM log WHERE sandbox_id = ?1 AND number <= ?2")
                .and_then(|mut statement| statement.execute(params![entry.sandbox.as_str(), number - LINES_MAX]))
                .map_err(doing(WHAT))?;
        }
        Ok(())
    }
}

impl Store {
    /// [`View::logs`].
    ///
    /// # Errors
    /// As there.
    pub async fn logs(&self, sandbox: &SandboxId, lines: u32, source: Option<&str>) -> Result<Vec<LogRow>> {
        let (sandbox, source) = (sandbox.clone(), source.map(str::to_owned));
        self.read(move |view| view.logs(&sandbox, lines, source.as_deref())).await
    }

    /// [`Tx::append_log`].
    ///
    /// # Errors
    /// As there.
    pub async fn append_log(&self, entry: LogEntry) -> Result<()> {
        self.write(move |tx| tx.append_log(&entry)).await
    }
}
