//! What creating and configuring a sandbox ask of the gateway.

use std::collections::BTreeMap;

use ringfence_model::{
    ApiError, SandboxId,
    api::Network,
    net::control::{GateAnswer, GateOp},
};
use ringfence_store::{Actor, LogLevel};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{create::EnvChange, engine::Engine, error::Failure, sandbox::Sandbox};

impl Engine {
    /// Pauses the sandboxes that `misused` tells of, for as long as the daemon lives.
    pub(crate) async fn pause_misused(self, mut misused: broadcast::Receiver<SandboxId>) {
        loop {
            let sandbox = match misused.recv().await {
                Ok(sandbox) => sandbox,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            match self.do_pause(Actor::System, sandbox.as_str()).await {
                Ok(_) => self.note(
                    &sandbox,
                    LogLevel::Warn,
                    "system",
                    "paused: a program put the placeholder of a secret where the secret may not go; `sandbox_resume` lets it go on",
                ),
                Err(error) => {
                    tracing::error!(error = %error.chain(), %sandbox, "a sandbox could not be paused that misused a secret");
                }
            }
        }
    }

    /// Gives a sandbox the policy that was asked for, and lets it use the operator's secrets of these names: it finds a
    /// placeholder of each in its environment. In force when this returns. Nothing is asked where nothing is wanted. The policy is that
    /// of `asked_by`, which for a template's own is not who makes the sandbox.
    ///
    /// # Errors
    /// A secret is unknown, or the gateway refused; what came before stays.
    pub(crate) async fn open_network(
        &self,
        actor: Actor,
        sandbox: &Sandbox,
        network: Option<&Network>,
        asked_by: Actor,
        secrets: &[String],
    ) -> Result<(), Failure> {
        if let Some(network) = network {
            let detail = serde_json::json!({ "network": network });
            drop(
                self.inner
                    .store
                    .append(Self::entry(actor, "sandbox.network").sandbox(&sandbox.id).detail(detail))
                    .await?,
            );
            let op = GateOp::SetPolicy {
                sandbox: sandbox.id.clone(),
                network: network.clone(),
                by_agent: asked_by == Actor::Agent,
            };
            self.inner.gate.call(op).await?;
        }
        if secrets.is_empty() {
            return Ok(());
        }
        let detail = serde_json::json!({ "secrets": secrets });
        drop(self.inner.store.append(Self::entry(actor, "sandbox.secrets").sandbox(&sandbox.id).detail(detail)).await?);
        let op = GateOp::UseSecrets {
            sandbox: sandbox.id.clone(),
            project: sandbox.project.clone(),
            names: secrets.to_vec(),
        };
        let GateAnswer::Placeholders(placeholders) = self.inner.gate.call(op).await? else {
            return Err(ApiError::internal("the gateway answered out of turn").into());
        };
        let values: BTreeMap<String, String> = secrets.iter().cloned().zip(placeholders).collect();
        let change = EnvChange { values: &values, replace: false, unset: &[], kept: None };
        self.set_environment(actor, sandbox, change, &mut secrets.to_vec()).await?;
        Ok(())
    }
}
