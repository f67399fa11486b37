//! What an account at Binance is worth, and what it holds, from its balances and the prices of the market.

use std::collections::HashMap;

use ringfence_model::trade::{AssetClass, CanonicalSymbol, Position, Price, Qty, Usd};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserialize;

/// `GET /api/v3/account`.
#[derive(Debug, Deserialize)]
pub(crate) struct AccountSaid {
    /// The account's id.
    pub(crate) uid: u64,
    balances: Vec<Balance>,
}

#[derive(Debug, Deserialize)]
struct Balance {
    asset: String,
    free: String,
    locked: String,
}

/// An element of `GET /api/v3/ticker/price`.
#[derive(Debug, Deserialize)]
pub(crate) struct PriceSaid {
    symbol: String,
    price: String,
}

/// The last prices of a market by symbol, in Binance's spelling.
#[derive(Debug, Default)]
pub(crate) struct Prices(HashMap<String, Decimal>);

impl Prices {
    /// Of what the market has said. What has no price above nothing has none.
    pub(crate) fn of(said: Vec<PriceSaid>) -> Self {
        let prices = said.into_iter().filter_map(|said| {
            let price = Decimal::from_str_exact(&said.price).ok().filter(|price| *price > Decimal::ZERO)?;
            Some((said.symbol, price))
        });
        Self(prices.collect())
    }

    /// The last price of a symbol.
    pub(crate) fn last(&self, symbol: &CanonicalSymbol) -> Option<Price> {
        price(*self.0.get(&super::symbol(symbol))?)
    }
}

/// What an account is worth in dollars, and its positions.
///
/// Assets that count as dollars are worth what they are called. Any other is a position: in the symbol that was asked about, and
/// else in the first of `dollars` that it has a price in. What has no such price is worth nothing and no position: it cannot be
/// traded through the gate either. What cannot be named or counted as a symbol stands together as `OTHER/USD`, by its value, so
/// that sums of all positions hold. None when it is too much to be counted, or a balance is no number.
pub(crate) fn valued(
    account: &AccountSaid,
    prices: &Prices,
    dollars: &[String],
    asked: &[CanonicalSymbol],
) -> Option<(Usd, Vec<Position>)> {
    let (mut worth, mut others) = (Decimal::ZERO, Decimal::ZERO);
    let mut positions = Vec::new();
    for Balance { asset, free, locked } in &account.balances {
        let amount = |text: &str| Decimal::from_str_exact(text).ok();
        let total = amount(free)?.checked_add(amount(locked)?)?;
        if total.is_zero() {
            continue;
        }
        if dollars.contains(asset) {
            worth = worth.checked_add(total)?;
            continue;
        }
        let named = asked.iter().filter_map(|symbol| symbol.as_str().split_once('/'));
        let mut quotes: Vec<&str> = named.filter(|(base, _)| base == asset).map(|(_, quote)| quote).collect();
        quotes.extend(dollars.iter().map(String::as_str));
        let found = quotes.iter().find_map(|quote| Some((quote, *prices.0.get(&format!("{asset}{quote}"))?)));
        let Some((quote, last)) = found else { continue };
        let value = total.checked_mul(last)?;
        worth = worth.checked_add(value)?;
        match position(asset, quote, total, last) {
            Some(position) => positions.push(position),
            None => others = others.checked_add(value)?,
        }
    }
    if !others.is_zero() {
        positions.push(position(
            "OTHER",
            "USD",
            others.round_dp_with_strategy(6, RoundingStrategy::AwayFromZero),
            Decimal::ONE,
        )?);
    }
    let worth = Usd::from_decimal(worth.round_dp_with_strategy(6, RoundingStrategy::ToZero))?;
    Some((worth, positions))
}

fn position(base: &str, quote: &str, total: Decimal, last: Decimal) -> Option<Position> {
    Some(Position {
        symbol: CanonicalSymbol::parse(&format!("{base}/{quote}")).ok()?,
        asset_class: AssetClass::Crypto,
        qty: Qty::from_decimal(total.round_dp_with_strategy(9, RoundingStrategy::ToZero))?,
        price: price(last)?,
    })
}

fn price(price: Decimal) -> Option<Price> {
    Price::from_decimal(price.round_dp_with_strategy(9, RoundingStrategy::ToZero)).filter(|price| price.is_positive())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(balances: &str, asked: &[&str]) -> Option<(String, Vec<String>)> {
        let account: AccountSaid =
            serde_json::from_str(&format!("{{\"uid\":7,\"balances\":[{balances}]}}")).expect("said");
        let prices = r#"[{"symbol":"BTCUSDT","price":"50000.00"},{"symbol":"BTCUSDC","price":"50010.00"},
            {"symbol":"PEPEUSDT","price":"0.00001"},{"symbol":"币安USDT","price":"2"},{"symbol":"LTCBTC","price":"0.001"},
            {"symbol":"DEADUSDT","price":"0.00000000"}]"#;
        let prices = Prices::of(serde_json::from_str(prices).expect("said"));
        let dollars = ["USDT", "USDC"].map(str::to_owned);
        let asked: Vec<_> = asked.iter().map(|symbol| CanonicalSymbol::parse(symbol).expect("a symbol")).collect();
        let (worth, positions) = valued(&account, &prices, &dollars, &asked)?;
        let positions = positions.iter().map(|one| format!("{} {} @ {}", one.symbol, one.qty, one.price));
        Some((worth.to_string(), positions.collect()))
    }

    fn balance(asset: &str, free: &str, locked: &str) -> String {
        format!(r#"{{"asset":"{asset}","free":"{free}","locked":"{locked}"}}"#)
    }

    #[test]
    fn what_is_free_and_what_is_locked_are_one_position_by_the_last_price() {
        let said =
            [balance("BTC", "0.10000000", "0.05000000"), balance("USDT", "10.5", "1"), balance("USDC", "0.25", "0")];
        let wanted = ("7511.75".to_owned(), vec!["BTC/USDT 0.15 @ 50000".to_owned()]);
        assert_eq!(check(&said.join(","), &[]), Some(wanted));
        let asked = check(&said.join(","), &["BTC/USDC"]).expect("it is counted");
        assert_eq!(
            asked,
            ("7513.25".to_owned(), vec!["BTC/USDC 0.15 @ 50010".to_owned()]),
            "once, as it was asked about"
        );
    }

    #[test]
    fn what_cannot_be_named_counts_and_what_has_no_price_does_not() {
        let said = [
            balance("币安", "3", "0"),
            balance("PEPE", "99999999999", "0"),
            balance("LTC", "5", "0"),
            balance("DEAD", "5", "0"),
        ];
        let (worth, positions) = check(&said.join(","), &[]).expect("it is counted");
        assert_eq!(
            (worth.as_str(), &positions[..]),
            ("1000005.99999", &["OTHER/USD 1000005.99999 @ 1".to_owned()][..])
        );
        assert_eq!(check("", &[]), Some(("0".to_owned(), vec![])));
        for broken in [
            balance("USDT", "NaN", "0"),
            balance("BTC", "1e400", "0"),
            balance("BTC", "79228162514264337593543950335", "1"),
        ] {
            assert_eq!(check(&broken, &[]), None, "{broken}");
        }
    }
}
