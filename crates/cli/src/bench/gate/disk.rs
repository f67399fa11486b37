//! What the host's disk takes for the least that can be kept: no decision is on it sooner.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

/// Bytes of a page of a database.
const PAGE: usize = 4096;
/// Pages that are there ahead, so that none makes the file longer.
const PAGES: u64 = 256;
/// How often one is written.
const ROUNDS: u64 = 500;
/// Between one and the next, as between requests: a disk that is kept busy answers sooner.
const PAUSE: Duration = Duration::from_micros(500);

/// Seconds that each page took from write(2) until fdatasync(2) had returned, in a file below `dir` that is removed again.
///
/// # Errors
/// The file cannot be made or written.
pub(super) fn pages(dir: &Path) -> anyhow::Result<Vec<f64>> {
    let path = dir.join("a-page-on-disk");
    let measured = measure(&path).with_context(|| format!("writing {}", path.display()));
    let removed = fs::remove_file(&path);
    let seconds = measured?;
    removed?;
    Ok(seconds)
}

fn measure(path: &Path) -> std::io::Result<Vec<f64>> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    for number in 0..PAGES {
        file.write_all_at(&[0; PAGE], number * PAGE as u64)?;
    }
    file.sync_all()?;
    let mut seconds = Vec::new();
    for round in 0..ROUNDS {
        let page = [round as u8; PAGE];
        std::thread::sleep(PAUSE);
        let begin = Instant::now();
        file.write_all_at(&page, round % PAGES * PAGE as u64)?;
        file.sync_data()?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(seconds)
}
