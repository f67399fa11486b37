//! The venue: its accounts, their journal and the market that they are in. One request or one stretch of time of an account
//! after the other; different accounts beside each other.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use ringfence_market::{BarTape, Symbol, Tape, calendar};
use rust_decimal::Decimal;
use tokio::sync::broadcast;

use crate::{
    account::{Account, CASH_DEFAULT, Change, Opening},
    clock::{Mode, ReplayClock},
    exchange::{Event, Turn},
    journal::{Failed, Journal, JournalError, Record},
    profile::Profile,
    refusal::Refusal,
};

/// The account of every key that is nobody's.
pub const DEFAULT_ACCOUNT: &str = "default";

/// Most accounts of a venue.
pub const ACCOUNTS_MAX: usize = 1_000;

/// Events that a slow reader of the trade stream may be behind.
const EVENTS_BEHIND_MAX: usize = 8_192;

/// The market's data, and what follows from them.
#[derive(Clone)]
pub struct Shelf {
    /// The tape.
    pub tape: Arc<BarTape>,
    /// Every symbol, ascending.
    pub symbols: Arc<[Symbol]>,
}

impl Shelf {
    /// A tape.
    #[must_use]
    pub fn new(tape: Arc<BarTape>) -> Self {
        let mut symbols = tape.symbols();
        symbols.sort_unstable();
        Self { tape, symbols: symbols.into() }
    }
}

/// An account at work.
pub struct Desk {
    account: Mutex<Account>,
    key_id: String,
    secret: String,
    /// The account's id, which is a key without a secret: for the gate, when it asks by itself.
    id: String,
    events: broadcast::Sender<Arc<Event>>,
    /// The last record of it that went to the journal.
    written: Mutex<u64>,
    /// Whether another account has taken its place. Read and written with the account locked, so that nothing of the old
    /// one is written behind the first record of the new.
    over: AtomicBool,
    /// Whoever waits for a turn waits here, without a thread.
    queue: Arc<tokio::sync::Mutex<()>>,
}

/// All of it.
pub struct Venue {
    journal: Journal,
    shelf: RwLock<Shelf>,
    desks: RwLock<BTreeMap<String, Arc<Desk>>>,
    /// What reads the real clock.
    real: fn() -> Timestamp,
    reread: Box<dyn Fn() -> Result<Arc<BarTape>, String> + Send + Sync>,
}

/// What an account is to begin with; what is not said is as usual.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Dollars.
    pub cash: Option<Decimal>,
    /// Where all that looks random comes from.
    pub seed: Option<u64>,
    /// When it begins.
    pub start: Option<Timestamp>,
    /// How its clock moves.
    pub mode: Option<Mode>,
    /// How orders are treated.
    pub profile: Option<Profile>,
}

impl From<Failed> for Refusal {
    fn from(_: Failed) -> Self {
        Self::internal()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with it left an account between two changes, which the next start repairs: no request panics by design.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn new(account: Account) -> Self {
        Self {
            key_id: account.opening.key_id.clone(),
            secret: account.opening.secret.clone(),
            id: account.id().to_string(),
            account: Mutex::new(account),
            events: broadcast::Sender::new(EVENTS_BEHIND_MAX),
            written: Mutex::new(0),
            over: AtomicBool::new(false),
            queue: Arc::default(),
        }
    }

    /// The account, for whoever may change it.
    fn take(&self) -> Result<MutexGuard<'_, Account>, Refusal> {
        let account = lock(&self.account);
        if self.over.load(Ordering::Relaxed) {
            return Err(Refusal::not_found("the account was reset or deleted"));
        }
        Ok(account)
    }

    /// A place in the queue of this account: one request at a time needs a thread.
    pub async fn queue(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.queue.clone().lock_owned().await
    }

    /// Events from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Looks at the account.
    pub fn look<T>(&self, look: impl FnOnce(&Account) -> T) -> T {
        look(&lock(&self.account))
    }

    /// Looks at the account, unless somebody is at work with it.
    pub fn try_look<T>(&self, look: impl FnOnce(&Account) -> T) -> Option<T> {
        self.account.try_lock().ok().map(|account| look(&account))
    }

    /// Whether key id and secret are those of this account.
    #[must_use]
    pub fn is_key(&self, key_id: &str, secret: Option<&str>) -> bool {
        (self.key_id == key_id && secret.is_none_or(|secret| self.secret == secret))
            || (self.id == key_id && secret.is_none())
    }
}

impl Venue {
    /// Opens the venue in a directory. `real` reads the real clock, `reread` the market's data.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn open(
        dir: &Path,
        tape: Arc<BarTape>,
        real: fn() -> Timestamp,
        reread: Box<dyn Fn() -> Result<Arc<BarTape>, String> + Send + Sync>,
    ) -> Result<Self, JournalError> {
        let (journal, state) = Journal::open(dir)?;
        let shelf = Shelf::new(tape);
        let digest = shelf.tape.digest();
        let other_data = state.tape.as_ref() != Some(&digest);
        let desks = state.accounts.into_iter().map(|(name, account)| (name, Arc::new(Desk::new(account)))).collect();
        let venue = Self { journal, shelf: RwLock::new(shelf), desks: RwLock::new(desks), real, reread };
        if other_data {
            venue.begin_data(digest);
        }
        if venue.desk(DEFAULT_ACCOUNT).is_none() {
            // A failure to write it is told by the first request.
            let _ = venue.create(DEFAULT_ACCOUNT, &Wish::default());
        }
        Ok(venue)
    }

    /// From here on the data are others: what has happened stays, and nothing is looked up again behind it.
    fn begin_data(&self, digest: String) {
        let _ = self.journal.append(&Record::Tape(digest), None);
        for (name, desk) in self.all() {
            let Ok(mut account) = desk.take() else { continue };
            let now = account.clock.now((self.real)()).max(account.until);
            account.change(Change::Until(now));
            let _ = self.append(&name, &desk, vec![Change::Until(now)], Vec::new());
        }
    }

    /// Reads the market's data again. The answer is their digest, and whether they are others.
    ///
    /// # Errors
    /// They cannot be read; the venue goes on with those that it has.
    pub fn reload(&self) -> Result<(String, bool), String> {
        let shelf = Shelf::new((self.reread)()?);
        let digest = shelf.tape.digest();
        let other = self.shelf().tape.digest() != digest;
        if other {
            // Until now the old data hold.
            for (name, desk) in self.all() {
                self.catch_up(&name, &desk).map_err(|refusal| refusal.message)?;
            }
            *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = shelf;
            self.begin_data(digest.clone());
        }
        Ok((digest, other))
    }

    /// The market's data.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every account, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Arc<Desk>)> {
        let desks = self.desks.read().unwrap_or_else(PoisonError::into_inner);
        desks.iter().map(|(name, desk)| (name.clone(), desk.clone())).collect()
    }

    /// The account of that name.
    #[must_use]
    pub fn desk(&self, name: &str) -> Option<Arc<Desk>> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The account that a key chooses: that with the key's id, or the default one for a key that is nobody's.
    ///
    /// # Errors
    /// The key is somebody's, and the secret another one.
    pub fn of_key(&self, key_id: &str, secret: Option<&str>) -> Result<(String, Arc<Desk>), Refusal> {
        let all = self.all();
        let found = all.iter().find(|(_, desk)| desk.is_key(key_id, None));
        match found {
            Some((_, desk)) if !desk.is_key(key_id, secret) => Err(Refusal::unauthorized()),
            Some(found) => Ok(found.clone()),
            None => all.into_iter().find(|(name, _)| name == DEFAULT_ACCOUNT).ok_or_else(Refusal::internal),
        }
    }

    /// Opens an account, in place of one of that name.
    ///
    /// # Errors
    /// There are too many, or the disk refuses it.
    pub fn create(&self, name: &str, wish: &Wish) -> Result<(Arc<Desk>, u64), Refusal> {
        let old = self.desk(name);
        // Before the list of accounts is locked, which everybody reads: this one may be at work for a while.
        let held = old.as_ref().map(|desk| desk.take()).transpose()?;
        let before = held.as_ref().map(|account| account.opening.clone());
        let mut desks = self.desks.write().unwrap_or_else(PoisonError::into_inner);
        if desks.contains_key(name) != old.is_some() {
            return Err(Refusal::new(409, 40_910_000, "another request has made or deleted this account"));
        }
        if desks.len() >= ACCOUNTS_MAX && old.is_none() {
            return Err(Refusal::unprocessable(format!("a venue has at most {ACCOUNTS_MAX} accounts")));
        }
        let real = (self.real)();
        let start = wish.start.or(before.as_ref().map(|b| b.start)).unwrap_or(crate::clock::START);
        let mode = wish.mode.or(before.as_ref().map(|b| b.clock.mode()));
        let mode = mode.unwrap_or_else(|| ReplayClock::default_at(real).mode());
        let clock = ReplayClock::new(start, mode, real);
        let (key_id, secret) = keys()?;
        let opening = Opening {
            name: name.to_owned(),
            key_id,
            secret,
            cash: wish.cash.or(before.as_ref().map(|b| b.cash)).unwrap_or(CASH_DEFAULT),
            seed: wish.seed.or(before.as_ref().map(|b| b.seed)).unwrap_or(0),
            generation: before.as_ref().map_or(0, |b| b.generation + 1),
            start: clock.now(real),
            clock,
            profile: wish.profile.clone().or(before.map(|b| b.profile)).unwrap_or_default(),
        };
        let desk = Arc::new(Desk::new(Account::open(opening.clone())));
        let number = self.journal.append(&Record::Opened(Box::new(opening)), None)?;
        if let Some(old) = &old {
            old.over.store(true, Ordering::Relaxed);
        }
        *lock(&desk.written) = number;
        desks.insert(name.to_owned(), desk.clone());
        Ok((desk, number))
    }

    /// Ends an account.
    ///
    /// # Errors
    /// There is none of that name, or it is the default one.
    pub fn close(&self, name: &str) -> Result<u64, Refusal> {
        if name == DEFAULT_ACCOUNT {
            return Err(Refusal::unprocessable("the default account can be reset, not deleted"));
        }
        let desk = self.desk(name).ok_or_else(|| Refusal::not_found("account not found"))?;
        let _held = desk.take()?;
        self.desks.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        desk.over.store(true, Ordering::Relaxed);
        Ok(self.journal.append(&Record::Closed(name.to_owned()), None)?)
    }

    /// Waits until a record is on disk.
    ///
    /// # Errors
    /// It never will be.
    pub async fn written(&self, number: u64) -> Result<(), Refusal> {
        Ok(self.journal.written(number).await?)
    }

    /// Waits until the disk refuses a record.
    pub async fn failed(&self) {
        self.journal.failed().await;
    }

    fn append(&self, name: &str, desk: &Desk, changes: Vec<Change>, events: Vec<Event>) -> Result<(), Failed> {
        if changes.is_empty() {
            return Ok(());
        }
        let sender = desk.events.clone();
        let then = move || {
            for event in events {
                // Nobody listens is no fault.
                let _ = sender.send(Arc::new(event));
            }
        };
        let record = Record::Changed { account: name.to_owned(), changes };
        *lock(&desk.written) = self.journal.append(&record, Some(Box::new(then)))?;
        Ok(())
    }

    /// Lets time pass until `to`, a session at a time, so that each is on its way to the disk before the next. The answer is
    /// how many events there were.
    fn pass(
        &self,
        name: &str,
        desk: &Desk,
        account: &mut Account,
        shelf: &Shelf,
        to: Timestamp,
    ) -> Result<u64, Failed> {
        let mut told = 0;
        while account.until < to {
            let end = calendar::next_close(account.until).unwrap_or(to).min(to);
            let mut turn = Turn::new(account, shelf.tape.as_ref(), &shelf.symbols, end);
            turn.advance(end);
            let (changes, events) = turn.end();
            told += u64::try_from(events.len()).unwrap_or_default();
            self.append(name, desk, changes, events)?;
        }
        Ok(told)
    }

    /// Lets the time pass that has passed, and then acts. What was changed is on its way to the disk; what to wait for before
    /// anybody is told comes with the answer.
    ///
    /// # Errors
    /// The account is over, or the disk refuses what became different.
    pub fn act<T>(&self, name: &str, desk: &Desk, act: impl FnOnce(&mut Turn<'_>) -> T) -> Result<(T, u64), Refusal> {
        let shelf = self.shelf();
        let mut account = desk.take()?;
        let now = account.clock.show((self.real)());
        self.pass(name, desk, &mut account, &shelf, now)?;
        let mut turn = Turn::new(&mut account, shelf.tape.as_ref(), &shelf.symbols, now);
        let done = act(&mut turn);
        let (changes, events) = turn.end();
        self.append(name, desk, changes, events)?;
        let number = *lock(&desk.written);
        Ok((done, number))
    }

    /// Lets the time pass that has passed.
    ///
    /// # Errors
    /// As [`Self::act`].
    pub fn catch_up(&self, name: &str, desk: &Desk) -> Result<u64, Refusal> {
        self.act(name, desk, |_| ()).map(|((), number)| number)
    }

    /// What an account's clock shows.
    #[must_use]
    pub fn now(&self, desk: &Desk) -> Timestamp {
        let account = lock(&desk.account);
        account.clock.now((self.real)()).max(account.until)
    }

    /// Sets an account's clock: `set` is given the time and the real one. Whatever it skips happens first. The answer is how many
    /// events that were, and what to wait for.
    ///
    /// # Errors
    /// `set` refuses, or the disk.
    pub fn set_clock(
        &self,
        name: &str,
        desk: &Desk,
        set: impl FnOnce(&mut ReplayClock, Timestamp, Timestamp) -> Result<(), Refusal>,
    ) -> Result<(u64, u64), Refusal> {
        let shelf = self.shelf();
        let mut account = desk.take()?;
        let real = (self.real)();
        let shown = account.clock.show(real);
        let now = shown.max(account.until);
        let mut told = self.pass(name, desk, &mut account, &shelf, now)?;
        let mut clock = account.clock;
        if now > shown {
            // A crash has come between the time that passed and the clock that was set for it.
            let ahead = clock.step_to(now, real);
            ahead.map_err(|error| Refusal::unprocessable(error.to_string()))?;
        }
        set(&mut clock, now, real)?;
        told += self.pass(name, desk, &mut account, &shelf, clock.now(real))?;
        // It goes on from when the passing is done, not from when it was begun.
        let later = (self.real)();
        let mut from_here = ReplayClock::new(clock.now(real), clock.mode(), later);
        from_here.show(later);
        account.change(Change::Clock(from_here));
        self.append(name, desk, vec![Change::Clock(from_here), Change::Until(account.until)], Vec::new())?;
        let number = *lock(&desk.written);
        Ok((told, number))
    }
}

/// A key in the form of Alpaca's, from the kernel's randomness.
fn keys() -> Result<(String, String), Refusal> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0_u8; 58];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|_| Refusal::internal())?;
    let text: String = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    Ok((format!("PK{}", &text[..18]), text[18..].to_owned()))
}
