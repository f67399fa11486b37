//! A run that is done, as its part of the job holds it.

use ringfence_model::api::{SweepFigures, SweepMetric, SweepParameters};
use serde::{Deserialize, Serialize};

/// Bytes of a reason that are kept.
pub(crate) const REASON_BYTES_MAX: usize = 2000;
/// Lines of a strategy's log that are kept.
pub(crate) const LOG_LINES_MAX: usize = 20;
/// Bytes of such a line that are kept.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 300;

/// What ran a strategy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// Its program, in a sandbox.
    #[default]
    Sandbox,
    /// Our own code.
    Native,
}

impl Engine {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Native => "native",
        }
    }
}

/// A run that is done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The strategy.
    pub(crate) strategy: String,
    /// What it traded.
    pub(crate) symbols: Vec<String>,
    /// With which parameters.
    #[serde(default, skip_serializing_if = "SweepParameters::is_empty")]
    pub(crate) parameters: SweepParameters,
    /// It saw fewer bars than there are: a halving search gave it up, or let it go on as another run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_partial: bool,
    /// What ran it.
    pub(crate) engine: Engine,
    /// Why there are no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The program's own word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) self_reported: bool,
    /// The equity that its program reports is not of the days of the bars.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) own_dates: bool,
    /// Bars that it saw.
    pub(crate) bars: u64,
    /// Figures by which it is ranked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<SweepFigures>,
    /// Figures of what came after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) out_of_sample: Option<SweepFigures>,
    /// What buying and holding returned, over the whole or over what came after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<f64>,
    /// What the look-ahead check found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) look_ahead: Option<Finding>,
    /// The metric on each stretch on which a walk-forward chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) walk: Vec<Option<f64>>,
    /// The file with its equity, and its place in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) curve: Option<(String, u32)>,
    /// Last lines of its log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) log: Vec<String>,
}

/// What the look-ahead check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// In a word or two.
    pub(crate) verdict: Verdict,
    /// In a sentence.
    pub(crate) detail: String,
}

/// What the look-ahead check found, in a word or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Honest,
    LooksAhead,
    NotDeterministic,
    NotChecked,
}

impl Verdict {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::LooksAhead => "looks ahead",
            Self::NotDeterministic => "not deterministic",
            Self::NotChecked => "not checked",
        }
    }
}

impl Row {
    /// A run that failed.
    pub(crate) fn failed(engine: Engine, bars: usize, reason: &str) -> Self {
        Self { engine, bars: bars as u64, error: Some(shortened(reason, REASON_BYTES_MAX)), ..Self::default() }
    }

    /// Whether it was caught at looking ahead.
    pub(crate) fn looks_ahead(&self) -> bool {
        self.look_ahead.as_ref().is_some_and(|found| found.verdict == Verdict::LooksAhead)
    }

    /// What it is ranked by. Nothing, when it looks ahead: it can be as good as it likes.
    pub(crate) fn score(&self, metric: SweepMetric) -> Option<f64> {
        let figures = self.metrics.as_ref().filter(|_| !self.looks_ahead());
        figures.and_then(|figures| figures.of(metric)).filter(|score| score.is_finite())
    }

    /// Its return where it is judged: out of sample, where there is such.
    pub(crate) fn judged_return(&self) -> Option<f64> {
        self.out_of_sample.as_ref().or(self.metrics.as_ref()).and_then(|figures| figures.total_return)
    }

    /// Whether it returned more than buying and holding. What looks ahead is compared with nothing.
    pub(crate) fn beats(&self) -> Option<bool> {
        if self.looks_ahead() {
            return None;
        }
        Some(self.judged_return()? > self.hold?)
    }

    /// `completed` or `failed`.
    pub(crate) fn status(&self) -> &'static str {
        if self.error.is_some() { "failed" } else { "completed" }
    }
}

/// The end of a text that is too long: of a traceback, the last lines say most.
pub(crate) fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut from = text.len() - bytes;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    format!("…{}", &text[from..])
}

/// The last lines of a log, each within its bound.
pub(crate) fn last_lines(log: &[String]) -> Vec<String> {
    let from = log.len().saturating_sub(LOG_LINES_MAX);
    log[from..].iter().map(|line| shortened(line, LOG_LINE_BYTES_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_keep_their_end_and_whole_characters() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abcdef", 3), "…def");
        assert_eq!(shortened("aéé", 3), "…é");
        let lines: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(last_lines(&lines).first().map(String::as_str), Some("30"));
    }

    #[test]
    fn a_run_beats_by_what_came_after_its_choice() {
        let figures =
            |r: f64| Some(SweepFigures { total_return: Some(r), sharpe: Some(f64::NAN), ..SweepFigures::default() });
        let row = Row { metrics: figures(2.0), out_of_sample: figures(0.1), hold: Some(0.2), ..Row::default() };
        assert_eq!(row.beats(), Some(false));
        assert_eq!(row.score(SweepMetric::Sharpe), None, "NaN ranks nothing");
        let row = Row { out_of_sample: None, ..row };
        assert_eq!(row.beats(), Some(true));
        let caught = Finding { verdict: Verdict::LooksAhead, detail: "x".into() };
        assert_eq!(Row { look_ahead: Some(caught), ..row }.beats(), None, "it is no merit to know tomorrow");
        assert_eq!(Row::failed(Engine::Sandbox, 5, "x").beats(), None);
    }
}
