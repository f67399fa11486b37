//! What an account is worth, and what it may still buy.
//!
//! Regulation T, as Alpaca's page "Margin and short selling" has it: half of every position is the account's own, and what
//! it has beyond that buys twice its amount. Maintenance: 30 % of a long position (all of it below 2.50 dollars a share);
//! of a short one 100 % or 2.50 dollars a share below 5 dollars, 30 % or 5 dollars a share from there on, whichever is more.

use jiff::Timestamp;
use ringfence_market::{Quote, Symbol, Tape, calendar};
use rust_decimal::Decimal;

use super::Account;
use crate::{
    exact::{Exact, TooLarge},
    order::{Class, Kind, Order, Part, Side, collared},
};

/// Least equity, in dollars, with which money or shares are lent.
pub const MARGIN_EQUITY_MIN: Decimal = Decimal::from_parts(2_000, 0, 0, false, 0);

/// A market at an instant.
#[derive(Clone, Copy)]
pub struct Market<'a> {
    /// What it said.
    pub tape: &'a dyn Tape,
    /// When.
    pub at: Timestamp,
}

impl Market<'_> {
    /// What a share is worth: the last trade, or the middle of the quote where there was none.
    #[must_use]
    pub fn price(&self, symbol: &Symbol) -> Option<Decimal> {
        if let Some(trade) = self.tape.last_trade(symbol, self.at) {
            return Some(trade.price);
        }
        let quote = self.quote(symbol)?;
        quote.bid.checked_add(quote.ask)?.checked_div(Decimal::TWO)
    }

    /// The quote in force.
    #[must_use]
    pub fn quote(&self, symbol: &Symbol) -> Option<Quote> {
        self.tape.quote(symbol, self.at)
    }
}

/// An account in dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// All of it.
    pub equity: Decimal,
    /// What is owned in shares.
    pub long: Decimal,
    /// What is owed in shares; negative.
    pub short: Decimal,
    /// What of the positions must have been paid when they were opened.
    pub initial_margin: Decimal,
    /// What of them must be paid for as long as they stand.
    pub maintenance_margin: Decimal,
    /// How many dollars each own one buys: 1 or 2.
    pub multiplier: Decimal,
    /// What open orders would cost.
    pub reserved: Decimal,
    /// What new orders may cost.
    pub buying_power: Decimal,
    /// What new orders may cost without borrowing.
    pub cash_power: Decimal,
}

impl Account {
    /// The account at an instant.
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn value(&self, market: Market<'_>) -> Result<Value, TooLarge> {
        let (mut long, mut short) = (Decimal::ZERO, Decimal::ZERO);
        let mut maintenance = Decimal::ZERO;
        for (symbol, position) in &self.positions {
            // A share without a price is worth what was paid for it.
            let price = match market.price(symbol) {
                Some(price) => price,
                None => position.cost.over(position.qty)?,
            };
            let worth = price.times(position.qty)?;
            if position.qty > Decimal::ZERO {
                long = long.plus(worth)?;
            } else {
                short = short.plus(worth)?;
            }
            maintenance = maintenance.plus(maintained(position.qty, price)?)?;
        }
        let equity = self.cash.plus(long)?.plus(short)?;
        let exposure = long.plus(short.abs())?;
        let initial = exposure.over(Decimal::TWO)?;
        let lends = equity >= MARGIN_EQUITY_MIN && self.configuration.max_margin_multiplier != "1";
        let mut reserved = Decimal::ZERO;
        for order in self.open_orders() {
            reserved = reserved.plus(self.reserve(order, market)?)?;
        }
        let cash_power = equity.minus(exposure)?.minus(reserved)?.max(Decimal::ZERO);
        let lent = equity.minus(initial)?.max(Decimal::ZERO).times(Decimal::TWO)?.minus(reserved)?;
        Ok(Value {
            equity,
            long,
            short,
            initial_margin: initial,
            maintenance_margin: maintenance,
            multiplier: if lends { Decimal::TWO } else { Decimal::ONE },
            reserved,
            buying_power: if lends { lent.max(Decimal::ZERO) } else { cash_power },
            cash_power,
        })
    }

    /// Whether an order in this direction makes exposure to a symbol larger.
    #[must_use]
    pub fn opens(&self, symbol: &Symbol, side: Side) -> bool {
        match side {
            Side::Buy => self.qty(symbol) >= Decimal::ZERO,
            Side::Sell => self.qty(symbol) <= Decimal::ZERO,
        }
    }

    /// Dollars of buying power that an open order holds back.
    ///
    /// # Errors
    /// [`TooLarge`]
    pub fn reserve(&self, order: &Order, market: Market<'_>) -> Result<Decimal, TooLarge> {
        let exit = order.class != Class::Simple && order.part != Some(Part::Entry);
        if exit || !self.opens(&order.symbol, order.side) {
            return Ok(Decimal::ZERO);
        }
        cost(order, market)
    }

    /// Shares of a symbol that open orders in this direction will take from the position. The exits of one group take them
    /// once.
    #[must_use]
    pub fn held(&self, symbol: &Symbol, side: Side) -> Decimal {
        let of_symbol = self.open_orders().filter(|o| o.symbol == *symbol && o.side == side);
        of_symbol.filter(|o| !self.is_held_elsewhere(o)).filter_map(Order::remaining).sum()
    }

    /// Exits that wait for their entry hold nothing yet, and of two exits the first holds for both.
    fn is_held_elsewhere(&self, order: &Order) -> bool {
        let Some(parent) = order.parent.and_then(|no| self.orders.get(&no)) else { return false };
        let is_open = |no: &u64| self.orders.get(no).is_some_and(|leg| leg.status.is_open());
        parent.status.is_open() || parent.legs.iter().take_while(|no| **no != order.no).any(is_open)
    }
}

fn maintained(qty: Decimal, price: Decimal) -> Result<Decimal, TooLarge> {
    let worth = price.times(qty)?.abs();
    if qty > Decimal::ZERO {
        return if price < Decimal::new(25, 1) { Ok(worth) } else { worth.times(Decimal::new(3, 1)) };
    }
    let (share, dollars) = if price < Decimal::from(5) {
        (Decimal::ONE, Decimal::new(25, 1))
    } else {
        (Decimal::new(3, 1), Decimal::from(5))
    };
    Ok(worth.times(share)?.max(qty.abs().times(dollars)?))
}

/// What the rest of an order would cost, at the worst price that it is valued at: a limit; the far side of the quote, with a
/// collar outside of the session; 3 % above the ask for shares that are to be owed.
///
/// # Errors
/// [`TooLarge`]
pub fn cost(order: &Order, market: Market<'_>) -> Result<Decimal, TooLarge> {
    if let (Some(notional), None) = (order.notional, order.qty) {
        return Ok(notional);
    }
    let Some(rest) = order.remaining() else { return Ok(Decimal::ZERO) };
    let quote = market.quote(&order.symbol);
    let ask = quote.map(|q| q.ask).or_else(|| market.price(&order.symbol)).unwrap_or_default();
    let price = match (order.side, order.kind) {
        (Side::Buy, Kind::Limit | Kind::StopLimit) => order.limit_price.unwrap_or(ask),
        (Side::Buy, Kind::Stop | Kind::TrailingStop) => {
            let stop = if order.kind == Kind::TrailingStop { order.trailed()? } else { order.stop_price };
            collared(stop.unwrap_or(ask))?
        }
        (Side::Buy, Kind::Market) if calendar::phase(market.at) == calendar::Phase::Regular => ask,
        (Side::Buy, Kind::Market) => collared(ask)?,
        (Side::Sell, _) => ask.times(Decimal::new(103, 2))?.max(order.limit_price.unwrap_or_default()),
    };
    price.times(rest)
}
