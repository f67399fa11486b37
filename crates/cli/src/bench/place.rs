//! Where the clients of benchmarks run: in a sandbox, or on the host with the same interpreter on the same root file system.

use std::{path::Path, process::Stdio};

use anyhow::{Context, ensure};
use ringfence_engine::api::SharedSandboxes;
use ringfence_model::api::{Actor, ExecuteRequest, ExecutionRequest, ExecutionStatus};

/// Runs a client in a sandbox: what it printed.
///
/// # Errors
/// It was refused, or ended otherwise than well.
pub(super) async fn inside(api: &SharedSandboxes, sandbox: &str, code: String) -> anyhow::Result<String> {
    let request = ExecuteRequest {
        sandbox_id: sandbox.to_owned(),
        code,
        language: Some("python".to_owned()),
        timeout: Some(300.0),
        ..ExecuteRequest::default()
    };
    let mut answer = api.execute(Actor::Operator, request).await?;
    // A call waits 50 s at most.
    while answer.status == ExecutionStatus::Running {
        let request = ExecutionRequest { execution_id: answer.execution_id.to_string(), wait: Some(50.0) };
        answer = api.execution(Actor::Operator, request).await?;
    }
    ensure!(answer.status == ExecutionStatus::Completed, "it ended as {:?}: {}", answer.status, answer.stderr);
    Ok(answer.output)
}

/// Runs a client by the template's own interpreter on its own root file system, in the host's network: what it printed.
///
/// # Errors
/// It cannot be started, or ended otherwise than well.
pub(super) async fn outside(rootfs: &Path, code: &str) -> anyhow::Result<String> {
    let mut command = tokio::process::Command::new("chroot");
    command.arg(rootfs).args(["/usr/bin/python3", "-c", code]).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin");
    let done = command.stdin(Stdio::null()).output().await.context("running chroot")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "it ended with {}: {said:.2000}", done.status);
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
