//! What `serve` asks of the gate.

pub(super) mod trade;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ringfence_model::api::{AuditHeadView, GateChain, Network};
use ringfence_model::net::control::{DecisionView, GateAnswer, GateOp, Traffic};
use ringfence_model::net::{Destination, HostName, HostPattern, Policy, PortRange, Rule, Rulebook, TlsMode};
use ringfence_model::{ApiError, Code, SandboxId};
use ringfence_store::gate::{DecisionFilter, DecisionId, DecisionRow};
use ringfence_store::{Actor, AuditEntry, StoreError, Verification};
use serde_json::json;

use super::limits::lock;
use super::room::Force;
use super::{Gate, agents, now_ms};
use crate::secret::{BoundSecret, Injector};

/// Longest wait for a venue before the keys of a sandbox that is deleted are gone.
const LAST_WORD_TIME: Duration = Duration::from_secs(5);
/// Bytes of a policy that its audit entry repeats; of a longer one it has the digest.
const POLICY_BYTES_REPEATED: usize = 8 << 10;

impl Gate {
    pub(super) async fn operate(self: &Arc<Self>, op: GateOp) -> Result<GateAnswer, ApiError> {
        match op {
            GateOp::Attach { sandbox, shell } => Ok(self.attach(&sandbox, shell)),
            GateOp::Detach { sandbox } => {
                let answer = self.detach(&sandbox);
                let gate = self.clone();
                tokio::spawn(async move { hear_of(&sandbox, gate.disconnected(&sandbox).await) });
                Ok(answer)
            }
            GateOp::Forget { sandbox } => self.forget(&sandbox).await,
            GateOp::Keep { sandboxes } => self.keep(&sandboxes).await,
            GateOp::Settle { living } => self.settle(living.into_iter().collect()).await.map_err(failed),
            GateOp::SetPolicy { sandbox, network, by_agent } => self.set_policy(&sandbox, network, by_agent).await,
            GateOp::Registries { sandbox, open } => self.open_registries(&sandbox, open).await,
            GateOp::Status { sandbox } => self.status(sandbox).await,
            GateOp::Decisions { sandbox, after, limit } => self.decisions(sandbox, after, limit).await,
            GateOp::Verify => self.verify().await,
            GateOp::PruneAudit { cut } => self.prune_audit(&cut).await,
            GateOp::Fence => Ok(GateAnswer::Done),
            GateOp::Figures => {
                self.figures().await.map(|figures| GateAnswer::Figures(Box::new(figures))).map_err(failed)
            }
            GateOp::Key => Ok(GateAnswer::Key(hex::encode(self.envelope.public().as_bytes()))),
            GateOp::SetSecret { project, name, sealed, binding, rotate } => {
                self.set_secret(&project, &name, &sealed, binding, rotate).await
            }
            GateOp::Secrets { project } => self.secrets(project).await,
            GateOp::RemoveSecret { project, name } => self.remove_secret(&project, &name).await,
            GateOp::UseSecrets { sandbox, project, names } => self.use_secrets(&sandbox, &project, &names).await,
            GateOp::SealSecrets { sandbox, project, values, or_expose, by_agent } => {
                self.seal_secrets((&sandbox, &project), values, or_expose, by_agent).await
            }
            GateOp::DropSecrets { sandbox, project, names } => self.drop_secrets(&sandbox, &project, &names).await,
            GateOp::Trade(asked) => self.operate_trade(asked).await,
        }
    }

    fn attach(&self, sandbox: &SandboxId, shell: u32) -> GateAnswer {
        let room = self.room(sandbox);
        let shells = lock(&self.shells);
        match shells.get(&shell) {
            Some(shell) => shell.attach(Some(room)),
            // The jailer speaks over a socket of its own, and may be the later of the two.
            None => drop(lock(&self.awaited).insert(shell, sandbox.clone())),
        }
        GateAnswer::Done
    }

    fn detach(&self, sandbox: &SandboxId) -> GateAnswer {
        lock(&self.awaited).retain(|_, awaited| awaited != sandbox);
        for shell in lock(&self.shells).values() {
            if shell.room().is_some_and(|room| room.id == *sandbox) {
                shell.attach(None);
            }
        }
        GateAnswer::Done
    }

    async fn forget(self: &Arc<Self>, sandbox: &SandboxId) -> Result<GateAnswer, ApiError> {
        self.detach(sandbox);
        // Before its keys are gone.
        match tokio::time::timeout(LAST_WORD_TIME, self.disconnected_for_good(sandbox)).await {
            Ok(ended) => hear_of(sandbox, ended),
            Err(_) => {
                tracing::error!(%sandbox, "the venue took too long to cancel the orders of a sandbox that is deleted");
            }
        }
        let _turn = self.changes.lock().await;
        lock(&self.rooms).remove(sandbox);
        self.store.forget_sandbox(now_ms(), sandbox).await.map_err(failed)?;
        Ok(GateAnswer::Done)
    }

    /// Forgets every sandbox but these: that one was deleted may have been said to a gateway that died before it was done.
    async fn keep(self: &Arc<Self>, sandboxes: &[SandboxId]) -> Result<GateAnswer, ApiError> {
        let known: Vec<SandboxId> = lock(&self.rooms).keys().cloned().collect();
        for sandbox in known.iter().filter(|known| !sandboxes.contains(known)) {
            tracing::info!(%sandbox, "what was kept of a sandbox that is gone is forgotten");
            self.forget(sandbox).await?;
        }
        Ok(GateAnswer::Done)
    }

    /// No program lives that could hear of the orders of any other sandbox, or cancel them. Which orders are meant is settled now, for a
    /// sandbox may be started again at once; they are cancelled when the venue answers.
    async fn settle(self: &Arc<Self>, living: HashSet<SandboxId>) -> Result<GateAnswer, StoreError> {
        let left = self.left_open(|sandbox| living.contains(sandbox)).await?;
        let gate = self.clone();
        tokio::spawn(async move {
            for (account, sandbox, orders) in left {
                if let Err(error) = gate.end_in_time(&account, &sandbox, &orders).await {
                    tracing::error!(%sandbox, %account, %error, "orders that a death has left open could not be cancelled");
                }
            }
        });
        Ok(GateAnswer::Done)
    }

    async fn set_policy(&self, sandbox: &SandboxId, network: Network, by_agent: bool) -> Result<GateAnswer, ApiError> {
        let policy = Policy::try_from(network).map_err(|error| invalid(error.to_string()))?;
        if policy == Policy::Open && !self.open_allowed {
            return Err(ApiError::new(
                Code::PermissionDenied,
                "the network policy `open` is not allowed on this host: name hosts in `allow`, or let the operator set \
                 `open_allowed = true` under `[gate]` in config.toml and start ringfence anew",
            ));
        }
        if by_agent {
            agents::check_policy(self.agent_hosts.as_deref(), &policy)?;
        }
        let _turn = self.changes.lock().await;
        let secrets = self.bound_secrets(sandbox).await.map_err(failed)?;
        let room = self.room(sandbox);
        let force = self.force(policy, secrets, room.has_registries())?;
        // As it was read, in one spelling.
        let text = serde_json::to_string(&Network::from(&force.policy))
            .map_err(|_| ApiError::internal("the policy could not be written"))?;
        let entry =
            AuditEntry::new(now_ms(), Actor::System, "egress.policy").sandbox(sandbox).detail(policy_detail(&text));
        let id = sandbox.clone();
        let set = self.store.write_with_audit(entry, move |tx| tx.set_policy(now_ms(), &id, &text)).await;
        let (_version, _receipt) = set.map_err(failed)?;
        room.put(force);
        Ok(GateAnswer::Done)
    }

    /// Opens the registries beside what the policy allows, or closes them again.
    async fn open_registries(&self, sandbox: &SandboxId, open: bool) -> Result<GateAnswer, ApiError> {
        let _turn = self.changes.lock().await;
        let room = self.room(sandbox);
        let policy = room.force().policy.clone();
        let secrets = self.bound_secrets(sandbox).await.map_err(failed)?;
        let force = self.force(policy, secrets, open)?;
        let entry = AuditEntry::new(now_ms(), Actor::System, "egress.registries")
            .sandbox(sandbox)
            .detail(json!({ "open": open }));
        let _receipt = self.store.append(entry).await.map_err(failed)?;
        room.set_registries(open);
        room.put(force);
        Ok(GateAnswer::Done)
    }

    async fn status(&self, sandbox: SandboxId) -> Result<GateAnswer, ApiError> {
        let room = lock(&self.rooms).get(&sandbox).cloned();
        let totals = self.store.totals(&sandbox).await.map_err(failed)?;
        let force = room.as_ref().map(|room| room.force());
        let counted = room.map_or(0, |room| lock(&room.flood).counted);
        let totals = Traffic {
            allowed: totals.requests.saturating_sub(totals.refused),
            refused: totals.refused.saturating_add(counted),
            bytes_up: totals.bytes_up,
            bytes_down: totals.bytes_down,
        };
        Ok(GateAnswer::Status {
            network: force.as_ref().map_or_else(Network::default, |force| Network::from(&force.policy)),
            secrets: self.usable_secrets(&sandbox).await.map_err(failed)?,
            totals,
            trading: self.leads.mode().as_str().to_owned(),
        })
    }

    async fn decisions(
        &self,
        sandbox: Option<SandboxId>,
        after: Option<u64>,
        limit: u32,
    ) -> Result<GateAnswer, ApiError> {
        /// SQLite numbers rows with 63 bits: after the last of them there is nothing.
        const LAST: u64 = i64::MAX.unsigned_abs();
        let filter =
            DecisionFilter { sandbox, after: after.map(|after| DecisionId::new(after.min(LAST))), limit: Some(limit) };
        let rows = self.store.decisions(filter).await.map_err(failed)?;
        Ok(GateAnswer::Decisions(rows.into_iter().map(view).collect()))
    }

    async fn verify(&self) -> Result<GateAnswer, ApiError> {
        let found = self.store.verify(1, None).await.map_err(failed)?;
        Ok(GateAnswer::Chain(match found {
            Verification::Sound(verified) => GateChain {
                valid: true,
                entries: verified.entries,
                head: Some(AuditHeadView { seq: verified.head.seq, hash: verified.head.hash.to_string() }),
                broken_at: None,
                fault: None,
            },
            Verification::Broken(link) => GateChain {
                valid: false,
                entries: link.seq.saturating_sub(1),
                head: None,
                broken_at: Some(link.seq),
                fault: Some(link.to_string()),
            },
        }))
    }

    /// What is in force for a sandbox with this policy and these secrets, and the package registries beside where they are open.
    pub(super) fn force(&self, policy: Policy, secrets: Vec<BoundSecret>, registries: bool) -> Result<Force, ApiError> {
        let names = secrets.iter().map(|secret| secret.name.clone()).collect();
        let mut secrets = secrets;
        if registries || policy == Policy::Packages {
            secrets.extend(self.logins.iter().enumerate().map(|(number, login)| login.bound(number)));
        }
        let mut rulebook = policy.rulebook(&self.registries);
        if registries {
            rulebook = rulebook.with_registries(&self.registries);
        }
        let policy_rules = rulebook.rules().to_vec();
        for secret in secrets.iter().filter(|secret| secret.value.is_some()) {
            rulebook = open_hosts(rulebook, &policy_rules, secret)?;
        }
        let usable = secrets.iter().filter(|secret| secret.value.is_some());
        let bindings = usable.map(|secret| secret.binding.clone()).collect();
        let injector = Injector::new(secrets).map_err(|error| invalid(error.to_string()))?;
        Ok(Force { policy, rulebook, injector, secrets: names, bindings })
    }
}

/// The hosts that a secret is bound to are allowed, and nothing beside. What the policy says about one of them holds for it with
/// the secret too: a rule that allows some paths is not widened by a key for that host.
/// Of one that signs, what it signs is allowed.
fn open_hosts(mut rulebook: Rulebook, policy: &[Rule], secret: &BoundSecret) -> Result<Rulebook, ApiError> {
    for host in &secret.binding.hosts {
        let name = HostName::parse(host).map_err(|error| invalid(error.to_string()))?;
        let mut left = secret.binding.ports.clone();
        let mut rules = Vec::new();
        for rule in policy {
            let ports: Vec<u16> =
                secret.binding.ports.iter().copied().filter(|port| rule.covers(&name, *port)).collect();
            left.retain(|port| !ports.contains(port));
            if !ports.is_empty() {
                rules.push((ports, rule.methods.clone(), rule.paths.clone()));
            }
        }
        if !left.is_empty() {
            let signing = secret.binding.sign.as_ref();
            let methods = signing.map_or_else(Vec::new, |signing| signing.methods.clone());
            rules.push((left, methods, signing.map_or_else(Vec::new, |signing| signing.paths.clone())));
        }
        for (ports, methods, paths) in rules {
            let host = HostPattern::parse(host).map_err(|error| invalid(error.to_string()))?;
            let rule = Rule {
                ports: ranges(&ports),
                methods,
                paths,
                tls: TlsMode::Intercept,
                secrets: vec![secret.name.clone()],
                ..Rule::host(host)
            };
            rulebook = rulebook.with_binding(rule).map_err(|error| invalid(error.to_string()))?;
        }
    }
    Ok(rulebook)
}

/// Ports in order, as ranges.
fn ranges(ports: &[u16]) -> Vec<PortRange> {
    let mut sorted = ports.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for port in sorted {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => runs.push((port, port)),
        }
    }
    runs.into_iter().filter_map(|(first, last)| PortRange::new(first, last).ok()).collect()
}

/// What a sandbox that has ended leaves open at a venue is cancelled, and where that failed somebody hears of it.
fn hear_of(sandbox: &SandboxId, ended: Result<(), StoreError>) {
    if let Err(error) = ended {
        tracing::error!(%sandbox, %error, "the open orders of a sandbox that ended could not be cancelled");
    }
}

fn policy_detail(text: &str) -> serde_json::Value {
    if text.len() <= POLICY_BYTES_REPEATED
        && let Ok(policy) = serde_json::from_str::<serde_json::Value>(text)
    {
        return json!({ "policy": policy });
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    json!({ "policy_sha256": hex::encode(digest), "policy_bytes": text.len() })
}

fn view(row: DecisionRow) -> DecisionView {
    let DecisionRow { id, decision, settlement } = row;
    let host = decision.host.or_else(|| decision.address.map(|address| Destination::Address(address).to_string()));
    let host = host.map(|host| if host.contains(':') { format!("[{host}]") } else { host });
    let host = host.unwrap_or_else(|| "(unknown)".to_owned());
    let reason = match &decision.verdict {
        ringfence_store::gate::Verdict::Allow => None,
        ringfence_store::gate::Verdict::Refuse { reason } => Some(reason.clone()),
    };
    DecisionView {
        number: id.get(),
        at_ms: decision.at_ms,
        sandbox: decision.sandbox,
        protocol: decision.protocol.as_str().to_owned(),
        destination: format!("{host}:{}", decision.port),
        request: decision.method.map(|method| format!("{method} {}", decision.path.unwrap_or_default())),
        secrets: decision.secrets.into_iter().map(String::from).collect(),
        signed: decision.signed,
        cached: decision.cached,
        verdict: if reason.is_none() { "allow" } else { "refuse" }.to_owned(),
        reason,
        status: settlement.and_then(|settlement| settlement.status),
        bytes_up: settlement.map(|settlement| settlement.bytes_up),
        bytes_down: settlement.map(|settlement| settlement.bytes_down),
        milliseconds: settlement.map(|settlement| settlement.duration_ms),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidArgument, message)
}

/// What of a failure of the store may be shown.
pub(super) fn failed(error: StoreError) -> ApiError {
    match error {
        StoreError::Refused(why) => invalid(why),
        StoreError::NotFound { .. } | StoreError::Exists { .. } => invalid(error.to_string()),
        error => {
            tracing::error!(error = &error as &dyn std::error::Error, "the gateway's database failed");
            ApiError::internal("the gateway could not use its database; its log says why")
        }
    }
}
