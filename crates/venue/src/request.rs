//! What clients ask for, out of JSON into checked values. What a request says by itself is checked here; what needs an
//! account or a market is checked by the exchange.

use ringfence_market::Symbol;
use rust_decimal::Decimal;

use crate::{
    exact,
    json::Json,
    order::{Class, Kind, Side, Tif, Trail},
    refusal::Refusal,
    seed::{Uuid, asset_id},
};

mod fields;

pub use fields::Fields;

/// Longest id that a client may give to an order, in characters.
pub const CLIENT_ID_MAX: usize = 128;

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Shares.
    Qty(Decimal),
    /// Dollars.
    Notional(Decimal),
}

/// The exit of a group that ends a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopLoss {
    /// Where it is elected.
    pub stop_price: Decimal,
    /// At which price it sells then, if not at any.
    pub limit_price: Option<Decimal>,
}

/// A new order that makes sense by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// What.
    pub symbol: Symbol,
    /// How much.
    pub amount: Amount,
    /// Which way.
    pub side: Side,
    /// When it may fill.
    pub kind: Kind,
    /// How long.
    pub tif: Tif,
    /// Highest price to buy, lowest to sell.
    pub limit_price: Option<Decimal>,
    /// Where a stop is elected.
    pub stop_price: Option<Decimal>,
    /// How a trailing stop follows.
    pub trail: Option<Trail>,
    /// Whether it may fill before the open and after the close.
    pub extended_hours: bool,
    /// The client's own id, if it gave one.
    pub client_order_id: Option<String>,
    /// How it belongs with its exits.
    pub class: Class,
    /// Limit price of the exit with a gain.
    pub take_profit: Option<Decimal>,
    /// The exit with a loss.
    pub stop_loss: Option<StopLoss>,
    /// What the client says of its intent.
    pub position_intent: Option<String>,
}

/// What is to be different in an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of an order's fields")]
pub struct Replacement {
    pub qty: Option<Decimal>,
    pub tif: Option<Tif>,
    pub limit_price: Option<Decimal>,
    pub stop_price: Option<Decimal>,
    pub trail: Option<Decimal>,
    pub client_order_id: Option<String>,
}

/// The symbol that a ticker or an asset's id names, among those that there are.
///
/// # Errors
/// It names none.
pub fn symbol(text: &str, known: &[Symbol]) -> Result<Symbol, Refusal> {
    let found = match (Symbol::parse(text), Uuid::parse(text)) {
        (Ok(symbol), _) => known.binary_search(&symbol).is_ok().then_some(symbol),
        (_, Some(id)) => known.iter().find(|symbol| asset_id(symbol.as_str()) == id).cloned(),
        _ => None,
    };
    found.ok_or_else(|| {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
        Refusal::unprocessable(format!("asset \"{shown}\" not found"))
    })
}

/// A price within bounds and of whole ticks.
///
/// # Errors
/// It is neither.
pub fn price(name: &str, value: Decimal) -> Result<Decimal, Refusal> {
    if value <= Decimal::ZERO {
        return Err(Refusal::invalid(format!("{name} must be > 0")));
    }
    if value > exact::PRICE_MAX {
        return Err(Refusal::invalid(format!("{name} must be <= {}", exact::PRICE_MAX)));
    }
    let value = value.normalize();
    if value.scale() > exact::price_decimals(value) {
        return Err(Refusal::unprocessable(format!(
            "invalid {name} {value}. sub-penny increment does not fulfill minimum pricing criteria"
        )));
    }
    Ok(value)
}

fn shares(value: Decimal) -> Result<Decimal, Refusal> {
    let value = value.normalize();
    if value <= Decimal::ZERO {
        return Err(Refusal::invalid("qty must be > 0"));
    }
    if value > exact::QTY_MAX {
        return Err(Refusal::invalid(format!("qty must be <= {}", exact::QTY_MAX)));
    }
    if value.scale() > exact::QTY_DECIMALS {
        return Err(Refusal::invalid("qty must be limited to 9 decimal places"));
    }
    Ok(value)
}

fn dollars(value: Decimal) -> Result<Decimal, Refusal> {
    let value = value.normalize();
    if value <= Decimal::ZERO {
        return Err(Refusal::invalid("notional must be > 0"));
    }
    if value < Decimal::ONE {
        return Err(Refusal::forbidden("cost basis must be >= minimal amount of order 1"));
    }
    if value > exact::NOTIONAL_MAX {
        return Err(Refusal::invalid(format!("notional must be <= {}", exact::NOTIONAL_MAX)));
    }
    if value.scale() > 2 {
        return Err(Refusal::invalid("notional value must be limited to 2 decimal places"));
    }
    Ok(value)
}

fn client_id(fields: &Fields<'_>) -> Result<Option<String>, Refusal> {
    let Some(id) = fields.text("client_order_id")?.filter(|id| !id.is_empty()) else { return Ok(None) };
    if id.chars().count() > CLIENT_ID_MAX {
        return Err(Refusal::invalid("client_order_id must be no more than 128 characters"));
    }
    if id.chars().any(char::is_control) {
        return Err(Refusal::invalid("client_order_id must not hold control characters"));
    }
    Ok(Some(id.to_owned()))
}

impl NewOrder {
    /// Reads the body of `POST /v2/orders`.
    ///
    /// # Errors
    /// The first thing about it that makes no sense.
    pub fn read(body: &Json, known: &[Symbol]) -> Result<Self, Refusal> {
        let fields = Fields::of(body)?;
        for name in ["legs", "advanced_instructions"] {
            if fields.has(name) {
                return Err(Refusal::unprocessable(format!(
                    "{name} is not supported: this venue simulates orders of single stocks"
                )));
            }
        }
        let side = fields.word("side", Side::parse)?.ok_or_else(|| Refusal::invalid("side is required"))?;
        let class = match fields.text("order_class")? {
            None | Some("" | "simple") => Class::Simple,
            Some("mleg") => {
                return Err(Refusal::unprocessable("order_class mleg is not supported: there are no options"));
            }
            Some(word) => Class::parse(word).ok_or_else(|| Refusal::invalid("invalid order_class"))?,
        };
        let kind = fields.word("type", Kind::parse)?.ok_or_else(|| Refusal::invalid("type is required"))?;
        let tif =
            fields.word("time_in_force", Tif::parse)?.ok_or_else(|| Refusal::invalid("time_in_force is required"))?;
        let amount = match (fields.decimal("qty")?, fields.decimal("notional")?) {
            (Some(qty), None) => Amount::Qty(shares(qty)?),
            (None, Some(notional)) => Amount::Notional(dollars(notional)?),
            (Some(_), Some(_)) => return Err(Refusal::invalid("only one of qty or notional is accepted")),
            (None, None) => return Err(Refusal::invalid("qty or notional is required")),
        };
        let name = fields.text("symbol")?.ok_or_else(|| Refusal::invalid("symbol is required"))?;
        let trail = match (fields.decimal("trail_price")?, fields.decimal("trail_percent")?) {
            (Some(value), None) => Some(Trail::Price(price("trail_price", value)?)),
            (None, Some(value)) => Some(Trail::Percent(percent(value)?)),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(one_trail()),
        };
        let order = Self {
            symbol: symbol(name, known)?,
            amount,
            side,
            kind,
            tif,
            limit_price: fields.price("limit_price")?,
            stop_price: fields.price("stop_price")?,
            trail,
            extended_hours: fields.truth("extended_hours")?.unwrap_or(false),
            client_order_id: client_id(&fields)?,
            class,
            take_profit: take_profit(&fields)?,
            stop_loss: stop_loss(&fields)?,
            position_intent: fields.word("position_intent", intent)?,
        };
        order.checked()
    }

    /// Whether it is for a part of a share, or may become so.
    #[must_use]
    pub fn is_fractional(&self) -> bool {
        match self.amount {
            Amount::Qty(qty) => !exact::is_whole(qty),
            Amount::Notional(_) => true,
        }
    }

    fn checked(mut self) -> Result<Self, Refusal> {
        if self.class == Class::Oco && self.kind == Kind::Limit {
            // Both of its prices are those of its exits.
            self.limit_price = self.take_profit.or(self.limit_price);
        }
        self.check_prices()?;
        let day_or_gtc = matches!(self.tif, Tif::Day | Tif::Gtc);
        if self.is_fractional() {
            if self.tif != Tif::Day {
                return Err(Refusal::unprocessable("fractional orders must be DAY orders"));
            }
            if self.class != Class::Simple {
                return Err(Refusal::unprocessable("fractional orders must be simple orders"));
            }
            if self.kind == Kind::TrailingStop {
                return Err(Refusal::unprocessable("fractional orders must not be trailing stop orders"));
            }
        }
        if self.extended_hours && !(self.kind == Kind::Limit && day_or_gtc) {
            return Err(Refusal::unprocessable("extended hours order must be DAY or GTC limit orders"));
        }
        if matches!(self.kind, Kind::Stop | Kind::StopLimit | Kind::TrailingStop) && !day_or_gtc {
            return Err(Refusal::unprocessable(format!("invalid time_in_force for {} orders", self.kind.word())));
        }
        self.check_class(day_or_gtc)?;
        Ok(self)
    }

    fn check_prices(&self) -> Result<(), Refusal> {
        let (limit, stop, trail) = (self.limit_price.is_some(), self.stop_price.is_some(), self.trail.is_some());
        let complaint = match self.kind {
            Kind::Market if limit || stop => "market orders require no stop or limit price",
            Kind::Limit if !limit => "limit orders require a limit price",
            Kind::Limit if stop => "limit orders require no stop price",
            Kind::Stop if !stop => "stop orders require a stop price",
            Kind::Stop if limit => "stop orders require no limit price",
            Kind::StopLimit if !limit || !stop => "stop limit orders require both stop and limit price",
            Kind::TrailingStop if limit || stop => "trailing stop orders require no stop or limit price",
            Kind::TrailingStop if !trail => return Err(one_trail()),
            kind if kind != Kind::TrailingStop && trail => "trail_price and trail_percent are for trailing stop orders",
            _ => return Ok(()),
        };
        Err(Refusal::invalid(complaint))
    }

    fn check_class(&self, day_or_gtc: bool) -> Result<(), Refusal> {
        let exits = (self.take_profit, self.stop_loss);
        let name = self.class.word();
        let complaint = match (self.class, exits) {
            (Class::Simple, (None, None)) => return Ok(()),
            (Class::Simple, _) => "take_profit and stop_loss require an order_class of bracket, oco or oto".to_owned(),
            (Class::Bracket | Class::Oco, (None, _)) => format!("{name} orders require take_profit.limit_price"),
            (Class::Bracket | Class::Oco, (_, None)) => format!("{name} orders require stop_loss.stop_price"),
            (Class::Oto, (None, None) | (Some(_), Some(_))) => {
                "oto orders require either take_profit.limit_price or stop_loss.stop_price".to_owned()
            }
            (Class::Oco, _) if self.kind != Kind::Limit => "oco orders must be of type limit".to_owned(),
            _ if matches!(self.kind, Kind::Stop | Kind::StopLimit | Kind::TrailingStop) => {
                format!("{name} orders must be market or limit orders")
            }
            _ if !day_or_gtc => format!("{name} orders must be DAY or GTC orders"),
            _ if self.extended_hours => format!("{name} orders do not support extended hours"),
            _ => return self.check_exits(),
        };
        Err(Refusal::unprocessable(complaint))
    }

    /// Which exit is above the other.
    fn check_exits(&self) -> Result<(), Refusal> {
        let exit = if self.class == Class::Oco { self.side } else { self.side.other() };
        if let (Some(gain), Some(loss)) = (self.take_profit, self.stop_loss) {
            let ordered = match exit {
                Side::Sell => gain > loss.stop_price,
                Side::Buy => gain < loss.stop_price,
            };
            if !ordered {
                let word = if exit == Side::Sell { ">" } else { "<" };
                return Err(Refusal::unprocessable(format!(
                    "take_profit.limit_price must be {word} stop_loss.stop_price"
                )));
            }
        }
        if let Some(StopLoss { stop_price, limit_price: Some(limit) }) = self.stop_loss {
            let ordered = match exit {
                Side::Sell => limit <= stop_price,
                Side::Buy => limit >= stop_price,
            };
            if !ordered {
                let word = if exit == Side::Sell { "<=" } else { ">=" };
                return Err(Refusal::unprocessable(format!(
                    "stop_loss.limit_price must be {word} stop_loss.stop_price"
                )));
            }
        }
        Ok(())
    }
}

impl Replacement {
    /// Reads the body of `PATCH /v2/orders/{id}`.
    ///
    /// # Errors
    /// The first thing about it that makes no sense.
    pub fn read(body: &Json) -> Result<Self, Refusal> {
        let fields = Fields::of(body)?;
        if fields.has("notional") {
            return Err(Refusal::unprocessable("notional cannot be replaced"));
        }
        let read = Self {
            qty: fields.decimal("qty")?.map(shares).transpose()?,
            tif: fields.word("time_in_force", Tif::parse)?,
            limit_price: fields.price("limit_price")?,
            stop_price: fields.price("stop_price")?,
            trail: fields.decimal("trail")?,
            client_order_id: client_id(&fields)?,
        };
        if read == Self::default() {
            return Err(Refusal::invalid(
                "at least one of qty, time_in_force, limit_price, stop_price, trail is required",
            ));
        }
        Ok(read)
    }
}

/// A trail in hundredths of the price.
///
/// # Errors
/// It is not between 0 and 100, or too fine.
pub fn percent(value: Decimal) -> Result<Decimal, Refusal> {
    let value = value.normalize();
    if value > Decimal::ZERO && value < Decimal::ONE_HUNDRED && value.scale() <= 4 {
        Ok(value)
    } else {
        Err(Refusal::invalid("trail_percent must be > 0 and < 100"))
    }
}

fn one_trail() -> Refusal {
    Refusal::invalid("trailing stop orders must specify one of trail_price or trail_percent")
}

fn intent(word: &str) -> Option<String> {
    matches!(word, "buy_to_open" | "buy_to_close" | "sell_to_open" | "sell_to_close").then(|| word.to_owned())
}

fn take_profit(fields: &Fields<'_>) -> Result<Option<Decimal>, Refusal> {
    let Some(inner) = fields.inner("take_profit")? else { return Ok(None) };
    let limit = inner.decimal("limit_price")?;
    let limit = limit.ok_or_else(|| Refusal::invalid("take_profit.limit_price is required"))?;
    price("take_profit.limit_price", limit).map(Some)
}

fn stop_loss(fields: &Fields<'_>) -> Result<Option<StopLoss>, Refusal> {
    let Some(inner) = fields.inner("stop_loss")? else { return Ok(None) };
    let stop = inner.decimal("stop_price")?.ok_or_else(|| Refusal::invalid("stop_loss.stop_price is required"))?;
    let limit = inner.decimal("limit_price")?.map(|value| price("stop_loss.limit_price", value)).transpose()?;
    Ok(Some(StopLoss { stop_price: price("stop_loss.stop_price", stop)?, limit_price: limit }))
}

#[cfg(test)]
mod tests;
