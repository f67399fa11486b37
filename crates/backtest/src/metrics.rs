//! Figures of a backtest: return, risk, trades, and how it did beside buying and holding.
//!
//! Each has one definition, which stands in its documentation and in [`conventions`], from where reports, JSON and the reference
//! (`docs/reference/metrics.md`) take it. A figure that has no meaning, such as a Sharpe ratio of prices that never move, is `None`, which
//! is written `n/a`: never NaN, and never a zero that somebody would read as one.
//!
//! Each bar has a return, the first one too: from the capital to its close. Sums are compensated (Neumaier) and taken in the order of the bars.

use serde::{Deserialize, Serialize};

use crate::types::{Curve, Trade};

pub mod calendar;
mod conventions;
pub mod drawdown;
mod moments;
pub mod ratios;
mod returns;
pub mod sum;
mod table;
mod trades;

pub use calendar::{Day, Year};
pub use conventions::{Better, Convention, Unit};
pub(crate) use conventions::{Figure, figures};
pub use drawdown::Drawdown;
pub use moments::Moments;
pub use returns::{Returns, Unmeasurable, returns};
pub use table::Metrics;

/// Returns a year of daily bars.
pub const DAYS_A_YEAR: f64 = 252.0;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Equity at each bar.
    pub curve: &'a Curve,
    /// Round trips.
    pub trades: &'a [Trade],
    /// What the account did, as the engine counted it.
    pub activity: Activity,
    /// Buying the same and holding it, over the same bars and from the same capital.
    pub benchmark: Option<&'a Curve>,
    /// Bars a year: [`DAYS_A_YEAR`] for daily ones.
    pub periods_per_year: f64,
    /// What money earns without a risk, as a fraction a year; 0 unless it is told.
    pub risk_free: f64,
}

/// What the account did, as far as it is known: nobody but the engine can count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// Share of the bars at whose close something was held.
    pub exposure: Option<f64>,
    /// What was bought and sold, by the mean equity, of a year.
    pub turnover: Option<f64>,
    /// Commission, slippage and interest for what was borrowed, in the account's currency.
    pub costs: Option<f64>,
}

impl<'a> Input<'a> {
    /// A curve of daily bars and nothing else.
    #[must_use]
    pub fn new(curve: &'a Curve) -> Self {
        Self {
            curve,
            trades: &[],
            activity: Activity::default(),
            benchmark: None,
            periods_per_year: DAYS_A_YEAR,
            risk_free: 0.0,
        }
    }
}

/// What every figure is, in the order in which they are shown.
#[must_use]
pub fn conventions() -> &'static [Convention] {
    Metrics::CONVENTIONS
}

impl Convention {
    /// The convention of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        conventions().iter().find(|convention| convention.name == name)
    }
}

/// Figures of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// As of the strategy.
    pub total_return: f64,
    /// As of the strategy.
    pub cagr: Option<f64>,
    /// As of the strategy.
    pub volatility: Option<f64>,
    /// As of the strategy.
    pub sharpe: Option<f64>,
    /// As of the strategy.
    pub max_drawdown: f64,
    /// Total return of the strategy less that of the benchmark.
    pub excess_return: f64,
}

/// What money earns without a risk in one bar, of a rate a year.
#[must_use]
pub fn riskless(a_year: f64, periods_per_year: f64) -> f64 {
    libm::pow(1.0 + a_year, 1.0 / periods_per_year) - 1.0
}

/// Computes every figure.
///
/// # Errors
/// [`Unmeasurable`] when the curve, the trades or the benchmark are not what can be measured; it names the row.
pub fn measure(input: &Input<'_>) -> Result<Metrics, Unmeasurable> {
    let Input { curve, trades, activity, periods_per_year: periods, .. } = *input;
    if !(0.01..=1e8).contains(&periods) {
        return Err(Unmeasurable::Periods(periods));
    }
    if !(input.risk_free.is_finite() && input.risk_free > -1.0) {
        return Err(Unmeasurable::RiskFree(input.risk_free));
    }
    let own = returns(curve)?;
    returns::check_trades(trades)?;
    let other = input.benchmark.map(|benchmark| returns::same_bars(curve, benchmark)).transpose()?;

    let riskless = riskless(input.risk_free, periods);
    let excess = own.less(riskless);
    let moments = Moments::of(&own.values);
    // Of the same values, where nothing was taken off.
    let above = if riskless == 0.0 { moments } else { Moments::of(&excess) };
    let drawdowns = drawdown::all(&curve.dates, curve.capital, &own.equity);
    let (deepest, longest) = (drawdown::deepest(&drawdowns), drawdown::longest(&drawdowns));
    let total_return = own.total();
    let cagr = ratios::growth(1.0 + total_return, own.values.len(), periods);
    let max_drawdown = deepest.map_or(0.0, |drawdown| drawdown.depth);
    let of_trades = trades::of(trades);
    let sorted = ratios::ascending(&own.values);
    let days = calendar::days(&curve.dates, curve.capital, &own.equity);
    // Of one bar alone there is no best and no worst.
    let days = if own.values.len() > 1 { days } else { Vec::new() };
    let best = days.iter().copied().reduce(|best, next| if next.earned > best.earned { next } else { best });
    let worst = days.iter().copied().reduce(|worst, next| if next.earned < worst.earned { next } else { worst });
    let beside = other.as_ref().map(|other| Beside::of(other, riskless));
    let beta =
        beside.as_ref().and_then(|beside| ratios::beta((&excess, &above), (&beside.excess, &beside.excess_moments)));

    Ok(Metrics {
        bars: own.values.len() as u64,
        years: sum::count(&own.values) / periods,
        total_return,
        cagr,
        volatility: ratios::volatility(&moments, periods),
        sharpe: ratios::sharpe(&above, periods),
        sortino: ratios::sortino(&excess, &above, periods),
        calmar: cagr.filter(|_| max_drawdown < 0.0).map(|cagr| cagr / -max_drawdown),
        max_drawdown,
        max_drawdown_days: deepest.map(|drawdown| drawdown.days).unwrap_or_default(),
        longest_drawdown_days: longest.map(|drawdown| drawdown.days).unwrap_or_default(),
        ulcer_index: drawdown::ulcer_index(&drawdown::depths(curve.capital, &own.equity)),
        skew: ratios::skewness(&moments),
        kurtosis: ratios::kurtosis(&moments),
        value_at_risk: ratios::value_at_risk(&sorted),
        expected_shortfall: ratios::expected_shortfall(&sorted),
        best_day: best.map(|day| day.earned),
        worst_day: worst.map(|day| day.earned),
        exposure: activity.exposure.and_then(ratios::finite),
        turnover: activity.turnover.and_then(ratios::finite),
        costs: activity.costs.and_then(ratios::finite),
        trades: of_trades.count,
        open_trades: of_trades.open,
        win_rate: of_trades.win_rate,
        profit_factor: of_trades.profit_factor,
        expectancy: of_trades.expectancy,
        payoff: of_trades.payoff,
        sqn: of_trades.sqn,
        mean_bars: of_trades.mean_bars,
        alpha: beta
            .zip(beside.as_ref())
            .and_then(|(beta, beside)| ratios::alpha(beta, &above, &beside.excess_moments, periods)),
        beta,
        information_ratio: beside.as_ref().and_then(|beside| ratios::information_ratio(&excess, &beside.excess)),
        excess_return: other.as_ref().map(|other| total_return - other.total()),
        first: own.first,
        last: own.last,
        periods_per_year: periods,
        risk_free: input.risk_free,
        ruined: own.ruined.map(|row| curve.dates[row]),
        drawdown: deepest,
        best,
        worst,
        calendar: calendar::years(&curve.dates, curve.capital, &own.equity),
        benchmark: beside.zip(other.as_ref()).map(|(beside, other)| beside.figures(other, periods, total_return)),
    })
}

/// What the figures of a benchmark, and those beside it, are made of.
struct Beside {
    moments: Moments,
    /// Its returns above the riskless one.
    excess: Vec<f64>,
    excess_moments: Moments,
}

impl Beside {
    fn of(other: &Returns, riskless: f64) -> Self {
        let (moments, excess) = (Moments::of(&other.values), other.less(riskless));
        let excess_moments = if riskless == 0.0 { moments } else { Moments::of(&excess) };
        Self { moments, excess, excess_moments }
    }

    fn figures(&self, other: &Returns, periods: f64, own: f64) -> Benchmark {
        let total_return = other.total();
        Benchmark {
            total_return,
            cagr: ratios::growth(1.0 + total_return, other.values.len(), periods),
            volatility: ratios::volatility(&self.moments, periods),
            sharpe: ratios::sharpe(&self.excess_moments, periods),
            max_drawdown: drawdown::depths(other.capital, &other.equity).into_iter().fold(0.0, f64::min),
            excess_return: own - total_return,
        }
    }
}

#[cfg(test)]
mod tests;
