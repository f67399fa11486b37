//! Exact arithmetic for shares, prices and dollars. Nothing here wraps, and nothing passes through floating point.

use rust_decimal::{Decimal, RoundingStrategy};

/// Decimals of a number of shares.
pub const QTY_DECIMALS: u32 = 9;

/// Most shares of one order.
pub const QTY_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// Highest price of an order, in dollars.
pub const PRICE_MAX: Decimal = Decimal::from_parts(10_000_000, 0, 0, false, 0);

/// Most dollars of one order.
pub const NOTIONAL_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// A result that no decimal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number is too large")]
pub struct TooLarge;

/// Checked arithmetic under names of its own, so that an unchecked operator stands out.
pub trait Exact: Sized {
    /// The sum.
    ///
    /// # Errors
    /// [`TooLarge`]
    fn plus(self, other: Decimal) -> Result<Decimal, TooLarge>;

    /// The difference.
    ///
    /// # Errors
    /// [`TooLarge`]
    fn minus(self, other: Decimal) -> Result<Decimal, TooLarge>;

    /// The product.
    ///
    /// # Errors
    /// [`TooLarge`]
    fn times(self, other: Decimal) -> Result<Decimal, TooLarge>;

    /// The quotient, to 28 digits.
    ///
    /// # Errors
    /// [`TooLarge`], also for a division by zero.
    fn over(self, other: Decimal) -> Result<Decimal, TooLarge>;
}

impl Exact for Decimal {
    fn plus(self, other: Decimal) -> Result<Decimal, TooLarge> {
        self.checked_add(other).ok_or(TooLarge)
    }

    fn minus(self, other: Decimal) -> Result<Decimal, TooLarge> {
        self.checked_sub(other).ok_or(TooLarge)
    }

    fn times(self, other: Decimal) -> Result<Decimal, TooLarge> {
        self.checked_mul(other).ok_or(TooLarge)
    }

    fn over(self, other: Decimal) -> Result<Decimal, TooLarge> {
        self.checked_div(other).ok_or(TooLarge)
    }
}

/// `value` with at most `decimals` decimals, towards zero.
#[must_use]
pub fn floor(value: Decimal, decimals: u32) -> Decimal {
    value.round_dp_with_strategy(decimals, RoundingStrategy::ToZero)
}

/// `value` with at most `decimals` decimals, halves to even.
#[must_use]
pub fn round(value: Decimal, decimals: u32) -> Decimal {
    value.round_dp_with_strategy(decimals, RoundingStrategy::MidpointNearestEven)
}

/// Reads a decimal as people write one: digits and one point, no exponent, at most 28 digits. None for anything else.
#[must_use]
pub fn decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || digits.len() > 29 {
        return None;
    }
    Decimal::from_str_exact(text).ok()
}

/// Decimals that a price of an order may have: two from one dollar on, four below (Rule 612 of Regulation NMS).
#[must_use]
pub fn price_decimals(price: Decimal) -> u32 {
    if price >= Decimal::ONE { 2 } else { 4 }
}

/// Whether it is a whole number of shares.
#[must_use]
pub fn is_whole(qty: Decimal) -> bool {
    qty.fract().is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_keeps_its_digits_or_is_none() {
        for (text, expected) in [
            ("1", Some("1")),
            ("0.000000001", Some("0.000000001")),
            ("-12.50", Some("-12.50")),
            ("1.0", Some("1.0")),
            ("007", Some("7")),
            ("1e3", None),
            ("", None),
            ("-", None),
            (".5", None),
            ("5.", None),
            ("1.2.3", None),
            ("+1", None),
            ("NaN", None),
            ("1_000", None),
            (" 1", None),
            ("99999999999999999999999999999999", None),
        ] {
            assert_eq!(decimal(text).map(|d| d.to_string()), expected.map(str::to_owned), "{text}");
        }
    }
}
