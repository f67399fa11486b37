//! Verdicts.

use super::{Judgement, Question, Refusal, Rule, Scoped, Verdict};

/// Judges one message.
#[must_use]
pub fn decide(question: &Question<'_>) -> Judgement {
    // The ladder is not there yet: nothing is allowed.
    let refusals = question.counted.counters.sandbox.refusals;
    let refusal = Refusal::because(Rule::EndpointAllowList, "no order is allowed yet");
    Judgement { verdict: Verdict::Refuse(refusal), effects: vec![], buckets: Scoped::default(), refusals }
}
