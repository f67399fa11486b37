//! How the daemon is.

use ringfence_model::api::{self, HealthAnswer, HostHealth, SandboxCounts};
use ringfence_store::SandboxStatus;

use crate::{engine::Engine, error::Failure, service::count};

impl Engine {
    pub(crate) async fn do_health(&self) -> Result<HealthAnswer, Failure> {
        let mut counts = SandboxCounts::default();
        for sandbox in self.all_live() {
            match sandbox.state.lock().await.status {
                SandboxStatus::Creating => counts.creating += 1,
                SandboxStatus::Running => counts.running += 1,
                SandboxStatus::Paused => counts.paused += 1,
                SandboxStatus::Stopped => counts.stopped += 1,
                SandboxStatus::Expired | SandboxStatus::Failed | SandboxStatus::Deleted => {}
            }
        }
        let templates = self.template_health().await?;
        let facts = self.inner.machine.facts();
        let mut problems = facts.missing.clone();
        for template in &templates {
            if template.status == api::TemplateStatus::Failed {
                problems.push(format!(
                    "the last build of template `{}` failed; `ringfence template show {0}` says why",
                    template.name
                ));
            }
        }
        if self.admit().is_err() {
            problems.push("the daemon is stopping".into());
        }
        Ok(HealthAnswer {
            success: true,
            status: if problems.is_empty() { "ok" } else { "degraded" }.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            build: self.inner.build.clone(),
            uptime: self.inner.started.elapsed().as_secs_f64(),
            sandboxes: counts,
            executions_running: count(self.running().len()),
            templates,
            trials: self.inner.trials.health(),
            making: self.inner.machine.making(),
            host: HostHealth {
                kernel: facts.kernel.clone(),
                cgroups: facts.cgroups.clone(),
                disks: facts.disks.clone(),
                cpus: count(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
                sandboxes_max: facts.slots,
                missing: facts.missing.clone(),
            },
            problems,
        })
    }
}
