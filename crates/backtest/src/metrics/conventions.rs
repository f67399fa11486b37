//! The table of figures: name, unit, definition and source of each, in the order in which they are shown.

use serde::Serialize;

/// Which way a figure is better, for whoever ranks by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The larger.
    Higher,
    /// The smaller.
    Lower,
    /// It says nothing by itself.
    Neither,
}

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Convention {
    /// Its name, as in JSON.
    pub name: &'static str,
    /// What it is called in a report.
    pub title: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    /// Which way it is better.
    pub better: Better,
    /// How it is computed, and when there is none.
    pub definition: &'static str,
    /// Whose definition that is, and whose differs.
    pub source: &'static str,
}

/// What a figure is measured in, which says how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0.05 is five percent.
    Fraction,
    /// The same, of a year.
    FractionAYear,
    /// A number without a unit.
    Ratio,
    /// The account's currency.
    Currency,
    /// A count.
    Count,
    /// Days of the calendar.
    Days,
    /// Years.
    Years,
    /// A probability from 0 to 1.
    Probability,
}

impl Unit {
    /// The unit in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fraction => "fraction",
            Self::FractionAYear => "fraction a year",
            Self::Ratio => "ratio",
            Self::Currency => "currency",
            Self::Count => "count",
            Self::Days => "days",
            Self::Years => "years",
            Self::Probability => "probability",
        }
    }

    /// The figure as text: percent with two places, ratios with three, `n/a` where there is none.
    #[must_use]
    pub fn text(self, figure: Option<f64>) -> String {
        let Some(value) = figure.filter(|value| value.is_finite()) else { return String::from("n/a") };
        let text = match self {
            Self::Fraction | Self::FractionAYear | Self::Probability => format!("{:.2} %", value * 100.0),
            Self::Ratio => format!("{value:.3}"),
            Self::Currency | Self::Years => format!("{value:.2}"),
            Self::Count | Self::Days => format!("{value:.0}"),
        };
        // What was rounded to zero has no sign.
        let zero = text.starts_with('-') && text.bytes().all(|b| !b.is_ascii_digit() || b == b'0');
        if zero { text[1..].to_owned() } else { text }
    }
}

/// A value of a table as a figure.
pub(crate) trait Figure {
    /// The figure, if there is one.
    fn figure(&self) -> Option<f64>;
}

impl Figure for Option<f64> {
    fn figure(&self) -> Option<f64> {
        *self
    }
}

impl Figure for f64 {
    fn figure(&self) -> Option<f64> {
        Some(*self)
    }
}

impl Figure for u64 {
    fn figure(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "counts of bars, days and trades are below 2^53")]
        let figure = *self as f64;
        Some(figure)
    }
}

/// A table of figures and facts as a struct: each figure's field, name, unit, which way it is better, definition and source stand once.
macro_rules! figures {
    ($(#[doc = $what:literal])+ $table:ident;
        $($(#[doc = $about:literal])+ $name:ident: $type:ty, $title:literal, $unit:ident, $better:ident, $source:literal;)+ ---
        $($(#[doc = $fact:literal])+ $field:ident: $kind:ty;)+) => {
        $(#[doc = $what])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $table {
            $($(#[doc = $about])+ pub $name: $type,)+
            $($(#[doc = $fact])+ pub $field: $kind,)+
        }

        impl $table {
            /// What every figure is, in the order in which they are shown.
            pub const CONVENTIONS: &'static [$crate::metrics::Convention] = &[$($crate::metrics::Convention {
                name: stringify!($name),
                title: $title,
                unit: $crate::metrics::Unit::$unit,
                better: $crate::metrics::Better::$better,
                definition: concat!($($about),+).trim_ascii(),
                source: $source,
            }),+];

            /// The figure of that name. `None` when there is no such figure, or when this one has none.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<f64> {
                match name {
                    $(stringify!($name) => $crate::metrics::Figure::figure(&self.$name),)+
                    _ => None,
                }
            }

            /// Every figure with its convention, and as text in its unit.
            pub fn rows(&self) -> impl Iterator<Item = (&'static $crate::metrics::Convention, Option<f64>, String)> {
                Self::CONVENTIONS.iter().map(|convention| {
                    let figure = self.get(convention.name);
                    (convention, figure, convention.unit.text(figure))
                })
            }
        }
    };
}
pub(crate) use figures;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_written_in_its_unit() {
        assert_eq!(Unit::Fraction.text(Some(-0.28846)), "-28.85 %");
        assert_eq!(Unit::Fraction.text(Some(-0.000_01)), "0.00 %");
        assert_eq!(Unit::Ratio.text(Some(0.990_116)), "0.990");
        assert_eq!(Unit::Count.text(Some(12.0)), "12");
        assert_eq!(Unit::Ratio.text(None), "n/a");
        assert_eq!(Unit::Ratio.text(Some(f64::NAN)), "n/a");
    }
}
