//! Verdicts: one ladder, from the top. The first rung that refuses names the rule.
//!
//! 1. The environment: the host of the request is the one of the mode, and live is armed and complete.
//! 2. What only reads passes here.
//! 3. The throttle: every message takes from the buckets of its sandbox and its account.
//! 4. The state: halted lets cancels through alone. Cancels pass here, those of the sandbox's own orders.
//! 5. Ownership, and what the message comes to as an order. A replacement is the order as it is afterwards; a position that is closed
//!    is a market order.
//! 6. Its form: positive amounts, one reading.
//! 7. Symbol, asset class, type, time in force, class, routing; then hours.
//! 8. Repeated execution, losses, and the state again: what may only reduce must only reduce.
//! 9. The reference: there is one, and it is fresh; then the collar.
//! 10. Its size, by the worst price.
//! 11. Short sales, the position at worst, all positions, concentration, open orders.
//! 12. What was and may be spent: of the day, of 24 hours.
//! 13. Trades with oneself, and what was sent already.
//! 14. Whether a person has to approve it.
//!
//! At each rung the account's limits come first, with the account's counters, then the sandbox's with its own.

mod collar;
mod exposure;
mod intent;
mod order;
mod selftrade;

use super::{
    Action, Bucket, By, Cause, Counters, Effect, Environment, Judgement, Limits, Message, Question, Refusal, Rule,
    Scope, Scoped, StateEvent, Verdict,
};

/// Thousandths that a bucket counts a message as.
const MESSAGE: u64 = 1_000;

/// Judges one message.
#[must_use]
pub fn decide(question: &Question<'_>) -> Judgement {
    let mut judgement = Judgement {
        verdict: Verdict::Allow(Box::new(Action::Forward)),
        effects: Vec::new(),
        buckets: Scoped::default(),
        refusals: question.counted.counters.sandbox.refusals,
    };
    match climb(question, &mut judgement) {
        Ok(verdict) => judgement.verdict = verdict,
        Err(refusal) => {
            if *question.message != Message::Read {
                let counters = &question.counted.counters;
                let counted = count_refusal(question.limits, counters, judgement.refusals, question.facts.host_ms);
                judgement.refusals = counted.0;
                judgement.effects.extend(counted.1);
            }
            judgement.verdict = Verdict::Refuse(refusal);
        }
    }
    judgement
}

/// What follows from a message that was refused before it came to the ladder, because it has no form or asks for nothing that there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Early {
    /// The buckets after it, where it took from them: both, or where one was empty neither.
    pub buckets: Scoped<Option<Bucket>>,
    /// Refusals of the sandbox in a row, this one among them.
    pub refusals: u32,
    /// States that move.
    pub effects: Vec<Effect>,
}

/// Counts a message that was refused early: towards the throttle, and towards the refusals in a row, as one that the ladder refuses.
#[must_use]
pub fn refused_early(limits: &Scoped<Limits>, counters: &Scoped<Counters>, host_ms: u64) -> Early {
    let buckets = throttle(limits, counters, host_ms).unwrap_or_default();
    let (refusals, effect) = count_refusal(limits, counters, counters.sandbox.refusals, host_ms);
    Early { buckets, refusals, effects: effect.into_iter().collect() }
}

fn climb(question: &Question<'_>, judgement: &mut Judgement) -> Result<Verdict, Refusal> {
    let allow = |action| Ok(Verdict::Allow(Box::new(action)));
    environment(question)?;
    if *question.message == Message::Read {
        return allow(Action::Forward);
    }
    judgement.buckets = throttle(question.limits, &question.counted.counters, question.facts.host_ms)?;
    states(question)?;
    let own = || question.counted.open.iter().filter(|order| order.own).map(|order| order.number).collect();
    match question.message {
        Message::Read => allow(Action::Forward),
        Message::Cancel { .. } => allow(Action::Cancel { number: intent::target(question)?.number }),
        Message::CancelAll => allow(Action::CancelOwn { numbers: own() }),
        Message::CloseAll { cancel_orders } => allow(Action::CloseEach {
            symbols: question.facts.positions.iter().map(|position| position.symbol.clone()).collect(),
            cancel: if *cancel_orders { own() } else { vec![] },
        }),
        Message::Submit(_) | Message::Replace { .. } | Message::ClosePosition { .. } => {
            match intent::of_message(question)? {
                intent::Order::Whole(order) => order::judge(question, judgement, *order),
                intent::Order::Leg(number) => {
                    collar::leg(question, number)?;
                    allow(Action::ReplaceLeg { number })
                }
            }
        }
    }
}

/// Rung 1: Orders for one environment do not reach another, whatever host a program has asked for.
fn environment(question: &Question<'_>) -> Result<(), Refusal> {
    let facts = question.facts;
    let asked = facts.environment;
    let Some(in_force) = facts.mode.environment(facts.host_ms) else {
        let message = "live trading is no longer armed: the operator arms it again, or sets another mode";
        return Err(Refusal::beyond(Rule::EnvironmentLock, "none", asked.as_str(), message));
    };
    if in_force != asked {
        let message = format!("this host is for {asked} trading, and the operator has set {in_force}");
        return Err(Refusal::beyond(Rule::EnvironmentLock, in_force.as_str(), asked.as_str(), message));
    }
    let missing = question.limits.account.missing();
    if asked == Environment::Live && !missing.is_empty() {
        let message = format!("live has no defaults; not set: {}", missing.join(", "));
        return Err(Refusal::because(Rule::EnvironmentLock, message));
    }
    Ok(())
}

/// Rung 3: A bucket holds as many messages as come in a second. Nothing is taken where one of the two is empty.
fn throttle(
    limits: &Scoped<Limits>,
    counters: &Scoped<Counters>,
    host_ms: u64,
) -> Result<Scoped<Option<Bucket>>, Refusal> {
    let take = |limits: &Limits, counters: &Counters| {
        let Some(limit) = limits.max_messages_per_s else { return Ok(None) };
        let (rate, now) = (u64::from(limit), host_ms);
        let full = rate * MESSAGE;
        let level = counters.bucket.map_or(full, |bucket| {
            let since = now.saturating_sub(bucket.at_ms);
            since.saturating_mul(rate).saturating_add(bucket.level).min(full)
        });
        // A clock that was put back does not fill it a second time.
        let at_ms = counters.bucket.map_or(now, |bucket| bucket.at_ms.max(now));
        match level.checked_sub(MESSAGE) {
            Some(level) => Ok(Some(Bucket { level, at_ms })),
            None => {
                let message = format!("more than {limit} order messages a second");
                Err(Refusal::beyond(Rule::MaxMessagesPerSecond, limit, u64::from(limit) + 1, message))
            }
        }
    };
    Ok(Scoped {
        account: take(&limits.account, &counters.account)?,
        sandbox: take(&limits.sandbox, &counters.sandbox)?,
    })
}

/// Rung 4: The states of the account and of the sandbox.
fn states(question: &Question<'_>) -> Result<(), Refusal> {
    for (scope, counters) in question.counted.counters.each() {
        if !counters.state.lets(question.message) {
            return Err(stopped(scope, counters));
        }
    }
    Ok(())
}

/// Why a state stops something.
fn stopped(scope: Scope, counters: &Counters) -> Refusal {
    let state = counters.state.as_str();
    let why = counters.state.cause().map_or_else(String::new, |cause| format!(": {}", cause.reason));
    let who = match scope {
        Scope::Account => "the account",
        Scope::Sandbox => "the sandbox",
    };
    let message = format!("{who} is {state}{why}. The operator lets it trade again");
    Refusal::beyond(Rule::TradingState, "active", state, message)
}

/// One refusal more than there were; too many in a row halt the sandbox. What a halt refuses is not counted.
fn count_refusal(
    limits: &Scoped<Limits>,
    counters: &Scoped<Counters>,
    before: u32,
    host_ms: u64,
) -> (u32, Option<Effect>) {
    let halted = |counters: &Counters| matches!(counters.state, super::TradingState::Halted(_));
    if halted(&counters.account) || halted(&counters.sandbox) {
        return (before, None);
    }
    let refusals = before.saturating_add(1);
    // Limits of a sandbox are those of its account or tighter ones.
    let limits = [limits.account.max_refusals_in_a_row, limits.sandbox.max_refusals_in_a_row];
    let reached = limits.into_iter().flatten().min().filter(|limit| refusals >= *limit);
    let effect = reached.map(|limit| {
        let reason = format!("{refusals} refusals in a row, where {limit} halt trading");
        let cause = Cause { by: By::Control, reason, since_ms: host_ms };
        Effect { scope: Scope::Sandbox, event: StateEvent::RefusalStreak(cause) }
    });
    (refusals, effect)
}
