//! How long one thing takes, one at a time.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{bail, ensure};
use futures::future::try_join_all;
use ringfence_model::api::Interpreter;

use super::{
    contender::{Contender, Program},
    result::Row,
    subject::Subject,
};

const OURS: &str = "ringfence";

/// A new sandbox and the output of `print(N)`, the shelf full.
///
/// # Errors
/// A request was refused, or an output was wrong.
pub(super) async fn create_and_print(subject: &Subject, others: &[Contender], rounds: u32) -> anyhow::Result<Vec<Row>> {
    in_turns(subject, others, rounds, "create, print(N)", Program::print).await
}

/// A new sandbox and the seed document's pandas backtest.
///
/// # Errors
/// As above.
pub(super) async fn create_and_backtest(
    subject: &Subject,
    others: &[Contender],
    rounds: u32,
) -> anyhow::Result<Vec<Row>> {
    in_turns(subject, others, rounds, "create, pandas backtest", Program::backtest).await
}

/// Each in each round, so that whatever else the host does hits all alike. The shelf is full again before the next one's
/// turn: filling it is our work, and must not slow the others.
async fn in_turns(
    subject: &Subject,
    others: &[Contender],
    rounds: u32,
    what: &str,
    program: fn(u64) -> Program,
) -> anyhow::Result<Vec<Row>> {
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); others.len()];
    for round in 0..u64::from(rounds) {
        subject.settle().await?;
        ours.push(subject.once(&program(round)).await?);
        subject.settle().await?;
        for (other, seconds) in others.iter().zip(&mut theirs) {
            seconds.push(other.once(&program(round))?);
        }
    }
    let ours = Row::of(what, OURS, ours)?;
    let p50 = ours.p50;
    let mut rows = vec![ours];
    for (other, seconds) in others.iter().zip(theirs) {
        let mut row = Row::of(what, other.name, seconds)?;
        row.ours_is_quicker_by = Some(row.p50 / p50);
        rows.push(row);
    }
    Ok(rows)
}

/// One execution after the other in one sandbox, without a pause.
///
/// # Errors
/// As above.
pub(super) async fn execute(subject: &Subject, rounds: u32) -> anyhow::Result<Row> {
    subject.settle().await?;
    let sandbox = subject.create().await?.sandbox_id.to_string();
    let mut seconds = Vec::new();
    let mut interpreters = BTreeMap::new();
    for round in 0..u64::from(rounds) {
        let begin = Instant::now();
        let answer = subject.execute(&sandbox, &Program::print(round)).await?;
        seconds.push(begin.elapsed().as_secs_f64());
        *interpreters.entry(answer.interpreter.as_str()).or_insert(0_u32) += 1;
    }
    subject.delete(&sandbox).await?;
    let mut row = Row::of("execute in a live sandbox, back to back", OURS, seconds)?;
    let shares: Vec<String> = interpreters.iter().map(|(name, count)| format!("{count} {name}")).collect();
    row.remark = Some(shares.join(", "));
    Ok(row)
}

/// An execution whose interpreter is forked for it: the join, and what every execution takes.
///
/// # Errors
/// As above, or an interpreter was waiting after all.
pub(super) async fn join(subject: &Subject, rounds: u32) -> anyhow::Result<Row> {
    let mut seconds = Vec::new();
    for round in 0..u64::from(rounds) {
        subject.settle().await?;
        let sandbox = subject.create().await?.sandbox_id.to_string();
        subject.occupy(&sandbox).await?;
        let begin = Instant::now();
        let answer = subject.execute(&sandbox, &Program::print(round)).await;
        seconds.push(begin.elapsed().as_secs_f64());
        subject.delete(&sandbox).await?;
        ensure!(answer?.interpreter == Interpreter::Forked, "an interpreter was waiting: this measures no join");
    }
    let mut row = Row::of("execute, interpreter forked for it", OURS, seconds)?;
    let took = subject.system().await?.making;
    let of = |what: &str, ms: Option<f64>| ms.map_or_else(String::new, |ms| format!("{what} p50 {ms:.2} ms"));
    let parts = [of("the join itself", took.join_ms), of("an empty sandbox", took.shell_ms)];
    row.remark = Some(parts.join(", "));
    Ok(row)
}

/// A new sandbox while the daemon reports an empty shelf, and is busy filling it.
///
/// # Errors
/// As above, or the shelf cannot be emptied.
pub(super) async fn empty_shelf(subject: &Subject, rounds: u32) -> anyhow::Result<Row> {
    /// Sandboxes that may exist for this at once.
    const DRAINED_MAX: usize = 1000;
    subject.settle().await?;
    let mut taken: Vec<String> = Vec::new();
    let mut seconds = Vec::new();
    let mut number = 0;
    let measured = loop {
        if seconds.len() >= rounds as usize {
            break Ok(());
        }
        let level = subject.health().await?.shelf;
        if level == 0 {
            number += 1;
            let begin = Instant::now();
            let sandbox = subject.create().await?.sandbox_id.to_string();
            let run = subject.execute(&sandbox, &Program::print(number)).await;
            seconds.push(begin.elapsed().as_secs_f64());
            taken.push(sandbox);
            if let Err(error) = run {
                break Err(error);
            }
        } else if taken.len() + level as usize > DRAINED_MAX {
            break Err(anyhow::anyhow!(
                "the shelf is filled as fast as it is emptied: {} of {rounds} measured",
                seconds.len()
            ));
        } else {
            let drained = try_join_all((0..level).map(|_| subject.create())).await?;
            taken.extend(drained.into_iter().map(|sandbox| sandbox.sandbox_id.to_string()));
        }
    };
    let count = taken.len();
    for sandbox in taken {
        subject.delete(&sandbox).await?;
    }
    match measured {
        Err(error) if seconds.len() < 3 => bail!(error),
        // What was measured counts, with its number.
        _ => {
            let mut row = Row::of("create, print(N), shelf empty", OURS, seconds)?;
            row.remark = Some(format!("{count} sandboxes made meanwhile"));
            Ok(row)
        }
    }
}
