//! Many in a row, and what they leave.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    contender::Program,
    leftovers::Leftovers,
    result::{Outcome, Row, memory_available},
    subject::Subject,
};
use crate::{numbers, output};

/// How long what is being removed may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Creates, runs and deletes so often, then compares what there is with what there was.
///
/// # Errors
/// A request was refused, or an output was wrong.
pub(super) async fn run(subject: &Subject, home: &Path, cycles: u32) -> anyhow::Result<(Row, Vec<Outcome>)> {
    // The first ones make what stays: connections, and pages of the daemon.
    const WARM_UP: u64 = 20;
    for number in 0..WARM_UP {
        subject.once(&Program::print(number)).await?;
    }
    subject.settle().await?;
    let before = Leftovers::count(home)?;
    let memory_before = memory_available()?;
    let begin = Instant::now();
    let mut seconds = Vec::new();
    for number in 0..u64::from(cycles) {
        let begin = Instant::now();
        subject.once(&Program::print(number)).await?;
        seconds.push(begin.elapsed().as_secs_f64());
        if number % 1000 == 999 {
            output::note(&format!("bench: {} of {cycles} cycles", number + 1));
        }
    }
    let all = begin.elapsed().as_secs_f64();
    let end = Instant::now();
    let after = loop {
        subject.settle().await?;
        let after = Leftovers::count(home)?;
        if after.more_than(&before).is_empty() || end.elapsed() > PATIENCE {
            break after;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let left = after.more_than(&before);
    let found = if left.is_empty() {
        format!("nothing: {after}")
    } else {
        format!("{}; before: {before}; after: {after}", left.join(", "))
    };
    let lost = i128::from(memory_before) - i128::from(memory_available()?);
    let memory = if lost > 0 { numbers::bytes(u64::try_from(lost)?) } else { "nothing".into() };
    let data = json!({"cycles": cycles, "before": before, "after": after, "memory_available_lost_bytes": lost as i64});
    let mut row = Row::of("create, print(N), delete, in a row", "ringfence", seconds)?;
    row.remark = Some(format!("{:.0} cycles a second", f64::from(cycles) / all));
    let what = format!("left over after {cycles} cycles");
    let left = Outcome { what, found, data: data.clone(), is_good: left.is_empty() };
    let lost = Outcome { what: "memory available, less by".into(), found: memory, data, is_good: true };
    Ok((row, vec![left, lost]))
}
