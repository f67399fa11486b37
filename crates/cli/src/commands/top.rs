//! `ringfence top`: what runs, looked at again each second.

mod frame;
mod lines;
mod look;
mod screen;

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{frame::Frame, look::Look, screen::Screen};
use crate::{
    args::Global,
    daemon::{self, Daemon},
    failure, output,
};

/// Shows sandboxes, executions, orders and the machine, live
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence top                               refreshed each second; q or Ctrl-C ends it
  ringfence top --once                        one frame, for a log or a pipe
  ringfence top --json | jq '.sandboxes[] | select(.cpu_percent > 50)'

100 % of CPU is one processor. CPU is measured between two looks; memory is what the sandbox has now, of what it may have. The \
figures of at most 64 sandboxes are asked for: those that run, the newest first.")]
pub(crate) struct TopArgs {
    /// One frame, and the end
    #[arg(long)]
    once: bool,
}

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Between the two looks of a single frame: processor time is counted in steps of microseconds, so that this is enough.
const BETWEEN: Duration = Duration::from_millis(500);

/// Columns of a frame whose reader has no width.
const WIDTH: usize = 120;

pub(crate) async fn run(global: Global, args: TopArgs) -> anyhow::Result<i32> {
    let once = args.once || global.json;
    if !once && !io::stdout().is_terminal() {
        return failure::usage("`top` draws on a terminal, and standard output is none; use --once or --json");
    }
    let Some(daemon) = daemon::find(global.home.as_deref()).await? else {
        return Err(daemon::none_runs(global.home.as_deref()));
    };
    if !once {
        return live(&daemon).await;
    }
    let before = look::look(&daemon).await?;
    tokio::time::sleep(BETWEEN).await;
    let frame = frame::frame(Some(&before), &look::look(&daemon).await?);
    if global.json {
        output::json(&frame)?;
    } else {
        let width = screen::size().map_or(WIDTH, |(width, _)| width);
        lines::lines(&frame, width, usize::MAX).iter().try_for_each(|line| output::line(&line.text))?;
    }
    Ok(0)
}

/// What ends it, and what has it drawn anew.
struct Events {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    resized: Signal,
    keys: tokio::sync::mpsc::Receiver<u8>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    End,
    Draw,
}

impl Events {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            resized: signal(SignalKind::window_change())?,
            keys: screen::keys(),
        })
    }

    async fn next(&mut self) -> Event {
        const CTRL_D: u8 = 0x04;
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Event::End,
                _ = self.terminate.recv() => return Event::End,
                _ = self.hang_up.recv() => return Event::End,
                _ = self.resized.recv() => return Event::Draw,
                Some(key) = self.keys.recv() => if matches!(key, b'q' | b'Q' | CTRL_D) { return Event::End },
            }
        }
    }
}

/// Draws until it is ended. The terminal is as before then, also after an error: `Screen` sees to that as it is dropped.
async fn live(daemon: &Daemon) -> anyhow::Result<i32> {
    let mut events = Events::listen()?;
    let mut screen = Screen::open()?;
    let (mut before, mut shown): (Option<Look>, Option<Frame>) = (None, None);
    loop {
        let begun = Instant::now();
        // A daemon that does not answer must not keep this from ending.
        let looked = {
            let mut looking = std::pin::pin!(look::look(daemon));
            loop {
                tokio::select! {
                    looked = &mut looking => break looked,
                    event = events.next() => match event {
                        Event::End => return Ok(0),
                        Event::Draw => draw(&mut screen, shown.as_ref(), None)?,
                    },
                }
            }
        };
        let trouble = match looked {
            Ok(look) => {
                shown = Some(frame::frame(before.as_ref(), &look));
                before = Some(look);
                None
            }
            Err(error) => Some(format!("{error:#}")),
        };
        draw(&mut screen, shown.as_ref(), trouble.as_deref())?;
        let end = begun + EVERY;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match tokio::time::timeout(left, events.next()).await {
                Ok(Event::End) => return Ok(0),
                Ok(Event::Draw) => draw(&mut screen, shown.as_ref(), trouble.as_deref())?,
                Err(_) => break,
            }
        }
    }
}

fn draw(screen: &mut Screen, frame: Option<&Frame>, trouble: Option<&str>) -> io::Result<()> {
    let (width, height) = screen::size().unwrap_or((WIDTH, 24));
    let mut all = Vec::new();
    if let Some(trouble) = trouble {
        all.push(lines::trouble(trouble, width));
    }
    if let Some(frame) = frame {
        all.extend(lines::lines(frame, width, height.saturating_sub(all.len())));
    }
    screen.draw(&all, height)
}
