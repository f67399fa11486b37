//! What was found, in sentences: what was not beaten comes first.

use std::collections::BTreeMap;

use ringfence_model::api::{SweepMetric, SweepParameters, SweepStatus};
use serde_json::Value;

use super::{
    finish::{Best, Finished},
    job::Job,
    rank,
    row::{Row, Verdict},
};

/// What the look-ahead check cannot see in adjusted bars: each level of the past is multiplied by what came later, the same in every cut.
const LEVELS: &str = ". The bars are adjusted: their past price levels, not their returns, know later splits and dividends, and a \
                      strategy that compares prices with fixed amounts of money is not caught";

/// What a verdict of the look-ahead check does not say, to be put behind its detail.
pub(crate) fn unseen(verdict: &str, adjusted: bool) -> Option<&'static str> {
    (adjusted && verdict == Verdict::Honest.as_str()).then_some(LEVELS)
}

/// A fraction in percent.
pub(crate) fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    if percent.abs() >= 1000.0 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// `fast=10 slow=20`.
pub(crate) fn parameters(set: &SweepParameters) -> String {
    let one = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}={text}"),
        value => format!("{name}={value}"),
    };
    set.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// A metric as people read it.
pub(crate) fn metric(metric: SweepMetric, value: f64) -> String {
    match metric {
        SweepMetric::Cagr | SweepMetric::TotalReturn | SweepMetric::MaxDrawdown => percent(value),
        _ => format!("{value:.3}"),
    }
}

/// `sma_cross fast=10 slow=20 on AAPL`.
pub(crate) fn subject(row: &Row) -> String {
    let set = parameters(&row.parameters);
    let space = if set.is_empty() { "" } else { " " };
    format!("{}{space}{set} on {}", row.strategy, row.symbols.join(", "))
}

impl Job {
    pub(crate) fn summary(
        &self,
        rows: &BTreeMap<u64, Row>,
        best: Option<&Best>,
        finished: &Finished,
        status: SweepStatus,
    ) -> String {
        let mut sentences = Vec::new();
        if status == SweepStatus::Cancelled {
            sentences.push(format!("Cancelled after {} of {} runs.", rows.len(), self.plan.total()));
        }
        let (order, ranked) = rank::order(rows, self.metric());
        let judged: Vec<bool> = order[..ranked].iter().filter_map(|number| rows.get(number)?.beats()).collect();
        let beat = judged.iter().filter(|beats| **beats).count();
        let out = if self.request.train.is_some() { " out of sample" } else { "" };
        sentences.push(match (beat, judged.len()) {
            (_, 0) if ranked == 0 => "No run has a figure to be ranked by.".to_owned(),
            (_, 0) => format!("{ranked} runs are ranked; none can be compared with buying and holding."),
            (0, 1) => format!("The run did not return more than buying and holding{out}."),
            (0, all) => format!("None of {all} runs returned more than buying and holding{out}."),
            (1, 1) => format!("The run returned more than buying and holding{out}."),
            (beat, all) => format!("{beat} of {all} runs returned more than buying and holding{out}."),
        });
        let caught = finished.look_ahead.as_ref().map_or(0, |found| found.caught.len());
        if caught > 0 {
            let detail = rows.values().find_map(|row| {
                row.look_ahead.as_ref().filter(|found| found.verdict == Verdict::LooksAhead).map(|found| &found.detail)
            });
            let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
            sentences.push(format!("{caught} of the runs that were checked look ahead and are not ranked{detail}."));
        }
        match best.and_then(|best| rows.get(&best.run.number)) {
            Some(row) => {
                let score = row.score(self.metric()).map(|score| metric(self.metric(), score)).unwrap_or_default();
                let word = self.metric().as_str().replace('_', " ");
                let mut sentence = format!("Best by {word}: {}, {score}", subject(row));
                if let (Some(own), Some(hold)) = (row.judged_return(), row.hold) {
                    sentence.push_str(&format!(
                        ", total return{out} {} against {} of buying and holding",
                        percent(own),
                        percent(hold)
                    ));
                }
                if row.self_reported {
                    sentence.push_str(" (the program's own figures, which nobody has checked)");
                }
                sentences.push(sentence + ".");
            }
            None if ranked > 0 => sentences.push("No best is named.".to_owned()),
            None => {}
        }
        if let Some(luck) = &finished.luck {
            sentences.push(luck.verdict.clone());
            // A market that rose makes whoever held it look able.
            sentences
                .push("That is against returning nothing: what buying and holding gave is not taken off.".to_owned());
        }
        if finished.failed > 0 {
            let why =
                rows.values().find_map(|row| row.error.as_ref()).and_then(|why| why.lines().last().map(str::to_owned));
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            sentences.push(match finished.failed {
                1 => format!("One run failed{why}"),
                failed => format!("{failed} runs failed; the first{why}"),
            });
        }
        sentences.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_honest_verdict_on_adjusted_bars_says_what_it_cannot_see() {
        assert!(unseen("honest", true).is_some_and(|text| text.contains("fixed amounts of money is not caught")));
        for (verdict, adjusted) in
            [("honest", false), ("looks ahead", true), ("not checked", true), ("not deterministic", true)]
        {
            assert_eq!(unseen(verdict, adjusted), None, "{verdict} {adjusted}");
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            (percent(0.0512), percent(18.346), percent(-0.3)),
            ("5.1 %".into(), "1835 %".into(), "-30.0 %".into())
        );
        assert_eq!(metric(SweepMetric::Sharpe, 0.990_116), "0.990");
        let set = [("slow".to_owned(), json!(20)), ("kind".to_owned(), json!("x"))].into();
        assert_eq!(parameters(&set), "kind=x slow=20");
    }
}
