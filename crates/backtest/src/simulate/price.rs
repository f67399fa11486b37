//! At what price an order is filled, and what the broker takes.

use super::settings::{Commission, Settings};
use crate::panel::Columns;

/// A hundredth of a percent.
const BASIS_POINT: f64 = 1e-4;

/// The price of a fill at `reference` in a row that has a bar, when `shares` are bought, or sold where it is below zero. Slippage by
/// the bar's range never leads beyond its high or low (each with the basis points on top), so the price stays above zero.
pub(super) fn of_fill(settings: &Settings, columns: &Columns, row: usize, reference: f64, shares: f64) -> f64 {
    let slippage = &settings.slippage;
    if slippage.bps == 0.0 && slippage.range == 0.0 {
        return reference;
    }
    let (high, low) = (columns.high[row], columns.low[row]);
    let distance = slippage.range * (high - low);
    if shares > 0.0 {
        let factor = 1.0 + slippage.bps * BASIS_POINT;
        (reference * factor + distance).min(high * factor)
    } else {
        let factor = 1.0 - slippage.bps * BASIS_POINT;
        (reference * factor - distance).max(low * factor)
    }
}

/// What the broker takes for a fill of so many shares, without regard to sign, at `price`. Nothing for no shares.
pub(super) fn commission(commission: &Commission, shares: f64, price: f64) -> f64 {
    let shares = shares.abs();
    if shares == 0.0 {
        return 0.0;
    }
    let proportional = shares * price * (commission.bps * BASIS_POINT) + shares * commission.per_share;
    proportional.max(commission.minimum)
}
