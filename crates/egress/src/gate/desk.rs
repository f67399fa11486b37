//! The desk: what the gate itself asks of venues, and what it does with orders that were let through.

pub(super) mod facts;
mod key;
pub(super) mod settle;
mod tend;
pub(super) mod wire;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hyper::http::{HeaderMap, HeaderName, HeaderValue};
use ringfence_model::SandboxId;
use ringfence_model::trade::{AccountId, AssetClass, CanonicalSymbol, Environment, TradeDate};

use self::facts::Day;
use self::wire::Wire;
use super::lead::{self, Lead, Way};
use super::room::{Force, Room};
use crate::secret::Placement;
use crate::trade::Codec;

pub(super) use key::Key;
pub(super) use tend::tend;

/// Assets and days that are kept.
const KNOWN_MAX: usize = 4096;

/// What is meant by the symbols of a venue.
type Assets = HashMap<(Codec, Environment, String), (CanonicalSymbol, AssetClass)>;

/// What the gate remembers of venues between requests.
#[derive(Default)]
pub(super) struct Desk {
    wire: Wire,
    assets: Mutex<Assets>,
    /// Of the exchange of this installation, by the digest of what it knows them by.
    accounts: Mutex<HashMap<[u8; 32], AccountId>>,
    days: Mutex<HashMap<(Environment, TradeDate), Day>>,
    /// Accounts whose keys the gate uses by itself, of which the audit chain knows.
    on_record: Mutex<HashSet<AccountId>>,
    /// One for each account: see [`Gate::turn`](super::Gate::turn).
    turns: Mutex<HashMap<AccountId, Arc<tokio::sync::Mutex<()>>>>,
    /// When a key was last looked for, of accounts that no sandbox is known to trade in.
    searched: Mutex<HashMap<AccountId, Instant>>,
    /// When the venue was last asked about an account in which nothing of ours is open.
    looked: Mutex<HashMap<AccountId, Instant>>,
    /// Sandboxes that have traded since this gateway started, by account.
    traders: Mutex<HashMap<AccountId, HashSet<SandboxId>>>,
    /// What a venue says of an order is noted by one after the other.
    noting: tokio::sync::Mutex<()>,
}

/// By which headers, or by whose signatures, a venue knows an account.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) lead: Lead,
    pub(super) headers: HeaderMap,
    /// What signs, where the venue wants signatures.
    pub(super) key: Option<Arc<Key>>,
}

/// The headers that say who asks: key id, secret, or both in one.
pub(super) const KEYS: [HeaderName; 3] = [
    HeaderName::from_static("apca-api-key-id"),
    HeaderName::from_static("apca-api-secret-key"),
    hyper::http::header::AUTHORIZATION,
];

impl Access {
    /// As a request has it, after values were put in.
    pub(super) fn of_request(lead: &Lead, headers: &HeaderMap) -> Self {
        let mut kept = HeaderMap::new();
        for name in &KEYS {
            if let Some(value) = headers.get(name) {
                kept.insert(name.clone(), value.clone());
            }
        }
        Self { lead: lead.clone(), headers: kept, key: None }
    }

    /// As the secrets of a sandbox are, for what the gate asks by itself; none when there are none for this.
    pub(super) fn of_secrets(lead: &Lead, force: &Force) -> Option<Self> {
        let host = lead.outside()?.as_str();
        if let Some(exchange) = lead.codec.signed_as() {
            return Some(Self::signing(lead, Arc::new(Key::of_secrets(exchange, host, force)?)));
        }
        let mut headers = HeaderMap::new();
        for secret in force.injector.secrets() {
            let Some(value) = secret.value.as_ref().filter(|_| secret.binding.covers(host, lead::PORT)) else {
                continue;
            };
            for placement in &secret.binding.placements {
                if let Placement::Header(name) = placement
                    && !headers.contains_key(name)
                    && let Ok(mut value) = HeaderValue::from_bytes(value.expose())
                {
                    value.set_sensitive(true);
                    headers.insert(name.clone(), value);
                }
            }
        }
        (!headers.is_empty()).then(|| Self { lead: lead.clone(), headers, key: None })
    }

    /// By a key that signs.
    pub(super) fn signing(lead: &Lead, key: Arc<Key>) -> Self {
        Self { lead: lead.clone(), headers: HeaderMap::new(), key: Some(key) }
    }

    /// A digest of the headers by which the venue knows the account.
    fn digest(&self) -> [u8; 32] {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        for name in &KEYS {
            let value = self.headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
            hash.update(&(value.len() as u64).to_be_bytes());
            hash.update(value);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        digest
    }

    /// To the exchange of this installation, which knows an account by its id too.
    pub(super) fn of_exchange(lead: &Lead, account: &AccountId) -> Option<Self> {
        let id = account.as_str().strip_prefix(SIMULATED).filter(|_| lead.way == Way::Exchange)?;
        let mut headers = HeaderMap::new();
        headers.insert(hyper::http::header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {id}")).ok()?);
        Some(Self { lead: lead.clone(), headers, key: None })
    }
}

/// On its way to the exchange of this installation a request of a sandbox that was given an account says that account, whatever
/// key it has.
pub(super) fn put_chosen(room: &Room, lead: &Lead, headers: &mut HeaderMap) {
    if let Some(access) = room.chosen().and_then(|account| Access::of_exchange(lead, &account)) {
        for name in &KEYS {
            headers.remove(name);
        }
        headers.extend(access.headers);
    }
}

/// What the ids of simulated accounts begin with.
const SIMULATED: &str = "sim:";

/// What the gate calls an account that the venue calls so.
pub(super) fn account_id(codec: Codec, environment: Environment, id: &str) -> Option<AccountId> {
    let prefix = match environment {
        Environment::Simulated => SIMULATED,
        Environment::Paper => "paper:",
        Environment::Live => "live:",
    };
    AccountId::parse(&format!("{prefix}{}{}", codec.account_prefix(), id.to_ascii_lowercase())).ok()
}
