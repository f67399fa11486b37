//! Ours: sandboxes over the local API, with every output checked.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ringfence_engine::api::SharedSandboxes;
use ringfence_model::api::{
    Actor, CreateAnswer, CreateRequest, ExecuteRequest, ExecutionAnswer, ExecutionStatus, HealthAnswer, SandboxRequest,
    TemplateHealth,
};

use super::contender::Program;

/// How long a shelf may take to fill.
const SHELF_PATIENCE: Duration = Duration::from_secs(60);

/// The daemon, as it is measured.
pub(super) struct Subject {
    pub(super) api: SharedSandboxes,
    pub(super) template: &'static str,
    /// How many the shelf holds when it is full.
    pub(super) shelf: u32,
}

impl Subject {
    /// Waits until the shelf is full, and remembers how many that are.
    ///
    /// # Errors
    /// The daemon refuses, or its shelf never fills.
    pub(super) async fn new(api: SharedSandboxes, template: &'static str) -> anyhow::Result<Self> {
        // Full is what stays the same for a while; the target itself is the daemon's own affair.
        const STEADY: Duration = Duration::from_secs(2);
        let mut subject = Self { api, template, shelf: 0 };
        let begin = Instant::now();
        let mut since = Instant::now();
        loop {
            let health = subject.health().await?;
            if health.shelf != subject.shelf {
                subject.shelf = health.shelf;
                since = Instant::now();
            }
            if health.warm && subject.shelf > 0 && since.elapsed() > STEADY {
                return Ok(subject);
            }
            if begin.elapsed() > SHELF_PATIENCE {
                bail!("the shelf of `{template}` does not fill: {} sandboxes, warm: {}", health.shelf, health.warm);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How the daemon stands.
    ///
    /// # Errors
    /// It refuses.
    pub(super) async fn system(&self) -> anyhow::Result<HealthAnswer> {
        Ok(self.api.health(Actor::Operator).await?)
    }

    /// How the template stands.
    ///
    /// # Errors
    /// The daemon refuses.
    pub(super) async fn health(&self) -> anyhow::Result<TemplateHealth> {
        self.system()
            .await?
            .templates
            .into_iter()
            .find(|t| t.name == self.template)
            .context("the daemon lost the template")
    }

    /// Waits until the shelf is full again.
    ///
    /// # Errors
    /// It never is.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        while self.health().await?.shelf < self.shelf {
            ensure!(begin.elapsed() < SHELF_PATIENCE, "the shelf does not fill again");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    pub(super) async fn create(&self) -> anyhow::Result<CreateAnswer> {
        let request = CreateRequest { template: self.template.to_owned(), ..CreateRequest::default() };
        Ok(self.api.create(Actor::Operator, request, None).await?)
    }

    /// Runs a program, and checks what it printed.
    ///
    /// # Errors
    /// It printed something else.
    pub(super) async fn execute(&self, sandbox: &str, program: &Program) -> anyhow::Result<ExecutionAnswer> {
        let request = ExecuteRequest {
            sandbox_id: sandbox.to_owned(),
            code: program.code.clone(),
            language: Some("python".to_owned()),
            ..ExecuteRequest::default()
        };
        let answer = self.api.execute(Actor::Operator, request).await?;
        ensure!(
            answer.status == ExecutionStatus::Completed,
            "a program ended as {:?}: {}",
            answer.status,
            answer.stderr
        );
        program.check(&answer.output)?;
        Ok(answer)
    }

    /// Starts a program that outlives the measurement, so that the next one finds no interpreter waiting.
    ///
    /// # Errors
    /// The request was refused.
    pub(super) async fn occupy(&self, sandbox: &str) -> anyhow::Result<()> {
        let request = ExecuteRequest {
            sandbox_id: sandbox.to_owned(),
            code: "import time; time.sleep(600)".to_owned(),
            background: true,
            timeout: Some(900.0),
            ..ExecuteRequest::default()
        };
        self.api.execute(Actor::Operator, request).await?;
        Ok(())
    }

    pub(super) async fn delete(&self, sandbox: &str) -> anyhow::Result<()> {
        self.api.delete(Actor::Operator, SandboxRequest { sandbox_id: sandbox.to_owned() }).await?;
        Ok(())
    }

    /// A new sandbox and the program's output: the seconds until then. The deletion is not counted.
    ///
    /// # Errors
    /// A request was refused, or the output was wrong.
    pub(super) async fn once(&self, program: &Program) -> anyhow::Result<f64> {
        let begin = Instant::now();
        let sandbox = self.create().await?.sandbox_id.to_string();
        let run = self.execute(&sandbox, program).await;
        let seconds = begin.elapsed().as_secs_f64();
        self.delete(&sandbox).await?;
        run?;
        Ok(seconds)
    }
}
