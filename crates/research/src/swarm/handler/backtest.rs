//! A backtest: a built-in strategy in the agent's sandbox says what it wants, and the engine outside makes fills, equity and figures
//! of it. So a sandbox cannot mark its own homework.

use ringfence_backtest::{
    Curve, Panel, Settings, Targets,
    metrics::{self, Activity, Input as Measured},
    simulate,
};
use ringfence_model::api::{Decision, SweepAccount, SweepCosts, SweepFill, SweepRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Finding, last_line, parsed, plain};
use crate::{
    swarm::bars::{Bars, SAMPLE},
    sweep::evaluate,
};

pub(super) const PROGRAM: &str = include_str!("backtest.py");

/// The built-in strategies and how many symbols each trades, in the order in which agents are given one that they were not told.
const STRATEGIES: [(&str, usize); 7] = [
    ("momentum", 1),
    ("mean_reversion", 1),
    ("pairs_trading", 2),
    ("sma_cross", 1),
    ("breakout", 1),
    ("rsi", 1),
    ("buy_and_hold", 1),
];

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(default)]
    strategy: Option<String>,
    /// The same as one in `symbols`.
    #[serde(default, skip_serializing)]
    symbol: Option<String>,
    #[serde(default)]
    symbols: Vec<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    /// The same as in `costs`.
    #[serde(default, skip_serializing)]
    commission_bps: Option<f64>,
    /// The same as in `costs`.
    #[serde(default, skip_serializing)]
    slippage_bps: Option<f64>,
    // How it trades, in the words of a sweep.
    #[serde(default)]
    costs: SweepCosts,
    #[serde(default)]
    account: SweepAccount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fill: Option<SweepFill>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capital: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    risk_free: Option<f64>,
}

impl Input {
    /// # Errors
    /// It is none, or costs are given twice.
    fn of(input: Map<String, Value>) -> Result<Self, String> {
        let mut input: Self = parsed(input)?;
        let Self { commission_bps, slippage_bps, costs, .. } = &mut input;
        for (name, alone, within) in [
            ("commission_bps", commission_bps, &mut costs.commission_bps),
            ("slippage_bps", slippage_bps, &mut costs.slippage_bps),
        ] {
            if let Some(bps) = alone.take()
                && within.replace(bps).is_some()
            {
                return Err(format!("`{name}` is given twice, by itself and in `costs`"));
            }
        }
        Ok(input)
    }

    /// As a sweep of this one run would be asked for: what it trades under is judged and read there.
    fn asked(&self) -> SweepRequest {
        let Self { costs, account, fill, capital, risk_free, .. } = *self;
        let strategy = self.strategy.clone();
        SweepRequest { strategy, costs, account, fill, capital, risk_free, ..SweepRequest::default() }
    }

    fn settings(&self) -> Settings {
        evaluate::settings(&self.asked())
    }

    fn panel(&self, bars: &Bars) -> Result<Panel, String> {
        bars.panel(&self.symbols, self.start.as_deref(), self.end.as_deref())
    }
}

pub(super) fn complete(input: Map<String, Value>, place: usize) -> Result<Map<String, Value>, String> {
    let mut input = Input::of(input)?;
    let name = input.strategy.get_or_insert_with(|| STRATEGIES[place % STRATEGIES.len()].0.to_owned());
    let Some((_, wanted)) = STRATEGIES.iter().find(|(known, _)| known == name) else {
        let known = STRATEGIES.map(|(name, _)| name).join(", ");
        return Err(format!(
            "there is no built-in strategy `{}`: {known}; code of your own is backtested with `backtest_sweep`",
            name.chars().take(80).collect::<String>().escape_debug()
        ));
    };
    if let Some(symbol) = input.symbol.take() {
        if !input.symbols.is_empty() {
            return Err("give `symbol` or `symbols`, not both".to_owned());
        }
        input.symbols.push(symbol);
    }
    // Those that were not told: each round of the strategies takes the sample's next symbol.
    let mut next = place / STRATEGIES.len();
    while input.symbols.len() < *wanted {
        let symbol = SAMPLE[next % SAMPLE.len()];
        next += 1;
        if input.symbols.iter().all(|other| other != symbol) {
            input.symbols.push(symbol.to_owned());
        }
    }
    if input.symbols.len() != *wanted {
        return Err(format!("{name} trades {wanted} symbols, and `symbols` has {}", input.symbols.len()));
    }
    input.asked().check().map_err(|error| error.message)?;
    Ok(plain(&input))
}

pub(super) fn stdin(input: &Map<String, Value>, bars: &Bars) -> Result<String, String> {
    let input = Input::of(input.clone())?;
    let panel = input.panel(bars)?;
    let dates: Vec<String> = panel.dates().iter().map(ToString::to_string).collect();
    // NaN, where a symbol has no bar, is null in JSON.
    let columns: Vec<Value> =
        panel.columns().iter().map(|c| json!({"symbol": c.symbol.as_str(), "bars": c.all()})).collect();
    Ok(json!({"strategy": input.strategy, "parameters": input.parameters, "dates": dates, "columns": columns})
        .to_string())
}

/// What the program prints: for each bar, for each symbol, what part of equity it wants to hold; null leaves it as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    weights: Vec<Vec<Option<f64>>>,
}

pub(super) fn read(input: &Map<String, Value>, output: &str, bars: &Bars) -> Result<Finding, String> {
    let input = Input::of(input.clone())?;
    let panel = input.panel(bars)?;
    let Wanted { weights } = serde_json::from_str(last_line(output))
        .map_err(|error| format!("its last line holds no positions: {error}"))?;
    let (rows, symbols) = (panel.len(), panel.columns().len());
    if weights.len() != rows || weights.iter().any(|row| row.len() != symbols) {
        return Err(format!("its positions are not those of {rows} bars of {symbols} symbols"));
    }
    let weights: Vec<f64> = weights.into_iter().flatten().map(|weight| weight.unwrap_or(f64::NAN)).collect();
    let position = (0..rows).rev().map(|row| weights[row * symbols]).find(|weight| !weight.is_nan()).unwrap_or(0.0);
    let targets = Targets::new(&panel, weights).map_err(|error| error.to_string())?;
    found(&input, &panel, &targets, position)
}

/// An error of the simulation with its cause.
fn refused(error: &ringfence_backtest::simulate::SimulateError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn found(input: &Input, panel: &Panel, targets: &Targets, position: f64) -> Result<Finding, String> {
    let settings = input.settings();
    let run = simulate(panel, targets, &settings).map_err(|error| refused(&error))?;
    let held = simulate(panel, &Targets::buy_and_hold(panel), &settings).map_err(|error| refused(&error))?;
    let bars = run.exposure.len().max(1) as f64;
    let activity = Activity {
        exposure: Some(run.exposure.iter().filter(|part| **part > 0.0).count() as f64 / bars),
        turnover: run.turnover,
        costs: Some(run.costs.total()),
    };
    let measured = Measured {
        trades: &run.trades,
        activity,
        benchmark: Some(&held.curve),
        periods_per_year: panel.periods_per_year(),
        risk_free: input.risk_free.unwrap_or(0.0),
        ..Measured::new(&run.curve)
    };
    let figures = metrics::measure(&measured).map_err(|error| error.to_string())?;
    let says = if position > 0.0 {
        Decision::Buy
    } else if position < 0.0 {
        Decision::Sell
    } else {
        Decision::Hold
    };
    // What has not paid so far is no evidence for what to do now.
    let sharpe = figures.get("sharpe").filter(|sharpe| *sharpe > 0.0);
    let mut result = json!({
        "strategy": input.strategy, "symbols": input.symbols, "parameters": input.parameters,
        "first_bar": panel.label(0), "last_bar": panel.label(panel.len() - 1), "position": position, "says": says,
        "fill": settings.fill, "commission_bps": settings.commission.bps, "slippage_bps": settings.slippage.bps,
        "settings": settings, "risk_free": measured.risk_free,
        "data_sha256": panel.hash(), "equity_sha256": digest(&run.curve),
    });
    if sharpe.is_none() {
        result["note"] = json!("its Sharpe ratio is not above zero: it votes hold whatever its position");
    }
    let mut result = plain(&result);
    result.extend(shown(&figures));
    Ok(Finding {
        vote: Some(if sharpe.is_some() { says } else { Decision::Hold }),
        weight: Some(sharpe.map_or(0.0, |sharpe| (sharpe / 2.0).min(1.0))),
        result,
        output: None,
        curve: Some(run.curve),
    })
}

/// The figures that are shown, by name; null where one has no meaning.
fn shown(figures: &metrics::Metrics) -> Map<String, Value> {
    const NAMES: [&str; 16] = [
        "bars",
        "total_return",
        "excess_return",
        "cagr",
        "volatility",
        "sharpe",
        "sortino",
        "calmar",
        "max_drawdown",
        "trades",
        "win_rate",
        "profit_factor",
        "expectancy",
        "exposure",
        "turnover",
        "costs",
    ];
    NAMES.iter().map(|name| ((*name).to_owned(), json!(figures.get(name)))).collect()
}

/// Identity of a curve, to the last bit.
fn digest(curve: &Curve) -> String {
    let mut hash = Sha256::new();
    for (date, equity) in curve.dates.iter().zip(&curve.equity) {
        hash.update(date.to_string());
        hash.update(equity.to_bits().to_le_bytes());
    }
    hex::encode(hash.finalize())
}

/// The figures of several backtests held together, each with the same money from the first day on that all of them have. Empty when
/// they share fewer than two days.
pub(crate) fn combined(curves: &[Curve]) -> Map<String, Value> {
    let Some((first, rest)) = curves.split_first() else { return Map::new() };
    let has = |curve: &Curve, date| curve.dates.binary_search(date).is_ok();
    let dates: Vec<_> = first.dates.iter().filter(|date| rest.iter().all(|other| has(other, date))).copied().collect();
    if dates.len() < 2 {
        return plain(&json!({"note": "the backtests share fewer than two days"}));
    }
    let at = |curve: &Curve, date| curve.dates.binary_search(date).map_or(0.0, |row| curve.equity[row]);
    let starts: Vec<f64> = curves.iter().map(|curve| at(curve, &dates[0])).collect();
    if starts.iter().any(|start| *start <= 0.0) {
        return plain(
            &json!({"note": "one of the backtests had lost everything before the first day that all of them have"}),
        );
    }
    let together = |date| {
        let sum = curves.iter().zip(&starts).fold(0.0, |sum, (curve, start)| sum + at(curve, date) / start);
        sum / curves.len() as f64
    };
    let curve = Curve { equity: dates.iter().map(together).collect(), dates, capital: 1.0 };
    let figures = match metrics::measure(&Measured::new(&curve)) {
        Ok(figures) => figures,
        Err(error) => return plain(&json!({"note": error.to_string()})),
    };
    let month_ends: Vec<Value> = (0..curve.dates.len())
        .filter(|row| curve.dates.get(row + 1).is_none_or(|next| next.month() != curve.dates[*row].month()))
        .map(|row| json!([curve.dates[row].to_string(), curve.equity[row]]))
        .collect();
    let mut result = plain(&json!({
        "backtests": curves.len(), "first_bar": curve.dates[0].to_string(),
        "last_bar": curve.dates[curve.dates.len() - 1].to_string(), "equity_sha256": digest(&curve),
        "equity_at_month_ends": month_ends,
    }));
    const NAMES: [&str; 8] =
        ["bars", "total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown"];
    result.extend(NAMES.iter().map(|name| ((*name).to_owned(), json!(figures.get(name)))));
    result
}
