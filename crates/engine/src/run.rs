//! Running code in a sandbox.

use std::{sync::Arc, time::Duration};

use ringfence_guest::park;
use ringfence_jail::proto::{Exited, Refusal, Rights};
use ringfence_model::{ApiError, Code, ExecutionId, api::Artifact};
use ringfence_store::{
    Actor, CodeHash, ExecutionEnd, ExecutionOutput, ExecutionStatus, Interpreter, LogEntry, LogLevel, NewExecution,
    SandboxStatus, StoreError,
};

use tokio::sync::oneshot;

use crate::{
    engine::{Engine, now_ms},
    environment::{environment, masks},
    error::Failure,
    execution::{self, Attended, Begin, Execution},
    guest::GuestError,
    jailer::JailerError,
    language::Language,
    lookup::not_running,
    machine::{MachineError, Process, SharedShell},
    registry::Warm,
    sandbox::{Lingering, Next, Sandbox},
};

/// Home of the program's user, and where programs start.
pub(crate) const HOME: &str = "/home/user";

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) code: String,
    pub(crate) language: Language,
    /// As whom. An installer is bash, and begins with `env` alone.
    pub(crate) rights: Rights,
    /// On top of the sandbox's own.
    pub(crate) env: Vec<(String, String)>,
    /// Names in `env` whose values are masked in what it prints.
    pub(crate) exposed: Vec<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) stdin: Vec<u8>,
    pub(crate) background: bool,
    /// Who hears of its output as it comes.
    pub(crate) tap: Option<execution::Tap>,
}

/// How long after an answer the next interpreter is begun: a client that deletes its sandbox next is not slowed down by
/// one that nobody will use.
const PARK_DELAY: Duration = Duration::from_millis(1);

/// How long warming waits for quiet; after that it is not worth much, for the sandbox is in use.
const QUIET_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of one figure that are put into the answer itself.
const FIGURE_BYTES_MAX: u64 = 2 << 20;

/// How long listing them may take: the sandbox does it, within its own limits.
const ARTIFACTS_PATIENCE: Duration = Duration::from_secs(5);

/// Executions of one sandbox that may run at once.
const RUNNING_MAX: usize = 64;

/// Artefacts listed in one answer.
const ARTIFACTS_MAX: usize = 64;

/// Bytes of a program that is handed over as an argument. The jailer's messages bound it.
const ARGUMENT_BYTES_MAX: usize = 64 << 10;

/// Lines of a stream that go into the sandbox's log.
const LOG_LINES: usize = 50;

impl Engine {
    /// Begins a run: the decision is on disk before the program has its first instruction.
    ///
    /// # Errors
    /// The sandbox does not run, or could not.
    pub(crate) async fn begin(
        &self,
        actor: Actor,
        sandbox: &Arc<Sandbox>,
        program: Program,
    ) -> Result<Arc<Execution>, Failure> {
        let _gate = sandbox.gate.read().await;
        let (shell, next) = {
            let mut state = sandbox.state.lock().await;
            match (state.status, &state.shell) {
                (SandboxStatus::Running, Some(shell)) => {
                    let shell = Arc::clone(shell);
                    let next = if waits_for(sandbox, &program) { state.next.take() } else { Next::None };
                    (shell, next)
                }
                (status, _) => return Err(not_running(&sandbox.id, status).into()),
            }
        };
        let (process, interpreter) = match waits_for(sandbox, &program) {
            true => self.interpreter(sandbox, &shell, next).await,
            false => (None, Interpreter::Fresh),
        };
        let id = ExecutionId::from_parts(now_ms(), rand::random());
        let (env, env_version) = environment(sandbox, &program);
        let masks = masks(sandbox, &program);
        let cwd = absolute(program.working_dir.as_deref().unwrap_or(&sandbox.template.defaults.working_dir));
        let begin = Begin {
            id: id.clone(),
            sandbox: sandbox.id.clone(),
            language: program.language.as_str(),
            interpreter,
            started_at_ms: now_ms(),
            env_version,
            tap: program.tap.clone(),
        };
        let execution = Arc::new(Execution::new(begin, &self.logs(), masks));
        {
            let mut running = self.running();
            if running.values().filter(|other| other.sandbox == sandbox.id).count() >= RUNNING_MAX {
                let text = format!("{RUNNING_MAX} executions run in this sandbox already; wait for one to end");
                return Err(ApiError::new(Code::InsufficientResources, text).into());
            }
            for other in running.values().filter(|other| other.sandbox == sandbox.id) {
                other.overlap();
                execution.overlap();
            }
            running.insert(id.clone(), Arc::clone(&execution));
        }
        let begun = self.record(actor, sandbox, &execution, &program).await;
        if let Err(error) = begun {
            self.running().remove(&id);
            return Err(error);
        }
        let timeout_ms = u64::try_from(program.timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let started = self.launch(&shell, &execution, process, &program, env, cwd, timeout_ms).await;
        let (engine, sandbox, stdin) = (self.clone(), Arc::clone(sandbox), program.stdin);
        let attended = Arc::clone(&execution);
        match started {
            Ok((process, request)) => {
                tokio::spawn(async move {
                    let machine = &engine.inner.machine;
                    let end =
                        execution::attend(machine, &attended, process, request, stdin, engine.inner.gate.fence()).await;
                    engine.conclude(&sandbox, &shell, &attended, end).await;
                });
                Ok(execution)
            }
            Err(error) => {
                execution.end_because("it could not be started");
                let end = Attended { exited: None, gone: None };
                self.conclude(&sandbox, &shell, &execution, end).await;
                Err(error)
            }
        }
    }

    /// The interpreter that a program runs in: the one that waits, else one forked now, else none (then it is executed
    /// anew).
    async fn interpreter(
        &self,
        sandbox: &Sandbox,
        shell: &SharedShell,
        next: Next,
    ) -> (Option<Box<Process>>, Interpreter) {
        let waiting = match next {
            Next::Parked(process) => Some(process),
            Next::Coming(coming) => coming.await.ok().flatten(),
            Next::None => None,
        };
        if let Some(mut process) = waiting
            && execution::is_alive(&mut process.exit)
        {
            return (Some(process), Interpreter::Parked);
        }
        // A Node that is started now is started for its program.
        if !matches!(sandbox.template.warm, Warm::Forked(_)) {
            return (None, Interpreter::Fresh);
        }
        match self.inner.machine.park(shell, &sandbox.template).await {
            Ok(process) => (Some(Box::new(process)), Interpreter::Forked),
            Err(error) => {
                tracing::warn!(error = %Failure::from(error).chain(), sandbox = %sandbox.id, "an interpreter could not be forked");
                (None, Interpreter::Fresh)
            }
        }
    }

    /// Audit entry and row, in one transaction.
    async fn record(
        &self,
        actor: Actor,
        sandbox: &Sandbox,
        execution: &Execution,
        program: &Program,
    ) -> Result<(), Failure> {
        let code = program.code.clone().into_bytes();
        let env: Vec<&str> =
            program.env.iter().map(|(name, _)| name.as_str()).take(crate::create::AUDITED_NAMES_MAX).collect();
        let detail = serde_json::json!({
            "code_sha256": CodeHash::of(&code).to_string(),
            "code_bytes": code.len(),
            "language": execution.language,
            "interpreter": execution.interpreter.as_str(),
            "timeout_ms": u64::try_from(program.timeout.as_millis()).unwrap_or(u64::MAX),
            "env_version": execution.env_version,
            "env_names": env,
            "exposed": program.exposed,
        });
        let entry = Self::entry(actor, "execution.start").sandbox(&sandbox.id).execution(&execution.id).detail(detail);
        let new = NewExecution {
            id: execution.id.clone(),
            sandbox: sandbox.id.clone(),
            number: sandbox.next_number(),
            language: execution.language.to_owned(),
            code,
            started_at_ms: execution.started_at_ms,
            timeout_ms: u64::try_from(program.timeout.as_millis()).unwrap_or(u64::MAX),
            background: program.background,
            interpreter: execution.interpreter,
        };
        let (_, receipt) =
            self.inner.store.write_with_audit(entry, move |tx| tx.insert_execution(&new).map(drop)).await?;
        drop(receipt);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "each is one of the facts that a start consists of")]
    pub(crate) async fn launch(
        &self,
        shell: &SharedShell,
        execution: &Execution,
        process: Option<Box<Process>>,
        program: &Program,
        env: Vec<String>,
        cwd: String,
        timeout_ms: u64,
    ) -> Result<(Process, Vec<u8>), Failure> {
        let machine = &self.inner.machine;
        let Some(process) = process else {
            if program.rights == Rights::Installer {
                // As an argument: where programs are written, others of the sandbox write too.
                let argv = ["/bin/bash", "-c", &program.code].map(str::to_owned).into();
                let spawned = machine.spawn(shell, program.rights, argv, env, cwd, Some(timeout_ms)).await;
                let process = spawned.map_err(not_started)?;
                execution.placed(shell.id, process.exec);
                return Ok((process, Vec::new()));
            }
            let path = program.language.program_path(execution.id.as_str());
            let argv = program.language.argv(&path);
            let written = shell.guest.write(&path, 0o644, program.code.as_bytes()).await;
            let argv = match written {
                Ok(()) => argv,
                // Where programs are written is full: what would make room there must be runnable all the same.
                Err(GuestError::Io(_))
                    if program.language == Language::Bash && program.code.len() <= ARGUMENT_BYTES_MAX =>
                {
                    vec!["/bin/bash".to_owned(), "-c".to_owned(), program.code.clone()]
                }
                Err(error) => return Err(crate::files::refusal(error).into()),
            };
            let process =
                machine.spawn(shell, program.rights, argv, env, cwd, Some(timeout_ms)).await.map_err(not_started)?;
            execution.placed(shell.id, process.exec);
            return Ok((process, Vec::new()));
        };
        execution.placed(shell.id, process.exec);
        let request = park::Request {
            flags: 0,
            path: program.language.program_path(execution.id.as_str()),
            cwd,
            code: program.code.clone().into_bytes(),
            argv: Vec::new(),
            env,
        };
        let bytes = park::encode(&request).map_err(|e| ApiError::new(Code::InvalidArgument, e.to_string()))?;
        match process.control {
            Some(_) => machine.arm(shell.id, process.exec, timeout_ms).await?,
            None => machine.arm_first(shell.id, process.exec, timeout_ms).await?,
        }
        Ok((*process, bytes))
    }

    /// Writes the end down and publishes it; then the next interpreter is made.
    async fn conclude(&self, sandbox: &Arc<Sandbox>, shell: &SharedShell, execution: &Arc<Execution>, end: Attended) {
        let Attended { exited, gone } = end;
        let (status, exit_code, mut warnings) = execution.verdict(exited.as_ref());
        let finished_at_ms = now_ms();
        let artifacts = match &exited {
            Some(exited) => {
                let found = tokio::time::timeout(ARTIFACTS_PATIENCE, self.artifacts(shell, execution, exited)).await;
                found.unwrap_or_else(|_| {
                    warnings.push(
                        "the sandbox was too slow to list its artefacts; `sandbox_download` may still get them".into(),
                    );
                    Vec::new()
                })
            }
            None => Vec::new(),
        };
        if let Some(exited) = &exited {
            warnings.extend(self.full_disk(sandbox, exited).await);
        }
        let denials = self.inner.gate.denials(&sandbox.id, execution.started_at_ms);
        let denials = ringfence_model::api::Denial::merge(&denials);
        execution.stdout.finish();
        execution.stderr.finish();
        let ((stdout, stdout_seen_bytes), (stderr, stderr_seen_bytes)) =
            (execution.stdout.snapshot(), execution.stderr.snapshot());
        let truncated = stdout_seen_bytes > stdout.len() as u64 || stderr_seen_bytes > stderr.len() as u64;
        for (stream, capture) in [("standard output", &execution.stdout), ("standard error", &execution.stderr)] {
            if capture.file().is_some() {
                let seen = capture.seen();
                warnings.push(format!(
                    "of {seen} bytes of {stream}, the first {} are kept here, and the first {} in the operator's log",
                    crate::capture::KEPT_BYTES_MAX,
                    seen.min(crate::capture::LOG_BYTES_MAX)
                ));
            }
        }
        let end = Arc::new(ExecutionEnd {
            status,
            exit_code,
            finished_at_ms,
            execution_time_us: exited.as_ref().map(|e| e.wall_usec),
            cpu_time_us: exited.as_ref().map(|e| e.cpu_usec),
            memory_peak_bytes: exited.as_ref().map(|e| e.memory_peak_bytes),
            output: ExecutionOutput { stdout, stderr, stdout_seen_bytes, stderr_seen_bytes },
            truncated,
            warnings,
            artifacts: serde_json::to_value(artifacts).unwrap_or_default(),
            denials: serde_json::to_value(denials).unwrap_or_default(),
        });
        self.write_end(execution, &end).await;
        self.inner.counts.ended(execution.started_at_ms, &end);
        execution.finish(end);
        let was_seen = exited.is_some();
        self.park_next(sandbox, execution, was_seen, gone);
    }

    /// Writes an end down. What the disk refuses is tried again in the background, for as long as the store lives; until then
    /// the execution is answered from memory.
    async fn write_end(&self, execution: &Arc<Execution>, end: &Arc<ExecutionEnd>) {
        let write = {
            let (store, execution, end) = (self.inner.store.clone(), Arc::clone(execution), Arc::clone(end));
            move || {
                let (id, row, lines) = (execution.id.clone(), Arc::clone(&end), log_lines(&execution, &end));
                let store = store.clone();
                async move {
                    // After a crash of the machine the program would be found killed, with its sandbox stopped.
                    store
                        .note(move |tx| {
                            tx.finish_execution(&id, &row)?;
                            lines.iter().try_for_each(|line| tx.append_log(line))
                        })
                        .await
                }
            }
        };
        let Err(error) = write().await else {
            self.running().remove(&execution.id);
            return;
        };
        tracing::error!(error = %Failure::from(error).chain(), execution = %execution.id, "an end could not be written; it is tried again");
        let (engine, id) = (self.clone(), execution.id.clone());
        tokio::spawn(async move {
            let mut pause = Duration::from_millis(100);
            loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(30));
                match write().await {
                    Ok(()) | Err(StoreError::EndedAlready { .. } | StoreError::Gone(_)) => break,
                    Err(_) => {}
                }
            }
            engine.running().remove(&id);
        });
    }

    /// In the background: parks the next interpreter, and gives the execution's cgroup back once its process is gone.
    fn park_next(
        &self,
        sandbox: &Arc<Sandbox>,
        execution: &Arc<Execution>,
        was_seen: bool,
        gone: Option<oneshot::Receiver<Exited>>,
    ) {
        let (engine, of) = (self.clone(), Arc::clone(sandbox));
        tokio::spawn(async move {
            tokio::time::sleep(PARK_DELAY).await;
            engine.begin_to_park(&of).await;
            engine.warm_when_quiet(&of).await;
        });
        let Some((shell, exec)) = execution.place().filter(|_| was_seen) else { return };
        let left = Lingering { exec, id: execution.id.clone(), env_version: execution.env_version };
        let (engine, sandbox) = (self.clone(), Arc::clone(sandbox));
        tokio::spawn(async move {
            if let Some(gone) = gone {
                let _ = gone.await;
            }
            let state = sandbox.state.lock().await;
            if state.shell.as_ref().is_some_and(|now| now.id == shell)
                && engine.inner.machine.forget(shell, exec).await.is_ok_and(|left| left > 0)
            {
                sandbox.lingering.lock().expect("nothing panics under this lock").push(left);
            }
        });
    }

    async fn begin_to_park(&self, sandbox: &Sandbox) {
        let mut state = sandbox.state.lock().await;
        let (SandboxStatus::Running, Some(shell)) = (state.status, state.shell.clone()) else { return };
        if !matches!(state.next, Next::None) || sandbox.template.warm == Warm::Nothing {
            return;
        }
        let (machine, id, template) =
            (Arc::clone(&self.inner.machine), sandbox.id.clone(), Arc::clone(&sandbox.template));
        state.next = Next::Coming(tokio::spawn(async move {
            match machine.park(&shell, &template).await {
                Ok(process) => Some(Box::new(process)),
                Err(error) => {
                    tracing::debug!(error = %Failure::from(error).chain(), sandbox = %id, "no interpreter was parked");
                    None
                }
            }
        }));
    }

    /// Has the interpreter that waits touch its pages, when nobody waits for anything else and memory is not scarce.
    async fn warm_when_quiet(&self, sandbox: &Sandbox) {
        self.inner.activity.quiet(QUIET_PATIENCE).await;
        if !self.inner.activity.may_warm() {
            return;
        }
        let mut state = sandbox.state.lock().await;
        match state.next.take() {
            Next::Coming(coming) if coming.is_finished() => {
                if let Ok(Some(mut process)) = coming.await {
                    process.warm().await;
                    state.next = Next::Parked(process);
                }
            }
            other => state.next = other,
        }
    }

    /// What the program left for its caller: files, and its figures.
    async fn artifacts(&self, shell: &SharedShell, execution: &Execution, exited: &Exited) -> Vec<Artifact> {
        let figures = park::figures_dir(execution.id.as_str());
        let mut found = Vec::new();
        let places =
            [(park::ARTIFACTS_DIR, false, exited.left_artifacts), (figures.as_str(), true, exited.left_figures)];
        for (dir, is_figure, _) in places.into_iter().filter(|(.., exists)| *exists) {
            let Ok(entries) = shell.guest.list(dir, ARTIFACTS_MAX).await else { continue };
            for entry in entries.into_iter().filter(|e| e.is_file()) {
                if found.len() >= ARTIFACTS_MAX {
                    break;
                }
                let path = format!("{dir}/{}", entry.name);
                let mime = mime(&entry.name);
                let mut artifact =
                    Artifact { name: entry.name, path, size: entry.size, mime: mime.into(), content_base64: None };
                if is_figure && artifact.size <= FIGURE_BYTES_MAX {
                    artifact.content_base64 = crate::files::read_base64(shell, &artifact.path, FIGURE_BYTES_MAX).await;
                }
                found.push(artifact);
            }
        }
        found
    }
}

/// A program that could not be started because of what its own sandbox did: an earlier one stops or kills what comes.
fn not_started(error: MachineError) -> Failure {
    match error {
        MachineError::Jailer(JailerError::Refused(Refusal::Failed(why))) => ApiError::new(
            Code::SandboxNotRunning,
            format!("the sandbox does not let a program start ({why}); `sandbox_stop` and `sandbox_resume` end what is in the way"),
        )
        .into(),
        other => other.into(),
    }
}

/// Whether what waits in the sandbox can run the program.
fn waits_for(sandbox: &Sandbox, program: &Program) -> bool {
    match (&sandbox.template.warm, program.language) {
        (Warm::Forked(_), language) => language == Language::Python,
        (Warm::Node(_), Language::JavaScript | Language::TypeScript) => {
            let read = |(name, _): (&String, &String)| ringfence_guest::node::is_read_at_start(name);
            !sandbox.environment().values.iter().any(read) && !program.env.iter().any(|(n, v)| read((n, v)))
        }
        _ => false,
    }
}

/// A path as the program's user means it.
pub(crate) fn absolute(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("{HOME}/{rest}"),
        None if path == "~" => HOME.to_owned(),
        None if path.starts_with('/') => path.to_owned(),
        None => format!("{HOME}/{path}"),
    }
}

fn mime(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e).to_ascii_lowercase();
    match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "svg" => "image/svg+xml",
        "csv" => "text/csv",
        "json" => "application/json",
        "html" => "text/html",
        "txt" | "md" | "log" => "text/plain",
        "parquet" => "application/vnd.apache.parquet",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

/// What goes into the sandbox's log: the first lines of each stream, and how it ended.
fn log_lines(execution: &Execution, end: &ExecutionEnd) -> Vec<LogEntry> {
    let line = |level, source: &str, message: String| LogEntry {
        sandbox: execution.sandbox.clone(),
        at_ms: end.finished_at_ms,
        level,
        source: source.to_owned(),
        message,
    };
    let mut lines = Vec::new();
    for (source, level, bytes) in
        [("stdout", LogLevel::Info, &end.output.stdout), ("stderr", LogLevel::Warn, &end.output.stderr)]
    {
        if execution.is_followed {
            continue;
        }
        // A flood is one line in the log; the whole of it is the execution's own record.
        let head = &bytes[..bytes.len().min(64 << 10)];
        let text = String::from_utf8_lossy(head);
        lines.extend(text.lines().take(LOG_LINES).map(|l| line(level, source, l.to_owned())));
    }
    let level = if end.status == ExecutionStatus::Completed { LogLevel::Info } else { LogLevel::Warn };
    let seconds = end.execution_time_us.map_or(0.0, |us| us as f64 / 1e6);
    let code = end.exit_code.map_or_else(|| "none".into(), |code| code.to_string());
    lines.push(line(
        level,
        "system",
        format!("{} {} after {seconds:.3} s, exit code {code}", execution.id, end.status.as_str()),
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_users() {
        for (given, meant) in [
            ("a.csv", "/home/user/a.csv"),
            ("~/a.csv", "/home/user/a.csv"),
            ("~", "/home/user"),
            ("/tmp/a", "/tmp/a"),
            ("../x", "/home/user/../x"),
        ] {
            assert_eq!(absolute(given), meant);
        }
    }
}
