//! What the gate knows of one sandbox.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ringfence_model::SandboxId;
use ringfence_model::net::{Policy, Rulebook};
use ringfence_model::trade::AccountId;
use tokio::sync::{Semaphore, watch};

use super::limits::{Bucket, CONNECTIONS_MAX, Flood, GATHERED_MAX, lock};
use crate::dns::given::Given;
use crate::dns::resolve::Share;
use crate::secret::{Binding, Injector};

/// Answers to one sandbox that are kept at once, of those that are for all sandboxes together.
const FILLINGS_MAX: usize = 8;

/// What is in force for a sandbox. A request sees one of it, from its verdict to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Force {
    pub(super) policy: Policy,
    pub(super) rulebook: Rulebook,
    pub(super) injector: Injector,
    /// Names of the secrets that it has placeholders of, in order.
    pub(super) secrets: Vec<String>,
    /// Where those go that were not revoked.
    pub(super) bindings: Vec<Binding>,
}

impl Force {
    /// Nothing is allowed.
    fn nothing() -> Self {
        Self {
            policy: Policy::None,
            rulebook: Policy::None.rulebook(&[]),
            injector: Injector::new(vec![]).expect("none are not too many"),
            secrets: vec![],
            bindings: vec![],
        }
    }

    /// The same rules, and no secret that could go anywhere.
    pub(super) fn without_secrets(&self) -> Self {
        Self { policy: self.policy.clone(), rulebook: self.rulebook.clone(), ..Self::nothing() }
    }

    /// Whether a secret may go there, so that its answers have to be masked.
    pub(super) fn is_bound(&self, host: &str, port: u16) -> bool {
        self.bindings.iter().any(|binding| binding.covers(host, port))
    }
}

/// One sandbox.
pub(super) struct Room {
    pub(super) id: SandboxId,
    force: watch::Sender<Arc<Force>>,
    /// Whether package registries are open, for something is being installed.
    registries: AtomicBool,
    pub(super) given: Mutex<Given>,
    pub(super) lookups: Share,
    pub(super) places: Arc<Semaphore>,
    /// Requests whose bodies are held whole, to be signed.
    pub(super) gathering: Semaphore,
    /// Answers to this sandbox that are being kept; more at once are not.
    pub(super) fillings: Arc<Semaphore>,
    pub(super) bucket: Mutex<Bucket>,
    pub(super) flood: Mutex<Flood>,
    /// The simulated account that it was given.
    chosen: Mutex<Option<AccountId>>,
}

impl Room {
    pub(super) fn new(id: SandboxId) -> Self {
        Self {
            id,
            force: watch::Sender::new(Arc::new(Force::nothing())),
            registries: AtomicBool::new(false),
            given: Mutex::default(),
            lookups: Share::default(),
            fillings: Arc::new(Semaphore::new(FILLINGS_MAX)),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            gathering: Semaphore::new(GATHERED_MAX),
            bucket: Mutex::new(Bucket::new(Instant::now())),
            flood: Mutex::new(Flood::new(Instant::now())),
            chosen: Mutex::default(),
        }
    }

    /// The simulated account that it was given, if it was.
    pub(super) fn chosen(&self) -> Option<AccountId> {
        lock(&self.chosen).clone()
    }

    pub(super) fn choose(&self, account: AccountId) {
        *lock(&self.chosen) = Some(account);
    }

    /// What is in force now.
    pub(super) fn force(&self) -> Arc<Force> {
        self.force.borrow().clone()
    }

    pub(super) fn has_registries(&self) -> bool {
        self.registries.load(Ordering::Relaxed)
    }

    /// Notes it; in force it is with what is [`Room::put`].
    pub(super) fn set_registries(&self, open: bool) {
        self.registries.store(open, Ordering::Relaxed);
    }

    /// Brings it in force, and lets whoever watches look again.
    pub(super) fn put(&self, force: Force) {
        self.force.send_replace(Arc::new(force));
    }

    /// Lets whoever watches look again: what holds has changed elsewhere.
    pub(super) fn touch(&self) {
        self.force.send_modify(|_| {});
    }

    /// To hear when something else is in force.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Force>> {
        self.force.subscribe()
    }
}
