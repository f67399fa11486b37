//! Installing packages into a sandbox: by its own pip or npm as its own user, or by its apt as its own root, within its limits. The gate
//! opens the registries for as long as that takes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ringfence_jail::proto::Rights;
use ringfence_model::{
    ApiError, Code,
    api::{self, Package},
    net::{DenialReason, control::GateOp},
};
use ringfence_store::{Actor, ExecutionStatus};
use serde::Deserialize;

use crate::{
    engine::Engine,
    error::Failure,
    run::Program,
    sandbox::{Installing, Sandbox},
};

mod tool;

use tool::Tool;

/// How long all packages of one call may take.
const TIMEOUT: Duration = Duration::from_secs(900);

/// What the program says at its end.
#[derive(Debug, Deserialize)]
struct Report {
    exit_code: i32,
    installed: Vec<Package>,
    near: BTreeMap<String, Vec<String>>,
    said: Vec<String>,
}

impl Engine {
    /// Installs packages, all or none of them.
    ///
    /// # Errors
    /// The template has neither, or it failed: with its own last lines, and near names for those that there are
    /// not.
    pub(crate) async fn install(
        &self,
        actor: Actor,
        sandbox: &Arc<Sandbox>,
        packages: &[String],
    ) -> Result<Vec<Package>, Failure> {
        if packages.is_empty() {
            return Ok(Vec::new());
        }
        let tool = tool::of(&sandbox.template, packages)?;
        let installing = Installing::in_sandbox(sandbox);
        let detail = serde_json::json!({ "packages": packages });
        drop(self.inner.store.append(Self::entry(actor, "sandbox.install").sandbox(&sandbox.id).detail(detail)).await?);
        let id = sandbox.id.clone();
        let (engine, sandbox, wanted) = (self.clone(), Arc::clone(sandbox), packages.to_vec());
        // A task of its own: whoever asked may be gone before it is over, and the registries are closed again all the same.
        let ran = tokio::spawn(async move {
            let _installing = installing;
            let registries = |open| GateOp::Registries { sandbox: sandbox.id.clone(), open };
            engine.inner.gate.call(registries(true)).await?;
            let ran = engine.run_tool(actor, &sandbox, tool, &wanted).await;
            // A gateway that is not there has forgotten it, and one that comes starts without it.
            let _ = engine.inner.gate.call(registries(false)).await;
            ran
        });
        let begun_ms = crate::engine::now_ms();
        let report = ran.await.map_err(|_| ApiError::internal("installing broke off; look at the daemon's log"))??;
        if report.exit_code == 0 {
            return Ok(report.installed);
        }
        let mut text = format!(
            "{} ended with exit code {}, and nothing was installed:\n{}",
            tool.name,
            report.exit_code,
            report.said.join("\n")
        );
        let denials = api::Denial::merge(&self.inner.gate.denials(&id, begun_ms));
        // A registry that could not be asked does not say which names there are. (Other hosts are refused as ever: apt looks for some.)
        let is_asked = denials.iter().all(|refused| refused.code == DenialReason::HostNotAllowed);
        for (name, near) in report.near.iter().filter(|(_, near)| is_asked && !near.is_empty()) {
            text.push_str(&format!("\nthere is no `{name}`; did you mean {}?", near.join(", ")));
        }
        for refused in denials {
            text.push_str(&format!("\nthe network refused {}: {}", refused.destination, refused.reason));
            if refused.code == DenialReason::AddressRefused {
                text.push_str("; where that is right on this host, pin the name under `[gate.pins]` in config.toml");
            }
        }
        Err(ApiError::new(Code::PackageInstallFailed, text).into())
    }

    async fn run_tool(
        &self,
        actor: Actor,
        sandbox: &Arc<Sandbox>,
        tool: Tool,
        packages: &[String],
    ) -> Result<Report, Failure> {
        let program = Program {
            code: tool.program.to_owned(),
            language: tool.language,
            rights: tool.rights,
            env: tool.env(packages),
            exposed: Vec::new(),
            working_dir: (tool.rights == Rights::Installer).then(|| "/".to_owned()),
            timeout: TIMEOUT,
            stdin: serde_json::to_vec(packages).unwrap_or_default(),
            background: false,
            tap: None,
        };
        let execution = self.begin(actor, sandbox, program).await?;
        const GRACE: Duration = Duration::from_secs(10);
        let end = execution.wait(TIMEOUT + GRACE).await;
        let failed = |why: String| ApiError::new(Code::PackageInstallFailed, why);
        let Some(end) = end else {
            return Err(failed(format!("{} is still being ended; look at sandbox_status", tool.name)).into());
        };
        let output = String::from_utf8_lossy(&end.output.stdout);
        let report = output.lines().last().and_then(|line| serde_json::from_str(line).ok());
        match (end.status, report) {
            (ExecutionStatus::Completed, Some(report)) => Ok(report),
            (ExecutionStatus::Timeout, _) => {
                Err(failed(format!("{} took longer than {} s", tool.name, TIMEOUT.as_secs())).into())
            }
            (status, _) => {
                let said = String::from_utf8_lossy(&end.output.stderr);
                let said = said.trim().chars().rev().take(2000).collect::<String>().chars().rev().collect::<String>();
                Err(failed(format!("{} could not be run ({}): {said}", tool.name, status.as_str())).into())
            }
        }
    }
}
