//! One run of code: its output while it runs, and how it ended.

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ringfence_jail::proto::{ExecNo, Exited, ShellId};
use ringfence_model::{ExecutionId, SandboxId, mask::Masks};
use ringfence_store::{ExecutionEnd, ExecutionStatus, Interpreter};
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    capture::Capture,
    machine::{Machine, Process},
};

/// Exit code of a program that its deadline ended, as timeout(1) has it.
pub(crate) const EXIT_TIMEOUT: i32 = 124;

/// A run of code that has begun.
#[derive(Debug)]
pub(crate) struct Execution {
    /// Its id.
    pub id: ExecutionId,
    /// Where it runs.
    pub sandbox: SandboxId,
    /// Its shell and number there, once it has one.
    place: OnceLock<(ShellId, ExecNo)>,
    /// `python`, `bash`.
    pub language: &'static str,
    /// Where its interpreter came from.
    pub interpreter: Interpreter,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Standard output.
    pub stdout: Capture,
    /// Standard error.
    pub stderr: Capture,
    /// Why it was ended from outside, once it was.
    ended_by: OnceLock<&'static str>,
    end: OnceLock<Arc<ExecutionEnd>>,
    done: watch::Sender<bool>,
    /// Another execution ran in the same sandbox meanwhile.
    overlapped: AtomicBool,
    /// The environment version that it began with.
    pub env_version: u64,
    /// Its output goes into the sandbox's log as it comes.
    pub is_followed: bool,
}

/// What is needed to know an execution before it runs.
#[derive(Debug)]
pub(crate) struct Begin {
    /// See [`Execution`].
    pub id: ExecutionId,
    /// See [`Execution`].
    pub sandbox: SandboxId,
    /// See [`Execution`].
    pub language: &'static str,
    /// See [`Execution`].
    pub interpreter: Interpreter,
    /// See [`Execution`].
    pub started_at_ms: u64,
    /// See [`Execution`].
    pub env_version: u64,
    /// Who hears of its output as it comes.
    pub tap: Option<Tap>,
}

/// Who hears of an execution's output as it comes.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    /// Standard output.
    pub(crate) stdout: mpsc::Sender<Bytes>,
    /// Standard error.
    pub(crate) stderr: mpsc::Sender<Bytes>,
}

impl Execution {
    /// An execution that begins; the logs of its streams go below `logs`, and what `masks` finds in them is hidden.
    #[must_use]
    pub(crate) fn new(begin: Begin, logs: &Path, masks: Option<Arc<Masks>>) -> Self {
        let log = |stream: &str| Capture::new(logs.join(format!("{}.{stream}", begin.id)), masks.clone());
        let is_followed = begin.tap.is_some();
        let (stdout, stderr) = begin.tap.map(|tap| (tap.stdout, tap.stderr)).unzip();
        Self {
            stdout: log("stdout").with_tap(stdout),
            stderr: log("stderr").with_tap(stderr),
            is_followed,
            id: begin.id,
            sandbox: begin.sandbox,
            place: OnceLock::new(),
            language: begin.language,
            interpreter: begin.interpreter,
            started_at_ms: begin.started_at_ms,
            ended_by: OnceLock::new(),
            end: OnceLock::new(),
            done: watch::Sender::new(false),
            overlapped: AtomicBool::new(false),
            env_version: begin.env_version,
        }
    }

    /// Says where it runs, once.
    pub(crate) fn placed(&self, shell: ShellId, exec: ExecNo) {
        let _ = self.place.set((shell, exec));
    }

    /// Its shell and number there.
    #[must_use]
    pub(crate) fn place(&self) -> Option<(ShellId, ExecNo)> {
        self.place.get().copied()
    }

    /// Says why it is about to be ended from outside. The first reason counts.
    pub(crate) fn end_because(&self, reason: &'static str) {
        let _ = self.ended_by.set(reason);
    }

    /// Another execution runs in the same sandbox: what is measured of the sandbox is no longer its own alone.
    pub(crate) fn overlap(&self) {
        self.overlapped.store(true, Ordering::Relaxed);
    }

    /// How it ended, if it has.
    #[must_use]
    pub(crate) fn end(&self) -> Option<Arc<ExecutionEnd>> {
        self.end.get().cloned()
    }

    /// Publishes the end, once.
    pub(crate) fn finish(&self, end: Arc<ExecutionEnd>) {
        let _ = self.end.set(end);
        self.done.send_replace(true);
    }

    /// Waits for the end, at most for `patience`.
    pub(crate) async fn wait(&self, patience: Duration) -> Option<Arc<ExecutionEnd>> {
        let mut done = self.done.subscribe();
        let _ = tokio::time::timeout(patience, done.wait_for(|done| *done)).await;
        self.end()
    }

    /// The status and exit code that follow from what the jailer measured. `None`: the sandbox ended under it.
    #[must_use]
    pub(crate) fn verdict(&self, exited: Option<&Exited>) -> (ExecutionStatus, Option<i32>, Vec<String>) {
        let (status, code, mut warnings) = verdict(exited, self.ended_by.get().copied());
        if self.overlapped.load(Ordering::Relaxed) {
            warnings.push("memory_peak_bytes is shared: other executions ran in the sandbox meanwhile".into());
        }
        (status, code, warnings)
    }
}

fn verdict(exited: Option<&Exited>, ended_by: Option<&'static str>) -> (ExecutionStatus, Option<i32>, Vec<String>) {
    const SIGKILL: i32 = 9;
    let mut warnings = Vec::new();
    let Some(exited) = exited else {
        warnings.push(ended_by.unwrap_or("the sandbox ended while the program ran").to_owned());
        return (ExecutionStatus::Killed, Some(128 + SIGKILL), warnings);
    };
    let code = exited.code.or_else(|| exited.signal.map(|signal| 128 + signal));
    if exited.timed_out {
        warnings.push("the program ran into its time limit and everything that it had started was killed".into());
        if exited.still_running > 0 {
            // The jailer has waited for them.
            warnings.push(format!(
                "{} of its killed processes had not ended 2 s later: they hang in the kernel",
                exited.still_running
            ));
        }
        return (ExecutionStatus::Timeout, Some(EXIT_TIMEOUT), warnings);
    }
    if exited.oom_killed {
        warnings.push("the sandbox ran out of memory: the kernel killed at least one of its processes".into());
    }
    if exited.still_running > 0 {
        let (what, verb) = if exited.still_running == 1 { ("process", "runs") } else { ("processes", "run") };
        warnings.push(format!("{} {what} that the program started still {verb} in the sandbox", exited.still_running));
    }
    match (ended_by, exited.signal) {
        (None, Some(SIGKILL)) if exited.oom_killed => (ExecutionStatus::Killed, code, warnings),
        (Some(reason), Some(SIGKILL)) => {
            warnings.push(reason.to_owned());
            (ExecutionStatus::Killed, code, warnings)
        }
        _ if code == Some(0) => (ExecutionStatus::Completed, code, warnings),
        _ => (ExecutionStatus::Failed, code, warnings),
    }
}

/// How a program ended: what was measured of it, and, where that was known before its process was gone, when that is.
#[derive(Debug)]
pub(crate) struct Attended {
    /// `None`: the sandbox ended under it.
    pub(crate) exited: Option<Exited>,
    /// Fires when its process is gone.
    pub(crate) gone: Option<oneshot::Receiver<Exited>>,
}

/// Gives a parked interpreter its program (`request`), feeds it its standard input, and reads what it prints until it is
/// over. What it left running may print on: that is read to nowhere, so that it neither stalls nor dies of it. `heard` is
/// waited for at its end: what it was refused is known then.
pub(crate) async fn attend(
    machine: &Machine,
    execution: &Execution,
    process: Process,
    request: Vec<u8>,
    stdin: Vec<u8>,
    heard: impl Future<Output = ()>,
) -> Attended {
    let Process { stdin: pipe, stdout, stderr, mut exit, control, .. } = process;
    // It may have died, or be hostile: what it does not read until it is over is its own loss, and not kept for it.
    let mut feeding = tokio::task::JoinSet::new();
    let stdin = match control {
        Some(mut control) => {
            feeding.spawn(async move {
                let _ = control.write_all(&request).await;
            });
            stdin
        }
        // A Node that waited reads its program where the program then reads its input.
        None => [request, stdin].concat(),
    };
    if stdin.is_empty() {
        drop(pipe);
    } else {
        feeding.spawn(feed(pipe, stdin));
    }
    let (ended, is_ended) = watch::channel(false);
    let read = async {
        tokio::join!(
            read(&execution.stdout, stdout, is_ended.clone()),
            read(&execution.stderr, stderr, is_ended.clone())
        )
    };
    tokio::pin!(read);
    let exited = tokio::select! {
        biased;
        exited = &mut exit => {
            ended.send_replace(true);
            tokio::join!(read, heard);
            return Attended { exited: exited.ok(), gone: None };
        }
        // Nobody writes any more: it has closed its outputs, or is on its way out.
        _ = &mut read => tokio::join!(ending(machine, execution), heard).0,
    };
    match exited {
        Some(exited) => Attended { exited: Some(exited), gone: Some(exit) },
        None => Attended { exited: exit.await.ok(), gone: None },
    }
}

/// The accounts of an execution that is on its way out, with its exit code; `None` when it only closed its outputs.
pub(crate) async fn ending(machine: &Machine, execution: &Execution) -> Option<Exited> {
    // Node, which has closed its outputs, takes 1 to 3 ms until its exit begins.
    const LOOKS: u32 = 40;
    const BETWEEN: Duration = Duration::from_micros(200);
    let (shell, exec) = execution.place()?;
    for _ in 0..LOOKS {
        let account = machine.account(shell, exec).await.ok()?;
        if account.code.is_some() {
            return Some(account);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    None
}

async fn feed(mut pipe: pipe::Sender, bytes: Vec<u8>) {
    // A program that does not read its input leaves the rest unread; that is its right.
    let _ = pipe.write_all(&bytes).await;
}

pub(crate) const CHUNK: usize = 16 << 10;

/// More than a pipe can hold (`/proc/sys/fs/pipe-max-size`, 1 MiB for the unprivileged): what the first process had
/// written before it ended is within this.
pub(crate) const DRAIN_BYTES_MAX: usize = 2 << 20;

async fn read(capture: &Capture, stream: pipe::Receiver, mut ended: watch::Receiver<bool>) {
    let mut buffer = vec![0_u8; CHUNK];
    while !*ended.borrow() {
        tokio::select! {
            _ = stream.readable() => {}
            _ = ended.wait_for(|ended| *ended) => break,
        }
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => capture.push(&buffer[..len]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        // One that prints without pause must not keep others from their turn.
        tokio::task::consume_budget().await;
    }
    // What it wrote before it ended is there. The kernel is asked itself: the runtime says "nothing yet" of a pipe whose first
    // event it has not seen.
    let mut drained = 0;
    while drained <= DRAIN_BYTES_MAX {
        match rustix::io::read(&stream, &mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                capture.push(&buffer[..len]);
                drained += len;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => break,
            Err(_) => return,
        }
    }
    tokio::spawn(discard(stream, buffer));
}

/// Pipes of ended executions that are read on. More are closed: what still writes to one gets SIGPIPE.
const DISCARDED_MAX: usize = 2048;

static DISCARDED: AtomicUsize = AtomicUsize::new(0);

async fn discard(stream: pipe::Receiver, mut buffer: Vec<u8>) {
    if DISCARDED.fetch_add(1, Ordering::Relaxed) < DISCARDED_MAX {
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => break,
                Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => break,
                _ => tokio::task::consume_budget().await,
            }
        }
    }
    DISCARDED.fetch_sub(1, Ordering::Relaxed);
}

/// Whether a parked interpreter is still alive.
pub(crate) fn is_alive(exit: &mut oneshot::Receiver<Exited>) -> bool {
    matches!(exit.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: Option<i32>, signal: Option<i32>, timed_out: bool) -> Exited {
        Exited {
            shell: ShellId(1),
            exec: ExecNo(1),
            code,
            signal,
            timed_out,
            oom_killed: false,
            cpu_usec: 0,
            wall_usec: 0,
            memory_peak_bytes: 0,
            still_running: 0,
            left_artifacts: false,
            left_figures: false,
        }
    }

    #[track_caller]
    fn check(exited: Option<Exited>, ended_by: Option<&'static str>, status: ExecutionStatus, code: Option<i32>) {
        let (got, exit_code, _) = verdict(exited.as_ref(), ended_by);
        assert_eq!((got, exit_code), (status, code));
    }

    #[tokio::test]
    async fn what_was_printed_before_the_end_is_read_though_the_runtime_has_not_heard_of_it() {
        for _ in 0..200 {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let stream = pipe::Receiver::from_owned_fd(reader.into()).expect("a pipe");
            let capture = Capture::new("/nonexistent/out".into(), None);
            std::io::Write::write_all(&mut &writer, b"last words").expect("it is open");
            // Somebody else keeps it open, so that there is no end of file either.
            read(&capture, stream, watch::Sender::new(true).subscribe()).await;
            assert_eq!(capture.snapshot().0, b"last words");
            drop(writer);
        }
    }

    #[test]
    fn an_end_has_the_name_of_its_cause() {
        use ExecutionStatus::{Completed, Failed, Killed, Timeout};
        check(Some(exited(Some(0), None, false)), None, Completed, Some(0));
        check(Some(exited(Some(3), None, false)), None, Failed, Some(3));
        check(Some(exited(None, Some(11), false)), None, Failed, Some(139));
        check(Some(exited(None, Some(9), true)), None, Timeout, Some(124));
        // A program that kills itself has failed; one that we killed was killed.
        check(Some(exited(None, Some(9), false)), None, Failed, Some(137));
        check(Some(exited(None, Some(9), false)), Some("the sandbox was stopped"), Killed, Some(137));
        let starved = Exited { oom_killed: true, ..exited(None, Some(9), false) };
        check(Some(starved), None, Killed, Some(137));
        // It ended by itself just before it would have been killed.
        check(Some(exited(Some(0), None, false)), Some("the sandbox was stopped"), Completed, Some(0));
        check(None, None, Killed, Some(137));
    }
}
