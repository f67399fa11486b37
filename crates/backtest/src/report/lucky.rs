//! A verdict about luck, in plain words.

use super::input::{Interval, Luck, Statement, Value};
use crate::luck::{self, Answer, Verdict, conventions};

impl Luck {
    /// What the report says of a verdict.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Self {
        let statements = conventions()
            .iter()
            // Nobody needs to be told that nothing did nothing.
            .filter(|convention| convention.name != "still" || verdict.still > 0)
            .map(|convention| Statement {
                name: convention.title.to_owned(),
                value: Value::of(convention.unit, verdict.get(convention.name)),
                meaning: meaning(convention.name).unwrap_or(convention.definition).to_owned(),
            });
        Self {
            verdict: verdict.sentence.clone(),
            doubtful: verdict.answer != Answer::Unlikely,
            statements: statements.chain(around(verdict)).collect(),
            intervals: intervals(verdict),
        }
    }
}

/// What a statistic says, for somebody who has not read the papers.
fn meaning(name: &str) -> Option<&'static str> {
    Some(match name {
        "luck" => "How probable it is that the best is no better than the best of as many tries without any merit.",
        "trials" => {
            "How many combinations were tried. What was tried before and thrown away is not counted, and would count."
        }
        "still" => "These never traded, and are left out of what follows.",
        "effective_trials" => {
            "Combinations that do nearly the same are not as many chances: together they are worth this many."
        }
        "correlation" => {
            "How alike the combinations are: 1 if all do the same, 0 if they have nothing to do with each other."
        }
        "sharpe" => "Return by risk of the best, of a year.",
        "sharpe_deviation" => "How far the Sharpe ratios of all combinations are apart.",
        "expected_maximum_sharpe" => {
            "What the best of so many combinations would be expected to show if none had any merit."
        }
        "probabilistic_sharpe" => "How probable a true Sharpe ratio above 0 is, if this had been the only try.",
        "deflated_sharpe" => "How probable it is that the true Sharpe ratio is above what luck alone would show.",
        "deflated_sharpe_effective" => "The same, if combinations that resemble each other count as fewer.",
        "overfitting" => {
            "How often the best of one half of the time was in the worse half of all on the other half. At 50 % choosing was worth nothing."
        }
        "minimum_years" => "So many years of such returns are needed before a Sharpe ratio above 0 can be believed.",
        "minimum_years_deflated" => "So many are needed before one above luck can be believed.",
        _ => return None,
    })
}

/// Plateau or spike.
fn around(verdict: &Verdict) -> impl Iterator<Item = Statement> {
    let found = verdict.surroundings.filter(|around| around.shape != luck::Shape::Unknown);
    let statement = found.map(|around| Statement {
        name: "Lead that its neighbours keep".into(),
        value: around.kept.map_or(Value::None, Value::Fraction),
        meaning: match around.shape {
            luck::Shape::Plateau => {
                "A plateau: the combinations one step away are nearly as good, so little hangs on the exact parameters."
            }
            luck::Shape::Slope => "A slope: the combinations one step away keep a part of its lead.",
            luck::Shape::Spike => {
                "A spike: the combinations one step away are hardly better than any. That is what luck looks like."
            }
            luck::Shape::Unknown => "",
        }
        .into(),
    });
    statement.into_iter()
}

fn intervals(verdict: &Verdict) -> Vec<Interval> {
    let Some(drawn) = &verdict.bootstrap else { return Vec::new() };
    let interval = |name: &str, found: luck::Interval, value: fn(f64) -> Value| Interval {
        name: name.into(),
        level: 0.95,
        low: value(found.low),
        high: value(found.high),
    };
    vec![
        interval("Sharpe", drawn.sharpe, Value::Ratio),
        interval("CAGR", drawn.cagr, Value::Fraction),
        interval("Max drawdown", drawn.max_drawdown, Value::Fraction),
    ]
}
