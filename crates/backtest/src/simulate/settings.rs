//! The conventions of a backtest.

use serde::{Deserialize, Serialize};

/// When and at what price an order is filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// At the open of the next bar that the symbol has.
    #[default]
    NextOpen,
    /// At the close of the next bar that the symbol has.
    NextClose,
    /// Held from the next bar on as if bought at the close that gave the signal. Weights are held exact: the account is rebalanced at
    /// each close, and pays only for changes of the targets, in the bar from which they are held. This is what vectorised
    /// backtests in pandas compute; nobody can trade at the close that he decides by, so it flatters.
    SignalClose,
}

/// When a target weight is acted on. Of no meaning under [`Fill::SignalClose`], where weights are exact at each bar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rebalance {
    /// At each bar that has one: the shares are traded back to the weight. A target that is no number leaves the shares as they are.
    #[default]
    EveryBar,
    /// Only when it differs from the target before it; between, the shares are held and their weight drifts.
    OnChange,
}

/// What a broker takes for a fill: the larger of `minimum`, and `bps` of its money plus `per_share` of its shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Commission {
    /// Of the money that changes hands, in hundredths of a percent.
    pub bps: f64,
    /// Of each share, in the account's currency.
    pub per_share: f64,
    /// At least this for each fill, in the account's currency.
    pub minimum: f64,
}

/// By how much a fill is worse than the price of the bar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slippage {
    /// Of the price, in hundredths of a percent.
    pub bps: f64,
    /// Of the distance between the bar's high and low, 0 to 1. It never leads out of the bar.
    pub range: f64,
    /// The most of the bar's volume that is filled, 0 to 1; what is left is tried at the next bar. 0 is no limit.
    pub volume_share_max: f64,
}

/// The conventions of a backtest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What the account begins with, in the currency of the bars.
    pub capital: f64,
    /// When and at what price orders are filled.
    pub fill: Fill,
    /// When target weights are acted on.
    pub rebalance: Rebalance,
    /// What the broker takes.
    pub commission: Commission,
    /// By how much fills are worse than the bar.
    pub slippage: Slippage,
    /// What lenders of shares take for a year, as a fraction of their value at the close before; by calendar days of 365.
    pub borrow_rate: f64,
    /// The most that positions may come to, without regard to sign, as a multiple of equity. 1 is an account without credit.
    pub leverage_max: f64,
    /// Whether more may be sold than is held.
    pub short_allowed: bool,
    /// Whether only whole shares are traded; of adjusted prices, whole shares of the last day's kind.
    pub whole_shares: bool,
}

impl Default for Settings {
    /// 100,000 of capital, next open, no costs, no credit, short selling allowed, fractions of shares.
    fn default() -> Self {
        Self {
            capital: 100_000.0,
            fill: Fill::default(),
            rebalance: Rebalance::default(),
            commission: Commission::default(),
            slippage: Slippage::default(),
            borrow_rate: 0.0,
            leverage_max: 1.0,
            short_allowed: true,
            whole_shares: false,
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum SettingsError {
    #[error("{name} is {value}; it must be {bounds}")]
    Bounds { name: &'static str, value: f64, bounds: &'static str },
    #[error(
        "{name} has no meaning with fill `signal_close`, which holds weights exactly: leave it out, or choose `next_open`"
    )]
    AtSignal { name: &'static str },
}

impl Settings {
    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds, or that [`Fill::SignalClose`] cannot heed.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Self { capital, commission, slippage, borrow_rate, leverage_max, .. } = *self;
        let bounded = [
            ("capital", capital, 1e-2, 1e15, "between 0.01 and 1e15"),
            ("commission.bps", commission.bps, 0.0, 5_000.0, "between 0 and 5000"),
            ("commission.per_share", commission.per_share, 0.0, 1e6, "between 0 and 1e6"),
            ("commission.minimum", commission.minimum, 0.0, 1e9, "between 0 and 1e9"),
            ("slippage.bps", slippage.bps, 0.0, 5_000.0, "between 0 and 5000"),
            ("slippage.range", slippage.range, 0.0, 1.0, "between 0 and 1"),
            ("slippage.volume_share_max", slippage.volume_share_max, 0.0, 1.0, "between 0 and 1"),
            ("borrow_rate", borrow_rate, 0.0, 10.0, "between 0 and 10"),
            ("leverage_max", leverage_max, 0.0, 100.0, "between 0 and 100"),
        ];
        let out = |(_, value, low, high, _): &(_, f64, f64, f64, _)| !(*low..=*high).contains(value);
        match bounded.into_iter().find(out) {
            Some((name, value, _, _, bounds)) => Err(SettingsError::Bounds { name, value, bounds }),
            None if self.fill == Fill::SignalClose => self.unheeded(),
            None => Ok(()),
        }
    }

    fn unheeded(&self) -> Result<(), SettingsError> {
        let unheeded =
            [("whole_shares", self.whole_shares), ("slippage.volume_share_max", self.slippage.volume_share_max > 0.0)];
        match unheeded.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(SettingsError::AtSignal { name }),
            None => Ok(()),
        }
    }
}
