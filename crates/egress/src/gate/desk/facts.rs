//! What the rules look at, as the venue says it: the account's clock, its equity and positions, and what the market says of a symbol.
//! Whatever cannot be found out is missing, and the rules refuse what they cannot judge. How it is asked for is each venue's own.

mod alpaca;
mod binance;

use hyper::http::Method;
use ringfence_model::net::HostName;
use ringfence_model::trade::{
    AccountClock, AccountId, AssetClass, CanonicalSymbol, Environment, Equity, Facts, Position, Price, Reference,
    Refusal, Rule, Usd,
};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserialize;

use super::wire::Said;
use super::{Access, KNOWN_MAX};
use crate::gate::lead::Way;
use crate::gate::limits::lock;
use crate::gate::{Gate, now_ms};
use crate::trade::Codec;

pub(super) use alpaca::Day;

/// What a venue was asked for a verdict.
struct Read {
    account: AccountId,
    equity: Equity,
    clock: AccountClock,
    positions: Vec<Position>,
    references: Vec<Reference>,
}

/// A refusal because the gate does not know enough.
fn unknown(why: impl Into<String>) -> Refusal {
    Refusal::because(Rule::MaxReferenceAge, why)
}

/// An amount that a venue tells, with more digits than are kept cut off.
fn decimal(text: &str, digits: u32) -> Option<Decimal> {
    let value = Decimal::from_str_exact(text.trim_matches('"')).ok()?;
    Some(value.round_dp_with_strategy(digits, RoundingStrategy::ToZero))
}

fn usd(text: &str) -> Option<Usd> {
    Usd::from_decimal(decimal(text, 6)?)
}

fn price(text: &str) -> Option<Price> {
    Price::from_decimal(decimal(text, 9)?).filter(|price| price.is_positive())
}

/// A refusal because something of the account or the market could not be found out.
fn not(what: &str, why: &str) -> Refusal {
    unknown(format!("the gate could not find out {what}: {why}"))
}

/// A refusal because nobody says what a symbol is.
fn unnamed(text: &str, why: &str) -> Refusal {
    Refusal::because(Rule::PermittedSymbols, format!("the gate could not find out what `{text}` is: {why}"))
}

impl Gate {
    async fn read<T: for<'de> Deserialize<'de>>(
        &self,
        access: &Access,
        host: &HostName,
        target: String,
    ) -> Result<T, String> {
        let said = Said { method: Method::GET, host: host.clone(), target, body: vec![] };
        let answered = self.say(access, said).await.map_err(|error| error.to_string())?;
        if !answered.status.is_success() {
            return Err(format!("the venue answered {}", answered.status.as_u16()));
        }
        serde_json::from_slice(&answered.body).map_err(|error| error.to_string())
    }

    /// The account that a request is for.
    pub(in crate::gate) async fn whose(&self, access: &Access, host: &HostName) -> Result<AccountId, Refusal> {
        match access.lead.codec {
            Codec::Alpaca => self.alpaca_account(access, host).await.map(|(account, _)| account),
            Codec::Binance => self.binance_id(access, host).await,
        }
    }

    /// The same, as it was the last time: the exchange of this installation says once more who it is with everything else, and
    /// [`Gate::forget_whose`] is for when that is somebody else.
    pub(in crate::gate) async fn whose_of_late(&self, access: &Access, host: &HostName) -> Result<AccountId, Refusal> {
        if access.lead.way != Way::Exchange {
            return self.whose(access, host).await;
        }
        let key = access.digest();
        if let Some(account) = lock(&self.desk.accounts).get(&key) {
            return Ok(account.clone());
        }
        let account = self.whose(access, host).await?;
        let mut accounts = lock(&self.desk.accounts);
        if accounts.len() >= KNOWN_MAX {
            accounts.clear();
        }
        accounts.insert(key, account.clone());
        Ok(account)
    }

    /// Forgets which account somebody has access to.
    pub(in crate::gate) fn forget_whose(&self, access: &Access) {
        lock(&self.desk.accounts).remove(&access.digest());
    }

    /// What is meant by a symbol, an asset's id, or another spelling.
    pub(in crate::gate) async fn asset(
        &self,
        access: &Access,
        host: &HostName,
        text: &str,
    ) -> Result<(CanonicalSymbol, AssetClass), Refusal> {
        let plain = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-/".contains(&byte));
        if !plain {
            return Err(Refusal::because(Rule::CanonicalForm, "the symbol has characters that no symbol has"));
        }
        let key = (access.lead.codec, access.lead.environment, text.to_owned());
        if let Some(known) = lock(&self.desk.assets).get(&key) {
            return Ok(known.clone());
        }
        let found = match access.lead.codec {
            Codec::Alpaca => self.alpaca_asset(access, host, text).await?,
            Codec::Binance => self.binance_asset(access, host, text).await?,
        };
        let mut assets = lock(&self.desk.assets);
        if assets.len() >= KNOWN_MAX {
            assets.clear();
        }
        assets.insert(key, found.clone());
        Ok(found)
    }

    /// Everything that a message about these symbols is judged by.
    pub(in crate::gate) async fn facts(
        &self,
        access: &Access,
        host: &HostName,
        symbols: &[CanonicalSymbol],
    ) -> Result<(AccountId, Facts), Refusal> {
        let read = match access.lead.codec {
            Codec::Alpaca => Box::pin(self.alpaca_read(access, host, symbols)).await?,
            Codec::Binance => Box::pin(self.binance_read(access, host, symbols)).await?,
        };
        let facts = Facts {
            clock: read.clock,
            host_ms: now_ms(),
            environment: access.lead.environment,
            mode: self.leads.mode(),
            references: read.references,
            positions: read.positions,
            equity: Some(read.equity),
        };
        Ok((read.account, facts))
    }

    /// What an account holds, as it is counted; none where the venue tells of positions by itself.
    pub(in crate::gate) async fn counted(&self, access: &Access) -> Option<Result<Vec<Position>, Refusal>> {
        match access.lead.codec {
            Codec::Alpaca => None,
            Codec::Binance => {
                let read = Box::pin(self.binance_read(access, &self.host_of(access), &[])).await;
                Some(read.map(|read| read.positions))
            }
        }
    }

    /// The name by which the exchange of this installation is spoken with.
    pub(in crate::gate) fn trading_host(&self) -> HostName {
        self.leads.trading_host(Codec::Alpaca, Environment::Simulated)
    }

    /// The name by which the gate itself speaks with the venue that somebody has access to.
    pub(in crate::gate) fn host_of(&self, access: &Access) -> HostName {
        self.leads.trading_host(access.lead.codec, access.lead.environment)
    }
}

/// Waits for all of them, one after the other: they are few.
async fn one_by_one<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        found.push(one.await);
    }
    found
}

/// Whether an environment's facts may be asked for anew with each order.
pub(in crate::gate) fn is_near(environment: Environment) -> bool {
    environment == Environment::Simulated
}
