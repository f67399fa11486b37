//! Progress of long requests: a bar on a terminal, lines elsewhere, nothing of it on standard output.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use ringfence_engine::api::{PROGRESS_QUEUE, ProgressSender};
use ringfence_model::api::Progress;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{numbers, output};

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
    let measured = ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {percent:>3} % {wide_msg} {elapsed}");
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

async fn in_lines(what: String, mut receiver: mpsc::Receiver<Progress>) {
    let mut last = String::new();
    while let Some(step) = receiver.recv().await {
        // A heartbeat repeats the step that goes on.
        if step.message != last {
            let percent = step.percent.map(|p| format!("{p:>3.0} % ")).unwrap_or_default();
            output::note(&format!("{what}: {percent}{}", sentence(&step)));
            last = step.message;
        }
    }
}

fn sentence(step: &Progress) -> String {
    match step.seconds_left {
        Some(left) if left >= 1.0 => format!("{} (about {} left)", step.message, numbers::seconds(left)),
        _ => step.message.clone(),
    }
}
