//! The daily bars that handlers work on: imported ones where there are any of a symbol, else the sample's; adjusted.

use std::{path::PathBuf, sync::LazyLock};

use jiff::civil::Date;
use ringfence_backtest::Panel;
use ringfence_market::{
    Action, Library, Series, Symbol,
    import::{Bars as Imported, Dataset},
    library::Holds,
    sample,
};

/// Where bars come from.
#[derive(Debug, Clone)]
pub(crate) struct Bars {
    /// The directory of imported bars, which may not exist.
    pub(crate) market: PathBuf,
}

/// The sample's symbols, in the order in which agents are given one that they were not told.
pub(crate) const SAMPLE: [&str; 5] = ["AAPL", "MSFT", "GOOG", "IBM", "FB"];

/// Bars and actions, or why there are none.
type Sampled = Result<(Vec<Series>, Vec<Action>), String>;

/// Those of the sample, read once.
static SAMPLED: LazyLock<Sampled> = LazyLock::new(|| {
    let raw = sample::raw().map_err(|e| chain(&e))?;
    Ok((raw, sample::actions().map_err(|e| chain(&e))?))
});

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The day of a text.
///
/// # Errors
/// It is none: a sentence.
pub(crate) fn day(name: &str, text: Option<&str>) -> Result<Option<Date>, String> {
    text.map(|text| text.parse().map_err(|_| format!("`{name}` is not a day: write YYYY-MM-DD"))).transpose()
}

impl Bars {
    /// Daily bars of symbols on one time line, from the first day on which all of them have one, within the days asked for.
    ///
    /// # Errors
    /// A symbol that nobody has, or fewer than two days: a sentence.
    pub(crate) fn panel(&self, symbols: &[String], start: Option<&str>, end: Option<&str>) -> Result<Panel, String> {
        let (start, end) = (day("start", start)?, day("end", end)?);
        let symbols: Vec<Symbol> =
            symbols.iter().map(|text| Symbol::parse(text).map_err(|e| e.to_string())).collect::<Result<_, _>>()?;
        let library = Library::open(&self.market).map_err(|e| chain(&e))?;
        let has = |symbol: &Symbol, holds| {
            library.entries().iter().any(|entry| entry.symbol == symbol.as_str() && entry.holds == holds)
        };
        let (own, mut actions) = match symbols.iter().any(|s| has(s, Holds::Day) || has(s, Holds::Actions)) {
            true => library.datasets().map_err(|e| chain(&e))?,
            false => (Vec::new(), Vec::new()),
        };
        let (raw, sample_actions) = SAMPLED.as_ref().map_err(Clone::clone)?;
        let mut datasets = Vec::new();
        for symbol in &symbols {
            let imported = own.iter().find(|set| set.symbol == *symbol && matches!(set.bars, Imported::Day(_)));
            if let Some(set) = imported {
                datasets.push(set.clone());
                continue;
            }
            let Some(series) = raw.iter().find(|series| series.symbol() == symbol) else {
                return Err(format!(
                    "there are no daily bars of {symbol}: the sample holds {}, and `ringfence data import` adds others",
                    SAMPLE.join(", ")
                ));
            };
            datasets.push(Dataset { symbol: symbol.clone(), bars: Imported::Day(series.bars().to_vec()) });
            if !has(symbol, Holds::Actions) {
                actions.extend(sample_actions.iter().filter(|action| action.symbol == *symbol).cloned());
            }
        }
        let panel = Panel::of(&datasets, &actions).map_err(|e| chain(&e))?;
        let first = panel.columns().iter().filter_map(|c| (0..panel.len()).find(|row| c.has(*row))).max().unwrap_or(0);
        let mut rows = panel.between(start, end);
        rows.start = rows.start.max(first);
        if rows.end < rows.start + 2 {
            return Err(format!(
                "there are fewer than two bars between `start` and `end`: those of {} go from {} to {}",
                symbols.iter().map(Symbol::as_str).collect::<Vec<_>>().join(", "),
                panel.label(first),
                panel.label(panel.len() - 1)
            ));
        }
        Ok(panel.window(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(symbols: &[&str], start: Option<&str>, end: Option<&str>) -> Result<Panel, String> {
        let bars = Bars { market: "/nonexistent".into() };
        bars.panel(&symbols.iter().map(ToString::to_string).collect::<Vec<_>>(), start, end)
    }

    #[test]
    fn bars_begin_where_all_have_one_and_what_is_not_there_is_said() {
        assert_eq!(panel(&["AAPL"], None, None).map(|p| p.label(0)), Ok("2000-03-01".to_owned()));
        assert_eq!(
            panel(&["AAPL", "FB"], None, None).map(|p| (p.label(0), p.len())),
            Ok(("2012-05-18".to_owned(), 196))
        );
        assert_eq!(panel(&["IBM"], Some("2010-01-01"), Some("2010-12-31")).map(|p| p.len()), Ok(252));
        for (symbols, start, word) in [
            (&["NOPE"][..], None, "the sample holds AAPL"),
            (&["aapl"], None, "not a symbol"),
            (&["AAPL"], Some("2050-01-01"), "fewer than two"),
            (&["AAPL"], Some("soon"), "YYYY-MM-DD"),
        ] {
            assert!(panel(symbols, start, None).is_err_and(|why| why.contains(word)), "{symbols:?}");
        }
    }
}
