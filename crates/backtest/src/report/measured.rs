//! From what simulation and measuring give to what a report shows.

use super::input::{Backtest, Figure, Prices, Value};
use crate::{
    metrics::{Convention, Metrics, Unit, conventions},
    panel::Panel,
};

/// Figures by which the run is compared with buy and hold in words.
const IN_WORDS: [&str; 4] = ["total_return", "sharpe", "calmar", "max_drawdown"];

/// Figures that follow from a curve alone, so that buy and hold has them too.
const OF_A_CURVE: [&str; 16] = [
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "calmar",
    "max_drawdown",
    "max_drawdown_days",
    "longest_drawdown_days",
    "ulcer_index",
    "skew",
    "kurtosis",
    "value_at_risk",
    "expected_shortfall",
    "best_day",
    "worst_day",
];

impl Backtest {
    /// Takes over the figures of the run, and beside them those of its benchmark: the same [`crate::metrics::measure`] of that
    /// curve alone.
    #[must_use]
    pub fn measured(mut self, own: &Metrics, hold: Option<&Metrics>) -> Self {
        self.figures = conventions().iter().flat_map(|convention| rows(convention, own, hold)).collect();
        self.calendar.clone_from(&own.calendar);
        self
    }
}

/// The rows of one figure: of the largest drawdown, its days are told as well.
fn rows(convention: &Convention, own: &Metrics, hold: Option<&Metrics>) -> Vec<Figure> {
    let of_a_curve = OF_A_CURVE.contains(&convention.name);
    let figure = Figure {
        name: convention.title.to_owned(),
        value: value(convention.unit, own.get(convention.name)),
        benchmark: value(convention.unit, hold.filter(|_| of_a_curve).and_then(|hold| hold.get(convention.name))),
        better: (hold.is_some() && IN_WORDS.contains(&convention.name)).then_some(convention.better),
    };
    if convention.name != "max_drawdown" {
        return vec![figure];
    }
    let mut rows = vec![figure];
    if let Some(depth) = own.drawdown {
        let other = hold.and_then(|hold| hold.drawdown);
        let again = |day: Option<jiff::civil::Date>| day.map_or_else(|| Value::Text("not yet".into()), Value::Day);
        let day = |name: &str, value: Value, benchmark: Option<Value>| Figure {
            name: name.to_owned(),
            value,
            benchmark: benchmark.unwrap_or_default(),
            better: None,
        };
        rows.push(day("Its high", Value::Day(depth.peak), other.map(|other| Value::Day(other.peak))));
        rows.push(day("Its low", Value::Day(depth.trough), other.map(|other| Value::Day(other.trough))));
        rows.push(day("High again", again(depth.recovery), other.map(|other| again(other.recovery))));
    }
    rows
}

impl Value {
    /// A figure in its unit.
    #[must_use]
    pub fn of(unit: Unit, figure: Option<f64>) -> Self {
        value(unit, figure)
    }
}

fn value(unit: Unit, figure: Option<f64>) -> Value {
    let Some(figure) = figure.filter(|figure| figure.is_finite()) else { return Value::None };
    match unit {
        Unit::Fraction | Unit::FractionAYear | Unit::Probability => Value::Fraction(figure),
        Unit::Ratio => Value::Ratio(figure),
        Unit::Currency | Unit::Years => Value::Money(figure),
        // A count is not below zero and far below 2^53.
        Unit::Count | Unit::Days => Value::Count(figure as u64),
    }
}

impl Prices {
    /// The bars of each symbol of a panel, rows without one left out.
    #[must_use]
    pub fn of(panel: &Panel) -> Vec<Self> {
        let of = |columns: &crate::panel::Columns| {
            let rows: Vec<usize> = (0..panel.len()).filter(|row| columns.has(*row)).collect();
            let taken = |column: &[f64]| rows.iter().map(|row| column[*row]).collect();
            Self {
                symbol: columns.symbol.to_string(),
                dates: rows.iter().map(|row| panel.dates()[*row]).collect(),
                open: taken(&columns.open),
                high: taken(&columns.high),
                low: taken(&columns.low),
                close: taken(&columns.close),
            }
        };
        panel.columns().iter().map(of).collect()
    }
}
