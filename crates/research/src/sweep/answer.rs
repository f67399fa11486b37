//! From a job's row and its parts to what clients are answered.

use std::collections::BTreeMap;

use ringfence_backtest::{
    metrics,
    simulate::{Rebalance, Settings},
};
use ringfence_model::{
    ApiError,
    api::{SweepAnswer, SweepCompared, SweepFill, SweepProgress, SweepRequest, SweepStatus},
};
use ringfence_store::JobRow;

use super::{
    chance, evaluate,
    job::{Live, fault},
    rank,
    row::Row,
    state::State,
    words,
};

/// What a row of the database says.
///
/// # Errors
/// It holds something else.
pub(crate) fn read(row: &JobRow) -> Result<(SweepRequest, State, SweepStatus), ApiError> {
    let request = serde_json::from_value(row.request.clone()).map_err(|e| fault(&e))?;
    let state = serde_json::from_value(row.state.clone()).map_err(|e| fault(&e))?;
    Ok((request, state, SweepStatus::parse(&row.status).unwrap_or(SweepStatus::Failed)))
}

/// How far a sweep is.
pub(crate) fn progress(state: &State, live: Option<&Live>) -> SweepProgress {
    match (live, &state.finished) {
        (_, Some(finished)) => SweepProgress {
            done: finished.done,
            failed: finished.failed,
            total: state.total,
            ..SweepProgress::default()
        },
        (Some(live), None) => live.progress(),
        (None, None) => SweepProgress { total: state.total, ..SweepProgress::default() },
    }
}

/// What a client is answered.
///
/// # Errors
/// The row holds something else than it should.
pub(crate) fn answer(
    row: &JobRow,
    rows: &BTreeMap<u64, Row>,
    live: Option<&Live>,
    top: u32,
) -> Result<SweepAnswer, ApiError> {
    let (request, state, status) = read(row)?;
    let metric = request.metric.unwrap_or_default();
    let progress = progress(&state, live);
    let status = if status == SweepStatus::Running && live.is_some() && progress.done == progress.total {
        SweepStatus::Finishing
    } else {
        status
    };
    let results: Vec<_> = rank::results(rows, metric).take(top as usize).collect();
    let mut best = rank::results(rows, metric).next().filter(|result| result.rank.is_some());
    let finished = state.finished.unwrap_or_default();
    let conventions = conventions(&request, finished.compared());
    // Nobody is called the best who was not looked at when the ones above him were caught.
    if finished.look_ahead.as_ref().is_some_and(|found| found.verdict == "looks ahead") {
        best = None;
    }
    let summary = match (&best, finished.summary.is_empty()) {
        (_, false) => finished.summary,
        (Some(best), true) => {
            let row = rows.get(&best.run).map(words::subject).unwrap_or_default();
            let score =
                best.metrics.as_ref().and_then(|m| m.of(metric)).map(|m| words::metric(metric, m)).unwrap_or_default();
            format!("{} of {} runs are done; best so far: {row}, {score}", progress.done, progress.total)
        }
        (None, true) => format!("{} of {} runs are done", progress.done, progress.total),
    };
    let mut warnings = state.warnings;
    warnings.extend(finished.warnings);
    Ok(SweepAnswer {
        success: !matches!(status, SweepStatus::Failed),
        sweep_id: row.id.clone(),
        name: row.name.clone(),
        status,
        summary,
        progress,
        metric,
        results,
        best,
        by_symbol: finished.by_symbol,
        overfitting: finished.luck,
        look_ahead: finished.look_ahead,
        walk_forward: finished.walk_forward,
        report: finished.report.map(|_| format!("/v1/sweeps/{}/report", row.id)),
        artifacts: Vec::new(),
        conventions,
        data: state.data,
        versions: state.versions,
        seed: request.seed.unwrap_or(0),
        strategies: state.strategies,
        warnings,
        created_at: time(row.created_at_ms),
        ended_at: row.ended_at_ms.map(time),
        table_sha256: finished.table,
    })
}

/// Milliseconds since the Unix epoch as clients read them.
pub(crate) fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// How results are computed, one convention each; once trials were compared bar by bar, over which bars.
pub(crate) fn conventions(request: &SweepRequest, compared: Option<&SweepCompared>) -> BTreeMap<String, String> {
    let settings = evaluate::settings(request);
    let mut all = BTreeMap::new();
    let mut say = |name: &str, text: String| drop(all.insert(name.to_owned(), text));
    say(
        "fill",
        match request.fill.unwrap_or_default() {
            SweepFill::NextOpen => "at the open of the next bar".into(),
            SweepFill::NextClose => "at the close of the next bar".into(),
            SweepFill::SignalClose => {
                "held from the next bar as if bought at the close that gave the signal, which nobody can do".into()
            }
        },
    );
    let mut costs =
        format!("{} bp commission and {} bp slippage a fill", settings.commission.bps, settings.slippage.bps);
    if settings.commission.per_share > 0.0 || settings.commission.minimum > 0.0 {
        costs.push_str(&format!(
            ", {} a share, at least {}",
            settings.commission.per_share, settings.commission.minimum
        ));
    }
    if settings.slippage.range > 0.0 {
        costs.push_str(&format!(", {} of the bar's high less low on top as slippage", settings.slippage.range));
    }
    if settings.borrow_rate > 0.0 {
        costs.push_str(&format!(", {} a year on what is short", words::percent(settings.borrow_rate)));
    }
    say("costs", costs);
    say("account", account(request, &settings));
    say("capital", format!("{}", settings.capital));
    say(
        "prices",
        "adjusted for splits and dividends; a position that is open at the end is marked at the last close".into(),
    );
    say(
        "benchmark",
        "the same symbols in equal parts, bought at the first bar and held, in such an account after the same costs"
            .into(),
    );
    let metric = request.metric.unwrap_or_default();
    if let Some(convention) = metrics::conventions().iter().find(|c| c.name == metric.as_str()) {
        say("metric", format!("{}: {}", metric.as_str(), convention.definition));
    }
    if let Some(rate) = request.risk_free.filter(|rate| *rate != 0.0) {
        let text =
            "a year without a risk, taken off in Sharpe, Sortino and alpha; the account's own cash earns nothing";
        say("risk_free", format!("{} {text}", words::percent(rate)));
    }
    if let Some(train) = request.train {
        say("train", format!("ranked on the first {} of the bars, judged on the rest", words::percent(train)));
    }
    if request.train.is_some() || request.walk_forward.is_some() {
        let text = "a strategy runs once over all bars; the account of a stretch begins with the capital, flat, at the close before it";
        say("stretches", text.into());
    }
    if let Some(compared) = compared {
        say("overfitting", chance::in_words(compared));
    }
    if request.point_in_time {
        say("bars", "given one by one: the future is not in the sandbox".into());
    }
    all
}

/// What the account may do, in a sentence.
fn account(request: &SweepRequest, settings: &Settings) -> String {
    let mut text = if settings.leverage_max > 1.0 {
        format!(
            "positions up to {} times equity, and what is borrowed to buy costs nothing, which flatters",
            settings.leverage_max
        )
    } else {
        "no credit".to_owned()
    };
    text.push_str(if settings.short_allowed { "; short selling" } else { "; no short selling" });
    if request.fill == Some(SweepFill::SignalClose) {
        return text + "; weights held exactly at each bar";
    }
    text.push_str(if settings.whole_shares {
        "; whole shares of the last day's kind"
    } else {
        "; fractions of shares"
    });
    text.push_str(match settings.rebalance {
        Rebalance::EveryBar => "; traded back to the target at each bar that has one",
        Rebalance::OnChange => "; traded when the target changes",
    });
    if settings.slippage.volume_share_max > 0.0 {
        let share = words::percent(settings.slippage.volume_share_max);
        text.push_str(&format!("; at most {share} of a bar's volume, the rest at the next"));
    }
    text
}

#[cfg(test)]
mod tests;
