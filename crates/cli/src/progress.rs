//! Progress of long requests: a bar on a terminal, lines elsewhere, nothing of it on standard output.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use ringfence_engine::api::{PROGRESS_QUEUE, ProgressSender};
use ringfence_model::api::Progress;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::output;

/// Shows what arrives until the sender is dropped.
pub(crate) fn shown(what: &str) -> (ProgressSender, Shown) {
    let (sender, receiver) = mpsc::channel(PROGRESS_QUEUE);
    let task = if io::stderr().is_terminal() {
        tokio::spawn(on_terminal(what.to_owned(), receiver))
    } else {
        tokio::spawn(in_lines(what.to_owned(), receiver))
    };
    (sender, Shown(task))
}

/// Progress that is being shown.
#[derive(Debug)]
pub(crate) struct Shown(JoinHandle<()>);

impl Shown {
    /// Waits until everything was shown and the bar is gone.
    pub(crate) async fn end(self) {
        let _ = self.0.await;
    }
}

async fn on_terminal(what: String, mut receiver: mpsc::Receiver<Progress>) {
    const TICK: Duration = Duration::from_millis(120);
    let bar = ProgressBar::new(100);
    let plain = ProgressStyle::with_template("{spinner} {prefix}: {wide_msg} {elapsed}");
    let measured = ProgressStyle::with_template("{spinner} {prefix} [{bar:20}] {percent:>3} % {wide_msg} {elapsed}");
    let (Ok(plain), Ok(measured)) = (plain, measured) else { return };
    bar.set_style(plain);
    bar.set_prefix(what);
    bar.enable_steady_tick(TICK);
    while let Some(step) = receiver.recv().await {
        if let Some(percent) = step.percent {
            bar.set_style(measured.clone().progress_chars("=> "));
            bar.set_position(percent.clamp(0.0, 100.0) as u64);
        }
        bar.set_message(sentence(&step));
    }
    bar.finish_and_clear();
}

/// A line for each new step, and one now and then while a step goes on: a log is read afterwards.
async fn in_lines(what: String, mut receiver: mpsc::Receiver<Progress>) {
    const EVERY: Duration = Duration::from_secs(15);
    let mut last: Option<(String, Instant)> = None;
    while let Some(step) = receiver.recv().await {
        let title = title(&step.message);
        if last.as_ref().is_some_and(|(last, at)| last == title && at.elapsed() < EVERY) {
            continue;
        }
        let percent = step.percent.map(|p| format!("{p:>3.0} % ")).unwrap_or_default();
        output::note(&format!("{what}: {percent}{}", sentence(&step)));
        last = Some((title.to_owned(), Instant::now()));
    }
}

/// What a message is about: it stands before the colon, and what a program prints meanwhile after it.
fn title(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(title, _)| title)
}

fn sentence(step: &Progress) -> String {
    match step.seconds_left {
        Some(left) if left >= 120.0 => format!("{} (about {:.0} min left)", step.message, left / 60.0),
        Some(left) if left >= 1.0 => format!("{} (about {left:.0} s left)", step.message),
        _ => step.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_is_no_new_step() {
        assert_eq!(title("2/6 installing: Get:1 http://x"), title("2/6 installing"));
        assert_ne!(title("2/6 installing: done"), title("3/6 finishing: done"));
    }

    #[test]
    fn time_left_is_told_where_it_is_known() {
        let step = Progress { message: "x".into(), percent: None, seconds_left: Some(90.0) };
        assert_eq!(sentence(&step), "x (about 90 s left)");
        assert_eq!(sentence(&Progress::new("x")), "x");
    }
}
