//! What creating and configuring a sandbox ask of the gateway.

use ringfence_model::{
    ApiError,
    api::{ConfigureRequest, EnvVars, Network},
    net::control::{GateAnswer, GateOp},
};
use ringfence_store::Actor;

use crate::{engine::Engine, error::Failure, sandbox::Sandbox};

impl Engine {
    /// Gives a sandbox the policy that was asked for, and lets it use the operator's secrets of these names: it finds a
    /// placeholder of each in its environment. In force when this returns. Nothing is asked where nothing is wanted.
    ///
    /// # Errors
    /// A secret is unknown, or the gateway refused; what came before stays.
    pub(crate) async fn open_network(
        &self,
        actor: Actor,
        sandbox: &Sandbox,
        network: Option<&Network>,
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
            let op = GateOp::SetPolicy { sandbox: sandbox.id.clone(), network: network.clone() };
            self.inner.gate.call(op).await?;
        }
        if secrets.is_empty() {
            return Ok(());
        }
        let detail = serde_json::json!({ "secrets": secrets });
        drop(self.inner.store.append(Self::entry(actor, "sandbox.secrets").sandbox(&sandbox.id).detail(detail)).await?);
        let op = GateOp::UseSecrets { sandbox: sandbox.id.clone(), names: secrets.to_vec() };
        let GateAnswer::Placeholders(placeholders) = self.inner.gate.call(op).await? else {
            return Err(ApiError::internal("the gateway answered out of turn").into());
        };
        let values: std::collections::BTreeMap<String, String> = secrets.iter().cloned().zip(placeholders).collect();
        let request = ConfigureRequest { env_vars: EnvVars::new(values), ..ConfigureRequest::default() };
        self.set_environment(actor, sandbox, &request, false, &mut secrets.to_vec()).await?;
        Ok(())
    }
}
