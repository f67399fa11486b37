//! The figures of a backtest.

use jiff::civil::Date;

use super::conventions::figures;
use super::{Benchmark, Day, Drawdown, Year};

figures! {
    /// Figures of a backtest, in the order of [`conventions`](super::conventions), and facts about what was measured.
    Metrics;

    /// Number of bars. Each has a return, the first one from the capital to its close.
    bars: u64, "Bars", Count, Neither, "all three libraries, given that first return too";
    /// Bars / bars a year (252 for daily bars).
    years: f64, "Years", Years, Neither, "empyrical, quantstats; ffn counts days of the calendar / 365.25";
    /// Last equity / capital - 1.
    total_return: f64, "Total return", Fraction, Higher, "empyrical cum_returns_final, quantstats comp";
    /// Total return - total return of the benchmark; n/a without one.
    excess_return: Option<f64>, "Above benchmark", Fraction, Higher, "own";
    /// Growth a year: (last equity / capital) ^ (1 / years) - 1; n/a of one bar.
    cagr: Option<f64>, "CAGR", FractionAYear, Higher, "empyrical cagr, quantstats cagr; ffn calc_cagr takes days of the calendar / 365.25 and leaves the first bar out";
    /// Standard deviation of the returns (divisor: bars - 1) × √(bars a year); n/a of one bar.
    volatility: Option<f64>, "Volatility", FractionAYear, Lower, "empyrical annual_volatility, quantstats volatility";
    /// Mean of the returns less the riskless one / their standard deviation (divisor: bars - 1) × √(bars a year); n/a where the returns do not differ by more than rounding.
    sharpe: Option<f64>, "Sharpe", Ratio, Higher, "empyrical sharpe_ratio, quantstats sharpe, ffn calc_sharpe; of a riskless rate r a year each bar's is (1 + r) ^ (1 / bars a year) - 1, as quantstats and ffn take it; of returns that differ by rounding alone the libraries give a number that is noise";
    /// Mean of the returns less the riskless one / √(mean of the squares of those below 0, the others counted as 0) × √(bars a year); n/a where none is below 0.
    sortino: Option<f64>, "Sortino", Ratio, Higher, "empyrical sortino_ratio, quantstats sortino, ffn calc_sortino_ratio; where no return is below, ffn gives infinity";
    /// CAGR / depth of the largest drawdown; n/a without one.
    calmar: Option<f64>, "Calmar", Ratio, Higher, "empyrical calmar_ratio, quantstats calmar, over the whole time and not the last three years of Young's original; ffn's differs as its CAGR does";
    /// The lowest of equity / highest equity before it - 1, from -1 to 0; the capital counts as a high.
    max_drawdown: f64, "Max drawdown", Fraction, Higher, "empyrical max_drawdown, quantstats max_drawdown; ffn calc_max_drawdown when the capital is put before the first bar";
    /// Days of the calendar from the high of the largest drawdown to the first bar that is there again, or to the last bar; 0 without one.
    max_drawdown_days: u64, "Days of max drawdown", Days, Lower, "own; quantstats drawdown_details and ffn drawdown_details count from the first bar below the high";
    /// The most days of the calendar from a high to the first bar that is there again, or to the last bar; 0 where equity never fell.
    longest_drawdown_days: u64, "Days of longest drawdown", Days, Lower, "own; counted as the days of the largest";
    /// √(mean over the bars of (equity / highest equity so far - 1)²).
    ulcer_index: Option<f64>, "Ulcer index", Fraction, Lower, "Martin and McCann 1989, ffn to_ulcer_index / 100; the divisor of quantstats ulcer_index is bars - 1";
    /// Skewness of the returns, corrected for their number (G1); n/a of fewer than three or of returns that do not differ.
    skew: Option<f64>, "Skew", Ratio, Higher, "quantstats skew, which is pandas'; of returns that differ by rounding alone that is noise";
    /// Kurtosis of the returns above that of the normal distribution, corrected for their number (G2); n/a of fewer than four or of returns that do not differ.
    kurtosis: Option<f64>, "Excess kurtosis", Ratio, Lower, "quantstats kurtosis, which is pandas'; of returns that differ by rounding alone that is noise";
    /// The return below which 5 % of the bars lie, linear between two of them; a negative one is a loss; n/a of one bar.
    value_at_risk: Option<f64>, "VaR 95 % of a bar", Fraction, Higher, "empyrical value_at_risk, which is numpy's percentile; quantstats value_at_risk takes the normal distribution instead";
    /// Mean of the lowest floor((bars - 1) / 20) + 1 returns; n/a of one bar.
    expected_shortfall: Option<f64>, "CVaR 95 % of a bar", Fraction, Higher, "empyrical conditional_value_at_risk; quantstats with method historical takes all that are not above the VaR, which differs when several are equal, and its default is the normal distribution";
    /// The highest return of a day; n/a of one bar.
    best_day: Option<f64>, "Best day", Fraction, Higher, "quantstats best; bars of one day are one return";
    /// The lowest return of a day; n/a of one bar.
    worst_day: Option<f64>, "Worst day", Fraction, Higher, "quantstats worst; bars of one day are one return";
    /// Share of the bars at whose close something was held; n/a where the engine did not count it.
    exposure: Option<f64>, "Exposure", Fraction, Neither, "own; quantstats exposure counts returns that are not 0, rounded up to a percent";
    /// What was bought and what was sold / mean equity / years; n/a where the engine did not count it.
    turnover: Option<f64>, "Turnover a year", Ratio, Lower, "own; both sides count";
    /// Commission, slippage and interest for what was borrowed; n/a where the engine did not count it.
    costs: Option<f64>, "Costs", Currency, Lower, "own";
    /// Round trips: from flat to flat or across zero. One that is open at the end counts, as it is marked at the last close.
    trades: u64, "Trades", Count, Neither, "own";
    /// Those of them that are open at the end.
    open_trades: u64, "Open at the end", Count, Neither, "own";
    /// Trades with a profit / all trades; n/a without a trade.
    win_rate: Option<f64>, "Win rate", Fraction, Higher, "quantstats win_rate of the trades' profits, but that one of exactly 0 counts as a trade";
    /// Sum of the profits / sum of the losses; n/a without a loss.
    profit_factor: Option<f64>, "Profit factor", Ratio, Higher, "quantstats profit_factor of the trades' profits, which is infinite without a loss";
    /// Mean profit of a trade after costs; n/a without a trade.
    expectancy: Option<f64>, "Expectancy", Currency, Higher, "the mean of the trades' profits";
    /// Mean profit of the trades that won / mean loss of those that lost; n/a without one of each.
    payoff: Option<f64>, "Payoff", Ratio, Higher, "quantstats payoff_ratio of the trades' profits";
    /// Mean profit of a trade / standard deviation of the profits (divisor: trades - 1) × √trades, not capped; n/a of fewer than two trades or of equal profits.
    sqn: Option<f64>, "SQN", Ratio, Higher, "van Tharp, of profits instead of multiples of the risk, as backtesting.py";
    /// Mean number of bars from entry to exit; n/a without a trade.
    mean_bars: Option<f64>, "Bars a trade", Ratio, Neither, "own";
    /// (1 + mean return - beta × mean return of the benchmark) ^ (bars a year) - 1, both less the riskless one; n/a without a benchmark that moves.
    alpha: Option<f64>, "Alpha", FractionAYear, Higher, "empyrical alpha; quantstats greeks multiplies by bars a year instead of compounding";
    /// Covariance of the returns with the benchmark's / variance of the benchmark's; n/a without a benchmark that moves.
    beta: Option<f64>, "Beta", Ratio, Neither, "empyrical beta, quantstats greeks";
    /// Mean of the returns less the benchmark's / their standard deviation (divisor: bars - 1), of one bar; × √(bars a year) it is that of a year; n/a where they do not differ.
    information_ratio: Option<f64>, "Information ratio of a bar", Ratio, Higher, "quantstats information_ratio, ffn calc_information_ratio, empyrical excess_sharpe; none of them is of a year";
    ---
    /// The day of the first bar.
    first: Date;
    /// The day of the last bar.
    last: Date;
    /// Bars a year.
    periods_per_year: f64;
    /// What money earned without a risk, a year.
    risk_free: f64;
    /// The day on which nothing was left; what comes after it does not count.
    ruined: Option<Date>;
    /// The largest drawdown with its days; none where equity never fell.
    drawdown: Option<Drawdown>;
    /// The best day; none of one bar.
    best: Option<Day>;
    /// The worst day; none of one bar.
    worst: Option<Day>;
    /// Returns of months and years.
    calendar: Vec<Year>;
    /// How the benchmark did, if there is one.
    benchmark: Option<Benchmark>;
}
