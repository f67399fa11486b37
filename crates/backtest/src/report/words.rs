//! What came of it, in words: what was not beaten is said first.

use super::{
    input::{Figure, Input, Parts, Source, Sweep, Versus},
    write::{counted, number, percent, plain},
};
use crate::metrics::Better;

/// Notes at the head of a report.
const NOTES_MAX: usize = 50;

/// A sentence at the head of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    /// It speaks against the strategy, or warns.
    pub(super) against: bool,
    pub(super) text: String,
}

impl Sentence {
    fn against(text: String) -> Self {
        Self { against: true, text }
    }

    fn plain(text: String) -> Self {
        Self { against: false, text }
    }
}

/// The sentences, in their order.
pub(super) fn sentences(input: &Input) -> Vec<Sentence> {
    let mut out = Vec::new();
    if input.run.source == Source::SelfReported {
        out.push(Sentence::against(
            "Self-reported: the program says these figures of itself. Nobody has filled its orders or checked its prices.".into(),
        ));
    }
    out.extend(input.notes.iter().take(NOTES_MAX).map(|note| Sentence::against(as_sentence(&plain(note)))));
    let (beaten, lost): (Vec<&Figure>, Vec<&Figure>) = input
        .run
        .figures
        .iter()
        .filter(|figure| compared(figure).is_some())
        .partition(|figure| compared(figure) == Some(true));
    let holding = if input.parts.is_some() { "Over the whole time, buy and hold" } else { "Buy and hold" };
    if !lost.is_empty() {
        out.push(Sentence::against(format!("{holding} was not beaten on {}.", listed(&lost))));
    }
    if input.run.benchmark.is_none() {
        out.push(Sentence::against("There is no buy and hold to compare with.".into()));
    }
    if let Some(sweep) = &input.sweep {
        out.extend(of_sweep(sweep, input.parts.as_ref()));
    }
    if let Some(luck) = input.luck.as_ref().filter(|luck| !luck.verdict.is_empty()) {
        out.push(Sentence { against: luck.doubtful, text: plain(&luck.verdict) });
    }
    if !beaten.is_empty() {
        out.push(Sentence::plain(format!("{holding} was beaten on {}.", listed(&beaten))));
    }
    out
}

/// With a capital and a full stop.
fn as_sentence(text: &str) -> String {
    let mut chars = text.trim().chars();
    let begun: String = chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect();
    if begun.ends_with(['.', '?', '…']) { begun } else { begun + "." }
}

/// Whether the run is better than buy and hold; none where nothing says which way is better, or one of the two is missing.
fn compared(figure: &Figure) -> Option<bool> {
    let (own, hold) = (figure.value.as_number()?, figure.benchmark.as_number()?);
    match figure.better? {
        Better::Higher => Some(own > hold),
        Better::Lower => Some(own < hold),
        Better::Neither => None,
    }
}

fn listed(figures: &[&Figure]) -> String {
    let one =
        |f: &&Figure| format!("{} ({} against {})", lower(&plain(&f.name)), f.value.written(), f.benchmark.written());
    figures.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `Total return` within a sentence; `CAGR` stays, and so does what is named after somebody.
fn lower(name: &str) -> String {
    let named =
        ["Sharpe", "Sortino", "Calmar", "Jensen", "Treynor", "Omega"].iter().any(|person| name.starts_with(person));
    let mut chars = name.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() && !named => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => name.to_owned(),
    }
}

fn of_sweep(sweep: &Sweep, parts: Option<&Parts>) -> Vec<Sentence> {
    let on = |part: fn(&Parts) -> &String| parts.map(|parts| format!(" on {}", plain(part(parts)))).unwrap_or_default();
    let mut out = Vec::new();
    let failed = sweep.rows.iter().filter(|row| row.failure.is_some()).count();
    if failed > 0 {
        out.push(Sentence::against(format!(
            "{failed} of {} failed; the table says why.",
            counted(sweep.rows.len(), "run")
        )));
    }
    let beat = |versus: &Versus| Some(versus.own? > versus.hold?);
    let count = |get: fn(&super::input::Row) -> &Versus| {
        let known: Vec<bool> = sweep.rows.iter().filter_map(|row| beat(get(row))).collect();
        (known.iter().filter(|beats| **beats).count(), known.len())
    };
    let (by_return, known) = count(|row| &row.total_return);
    let (by_score, scored) = count(|row| &row.score);
    if known > 0 {
        let who = if by_return == 0 { "None".to_owned() } else { number(by_return as f64, 0) };
        let mut text = format!(
            "{who} of {} returned more than buy and hold of the same symbols{} ({})",
            counted(known, "run"),
            on(|parts| &parts.judged),
            percent(by_return as f64 / known as f64, 1)
        );
        if scored > 0 {
            let who = if by_score == 0 { "none".to_owned() } else { number(by_score as f64, 0) };
            text.push_str(&format!(
                "; {who} had a better {}{}",
                lower(&plain(&sweep.metric)),
                on(|parts| &parts.ranked)
            ));
        }
        out.push(Sentence { against: by_return * 2 < known, text: text + "." });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{
        super::input::{Backtest, Value},
        *,
    };

    fn figure(name: &str, own: f64, hold: f64, better: Better) -> Figure {
        Figure {
            name: name.into(),
            value: Value::Fraction(own),
            benchmark: Value::Fraction(hold),
            better: Some(better),
        }
    }

    #[test]
    fn it_is_said_of_which_bars_a_comparison_is() {
        let row = |ranked: f64, judged: f64| super::super::input::Row {
            score: Versus { own: Some(ranked), hold: Some(1.0) },
            total_return: Versus { own: Some(judged), hold: Some(0.1) },
            ..Default::default()
        };
        let sweep = Sweep { metric: "Sharpe".into(), columns: Vec::new(), rows: vec![row(2.0, 0.0), row(1.5, 0.0)] };
        let parts = Parts { ranked: "the first 60 % of the bars".into(), judged: "the rest".into() };
        let run = Backtest {
            figures: vec![figure("CAGR", 0.1, 0.2, Better::Higher)],
            benchmark: Some(crate::types::Curve::default()),
            ..Backtest::default()
        };
        let input = Input { run, sweep: Some(sweep), parts: Some(parts), ..Input::default() };
        let said: Vec<String> = sentences(&input).into_iter().map(|s| s.text).collect();
        assert_eq!(
            said,
            [
                "Over the whole time, buy and hold was not beaten on CAGR (10.00\u{a0}% against 20.00\u{a0}%).",
                "None of 2\u{a0}runs returned more than buy and hold of the same symbols on the rest (0.0\u{a0}%); 2 had a better Sharpe on the \
                 first 60 % of the bars.",
            ]
        );
    }

    #[test]
    fn what_was_not_beaten_is_said_before_what_was() {
        let figures = vec![
            figure("Maximum drawdown", -0.2, -0.4, Better::Higher),
            figure("Total return", 1.0, 2.0, Better::Higher),
            figure("CAGR", 0.1, 0.1, Better::Higher),
            figure("Ulcer index", 0.1, 0.2, Better::Lower),
            Figure { name: "Trades".into(), value: Value::Count(3), ..Figure::default() },
        ];
        let run = Backtest { figures, benchmark: Some(crate::types::Curve::default()), ..Backtest::default() };
        let said: Vec<String> = sentences(&Input { run, ..Input::default() }).into_iter().map(|s| s.text).collect();
        assert_eq!(
            said,
            [
                "Buy and hold was not beaten on total return (100.00\u{a0}% against 200.00\u{a0}%), CAGR (10.00\u{a0}% against 10.00\u{a0}%).",
                "Buy and hold was beaten on maximum drawdown (−20.00\u{a0}% against −40.00\u{a0}%), ulcer index (10.00\u{a0}% against 20.00\u{a0}%).",
            ]
        );
    }
}
