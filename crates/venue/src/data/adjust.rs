//! Adjusting prices for what happened up to now, and for nothing that is to come.
//!
//! Each action multiplies every price of the days before its ex-date: a split of one share into `s` by `1 / s` (and
//! volumes by `s`), a dividend `d` by `1 - d / c`, with `c` the last close before the ex-date. (The sample's adjusted
//! files use `c / (c + d)` with the close of the ex-date itself, which nobody knows in the morning of that day.)

use jiff::{SignedDuration, Timestamp, civil::Date};
use ringfence_market::{
    BarTape, Kind, Symbol, new_york,
    tape::{Frame, Scale, Wanted},
};
use rust_decimal::Decimal;

use super::{Refusal, query::Query};

/// For what prices are adjusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Adjustment {
    splits: bool,
    dividends: bool,
}

impl Adjustment {
    /// Reads `raw`, `split`, `dividend`, `spin-off`, `all`, or several of them. No spin-offs are recorded.
    pub(super) fn of(query: &Query) -> Result<Self, Refusal> {
        let mut found = Self::default();
        for word in query.get("adjustment").unwrap_or("raw").split(',') {
            match word {
                "raw" | "spin-off" => {}
                "split" => found.splits = true,
                "dividend" => found.dividends = true,
                "all" => found = Self { splits: true, dividends: true },
                other => {
                    let other: String = other.chars().take(40).collect();
                    return Err(Refusal::invalid(format!("invalid adjustment: {other}")));
                }
            }
        }
        Ok(found)
    }
}

/// What a symbol's prices are multiplied by, day by day.
pub(super) struct Factors {
    /// Ex-dates descending; with each, what all days before it are multiplied by.
    steps: Vec<(Date, Scale)>,
}

impl Factors {
    pub(super) fn new(tape: &BarTape, symbol: &Symbol, adjustment: Adjustment, now: Timestamp) -> Self {
        let mut steps = Vec::new();
        let mut scale = Scale::NONE;
        if adjustment == Adjustment::default() {
            return Self { steps };
        }
        for action in tape.all_actions(symbol).iter().rev() {
            let Some(begins) = new_york::midnight(action.ex_date) else { continue };
            let change = match action.kind {
                _ if begins > now => None,
                Kind::Split(into) if adjustment.splits => {
                    Decimal::ONE.checked_div(into).map(|price| Scale { price, shares: into })
                }
                Kind::Dividend(cash) if adjustment.dividends => close_before(tape, symbol, begins).and_then(|close| {
                    let price = Decimal::ONE.checked_sub(cash.checked_div(close)?)?;
                    (price > Decimal::ZERO).then_some(Scale { price, shares: Decimal::ONE })
                }),
                _ => None,
            };
            if let Some(change) = change {
                scale = Scale {
                    price: scale.price.saturating_mul(change.price),
                    shares: scale.shares.saturating_mul(change.shares),
                };
                steps.push((action.ex_date, scale));
            }
        }
        Self { steps }
    }

    pub(super) fn of(&self, day: Date) -> Scale {
        // The last step whose ex-date is after the day is the product of all that are.
        let after = self.steps.partition_point(|(ex_date, _)| *ex_date > day);
        after.checked_sub(1).map_or(Scale::NONE, |at| self.steps[at].1)
    }
}

fn close_before(tape: &BarTape, symbol: &Symbol, begins: Timestamp) -> Option<Decimal> {
    let before = begins.checked_sub(SignedDuration::from_nanos(1)).ok()?;
    let wanted =
        Wanted { frame: Frame::Day, from: Timestamp::MIN, until: before, now: before, most: 1, descending: true };
    tape.bars(symbol, &wanted, |_| Scale::NONE).first().map(|bar| bar.close)
}
