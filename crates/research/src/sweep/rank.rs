//! Ranking: from rows to results, the same every time.

use std::collections::BTreeMap;

use ringfence_model::api::{SweepMetric, SweepResult};
use sha2::{Digest, Sha256};

use super::{plan::better, row::Row};

/// The numbers of all runs: those that are ranked first, best first, then the others in the order of their numbers. How many of them
/// are ranked.
///
/// A run is ranked when it saw all bars, does not look ahead, and has the figure. Of two that are equal the earlier one comes first.
pub(crate) fn order(rows: &BTreeMap<u64, Row>, metric: SweepMetric) -> (Vec<u64>, usize) {
    let score = |row: &Row| if row.is_partial { None } else { row.score(metric) };
    let mut all: Vec<(u64, Option<f64>)> = rows.iter().map(|(number, row)| (*number, score(row))).collect();
    all.sort_by(|(a, x), (b, y)| better(*x, *y).then(a.cmp(b)));
    let ranked = all.iter().take_while(|(_, score)| score.is_some()).count();
    (all.into_iter().map(|(number, _)| number).collect(), ranked)
}

/// A row as clients read it.
pub(crate) fn result(number: u64, row: &Row, rank: Option<u64>) -> SweepResult {
    SweepResult {
        rank,
        run: number,
        strategy: row.strategy.clone(),
        symbols: row.symbols.clone(),
        parameters: row.parameters.clone(),
        status: row.status().to_owned(),
        error: row.error.clone(),
        engine: row.engine.as_str().to_owned(),
        self_reported: row.self_reported,
        metrics: row.metrics.clone(),
        out_of_sample: row.out_of_sample.clone(),
        buy_and_hold_return: row.hold,
        beats_buy_and_hold: row.beats(),
        bars: (row.bars > 0).then_some(row.bars),
        look_ahead: row.look_ahead.as_ref().map(|found| found.verdict.as_str().to_owned()),
        log: row.log.clone(),
    }
}

/// Every result, ranked.
pub(crate) fn results(rows: &BTreeMap<u64, Row>, metric: SweepMetric) -> impl Iterator<Item = SweepResult> + '_ {
    let (order, ranked) = order(rows, metric);
    order.into_iter().enumerate().filter_map(move |(at, number)| {
        Some(result(number, rows.get(&number)?, (at < ranked).then_some(at as u64 + 1)))
    })
}

/// Identity of a table: SHA-256 of its results as lines of JSON.
///
/// Left out is what differs where no figure does: what a strategy logged and the words in which it failed (times, paths, a library's
/// phrases of its version), and what ran it, for native code gives the same results to the bit and another version may have more of it.
pub(crate) fn digest(rows: &BTreeMap<u64, Row>, metric: SweepMetric) -> String {
    let mut hash = Sha256::new();
    for result in results(rows, metric) {
        let result = SweepResult { error: None, engine: String::new(), log: Vec::new(), ..result };
        hash.update(serde_json::to_vec(&result).unwrap_or_default());
        hash.update(b"\n");
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use ringfence_model::api::SweepFigures;

    use super::super::row::{Engine, Finding, Verdict};
    use super::*;

    fn row(sharpe: Option<f64>) -> Row {
        Row { metrics: Some(SweepFigures { sharpe, ..SweepFigures::default() }), ..Row::default() }
    }

    #[test]
    fn what_cannot_be_compared_is_not_ranked() {
        let caught = Finding { verdict: Verdict::LooksAhead, detail: "x".into() };
        let rows = BTreeMap::from([
            (0, row(Some(1.0))),
            (1, row(None)),
            (2, row(Some(2.0))),
            (3, Row::failed(Engine::Sandbox, 5, "no")),
            (4, Row { is_partial: true, ..row(Some(9.0)) }),
            (5, Row { look_ahead: Some(caught), ..row(Some(8.0)) }),
            (6, row(Some(2.0))),
        ]);
        assert_eq!(order(&rows, SweepMetric::Sharpe), (vec![2, 6, 0, 1, 3, 4, 5], 3));
        let ranks: Vec<_> = results(&rows, SweepMetric::Sharpe).map(|r| (r.run, r.rank)).collect();
        assert_eq!(ranks[..4], [(2, Some(1)), (6, Some(2)), (0, Some(3)), (1, None)]);
        let mut other = rows.clone();
        assert_eq!(digest(&rows, SweepMetric::Sharpe), digest(&other, SweepMetric::Sharpe));
        other.insert(1, row(Some(f64::from_bits(1.0_f64.to_bits() + 1))));
        assert_ne!(digest(&rows, SweepMetric::Sharpe), digest(&other, SweepMetric::Sharpe));
    }

    #[test]
    fn words_are_no_part_of_a_tables_identity_and_failures_are() {
        let failed = |why: &str| Row::failed(Engine::Sandbox, 5, why);
        let table = |row: Row, other: Row| digest(&BTreeMap::from([(0, row), (1, other)]), SweepMetric::Sharpe);
        let plain = table(row(Some(1.0)), failed("numpy 2.4: no such luck"));
        let logged = Row { log: vec!["took 0.31 s".into()], engine: Engine::Native, ..row(Some(1.0)) };
        assert_eq!(table(logged, failed("numpy 2.5: there is no such luck")), plain);
        assert_ne!(table(row(Some(1.0)), Row { error: None, ..failed("") }), plain);
        assert_ne!(table(row(None), failed("numpy 2.4: no such luck")), plain);
    }
}
