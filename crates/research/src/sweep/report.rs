//! The report of a sweep, filled from what was found.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ringfence_backtest::{
    luck,
    metrics::{self, Unit},
    report::{self, Backtest, Fact, Input, Luck, Prices, Source, Sweep, Value, Versus},
};
use ringfence_model::api::{SweepFigures, SweepMetric, SweepParameters};

mod stretches;

use super::{
    answer,
    finish::{Best, Finished},
    job::Job,
    propose::Proposed,
    rank,
    row::{Engine, Row, Verdict},
    state::State,
    words,
};

/// Runs in a report: the best of them.
const ROWS_MAX: usize = 10_000;
/// Size of the chart in pixels.
const CHART: (u32, u32) = (1200, 675);

/// The page, and a picture of its main chart where there is one. `begun` is what was known of the sweep before it ended.
///
/// # Errors
/// Why there is none, in a sentence.
pub(crate) fn write(
    job: &Job,
    rows: &BTreeMap<u64, Row>,
    best: Option<&Best>,
    verdict: Option<&luck::Verdict>,
    finished: &Finished,
    begun: &State,
) -> Result<(String, Option<Vec<u8>>), String> {
    let best = best.ok_or("no run could be shown")?;
    let row = rows.get(&best.run.number).ok_or("the best run is gone")?;
    let run = backtest(row, best)?;
    let (order, ranked) = rank::order(rows, job.metric());
    // Scores are of where runs are ranked, and so is what they are compared with.
    let holds: BTreeMap<Vec<String>, SweepFigures> = job.holds_ranked();
    let line = |number: &u64| rows.get(number).map(|row| one(row, job.metric(), holds.get(&row.symbols)));
    let sweep = (rows.len() > 1).then(|| Sweep {
        metric: job.metric().as_str().replace('_', " "),
        columns: COLUMNS.iter().map(|name| title(name)).collect(),
        rows: order.iter().take(ROWS_MAX).filter_map(line).collect(),
    });
    let mut notes = [&begun.warnings[..], &finished.warnings].concat();
    if rows.len() > ROWS_MAX {
        notes.push(format!("the table holds the best {ROWS_MAX} of {} runs", rows.len()));
    }
    if ranked < rows.len() {
        notes.push(format!("{} of {} runs are not ranked", rows.len() - ranked, rows.len()));
    }
    if let Some(found) = &finished.look_ahead {
        let count = found.caught.len();
        if count > 0 {
            notes.insert(0, format!("{count} of the runs that were checked look ahead and are not ranked"));
        }
        notes.push(format!("look-ahead check of the best: {}; {}", found.verdict, found.detail));
    }
    let input = Input {
        title: job.request.name.clone().unwrap_or_else(|| words::subject(row)),
        ended: Some(Timestamp::now()),
        run,
        sweep,
        parts: stretches::parts(job),
        stretches: stretches::tables(job, row, best, finished),
        luck: verdict.map(Luck::of),
        facts: facts(job, begun, finished),
        notes,
    };
    Ok((report::html(&input), picture(&input)))
}

/// A report without a picture is one all the same.
fn picture(input: &Input) -> Option<Vec<u8>> {
    let drawn = report::png(input, CHART.0, CHART.1);
    drawn.map_err(|error| tracing::error!(%error, "the chart of a report cannot be drawn")).ok()
}

/// Figures beside those that the table has anyway.
const COLUMNS: [&str; 8] =
    ["cagr", "volatility", "sharpe", "sortino", "max_drawdown", "exposure", "turnover", "trades"];

fn convention(name: &str) -> Option<&'static metrics::Convention> {
    metrics::conventions().iter().find(|convention| convention.name == name)
}

fn title(name: &str) -> String {
    convention(name).map_or_else(|| name.to_owned(), |convention| convention.title.to_owned())
}

fn of(figures: &SweepFigures, name: &str) -> Value {
    let json = serde_json::to_value(figures).unwrap_or_default();
    let unit = convention(name).map_or(Unit::Ratio, |convention| convention.unit);
    Value::of(unit, json.get(name).and_then(serde_json::Value::as_f64))
}

fn pairs(set: &SweepParameters) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    set.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn source(row: &Row) -> Source {
    match row.engine {
        _ if row.self_reported => Source::SelfReported,
        Engine::Sandbox => Source::Sandbox,
        Engine::Native => Source::Native,
    }
}

fn one(row: &Row, metric: SweepMetric, hold: Option<&SweepFigures>) -> report::Row {
    let figures = row.metrics.as_ref();
    report::Row {
        strategy: row.strategy.clone(),
        symbols: row.symbols.join(", "),
        parameters: pairs(&row.parameters),
        source: source(row),
        score: Versus { own: row.score(metric), hold: hold.and_then(|hold| hold.of(metric)) },
        total_return: Versus { own: row.judged_return().filter(|_| !row.looks_ahead()), hold: row.hold },
        values: COLUMNS.iter().map(|name| figures.map_or(Value::None, |figures| of(figures, name))).collect(),
        failure: row.error.clone().or_else(|| {
            let looks_ahead = row.look_ahead.as_ref().filter(|found| found.verdict == Verdict::LooksAhead);
            looks_ahead.map(|found| format!("it looks ahead: {}", found.detail))
        }),
    }
}

fn backtest(row: &Row, best: &Best) -> Result<Backtest, String> {
    let ground = &best.ground;
    let mut all = Backtest {
        strategy: row.strategy.clone(),
        symbols: row.symbols.clone(),
        parameters: pairs(&row.parameters),
        source: source(row),
        log: best.proposal.log.clone(),
        ..Backtest::default()
    };
    all.prices = Prices::of(&ground.panel);
    match &best.proposal.outcome {
        Proposed::Wanted(wanted) => {
            let whole = ground.whole(wanted)?;
            all = all.measured(&whole.metrics, Some(&whole.hold_metrics));
            all.trades = whole.run.trades;
            all.curve = whole.run.curve;
            all.benchmark = Some(whole.hold);
        }
        Proposed::Reported { curve, trades } => {
            let input = metrics::Input { trades, risk_free: ground.risk_free, ..metrics::Input::new(curve) };
            let found = metrics::measure(&input).map_err(|e| e.to_string())?;
            all = all.measured(&found, None);
            all.trades.clone_from(trades);
            all.curve = curve.clone();
        }
        Proposed::Failed(why) => return Err(format!("the best run failed when it was run again: {why}")),
    }
    Ok(all)
}

fn facts(job: &Job, begun: &State, finished: &Finished) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact { name: name.to_owned(), value };
    let data = job.data.view();
    let mut facts = vec![
        fact("sweep", job.id.to_string()),
        fact("data", format!("{}, {} to {}, bars of a {}", data.source, data.first, data.last, data.interval)),
        fact("data, SHA-256", data.sha256),
        fact("table, SHA-256", finished.table.clone().unwrap_or_default()),
    ];
    facts.extend(
        answer::conventions(&job.request, finished.compared()).into_iter().map(|(name, value)| fact(&name, value)),
    );
    facts.extend(job.sources.iter().map(|s| fact(&format!("code of {}, SHA-256", s.known.name), s.sha256.clone())));
    facts.extend(begun.versions.iter().map(|(name, value)| fact(&format!("version of {name}"), value.clone())));
    facts.push(fact("seed", job.request.seed.unwrap_or(0).to_string()));
    facts.push(fact("runs", format!("{} of {}, {} failed", finished.done, job.plan.total(), finished.failed)));
    facts
}
