//! The bars of a sweep: chosen once, kept with it, so that a sweep that is taken up after a restart sees what it saw before, whatever
//! was imported meanwhile.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, str::FromStr};

use jiff::{Timestamp, civil::Date};
use ringfence_backtest::panel::{History, Panel};
use ringfence_market::{
    Action, Library, Symbol,
    import::{Bars, Dataset, Interval},
    library::{Holds, LibraryError},
    sample,
};
use ringfence_model::{
    ApiError, Code,
    api::{SweepData, SweepDataView, SweepRequest},
};

/// Bars, aligned, and where they come from.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    /// All symbols on one time line.
    pub(crate) panel: Panel,
    /// `sample`, `imported`, or both.
    pub(crate) source: String,
    /// Whether a split or a dividend lies within them or after them, for which prices before it were adjusted.
    pub(crate) adjusted: bool,
}

/// First line of the file in which bars are kept.
const HEADER: &str = "ringfence bars 1";

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidArgument, message)
}

fn day(name: &str, text: Option<&String>) -> Result<Option<Date>, ApiError> {
    text.map(|text| Date::from_str(text).map_err(|_| invalid(format!("`{name}` is not a day: write YYYY-MM-DD"))))
        .transpose()
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Data {
    /// Chooses the bars that a request asks for.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: symbols that nobody has, days that hold no bars, bars of different lengths.
    pub(crate) fn choose(request: &SweepRequest, market: &Path) -> Result<Self, ApiError> {
        let (start, end) = (day("start", request.start.as_ref())?, day("end", request.end.as_ref())?);
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            return Err(invalid("`start` must be before `end`"));
        }
        let wanted = request.data.unwrap_or_default();
        let library = match wanted {
            SweepData::Sample => None,
            _ => Some(Library::open(market).map_err(|e| broken(&e))?),
        };
        let symbols = symbols(request, library.as_ref(), wanted)?;
        let (datasets, actions, source) = collect(&symbols, library.as_ref(), wanted)?;
        let panel = Panel::of(&datasets, &actions).map_err(|e| invalid(chain(&e)))?;
        let rows = panel.between(start, end);
        if rows.len() < 2 {
            return Err(invalid(format!(
                "between `start` and `end` there are {} bars; the data go from {} to {}",
                rows.len(),
                panel.label(0),
                panel.label(panel.len() - 1)
            )));
        }
        let panel = panel.window(rows);
        let adjusted = is_adjusted(&panel, &datasets, &actions);
        Ok(Self { panel, source, adjusted })
    }

    /// What clients are told.
    pub(crate) fn view(&self) -> SweepDataView {
        let panel = &self.panel;
        let count =
            |columns: &ringfence_backtest::panel::Columns| columns.close.iter().filter(|c| !c.is_nan()).count() as u64;
        SweepDataView {
            sha256: panel.hash(),
            source: self.source.clone(),
            adjusted: self.adjusted,
            interval: panel.interval().as_str().to_owned(),
            first: panel.dates()[0].to_string(),
            last: panel.dates()[panel.len() - 1].to_string(),
            bars: panel.columns().iter().map(|c| (c.symbol.to_string(), count(c))).collect(),
        }
    }

    /// The rows on which every one of `symbols` has been listed: from the first on which all have a bar to the last on which any has
    /// one. Empty when that never is.
    pub(crate) fn rows(&self, symbols: &[Symbol]) -> std::ops::Range<usize> {
        let columns: Vec<_> = self.panel.columns().iter().filter(|c| symbols.contains(&c.symbol)).collect();
        let first = columns.iter().filter_map(|c| (0..self.panel.len()).find(|row| c.has(*row))).max();
        let last = columns.iter().filter_map(|c| (0..self.panel.len()).rev().find(|row| c.has(*row))).max();
        match (first, last) {
            (Some(first), Some(last)) if columns.len() == symbols.len() && first <= last => first..last + 1,
            _ => 0..0,
        }
    }

    /// The bars of some symbols that are traded together. Rows in which none of them has a bar are left out.
    pub(crate) fn of(&self, symbols: &[Symbol]) -> Option<Panel> {
        let rows = self.rows(symbols);
        if rows.is_empty() {
            return None;
        }
        let panel = self.panel.window(rows).only(symbols)?;
        if symbols.len() == self.panel.columns().len() {
            return Some(panel);
        }
        let histories = panel.columns().iter().map(|columns| history(&panel, columns)).collect();
        Panel::new(panel.interval(), histories).ok()
    }

    /// The rows that the bars of [`Self::of`] are.
    pub(crate) fn places(&self, symbols: &[Symbol]) -> Vec<usize> {
        let own: Vec<_> = self.panel.columns().iter().filter(|c| symbols.contains(&c.symbol)).collect();
        self.rows(symbols).filter(|row| own.iter().any(|c| c.has(*row))).collect()
    }

    /// As text, from which [`Self::read`] makes the same again, bit for bit.
    pub(crate) fn write(&self) -> String {
        let panel = &self.panel;
        let mut text = format!("{HEADER}\n{}\n{}\n", self.source, panel.interval().as_str());
        for columns in panel.columns() {
            let History { symbol, dates, times, open, high, low, close, volume } = history(panel, columns);
            let _ = writeln!(text, "{symbol} {}", dates.len());
            for row in 0..dates.len() {
                let at = times.get(row).map_or_else(|| dates[row].to_string(), ToString::to_string);
                let (o, h, l, c, v) = (open[row], high[row], low[row], close[row], volume[row]);
                // The shortest text that is read as the same double.
                let _ = writeln!(text, "{at},{o},{h},{l},{c},{v}");
            }
        }
        text
    }

    /// Reads what [`Self::write`] wrote, which does not say whether it was adjusted. `None` for anything else.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != HEADER {
            return None;
        }
        let source = lines.next()?.to_owned();
        let interval = match lines.next()? {
            "day" => Interval::Day,
            "minute" => Interval::Minute,
            _ => return None,
        };
        let mut histories = Vec::new();
        while let Some(head) = lines.next() {
            let (symbol, rows) = head.split_once(' ')?;
            let rows: usize = rows.parse().ok()?;
            let mut own = History {
                symbol: Symbol::parse(symbol).ok()?,
                dates: Vec::new(),
                times: Vec::new(),
                open: Vec::new(),
                high: Vec::new(),
                low: Vec::new(),
                close: Vec::new(),
                volume: Vec::new(),
            };
            for _ in 0..rows {
                let mut cells = lines.next()?.split(',');
                let at = cells.next()?;
                match interval {
                    Interval::Day => own.dates.push(at.parse().ok()?),
                    Interval::Minute => {
                        let at: Timestamp = at.parse().ok()?;
                        own.dates.push(ringfence_market::new_york::date(at));
                        own.times.push(at);
                    }
                }
                for column in [&mut own.open, &mut own.high, &mut own.low, &mut own.close, &mut own.volume] {
                    column.push(cells.next()?.parse().ok()?);
                }
            }
            histories.push(own);
        }
        Some(Self { panel: Panel::new(interval, histories).ok()?, source, adjusted: false })
    }
}

fn history(panel: &Panel, columns: &ringfence_backtest::panel::Columns) -> History {
    let rows: Vec<usize> = (0..panel.len()).filter(|row| columns.has(*row)).collect();
    let some = |column: &[f64]| rows.iter().map(|row| column[*row]).collect();
    History {
        symbol: columns.symbol.clone(),
        dates: rows.iter().map(|row| panel.dates()[*row]).collect(),
        times: if panel.times().is_empty() { Vec::new() } else { rows.iter().map(|row| panel.times()[*row]).collect() },
        open: some(&columns.open),
        high: some(&columns.high),
        low: some(&columns.low),
        close: some(&columns.close),
        volume: some(&columns.volume),
    }
}

fn broken(error: &LibraryError) -> ApiError {
    tracing::error!(error = %chain(error), "the imported bars cannot be read");
    ApiError::internal("the imported bars cannot be read; `ringfence data check` says why")
}

fn symbols(request: &SweepRequest, library: Option<&Library>, wanted: SweepData) -> Result<Vec<Symbol>, ApiError> {
    let mut symbols: Vec<Symbol> = Vec::new();
    for text in &request.symbols {
        let symbol = Symbol::parse(text).map_err(|e| invalid(e.to_string()))?;
        if symbols.contains(&symbol) {
            return Err(invalid(format!("`symbols` names {symbol} twice")));
        }
        symbols.push(symbol);
    }
    if symbols.is_empty() {
        symbols = match (wanted, library) {
            (SweepData::Imported, Some(library)) => {
                let mut own: Vec<Symbol> =
                    library.entries().iter().filter_map(|e| Symbol::parse(&e.symbol).ok()).collect();
                own.dedup();
                own
            }
            _ => sample::raw().map_err(|e| ApiError::internal(chain(&e)))?.iter().map(|s| s.symbol().clone()).collect(),
        };
    }
    if symbols.is_empty() {
        return Err(invalid(
            "nothing was imported yet: `ringfence data import` does, and `data` `sample` is there always",
        ));
    }
    Ok(symbols)
}

/// Whether any price of these bars was multiplied: by an action between the first of them and the last that there is of its symbol.
fn is_adjusted(panel: &Panel, datasets: &[Dataset], actions: &[Action]) -> bool {
    let last = |bars: &Bars| match bars {
        Bars::Day(bars) => bars.last().map(|bar| bar.date),
        Bars::Minute(minutes) => minutes.last().map(|minute| ringfence_market::new_york::date(minute.at)),
    };
    panel.columns().iter().any(|columns| {
        let first = (0..panel.len()).find(|row| columns.has(*row)).map(|row| panel.dates()[row]);
        let last = datasets.iter().find(|set| set.symbol == columns.symbol).and_then(|set| last(&set.bars));
        let (Some(first), Some(last)) = (first, last) else { return false };
        actions.iter().any(|action| action.symbol == columns.symbol && action.ex_date > first && action.ex_date <= last)
    })
}

/// What there is of each symbol, in the order of the symbols: what was imported comes first, days before minutes.
fn collect(
    symbols: &[Symbol],
    library: Option<&Library>,
    wanted: SweepData,
) -> Result<(Vec<Dataset>, Vec<Action>, String), ApiError> {
    let has = |symbol: &Symbol, holds: &[Holds]| {
        library.is_some_and(|l| l.entries().iter().any(|e| e.symbol == symbol.as_str() && holds.contains(&e.holds)))
    };
    let any = |symbol: &Symbol| has(symbol, &[Holds::Day, Holds::Minute, Holds::Actions]);
    let (own, mut actions) = match library {
        Some(library) if symbols.iter().any(any) => library.datasets().map_err(|e| broken(&e))?,
        _ => (Vec::new(), Vec::new()),
    };
    let mut by_symbol: BTreeMap<&Symbol, Vec<&Dataset>> = BTreeMap::new();
    for dataset in &own {
        by_symbol.entry(&dataset.symbol).or_default().push(dataset);
    }
    let raw = sample::raw().map_err(|e| ApiError::internal(chain(&e)))?;
    let (mut datasets, mut sources) = (Vec::new(), [false, false]);
    for symbol in symbols {
        let imported = by_symbol.get(symbol).and_then(|sets| sets.iter().min_by_key(|set| set.bars.interval()));
        if let Some(set) = imported {
            datasets.push((*set).clone());
            sources[1] = true;
            continue;
        }
        let built_in = raw.iter().find(|series| series.symbol() == symbol).filter(|_| wanted != SweepData::Imported);
        let Some(series) = built_in else {
            let known = raw.iter().map(|s| s.symbol().to_string()).collect::<Vec<_>>().join(", ");
            return Err(invalid(format!(
                "there are no bars of {symbol}: the sample holds {known}, and `ringfence data import` adds others"
            )));
        };
        datasets.push(Dataset { symbol: symbol.clone(), bars: Bars::Day(series.bars().to_vec()) });
        sources[0] = true;
        // Imported actions of a symbol take the place of the sample's.
        if has(symbol, &[Holds::Actions]) {
            continue;
        }
        let own = sample::actions().map_err(|e| ApiError::internal(chain(&e)))?;
        actions.extend(own.into_iter().filter(|action| action.symbol == *symbol));
    }
    let source = match sources {
        [true, true] => "sample and imported",
        [false, true] => "imported",
        _ => "sample",
    };
    Ok((datasets, actions, source.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: serde_json::Value) -> SweepRequest {
        serde_json::from_value(json).expect("a request")
    }

    fn choose(json: serde_json::Value) -> Result<Data, ApiError> {
        Data::choose(&request(json), Path::new("/nonexistent"))
    }

    #[test]
    fn bars_are_read_back_bit_for_bit() {
        let bars = choose(serde_json::json!({"strategy": "x"})).expect("the sample");
        let again = Data::read(&bars.write()).expect("readable");
        assert_eq!(again.panel, bars.panel);
        assert_eq!(again.panel.hash(), bars.view().sha256);
        assert_eq!((bars.source.as_str(), bars.view().bars["FB"]), ("sample", 196));
        for broken in ["", "ringfence bars 2\nsample\nday\n", "ringfence bars 1\nsample\nday\nAAPL 1\n2020-01-02,1,1\n"]
        {
            assert!(Data::read(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn bars_without_a_later_split_or_dividend_are_not_called_adjusted() {
        let adjusted = |asked: serde_json::Value| choose(asked).expect("the sample").view().adjusted;
        assert!(adjusted(serde_json::json!({"strategy": "x", "symbols": ["AAPL"]})));
        // What came after the last day that is asked for is in the prices all the same.
        assert!(adjusted(
            serde_json::json!({"strategy": "x", "symbols": ["AAPL"], "start": "2010-01-04", "end": "2010-06-30"})
        ));
        assert!(!adjusted(serde_json::json!({"strategy": "x", "symbols": ["FB"]})));
        assert!(adjusted(serde_json::json!({"strategy": "x", "symbols": ["FB", "AAPL"]})));
    }

    #[test]
    fn symbols_that_are_traded_together_begin_with_the_last_of_them() {
        let bars = choose(serde_json::json!({"strategy": "x", "symbols": ["AAPL", "GOOG", "FB"]})).expect("the sample");
        let of = |names: &[&str]| {
            let symbols: Vec<Symbol> = names.iter().map(|n| Symbol::parse(n).expect("a symbol")).collect();
            bars.of(&symbols).expect("bars").len()
        };
        assert_eq!((of(&["FB"]), of(&["AAPL", "FB"])), (196, 196));
        assert!(of(&["AAPL", "GOOG"]) > 2000 && of(&["AAPL"]) > 3000);
        for names in [&["AAPL"][..], &["FB"], &["FB", "AAPL"], &["AAPL", "FB", "GOOG"]] {
            let symbols: Vec<Symbol> = names.iter().map(|n| Symbol::parse(n).expect("a symbol")).collect();
            let dates: Vec<_> = bars.places(&symbols).into_iter().map(|row| bars.panel.dates()[row]).collect();
            assert_eq!(dates, bars.of(&symbols).expect("bars").dates(), "{names:?}");
        }
        // What the seed's five symbols share is all that the last of them has.
        let all = choose(serde_json::json!({"strategy": "x"})).expect("the sample");
        let shared = (0..all.panel.len()).filter(|row| all.panel.columns().iter().all(|columns| columns.has(*row)));
        assert_eq!((all.panel.columns().len(), shared.count()), (5, 196));
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for (json, word) in [
            (serde_json::json!({"symbols": ["NOPE"]}), "the sample holds AAPL, FB"),
            (serde_json::json!({"symbols": ["aapl"]}), "is not a symbol"),
            (serde_json::json!({"symbols": ["AAPL", "AAPL"]}), "twice"),
            (serde_json::json!({"start": "2050-01-01"}), "0 bars"),
            (serde_json::json!({"start": "x"}), "YYYY-MM-DD"),
            (serde_json::json!({"start": "2010-01-04", "end": "2010-01-04"}), "before"),
            (serde_json::json!({"data": "imported"}), "imported"),
        ] {
            let error = choose(json).expect_err("refused");
            assert!(error.message.contains(word), "{}", error.message);
        }
        let bars =
            choose(serde_json::json!({"symbols": ["IBM"], "start": "2010-01-04", "end": "2010-12-31"})).expect("bars");
        assert_eq!(
            (bars.view().first.as_str(), bars.view().last.as_str(), bars.panel.len()),
            ("2010-01-04", "2010-12-31", 252)
        );
    }
}
