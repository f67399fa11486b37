//! Streams of venues that many sandboxes share ([decision 34](../../../../docs/decisions/0034-one-stream-for-many-sandboxes.md)).
//!
//! A venue allows an account one connection for market data. So the gate ends the websocket of each sandbox itself (`seat`), keeps
//! one connection of its own for each key and path (`upstream`), and tells each sandbox what it has asked for (`market`) or what
//! became of its own orders (`updates`). Nothing that a sandbox writes goes upstream: the gate writes its own messages.

mod codec;
mod line;
mod market;
mod seat;
mod updates;
mod upstream;
pub(super) mod wire;
mod wish;
mod words;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ring::digest;
use ringfence_model::SandboxId;
use ringfence_model::net::HostName;
use ringfence_model::trade::AccountId;
use ringfence_store::SecretValue;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_tungstenite::tungstenite::Message;

use self::codec::Codec;
use self::line::Line;
use self::wish::Wish;
use self::words::Refusal;
use super::Gate;
use super::lead::Lead;
use super::limits::lock;

pub(super) use seat::{Kind, Seat};
pub(super) use wish::Channels;

/// Connections upstream of one key.
const PATHS_MAX: usize = 16;
/// Sockets of one sandbox at one of them. (Alpaca gives an account one.)
const SOCKETS_MAX: usize = 16;
/// Keys whose failures are remembered.
const RESTS_MAX: usize = 1024;
/// How long a failure counts after its pause.
const REST_COUNTS: Duration = Duration::from_secs(60);

/// Which connection upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Mode and host.
    place: (ringfence_model::trade::Environment, String),
    path: String,
    /// The digest of key id and secret: whoever has another secret has another connection, which the venue judges.
    who: [u8; 32],
}

/// As whom the gate speaks upstream.
#[derive(Debug, Clone)]
enum Login {
    /// With an account's keys.
    Keys {
        /// Its id.
        id: Arc<SecretValue>,
        /// Its secret.
        secret: Arc<SecretValue>,
    },
    /// To the exchange of this installation, for an account of it.
    Account(AccountId),
}

impl Login {
    fn digest(&self) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        let parts: [&[u8]; 2] = match self {
            Self::Keys { id, secret } => [id.expose(), secret.expose()],
            Self::Account(account) => [account.as_str().as_bytes(), b""],
        };
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        digest
    }
}

/// Where a connection upstream goes, and as whom.
#[derive(Debug, Clone)]
struct Target {
    lead: Lead,
    host: HostName,
    path: String,
    login: Login,
}

impl Target {
    fn key(&self) -> Key {
        let host = self.lead.outside().map_or_else(String::new, ToString::to_string);
        Key { place: (self.lead.environment, host), path: self.path.clone(), who: self.login.digest() }
    }
}

/// What a sandbox's socket says to the connection that it shares.
#[derive(Debug)]
enum Command {
    Join(Guest),
    Ask { number: u64, ask: Ask },
    Leave { number: u64 },
}

/// What a sandbox asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ask {
    /// To hear this too.
    Subscribe(Wish),
    /// To hear this no more.
    Unsubscribe(Wish),
    /// To hear of its orders, or no more.
    Listen(bool),
}

/// One socket of a sandbox.
#[derive(Debug)]
struct Guest {
    number: u64,
    sandbox: SandboxId,
    codec: Codec,
    line: Line,
}

/// The connections that there are, and those that failed lately.
#[derive(Default)]
pub(super) struct Feeds {
    table: Mutex<Table>,
    numbers: AtomicU64,
}

#[derive(Default)]
struct Table {
    open: HashMap<Key, Open>,
    rests: HashMap<Key, Rest>,
}

struct Open {
    commands: UnboundedSender<Command>,
    /// How many sockets of each sandbox.
    sockets: HashMap<SandboxId, usize>,
}

/// A connection that failed and is not tried again at once, by whomever.
#[derive(Debug, Clone)]
struct Rest {
    until: Instant,
    failures: u32,
    /// What the venue said, which it would say again.
    refusal: Option<Refusal>,
}

/// A place at a shared connection. It is left when this is dropped.
struct Place {
    gate: Arc<Gate>,
    key: Key,
    number: u64,
    sandbox: SandboxId,
    /// Not bounded: of each socket there is at most one question in it that was not answered, beside its coming and going.
    commands: UnboundedSender<Command>,
}

impl Place {
    fn ask(&self, ask: Ask) {
        // Nobody is there any more only when the gate is about to end.
        let _ = self.commands.send(Command::Ask { number: self.number, ask });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Leave { number: self.number });
        let mut table = lock(&self.gate.feeds.table);
        let Some(open) = table.open.get_mut(&self.key).filter(|open| open.commands.same_channel(&self.commands)) else {
            return;
        };
        if let Some(sockets) = open.sockets.get_mut(&self.sandbox) {
            *sockets = sockets.saturating_sub(1);
            if *sockets == 0 {
                open.sockets.remove(&self.sandbox);
            }
        }
    }
}

impl Gate {
    /// A place at the connection to there, which is made when there is none.
    fn join_feed(
        self: &Arc<Self>,
        target: Target,
        talk: impl FnOnce() -> Talks,
        (sandbox, codec, line): (SandboxId, Codec, Line),
    ) -> Result<Place, Refusal> {
        let key = target.key();
        let number = self.feeds.numbers.fetch_add(1, Ordering::Relaxed);
        let mut table = lock(&self.feeds.table);
        let now = Instant::now();
        if !table.open.contains_key(&key) {
            table.rests.retain(|_, rest| rest.until + REST_COUNTS > now);
            let rest = table.rests.get(&key).cloned();
            if let Some(refusal) = rest.as_ref().filter(|rest| rest.until > now).and_then(|rest| rest.refusal.clone()) {
                return Err(refusal);
            }
            let of_key = |other: &&Key| other.who == key.who && other.place == key.place;
            if table.open.keys().filter(of_key).count() >= PATHS_MAX {
                return Err(Refusal::too_many());
            }
            let (commands, heard) = mpsc::unbounded_channel();
            table.open.insert(key.clone(), Open { commands, sockets: HashMap::new() });
            let gate = Arc::downgrade(self);
            match talk() {
                Talks::Market(market) => tokio::spawn(upstream::run(gate, target, market, heard, rest)),
                Talks::Updates(updates) => tokio::spawn(upstream::run(gate, target, updates, heard, rest)),
            };
        }
        let Some(open) = table.open.get_mut(&key) else { return Err(Refusal::internal("it is gone")) };
        let sockets = open.sockets.entry(sandbox.clone()).or_default();
        if *sockets >= SOCKETS_MAX {
            return Err(Refusal::too_many());
        }
        *sockets += 1;
        let commands = open.commands.clone();
        let _ = commands.send(Command::Join(Guest { number, sandbox: sandbox.clone(), codec, line }));
        drop(table);
        Ok(Place { gate: self.clone(), key, number, sandbox, commands })
    }

    /// Forgets a connection that nobody needs, unless somebody has come meanwhile.
    fn leave_feed(&self, key: &Key, commands: &UnboundedReceiver<Command>, rest: Option<Rest>) -> bool {
        let mut table = lock(&self.feeds.table);
        if !commands.is_empty() {
            return false;
        }
        table.open.remove(key);
        if let Some(rest) = rest {
            if table.rests.len() >= RESTS_MAX {
                table.rests.clear();
            }
            table.rests.insert(key.clone(), rest);
        } else {
            table.rests.remove(key);
        }
        true
    }
}

/// What is spoken over a connection.
enum Talks {
    Market(market::Market),
    Updates(updates::Updates),
}

/// The guests of one connection.
struct Guests<W> {
    all: std::collections::BTreeMap<u64, Seated<W>>,
}

/// One of them.
struct Seated<W> {
    sandbox: SandboxId,
    codec: Codec,
    line: Line,
    /// Whether it was told that it may ask.
    is_in: bool,
    wish: W,
}

impl<W: Default> Guests<W> {
    fn new() -> Self {
        Self { all: std::collections::BTreeMap::new() }
    }

    fn join(&mut self, guest: Guest) {
        let Guest { number, sandbox, codec, line } = guest;
        self.all.insert(number, Seated { sandbox, codec, line, is_in: false, wish: W::default() });
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Says something to one of them; one that is too slow has to go, with these words.
    fn say(&mut self, number: u64, message: Message, is_answer: bool, slow: impl FnOnce(Codec) -> Message) {
        let Some(seated) = self.all.get(&number) else { return };
        if !seated.line.push(message, is_answer)
            && let Some(seated) = self.all.remove(&number)
        {
            tracing::debug!(sandbox = %seated.sandbox, "a sandbox takes a stream too slowly");
            let word = slow(seated.codec);
            seated.line.end(word);
        }
    }

    /// Lets one of them go with a last word.
    fn dismiss(&mut self, number: u64, word: impl FnOnce(Codec) -> Message) {
        if let Some(seated) = self.all.remove(&number) {
            let word = word(seated.codec);
            seated.line.end(word);
        }
    }
}
