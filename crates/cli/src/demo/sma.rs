//! The moving-average backtest: its result, the same computed outside the sandbox, and the table.

use anyhow::{Context, ensure};
use ringfence_market::{adjust, sample};
use serde::{Deserialize, Serialize};

use crate::{numbers, output};

/// What the program in the sandbox printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backtest {
    symbol: String,
    days: usize,
    first: String,
    last: String,
    /// Positions opened.
    trades: usize,
    /// Whether the last one is still open, and valued at the last close.
    is_open: bool,
    strategy: Figures,
    buy_and_hold: Figures,
}

impl Backtest {
    /// What was traded.
    pub(super) fn symbol(&self) -> &str {
        &self.symbol
    }

    /// What the strategy returned, as a fraction.
    pub(super) fn total_return(&self) -> f64 {
        self.strategy.total_return
    }
}

/// Figures of one equity curve. Annualised ones are absent below a year of days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    total_return: f64,
    max_drawdown: f64,
    cagr: Option<f64>,
    sharpe: Option<f64>,
}

/// How the figures are meant.
pub(super) const CONVENTIONS: &str = "\
Daily bars adjusted for splits and dividends, 2000-03-01 to 2013-03-01 or since listing. Decided at the close, filled at the
next open, 10 bp a side, all in or out, compounding; an open position is valued at the last close. Buy and hold buys at the
first close, for 10 bp. CAGR and Sharpe on 252 days a year, no risk-free rate, \"n/a\" below 252 days. Every figure was
computed a second time outside the sandbox, from the same bars, and agrees.";

const FAST: usize = 20;
const SLOW: usize = 50;
const COST: f64 = 0.001;
const DAYS_A_YEAR: usize = 252;

/// Compares with the same backtest computed here.
///
/// # Errors
/// The first figure that differs.
pub(super) fn check(backtest: &Backtest) -> anyhow::Result<()> {
    let (dates, opens, closes) = bars(&backtest.symbol)?;
    let expected = compute(&backtest.symbol, &dates, &opens, &closes);
    let same = |what: &str, got: f64, expected: f64| {
        // Sums in another order; prices of six digits.
        const TOLERANCE: f64 = 1e-8;
        ensure!(
            (got - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
            "{} of {} is {got}, and {expected} when computed outside the sandbox",
            what,
            backtest.symbol
        );
        Ok(())
    };
    let whole = |b: &Backtest| (b.days, b.first.clone(), b.last.clone(), b.trades, b.is_open);
    ensure!(whole(backtest) == whole(&expected), "{backtest:?} was printed; outside the sandbox it is {expected:?}");
    for (name, got, expected) in [
        ("the strategy", &backtest.strategy, &expected.strategy),
        ("buy and hold", &backtest.buy_and_hold, &expected.buy_and_hold),
    ] {
        same(&format!("the return of {name}"), got.total_return, expected.total_return)?;
        same(&format!("the drawdown of {name}"), got.max_drawdown, expected.max_drawdown)?;
        ensure!(got.cagr.is_some() == expected.cagr.is_some(), "{name} of {} is annualised wrongly", backtest.symbol);
        for (what, got, expected) in [("CAGR", got.cagr, expected.cagr), ("Sharpe", got.sharpe, expected.sharpe)] {
            if let (Some(got), Some(expected)) = (got, expected) {
                same(&format!("the {what} of {name}"), got, expected)?;
            }
        }
    }
    Ok(())
}

/// The bars in this program: dates, opens and closes, adjusted.
fn bars(symbol: &str) -> anyhow::Result<(Vec<String>, Vec<f64>, Vec<f64>)> {
    let actions = sample::actions()?;
    let raw = sample::raw()?;
    let series =
        raw.iter().find(|s| s.symbol().to_string() == symbol).with_context(|| format!("no bars of {symbol}"))?;
    let adjusted = adjust::adjust(series, &actions)?;
    let number = |text: String| text.parse::<f64>().context("reading a price");
    let opens: anyhow::Result<Vec<f64>> = adjusted.bars().iter().map(|bar| number(bar.open.to_string())).collect();
    let closes: anyhow::Result<Vec<f64>> = adjusted.bars().iter().map(|bar| number(bar.close.to_string())).collect();
    Ok((adjusted.bars().iter().map(|bar| bar.date.to_string()).collect(), opens?, closes?))
}

/// Day by day, as a person would do it with a pencil.
fn compute(symbol: &str, dates: &[String], opens: &[f64], closes: &[f64]) -> Backtest {
    let mean = |day: usize, window: usize| closes[day + 1 - window..=day].iter().sum::<f64>() / window as f64;
    let mut is_held = false;
    let mut trades = 0;
    let mut growth = vec![1.0];
    let mut market = vec![1.0 - COST];
    for day in 1..closes.len() {
        let yesterday = day - 1;
        let is_wanted = yesterday + 1 >= SLOW && mean(yesterday, FAST) > mean(yesterday, SLOW);
        growth.push(match (is_held, is_wanted) {
            (true, true) => closes[day] / closes[yesterday],
            (false, true) => closes[day] / opens[day] * (1.0 - COST),
            (true, false) => opens[day] / closes[yesterday] * (1.0 - COST),
            (false, false) => 1.0,
        });
        trades += usize::from(is_wanted && !is_held);
        is_held = is_wanted;
        market.push(closes[day] / closes[yesterday]);
    }
    Backtest {
        symbol: symbol.to_owned(),
        days: closes.len(),
        first: dates.first().cloned().unwrap_or_default(),
        last: dates.last().cloned().unwrap_or_default(),
        trades,
        is_open: is_held,
        strategy: figures(&growth),
        buy_and_hold: figures(&market),
    }
}

fn figures(growth: &[f64]) -> Figures {
    let (mut equity, mut peak, mut max_drawdown) = (1.0_f64, 1.0_f64, 0.0_f64);
    for factor in growth {
        equity *= factor;
        peak = peak.max(equity);
        max_drawdown = max_drawdown.min(equity / peak - 1.0);
    }
    let daily: Vec<f64> = growth.iter().skip(1).map(|factor| factor - 1.0).collect();
    let count = daily.len() as f64;
    let mean = daily.iter().sum::<f64>() / count;
    let variance = daily.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let is_a_year = growth.len() >= DAYS_A_YEAR;
    let year = DAYS_A_YEAR as f64;
    Figures {
        total_return: equity - 1.0,
        max_drawdown,
        cagr: is_a_year.then(|| equity.powf(year / count) - 1.0),
        sharpe: is_a_year.then(|| mean / variance.sqrt() * year.sqrt()),
    }
}

/// As people read it.
pub(super) fn table(backtests: &[Backtest]) -> String {
    let mut table =
        output::table(&["symbol", "days", "strategy", "total return", "CAGR", "Sharpe", "max drawdown", "trades"]);
    for b in backtests {
        let trades = format!("{}{}", b.trades, if b.is_open { " (1 open)" } else { "" });
        for (name, figures, trades) in
            [("SMA 20/50", &b.strategy, trades.as_str()), ("buy and hold", &b.buy_and_hold, "1 (1 open)")]
        {
            let none = || "n/a".to_owned();
            table.add_row([
                b.symbol.clone(),
                b.days.to_string(),
                name.to_owned(),
                numbers::percent(figures.total_return),
                figures.cagr.map_or_else(none, numbers::percent),
                figures.sharpe.map_or_else(none, |sharpe| format!("{sharpe:.2}")),
                numbers::percent(figures.max_drawdown),
                trades.to_owned(),
            ]);
        }
    }
    output::text(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_a_year_is_not_annualised() -> anyhow::Result<()> {
        for (symbol, is_annualised) in [("FB", false), ("AAPL", true)] {
            let (dates, opens, closes) = bars(symbol)?;
            let backtest = compute(symbol, &dates, &opens, &closes);
            assert_eq!(backtest.strategy.cagr.is_some(), is_annualised, "{symbol}");
            assert_eq!(backtest.buy_and_hold.sharpe.is_some(), is_annualised, "{symbol}");
            check(&backtest)?;
        }
        Ok(())
    }

    #[test]
    fn a_fill_is_at_the_next_open_and_costs() {
        // Flat for 50 days, then a rise that lifts the fast average over the slow one.
        let mut closes = vec![100.0; 50];
        closes.extend([110.0, 120.0]);
        let mut opens = closes.clone();
        opens[51] = 115.0;
        let dates = vec![String::new(); closes.len()];
        let backtest = compute("X", &dates, &opens, &closes);
        assert_eq!((backtest.trades, backtest.is_open), (1, true));
        assert!((backtest.strategy.total_return - (120.0 / 115.0 * 0.999 - 1.0)).abs() < 1e-12);
    }

    #[test]
    fn a_wrong_figure_is_found() -> anyhow::Result<()> {
        let (dates, opens, closes) = bars("FB")?;
        let mut backtest = compute("FB", &dates, &opens, &closes);
        backtest.strategy.total_return += 1e-6;
        assert!(check(&backtest).is_err());
        Ok(())
    }
}
