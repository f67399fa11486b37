//! The rungs of the ladder that an order climbs.

use std::collections::BTreeSet;

use super::exposure::{Book, market_percent, reservation};
use super::intent::Candidate;
use super::{collar, selftrade, stopped};
use crate::trade::{
    Action, By, CanonicalSymbol, Cause, Counters, Effect, Judgement, Limits, OpenOrder, Percent, Question, Reference,
    Refusal, Reservation, Rule, Scope, Side, Spent, StateEvent, TradingState, Usd, Verdict, loss_event,
};

/// An order with all that is known of it.
struct Climb<'a> {
    question: &'a Question<'a>,
    order: &'a Candidate,
    reference: Reference,
    reserved: Reservation,
    /// The order in whose place it comes.
    replaced: Option<&'a OpenOrder>,
    /// What is open in its symbol, that one left out.
    book: Book,
    reduce_only: bool,
}

/// Judges an order.
pub(super) fn judge(question: &Question<'_>, judgement: &mut Judgement, order: Candidate) -> Result<Verdict, Refusal> {
    for (_, limits) in question.limits.each() {
        permitted(limits, &order)?;
        hours(question, limits, &order)?;
    }
    let intent = &order.intent;
    let unknown = || Refusal::because(Rule::MaxReferenceAge, format!("no price of {} is known", intent.symbol));
    let reference = collar::reference(question.facts, intent).ok_or_else(unknown)?;
    let reserved = reservation(intent, Some(&reference), market_percent(&question.limits.account))?;
    let replaced = question.counted.open.iter().find(|open| Some(open.number) == order.replaces);
    let book = Book::of(&intent.symbol, question.facts, question.counted, order.replaces);
    let book = book.ok_or_else(Refusal::out_of_range)?;
    let reduce_only =
        book.reduces(reserved.side, reserved.qty.max(replaced.map_or(reserved.qty, |open| open.remaining)));
    let climb = Climb { question, order: &order, reference, reserved, replaced, book, reduce_only };
    climb.states(judgement)?;
    for (_, limits) in question.limits.each() {
        climb.priced(limits)?;
        climb.sized(limits)?;
    }
    for ((scope, limits), (_, counters)) in question.limits.each().into_iter().zip(question.counted.counters.each()) {
        climb.exposed(scope, limits, counters)?;
        climb.spent(scope, limits, counters)?;
    }
    climb.first_of_its_kind()?;
    if let Some(held) = climb.held() {
        return Ok(held);
    }
    let (reserved, reduce_only) = (climb.reserved, climb.reduce_only);
    Ok(Verdict::Allow(Box::new(Action::Send {
        intent: order.intent,
        reservation: reserved,
        replaces: order.replaces,
        reduce_only,
    })))
}

/// Rung 7: What may be traded at all, and how.
fn permitted(limits: &Limits, order: &Candidate) -> Result<(), Refusal> {
    let intent = &order.intent;
    if let Some(restricted) = limits.restricted_symbols.as_ref().filter(|set| set.contains(&intent.symbol)) {
        let message = format!("{} is restricted", intent.symbol);
        return Err(Refusal::beyond(Rule::RestrictedSymbols, list(restricted), intent.symbol.as_str(), message));
    }
    among(Rule::PermittedSymbols, limits.permitted_symbols.as_ref(), &intent.symbol)?;
    among(Rule::PermittedAssetClasses, limits.permitted_asset_classes.as_ref(), &intent.asset_class)?;
    among(Rule::PermittedOrderTypes, limits.permitted_order_types.as_ref(), &intent.pricing.order_type())?;
    // How a position is closed is the gate's choice, and good wherever the position could be opened.
    if !order.closes {
        among(Rule::PermittedTimeInForce, limits.permitted_time_in_force.as_ref(), &intent.time_in_force)?;
    }
    among(Rule::PermittedOrderClasses, limits.permitted_order_classes.as_ref(), &intent.structure.class())?;
    if limits.no_advanced_instructions == Some(true) && intent.advanced_instructions {
        return Err(Refusal::because(Rule::NoAdvancedInstructions, "orders do not say how they are routed"));
    }
    Ok(())
}

fn among<T: Ord + std::fmt::Display>(rule: Rule, permitted: Option<&BTreeSet<T>>, asked: &T) -> Result<(), Refusal> {
    match permitted {
        Some(permitted) if !permitted.contains(asked) => {
            let message = format!("{asked} is not permitted");
            Err(Refusal::beyond(rule, list(permitted), asked.to_string(), message))
        }
        _ => Ok(()),
    }
}

/// The first of a list, as a refusal names it.
fn list<T: std::fmt::Display>(set: &BTreeSet<T>) -> String {
    const NAMED: usize = 16;
    let names: Vec<String> = set.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if set.len() > NAMED { ",…" } else { "" };
    format!("{}{more}", names.join(","))
}

fn hours(question: &Question<'_>, limits: &Limits, order: &Candidate) -> Result<(), Refusal> {
    if let Some(hours) = limits.trading_hours {
        collar::hours(question.facts, &order.intent, hours)?;
    }
    let minute = question.facts.clock.minute;
    let closed = limits.no_trade_windows.iter().flatten().find(|window| window.contains(minute));
    closed.map_or(Ok(()), |window| {
        let observed = format!("{:02}:{:02}", minute / 60, minute % 60);
        let message = format!("nothing is traded at {window} in New York");
        Err(Refusal::beyond(Rule::NoTradeWindows, window.to_string(), observed, message))
    })
}

impl Climb<'_> {
    fn symbol(&self) -> &CanonicalSymbol {
        &self.order.intent.symbol
    }

    /// Rung 8: Repeated execution and losses, which move states; then what the states let through. A limit that a sandbox has of its account
    /// moves the account's state alone, so that the operator resets one and not all.
    fn states(&self, judgement: &mut Judgement) -> Result<(), Refusal> {
        let now_ms = self.question.facts.host_ms;
        let counted = self.question.counted;
        let mut refused = None;
        for ((scope, limits), (_, counters)) in self.question.limits.each().into_iter().zip(counted.counters.each()) {
            let mut state = counters.state.clone();
            let mut enter = |event: StateEvent| {
                if let Some(next) = state.after(&event) {
                    state = next;
                    judgement.effects.push(Effect { scope, event });
                }
            };
            let repeated = limits.max_repeated_fills.filter(|_| {
                let account = &self.question.limits.account;
                scope == Scope::Account || limits.repetition() != account.repetition()
            });
            if let Some(limit) = repeated.filter(|limit| counters.repeated_fills > *limit) {
                let fills = counters.repeated_fills;
                let reason = format!("{fills} orders in {} were filled, where {limit} are let", self.symbol());
                let cause = Cause { by: By::Control, reason: reason.clone(), since_ms: now_ms };
                enter(StateEvent::RepeatedExecution(cause));
                refused = refused.or(Some(Refusal::beyond(Rule::MaxRepeatedFills, limit, fills, reason)));
            }
            let own = scope == Scope::Account || limits.losses() != self.question.limits.account.losses();
            if let Some(equity) = self.question.facts.equity.filter(|_| own) {
                let start = equity.start_of_day.or(counted.start_of_day);
                let high = counted.high_water.map(|high| high.max(equity.now));
                if let Some(loss) = loss_event(limits, equity.now, start, high, now_ms) {
                    let reason = loss.event.cause().reason.clone();
                    let halts = matches!(loss.event, StateEvent::LossDoubled(_));
                    enter(loss.event);
                    if halts || !self.reduce_only {
                        refused = refused.or(Some(Refusal::beyond(loss.rule, loss.limit, loss.observed, reason)));
                    }
                }
            }
            let stops = match &state {
                TradingState::Active => false,
                TradingState::Reducing(_) => !self.reduce_only,
                TradingState::Halted(_) => true,
            };
            if stops && refused.is_none() {
                refused = Some(stopped(scope, &Counters { state, ..Counters::default() }));
            }
            if refused.is_none() && !self.reduce_only {
                refused = self.unknown_loss(limits);
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Nothing is opened while nobody can say how much was lost.
    fn unknown_loss(&self, limits: &Limits) -> Option<Refusal> {
        let equity = self.question.facts.equity;
        let start = equity.and_then(|equity| equity.start_of_day).or(self.question.counted.start_of_day);
        if limits.max_daily_loss_percent.is_some() && (equity.is_none() || start.is_none()) {
            return Some(Refusal::because(Rule::MaxDailyLossPercent, "the equity of the account is not known"));
        }
        if limits.max_drawdown_percent.is_some() && equity.is_none() {
            return Some(Refusal::because(Rule::MaxDrawdownPercent, "the equity of the account is not known"));
        }
        None
    }

    /// Rung 9: The reference is fresh, and the prices are near it.
    fn priced(&self, limits: &Limits) -> Result<(), Refusal> {
        let intent = &self.order.intent;
        if let Some(limit) = limits.max_reference_age_s {
            collar::fresh(self.question.facts, intent, &self.reference, self.reduce_only, limit)?;
        }
        limits
            .price_collar_percent
            .map_or(Ok(()), |collar| collar::check(intent, &self.reference, self.reduce_only, collar))
    }

    /// Rung 10: The order, and each leg of it, by the worst price.
    fn sized(&self, limits: &Limits) -> Result<(), Refusal> {
        if let Some(limit) = limits.max_order_qty.filter(|limit| self.reserved.qty > *limit) {
            let message = "the order is for too many";
            return Err(Refusal::beyond(Rule::MaxOrderQty, limit, self.reserved.qty, message));
        }
        for (part, value) in [("the order", self.reserved.entry), ("a leg", self.reserved.exit)] {
            if let Some(limit) = limits.max_notional_per_order.filter(|limit| value > *limit) {
                let message = format!("{part} may come to {value} USD, where {limit} USD are the most");
                return Err(Refusal::beyond(Rule::MaxNotionalPerOrder, limit, value, message));
            }
        }
        Ok(())
    }

    /// Rung 11: What the account may come to hold.
    fn exposed(&self, scope: Scope, limits: &Limits, counters: &Counters) -> Result<(), Refusal> {
        let out = Refusal::out_of_range;
        let replaced = self.replaced.map(|open| (open.reservation.side, open.remaining, open.pending));
        let after = self.book.with(&self.reserved, replaced).ok_or_else(out)?;
        if limits.no_shorting == Some(true) && self.reserved.side == Side::Sell && after.short().is_positive() {
            let message = format!("it may sell {} of {} that are not there", after.short(), self.symbol());
            return Err(Refusal::beyond(Rule::NoShorting, self.book.position, after.sells, message));
        }
        if !self.reduce_only {
            let worst = after.worst().ok_or_else(out)?;
            if let Some(limit) = limits.max_position_notional.filter(|limit| worst > *limit) {
                let message = format!("{} may come to {worst} USD with all that is open", self.symbol());
                return Err(Refusal::beyond(Rule::MaxPositionNotional, limit, worst, message));
            }
            if let Some(limit) = limits.max_concentration_percent {
                let equity = self.question.facts.equity.map(|equity| equity.now);
                let share = equity.and_then(|equity| worst.percent_of(equity)).unwrap_or(Percent::MAX);
                if share > limit {
                    let message = format!("{} may come to too much of the equity", self.symbol());
                    return Err(Refusal::beyond(Rule::MaxConcentrationPercent, limit, share, message));
                }
            }
            if let Some(limit) = limits.max_gross_notional {
                let gross = self.gross(worst).ok_or_else(out)?;
                if gross > limit {
                    let message = format!("all positions may come to {gross} USD with all that is open");
                    return Err(Refusal::beyond(Rule::MaxGrossNotional, limit, gross, message));
                }
            }
        }
        let more = self.reserved.orders.saturating_sub(self.replaced.map_or(0, |open| open.orders));
        let open = counters.open_orders.saturating_add(more);
        if let Some(limit) = limits.max_open_orders.filter(|limit| more > 0 && open > *limit) {
            let message = format!("too many orders of the {scope} would be open");
            return Err(Refusal::beyond(Rule::MaxOpenOrders, limit, open, message));
        }
        Ok(())
    }

    /// All symbols at worst, this one as it would be.
    fn gross(&self, this: Usd) -> Option<Usd> {
        let (facts, counted) = (self.question.facts, self.question.counted);
        let held = facts.positions.iter().map(|position| &position.symbol);
        let open = counted.open.iter().map(|order| &order.intent.symbol);
        let others: BTreeSet<&CanonicalSymbol> = held.chain(open).filter(|symbol| *symbol != self.symbol()).collect();
        others.into_iter().try_fold(this, |sum, symbol| sum.plus(Book::of(symbol, facts, counted, None)?.worst()?))
    }

    /// Rung 12: What was bought, traded and sent, and what may be.
    fn spent(&self, scope: Scope, limits: &Limits, counters: &Counters) -> Result<(), Refusal> {
        let held = |part: fn(&OpenOrder) -> Usd| self.replaced.map_or(Usd::ZERO, part);
        let entry = self.reserved.entry.less(held(|open| open.pending));
        let exit = self.reserved.exit.less(held(|open| open.exit_pending));
        let bought = if self.reserved.side == Side::Buy { entry } else { exit };
        let traded = entry.plus(exit).ok_or_else(Refusal::out_of_range)?;
        let times = [
            (
                &counters.day,
                "on a day",
                (Rule::MaxDailyNotional, limits.max_daily_notional),
                (Rule::MaxDailyTurnover, limits.max_daily_turnover),
                (Rule::MaxDailyOrders, limits.max_daily_orders),
            ),
            (
                &counters.rolling,
                "in 24 hours",
                (Rule::MaxRollingNotional, limits.max_rolling_notional),
                (Rule::MaxRollingTurnover, limits.max_rolling_turnover),
                (Rule::MaxRollingOrders, limits.max_rolling_orders),
            ),
        ];
        for (spent, when, notional, turnover, orders) in times {
            let Spent { bought: already, turnover: traded_already, orders: sent } = *spent;
            let pending = &counters.pending;
            for ((rule, limit), already, pending, more, what) in [
                (notional, already, pending.bought, bought, "bought"),
                (turnover, traded_already, pending.turnover, traded, "traded"),
            ] {
                let all = already.plus(pending).and_then(|sum| sum.plus(more)).ok_or_else(Refusal::out_of_range)?;
                // What adds nothing is not refused for what was before.
                if let Some(limit) = limit.filter(|limit| more.is_positive() && all > *limit) {
                    let message = format!("{all} USD would be {what} {when} by the {scope}, with all that is open");
                    return Err(Refusal::beyond(rule, limit, all, message));
                }
            }
            let (rule, limit) = orders;
            let sent = sent.saturating_add(1);
            if let Some(limit) = limit.filter(|limit| sent > *limit) {
                return Err(Refusal::beyond(rule, limit, sent, format!("too many orders of the {scope} {when}")));
            }
        }
        Ok(())
    }

    /// Rung 13: It neither meets an order of the account nor is one that was sent already.
    fn first_of_its_kind(&self) -> Result<(), Refusal> {
        let (counted, intent) = (self.question.counted, &self.order.intent);
        let any = |knob: fn(&Limits) -> Option<bool>| {
            self.question.limits.each().iter().any(|(_, limits)| knob(limits) == Some(true))
        };
        if any(|limits| limits.no_self_trade) {
            let crossed = selftrade::crossed(intent, &self.reference, &counted.open, self.order.replaces);
            if let Some(other) = crossed {
                let whose = if other.own { "one of its own orders" } else { "another order of the account" };
                let message = format!("it could trade with {whose} in {}", intent.symbol);
                return Err(Refusal::because(Rule::NoSelfTrade, message));
            }
        }
        if counted.client_order_id_taken {
            return Err(Refusal::because(Rule::DuplicateOrder, "client_order_id must be unique"));
        }
        for (_, limits) in self.question.limits.each() {
            let Some((limit, same_at_ms)) = limits.duplicate_window_s.zip(counted.same_at_ms) else { continue };
            let since_ms = self.question.facts.host_ms.saturating_sub(same_at_ms);
            if since_ms < u64::from(limit) * 1000 {
                let message = format!("the same order was sent {} s ago", since_ms / 1000);
                return Err(Refusal::beyond(Rule::DuplicateOrder, limit, since_ms / 1000, message));
            }
        }
        Ok(())
    }

    /// Rung 14: What is worth more than a threshold waits for a person.
    fn held(&self) -> Option<Verdict> {
        let thresholds = self.question.limits.each().map(|(_, limits)| limits.two_step_above);
        let limit = thresholds.into_iter().flatten().min()?;
        let notional = self.reserved.entry.max(self.reserved.exit);
        if self.question.counted.approved || notional <= limit {
            return None;
        }
        let message = format!("{notional} USD wait for a person's approval; send the same order again after it");
        let refusal = Refusal::beyond(Rule::TwoStepAbove, limit, notional, message);
        Some(Verdict::Hold { notional, refusal })
    }
}
