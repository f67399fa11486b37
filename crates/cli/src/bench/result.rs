//! What was measured, as a table and as a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{numbers, output};

/// Durations of one thing done by one contender.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    /// What was done.
    pub(super) what: String,
    /// By whom.
    pub(super) who: String,
    /// How often.
    pub(super) count: usize,
    /// Half were at most this, in seconds.
    pub(super) p50: f64,
    /// 95 of 100.
    pub(super) p95: f64,
    /// 99 of 100.
    pub(super) p99: f64,
    /// The quickest.
    pub(super) min: f64,
    /// The slowest.
    pub(super) max: f64,
    /// How many times ours is quicker in the same run, by the median.
    pub(super) ours_is_quicker_by: Option<f64>,
    /// What else is worth knowing.
    pub(super) remark: Option<String>,
}

/// Something that is not a duration.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    /// What was looked at.
    pub(super) what: String,
    /// What was found.
    pub(super) found: String,
    /// Numbers behind it.
    pub(super) data: Value,
    /// Whether it is as it must be.
    pub(super) is_good: bool,
}

impl Row {
    /// From durations in seconds.
    ///
    /// # Errors
    /// Nothing was measured.
    pub(super) fn of(what: &str, who: &str, mut seconds: Vec<f64>) -> anyhow::Result<Self> {
        seconds.sort_by(f64::total_cmp);
        let at =
            |share| numbers::quantile(&seconds, share).with_context(|| format!("nothing was measured: {what}, {who}"));
        Ok(Self {
            what: what.to_owned(),
            who: who.to_owned(),
            count: seconds.len(),
            p50: at(0.5)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            min: at(0.0)?,
            max: at(1.0)?,
            ours_is_quicker_by: None,
            remark: None,
        })
    }
}

/// As people read it.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = output::table(&["what", "who", "count", "p50", "p95", "p99", "ours is quicker by", "remark"]);
    for row in rows {
        let [p50, p95, p99] = [row.p50, row.p95, row.p99].map(numbers::seconds);
        let ratio = row.ours_is_quicker_by.map_or_else(String::new, |ratio| format!("{ratio:.1}×"));
        let remark = row.remark.clone().unwrap_or_default();
        table.add_row([row.what.clone(), row.who.clone(), row.count.to_string(), p50, p95, p99, ratio, remark]);
    }
    output::text(table)
}

/// Memory that is available, in bytes.
pub(super) fn memory_available() -> anyhow::Result<u64> {
    meminfo("MemAvailable:").context("reading /proc/meminfo")
}

fn meminfo(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// What it was measured on.
pub(super) fn host() -> Value {
    let uname = rustix::system::uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    json!({
        "kernel": uname.release().to_string_lossy(),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model,
        "memory_bytes": meminfo("MemTotal:"),
        "time": jiff::Timestamp::now().to_string(),
    })
}

/// Writes `DIR/<timestamp>.json`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(dir: &Path, report: &Value) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let name = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let path = dir.join(name).with_extension("json");
    let text = serde_json::to_string_pretty(report)? + "\n";
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_quantiles_whatever_the_order() -> anyhow::Result<()> {
        let row = Row::of("x", "y", vec![3.0, 1.0, 2.0])?;
        assert_eq!((row.count, row.min, row.p50, row.p99, row.max), (3, 1.0, 2.0, 3.0, 3.0));
        assert!(Row::of("x", "y", Vec::new()).is_err());
        Ok(())
    }
}
