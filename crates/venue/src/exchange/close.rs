//! Positions are closed with orders like any other.

use ringfence_market::Symbol;
use rust_decimal::Decimal;

use super::Turn;
use crate::{
    exact::{self, Exact},
    json::Json,
    order::{Class, Kind, Side, Tif},
    refusal::Refusal,
    request::{Amount, NewOrder},
};

/// How much of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// All of it.
    All,
    /// So many shares.
    Qty(Decimal),
    /// So many hundredths.
    Percentage(Decimal),
}

impl Turn<'_> {
    /// Closes a position or a part of it at the market. The answer is the order.
    ///
    /// # Errors
    /// There is no such position, or it has not so many shares free.
    pub fn close_position(&mut self, symbol: &Symbol, portion: Portion) -> Result<Json, Refusal> {
        let held = self.account.qty(symbol);
        if held.is_zero() {
            return Err(Refusal::not_found("position does not exist"));
        }
        let qty = match portion {
            Portion::All => held.abs(),
            Portion::Qty(qty) => qty,
            Portion::Percentage(percent) => {
                let part = held.abs().times(percent)?.over(Decimal::ONE_HUNDRED)?;
                exact::floor(part, exact::QTY_DECIMALS)
            }
        };
        if qty <= Decimal::ZERO || qty.scale() > exact::QTY_DECIMALS {
            return Err(Refusal::invalid("qty must be > 0 and of at most 9 decimal places"));
        }
        self.submit(&NewOrder {
            symbol: symbol.clone(),
            amount: Amount::Qty(qty),
            side: if held > Decimal::ZERO { Side::Sell } else { Side::Buy },
            kind: Kind::Market,
            tif: Tif::Day,
            limit_price: None,
            stop_price: None,
            trail: None,
            extended_hours: false,
            client_order_id: None,
            class: Class::Simple,
            take_profit: None,
            stop_loss: None,
            position_intent: None,
        })
    }
}
