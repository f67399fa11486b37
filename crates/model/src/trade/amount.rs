//! Amounts: whole numbers of the smallest unit that counts, so that sums are exact here and in SQL alike.
//!
//! A price times a quantity is rounded up, to the millionth of a dollar: what is reserved is never less than what may be
//! spent. What leaves the range of 63 bits is none, and whoever calls refuses.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {why}")]
pub struct BadAmount {
    /// What was offered, cut to 80 characters.
    pub text: String,
    /// What was wanted.
    pub what: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Reads plain digits with at most `decimals` of them behind a point, in units of the last of these. No sign, no exponent, no
/// spaces, no leading zeros, and never `NaN`: one amount has one reading.
fn parse(text: &str, decimals: u32, what: &'static str) -> Result<i64, BadAmount> {
    let bad = |why| BadAmount { text: super::excerpt(text), what, why };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
        return Err(bad("write digits, with a point where needed, as in `12.50`"));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals as usize {
        return Err(bad("it has too many digits behind the point"));
    }
    let scaled = |part: &str| part.parse::<i64>().ok();
    let unit = 10_i64.pow(decimals);
    let whole = scaled(whole).and_then(|whole| whole.checked_mul(unit));
    let fraction = if fraction.is_empty() {
        Some(0)
    } else {
        scaled(fraction).and_then(|digits| digits.checked_mul(10_i64.pow(decimals - fraction.len() as u32)))
    };
    whole.zip(fraction).and_then(|(whole, fraction)| whole.checked_add(fraction)).ok_or_else(|| bad("it is too large"))
}

fn write(f: &mut fmt::Formatter<'_>, units: i64, decimals: usize) -> fmt::Result {
    let unit = 10_u64.pow(decimals as u32);
    let (whole, fraction) = (units.unsigned_abs() / unit, units.unsigned_abs() % unit);
    let sign = if units < 0 { "-" } else { "" };
    if fraction == 0 {
        return write!(f, "{sign}{whole}");
    }
    let digits = format!("{fraction:0decimals$}");
    write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// An amount with so many decimals as whole units of the last, if it is one exactly.
fn units(value: Decimal, decimals: u32) -> Option<i64> {
    let value = value.normalize();
    let more = decimals.checked_sub(value.scale())?;
    let units = value.mantissa().checked_mul(10_i128.checked_pow(more)?)?;
    i64::try_from(units).ok()
}

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident, $decimals:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// The largest there is.
            pub const MAX: Self = Self(i64::MAX);

            /// Of so many of the smallest unit, as it is kept in a database.
            #[must_use]
            pub const fn from_units(units: i64) -> Self {
                Self(units)
            }

            /// How many of the smallest unit it is.
            #[must_use]
            pub const fn units(self) -> i64 {
                self.0
            }

            /// Of a whole number; none when it is too large.
            #[must_use]
            pub const fn whole(number: i64) -> Option<Self> {
                match number.checked_mul(10_i64.pow($decimals)) {
                    Some(units) => Some(Self(units)),
                    None => None,
                }
            }

            /// Reads plain digits: no sign, no exponent.
            ///
            /// # Errors
            /// [`BadAmount`] when it is something else, too fine or too large.
            pub fn parse(text: &str) -> Result<Self, BadAmount> {
                parse(text, $decimals, $what).map(Self)
            }

            /// The same as a decimal.
            #[must_use]
            pub fn decimal(self) -> Decimal {
                Decimal::from_i128_with_scale(i128::from(self.0), $decimals).normalize()
            }

            /// Of a decimal, if it is not finer than what is kept and in range.
            #[must_use]
            pub fn from_decimal(value: Decimal) -> Option<Self> {
                units(value, $decimals).map(Self)
            }

            /// The sum, if it is in range.
            #[must_use]
            pub const fn plus(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(units) => Some(Self(units)),
                    None => None,
                }
            }

            /// The difference, if it is in range.
            #[must_use]
            pub const fn minus(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(units) => Some(Self(units)),
                    None => None,
                }
            }

            /// The difference, and nothing where the other is larger.
            #[must_use]
            pub const fn less(self, other: Self) -> Self {
                let rest = self.0.saturating_sub(other.0);
                Self(if rest < 0 { 0 } else { rest })
            }

            /// Without its sign.
            #[must_use]
            pub const fn magnitude(self) -> Self {
                Self(self.0.saturating_abs())
            }

            /// Whether it is more than nothing.
            #[must_use]
            pub const fn is_positive(self) -> bool {
                self.0 > 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(f, self.0, $decimals)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadAmount;
            fn from_str(text: &str) -> Result<Self, BadAmount> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadAmount;
            /// As it is kept: a sign is allowed, because a loss and a short position have one.
            fn try_from(text: String) -> Result<Self, BadAmount> {
                match text.strip_prefix('-') {
                    Some(rest) => Self::parse(rest).map(|amount| Self(-amount.0)),
                    None => Self::parse(&text),
                }
            }
        }

        impl From<$name> for String {
            fn from(amount: $name) -> String {
                amount.to_string()
            }
        }
    };
}

amount!(
    /// US dollars, to the millionth; up to 9.2 million millions of them.
    Usd, 6, "an amount of dollars (at most six digits behind the point)"
);
amount!(
    /// Shares, coins or contracts, to the thousand-millionth (a venue takes nine decimals). Of a position, below zero is short.
    Qty, 9, "a quantity (at most nine digits behind the point)"
);
amount!(
    /// US dollars for one share, coin, or unit of what a contract is about, to the thousand-millionth.
    Price, 9, "a price (at most nine digits behind the point)"
);
amount!(
    /// A share of something in percent, to the hundredth of one.
    Percent, 2, "a percentage (at most two digits behind the point)"
);

/// Units of a product of price and quantity (10^-18) in one of dollars (10^-6).
const PRODUCT_UNITS: i128 = 1_000_000_000_000;

/// Divides and rounds away from zero. The divisor is above zero.
fn divide_up(value: i128, divisor: i128) -> i128 {
    let rest = value % divisor;
    value / divisor
        + if rest > 0 {
            1
        } else if rest < 0 {
            -1
        } else {
            0
        }
}

impl Price {
    /// What a quantity costs at this price, rounded up; none when it is too much.
    #[must_use]
    pub fn times(self, qty: Qty) -> Option<Usd> {
        let product = i128::from(self.0).checked_mul(i128::from(qty.0))?;
        i64::try_from(divide_up(product, PRODUCT_UNITS)).ok().map(Usd)
    }

    /// This price and a share of it more, rounded up.
    #[must_use]
    pub fn above(self, percent: Percent) -> Option<Self> {
        self.0.checked_add(percent.of(self.0)?).map(Self)
    }

    /// This price less a share of it, and never below nothing.
    #[must_use]
    pub fn below(self, percent: Percent) -> Option<Self> {
        Some(Self(self.0.checked_sub(percent.of_down(self.0)?)?.max(0)))
    }
}

impl Usd {
    /// How much one has for so many dollars at a price, rounded up; none when the price is nothing, or it is too much.
    #[must_use]
    pub fn at(self, price: Price) -> Option<Qty> {
        if price.0 <= 0 {
            return None;
        }
        let units = i128::from(self.0).checked_mul(PRODUCT_UNITS)?;
        i64::try_from(divide_up(units, i128::from(price.0))).ok().map(Qty)
    }

    /// A share of it, rounded down.
    #[must_use]
    pub fn share(self, percent: Percent) -> Option<Self> {
        percent.of_down(self.0).map(Self)
    }

    /// How much of `whole` it is, in percent, rounded up, so that it is above a limit exactly where the amounts are; none when that is
    /// nothing.
    #[must_use]
    pub fn percent_of(self, whole: Self) -> Option<Percent> {
        if whole.0 <= 0 {
            return None;
        }
        let hundredths = i128::from(self.0).checked_mul(10_000)?;
        i64::try_from(divide_up(hundredths, i128::from(whole.0))).ok().map(Percent)
    }

    /// As [`Usd::percent_of`], rounded towards nothing, so that it reaches a limit exactly where the amounts do.
    #[must_use]
    pub fn percent_of_down(self, whole: Self) -> Option<Percent> {
        if whole.0 <= 0 {
            return None;
        }
        let hundredths = i128::from(self.0).checked_mul(10_000)?;
        i64::try_from(hundredths / i128::from(whole.0)).ok().map(Percent)
    }
}

impl Qty {
    /// A share of it, rounded up.
    #[must_use]
    pub fn share(self, percent: Percent) -> Option<Self> {
        percent.of(self.0).map(Self)
    }

    /// So many times it.
    #[must_use]
    pub fn repeated(self, times: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(times)).map(Self)
    }
}

impl Percent {
    fn of(self, units: i64) -> Option<i64> {
        i64::try_from(divide_up(i128::from(units).checked_mul(i128::from(self.0))?, 10_000)).ok()
    }

    fn of_down(self, units: i64) -> Option<i64> {
        i64::try_from(i128::from(units).checked_mul(i128::from(self.0))? / 10_000).ok()
    }

    /// So many times it.
    #[must_use]
    pub fn repeated(self, times: u32) -> Option<Self> {
        self.0.checked_mul(i64::from(times)).map(Self)
    }
}
