//! What a report is made of: plain data, every text of which may come from a strategy.

use jiff::{Timestamp, civil::Date};

use crate::{
    metrics::{Better, Year},
    types::{Curve, Trade},
};

/// Everything in a report about one backtest, or about a sweep and its best run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Input {
    /// The heading, such as `sma_cross on AAPL, MSFT`.
    pub title: String,
    /// When the work ended. There is no clock in this crate.
    pub ended: Option<Timestamp>,
    /// The backtest; of a sweep, its best run.
    pub run: Backtest,
    /// The other runs.
    pub sweep: Option<Sweep>,
    /// Where runs are ranked and judged, if that is not the whole time. [`Input::run`] is of the whole time all the same.
    pub parts: Option<Parts>,
    /// What was found on stretches of the time, a table each.
    pub stretches: Vec<Stretches>,
    /// How likely it was luck.
    pub luck: Option<Luck>,
    /// Where it comes from: hash of the data, versions, seeds, costs, fills.
    pub facts: Vec<Fact>,
    /// What a reader must know first, a sentence each: a look-ahead that was found, runs that failed, data that was missing.
    pub notes: Vec<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Backtest {
    /// Name of the strategy.
    pub strategy: String,
    /// What was traded.
    pub symbols: Vec<String>,
    /// Name and value, as they were given.
    pub parameters: Vec<(String, String)>,
    /// Who computed it.
    pub source: Source,
    /// Its equity.
    pub curve: Curve,
    /// The equity of whoever bought at the first bar and held.
    pub benchmark: Option<Curve>,
    /// Its round trips, in the order in which they ended.
    pub trades: Vec<Trade>,
    /// Bars of what was traded, for the chart on which trades are marked.
    pub prices: Vec<Prices>,
    /// Its figures, in the order in which they are shown; [`Backtest::measured`] fills them.
    pub figures: Vec<Figure>,
    /// Returns of months and years; [`Backtest::measured`] fills them.
    pub calendar: Vec<Year>,
    /// What the strategy has said.
    pub log: Vec<String>,
}

/// Who computed a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// The strategy ran in a sandbox; fills and equity were computed outside of it.
    #[default]
    Sandbox,
    /// The native kernel, from a declaration.
    Native,
    /// The program has reported its equity or trades itself. Nobody has checked them.
    SelfReported,
}

/// Bars of one symbol.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prices {
    /// Whose.
    pub symbol: String,
    /// The day of each bar, ascending. Bars within a day share it. As many as each of the prices.
    pub dates: Vec<Date>,
    /// First prices.
    pub open: Vec<f64>,
    /// Highest prices.
    pub high: Vec<f64>,
    /// Lowest prices.
    pub low: Vec<f64>,
    /// Last prices. A bar of which a price is not finite is left out.
    pub close: Vec<f64>,
}

/// A value, and how it is written.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// There is none: written `n/a`.
    #[default]
    None,
    /// 0.1 is written `10.00 %`.
    Fraction(f64),
    /// A number without a unit, to three decimals.
    Ratio(f64),
    /// In the account's currency, to two decimals.
    Money(f64),
    /// How many: days, bars, trades.
    Count(u64),
    /// A day.
    Day(Date),
    /// Anything else.
    Text(String),
}

/// A figure of a run beside that of buy and hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figure {
    /// Its name; where it is the title of a convention of [`crate::metrics::conventions`], the report says what it means.
    pub name: String,
    /// Of the run.
    pub value: Value,
    /// Of buy and hold.
    pub benchmark: Value,
    /// Which is better, where the two are compared in words at the head of the report.
    pub better: Option<Better>,
}

/// All runs of a sweep.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sweep {
    /// The name of the figure by which runs are ranked, and whether a larger one is better.
    pub metric: String,
    /// Names of [`Row::values`].
    pub columns: Vec<String>,
    /// Best first.
    pub rows: Vec<Row>,
}

/// Where runs of a sweep are ranked and judged, such as `the first 60 % of the bars` and `the rest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// [`Sweep::columns`] and [`Row::score`] are of these bars.
    pub ranked: String,
    /// [`Row::total_return`] is of these.
    pub judged: String,
}

/// Figures of stretches of the time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stretches {
    /// What the table is about.
    pub heading: String,
    /// What to know when reading it.
    pub note: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows with as many values as there are columns.
    pub rows: Vec<Vec<Value>>,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Name of the strategy.
    pub strategy: String,
    /// What was traded, such as `AAPL` or `AAPL, MSFT`.
    pub symbols: String,
    /// Name and value, as they were given.
    pub parameters: Vec<(String, String)>,
    /// Who computed it.
    pub source: Source,
    /// By this it is ranked; the figure of a run, and that of buy and hold of the same symbols.
    pub score: Versus,
    /// Total return, and that of buy and hold.
    pub total_return: Versus,
    /// As many as there are [`Sweep::columns`].
    pub values: Vec<Value>,
    /// Why there are no figures, where it failed.
    pub failure: Option<String>,
}

/// A figure beside that of buy and hold.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Versus {
    /// Of the run.
    pub own: Option<f64>,
    /// Of buy and hold.
    pub hold: Option<f64>,
}

/// How likely it was luck; [`Luck::of`] fills it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Luck {
    /// The answer, in a few sentences.
    pub verdict: String,
    /// It may be luck.
    pub doubtful: bool,
    /// What it rests on.
    pub statements: Vec<Statement>,
    /// Where figures may lie.
    pub intervals: Vec<Interval>,
}

/// One statistic, with what it says in plain words.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statement {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// What it means here.
    pub meaning: String,
}

/// A confidence interval.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Interval {
    /// Of which figure.
    pub name: String,
    /// 0.95 for one in which the figure lies in 95 of 100 resamples.
    pub level: f64,
    /// Its lower end.
    pub low: Value,
    /// Its upper end.
    pub high: Value,
}

/// A name and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fact {
    /// Such as `data, SHA-256`.
    pub name: String,
    /// What it is.
    pub value: String,
}
