//! What companies do to their shares, at the midnight in New York that an ex-date begins with.

use jiff::{SignedDuration, Timestamp};
use ringfence_market::{Kind, Symbol};
use rust_decimal::Decimal;

use super::{EventKind, Turn};
use crate::{
    account::{Activity, ActivityKind, Change, Position},
    exact::{self, Exact, TooLarge},
    order::{Order, OrderNo, Status, Trail},
};

impl Turn<'_> {
    /// Applies what begins at `at`.
    pub(super) fn corporate_actions(&mut self, at: Timestamp) {
        let mut symbols: Vec<Symbol> = self.account.positions.keys().cloned().collect();
        symbols.extend(self.account.open_orders().map(|order| order.symbol.clone()));
        symbols.sort_unstable();
        symbols.dedup();
        let before = at.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(at);
        for symbol in symbols {
            for action in self.tape.actions(&symbol, before, at) {
                match action.kind {
                    Kind::Split(ratio) => self.split(&symbol, ratio, at),
                    Kind::Dividend(dollars) if self.account.opening.profile.dividends => {
                        self.dividend(&symbol, dollars, at);
                    }
                    Kind::Dividend(_) => {}
                }
            }
        }
    }

    fn split(&mut self, symbol: &Symbol, ratio: Decimal, at: Timestamp) {
        if let Some(position) = self.account.positions.get(symbol).copied()
            && let Ok(qty) = position.qty.times(ratio).map(|qty| exact::round(qty, exact::QTY_DECIMALS))
        {
            let split = Some(Position { qty, cost: position.cost }).filter(|position| !position.qty.is_zero());
            self.account.change(Change::Position(symbol.clone(), split));
            self.positions.insert(symbol.clone());
            let added = qty.checked_sub(position.qty).unwrap_or_default();
            let no = self.next_activity();
            self.happened(Activity {
                no,
                at,
                kind: ActivityKind::Split,
                symbol: symbol.clone(),
                qty: added,
                price: ratio,
                cash: Decimal::ZERO,
                fill: None,
            });
        }
        let open: Vec<OrderNo> =
            self.account.open_orders().filter(|order| order.symbol == *symbol).map(|order| order.no).collect();
        for no in open {
            let Some(order) = self.account.orders.get(&no) else { continue };
            match divided(order.clone(), ratio) {
                Ok(after) => {
                    self.edit(no, at, |order| *order = after);
                    self.tell(EventKind::Restated, no, at, None);
                }
                Err(TooLarge) => self.finish(no, at, Status::Canceled, EventKind::Canceled),
            }
        }
    }

    fn dividend(&mut self, symbol: &Symbol, dollars: Decimal, at: Timestamp) {
        let qty = self.account.qty(symbol);
        let Ok(paid) = qty.times(dollars).map(|paid| exact::round(paid, 4)) else { return };
        let Ok(cash) = self.account.cash.plus(paid) else { return };
        if paid.is_zero() {
            return;
        }
        self.set_cash(cash);
        let no = self.next_activity();
        self.happened(Activity {
            no,
            at,
            kind: ActivityKind::Dividend,
            symbol: symbol.clone(),
            qty,
            price: dollars,
            cash: paid,
            fill: None,
        });
    }
}

/// An open order after a split: as many shares more as its prices are lower.
fn divided(mut order: Order, ratio: Decimal) -> Result<Order, TooLarge> {
    let more = |qty: Decimal| Ok(exact::round(qty.times(ratio)?, exact::QTY_DECIMALS));
    let less = |price: Option<Decimal>| -> Result<Option<Decimal>, TooLarge> {
        let Some(price) = price else { return Ok(None) };
        let price = price.over(ratio)?;
        Ok(Some(exact::round(price, exact::price_decimals(price))))
    };
    order.qty = order.qty.map(more).transpose()?;
    order.filled_qty = more(order.filled_qty)?;
    order.limit_price = less(order.limit_price)?;
    order.stop_price = less(order.stop_price)?;
    order.hwm = less(order.hwm)?;
    if let Some(Trail::Price(dollars)) = order.trail {
        order.trail = less(Some(dollars))?.map(Trail::Price);
    }
    Ok(order)
}
