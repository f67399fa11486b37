//! The gateway: every connection and every question of every sandbox passes here.
//!
//! What it does with one is read in order in `connection`, and with one request of a connection that it sees into in
//! `request`: `route → classify → admit → inject → forward → settle → record`. Nothing goes out without a passage, and only a
//! permit of the store, which follows a decision that is on disk, makes one.

mod admit;
mod agents;
mod connection;
mod descriptors;
mod desk;
mod evidence;
mod exchange;
mod feed;
mod figures;
mod lead;
mod limits;
mod names;
mod operate;
mod pass;
mod record;
mod request;
mod room;
mod secrets;
mod shell;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringfence_model::net::control::{FromGate, GateAnswer, GateOp};
use ringfence_model::net::{HostName, HostPattern, Policy, Rule};
use ringfence_model::trade::Mode;
use ringfence_model::{ApiError, SandboxId};
use ringfence_store::gate::{EnvelopeKey, GateStore};
use ringfence_store::{AuditKey, KeyError, OpenError, SealingKey, SecretValue, StoreError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::cache::{Cache, CacheConfig};
use crate::dns::resolve::{Resolver, Share};
use crate::secret::{Binding, BoundSecret, Placeholder, Placement, Shape};
use crate::tls::authority::{Authority, AuthorityError};
use crate::tls::client::{Roots, RootsError, Upstream};
use crate::tls::server::{Interceptor, ServerError};
use desk::Desk;
use feed::Feeds;
use lead::Leads;
use limits::lock;
#[cfg(any(test, fuzzing))]
pub(crate) use request::fuzz;
use room::Room;
use shell::Shell;

/// Names with addresses that are their only ones, whatever their class: the operator's, or a test's.
pub type Pins = HashMap<HostName, Vec<IpAddr>>;

/// How long the addresses of the host itself are taken for what they are.
const OWN_TIME: Duration = Duration::from_secs(5);

/// What a gateway starts with.
#[derive(Debug)]
pub struct Config {
    /// A directory of the gateway's own (mode 0700): its database, keys and authority.
    pub home: PathBuf,
    /// Names that are not asked of the resolver.
    pub pins: Pins,
    /// Addresses that sandboxes are given in place of others, and what those are: what is pinned to the host's loopback has to have
    /// another address inside, where loopback is the sandbox's own.
    pub stand_ins: HashMap<IpAddr, IpAddr>,
    /// Which upstream servers are trusted.
    pub roots: Roots,
    /// The operator's registries, for the policy `packages`.
    pub registries: Vec<Rule>,
    /// Who the gate says it is at them.
    pub logins: Vec<Login>,
    /// Whether a policy may be `open`.
    pub open_allowed: bool,
    /// The hosts that agents may name in a policy, and for which they may give keys; `None` for any.
    pub agent_hosts: Option<Vec<HostPattern>>,
    /// Whether trading may be live at all: the first of two opt-ins.
    pub live_allowed: bool,
    /// Whether a sandbox is to be paused that puts a placeholder where its secret may not go.
    pub pause_on_misuse: bool,
    /// What is kept of the registries' answers, below `cache` in `home`.
    pub cache: CacheConfig,
    /// The socket of the exchange of this installation, which names of venues lead to in mode `simulated`.
    pub exchange: PathBuf,
}

/// `user:password` for a registry of the operator's.
#[derive(Debug, Clone)]
pub struct Login {
    /// The registry's host.
    pub host: HostName,
    /// Its port.
    pub port: u16,
    /// The value: it goes to that host alone, in requests that read, while packages may be had there.
    pub value: Arc<SecretValue>,
}

impl Login {
    /// As the `number`th secret of a sandbox that may have packages from there.
    fn bound(&self, number: usize) -> BoundSecret {
        BoundSecret {
            name: format!("{LOGIN_NAME}{}", number + 1),
            // Nobody is shown it but in place of the value.
            placeholder: Placeholder::generate(Shape::Generic, self.value.expose()),
            value: Some(self.value.clone()),
            binding: Binding {
                hosts: vec![self.host.to_string()],
                ports: vec![self.port],
                placements: vec![Placement::Login],
                sign: None,
            },
        }
    }
}

/// What the logins of registries are called in records, with a number.
const LOGIN_NAME: &str = "registry-login-";

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One of its keys.
    #[error("could not load a key of the gateway")]
    Key(#[from] KeyError),
    /// Its database cannot be opened.
    #[error("could not open the gateway's database")]
    Open(#[from] OpenError),
    /// Its database cannot be read.
    #[error("could not read the gateway's database")]
    Store(#[from] StoreError),
    /// The authority that sandboxes trust.
    #[error("could not load the gateway's certificate authority")]
    Authority(#[from] AuthorityError),
    /// Its server side of TLS.
    #[error("could not set up the gateway's side of TLS")]
    Server(#[from] ServerError),
    /// Its client side of TLS.
    #[error("could not set up the verification of upstream servers")]
    Roots(#[from] RootsError),
    /// What the database holds of a sandbox is nothing that this gateway understands.
    #[error("what is kept of sandbox {sandbox} cannot be used: {why}")]
    Sandbox {
        /// Which sandbox.
        sandbox: SandboxId,
        /// Why not.
        why: String,
    },
}

/// The gateway. Its connections end when it is dropped.
pub struct Gateway {
    gate: Arc<Gate>,
}

/// What all connections share.
struct Gate {
    store: GateStore,
    /// What heads and cuts of the audit chain are signed with.
    audit_key: Arc<AuditKey>,
    events: UnboundedSender<FromGate>,
    resolver: Resolver,
    leads: Leads,
    desk: Desk,
    feeds: Feeds,
    own_lookups: Share,
    stand_ins: HashMap<IpAddr, IpAddr>,
    interceptor: Interceptor,
    upstream: Upstream,
    authority_pem: String,
    envelope: EnvelopeKey,
    registries: Vec<Rule>,
    logins: Vec<Login>,
    cache: Cache,
    open_allowed: bool,
    agent_hosts: Option<Vec<HostPattern>>,
    live_allowed: bool,
    pause_on_misuse: bool,
    rooms: Mutex<HashMap<SandboxId, Arc<Room>>>,
    shells: Mutex<HashMap<u32, Arc<Shell>>>,
    /// Sandboxes that live in shells whose sockets have not come yet. Locked within `shells`.
    awaited: Mutex<HashMap<u32, SandboxId>>,
    own: Mutex<Option<(Instant, HashSet<IpAddr>)>>,
    /// Changes of what is in force come one after the other, so that what is in force last is what is on disk.
    changes: tokio::sync::Mutex<()>,
    counts: figures::Counts,
}

impl Gateway {
    /// Opens what is in `home`, or makes it there, and brings every sandbox's policy and placeholders in force.
    ///
    /// Refusals are told by the receiver, each before the program that was refused hears of it. It is not bounded: what goes
    /// into it is bounded by the limits of each sandbox, and whoever holds it must read it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<(Self, UnboundedReceiver<FromGate>), StartError> {
        let Config {
            home,
            pins,
            stand_ins,
            roots,
            registries,
            logins,
            open_allowed,
            agent_hosts,
            live_allowed,
            pause_on_misuse,
            cache,
            exchange,
        } = config;
        let store = GateStore::open(&home.join("gate.db"), SealingKey::load_or_create(&home.join("gate.key"))?)?;
        let audit_key = Arc::new(AuditKey::load_or_create(&home.join("audit.key"))?);
        let envelope = EnvelopeKey::load_or_create(&home.join("envelope.key"))?;
        let authority = Arc::new(Authority::load_or_create(&home, SystemTime::now())?);
        let (events, told) = mpsc::unbounded_channel();
        let pins = pins.into_iter().map(|(name, addresses)| (name.into(), addresses));
        let leads = Leads::new(exchange, Mode::default());
        let gate = Arc::new(Gate {
            store,
            audit_key: Arc::clone(&audit_key),
            events,
            resolver: Resolver::new(pins).leading(leads.venues.hosts().map(ToString::to_string), lead::ADDRESS),
            leads,
            desk: Desk::default(),
            feeds: Feeds::default(),
            own_lookups: Share::default(),
            stand_ins,
            authority_pem: authority.certificate_pem().to_owned(),
            interceptor: Interceptor::new(authority)?,
            upstream: Upstream::new(roots)?,
            envelope,
            cache: Cache::open(&home.join("cache"), cache, &registries),
            registries,
            logins,
            open_allowed,
            agent_hosts,
            live_allowed,
            pause_on_misuse,
            rooms: Mutex::default(),
            shells: Mutex::default(),
            awaited: Mutex::default(),
            own: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            counts: figures::Counts::default(),
        });
        gate.load().await?;
        gate.load_mode().await?;
        let in_doubt = gate.store.trade_recover().await?;
        if in_doubt > 0 {
            tracing::warn!(in_doubt, "orders were on their way when the gateway ended; they are looked up");
        }
        tokio::spawn(desk::tend(Arc::downgrade(&gate)));
        tokio::spawn(evidence::sign_heads(Arc::downgrade(&gate), audit_key));
        Ok((Self { gate }, told))
    }

    /// A shell has these sockets in its network namespace: a TCP listener to which its connections are led, whose local
    /// address is where they wanted to go, and a UDP socket for questions about names.
    pub fn opened(&self, shell: u32, tcp: OwnedFd, dns: OwnedFd) {
        let listener = std::net::TcpListener::from(tcp);
        let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        match listener {
            Ok(listener) => self.gate.open(shell, listener, Some(dns), TcpStream::local_addr),
            Err(error) => tracing::error!(shell, %error, "the sockets of a shell could not be used"),
        }
    }

    /// [`Gateway::opened`] with a listener anywhere, and an original destination that is told otherwise: for tests.
    #[doc(hidden)]
    pub fn opened_with(
        &self,
        shell: u32,
        listener: TcpListener,
        dns: Option<OwnedFd>,
        original: impl Fn(&TcpStream) -> SocketAddr + Send + 'static,
    ) {
        self.gate.open(shell, listener, dns, move |stream| Ok(original(stream)));
    }

    /// A shell is gone: everything of it is closed.
    pub fn closed(&self, shell: u32) {
        let mut shells = lock(&self.gate.shells);
        lock(&self.gate.awaited).remove(&shell);
        if let Some(shell) = shells.remove(&shell) {
            shell.end();
        }
    }

    /// Does what is asked.
    ///
    /// When this returns from a [`GateOp::Fence`], every refusal of which a program has heard is in the receiver: whoever
    /// passes the answer on passes on what is in there first.
    ///
    /// # Errors
    /// An error with a sentence that may be shown.
    pub async fn call(&self, op: GateOp) -> Result<GateAnswer, ApiError> {
        self.gate.operate(op).await
    }

    /// [`Gateway::call`] for what may wait for a venue: it holds up nothing else, and goes on when nobody waits for it.
    ///
    /// # Errors
    /// As there.
    pub fn call_apart(&self, op: GateOp) -> impl Future<Output = Result<GateAnswer, ApiError>> + Send + 'static {
        let gate = self.gate.clone();
        async move { gate.operate(op).await }
    }

    /// Sets where the names of venues lead, without any of the conditions of an operator, and at which port they are: for tests.
    #[doc(hidden)]
    pub fn lead_to(&self, mode: Mode, port: u16) {
        self.gate.leads.set_port(port);
        self.gate.leads.set_mode(mode);
        lock(&self.gate.rooms).values().for_each(|room| room.touch());
    }

    /// The certificate of the authority that sandboxes are to trust, in PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.gate.authority_pem
    }

    /// The database, for tests that look at what is on disk.
    #[doc(hidden)]
    #[must_use]
    pub fn store(&self) -> &GateStore {
        &self.gate.store
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("store", &self.gate.store).finish_non_exhaustive()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for (_, shell) in lock(&self.gate.shells).drain() {
            shell.end();
        }
    }
}

impl Gate {
    async fn load(&self) -> Result<(), StartError> {
        for row in self.store.policies().await? {
            let unusable = |why: String| StartError::Sandbox { sandbox: row.sandbox.clone(), why };
            let mut policy: Policy = serde_json::from_str(&row.policy).map_err(|error| unusable(error.to_string()))?;
            if policy == Policy::Open && !self.open_allowed {
                tracing::warn!(sandbox = %row.sandbox, "the policy `open` is no longer allowed: the sandbox has none");
                policy = Policy::None;
            }
            let room = self.room(&row.sandbox);
            let secrets = self.bound_secrets(&row.sandbox).await?;
            let force = self.force(policy, secrets, false).map_err(|error| unusable(error.message))?;
            room.put(force);
        }
        for (sandbox, account) in self.store.chosen_accounts().await? {
            self.room(&sandbox).choose(account);
        }
        let with_placeholders = self.store.placeholders().await?;
        let rooms: HashSet<_> = with_placeholders.into_iter().map(|(row, _)| row.sandbox).collect();
        for sandbox in rooms {
            self.refresh(&self.room(&sandbox))
                .await
                .map_err(|error| StartError::Sandbox { sandbox: sandbox.clone(), why: error.message })?;
        }
        Ok(())
    }

    /// The state of a sandbox, which begins with no policy.
    fn room(&self, sandbox: &SandboxId) -> Arc<Room> {
        lock(&self.rooms).entry(sandbox.clone()).or_insert_with(|| Arc::new(Room::new(sandbox.clone()))).clone()
    }

    /// Whether a connection may be made to `address` for `name`: one of the Internet that is none of the host's own, or one that
    /// the operator pinned the name to.
    fn is_reachable(&self, name: Option<&HostName>, address: IpAddr) -> bool {
        if name.is_some_and(|name| self.resolver.is_pinned(name.as_str(), address)) {
            return true;
        }
        ringfence_model::net::is_reachable(address).is_ok() && !self.is_own(address)
    }

    /// Where a connection that was admitted to `to` is made to.
    fn leads_to(&self, to: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.stand_ins.get(&to.ip()).copied().unwrap_or(to.ip()), to.port())
    }

    /// Whether it is an address of this host. When that cannot be found out, it is.
    fn is_own(&self, address: IpAddr) -> bool {
        let mut own = lock(&self.own);
        if own.as_ref().is_none_or(|(at, _)| at.elapsed() > OWN_TIME) {
            let Ok(found) = nix::ifaddrs::getifaddrs() else {
                tracing::error!("the addresses of this host could not be read");
                return true;
            };
            let addresses = found.filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
            });
            *own = Some((Instant::now(), addresses.collect()));
        }
        own.as_ref().is_none_or(|(_, addresses)| addresses.contains(&address.to_canonical()))
    }
}

/// The time as records have it.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
