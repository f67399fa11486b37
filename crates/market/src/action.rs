//! Corporate actions that change what a price means: splits and cash dividends.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::{
    bar::Symbol,
    read::{ReadError, table},
};

/// What a company did to its shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One share became this many.
    Split(Decimal),
    /// Paid in cash on each share, in the currency of the prices.
    Dividend(Decimal),
}

/// One corporate action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Whose.
    pub symbol: Symbol,
    /// The first day on which a share is traded without what was paid, or after the split.
    pub ex_date: Date,
    /// What.
    pub kind: Kind,
}

/// The header of a table of actions, in this order.
pub const HEADER: [&str; 5] = ["symbol", "ex_date", "kind", "value", "source"];

/// Reads a table of actions with [`HEADER`].
///
/// # Errors
/// The first line that cannot be read.
pub fn actions(file: &str, text: &str) -> Result<Vec<Action>, ReadError> {
    let mut actions = Vec::new();
    table(file, text, &HEADER, |row| {
        let symbol = row.field(0, HEADER[0], "a symbol", |t| Symbol::parse(t).ok())?;
        let ex_date = row.date(1, HEADER[1])?;
        let make = row.field(2, HEADER[2], "`split` or `dividend`", |t| match t {
            "split" => Some(Kind::Split as fn(Decimal) -> Kind),
            "dividend" => Some(Kind::Dividend as fn(Decimal) -> Kind),
            _ => None,
        })?;
        let value = row.decimal(3, HEADER[3])?;
        row.field(3, HEADER[3], "positive", |_| (value > Decimal::ZERO).then_some(()))?;
        actions.push(Action { symbol, ex_date, kind: make(value) });
        Ok(())
    })?;
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_without_meaning_is_refused() {
        let read = |row: &str| actions("a.csv", &format!("symbol,ex_date,kind,value,source\n{row}\n"));
        assert_eq!(read("X,2000-01-03,split,2,known").expect("a good row")[0].kind, Kind::Split(Decimal::TWO));
        for (row, expected) in [
            ("x,2000-01-03,split,2,", "a.csv:2: symbol `x` is not a symbol"),
            ("X,2000-01-03,merger,2,", "a.csv:2: kind `merger` is not `split` or `dividend`"),
            ("X,2000-01-03,split,0,", "a.csv:2: value `0` is not positive"),
            ("X,2000-01-03,dividend,-1,", "a.csv:2: value `-1` is not positive"),
        ] {
            assert_eq!(read(row).expect_err("it is refused").to_string(), expected);
        }
    }
}
