//! What a name resolves to, by the host's own resolver.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::hosts;

/// Most lookups at once; each takes a thread of the blocking pool (which has 512) for as long as getaddrinfo takes.
const LOOKUPS_MAX: usize = 256;
/// Most lookups at once of one sandbox: names whose servers do not answer are its own loss.
const SHARE: usize = 8;
/// Longest time that a lookup may take, the wait for its turn included.
const LOOKUP_TIME: Duration = Duration::from_secs(5);
/// How long addresses are kept.
const FOUND_TIME: Duration = Duration::from_secs(30);
/// How long it is kept that there are none.
const MISSED_TIME: Duration = Duration::from_secs(5);
/// Most names that are kept.
const NAMES_MAX: usize = 4096;

/// Why a name has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The resolver says that it does not exist, or has no address.
    #[error("the name does not exist")]
    NoSuchName,
    /// The resolver could not find out.
    #[error("the host's resolver failed")]
    Failed,
    /// It took too long.
    #[error("the host's resolver did not answer within 5 seconds")]
    TimedOut,
}

type Outcome = Result<Arc<[IpAddr]>, ResolveError>;

/// The lookups that one sandbox may have under way at once.
#[derive(Debug, Clone)]
pub struct Share(Arc<Semaphore>);

impl Default for Share {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SHARE)))
    }
}

/// The right to ask the host once: a sandbox's own, and one of all.
struct Turn {
    _own: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
}

/// Resolves names: from pins first, then as the host does.
#[derive(Debug)]
pub struct Resolver {
    pins: HashMap<String, Arc<[IpAddr]>>,
    /// Names that sandboxes are given one address for, wherever the gate leads them.
    leads: HashMap<String, Arc<[IpAddr]>>,
    cache: Mutex<HashMap<String, Arc<Slot>>>,
    turns: Arc<Semaphore>,
    /// Where the host's own table of names is.
    hosts: PathBuf,
}

/// One name's outcome, or the lookup that all who ask for it wait for.
#[derive(Debug, Default)]
struct Slot(watch::Sender<Option<(Outcome, Instant)>>);

impl Slot {
    /// Whether it can still be used. A lookup under way can.
    fn is_fresh(&self, now: Instant) -> bool {
        self.0.borrow().as_ref().is_none_or(|(outcome, at)| {
            let time = if outcome.is_ok() { FOUND_TIME } else { MISSED_TIME };
            now.duration_since(*at) <= time
        })
    }

    fn is_under_way(&self) -> bool {
        self.0.borrow().is_none()
    }

    async fn outcome(&self) -> Outcome {
        let mut waiting = self.0.subscribe();
        let known = waiting.wait_for(Option::is_some).await.map_err(|_| ResolveError::Failed)?;
        known.as_ref().map_or(Err(ResolveError::Failed), |(outcome, _)| outcome.clone())
    }
}

impl Resolver {
    /// A resolver with `pins`: canonical names (lower case, no dot at the end), each with addresses that are its only ones.
    #[must_use]
    pub fn new(pins: impl IntoIterator<Item = (String, Vec<IpAddr>)>) -> Self {
        Self {
            pins: pins.into_iter().map(|(name, addresses)| (name, addresses.into())).collect(),
            leads: HashMap::new(),
            cache: Mutex::default(),
            turns: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            hosts: hosts::PATH.into(),
        }
    }

    /// One without pins, and with another file in place of `/etc/hosts`.
    #[cfg(test)]
    pub(super) fn with_hosts(hosts: PathBuf) -> Self {
        Self { hosts, ..Self::new([]) }
    }

    /// The same with names, canonical as those of pins, that the gate leads somewhere itself: sandboxes are given `address` for
    /// each, and nothing else.
    #[must_use]
    pub fn leading(mut self, names: impl IntoIterator<Item = String>, address: IpAddr) -> Self {
        self.leads = names.into_iter().map(|name| (name, Arc::from([address]))).collect();
        self
    }

    /// Whether `name` was pinned to `address`, or is led by the gate and stands for it, so that its class does not matter.
    #[must_use]
    pub fn is_pinned(&self, name: &str, address: IpAddr) -> bool {
        let given = self.leads.get(name).or_else(|| self.pins.get(name));
        given.is_some_and(|addresses| addresses.contains(&address.to_canonical()))
    }

    /// Whether the operator pinned `name` to `address`, for the gate itself.
    #[must_use]
    pub(crate) fn is_pinned_outside(&self, name: &str, address: IpAddr) -> bool {
        self.pins.get(name).is_some_and(|addresses| addresses.contains(&address.to_canonical()))
    }

    /// All addresses of `name`, a canonical name, of whatever class: the caller sorts out which may be used. A lookup that has
    /// to be begun takes of `share`.
    ///
    /// # Errors
    /// It has none, or that could not be found out.
    pub async fn resolve(&self, name: &str, share: &Share) -> Outcome {
        match self.leads.get(name) {
            Some(addresses) => Ok(addresses.clone()),
            None => self.outside(name, share).await,
        }
    }

    /// [`Resolver::resolve`] for the gate itself: where a name that it leads is outside.
    pub(crate) async fn outside(&self, name: &str, share: &Share) -> Outcome {
        if let Some(addresses) = self.pins.get(name) {
            return if addresses.is_empty() { Err(ResolveError::NoSuchName) } else { Ok(addresses.clone()) };
        }
        let found = async { self.begun(name, share).await?.outcome().await };
        timeout(LOOKUP_TIME, found).await.unwrap_or(Err(ResolveError::TimedOut))
    }

    /// The slot of a name, whose lookup is begun if none is under way or known. One that is under way has its turn: what one
    /// sandbox waits for is never behind what another one asked before.
    async fn begun(&self, name: &str, share: &Share) -> Result<Arc<Slot>, ResolveError> {
        if let Some(slot) = self.known(name) {
            return Ok(slot);
        }
        let own = share.0.clone().acquire_owned().await.map_err(|_| ResolveError::Failed)?;
        let one = self.turns.clone().acquire_owned().await.map_err(|_| ResolveError::Failed)?;
        Ok(self.slot(name, Turn { _own: own, _one: one }))
    }

    fn known(&self, name: &str) -> Option<Arc<Slot>> {
        let cache = self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        cache.get(name).filter(|slot| slot.is_fresh(Instant::now())).cloned()
    }

    fn slot(&self, name: &str, turn: Turn) -> Arc<Slot> {
        let now = Instant::now();
        let mut cache = self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Begun by somebody else while this one waited for its turn.
        if let Some(slot) = cache.get(name)
            && slot.is_fresh(now)
        {
            return slot.clone();
        }
        if cache.len() >= NAMES_MAX {
            cache.retain(|_, slot| slot.is_fresh(now));
        }
        if cache.len() >= NAMES_MAX {
            // All still fresh: forget half of those that are done, rather than searching at each question for the oldest.
            let mut spare = NAMES_MAX / 2;
            cache.retain(|_, slot| {
                let kept = spare > 0;
                spare = spare.saturating_sub(1);
                kept || slot.is_under_way()
            });
        }
        let slot = Arc::<Slot>::default();
        if cache.len() < NAMES_MAX {
            cache.insert(name.to_owned(), slot.clone());
        }
        let lookup = look_up(name.to_owned(), self.hosts.clone(), turn);
        let filled = slot.clone();
        // A task of its own: it goes on when whoever asked first is gone, and nobody can begin it again by hanging up.
        tokio::spawn(async move {
            let outcome = lookup.await;
            filled.0.send_replace(Some((outcome, Instant::now())));
        });
        slot
    }
}

async fn look_up(name: String, hosts: PathBuf, turn: Turn) -> Outcome {
    // This task keeps its turn until getaddrinfo, which cannot be stopped, has really returned.
    let task = tokio::spawn(async move {
        let _turn = turn;
        ask_host(&name, &hosts).await
    });
    match timeout(LOOKUP_TIME, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(ResolveError::Failed),
        Err(_) => Err(ResolveError::TimedOut),
    }
}

async fn ask_host(name: &str, hosts: &Path) -> Outcome {
    let listed = read_hosts(hosts).await.map(|text| hosts::addresses(&text, name)).unwrap_or_default();
    if !listed.is_empty() {
        return Ok(listed.into());
    }
    // A name with dots is asked for as it stands. Without the last dot, one that does not exist would be looked for below the
    // host's search domains, and a wildcard there would let `*.example.com` reach the operator's own network.
    let asked = if name.contains('.') { format!("{name}.") } else { name.to_owned() };
    let found = tokio::net::lookup_host((asked, 0)).await.map_err(|error| reason(&error))?;
    let mut addresses = Vec::new();
    for found in found {
        let address = found.ip().to_canonical();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(ResolveError::NoSuchName) } else { Ok(addresses.into()) }
}

async fn read_hosts(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    tokio::fs::File::open(path).await?.take(hosts::BYTES_MAX).read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What getaddrinfo meant. The standard library gives its code only as the C library's words for it, which are not translated
/// in a process that never sets its locale.
fn reason(error: &io::Error) -> ResolveError {
    let text = error.to_string();
    // EAI_NONAME and EAI_NODATA, of glibc; musl has one text for both.
    let absent = ["Name or service not known", "No address associated with hostname", "Name does not resolve"];
    if absent.iter().any(|absent| text.contains(absent)) { ResolveError::NoSuchName } else { ResolveError::Failed }
}
