//! Rows and live objects as clients read them.

use std::time::Duration;

use ringfence_jail::proto::Posture;
use ringfence_model::{
    Limits, SandboxId,
    api::{self, ExecutionAnswer, Isolation, LimitsView, SandboxSummary},
};
use ringfence_store::{
    ExecutionEnd, ExecutionOutput, ExecutionRow, ExecutionStatus, Interpreter, SandboxRow, SandboxStatus,
};

use crate::{engine::now_ms, execution::Execution};

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}

pub(crate) fn status(status: SandboxStatus) -> api::SandboxStatus {
    match status {
        SandboxStatus::Creating => api::SandboxStatus::Creating,
        SandboxStatus::Running => api::SandboxStatus::Running,
        SandboxStatus::Paused => api::SandboxStatus::Paused,
        SandboxStatus::Stopped => api::SandboxStatus::Stopped,
        SandboxStatus::Expired => api::SandboxStatus::Expired,
        SandboxStatus::Failed => api::SandboxStatus::Failed,
        SandboxStatus::Deleted => api::SandboxStatus::Deleted,
    }
}

pub(crate) fn stored_status(status: api::SandboxStatus) -> SandboxStatus {
    SandboxStatus::parse(status.as_str()).expect("both have the same words")
}

pub(crate) fn interpreter(interpreter: Interpreter) -> api::Interpreter {
    match interpreter {
        Interpreter::Parked => api::Interpreter::Parked,
        Interpreter::Forked => api::Interpreter::Forked,
        Interpreter::Fresh => api::Interpreter::Fresh,
    }
}

pub(crate) fn execution_status(status: ExecutionStatus) -> api::ExecutionStatus {
    match status {
        ExecutionStatus::Running => api::ExecutionStatus::Running,
        ExecutionStatus::Completed => api::ExecutionStatus::Completed,
        ExecutionStatus::Failed => api::ExecutionStatus::Failed,
        ExecutionStatus::Timeout => api::ExecutionStatus::Timeout,
        ExecutionStatus::Killed => api::ExecutionStatus::Killed,
    }
}

pub(crate) fn isolation(posture: &Posture, next: Interpreter, missing: &[String]) -> Isolation {
    let (first, count) = posture.uid_range;
    let filters =
        if posture.seccomp_filters == 1 { "1 filter".into() } else { format!("{} filters", posture.seccomp_filters) };
    Isolation {
        level: if missing.is_empty() { "full" } else { "reduced" }.into(),
        namespaces: posture.namespaces.clone(),
        seccomp: format!("allow-list ({filters})"),
        cgroup: posture.controllers.join(", "),
        uid_range: format!("{first}-{}", first.saturating_add(count.saturating_sub(1))),
        interpreter: interpreter(next),
        missing: missing.to_vec(),
    }
}

pub(crate) fn limits(limits: &Limits) -> LimitsView {
    LimitsView {
        cpu: f64::from(limits.cpu_millis) / 1000.0,
        memory_mb: limits.memory_mib,
        disk_mb: limits.disk_mib,
        processes: limits.processes,
    }
}

/// `disk`: bytes on it, and its limit.
pub(crate) fn summary(row: SandboxRow, disk: Option<(u64, u64)>) -> SandboxSummary {
    SandboxSummary {
        disk_bytes: disk.map(|(bytes, _)| bytes),
        warnings: crate::disk::warnings(disk),
        expires_at: time(expires_at_ms(&row)),
        created_at: time(row.created_at_ms),
        status: status(row.status),
        sandbox_id: row.id,
        name: row.name,
        template: row.template,
        metadata: row.metadata,
    }
}

pub(crate) fn expires_at_ms(row: &SandboxRow) -> u64 {
    row.expires_at_ms.unwrap_or(row.created_at_ms.saturating_add(row.lifetime_s.saturating_mul(1000)))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn error_text(status: ExecutionStatus, exit_code: Option<i32>, stderr: &str, warnings: &[String]) -> Option<String> {
    if matches!(status, ExecutionStatus::Completed | ExecutionStatus::Running) {
        return None;
    }
    if !stderr.is_empty() {
        return Some(stderr.to_owned());
    }
    Some(match (warnings.first(), exit_code) {
        (Some(warning), _) => warning.clone(),
        (None, Some(code)) => format!("the program ended with exit code {code} and printed nothing on standard error"),
        (None, None) => "the program did not succeed".into(),
    })
}

fn answer(
    id: ringfence_model::ExecutionId,
    sandbox: SandboxId,
    language: &str,
    next: Interpreter,
    end: &ExecutionEnd,
    output: &ExecutionOutput,
) -> ExecutionAnswer {
    let stderr = lossy(&output.stderr);
    let seconds = |us: Option<u64>| us.map_or(0.0, |us| Duration::from_micros(us).as_secs_f64());
    let now = execution_status(end.status);
    ExecutionAnswer {
        success: now.is_success(),
        execution_id: id,
        sandbox_id: sandbox,
        output: lossy(&output.stdout),
        error: error_text(end.status, end.exit_code, &stderr, &end.warnings),
        stderr,
        exit_code: end.exit_code,
        status: now,
        execution_time: seconds(end.execution_time_us),
        cpu_time: seconds(end.cpu_time_us),
        memory_peak_bytes: end.memory_peak_bytes.unwrap_or(0),
        truncated: end.truncated,
        output_bytes: output.stdout_seen_bytes.saturating_add(output.stderr_seen_bytes),
        language: language.to_owned(),
        interpreter: interpreter(next),
        artifacts: serde_json::from_value(end.artifacts.clone()).unwrap_or_default(),
        denials: serde_json::from_value(end.denials.clone()).unwrap_or_default(),
        warnings: end.warnings.clone(),
    }
}

/// An execution that is in memory: as it ended, or as it stands.
pub(crate) fn execution(execution: &Execution) -> ExecutionAnswer {
    if let Some(end) = execution.end() {
        let (id, sandbox) = (execution.id.clone(), execution.sandbox.clone());
        return answer(id, sandbox, execution.language, execution.interpreter, &end, &end.output);
    }
    let ((stdout, stdout_seen_bytes), (stderr, stderr_seen_bytes)) =
        (execution.stdout.snapshot(), execution.stderr.snapshot());
    let end = ExecutionEnd {
        status: ExecutionStatus::Running,
        exit_code: None,
        finished_at_ms: 0,
        execution_time_us: Some(now_ms().saturating_sub(execution.started_at_ms).saturating_mul(1000)),
        cpu_time_us: None,
        memory_peak_bytes: None,
        truncated: stdout_seen_bytes > stdout.len() as u64 || stderr_seen_bytes > stderr.len() as u64,
        output: ExecutionOutput { stdout, stderr, stdout_seen_bytes, stderr_seen_bytes },
        warnings: Vec::new(),
        artifacts: serde_json::json!([]),
        denials: serde_json::json!([]),
    };
    answer(
        execution.id.clone(),
        execution.sandbox.clone(),
        execution.language,
        execution.interpreter,
        &end,
        &end.output,
    )
}

/// An execution that is a row.
pub(crate) fn execution_row(row: ExecutionRow, output: Option<ExecutionOutput>) -> ExecutionAnswer {
    let output = output.unwrap_or_default();
    let end = ExecutionEnd {
        status: row.status,
        exit_code: row.exit_code,
        finished_at_ms: row.finished_at_ms.unwrap_or(0),
        execution_time_us: row.execution_time_us,
        cpu_time_us: row.cpu_time_us,
        memory_peak_bytes: row.memory_peak_bytes,
        output: ExecutionOutput::default(),
        truncated: row.truncated,
        warnings: row.warnings,
        artifacts: row.artifacts,
        denials: row.denials,
    };
    answer(row.id, row.sandbox, &row.language, row.interpreter, &end, &output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(1_757_371_623_056), "2025-09-08T22:47:03.056Z");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn an_error_is_what_was_printed_or_why() {
        use ExecutionStatus::{Completed, Failed, Timeout};
        assert_eq!(error_text(Completed, Some(0), "a warning", &[]), None);
        assert_eq!(error_text(Failed, Some(1), "Traceback", &[]).as_deref(), Some("Traceback"));
        assert_eq!(error_text(Timeout, Some(124), "", &["too slow".into()]).as_deref(), Some("too slow"));
        assert!(error_text(Failed, Some(3), "", &[]).is_some_and(|e| e.contains("exit code 3")));
    }
}
