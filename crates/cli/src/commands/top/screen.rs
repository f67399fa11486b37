//! The terminal: another screen than the one that commands print on, without an echo and a cursor, until it is given back.

use std::io::{self, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::lines::Line;

/// xterm(1)'s other screen, and its cursor (DECTCEM): what every terminal of these days understands.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const INVERTED: &str = "\x1b[7m";
const PLAIN: &str = "\x1b[0m";
/// What is right of the cursor, and what is below it.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// The screen, ours until this is dropped.
pub(super) struct Screen {
    /// How keys were handled before; none where standard input is no terminal.
    before: Option<Termios>,
}

impl Screen {
    /// Takes it.
    ///
    /// # Errors
    /// The terminal refuses.
    pub(super) fn open() -> io::Result<Self> {
        let before = if io::stdin().is_terminal() { Some(hear_keys()?) } else { None };
        let screen = Self { before };
        print(OPEN)?;
        Ok(screen)
    }

    /// Draws over what is there, so that nothing flickers.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, lines: &[Line], height: usize) -> io::Result<()> {
        let mut text = HOME.to_owned();
        for (at, line) in lines.iter().take(height).enumerate() {
            // No new line after the last one: at the bottom it would scroll.
            if at > 0 {
                text.push_str("\r\n");
            }
            if line.is_head {
                text.push_str(&format!("{INVERTED}{}{PLAIN}{CLEAR_LINE}", line.text));
            } else {
                text.push_str(&format!("{}{CLEAR_LINE}", line.text));
            }
        }
        text.push_str(CLEAR_REST);
        print(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = print(CLOSE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Each key at once, and none shown. Ctrl-C stays a signal; Ctrl-Z is none, for the shell would be left on this screen.
fn hear_keys() -> io::Result<Termios> {
    /// No key: `_POSIX_VDISABLE` of termios(3).
    const DISABLED: u8 = 0;
    let before = tcgetattr(io::stdin())?;
    let mut ours = before.clone();
    ours.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON;
    ours.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
    ours.special_codes[SpecialCodeIndex::VMIN] = 1;
    ours.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
    Ok(before)
}

/// Columns and lines; none where standard output is no terminal, or one that does not know.
pub(super) fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0)?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// Keys as they are pressed; never one where standard input is no terminal. The thread that waits for them ends with the process.
pub(super) fn keys() -> mpsc::Receiver<u8> {
    /// Keys that were pressed and not looked at yet; more are forgotten.
    const WAITING_MAX: usize = 16;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    if io::stdin().is_terminal() {
        std::thread::spawn(move || {
            let mut key = [0];
            loop {
                match rustix::io::read(io::stdin(), &mut key) {
                    Ok(0) => return,
                    Ok(_) => match sender.try_send(key[0]) {
                        Err(mpsc::error::TrySendError::Closed(_)) => return,
                        Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                    },
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        });
    }
    receiver
}
