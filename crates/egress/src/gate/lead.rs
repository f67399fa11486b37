//! Where the names of venues lead: to the exchange of this installation, to a broker's paper account, or to its live one. It is the
//! operator's to say, and no sandbox can see it in a name or an address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use ringfence_model::net::HostName;
use ringfence_model::trade::{AccountId, Environment, Mode, Refusal, Rule};

use super::{Gate, now_ms};
use crate::trade::{Codec, Part, Venue, Venues};

/// The address that sandboxes are given for every name of a venue, whatever the mode: nobody's (RFC 5737).
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80));
/// The only port at which venues are spoken with.
pub(super) const PORT: u16 = 443;

/// Venues, and where they lead.
pub(super) struct Leads {
    pub(super) venues: Venues,
    mode: Mutex<Mode>,
    /// The socket of the exchange of this installation.
    exchange: PathBuf,
    /// The port at which venues are outside.
    port: AtomicU16,
}

/// Where one name leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// To the exchange of this installation.
    Exchange,
    /// To this name outside.
    Outside(HostName),
}

/// A name of a venue that leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) environment: Environment,
    pub(super) part: Part,
    pub(super) way: Way,
    /// How the venue writes and reads.
    pub(super) codec: Codec,
}

impl Leads {
    pub(super) fn new(exchange: PathBuf, mode: Mode) -> Self {
        Self { venues: Venues::built_in(), mode: Mutex::new(mode), exchange, port: AtomicU16::new(PORT) }
    }

    pub(super) fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Venues are at another port outside: for tests.
    pub(super) fn set_port(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    /// Where orders go now; nowhere after live has ended.
    pub(super) fn environment(&self) -> Option<Environment> {
        self.mode().environment(now_ms())
    }

    /// The socket of the exchange.
    pub(super) fn exchange(&self) -> &PathBuf {
        &self.exchange
    }

    /// The venue that a name belongs to.
    pub(super) fn venue(&self, host: &HostName) -> Option<(&Venue, Part)> {
        self.venues.of(host)
    }

    /// The name by which the gate itself sends orders to the venue of an account.
    pub(super) fn host_of(&self, account: &AccountId) -> HostName {
        let environment = account.environment().unwrap_or(Environment::Simulated);
        self.trading_host(Codec::of_account(account.as_str()), environment)
    }

    /// The name by which the gate itself sends orders to a venue.
    pub(super) fn trading_host(&self, codec: Codec, environment: Environment) -> HostName {
        let venue = self.venues.speaking(codec);
        let host = venue.trading_host(environment).or_else(|| venue.hosts().next());
        host.expect("the files in venues/ name hosts").clone()
    }

    /// Where a venue's name leads in an environment, whatever the mode is: for what the gate does by itself about orders that are
    /// there. No request of a program goes this way.
    pub(super) fn of(&self, environment: Environment, host: &HostName) -> Option<Lead> {
        let (venue, part) = self.venues.of(host)?;
        let way = match environment {
            Environment::Simulated => Way::Exchange,
            Environment::Paper | Environment::Live => Way::Outside(venue.outside(environment, part)?.clone()),
        };
        Some(Lead { environment, part, way, codec: venue.codec })
    }

    /// Where a venue's name leads; none for other names.
    ///
    /// # Errors
    /// It leads nowhere: why.
    pub(super) fn lead(&self, host: &HostName) -> Option<Result<Lead, Refusal>> {
        let (venue, part) = self.venues.of(host)?;
        let Some(environment) = self.environment() else {
            let why = "live trading was armed until a time that has passed; the operator sets the mode with `ringfence trade mode`";
            return Some(Err(Refusal::because(Rule::EnvironmentLock, why)));
        };
        if environment == Environment::Simulated && !venue.simulated {
            let why = format!(
                "`{}` has no simulated exchange, and its names lead nowhere in mode `simulated`; the operator sets another mode with \
                 `ringfence trade mode`",
                venue.name
            );
            return Some(Err(Refusal::because(Rule::EnvironmentLock, why)));
        }
        if !venue.leads_in(host, environment) {
            let why = format!("`{host}` leads nowhere in mode `{environment}`");
            return Some(Err(Refusal::because(Rule::EnvironmentLock, why)));
        }
        let way = match environment {
            Environment::Simulated => Way::Exchange,
            _ => match venue.outside(environment, part) {
                Some(outside) => Way::Outside(outside.clone()),
                None => {
                    let why = format!("`{}` is not traded in mode `{environment}`", venue.name);
                    return Some(Err(Refusal::because(Rule::EnvironmentLock, why)));
                }
            },
        };
        Some(Ok(Lead { environment, part, way, codec: venue.codec }))
    }
}

impl Lead {
    /// The name under which secrets are bound to it; none where no secret goes.
    pub(super) fn outside(&self) -> Option<&HostName> {
        match &self.way {
            Way::Exchange => None,
            Way::Outside(host) => Some(host),
        }
    }
}

impl Gate {
    /// An address of a name outside that a venue leads to, as the gate itself finds it.
    pub(super) async fn outside(&self, host: &HostName) -> Option<SocketAddr> {
        let found = self.resolver.outside(host.as_str(), &self.own_lookups).await.ok()?;
        let reachable = found.iter().copied().find(|address| {
            self.resolver.is_pinned_outside(host.as_str(), *address)
                || (ringfence_model::net::is_reachable(*address).is_ok() && !self.is_own(*address))
        });
        reachable.map(|address| self.leads_to(SocketAddr::new(address, self.leads.port.load(Ordering::Relaxed))))
    }
}
