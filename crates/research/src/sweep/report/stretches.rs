//! What a report says of stretches: the best run where it was ranked and where it was judged, and walk-forwards.

use ringfence_backtest::report::{Parts, Stretches, Value};
use ringfence_model::api::{SweepFigures, SweepWalk};

use super::{Best, Finished, Job, Row, convention, of, title, words};

/// Figures of the two sides of a split.
const SIDES: [&str; 9] =
    ["total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown", "exposure", "trades"];

/// Where runs are ranked and judged, if there is a split.
pub(super) fn parts(job: &Job) -> Option<Parts> {
    let train = job.request.train?;
    Some(Parts { ranked: format!("the first {} of the bars", words::percent(train)), judged: "the rest".into() })
}

/// The tables.
pub(super) fn tables(job: &Job, row: &Row, best: &Best, finished: &Finished) -> Vec<Stretches> {
    let mut all: Vec<Stretches> = parts(job).and_then(|parts| sides(row, best, &parts)).into_iter().collect();
    if !finished.walk_forward.is_empty() {
        all.extend([walks(job, &finished.walk_forward), windows(job, &finished.walk_forward)]);
    }
    all
}

fn sides(row: &Row, best: &Best, parts: &Parts) -> Option<Stretches> {
    let sides = [row.metrics.as_ref()?, best.ground.hold_ranked(), row.out_of_sample.as_ref()?, best.ground.hold()];
    let line = |name: &&str| {
        std::iter::once(Value::Text(title(name))).chain(sides.iter().map(|figures| of(figures, name))).collect()
    };
    Some(Stretches {
        heading: "The best run where it was ranked and where it was judged".into(),
        note: format!(
            "Ranked on {}, judged on {}. The account of each begins with the capital, flat, at the close before it.",
            parts.ranked, parts.judged
        ),
        columns: ["Figure", "Ranked", "Ranked, buy and hold", "Judged", "Judged, buy and hold"].map(Into::into).into(),
        rows: SIDES.iter().map(line).collect(),
    })
}

fn walks(job: &Job, all: &[SweepWalk]) -> Stretches {
    let metric = job.metric().as_str();
    let figure = |figures: Option<&SweepFigures>, name: &str| figures.map_or(Value::None, |figures| of(figures, name));
    let line = |walk: &SweepWalk| {
        let figures = walk.metrics.as_ref();
        vec![
            Value::Text(walk.symbols.join(", ")),
            Value::Count(walk.windows.len() as u64),
            figure(figures, "total_return"),
            walk.buy_and_hold_return.map_or(Value::None, Value::Fraction),
            figure(figures, "max_drawdown"),
            figure(figures, metric),
            walk.efficiency.map_or(Value::None, Value::Ratio),
        ]
    };
    Stretches {
        heading: "Walk-forward: chosen on the past, judged on the time after it".into(),
        note: "The judged stretches are joined to one curve. Efficiency is its figure by the mean of those by which was chosen."
            .into(),
        columns: vec![
            "Symbols".into(),
            "Windows".into(),
            "Return".into(),
            "Buy and hold".into(),
            title("max_drawdown"),
            title(metric),
            "Efficiency".into(),
        ],
        rows: all.iter().map(line).collect(),
    }
}

fn windows(job: &Job, all: &[SweepWalk]) -> Stretches {
    let metric = job.metric().as_str();
    let unit = convention(metric).map_or(ringfence_backtest::metrics::Unit::Ratio, |convention| convention.unit);
    let text = |text: &str| Value::Text(text.to_owned());
    let line = |(walk, window): (&SweepWalk, &ringfence_model::api::SweepWindow)| {
        let chosen = window.parameters.as_ref().map(words::parameters).unwrap_or_default();
        vec![
            Value::Text(walk.symbols.join(", ")),
            text(&window.train_from),
            text(&window.test_from),
            text(&window.test_to),
            Value::Text(window.run.map_or_else(|| "none".into(), |run| format!("{run} {chosen}"))),
            Value::of(unit, window.train),
            Value::of(unit, window.test),
        ]
    };
    let every = all.iter().flat_map(|walk| walk.windows.iter().map(move |window| (walk, window)));
    Stretches {
        heading: format!("Windows of the walk-forward, by {}", title(metric)),
        note: "The run that was best from the first day to the one before the second is judged from the second to the third."
            .into(),
        columns: ["Symbols", "Chosen from", "Judged from", "Judged to", "Run", "Chosen by", "Judged"].map(Into::into).into(),
        rows: every.map(line).collect(),
    }
}
