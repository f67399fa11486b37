//! Executions as rows: what ran, how it ended, and what it printed.

use std::fmt;

use ringfence_model::{ExecutionId, SandboxId};
use rusqlite::{OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Result, StoreError, doing};
use crate::store::Store;
use crate::tx::{Tx, View};

/// Bytes of each output stream that a row may hold.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// How an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionStatus {
    /// Not ended yet.
    Running,
    /// Ended with exit code 0.
    Completed,
    /// Ended with another exit code.
    Failed,
    /// Ended by its deadline.
    Timeout,
    /// Ended from outside: stop, delete, expiry, a crash of the host.
    Killed,
}

impl ExecutionStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Running, Self::Completed, Self::Failed, Self::Timeout, Self::Killed];

    /// The status as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Killed => "killed",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Where an execution's interpreter came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpreter {
    /// It waited in the sandbox, warm.
    Parked,
    /// It was forked from the zygote on demand.
    Forked,
    /// It was executed anew.
    Fresh,
}

impl Interpreter {
    /// The word as clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Forked => "forked",
            Self::Fresh => "fresh",
        }
    }

    /// The interpreter of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Parked, Self::Forked, Self::Fresh].into_iter().find(|interpreter| interpreter.as_str() == text)
    }
}

/// The SHA-256 of a program, under which it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeHash([u8; 32]);

impl CodeHash {
    /// The hash of this program.
    #[must_use]
    pub fn of(code: &[u8]) -> Self {
        Self(Sha256::digest(code).into())
    }
}

impl fmt::Display for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// An execution that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExecution {
    /// Its id.
    pub id: ExecutionId,
    /// The sandbox that it runs in.
    pub sandbox: SandboxId,
    /// Its number in the sandbox, which no other execution there has had.
    pub number: u64,
    /// `python`, `javascript`, `bash`.
    pub language: String,
    /// The program, kept once under its hash.
    pub code: Vec<u8>,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Its deadline.
    pub timeout_ms: u64,
    /// Whether nobody waits for it.
    pub background: bool,
    /// Where its interpreter came from.
    pub interpreter: Interpreter,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionEnd {
    /// Any status but [`ExecutionStatus::Running`].
    pub status: ExecutionStatus,
    /// The exit code, 124 for a timeout, 128 + n for signal n.
    pub exit_code: Option<i32>,
    /// When, in milliseconds since the Unix epoch.
    pub finished_at_ms: u64,
    /// Wall-clock time; none when it is not known, as after a crash of the host.
    pub execution_time_us: Option<u64>,
    /// Processor time of all its processes.
    pub cpu_time_us: Option<u64>,
    /// Peak memory of the sandbox meanwhile.
    pub memory_peak_bytes: Option<u64>,
    /// What was kept of its output, and how much there was.
    pub output: ExecutionOutput,
    /// Whether output was dropped.
    pub truncated: bool,
    /// Sentences for the client.
    pub warnings: Vec<String>,
    /// As the API shows them.
    pub artifacts: Value,
    /// As the API shows them.
    pub denials: Value,
}

/// What was kept of an execution's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionOutput {
    /// At most 1 MiB of standard output.
    pub stdout: Vec<u8>,
    /// At most 1 MiB of standard error.
    pub stderr: Vec<u8>,
    /// All bytes that it wrote to standard output.
    pub stdout_seen_bytes: u64,
    /// All bytes that it wrote to standard error.
    pub stderr_seen_bytes: u64,
}

/// An execution, without its output ([`View::execution_output`]).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "as in NewExecution and ExecutionEnd")]
pub struct ExecutionRow {
    pub id: ExecutionId,
    pub sandbox: SandboxId,
    pub number: u64,
    pub language: String,
    pub code: CodeHash,
    pub status: ExecutionStatus,
    pub exit_code: Option<i32>,
    pub started_at_ms: u64,
    pub finished_at_ms: Option<u64>,
    pub execution_time_us: Option<u64>,
    pub cpu_time_us: Option<u64>,
    pub memory_peak_bytes: Option<u64>,
    pub stdout_seen_bytes: u64,
    pub stderr_seen_bytes: u64,
    pub truncated: bool,
    pub interpreter: Interpreter,
    pub background: bool,
    pub timeout_ms: u64,
    pub warnings: Vec<String>,
    pub artifacts: Value,
    pub denials: Value,
}

/// Which executions to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Only of this sandbox.
    pub sandbox: Option<SandboxId>,
    /// Only in this state.
    pub status: Option<ExecutionStatus>,
    /// At most so many.
    pub limit: Option<u32>,
}

const COLUMNS: &str = "id, sandbox_id, number, language, code_sha256, status, exit_code, started_at_ms, finished_at_ms, \
     execution_time_us, cpu_time_us, memory_peak_bytes, stdout_seen_bytes, stderr_seen_bytes, truncated, interpreter, \
     background, timeout_ms, warnings, artifacts, denials";

impl View<'_> {
    /// The execution of this id.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn execution(&self, id: &ExecutionId) -> Result<Option<ExecutionRow>> {
        const WHAT: &str = "read an execution";
        let sql = format!("SELECT {COLUMNS} FROM execution WHERE id = ?1");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        statement.query_row(params![id.as_str()], read).optional().map_err(doing(WHAT))?.transpose()
    }

    /// The executions that the filter lets through, newest first.
    ///
    /// # Errors
    /// As [`View::execution`].
    pub fn executions(&self, filter: &ExecutionFilter) -> Result<Vec<ExecutionRow>> {
        const WHAT: &str = "list executions";
        let sql = format!(
            "SELECT {COLUMNS} FROM execution WHERE (:sandbox IS NULL OR sandbox_id = :sandbox) \
             AND (:status IS NULL OR status = :status) ORDER BY started_at_ms DESC, rowid DESC LIMIT :limit"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let rows = statement
            .query_map(
                named_params! {":sandbox": filter.sandbox.as_ref().map(SandboxId::as_str),
                ":status": filter.status.map(ExecutionStatus::as_str), ":limit": filter.limit.map_or(-1, i64::from)},
                read,
            )
            .map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    /// How many executions a sandbox has had, by status; a status without any is left out.
    ///
    /// # Errors
    /// As [`View::execution`].
    pub fn execution_counts(&self, sandbox: &SandboxId) -> Result<Vec<(ExecutionStatus, u64)>> {
        const WHAT: &str = "count executions";
        let mut statement = self
            .conn
            .prepare_cached("SELECT status, count(*) FROM execution WHERE sandbox_id = ?1 GROUP BY status")
            .map_err(doing(WHAT))?;
        let rows = statement
            .query_map(params![sandbox.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
            .map_err(doing(WHAT))?;
        rows.map(|row| {
            let (status, count) = row.map_err(doing(WHAT))?;
            let status = ExecutionStatus::parse(&status)
                .ok_or_else(|| StoreError::Unreadable { column: "status", row: format!("executions of {sandbox}") })?;
            Ok((status, count))
        })
        .collect()
    }

    /// The highest execution number of a sandbox, 0 before the first.
    ///
    /// # Errors
    /// The database refuses.
    pub fn last_execution_number(&self, sandbox: &SandboxId) -> Result<u64> {
        self.conn
            .prepare_cached("SELECT coalesce(max(number), 0) FROM execution WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str()], |row| row.get(0)))
            .map_err(doing("read an execution number"))
    }

    /// What was kept of an execution's output; none before its end.
    ///
    /// # Errors
    /// The database refuses.
    pub fn execution_output(&self, id: &ExecutionId) -> Result<Option<ExecutionOutput>> {
        self.conn
            .prepare_cached(
                "SELECT output.stdout, output.stderr, execution.stdout_seen_bytes, execution.stderr_seen_bytes \
                 FROM output JOIN execution ON execution.id = output.execution_id WHERE output.execution_id = ?1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![id.as_str()], |row| {
                        Ok(ExecutionOutput {
                            stdout: row.get(0)?,
                            stderr: row.get(1)?,
                            stdout_seen_bytes: row.get(2)?,
                            stderr_seen_bytes: row.get(3)?,
                        })
                    })
                    .optional()
            })
            .map_err(doing("read an execution's output"))
    }

    /// The program of this hash.
    ///
    /// # Errors
    /// The database refuses, or the program no longer has this hash.
    pub fn code(&self, hash: &CodeHash) -> Result<Option<Vec<u8>>> {
        let code: Option<Vec<u8>> = self
            .conn
            .prepare_cached("SELECT bytes FROM code WHERE sha256 = ?1")
            .and_then(|mut statement| statement.query_row(params![hash.0], |row| row.get(0)).optional())
            .map_err(doing("read a program"))?;
        match code {
            Some(bytes) if CodeHash::of(&bytes) != *hash => {
                Err(StoreError::Unreadable { column: "bytes", row: format!("code {hash}") })
            }
            other => Ok(other),
        }
    }
}

impl Tx<'_> {
    /// Adds an execution that begins now, and its program. Returns the program's hash.
    ///
    /// # Errors
    /// [`StoreError::Exists`] for its id or its number, or the database refuses, as it does when there is no such
    /// sandbox.
    pub fn insert_execution(&self, new: &NewExecution) -> Result<CodeHash> {
        const WHAT: &str = "add an execution";
        if self.execution(&new.id)?.is_some() {
            return Err(StoreError::Exists { kind: "execution", id: new.id.to_string() });
        }
        if self.execution_number_taken(&new.sandbox, new.number)? {
            return Err(StoreError::Exists { kind: "execution number", id: format!("{}/{}", new.sandbox, new.number) });
        }
        let hash = CodeHash::of(&new.code);
        self.conn
            .prepare_cached("INSERT INTO code (sha256, bytes) VALUES (?1, ?2) ON CONFLICT (sha256) DO NOTHING")
            .and_then(|mut statement| statement.execute(params![hash.0, new.code]))
            .map_err(doing("keep a program"))?;
        let sql = format!(
            "INSERT INTO execution ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, 'running', NULL, ?6, NULL, NULL, NULL, \
             NULL, 0, 0, 0, ?7, ?8, ?9, '[]', '[]', '[]')"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        statement
            .execute(params![
                new.id.as_str(),
                new.sandbox.as_str(),
                new.number,
                new.language,
                hash.0,
                new.started_at_ms,
                new.interpreter.as_str(),
                new.background,
                new.timeout_ms,
            ])
            .map_err(doing(WHAT))?;
        Ok(hash)
    }

    /// Corrects where an execution's interpreter came from, when that was not known at its beginning.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the database refuses.
    pub fn set_execution_interpreter(&self, id: &ExecutionId, interpreter: Interpreter) -> Result<()> {
        let changed = self
            .conn
            .prepare_cached("UPDATE execution SET interpreter = ?2 WHERE id = ?1")
            .and_then(|mut statement| statement.execute(params![id.as_str(), interpreter.as_str()]))
            .map_err(doing("set an execution's interpreter"))?;
        if changed == 0 { Err(not_found(id)) } else { Ok(()) }
    }

    /// Ends an execution, once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::EndedAlready`]; more than 1 MiB of a stream; or the database refuses.
    pub fn finish_execution(&self, id: &ExecutionId, end: &ExecutionEnd) -> Result<()> {
        const WHAT: &str = "finish an execution";
        assert_ne!(end.status, ExecutionStatus::Running, "an end is not `running`");
        for (name, bytes) in [("stdout", &end.output.stdout), ("stderr", &end.output.stderr)] {
            if bytes.len() > OUTPUT_BYTES_MAX {
                let len = bytes.len();
                return Err(StoreError::Refused(format!("{len} bytes of {name}: at most {OUTPUT_BYTES_MAX} are kept")));
            }
        }
        let row = self.execution(id)?.ok_or_else(|| not_found(id))?;
        if row.status != ExecutionStatus::Running {
            return Err(StoreError::EndedAlready { id: id.to_string() });
        }
        self.conn
            .prepare_cached(
                "UPDATE execution SET status = :status, exit_code = :exit_code, finished_at_ms = :finished, \
                 execution_time_us = :wall, cpu_time_us = :cpu, memory_peak_bytes = :memory, \
                 stdout_seen_bytes = :stdout_seen, stderr_seen_bytes = :stderr_seen, truncated = :truncated, \
                 warnings = :warnings, artifacts = :artifacts, denials = :denials WHERE id = :id",
            )
            .and_then(|mut statement| {
                statement.execute(named_params! {":status": end.status.as_str(), ":exit_code": end.exit_code,
                ":finished": end.finished_at_ms, ":wall": end.execution_time_us, ":cpu": end.cpu_time_us,
                ":memory": end.memory_peak_bytes, ":stdout_seen": end.output.stdout_seen_bytes,
                ":stderr_seen": end.output.stderr_seen_bytes, ":truncated": end.truncated,
                ":warnings": serde_json::json!(end.warnings).to_string(), ":artifacts": end.artifacts.to_string(),
                ":denials": end.denials.to_string(), ":id": id.as_str()})
            })
            .map_err(doing(WHAT))?;
        self.conn
            .prepare_cached("INSERT INTO output (execution_id, stdout, stderr) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![id.as_str(), end.output.stdout, end.output.stderr]))
            .map_err(doing(WHAT))?;
        Ok(())
    }

    fn execution_number_taken(&self, sandbox: &SandboxId, number: u64) -> Result<bool> {
        self.conn
            .prepare_cached("SELECT 1 FROM execution WHERE sandbox_id = ?1 AND number = ?2")
            .and_then(|mut statement| statement.exists(params![sandbox.as_str(), number]))
            .map_err(doing("look for an execution number"))
    }
}

impl Store {
    /// [`View::execution`].
    ///
    /// # Errors
    /// As there.
    pub async fn execution(&self, id: &ExecutionId) -> Result<Option<ExecutionRow>> {
        let id = id.clone();
        self.read(move |view| view.execution(&id)).await
    }

    /// [`View::execution_output`].
    ///
    /// # Errors
    /// As there.
    pub async fn execution_output(&self, id: &ExecutionId) -> Result<Option<ExecutionOutput>> {
        let id = id.clone();
        self.read(move |view| view.execution_output(&id)).await
    }

    /// [`View::executions`].
    ///
    /// # Errors
    /// As there.
    pub async fn executions(&self, filter: ExecutionFilter) -> Result<Vec<ExecutionRow>> {
        self.read(move |view| view.executions(&filter)).await
    }

    /// [`Tx::finish_execution`].
    ///
    /// # Errors
    /// As there.
    pub async fn finish_execution(&self, id: &ExecutionId, end: ExecutionEnd) -> Result<()> {
        let id = id.clone();
        self.write(move |tx| tx.finish_execution(&id, &end)).await
    }
}

fn not_found(id: &ExecutionId) -> StoreError {
    StoreError::NotFound { kind: "execution", id: id.to_string() }
}

/// Reads [`COLUMNS`]. The outer error is SQLite's, the inner one says which text is not ours.
fn read(row: &Row<'_>) -> rusqlite::Result<Result<ExecutionRow>> {
    let id: String = row.get(0)?;
    let (sandbox, status, interpreter): (String, String, String) = (row.get(1)?, row.get(5)?, row.get(15)?);
    let (warnings, artifacts, denials): (String, String, String) = (row.get(18)?, row.get(19)?, row.get(20)?);
    let (number, language, code) = (row.get(2)?, row.get(3)?, CodeHash(row.get(4)?));
    let (exit_code, started_at_ms, finished_at_ms) = (row.get(6)?, row.get(7)?, row.get(8)?);
    let (execution_time_us, cpu_time_us, memory_peak_bytes) = (row.get(9)?, row.get(10)?, row.get(11)?);
    let (stdout_seen_bytes, stderr_seen_bytes, truncated) = (row.get(12)?, row.get(13)?, row.get(14)?);
    let (background, timeout_ms) = (row.get(16)?, row.get(17)?);
    let unreadable = |column| StoreError::Unreadable { column, row: format!("execution {}", id.escape_default()) };
    Ok((|| {
        Ok(ExecutionRow {
            id: ExecutionId::parse(&id).map_err(|_| unreadable("id"))?,
            sandbox: SandboxId::parse(&sandbox).map_err(|_| unreadable("sandbox_id"))?,
            status: ExecutionStatus::parse(&status).ok_or_else(|| unreadable("status"))?,
            interpreter: Interpreter::parse(&interpreter).ok_or_else(|| unreadable("interpreter"))?,
            warnings: serde_json::from_str(&warnings).map_err(|_| unreadable("warnings"))?,
            artifacts: serde_json::from_str(&artifacts).map_err(|_| unreadable("artifacts"))?,
            denials: serde_json::from_str(&denials).map_err(|_| unreadable("denials"))?,
            number,
            language,
            code,
            exit_code,
            started_at_ms,
            finished_at_ms,
            execution_time_us,
            cpu_time_us,
            memory_peak_bytes,
            stdout_seen_bytes,
            stderr_seen_bytes,
            truncated,
            background,
            timeout_ms,
        })
    })())
}
