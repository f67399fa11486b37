//! What has begun goes on only as long as it would be let through: when a policy is tightened, or a secret that went out with
//! it is revoked, what is under way ends.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ringfence_model::net::{Denial, DenialReason, Verdict};

use super::shape::Asked;
use crate::gate::Gate;
use crate::gate::lead::Lead;
use crate::gate::room::{Force, Room};
use crate::secret::Destination;

/// One request that was let through.
#[derive(Clone)]
pub(in crate::gate) struct Terms {
    pub(in crate::gate) gate: Arc<Gate>,
    pub(in crate::gate) room: Arc<Room>,
    pub(in crate::gate) to: SocketAddr,
    pub(in crate::gate) asked: Asked,
    pub(in crate::gate) secure: bool,
    /// Names of the secrets that went out with it.
    pub(in crate::gate) secrets: Vec<String>,
    /// Where it leads, if its host is a venue's.
    pub(in crate::gate) lead: Option<Lead>,
}

impl Terms {
    pub(in crate::gate) fn destination(&self) -> Destination<'_> {
        let outside = self.lead.as_ref().and_then(Lead::outside);
        let host = outside.or(self.asked.host.as_ref()).map_or("", |host| host.as_str());
        Destination { host, port: self.to.port(), secure: self.secure }
    }

    /// Records and tells that it is refused.
    pub(in crate::gate) async fn deny(&self, reason: DenialReason, message: Option<String>) -> Denial {
        self.gate.deny_because(&self.room, &self.asked.about(self.to), reason, message).await
    }

    /// Returns when what is in force no longer lets it through, with the sentence to say if it is not the usual one.
    pub(in crate::gate) async fn broken(&self) -> Option<String> {
        let mut watch = self.room.watch();
        loop {
            let force = watch.borrow_and_update().clone();
            if !self.is_allowed(&force) {
                return None;
            }
            if self.led_now() != self.lead {
                return Some("the operator has set another mode of trading".to_owned());
            }
            let gone = |name: &&String| !force.injector.may_go(name, self.destination());
            if let Some(name) = self.secrets.iter().find(gone) {
                return Some(format!(
                    "secret `{name}`, which went out with this, was revoked or may no longer go there"
                ));
            }
            if watch.changed().await.is_err() {
                // The sandbox is gone, and its connections with it.
                std::future::pending::<()>().await;
            }
        }
    }

    fn led_now(&self) -> Option<Lead> {
        self.asked.host.as_ref().and_then(|host| self.gate.leads.lead(host)).and_then(Result::ok)
    }

    fn is_allowed(&self, force: &Force) -> bool {
        match &self.asked.host {
            Some(host) => force.rulebook.request(host, self.to.port(), &self.asked.method, &self.asked.path).is_ok(),
            None => matches!(force.rulebook.connect(None, self.to.port()), Verdict::Pass { .. }),
        }
    }
}

/// A future that is ready when it was refused, which was told by then.
pub(super) struct Leash(Pin<Box<dyn Future<Output = Denial> + Send>>);

impl Leash {
    pub(super) fn new(terms: Terms) -> Self {
        Self(Box::pin(async move {
            let message = terms.broken().await;
            terms.deny(DenialReason::PolicyChanged, message).await
        }))
    }

    /// The refusal, if there is one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Denial> {
        match self.0.as_mut().poll(cx) {
            Poll::Ready(denial) => Some(denial),
            Poll::Pending => None,
        }
    }

    pub(super) async fn pulled(&mut self) -> Denial {
        self.0.as_mut().await
    }
}
