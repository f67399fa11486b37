//! Losses: of a day, and from the highest equity.

use super::{By, Cause, Figure, Limits, Percent, Rule, StateEvent, Usd};

/// A loss of so many times its limit halts; one of the limit itself leaves what reduces.
const HALTED_AT: u32 = 2;

/// A loss that has reached its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Which limit.
    pub rule: Rule,
    /// The limit.
    pub limit: Figure,
    /// The loss.
    pub observed: Figure,
    /// What follows from it.
    pub event: StateEvent,
}

/// The worse of the losses that have reached their limits: the day's, from the equity with which it began, and the drawdown from the
/// highest. What is not known is no loss here; who may not open anything then is decided where orders are.
#[must_use]
pub fn loss_event(
    limits: &Limits,
    equity: Usd,
    start_of_day: Option<Usd>,
    high_water: Option<Usd>,
    now_ms: u64,
) -> Option<Loss> {
    let day = (Rule::MaxDailyLossPercent, limits.max_daily_loss_percent, start_of_day, "the day's loss");
    let drawdown = (Rule::MaxDrawdownPercent, limits.max_drawdown_percent, high_water, "the drawdown");
    let losses = [day, drawdown].into_iter().filter_map(|(rule, limit, from, what)| {
        let (limit, from) = (limit?, from?);
        let lost = percent_lost(equity, from);
        let doubled = limit.repeated(HALTED_AT).is_some_and(|doubled| lost >= doubled);
        if lost < limit || !lost.is_positive() {
            return None;
        }
        let reason = format!("{what} is {lost} % of {from} USD, where {limit} % is the limit");
        let cause = Cause { by: By::Control, reason, since_ms: now_ms };
        let event = if doubled { StateEvent::LossDoubled(cause) } else { StateEvent::LossReached(cause) };
        Some((doubled, Loss { rule, limit: limit.into(), observed: lost.into(), event }))
    });
    // The first of those that halt, and else the first.
    losses.max_by_key(|(doubled, loss)| (*doubled, loss.rule == Rule::MaxDailyLossPercent)).map(|(_, loss)| loss)
}

/// How much of `from` is gone. An equity that was nothing has lost all of it.
fn percent_lost(equity: Usd, from: Usd) -> Percent {
    let lost = from.minus(equity).unwrap_or(Usd::MAX);
    if lost <= Usd::ZERO {
        return Percent::ZERO;
    }
    lost.percent_of_down(from).unwrap_or(Percent::MAX)
}
