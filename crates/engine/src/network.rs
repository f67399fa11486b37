//! What the gateway is asked on behalf of clients: decisions, secrets, the state of a sandbox's network.
//!
//! The value of a secret is sealed here for the gateway, and then only the gateway can read it.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ringfence_model::{
    ApiError, Project, SandboxId,
    api::{
        self, EgressAnswer, EgressDecision, EgressRequest, Network, NetworkStatus, SecretAnswer, SecretListAnswer,
        SecretRemoveAnswer, SecretRequest, SecretSetRequest, SecretSummary, check_secret_name,
    },
    net::control::{DecisionView, GateAnswer, GateOp, SecretView, Traffic, stored_context},
};
use ringfence_store::{Actor, SecretValue, gate::EnvelopePublicKey};

use crate::{audit, engine::Engine, error::Failure, lookup::Found, service::count, view};

/// Whether `actor` may ask for this network.
///
/// # Errors
/// PERMISSION_DENIED.
pub(crate) fn check_actor(actor: Actor, network: Option<&Network>) -> Result<(), ApiError> {
    let by = match actor {
        Actor::Agent => api::Actor::Agent,
        Actor::Operator | Actor::System => api::Actor::Operator,
    };
    network.map_or(Ok(()), |network| network.check_actor(by))
}

/// An answer to something else than was asked. It is not shown: nobody knows what is in it.
pub(crate) fn mistaken(asked: &str) -> Failure {
    tracing::error!(asked, "the gateway answered something else than was asked");
    ApiError::internal("the gateway's answer does not fit the question; restart the daemon").into()
}

impl Engine {
    pub(crate) async fn do_egress(&self, request: EgressRequest) -> Result<EgressAnswer, Failure> {
        let sandbox = match &request.sandbox_id {
            Some(reference) => Some(match self.find(reference).await? {
                Found::Live(sandbox) => sandbox.id.clone(),
                Found::Ended(row) => row.id,
            }),
            None => None,
        };
        let limit = api::list_limit(request.limit)?;
        audit::check_numbers([("after", request.after)])?;
        let asked = GateOp::Decisions { sandbox, after: request.after, limit };
        let GateAnswer::Decisions(mut decisions) = self.inner.gate.call(asked).await? else {
            return Err(mistaken("decisions"));
        };
        // Without `after` they come the newest first.
        decisions.sort_by_key(|decision| decision.number);
        let decisions: Vec<_> = decisions.into_iter().map(shown).collect();
        Ok(EgressAnswer { success: true, count: count(decisions.len()), decisions })
    }

    pub(crate) async fn do_secret_set(&self, request: SecretSetRequest) -> Result<SecretAnswer, Failure> {
        let binding = request.checked()?;
        let GateAnswer::Key(key) = self.inner.gate.call(GateOp::Key).await? else { return Err(mistaken("key")) };
        let key = EnvelopePublicKey::parse(&key).ok_or_else(|| mistaken("key"))?;
        let SecretSetRequest { name, value, rotate, project, .. } = request;
        let value = SecretValue::new(value.into_inner());
        let sealed = BASE64_STANDARD.encode(key.seal(&value, &stored_context(&project, &name)));
        drop(value);
        let asked = GateOp::SetSecret { project, name, sealed, binding, rotate };
        let GateAnswer::Secrets(secrets) = self.inner.gate.call(asked).await? else {
            return Err(mistaken("set_secret"));
        };
        let secret = secrets.into_iter().next().ok_or_else(|| mistaken("set_secret"))?;
        Ok(SecretAnswer { success: true, secret: summary(secret) })
    }

    pub(crate) async fn do_secret_list(&self, project: Option<Project>) -> Result<SecretListAnswer, Failure> {
        let GateAnswer::Secrets(mut secrets) = self.inner.gate.call(GateOp::Secrets { project }).await? else {
            return Err(mistaken("secrets"));
        };
        secrets.sort_by(|a, b| (&a.project, &a.name).cmp(&(&b.project, &b.name)));
        let secrets: Vec<_> = secrets.into_iter().map(summary).collect();
        Ok(SecretListAnswer { success: true, count: count(secrets.len()), secrets })
    }

    pub(crate) async fn do_secret_remove(&self, request: SecretRequest) -> Result<SecretRemoveAnswer, Failure> {
        check_secret_name(&request.name)?;
        let SecretRequest { name, project } = request;
        match self.inner.gate.call(GateOp::RemoveSecret { project, name: name.clone() }).await? {
            GateAnswer::Done => Ok(SecretRemoveAnswer { success: true, name }),
            _ => Err(mistaken("remove_secret")),
        }
    }

    /// What a sandbox may reach, and what has passed.
    pub(crate) async fn network_of(&self, sandbox: &SandboxId) -> Result<NetworkStatus, Failure> {
        match self.inner.gate.call(GateOp::Status { sandbox: sandbox.clone() }).await? {
            GateAnswer::Status { network, secrets, totals, trading } => Ok(NetworkStatus {
                policy: network,
                secrets: secrets.into_keys().collect(),
                exposed: Vec::new(),
                traffic: totals.into(),
                trading,
            }),
            _ => Err(mistaken("status")),
        }
    }

    /// The policy in force, the secrets with fingerprints of their values, and what has passed.
    pub(crate) async fn gate_status(
        &self,
        sandbox: &SandboxId,
    ) -> Result<(Network, BTreeMap<String, String>, Traffic), Failure> {
        match self.inner.gate.call(GateOp::Status { sandbox: sandbox.clone() }).await? {
            GateAnswer::Status { network, secrets, totals, .. } => Ok((network, secrets, totals)),
            _ => Err(mistaken("status")),
        }
    }
}

fn shown(decision: DecisionView) -> EgressDecision {
    EgressDecision {
        number: decision.number,
        timestamp: view::time(decision.at_ms),
        sandbox_id: decision.sandbox.to_string(),
        protocol: decision.protocol,
        destination: decision.destination,
        request: decision.request,
        secrets: decision.secrets,
        signed: decision.signed,
        cached: decision.cached,
        verdict: decision.verdict,
        reason: decision.reason,
        status: decision.status,
        bytes_up: decision.bytes_up,
        bytes_down: decision.bytes_down,
        milliseconds: decision.milliseconds,
    }
}

fn summary(secret: SecretView) -> SecretSummary {
    SecretSummary {
        project: secret.project,
        name: secret.name,
        version: secret.version,
        fingerprint: secret.fingerprint,
        hosts: secret.binding.hosts.iter().map(ToString::to_string).collect(),
        ports: secret.binding.ports,
        placements: secret.binding.placements,
        sign: secret.binding.sign,
        created_at: view::time(secret.created_at_ms),
        rotated_at: secret.rotated_at_ms.map(view::time),
        revoked: secret.revoked,
    }
}

#[cfg(test)]
mod tests {
    use ringfence_model::{
        Code,
        api::{NamedNetwork, PortSpec},
        net::{HostName, control::SecretBinding},
    };

    use super::*;

    #[test]
    fn open_is_for_operators() {
        let open = Network::Named(NamedNetwork::Open);
        assert_eq!(check_actor(Actor::Agent, Some(&open)).expect_err("refused").code, Code::PermissionDenied);
        for (actor, network) in [
            (Actor::Operator, Some(&open)),
            (Actor::System, Some(&open)),
            (Actor::Agent, Some(&Network::Named(NamedNetwork::Packages))),
            (Actor::Agent, None),
        ] {
            assert_eq!(check_actor(actor, network), Ok(()));
        }
    }

    #[test]
    fn a_secret_is_listed_with_where_it_may_go() {
        let secret = SecretView {
            project: Project::default(),
            name: "KEY".into(),
            version: 2,
            fingerprint: "0123456789ab".into(),
            binding: SecretBinding {
                hosts: vec![HostName::parse("API.example.com.").expect("a name")],
                ports: vec![PortSpec::One(8443)],
                placements: vec!["bearer".into()],
                sign: None,
            },
            created_at_ms: 0,
            rotated_at_ms: Some(1_757_371_623_056),
            revoked: false,
        };
        let listed = summary(secret);
        assert_eq!(listed.hosts, ["api.example.com"]);
        assert_eq!(listed.ports, [PortSpec::One(8443)]);
        assert_eq!(listed.created_at, "1970-01-01T00:00:00Z");
        assert_eq!(listed.rotated_at.as_deref(), Some("2025-09-08T22:47:03.056Z"));
    }
}
