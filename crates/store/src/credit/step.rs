//! The wall clock was set while the daemon ran.

use rusqlite::params;

use crate::error::{Result, doing};
use crate::tx::Tx;

/// What a jump of the wall clock has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stepped {
    /// Meters that are open.
    pub meters: usize,
    /// Sandboxes whose lifetime is not over.
    pub lifetimes: usize,
    /// Access tokens that had ended before the clock went back: they stay so.
    pub ended_tokens: usize,
}

impl Tx<'_> {
    /// The wall clock has jumped by `step_ms` and shows `now_ms`. What counts time that passes goes with it, so that no sandbox pays for
    /// minutes that never were or runs on for nothing, and none ends early or lives on: open meters, a grace, lifetimes. What was said as
    /// a date stays, but a token that has been refused as too old does not come back to life.
    ///
    /// # Errors
    /// The database refuses.
    pub fn clock_stepped(&self, step_ms: i64, now_ms: u64) -> Result<Stepped> {
        const WHAT: &str = "go with the clock";
        let before_ms = now_ms.saturating_add_signed(-step_ms);
        // A meter that was opened since then is of the new time already.
        let meters = "UPDATE meter SET opened_at_ms = max(0, opened_at_ms + ?1), seen_at_ms = max(0, seen_at_ms + ?1) \
                      WHERE closed_at_ms IS NULL AND abs(seen_at_ms - ?2) <= abs(seen_at_ms - ?3)";
        let meters = self.conn.execute(meters, params![step_ms, before_ms, now_ms]).map_err(doing(WHAT))?;
        let grace = "UPDATE credit_project SET exhausted_at_ms = max(0, exhausted_at_ms + ?1) WHERE exhausted_at_ms IS NOT NULL";
        self.conn.execute(grace, params![step_ms]).map_err(doing(WHAT))?;
        let lifetimes = "UPDATE sandbox SET expires_at_ms = max(0, expires_at_ms + ?1) WHERE expires_at_ms IS NOT NULL \
                         AND status IN ('creating', 'running', 'paused', 'stopped', 'failed')";
        let lifetimes = self.conn.execute(lifetimes, params![step_ms]).map_err(doing(WHAT))?;
        let tokens =
            "UPDATE access_token SET revoked_at_ms = expires_at_ms WHERE revoked_at_ms IS NULL AND expires_at_ms <= ?1";
        let ended_tokens =
            if step_ms < 0 { self.conn.execute(tokens, params![before_ms]).map_err(doing(WHAT))? } else { 0 };
        Ok(Stepped { meters, lifetimes, ended_tokens })
    }
}
