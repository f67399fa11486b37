//! Many at once.

use std::time::Instant;

use futures::future::try_join_all;

use super::{contender::Program, result::Row, subject::Subject};

/// Sandboxes of one burst.
const SIZE: u64 = 100;
/// Bursts.
const ROUNDS: u64 = 5;

/// A hundred sandboxes made at once, each running pandas: the wall time until the last output is here.
///
/// # Errors
/// A request was refused, or an output was wrong.
pub(super) async fn run(subject: &Subject) -> anyhow::Result<Row> {
    let mut seconds = Vec::new();
    for round in 0..ROUNDS {
        subject.settle().await?;
        let begin = Instant::now();
        let sandboxes = try_join_all((0..SIZE).map(|n| one(subject, round * SIZE + n))).await?;
        seconds.push(begin.elapsed().as_secs_f64());
        try_join_all(sandboxes.iter().map(|sandbox| subject.delete(sandbox))).await?;
    }
    let mut row = Row::of(&format!("{SIZE} sandboxes at once, each the pandas backtest"), "ringfence", seconds)?;
    row.remark = Some(format!("wall time; the shelf held {}", subject.shelf));
    Ok(row)
}

async fn one(subject: &Subject, number: u64) -> anyhow::Result<String> {
    let sandbox = subject.create().await?.sandbox_id.to_string();
    subject.execute(&sandbox, &Program::backtest(number)).await?;
    Ok(sandbox)
}
