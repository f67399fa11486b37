//! From what a strategy wanted to figures: fills, costs and equity by `backtest`, over the whole time or over its stretches.

use std::ops::Range;

use ringfence_backtest::{
    Curve,
    metrics::{self, Activity, Metrics},
    panel::Panel,
    simulate::{self, Commission, Fill, Rebalance, Settings, Slippage},
    targets::Targets,
};
use ringfence_model::api::{SweepFigures, SweepFill, SweepMetric, SweepRebalance, SweepRequest};

use super::{
    curves::Curves,
    data::chain,
    row::{Engine, Row},
    walk::{self, Wanted, Window},
};

/// How a run is refused that cannot be cut into stretches.
const STRETCHES: &str = "and `train` and `walk_forward` begin each stretch with an account of its own: return target weights from \
                         signals(), or leave `train` and `walk_forward` out";
/// Hundredths of a percent in the whole.
const BPS: f64 = 10_000.0;

/// The conventions that a request asks for.
pub(crate) fn settings(request: &SweepRequest) -> Settings {
    let (costs, account) = (&request.costs, &request.account);
    Settings {
        capital: request.capital_begun(),
        fill: match request.fill.unwrap_or_default() {
            SweepFill::NextOpen => Fill::NextOpen,
            SweepFill::NextClose => Fill::NextClose,
            SweepFill::SignalClose => Fill::SignalClose,
        },
        commission: Commission {
            bps: request.commission_bps(),
            per_share: costs.per_share.unwrap_or(0.0),
            minimum: costs.minimum.unwrap_or(0.0),
        },
        slippage: Slippage {
            bps: costs.slippage_bps.unwrap_or(0.0),
            range: costs.range_slippage.unwrap_or(0.0),
            volume_share_max: account.volume_share_max.unwrap_or(0.0),
        },
        borrow_rate: costs.borrow_bps.unwrap_or(0.0) / BPS,
        rebalance: match account.rebalance.unwrap_or_default() {
            SweepRebalance::EveryBar => Rebalance::EveryBar,
            SweepRebalance::OnChange => Rebalance::OnChange,
        },
        leverage_max: account.leverage_max.unwrap_or(1.0),
        short_allowed: account.may_short(),
        whole_shares: account.whole_shares,
    }
}

/// Some symbols, how they are traded, and what holding them gives. Shared by all runs over them.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Their bars.
    pub(crate) panel: Panel,
    /// The conventions.
    pub(crate) settings: Settings,
    /// How many bars rank, where the others judge.
    pub(crate) split: Option<usize>,
    /// Windows of a walk-forward.
    pub(crate) windows: Vec<Window>,
    /// What results are ranked by.
    pub(crate) metric: SweepMetric,
    /// What money earns without a risk, a year.
    pub(crate) risk_free: f64,
    /// Whether a run is judged in stretches, each with an account of its own.
    stretches: bool,
    /// Buying and holding over the whole, or over each side of the split.
    holds: Vec<Held>,
}

/// Buying and holding over a stretch.
#[derive(Debug)]
struct Held {
    rows: Range<usize>,
    curve: Curve,
    figures: SweepFigures,
}

/// A backtest over all bars beside holding.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) run: simulate::Run,
    pub(crate) metrics: Metrics,
    pub(crate) hold: Curve,
    pub(crate) hold_metrics: Metrics,
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Evaluated {
    /// What its part holds.
    pub(crate) row: Row,
    /// What a file holds.
    pub(crate) curves: Curves,
}

impl Ground {
    /// # Errors
    /// Bars or settings with which nothing can be simulated, in a sentence.
    pub(crate) fn new(panel: Panel, request: &SweepRequest) -> Result<Self, String> {
        let bars = panel.len();
        let split = request.train.map(|share| walk::split(share, bars));
        let windows = request.walk_forward.map(|w| walk::windows(w, bars)).unwrap_or_default();
        let mut ground = Self {
            panel,
            settings: settings(request),
            split,
            windows,
            metric: request.metric.unwrap_or_default(),
            risk_free: request.risk_free.unwrap_or(0.0),
            stretches: request.train.is_some() || request.walk_forward.is_some(),
            holds: Vec::new(),
        };
        for rows in ground.sides() {
            let (stretch, before) = walk::bars(&ground.panel, &rows);
            let run = simulate::simulate(&stretch, &Targets::buy_and_hold(&stretch), &ground.settings);
            let run = after(run.map_err(|e| chain(&e))?, before);
            let figures = ground.of_run(&run, None).map_err(|e| chain(&e))?;
            ground.holds.push(Held { rows, curve: run.curve, figures: figures.1 });
        }
        Ok(ground)
    }

    /// The whole, or each side of the split.
    fn sides(&self) -> Vec<Range<usize>> {
        match self.split {
            Some(at) => vec![0..at, at..self.panel.len()],
            None => std::iter::once(0..self.panel.len()).collect(),
        }
    }

    /// Figures of buying and holding where results are judged: over the rest, or over the whole.
    pub(crate) fn hold(&self) -> &SweepFigures {
        &self.holds.last().expect("there is at least one stretch").figures
    }

    /// The same where results are ranked.
    pub(crate) fn hold_ranked(&self) -> &SweepFigures {
        &self.holds[0].figures
    }

    /// Equity of buying and holding over the first stretch.
    pub(crate) fn hold_curve(&self) -> &Curve {
        &self.holds[0].curve
    }

    /// Total return of buying and holding over some rows.
    pub(crate) fn hold_over(&self, rows: &Range<usize>) -> Option<f64> {
        let (stretch, before) = walk::bars(&self.panel, rows);
        let run = simulate::simulate(&stretch, &Targets::buy_and_hold(&stretch), &self.settings).ok()?;
        growth(&after(run, before).curve).last().map(|g| g - 1.0)
    }

    /// Simulates a stretch.
    ///
    /// # Errors
    /// Targets that cannot be, in a sentence.
    fn run(&self, wanted: &Wanted, rows: &Range<usize>) -> Result<simulate::Run, String> {
        let (stretch, before) = walk::bars(&self.panel, rows);
        let part = walk::wanted(&stretch, wanted, rows).ok_or("what the strategy wanted does not fit the bars")?;
        let run = match &part {
            Wanted::Targets(targets) => simulate::simulate(&stretch, targets, &self.settings),
            Wanted::Orders(orders) => simulate::simulate_orders(&stretch, orders, &self.settings),
        };
        Ok(after(run.map_err(|e| chain(&e))?, before))
    }

    /// The whole backtest with every fill, beside holding, for the report.
    ///
    /// # Errors
    /// As [`Self::evaluate`], which says it in the row.
    pub(crate) fn whole(&self, wanted: &Wanted) -> Result<Whole, String> {
        let run = self.run(wanted, &(0..self.panel.len()))?;
        let hold = simulate::simulate(&self.panel, &Targets::buy_and_hold(&self.panel), &self.settings);
        let hold = hold.map_err(|e| chain(&e))?;
        let (metrics, _) = self.of_run(&run, Some(&hold.curve)).map_err(|e| chain(&e))?;
        let (hold_metrics, _) = self.of_run(&hold, None).map_err(|e| chain(&e))?;
        Ok(Whole { run, metrics, hold: hold.curve, hold_metrics })
    }

    /// Figures of what a strategy wanted.
    pub(crate) fn evaluate(&self, engine: Engine, wanted: &Wanted) -> Evaluated {
        match self.figures(wanted) {
            Ok((row, curves)) => Evaluated { row: Row { engine, ..row }, curves },
            Err(why) => Evaluated { row: Row::failed(engine, self.panel.len(), &why), curves: Curves::default() },
        }
    }

    fn figures(&self, wanted: &Wanted) -> Result<(Row, Curves), String> {
        // A sale that ends an earlier position would be a short one in an account that begins flat.
        if self.stretches && matches!(wanted, Wanted::Orders(_)) {
            return Err(format!("orders are for the shares of one account over the whole time, {STRETCHES}"));
        }
        // The account may depend on what was wanted in every row: all of it is tried, also where only a stretch ranks.
        let whole = self.run(wanted, &(0..self.panel.len()))?;
        let mut figures = Vec::new();
        for held in &self.holds {
            let run = if self.split.is_none() { None } else { Some(self.run(wanted, &held.rows)?) };
            let run = run.as_ref().unwrap_or(&whole);
            figures.push(self.of_run(run, Some(&held.curve)).map_err(|e| chain(&e))?.1);
        }
        let mut row = Row { bars: self.panel.len() as u64, hold: self.hold().total_return, ..Row::default() };
        let mut curves = Curves { whole: whole.curve.equity, tests: Vec::new() };
        for window in &self.windows {
            let train = self.run(wanted, &window.train)?;
            let (_, found) = self.of_run(&train, None).map_err(|e| chain(&e))?;
            row.walk.push(found.of(self.metric).filter(|score| score.is_finite()));
            curves.tests.push(growth(&self.run(wanted, &window.test)?.curve));
        }
        let mut figures = figures.into_iter();
        row.metrics = figures.next();
        row.out_of_sample = figures.next();
        Ok((row, curves))
    }

    /// Figures of equity or trades that a program reported itself.
    pub(crate) fn reported(&self, engine: Engine, curve: &Curve, trades: &[ringfence_backtest::Trade]) -> Evaluated {
        // Its figures are of the whole time: it would be ranked, and chosen, with knowledge of what it is then judged on.
        if self.stretches {
            let why = format!("the program reports equity of the whole time, {STRETCHES}");
            let row = Row { self_reported: true, ..Row::failed(engine, self.panel.len(), &why) };
            return Evaluated { row, curves: Curves::default() };
        }
        let own_dates = curve.dates != self.panel.dates();
        let hold = (!own_dates).then(|| self.hold_curve());
        let input = metrics::Input {
            curve,
            trades,
            activity: Activity::default(),
            benchmark: hold,
            periods_per_year: self.panel.periods_per_year(),
            risk_free: self.risk_free,
        };
        match metrics::measure(&input) {
            Ok(found) => {
                let row = Row {
                    engine,
                    self_reported: true,
                    own_dates,
                    bars: self.panel.len() as u64,
                    hold: self.hold().total_return,
                    metrics: Some(as_figures(&found, curve.equity.last().copied())),
                    ..Row::default()
                };
                // As if it had begun with the capital of all others: who reads kept equity knows no other.
                let scale = self.settings.capital / curve.capital;
                let whole = curve.equity.iter().map(|equity| equity * scale).collect();
                Evaluated { row, curves: Curves { whole, tests: Vec::new() } }
            }
            Err(error) => {
                let row = Row { self_reported: true, ..Row::failed(engine, self.panel.len(), &chain(&error)) };
                Evaluated { row, curves: Curves::default() }
            }
        }
    }

    /// Figures of a curve that was joined from stretches.
    pub(crate) fn of_curve(&self, curve: &Curve) -> Option<SweepFigures> {
        let (periods_per_year, risk_free) = (self.panel.periods_per_year(), self.risk_free);
        let input = metrics::Input { periods_per_year, risk_free, ..metrics::Input::new(curve) };
        metrics::measure(&input).ok().map(|found| as_figures(&found, curve.equity.last().copied()))
    }

    fn of_run(
        &self,
        run: &simulate::Run,
        benchmark: Option<&Curve>,
    ) -> Result<(Metrics, SweepFigures), metrics::Unmeasurable> {
        let held = run.exposure.iter().filter(|share| **share != 0.0).count();
        let input = metrics::Input {
            curve: &run.curve,
            trades: &run.trades,
            activity: Activity {
                // Both are counts of bars, far below 2⁵³.
                exposure: Some(held as f64 / run.exposure.len().max(1) as f64),
                turnover: run.turnover,
                costs: Some(run.costs.total()),
            },
            benchmark,
            periods_per_year: self.panel.periods_per_year(),
            risk_free: self.risk_free,
        };
        let found = metrics::measure(&input)?;
        let figures = as_figures(&found, run.curve.equity.last().copied());
        Ok((found, figures))
    }
}

/// A run without its first bar, which stands before its stretch: nothing can be held at its close.
fn after(mut run: simulate::Run, before: bool) -> simulate::Run {
    if before {
        run.curve.dates.remove(0);
        run.curve.equity.remove(0);
        for column in [&mut run.cash, &mut run.exposure, &mut run.net] {
            column.remove(0);
        }
    }
    run
}

/// Equity by what it began with.
pub(crate) fn growth(curve: &Curve) -> Vec<f64> {
    curve.equity.iter().map(|equity| equity / curve.capital).collect()
}

fn as_figures(found: &Metrics, final_equity: Option<f64>) -> SweepFigures {
    let drawdown = found.drawdown;
    SweepFigures {
        total_return: Some(found.total_return),
        cagr: found.cagr,
        volatility: found.volatility,
        sharpe: found.sharpe,
        sortino: found.sortino,
        calmar: found.calmar,
        max_drawdown: Some(found.max_drawdown),
        drawdown_peak: drawdown.map(|d| d.peak.to_string()),
        drawdown_trough: drawdown.map(|d| d.trough.to_string()),
        drawdown_recovery: drawdown.and_then(|d| d.recovery).map(|day| day.to_string()),
        max_drawdown_days: found.max_drawdown_days,
        longest_drawdown_days: found.longest_drawdown_days,
        ulcer_index: found.ulcer_index,
        skew: found.skew,
        kurtosis: found.kurtosis,
        value_at_risk: found.value_at_risk,
        expected_shortfall: found.expected_shortfall,
        exposure: found.exposure,
        turnover: found.turnover,
        costs: found.costs,
        trades: found.trades,
        open_trades: found.open_trades,
        win_rate: found.win_rate,
        profit_factor: found.profit_factor,
        expectancy: found.expectancy,
        payoff: found.payoff,
        sqn: found.sqn,
        alpha: found.alpha,
        beta: found.beta,
        information_ratio: found.information_ratio,
        best_day: found.best_day,
        worst_day: found.worst_day,
        final_equity,
    }
}

#[cfg(test)]
pub(super) mod noise {
    //! Bars that lead nowhere, and strategies without merit.

    use ringfence_backtest::{luck::random::Random, panel::History};
    use ringfence_market::{Symbol, import::Interval};

    use super::*;

    /// A random walk of one symbol.
    pub(crate) fn panel(seed: u64, bars: usize) -> Panel {
        let mut random = Random::new(seed);
        let first = jiff::civil::date(2010, 1, 1);
        let mut price = 100.0;
        let mut walk = || {
            price *= 1.0 + 0.02 * (random.unit() - 0.5);
            price
        };
        let close: Vec<f64> = (0..bars).map(|_| walk()).collect();
        let history = History {
            symbol: Symbol::parse("X").expect("a symbol"),
            dates: (0..bars).map(|row| first.saturating_add(jiff::Span::new().days(row as i64))).collect(),
            times: Vec::new(),
            open: close.clone(),
            high: close.clone(),
            low: close.clone(),
            volume: close.clone(),
            close,
        };
        Panel::new(Interval::Day, vec![history]).expect("sound bars")
    }

    /// Holds everything or nothing, by the toss of a coin at each bar.
    pub(crate) fn tosses(seed: u64, panel: &Panel) -> Wanted {
        let mut random = Random::new(seed);
        let weights = (0..panel.len()).map(|_| if random.unit() < 0.5 { 0.0 } else { 1.0 }).collect();
        Wanted::Targets(Targets::new(panel, weights).expect("weights"))
    }

    /// The bars under a request.
    pub(crate) fn ground(panel: &Panel, asked: serde_json::Value) -> Ground {
        let request: SweepRequest = serde_json::from_value(asked).expect("a request");
        Ground::new(panel.clone(), &request).expect("sound bars")
    }
}

#[cfg(test)]
mod tests;
