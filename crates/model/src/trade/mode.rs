//! Simulated, paper or live, and what it takes to arm live.

use serde::{Deserialize, Serialize};

use super::limits::{Limits, MissingKnobs};
use super::name::words;

words!(
    /// Where a host leads.
    Environment, "an environment" {
        /// The exchange of this installation.
        Simulated = "simulated",
        /// A broker's, without money.
        Paper = "paper",
        /// A broker's, with money.
        Live = "live",
    }
);

/// What the operator has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Mode {
    /// Orders go to the exchange of this installation.
    #[default]
    Simulated,
    /// Orders go to a broker's paper account.
    Paper,
    /// Orders go to a broker, for money, until then.
    Live {
        /// When it ends, in milliseconds since the Unix epoch of the host's clock.
        until_ms: u64,
    },
    /// Live was armed and is over: orders go nowhere until the operator sets a mode again. A host's clock that is set back does not make it
    /// go on.
    Ended,
}

/// How long live may be armed at once, in milliseconds: a day.
pub const LIVE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Why live is not armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotArmed {
    /// The first of two opt-ins is missing.
    #[error("live trading is not allowed in the configuration of this installation")]
    NotConfigured,
    /// The second of two opt-ins is missing.
    #[error("type the name of the account, `{0}`, to arm live trading")]
    NotTyped(String),
    /// It has an end, and that is not long from now.
    #[error("live trading is armed for at least a minute and at most 24 hours: give an end within that")]
    BadEnd,
    /// Live has no defaults.
    #[error(transparent)]
    Missing(#[from] MissingKnobs),
}

impl Mode {
    /// Arms live. Two opt-ins, apart from one another: the configuration of the installation, and the name of the account typed
    /// by a person outside of every sandbox. Every limit must be set.
    ///
    /// # Errors
    /// [`NotArmed`]: what is missing, the first thing first.
    pub fn arm_live(
        live_allowed: bool,
        account: &str,
        typed: &str,
        limits: &Limits,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<Self, NotArmed> {
        if !live_allowed {
            return Err(NotArmed::NotConfigured);
        }
        if typed != account || account.is_empty() {
            return Err(NotArmed::NotTyped(account.to_owned()));
        }
        let length = until_ms.checked_sub(now_ms).ok_or(NotArmed::BadEnd)?;
        if !(60_000..=LIVE_MS_MAX).contains(&length) {
            return Err(NotArmed::BadEnd);
        }
        limits.complete()?;
        Ok(Self::Live { until_ms })
    }

    /// Where orders go now; nowhere once live has ended, until the operator sets a mode again.
    #[must_use]
    pub fn environment(self, now_ms: u64) -> Option<Environment> {
        match self {
            Self::Simulated => Some(Environment::Simulated),
            Self::Paper => Some(Environment::Paper),
            Self::Live { until_ms } if now_ms < until_ms => Some(Environment::Live),
            Self::Live { .. } | Self::Ended => None,
        }
    }

    /// The word; that live has ended is said by the environment, which is none.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Paper => "paper",
            Self::Live { .. } | Self::Ended => "live",
        }
    }
}
