//! How likely it is that the best of many backtests is best by luck.
//!
//! Whoever tries a thousand combinations finds one that looks good, also where nothing is to be found. [`judge`] says how good the best
//! of so many without any merit would look ([`expected_maximum`](sharpe::expected_maximum)), how probable it is that this one is better
//! ([`deflated`](sharpe::deflated)), whether choosing the best on one half of the time carries over to the other half ([`overfitting`]),
//! between what its figures lie in histories that might have been ([`bootstrap`]), and whether the combinations beside it are nearly as
//! good ([`surroundings`]). What it cannot see is what was tried before and thrown away: the number of trials is at least what it is told.

use serde::{Deserialize, Serialize};

use crate::metrics::{Convention, figures};

mod bootstrap;
pub mod normal;
mod overfitting;
pub mod random;
pub mod sharpe;
mod surroundings;
mod trials;
mod words;

pub use bootstrap::{Bootstrap, Interval, Settings, bootstrap};
pub use overfitting::{Overfitting, overfitting};
pub use surroundings::{Cell, Shape, Surroundings, surroundings};
pub use trials::{BLOCKS, BLOCKS_MAX, BadTrial, Trials};

use sharpe::Measured;

/// Up to this probability the best is called unlikely to be luck.
pub const UNLIKELY: f64 = 0.05;
/// Up to this one it is said that it may be.
pub const POSSIBLE: f64 = 0.5;
/// Up to this share of splits in which the best of one half is in the worse half of the other, the choice is said to carry over. At a
/// half it is worth nothing.
pub const CARRIES: f64 = 0.25;
/// The confidence of the minimum track record.
pub const CONFIDENCE: f64 = 0.95;

/// The answer in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Luck is an unlikely explanation.
    Unlikely,
    /// It may be luck.
    Possible,
    /// Luck alone would be expected to give as much.
    Likely,
    /// There is nothing to judge.
    Unknown,
}

/// A search that is over.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Everything that was tried, the best among it.
    pub trials: &'a Trials,
    /// The same over the bars that all of them share, where each is over bars of its own: what compares them bar by bar (overfitting,
    /// correlation) is then of these, and everything else of `trials`.
    pub shared: Option<&'a Trials>,
    /// The returns of the best.
    pub best: &'a [f64],
    /// What money earns without a risk in one bar: Sharpe ratios are of what is above it, as those of the trials must be.
    pub riskless: f64,
    /// Bars a year.
    pub periods_per_year: f64,
    /// How the best compares with the combinations beside it, if they form a grid.
    pub surroundings: Option<Surroundings>,
    /// Total return of the best less that of its benchmark, if there is one.
    pub excess_return: Option<f64>,
    /// The seed of the histories.
    pub seed: u64,
}

figures! {
    /// How likely it is that the best is best by luck: figures in the order of [`conventions`], and what they say.
    Verdict;

    /// The probability that the best is luck: 1 - its deflated Sharpe ratio with all trials counted. Trials that resemble each other make it too high, trials that were not counted too low.
    luck: Option<f64>, "Probability of luck", Probability, Lower, "1 - deflated_sharpe";
    /// Trials that have a Sharpe ratio.
    trials: u64, "Trials", Count, Neither, "own";
    /// Trials that did nothing. They are part of no other figure here.
    still: u64, "Trials that did nothing", Count, Neither, "own";
    /// How many independent trials these n are worth: c + (1 - c) × n, with the mean correlation c of their returns.
    effective_trials: Option<f64>, "Independent trials", Ratio, Neither, "Bailey and López de Prado 2014, The Deflated Sharpe Ratio, appendix 3";
    /// Mean correlation of the returns of two trials; n/a of one.
    correlation: Option<f64>, "Mean correlation", Ratio, Neither, "the mean over all pairs of numpy corrcoef";
    /// Sharpe ratio of the best, of a year.
    sharpe: Option<f64>, "Sharpe of the best", Ratio, Higher, "as among the metrics";
    /// Standard deviation of the trials' Sharpe ratios (divisor: trials - 1), of a year; n/a of one.
    sharpe_deviation: Option<f64>, "Deviation of Sharpe", Ratio, Neither, "as ffn calc_deflated_sharpe_ratio";
    /// The highest Sharpe ratio that so many trials without any merit are expected to show, of a year; 0 of one trial.
    expected_maximum_sharpe: Option<f64>, "Sharpe by luck alone", Ratio, Neither, "Bailey and López de Prado 2014, ffn calc_expected_max_sharpe";
    /// Probability that the true Sharpe ratio of the best is above 0, if nothing else had been tried.
    probabilistic_sharpe: Option<f64>, "Probabilistic Sharpe", Probability, Higher, "Bailey and López de Prado 2012, quantstats probabilistic_sharpe_ratio";
    /// Probability that the true Sharpe ratio of the best is above the highest that all these trials without merit are expected to show.
    deflated_sharpe: Option<f64>, "Deflated Sharpe", Probability, Higher, "Bailey and López de Prado 2014, ffn calc_deflated_sharpe_ratio";
    /// The same with the number of independent trials in place of all of them.
    deflated_sharpe_effective: Option<f64>, "Deflated Sharpe, independent trials", Probability, Higher, "the same, appendix 3; the mean correlation and not a clustering gives the number";
    /// Probability of backtest overfitting: in how many of the splits of the time into two halves the best of one half is at or below the middle on the other; n/a of one trial.
    overfitting: Option<f64>, "Probability of overfitting", Probability, Lower, "Bailey, Borwein, López de Prado and Zhu 2016, ffn calc_prob_backtest_overfitting, which has none where a trial did nothing in a half; here that is a Sharpe ratio of 0";
    /// Years after which a Sharpe ratio as that of the best would be above 0 with a confidence of 95 %; n/a where it is not above 0.
    minimum_years: Option<f64>, "Minimum track record", Years, Lower, "Bailey and López de Prado 2012, minimum track record length, by bars a year";
    /// The same for being above the highest that luck alone is expected to show.
    minimum_years_deflated: Option<f64>, "Minimum track record, deflated", Years, Lower, "the same, with expected_maximum_sharpe in place of 0";
    ---
    /// In a word.
    answer: Answer;
    /// In sentences.
    sentence: String;
    /// What the splits into halves say.
    halves: Option<Overfitting>;
    /// Intervals of the figures of the best.
    bootstrap: Option<Bootstrap>;
    /// Plateau or spike.
    surroundings: Option<Surroundings>;
}

/// What every figure of a verdict is, in the order in which they are shown.
#[must_use]
pub fn conventions() -> &'static [Convention] {
    Verdict::CONVENTIONS
}

/// Judges the best of a search.
#[must_use]
pub fn judge(search: &Search<'_>) -> Verdict {
    let Search { trials, best, periods_per_year: periods, .. } = *search;
    let root = periods.sqrt();
    let above: Vec<f64> = best.iter().map(|earned| earned - search.riskless).collect();
    let measured = Measured::of(&above);
    let deviation = trials.deviation();
    let count = crate::metrics::sum::count(trials.sharpes()).max(1.0);
    let together = search.shared.unwrap_or(trials);
    let correlation = together.correlation();
    let effective = trials.worth(correlation);
    let hurdle = sharpe::expected_maximum(count, deviation.unwrap_or(0.0));
    let deflated = |n: f64| sharpe::deflated(measured.as_ref()?, n, deviation.unwrap_or(0.0));
    let deflated_sharpe = deflated(count);
    let years = |other: f64| sharpe::minimum_bars(measured.as_ref()?, other, CONFIDENCE).map(|bars| bars / periods);
    let halves = overfitting(together);
    let luck = deflated_sharpe.map(|deflated| 1.0 - deflated);
    let mut verdict = Verdict {
        luck,
        trials: trials.count() as u64,
        still: trials.still(),
        effective_trials: effective,
        correlation,
        sharpe: measured.map(|measured| measured.sharpe * root),
        sharpe_deviation: deviation.map(|deviation| deviation * root),
        expected_maximum_sharpe: (trials.count() > 0).then_some(hurdle * root),
        probabilistic_sharpe: measured.as_ref().and_then(|measured| sharpe::probabilistic(measured, 0.0)),
        deflated_sharpe,
        deflated_sharpe_effective: effective.and_then(deflated),
        overfitting: halves.as_ref().map(|halves| halves.probability),
        minimum_years: years(0.0),
        minimum_years_deflated: years(hurdle),
        answer: answer(luck, halves.as_ref()),
        sentence: String::new(),
        halves,
        bootstrap: bootstrap(best, &Settings { riskless: search.riskless, ..Settings::new(search.seed, periods) }),
        surroundings: search.surroundings,
    };
    verdict.sentence = words::sentence(&verdict, search.excess_return);
    verdict
}

/// A choice that does not carry over from one half of the time to the other is never called unlikely to be luck.
fn answer(luck: Option<f64>, halves: Option<&Overfitting>) -> Answer {
    match luck {
        None => Answer::Unknown,
        Some(luck) if luck > POSSIBLE => Answer::Likely,
        Some(luck) if luck <= UNLIKELY && halves.is_none_or(|halves| halves.probability <= CARRIES) => Answer::Unlikely,
        Some(_) => Answer::Possible,
    }
}

#[cfg(test)]
mod tests;
