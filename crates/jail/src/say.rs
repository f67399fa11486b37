//! What the supervisor and the jailer have to say goes to the daemon's log, in the form that the other roles write.

use std::sync::OnceLock;

/// Writes one line: who says it, and what.
pub type Print = fn(role: &str, text: &str);

static PRINT: OnceLock<Print> = OnceLock::new();

/// From now on lines are written in this way, in this process and in its forks. The first one counts.
pub fn through(print: Print) {
    let _ = PRINT.set(print);
}

/// Says something.
pub(crate) fn say(role: &str, text: &str) {
    match PRINT.get() {
        Some(print) => print(role, text),
        None => eprintln!("{role}: {text}"),
    }
}
