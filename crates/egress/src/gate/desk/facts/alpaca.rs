//! Facts as Alpaca tells them: its account and positions, its clock and calendar in New York's time, and what its data says.

use std::collections::HashMap;

use ringfence_model::net::HostName;
use ringfence_model::trade::{
    AccountClock, AccountId, AssetClass, CanonicalSymbol, Equity, Position, Qty, Reference, Refusal, Rule, Session,
    TradeDate,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Read, decimal, not, one_by_one, price, unknown, unnamed, usd};
use crate::gate::Gate;
use crate::gate::desk::{Access, KNOWN_MAX, account_id};
use crate::gate::lead::{Lead, Way};
use crate::gate::limits::lock;
use crate::trade::Part;

/// A trading day, in minutes of New York's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gate::desk) struct Day {
    open: u16,
    close: u16,
    session_open: u16,
    session_close: u16,
    trades: bool,
}

#[derive(Deserialize)]
struct ClockSaid {
    timestamp: String,
}

#[derive(Deserialize)]
struct DaySaid {
    date: String,
    open: String,
    close: String,
    session_open: Option<String>,
    session_close: Option<String>,
}

#[derive(Deserialize)]
struct AccountSaid {
    id: String,
    equity: Option<String>,
    last_equity: Option<String>,
}

#[derive(Deserialize)]
struct PositionSaid {
    symbol: String,
    asset_class: AssetClass,
    qty: String,
    current_price: Option<String>,
    avg_entry_price: Option<String>,
}

#[derive(Deserialize)]
struct QuotesSaid {
    quotes: HashMap<String, QuoteSaid>,
}

#[derive(Deserialize)]
struct QuoteSaid {
    t: String,
    ap: Box<RawValue>,
    bp: Box<RawValue>,
}

#[derive(Deserialize)]
struct TradesSaid {
    trades: HashMap<String, TradeSaid>,
}

#[derive(Deserialize)]
struct TradeSaid {
    t: String,
    p: Box<RawValue>,
}

/// What the exchange of this installation says in one answer.
#[derive(Deserialize)]
struct FactsSaid {
    account: AccountSaid,
    clock: ClockSaid,
    positions: Vec<PositionSaid>,
    quotes: HashMap<String, QuoteSaid>,
    trades: HashMap<String, TradeSaid>,
}

#[derive(Deserialize)]
struct AssetSaid {
    symbol: String,
    class: AssetClass,
}

/// `09:30` or `0930` as a minute of the day.
fn minute(text: &str) -> Option<u16> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let (hour, minute) = (digits.get(..2)?.parse::<u16>().ok()?, digits.get(2..4)?.parse::<u16>().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

fn epoch_ms(text: &str) -> Option<u64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// Date and minute as the text itself has them: a venue's clock is New York's, and says its offset.
fn local(text: &str) -> Option<(TradeDate, u16)> {
    if text.ends_with(['Z', 'z']) {
        return None;
    }
    Some((TradeDate::parse(text.get(..10)?)?, minute(text.get(11..16)?)?))
}

fn account(access: &Access, said: &AccountSaid) -> Result<(AccountId, Equity), Refusal> {
    let id = account_id(access.lead.codec, access.lead.environment, &said.id)
        .ok_or_else(|| unknown("the account's id is none"))?;
    let now = said.equity.as_deref().and_then(usd).ok_or_else(|| unknown("the account tells no equity"))?;
    Ok((id, Equity { now, start_of_day: said.last_equity.as_deref().and_then(usd) }))
}

fn positions(said: Vec<PositionSaid>) -> Result<Vec<Position>, String> {
    let positions = said.into_iter().map(|said| {
        let symbol = CanonicalSymbol::parse(&said.symbol).ok()?;
        let qty = Qty::from_decimal(decimal(&said.qty, 9)?)?;
        let text = said.current_price.or(said.avg_entry_price)?;
        Some(Position { symbol, asset_class: said.asset_class, qty, price: price(&text)? })
    });
    positions.collect::<Option<_>>().ok_or_else(|| "its positions could not be read".to_owned())
}

/// What the market says of a symbol, from its latest quote and trade.
fn reference(symbol: &CanonicalSymbol, quote: Option<&QuoteSaid>, trade: Option<&TradeSaid>) -> Option<Reference> {
    let quoted = quote.and_then(|said| Some((epoch_ms(&said.t)?, price(said.bp.get()), price(said.ap.get()))));
    let traded = trade.and_then(|said| Some((epoch_ms(&said.t)?, price(said.p.get())?)));
    match (quoted, traded) {
        // Both sides say what it is worth now; the last trade may be older.
        (Some((at_ms, bid @ Some(_), ask @ Some(_))), _) => {
            Some(Reference { symbol: symbol.clone(), bid, ask, last: None, at_ms })
        }
        (Some((at_ms, bid, ask)), Some((traded_ms, last))) => {
            Some(Reference { symbol: symbol.clone(), bid, ask, last: Some(last), at_ms: at_ms.min(traded_ms) })
        }
        (Some((at_ms, bid, ask)), None) => Some(Reference { symbol: symbol.clone(), bid, ask, last: None, at_ms }),
        (None, Some((at_ms, last))) => {
            Some(Reference { symbol: symbol.clone(), bid: None, ask: None, last: Some(last), at_ms })
        }
        (None, None) => None,
    }
}

impl Gate {
    pub(super) async fn alpaca_account(
        &self,
        access: &Access,
        host: &HostName,
    ) -> Result<(AccountId, Equity), Refusal> {
        let said = self.read(access, host, "/v2/account".to_owned()).await;
        account(access, &said.map_err(|why| not("about the account", &why))?)
    }

    pub(super) async fn alpaca_asset(
        &self,
        access: &Access,
        host: &HostName,
        text: &str,
    ) -> Result<(CanonicalSymbol, AssetClass), Refusal> {
        let target = format!("/v2/assets/{}", text.replace('/', "%2F"));
        let said: AssetSaid = self.read(access, host, target).await.map_err(|why| unnamed(text, &why))?;
        let symbol = CanonicalSymbol::parse(&said.symbol)
            .map_err(|error| Refusal::because(Rule::PermittedSymbols, error.to_string()))?;
        Ok((symbol, said.class))
    }

    async fn clock(&self, access: &Access, host: &HostName) -> Result<AccountClock, String> {
        let said = self.read(access, host, "/v2/clock".to_owned()).await?;
        self.clock_of(access, host, &said).await
    }

    async fn clock_of(&self, access: &Access, host: &HostName, said: &ClockSaid) -> Result<AccountClock, String> {
        let no_clock = || format!("its clock says `{:.40}`", said.timestamp);
        let now_ms = epoch_ms(&said.timestamp).ok_or_else(no_clock)?;
        let (date, minute) = local(&said.timestamp).ok_or_else(no_clock)?;
        let day = self.day(access, host, date).await?;
        let session = match minute {
            _ if !day.trades => Session::Closed,
            minute if (day.open..day.close).contains(&minute) => Session::Regular,
            minute if (day.session_open..day.open).contains(&minute) => Session::PreMarket,
            minute if (day.close..day.session_close).contains(&minute) => Session::AfterHours,
            _ => Session::Closed,
        };
        Ok(AccountClock { now_ms, date, minute, session })
    }

    async fn day(&self, access: &Access, host: &HostName, date: TradeDate) -> Result<Day, String> {
        let key = (access.lead.environment, date);
        if let Some(day) = lock(&self.desk.days).get(&key) {
            return Ok(*day);
        }
        let said: Vec<DaySaid> = self.read(access, host, format!("/v2/calendar?start={date}&end={date}")).await?;
        let found = said.iter().find(|day| day.date == date.to_string());
        let day = match found {
            None => Day { open: 0, close: 0, session_open: 0, session_close: 0, trades: false },
            Some(day) => {
                let (open, close) = (minute(&day.open), minute(&day.close));
                let (open, close) = open.zip(close).ok_or_else(|| "its calendar has no hours".to_owned())?;
                let session_open = day.session_open.as_deref().and_then(minute).unwrap_or(open);
                let session_close = day.session_close.as_deref().and_then(minute).unwrap_or(close);
                Day { open, close, session_open, session_close, trades: true }
            }
        };
        let mut days = lock(&self.desk.days);
        if days.len() >= KNOWN_MAX {
            days.clear();
        }
        days.insert(key, day);
        Ok(day)
    }

    async fn positions(&self, access: &Access, host: &HostName) -> Result<Vec<Position>, String> {
        positions(self.read(access, host, "/v2/positions".to_owned()).await?)
    }

    async fn reference(&self, access: &Access, host: &HostName, symbol: &CanonicalSymbol) -> Option<Reference> {
        let (venue, _) = self.leads.venues.of(host)?;
        let host = venue.hosts().find(|host| venue.part(host) == Some(Part::Data))?;
        let lead = self.leads.lead(host)?.ok()?;
        let access = Access { lead: Lead { environment: access.lead.environment, ..lead }, ..access.clone() };
        let quotes = self.read::<QuotesSaid>(&access, host, format!("/v2/stocks/quotes/latest?symbols={symbol}"));
        let trades = self.read::<TradesSaid>(&access, host, format!("/v2/stocks/trades/latest?symbols={symbol}"));
        let (quotes, trades) = tokio::join!(quotes, trades);
        let quote = quotes.ok().and_then(|mut said| said.quotes.remove(symbol.as_str()));
        let trade = trades.ok().and_then(|mut said| said.trades.remove(symbol.as_str()));
        reference(symbol, quote.as_ref(), trade.as_ref())
    }

    /// The same from the exchange of this installation, which says all of it in one answer.
    async fn alpaca_read_at_once(
        &self,
        access: &Access,
        host: &HostName,
        symbols: &[CanonicalSymbol],
    ) -> Result<Read, Refusal> {
        let names = symbols.iter().map(CanonicalSymbol::as_str).collect::<Vec<_>>().join(",");
        let said: FactsSaid = self
            .read(access, host, format!("/ringfence/v1/facts?symbols={}", names.replace('/', "%2F")))
            .await
            .map_err(|why| not("about the account", &why))?;
        let (account, equity) = account(access, &said.account)?;
        let clock = self.clock_of(access, host, &said.clock).await;
        let found = |symbol: &CanonicalSymbol| {
            reference(symbol, said.quotes.get(symbol.as_str()), said.trades.get(symbol.as_str()))
        };
        let references = symbols.iter().filter_map(found).collect();
        Ok(Read {
            account,
            equity,
            clock: clock.map_err(|why| not("what time it is for the account", &why))?,
            positions: positions(said.positions).map_err(|why| not("the account's positions", &why))?,
            references,
        })
    }

    pub(super) async fn alpaca_read(
        &self,
        access: &Access,
        host: &HostName,
        symbols: &[CanonicalSymbol],
    ) -> Result<Read, Refusal> {
        if access.lead.way == Way::Exchange {
            return self.alpaca_read_at_once(access, host, symbols).await;
        }
        let references = one_by_one(symbols.iter().map(|symbol| self.reference(access, host, symbol)));
        let (account, clock, positions, references) = tokio::join!(
            self.alpaca_account(access, host),
            self.clock(access, host),
            self.positions(access, host),
            references,
        );
        let (account, equity) = account?;
        Ok(Read {
            account,
            equity,
            clock: clock.map_err(|why| not("what time it is for the account", &why))?,
            positions: positions.map_err(|why| not("the account's positions", &why))?,
            references: references.into_iter().flatten().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use ringfence_model::trade::{Price, Usd};

    use super::*;

    #[test]
    fn a_venues_texts_are_read_and_never_guessed() {
        assert_eq!(local("2012-01-03T10:00:00.123456789-05:00"), TradeDate::new(2012, 1, 3).map(|date| (date, 600)));
        assert_eq!(local("2012-01-03T15:00:00Z"), None, "whose noon?");
        assert_eq!(epoch_ms("2012-01-03T10:00:00-05:00"), Some(1_325_602_800_000));
        assert_eq!((minute("09:30"), minute("0400"), minute("2560"), minute("9")), (Some(570), Some(240), None, None));
        assert_eq!(usd("100000.1234567"), Usd::parse("100000.123456").ok());
        assert_eq!(usd("-3.5").map(Usd::units), Some(-3_500_000));
        assert_eq!((price("0"), price("1e3"), price("NaN")), (None, None, None));
        assert_eq!(price("\"12.30\""), Price::parse("12.3").ok());
    }
}
