//! What a template has run in the background of its sandboxes: a server, a watcher. It is an execution like others, begun by the
//! system, and ends with the sandbox; what it prints goes into the sandbox's log as it comes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ringfence_jail::proto::Rights;
use ringfence_model::{ApiError, SandboxId, api::StartStatus};
use ringfence_store::{Actor, LogEntry, LogLevel, Store};
use tokio::sync::mpsc;

use crate::{
    engine::{Engine, now_ms},
    error::Failure,
    execution::{Execution, Tap},
    language::Language,
    run::Program,
    sandbox::Sandbox,
    view,
};

/// As long as a sandbox may live, and longer than anybody will look.
const FOREVER: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Pieces of output that wait for the log. More are left out.
const WAITING_MAX: usize = 64;

/// How often lines are written down, together.
const EVERY: Duration = Duration::from_millis(250);

/// Lines that are written at once. More are counted.
const LINES_MAX: usize = 50;

/// Longest line; the rest of it is left out.
const LINE_BYTES_MAX: usize = 2048;

/// What became of the command since the sandbox's last start.
#[derive(Debug, Clone)]
pub(crate) enum Started {
    /// It is, or was, this execution.
    Execution(Arc<Execution>),
    /// It could not be started.
    Failed(String),
}

impl Engine {
    /// Starts what the sandbox's template has run in its background. A sentence when it could not be started: the sandbox is
    /// usable all the same.
    pub(crate) async fn run_start(&self, sandbox: &Arc<Sandbox>) -> Option<String> {
        let command = sandbox.template.defaults.start.clone()?;
        let (stdout, from_stdout) = mpsc::channel(WAITING_MAX);
        let (stderr, from_stderr) = mpsc::channel(WAITING_MAX);
        let program = Program {
            rights: Rights::Program,
            code: command,
            language: Language::Bash,
            env: Vec::new(),
            exposed: Vec::new(),
            working_dir: None,
            timeout: FOREVER,
            stdin: Vec::new(),
            background: true,
            tap: Some(Tap { stdout, stderr }),
        };
        let begun = self.begin(Actor::System, sandbox, program).await.map_err(Failure::public);
        let keep = |started| *sandbox.started.lock().expect("nothing panics under this lock") = Some(started);
        match begun {
            Ok(execution) => {
                keep(Started::Execution(execution));
                for (level, from) in [(LogLevel::Info, from_stdout), (LogLevel::Warn, from_stderr)] {
                    tokio::spawn(follow(self.inner.store.clone(), sandbox.id.clone(), level, from));
                }
                None
            }
            Err(ApiError { message, .. }) => {
                keep(Started::Failed(message.clone()));
                Some(format!("the template's start command could not be started: {message}"))
            }
        }
    }
}

impl Sandbox {
    /// How the command stands; `None` when its template has none.
    pub(crate) fn start_status(&self) -> Option<StartStatus> {
        let command = self.template.defaults.start.clone()?;
        let none = StartStatus {
            command,
            status: "stopped".into(),
            execution_id: None,
            started_at: None,
            exit_code: None,
            error: None,
        };
        let started = self.started.lock().expect("nothing panics under this lock").clone();
        Some(match started {
            None => none,
            Some(Started::Failed(why)) => StartStatus { status: "failed".into(), error: Some(why), ..none },
            Some(Started::Execution(execution)) => {
                let end = execution.end();
                StartStatus {
                    status: if end.is_some() { "ended" } else { "running" }.into(),
                    execution_id: Some(execution.id.clone()),
                    started_at: Some(view::time(execution.started_at_ms)),
                    exit_code: end.and_then(|end| end.exit_code),
                    ..none
                }
            }
        })
    }
}

/// Writes a stream into the sandbox's log, line by line, until it ends.
async fn follow(store: Store, sandbox: SandboxId, level: LogLevel, mut from: mpsc::Receiver<Bytes>) {
    let mut lines = Lines::default();
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            piece = from.recv() => match piece {
                Some(piece) => {
                    lines.take(&piece);
                    continue;
                }
                None => {
                    lines.end();
                    true
                }
            },
            _ = interval.tick() => false,
        };
        let (written, left_out) = lines.finished();
        let mut entries: Vec<LogEntry> = written
            .into_iter()
            .map(|message| LogEntry {
                sandbox: sandbox.clone(),
                at_ms: now_ms(),
                level,
                source: "start".into(),
                message,
            })
            .collect();
        if left_out > 0 {
            let message = format!("{left_out} lines were left out: too many came at once");
            let at_ms = now_ms();
            entries.push(LogEntry { sandbox: sandbox.clone(), at_ms, level, source: "start".into(), message });
        }
        if !entries.is_empty()
            && let Err(error) = store.note(move |tx| entries.iter().try_for_each(|entry| tx.append_log(entry))).await
        {
            tracing::warn!(%error, "lines of a start command could not be written");
        }
        if ended {
            return;
        }
    }
}

/// Cuts what comes into lines, as many as are written at once.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    finished: Vec<String>,
    left_out: usize,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end();
            } else if self.begun.len() < LINE_BYTES_MAX {
                self.begun.push(byte);
            }
        }
    }

    /// The line that was begun is over.
    fn end(&mut self) {
        let line = std::mem::take(&mut self.begun);
        if line.is_empty() {
            return;
        }
        if self.finished.len() < LINES_MAX {
            self.finished.push(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
        } else {
            self.left_out += 1;
        }
    }

    fn finished(&mut self) -> (Vec<String>, usize) {
        (std::mem::take(&mut self.finished), std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_bounded() {
        let mut lines = Lines::default();
        lines.take(b"one\r\ntw");
        lines.take(b"o\n\nthree");
        assert_eq!(lines.finished(), (vec!["one".to_owned(), "two".to_owned()], 0));
        lines.end();
        assert_eq!(lines.finished(), (vec!["three".to_owned()], 0));
        lines.take(&b"x\n".repeat(LINES_MAX + 5));
        let (kept, left_out) = lines.finished();
        assert_eq!((kept.len(), left_out), (LINES_MAX, 5));
        lines.take(&vec![b'y'; 2 * LINE_BYTES_MAX]);
        lines.end();
        assert_eq!(lines.finished().0[0].len(), LINE_BYTES_MAX);
    }
}
