//! Decisions on disk before their effect, and what became of them after.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Instant;

use ringfence_model::api::Exchange;
use ringfence_model::net::control::FromGate;
use ringfence_model::net::{Denial, DenialReason, HostName, Protocol, Rulebook};
use ringfence_store::StoreError;
use ringfence_store::gate::{Decision, DecisionId, NonceKey, Permit, Protocol as Kept, Ruling, Settlement, Verdict};

use super::Gate;
use super::limits::lock;
use super::now_ms;
use super::room::Room;

/// Bytes of a path that are recorded.
const PATH_BYTES_MAX: usize = 2048;
const METHOD_BYTES_MAX: usize = 32;
const REASON_BYTES_MAX: usize = 1024;
const RULE_BYTES_MAX: usize = 512;

/// What was let through, and what of it has passed. Made of a permit alone; settled when its last holder is gone.
pub(super) struct Passage {
    gate: Arc<Gate>,
    decision: DecisionId,
    started: Instant,
    up: AtomicU64,
    down: AtomicU64,
    status: AtomicU16,
}

impl Passage {
    pub(super) fn new(gate: &Arc<Gate>, permit: &Permit) -> Arc<Self> {
        Arc::new(Self {
            gate: gate.clone(),
            decision: permit.decision(),
            started: Instant::now(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            status: AtomicU16::new(0),
        })
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

impl Drop for Passage {
    /// In a task of its own, because a connection may be ended at any time and is settled all the same.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let status = match self.status.load(Ordering::Relaxed) {
            0 => None,
            status => Some(status),
        };
        let settlement = Settlement {
            status,
            bytes_up: self.up.load(Ordering::Relaxed),
            bytes_down: self.down.load(Ordering::Relaxed),
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let (store, decision) = (self.gate.store.clone(), self.decision);
        runtime.spawn(async move {
            if let Err(error) = store.settle(decision, settlement).await {
                tracing::error!(%decision, %error, "what became of a decision could not be noted");
            }
        });
    }
}

/// What a decision is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) protocol: Protocol,
    pub(super) host: Option<&'a HostName>,
    /// Where the connection goes; none for a question about a name.
    pub(super) to: Option<SocketAddr>,
    /// Method and path of a request.
    pub(super) request: Option<(&'a str, &'a str)>,
}

impl About<'_> {
    pub(super) fn decision(&self, room: &Room, verdict: Verdict) -> Decision {
        let protocol = match self.protocol {
            Protocol::Dns => Kept::Dns,
            Protocol::Tcp => Kept::Tcp,
            Protocol::Udp => Kept::Udp,
            Protocol::Tls => Kept::Tls,
            Protocol::Http => Kept::Http,
        };
        Decision {
            host: self.host.map(ToString::to_string),
            address: self.to.map(|to| to.ip()),
            method: self.request.map(|(method, _)| cut(method, METHOD_BYTES_MAX)),
            path: self
                .request
                .map(|(_, target)| cut(target.split(['?', '#']).next().unwrap_or_default(), PATH_BYTES_MAX)),
            verdict,
            ..Decision::allow(now_ms(), room.id.clone(), protocol, self.to.map_or(53, |to| to.port()))
        }
    }

    fn denial(&self, room: &Room, reason: DenialReason) -> Denial {
        let mut denial = Denial::new(now_ms(), self.protocol, reason);
        if let Some(to) = self.to {
            denial = denial.with_address(to.ip(), to.port());
        }
        if let Some(host) = self.host {
            denial = denial.with_host(&room.id, host, self.to.map(|to| to.port()));
        }
        if self.protocol == Protocol::Dns {
            denial.port = None;
        }
        match self.request {
            Some((method, target)) => denial.with_request(method, target),
            None => denial,
        }
    }
}

impl Gate {
    /// Writes down that something is allowed. Only then may it happen.
    pub(super) async fn allow(
        self: &Arc<Self>,
        room: &Room,
        about: &About<'_>,
        rule: Option<String>,
        secrets: &[String],
    ) -> Result<Arc<Passage>, StoreError> {
        self.allow_signed(room, about, rule, secrets, None, false).await.map(|(passage, _)| passage)
    }

    /// [`Gate::allow`], and that it is signed in the way of an exchange, or that its answer comes from the cache. Gives the nonce that was drawn for it, where one was
    /// asked for.
    pub(super) async fn allow_signed(
        self: &Arc<Self>,
        room: &Room,
        about: &About<'_>,
        rule: Option<String>,
        secrets: &[String],
        signed: Option<(Exchange, Option<(NonceKey, u64)>)>,
        cached: bool,
    ) -> Result<(Arc<Passage>, Option<u64>), StoreError> {
        let secrets = secrets.iter().map(|name| ringfence_store::gate::SecretName::parse(name));
        let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
        let exchange = signed.map(|(exchange, _)| exchange.as_str().to_owned());
        let decision = Decision { rule, secrets, signed: exchange, cached, ..about.decision(room, Verdict::Allow) };
        let Some((key, time)) = signed.and_then(|(_, nonce)| nonce) else {
            return Ok((self.permit(decision).await?, None));
        };
        // Used up in the same transaction: what may be sent with it is on disk with it.
        let drawn = self.store.admit(move |tx| Ok((decision, tx.next_nonce(&key, time)?))).await?;
        match drawn {
            (Ruling::Allowed(permit), nonce) => {
                self.counts.decided(&Verdict::Allow);
                Ok((Passage::new(self, &permit), Some(nonce)))
            }
            (Ruling::Refused(_), _) => Err(StoreError::Refused("the store refused what was allowed".into())),
        }
    }

    /// Writes down that these secrets go into a message of a websocket.
    pub(super) async fn allow_message(
        self: &Arc<Self>,
        room: &Room,
        about: &About<'_>,
        secrets: &[String],
    ) -> Result<Arc<Passage>, StoreError> {
        let secrets = secrets.iter().map(|name| ringfence_store::gate::SecretName::parse(name));
        let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
        let decision = Decision { protocol: Kept::Ws, secrets, ..about.decision(room, Verdict::Allow) };
        self.permit(decision).await
    }

    async fn permit(self: &Arc<Self>, decision: Decision) -> Result<Arc<Passage>, StoreError> {
        match self.store.decide(decision).await? {
            Ruling::Allowed(permit) => {
                self.counts.decided(&Verdict::Allow);
                Ok(Passage::new(self, &permit))
            }
            Ruling::Refused(_) => Err(StoreError::Refused("the store refused what was allowed".into())),
        }
    }

    /// Tells of a refusal that was written down elsewhere.
    pub(super) fn told(&self, room: &Room, about: &About<'_>, reason: DenialReason, message: String) {
        let mut denial = about.denial(room, reason);
        denial.message = cut(&message, REASON_BYTES_MAX / 2);
        let _ = self.events.send(FromGate::Denied { sandbox: room.id.clone(), denial, pause: false });
    }

    /// Writes down that something is refused, and tells it. Only then is the program refused.
    pub(super) async fn deny(&self, room: &Room, about: &About<'_>, reason: DenialReason) -> Denial {
        self.deny_because(room, about, reason, None).await
    }

    /// [`Gate::deny`] with a sentence of its own.
    pub(super) async fn deny_because(
        &self,
        room: &Room,
        about: &About<'_>,
        reason: DenialReason,
        message: Option<String>,
    ) -> Denial {
        let mut denial = about.denial(room, reason);
        if let Some(message) = message {
            denial.message = cut(&message, REASON_BYTES_MAX / 2);
        }
        if !lock(&room.flood).is_news(&denial, Instant::now()) {
            return denial;
        }
        let said = cut(&format!("{}: {}", reason.code(), denial.message), REASON_BYTES_MAX);
        let verdict = Verdict::Refuse { reason: said };
        self.counts.decided(&verdict);
        // A refusal is one also when the disk does not take it.
        if let Err(error) = self.store.decide(about.decision(room, verdict)).await {
            tracing::error!(sandbox = %room.id, %error, "a refusal could not be recorded");
        }
        tracing::debug!(sandbox = %room.id, destination = denial.destination(), reason = reason.code(), "refused");
        let pause = self.pause_on_misuse && reason == DenialReason::PlaceholderMisplaced;
        // Nobody listens any more when the gateway is about to end.
        let _ = self.events.send(FromGate::Denied { sandbox: room.id.clone(), denial: denial.clone(), pause });
        denial
    }
}

/// A rule as records name it.
pub(super) fn rule_name(rulebook: &Rulebook, rule: Option<usize>) -> Option<String> {
    let rule = rule.and_then(|index| rulebook.rule(index))?;
    let ports: Vec<String> = rule.ports.iter().map(ToString::to_string).collect();
    Some(cut(&format!("{}:{}", rule.host, ports.join(",")), RULE_BYTES_MAX))
}

/// Without characters that are not one line, and not longer than that.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut kept = String::new();
    for c in text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }) {
        if kept.len() + c.len_utf8() > bytes_max {
            break;
        }
        kept.push(c);
    }
    kept
}
