//! Which addresses the gate gave to one sandbox, and for which names: a connection to any other is refused.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most pairs of address and name that are remembered; the one that was not used the longest is forgotten first.
pub const GIVEN_MAX: usize = 4096;
/// How long a pair is good after it was last given or used. Clients keep addresses for longer than an answer says.
pub const GIVEN_TIME: Duration = Duration::from_secs(3600);

/// The addresses that one sandbox was given.
#[derive(Debug, Default)]
pub struct Given {
    names: HashMap<IpAddr, HashMap<Arc<str>, Use>>,
    by_use: BTreeMap<u64, (IpAddr, Arc<str>)>,
    uses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    at: Instant,
    count: u64,
}

impl Given {
    /// Remembers that `name` (in its canonical form) was answered with `addresses`.
    pub fn give(&mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>, now: Instant) {
        self.forget_old(now);
        let name: Arc<str> = name.into();
        for address in addresses {
            self.note(canonical(address), &name, now);
            if self.by_use.len() > GIVEN_MAX
                && let Some((_, (address, name))) = self.by_use.pop_first()
            {
                self.drop_pair(address, &name);
            }
        }
    }

    /// The names that `address` was given for, those given last first. Does not count as a use.
    #[must_use]
    pub fn names(&self, address: IpAddr, now: Instant) -> Vec<Arc<str>> {
        let Some(names) = self.names.get(&canonical(address)) else { return Vec::new() };
        let mut names: Vec<_> = names.iter().filter(|(_, used)| is_good(used.at, now)).collect();
        names.sort_unstable_by_key(|(_, used)| std::cmp::Reverse(used.count));
        names.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether `address` was given for `name`; if so, it is good for another hour.
    #[must_use]
    pub fn take(&mut self, address: IpAddr, name: &str, now: Instant) -> bool {
        let address = canonical(address);
        let Some((name, used)) = self.names.get(&address).and_then(|names| names.get_key_value(name)) else {
            return false;
        };
        if !is_good(used.at, now) {
            return false;
        }
        let name = name.clone();
        self.note(address, &name, now);
        true
    }

    /// How many pairs are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_use.len()
    }

    /// Whether nothing was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_use.is_empty()
    }

    fn note(&mut self, address: IpAddr, name: &Arc<str>, now: Instant) {
        self.uses += 1;
        let used = Use { at: now, count: self.uses };
        if let Some(before) = self.names.entry(address).or_default().insert(name.clone(), used) {
            self.by_use.remove(&before.count);
        }
        self.by_use.insert(self.uses, (address, name.clone()));
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.by_use.first_entry() {
            let (address, name) = oldest.get();
            let used =
                self.names.get(address).and_then(|names| names.get(name)).expect("the order holds what is there");
            if is_good(used.at, now) {
                return;
            }
            let (address, name) = oldest.remove();
            self.drop_pair(address, &name);
        }
    }

    fn drop_pair(&mut self, address: IpAddr, name: &str) {
        if let Some(names) = self.names.get_mut(&address) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(&address);
            }
        }
    }
}

fn is_good(used: Instant, now: Instant) -> bool {
    now.saturating_duration_since(used) <= GIVEN_TIME
}

/// A dual-stack socket shows an IPv4 peer as `::ffff:a.b.c.d`.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
