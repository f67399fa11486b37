//! Facts as Binance tells them: balances valued by the market's prices, a market that never closes, and the best prices of its book.

use jiff::tz::{self, TimeZone};
use ringfence_model::net::HostName;
use ringfence_model::trade::{
    AccountClock, AccountId, AssetClass, CanonicalSymbol, Equity, Reference, Refusal, Rule, Session, TradeDate,
};
use serde::Deserialize;

use super::{Read, not, one_by_one, price, unknown, unnamed};
use crate::gate::Gate;
use crate::gate::desk::{Access, account_id};
use crate::trade::Codec;
use crate::trade::binance::account::{AccountSaid, PriceSaid, Prices, valued};
use crate::trade::binance::{symbol as spelled, target};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TimeSaid {
    server_time: u64,
}

#[derive(Deserialize)]
struct MarketSaid {
    symbols: Vec<SymbolSaid>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SymbolSaid {
    symbol: String,
    base_asset: String,
    quote_asset: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookSaid {
    bid_price: String,
    ask_price: String,
}

/// Date and minute of an instant in New York's winter time, the whole year: the same by which fills are sorted into days.
fn clock(now_ms: u64) -> Option<AccountClock> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    let there = at.to_zoned(TimeZone::fixed(tz::offset(-5)));
    let part = |value: i8| u8::try_from(value).ok();
    let date = TradeDate::new(u16::try_from(there.year()).ok()?, part(there.month())?, part(there.day())?)?;
    let minute = u16::from(part(there.hour())?) * 60 + u16::from(part(there.minute())?);
    Some(AccountClock { now_ms, date, minute, session: Session::Regular })
}

impl Gate {
    async fn balances(&self, access: &Access, host: &HostName) -> Result<(AccountId, AccountSaid), Refusal> {
        let question = target("/api/v3/account", "omitZeroBalances=true");
        let said: AccountSaid =
            self.read(access, host, question).await.map_err(|why| not("about the account", &why))?;
        let id = account_id(access.lead.codec, access.lead.environment, &said.uid.to_string());
        Ok((id.ok_or_else(|| unknown("the account's id is none"))?, said))
    }

    async fn prices(&self, access: &Access, host: &HostName) -> Result<Prices, Refusal> {
        let said: Result<Vec<PriceSaid>, _> = self.read(access, host, "/api/v3/ticker/price".to_owned()).await;
        said.map(Prices::of).map_err(|why| not("what the account's balances are worth", &why))
    }

    pub(super) async fn binance_id(&self, access: &Access, host: &HostName) -> Result<AccountId, Refusal> {
        Ok(self.balances(access, host).await?.0)
    }

    /// What a symbol is: two assets, of which the second counts as dollars.
    pub(super) async fn binance_asset(
        &self,
        access: &Access,
        host: &HostName,
        text: &str,
    ) -> Result<(CanonicalSymbol, AssetClass), Refusal> {
        // Spelled as it is, or it is another's: the rules compare names.
        if !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
            return Err(Refusal::because(Rule::CanonicalForm, "a symbol has capitals and digits, as in BTCUSDT"));
        }
        let venue = self.leads.venues.speaking(Codec::Binance);
        let question = format!("/api/v3/exchangeInfo?symbol={text}");
        let said: MarketSaid = self.read(access, host, question).await.map_err(|why| unnamed(text, &why))?;
        let found = said.symbols.into_iter().find(|one| one.symbol == text);
        let found = found.ok_or_else(|| unnamed(text, "the venue does not know it"))?;
        let (base, quote) = (found.base_asset, found.quote_asset);
        if !venue.dollars.contains(&quote) {
            let dollars = venue.dollars.join(", ");
            let why = format!(
                "{text} is paid in {quote:.20}, and limits are in dollars: the gate trades what is paid in {dollars}"
            );
            return Err(Refusal::beyond(Rule::PermittedSymbols, dollars, quote, why));
        }
        let symbol =
            CanonicalSymbol::parse(&format!("{base}/{quote}")).map_err(|error| unnamed(text, &error.to_string()))?;
        if spelled(&symbol) != text {
            return Err(unnamed(text, "it is not called by its two assets"));
        }
        Ok((symbol, venue.asset_class))
    }

    /// The best prices of the book now, and the last one traded: a book without either side says nothing.
    async fn book(&self, access: &Access, host: &HostName, symbol: &CanonicalSymbol) -> Option<BookSaid> {
        self.read(access, host, format!("/api/v3/ticker/bookTicker?symbol={}", spelled(symbol))).await.ok()
    }

    pub(super) async fn binance_read(
        &self,
        access: &Access,
        host: &HostName,
        symbols: &[CanonicalSymbol],
    ) -> Result<Read, Refusal> {
        let books = one_by_one(symbols.iter().map(|symbol| self.book(access, host, symbol)));
        let (balances, prices, time, books) = tokio::join!(
            self.balances(access, host),
            self.prices(access, host),
            self.read::<TimeSaid>(access, host, "/api/v3/time".to_owned()),
            books,
        );
        let ((account, said), prices) = (balances?, prices?);
        let now_ms = time.map_err(|why| not("what time it is for the account", &why))?.server_time;
        let clock = clock(now_ms).ok_or_else(|| not("what time it is for the account", "its clock says no time"))?;
        let dollars = &self.leads.venues.speaking(Codec::Binance).dollars;
        let (now, positions) = valued(&said, &prices, dollars, symbols).ok_or_else(uncounted)?;
        // The book says no time: it is as it was when it was asked for, which was with the clock.
        let references = symbols.iter().zip(books).filter_map(|(symbol, book)| {
            let book = book?;
            let (bid, ask) = (price(&book.bid_price), price(&book.ask_price));
            let last = prices.last(symbol);
            (bid.is_some() || ask.is_some()).then(|| Reference {
                symbol: symbol.clone(),
                bid,
                ask,
                last,
                at_ms: now_ms,
            })
        });
        let references = references.collect();
        Ok(Read { account, equity: Equity { now, start_of_day: None }, clock, positions, references })
    }
}

fn uncounted() -> Refusal {
    not("what the account's balances are worth", "they are more than can be counted, or no numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_five_of_greenwich() {
        let at = |text: &str| {
            let at: jiff::Timestamp = text.parse().expect("a time");
            let clock = clock(u64::try_from(at.as_millisecond()).expect("after 1970")).expect("a time");
            (clock.date.to_string(), clock.minute, clock.session)
        };
        assert_eq!(at("2026-07-01T04:59:59Z"), ("2026-06-30".to_owned(), 1439, Session::Regular));
        assert_eq!(at("2026-07-01T05:00:00Z"), ("2026-07-01".to_owned(), 0, Session::Regular));
        assert_eq!(clock(u64::MAX), None);
    }
}
