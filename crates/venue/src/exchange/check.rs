//! Whether an account may have an order: one ladder of refusals, the first that applies is the answer.

use ringfence_market::{Symbol, calendar, new_york};
use rust_decimal::Decimal;

use super::Turn;
use crate::{
    account::value::{MARGIN_EQUITY_MIN, cost},
    exact::{self, Exact},
    json::Json,
    order::{Class, Kind, Order, Part, Side, Status, Tif, Trail},
    refusal::Refusal,
    request::{Amount, NewOrder},
};

impl Turn<'_> {
    /// Checks a new order against account and market; `draft` is what it would be.
    pub(super) fn check_new(&self, new: &NewOrder, draft: &Order) -> Result<(), Refusal> {
        let configuration = &self.account.configuration;
        if configuration.suspend_trade {
            return Err(Refusal::forbidden("trading is suspended by the account's configuration"));
        }
        self.check_client_id(new.client_order_id.as_deref())?;
        self.check_auction(new.tif)?;
        if new.is_fractional() && !configuration.fractional_trading {
            return Err(Refusal::forbidden("fractional trading is disabled by the account's configuration"));
        }
        let Some(price) = self.market().price(&new.symbol) else {
            return Err(Refusal::unprocessable(format!("asset \"{}\" is not tradable", new.symbol)));
        };
        self.check_stop(new, price)?;
        check_bases(new, price)?;
        self.check_wash(new)?;
        self.check_exposure(new, draft)
    }

    pub(super) fn check_client_id(&self, id: Option<&str>) -> Result<(), Refusal> {
        match id {
            Some(id) if self.account.order_of_client(id).is_some() => {
                Err(Refusal::invalid("client_order_id must be unique"))
            }
            _ => Ok(()),
        }
    }

    /// Orders for the opening are taken from 19:00 until 9:28, those for the closing until ten minutes before it.
    pub(super) fn check_auction(&self, tif: Tif) -> Result<(), Refusal> {
        let minute = |local: jiff::civil::DateTime| i32::from(local.hour()) * 60 + i32::from(local.minute());
        let now = new_york::civil(self.now);
        let Some(session) = calendar::session(now.date()) else { return Ok(()) };
        let refused = match tif {
            Tif::Opg => (9 * 60 + 28..19 * 60).contains(&minute(now)),
            Tif::Cls => (minute(new_york::civil(session.close)) - 10..19 * 60).contains(&minute(now)),
            _ => false,
        };
        if refused {
            let message = format!("{} orders are not accepted at this time of day", tif.word());
            return Err(Refusal::unprocessable(message));
        }
        Ok(())
    }

    /// A stop that would be elected at once is a mistake.
    fn check_stop(&self, new: &NewOrder, market: Decimal) -> Result<(), Refusal> {
        if let Some(Trail::Price(trail)) = new.trail
            && trail >= market
        {
            return Err(Refusal::unprocessable("trail_price must be less than current price")
                .tell("market_price", market)
                .tell("trail_price", trail));
        }
        check_stop_price(new.side, new.stop_price, market)
    }

    /// An order that could trade with another of the same account (Alpaca, "User protection").
    fn check_wash(&self, new: &NewOrder) -> Result<(), Refusal> {
        if new.class != Class::Simple {
            return Ok(());
        }
        let opposite = self
            .account
            .open_orders()
            .filter(|order| order.symbol == new.symbol && order.side != new.side && order.status != Status::Held);
        for order in opposite {
            let reason = match (order.kind, order.limit_price, new.limit_price) {
                (Kind::Limit, Some(theirs), Some(ours)) => {
                    let crossing = match new.side {
                        Side::Buy => ours >= theirs,
                        Side::Sell => ours <= theirs,
                    };
                    if !crossing {
                        continue;
                    }
                    "opposite side limit order exists"
                }
                (Kind::Limit, ..) => "opposite side limit order exists",
                _ => "opposite side market/stop order exists",
            };
            return Err(Refusal::forbidden("potential wash trade detected. use complex orders")
                .tell("existing_order_id", order.id.to_string())
                .tell("reject_reason", reason));
        }
        Ok(())
    }

    /// Shares and dollars.
    fn check_exposure(&self, new: &NewOrder, draft: &Order) -> Result<(), Refusal> {
        let opens = self.account.opens(&new.symbol, new.side);
        if new.class == Class::Oco && opens {
            return Err(Refusal::unprocessable("oco orders must be exit orders"));
        }
        if !opens {
            return self.check_closing(&new.symbol, new.side, new.amount, Decimal::ZERO);
        }
        if new.side == Side::Sell {
            self.check_short(new)?;
        }
        self.check_power(cost(draft, self.market())?, Decimal::ZERO)
    }

    /// Whether a position has the shares, where `freed` are those of an order that goes.
    pub(super) fn check_closing(
        &self,
        symbol: &Symbol,
        side: Side,
        amount: Amount,
        freed: Decimal,
    ) -> Result<(), Refusal> {
        let existing = self.account.qty(symbol);
        let held = self.account.held(symbol, side).minus(freed)?.max(Decimal::ZERO);
        let available = existing.abs().minus(held)?.max(Decimal::ZERO).normalize();
        let requested = match amount {
            Amount::Qty(qty) => qty.normalize(),
            Amount::Notional(dollars) => {
                let quote = self.market().quote(symbol);
                let near = quote.map(|quote| if side == Side::Sell { quote.bid } else { quote.ask });
                match near.or_else(|| self.market().price(symbol)) {
                    Some(price) => exact::floor(dollars.over(price)?, exact::QTY_DECIMALS).normalize(),
                    None => Decimal::ZERO,
                }
            }
        };
        if requested <= available {
            return Ok(());
        }
        let related = self.account.open_orders().filter(|order| order.symbol == *symbol && order.side == side);
        let related = Json::List(related.map(|order| order.id.to_string().into()).collect());
        let message = format!("insufficient qty available for order (requested: {requested}, available: {available})");
        Err(Refusal::forbidden(message)
            .tell("available", available)
            .tell("existing_qty", existing)
            .tell("held_for_orders", held)
            .tell("related_orders", related)
            .tell("symbol", symbol.as_str()))
    }

    fn check_short(&self, new: &NewOrder) -> Result<(), Refusal> {
        if new.is_fractional() {
            return Err(Refusal::unprocessable("fractional orders cannot be sold short"));
        }
        let configuration = &self.account.configuration;
        let equity = self.account.value(self.market())?.equity;
        if configuration.no_shorting || configuration.max_margin_multiplier == "1" || equity < MARGIN_EQUITY_MIN {
            return Err(Refusal::forbidden("account is not allowed to short"));
        }
        // What such a buy brings would be sold by an order that is meant to owe.
        let buys = |order: &Order| {
            order.symbol == new.symbol && order.side == Side::Buy && order.part.is_none_or(|part| part == Part::Entry)
        };
        if self.account.qty(&new.symbol).is_zero() && self.account.open_orders().any(buys) {
            return Err(Refusal::forbidden("cannot open a short sell while a long buy order is open"));
        }
        Ok(())
    }

    /// Whether buying power suffices for `cost`, where `freed` dollars of it are free again.
    pub(super) fn check_power(&self, cost: Decimal, freed: Decimal) -> Result<(), Refusal> {
        let power = self.account.value(self.market())?.buying_power.plus(freed)?;
        if cost <= power {
            return Ok(());
        }
        Err(Refusal::forbidden("insufficient buying power")
            .tell("buying_power", exact::floor(power, 2))
            .tell("cost_basis", exact::round(cost, 2)))
    }
}

/// Whether a stop is beyond the market.
pub(super) fn check_stop_price(side: Side, stop: Option<Decimal>, market: Decimal) -> Result<(), Refusal> {
    let Some(stop) = stop else { return Ok(()) };
    let word = match side {
        Side::Sell if stop >= market => "less",
        Side::Buy if stop <= market => "greater",
        _ => return Ok(()),
    };
    Err(Refusal::unprocessable(format!("stop price must be {word} than current price"))
        .tell("market_price", market)
        .tell("stop_price", stop))
}

/// Exits are a cent at least beyond the price that the entry is at.
fn check_bases(new: &NewOrder, market: Decimal) -> Result<(), Refusal> {
    let (base, exit) = match new.class {
        Class::Simple => return Ok(()),
        Class::Oco => (market, new.side),
        Class::Bracket | Class::Oto => (new.limit_price.unwrap_or(market), new.side.other()),
    };
    let cent = Decimal::new(1, 2);
    let (above, below) = (base.plus(cent)?, base.minus(cent)?);
    let refuse =
        |name: &str, rule: &str| Err(Refusal::unprocessable(format!("{name} must be {rule}")).tell("base_price", base));
    match (new.take_profit.filter(|_| new.class != Class::Oco), exit) {
        (Some(gain), Side::Sell) if gain < above => {
            return refuse("take_profit.limit_price", ">= base_price + 0.01");
        }
        (Some(gain), Side::Buy) if gain > below => {
            return refuse("take_profit.limit_price", "<= base_price - 0.01");
        }
        _ => {}
    }
    match (new.stop_loss.map(|loss| loss.stop_price), exit) {
        (Some(stop), Side::Sell) if stop > below => refuse("stop_loss.stop_price", "<= base_price - 0.01"),
        (Some(stop), Side::Buy) if stop < above => refuse("stop_loss.stop_price", ">= base_price + 0.01"),
        _ => Ok(()),
    }
}
