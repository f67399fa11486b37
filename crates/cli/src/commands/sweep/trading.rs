//! How a sweep trades: costs, fills, and what the account may do.

use clap::Args;
use ringfence_model::api::{SweepAccount, SweepCosts, SweepFill, SweepRebalance};

use super::run::Word;

// No documentation comment: clap would take it for that of `ringfence sweep`, which these arguments are part of.
#[derive(Debug, Args)]
pub(super) struct Trading {
    /// Commission of a fill in hundredths of a percent [default: 10]
    #[arg(long, value_name = "BPS", help_heading = "Trading")]
    commission_bps: Option<f64>,
    /// Commission of each share [default: 0]
    #[arg(long, value_name = "AMOUNT", help_heading = "Trading")]
    commission_per_share: Option<f64>,
    /// Least commission of a fill [default: 0]
    #[arg(long, value_name = "AMOUNT", help_heading = "Trading")]
    commission_minimum: Option<f64>,
    /// By how much fills are worse than the bar's price, in hundredths of a percent [default: 0]
    #[arg(long, value_name = "BPS", help_heading = "Trading")]
    slippage_bps: Option<f64>,
    /// By how much they are worse on top, as a part of the bar's high less low: 0.1 [default: 0]
    #[arg(long, value_name = "PART", help_heading = "Trading")]
    range_slippage: Option<f64>,
    /// Interest a year on what is sold short, in hundredths of a percent [default: 0]
    #[arg(long, value_name = "BPS", help_heading = "Trading")]
    borrow_bps: Option<f64>,
    /// What each backtest begins with [default: 100000]
    #[arg(long, value_name = "AMOUNT", help_heading = "Trading")]
    capital: Option<f64>,
    /// When targets become trades: `next_open`, `next_close`, or `signal_close`, which nobody can do [default: next_open]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "Trading")]
    fill: Option<Word<SweepFill>>,
    /// When a target is traded to: `every_bar`, or `on_change` [default: every_bar]
    #[arg(long, value_enum, value_name = "WHEN", help_heading = "Trading")]
    rebalance: Option<Word<SweepRebalance>>,
    /// The most that positions may come to, as a multiple of equity; credit costs nothing here [default: 1]
    #[arg(long, value_name = "MULTIPLE", help_heading = "Trading")]
    leverage_max: Option<f64>,
    /// The most of a bar's volume that is filled, the rest at the next: 0.05 [default: no limit]
    #[arg(long, value_name = "SHARE", help_heading = "Trading")]
    volume_share_max: Option<f64>,
    /// Trade whole shares only
    #[arg(long, help_heading = "Trading")]
    whole_shares: bool,
    /// Allow no short selling: a run that wants to be short fails
    #[arg(long, help_heading = "Trading")]
    no_short: bool,
}

impl Trading {
    pub(super) fn costs(&self) -> SweepCosts {
        SweepCosts {
            commission_bps: self.commission_bps,
            slippage_bps: self.slippage_bps,
            range_slippage: self.range_slippage,
            per_share: self.commission_per_share,
            minimum: self.commission_minimum,
            borrow_bps: self.borrow_bps,
        }
    }

    pub(super) fn account(&self) -> SweepAccount {
        SweepAccount {
            leverage_max: self.leverage_max,
            short_allowed: self.no_short.then_some(false),
            whole_shares: self.whole_shares,
            volume_share_max: self.volume_share_max,
            rebalance: self.rebalance.map(|word| word.0),
        }
    }

    pub(super) fn fill(&self) -> Option<SweepFill> {
        self.fill.map(|word| word.0)
    }

    pub(super) fn capital(&self) -> Option<f64> {
        self.capital
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        trading: Trading,
    }

    #[test]
    fn every_option_is_asked_for() {
        let line = "x --commission-bps 1 --commission-per-share 2 --commission-minimum 3 --slippage-bps 4 --range-slippage 0.5 \
                    --borrow-bps 6 --rebalance on_change --leverage-max 7 --volume-share-max 0.8 --whole-shares --no-short";
        let all = Line::parse_from(line.split_whitespace()).trading;
        assert_eq!(
            serde_json::to_value(all.costs()).expect("JSON"),
            json!({"commission_bps": 1.0, "slippage_bps": 4.0, "range_slippage": 0.5, "per_share": 2.0, "minimum": 3.0, "borrow_bps": 6.0})
        );
        assert_eq!(
            serde_json::to_value(all.account()).expect("JSON"),
            json!({"leverage_max": 7.0, "short_allowed": false, "whole_shares": true, "volume_share_max": 0.8, "rebalance": "on_change"})
        );
        let none = Line::parse_from(["x"]).trading;
        assert_eq!((none.costs(), none.account()), (SweepCosts::default(), SweepAccount::default()));
    }
}
