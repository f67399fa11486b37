//! Tables that sort: the first rows as markup, so that they print and need no script, and all of them as data for the script.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    input::{Backtest, Parts, Row, Source, Sweep, Value},
    write::{counted, escaped, json_number, json_string},
};
use crate::types::Side;

/// Rows as markup; the script shows as many at once.
pub(super) const PAGE_ROWS: usize = 50;
/// Rows in a report. What is beyond is said to be.
pub(super) const ROWS_MAX: usize = 20_000;
/// Characters of the reason why a run failed, which a strategy writes.
const REASON_CHARS_MAX: usize = 200;
/// Columns of parameters; the rest of them share one.
const PARAMETERS_MAX: usize = 8;

/// What the cells of a column are, by which the script writes and sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Percent,
    Ratio,
    Money,
    Count,
    /// Sorted by number where all cells are numbers.
    Text,
}

struct Column {
    name: String,
    kind: Kind,
    cells: Vec<Value>,
}

impl Column {
    fn new(name: impl Into<String>, cells: Vec<Value>) -> Self {
        let kind = |value: &Value| match value {
            Value::None => None,
            Value::Fraction(_) => Some(Kind::Percent),
            Value::Ratio(_) => Some(Kind::Ratio),
            Value::Money(_) => Some(Kind::Money),
            Value::Count(_) => Some(Kind::Count),
            Value::Day(_) | Value::Text(_) => Some(Kind::Text),
        };
        let first = cells.iter().find_map(kind).unwrap_or(Kind::Text);
        let same = cells.iter().all(|cell| kind(cell).is_none_or(|kind| kind == first));
        Self { name: name.into(), kind: if same { first } else { Kind::Text }, cells }
    }

    fn texts(name: &str, cells: impl Iterator<Item = String>) -> Self {
        Self::new(name, cells.map(Value::Text).collect())
    }

    /// Numbers stand on the right.
    fn on_the_right(&self) -> bool {
        self.kind != Kind::Text || self.cells.iter().all(|cell| parsed(&cell.written()).is_some())
    }
}

fn parsed(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A table with a name by which the script finds its data.
pub(super) struct Table {
    id: &'static str,
    caption: String,
    columns: Vec<Column>,
    /// How many rows there were.
    of: usize,
}

impl Table {
    /// All runs of a sweep.
    pub(super) fn runs(sweep: &Sweep, parts: Option<&Parts>) -> Self {
        let rows = &sweep.rows[..sweep.rows.len().min(ROWS_MAX)];
        let rank = (1..=rows.len()).map(|rank| Value::Count(rank as u64)).collect();
        let mut columns = vec![
            Column::new("Rank", rank),
            Column::texts("Strategy", rows.iter().map(|row| row.strategy.clone())),
            Column::texts("Symbols", rows.iter().map(|row| row.symbols.clone())),
        ];
        columns.extend(parameters(rows));
        columns.extend(sweep.columns.iter().enumerate().map(|(at, name)| {
            Column::new(name.clone(), rows.iter().map(|row| row.values.get(at).cloned().unwrap_or_default()).collect())
        }));
        let hold = |row: &Row| row.total_return.hold.map_or(Value::None, Value::Fraction);
        // Beside figures of where runs are ranked, it says of where they are judged how they compare with it.
        if parts.is_some() {
            let own = |row: &Row| row.total_return.own.map_or(Value::None, Value::Fraction);
            columns.push(Column::new("Return, judged", rows.iter().map(own).collect()));
        }
        let name = if parts.is_some() { "Buy and hold, judged" } else { "Buy and hold" };
        columns.push(Column::new(name, rows.iter().map(hold).collect()));
        if rows.iter().any(|row| row.source != rows[0].source) {
            columns.push(Column::texts("How", rows.iter().map(|row| computed_by(row.source).to_owned())));
        }
        if rows.iter().any(|row| row.failure.is_some()) {
            let reason =
                |row: &Row| row.failure.iter().flat_map(|why| why.chars().take(REASON_CHARS_MAX)).collect::<String>();
            columns.push(Column::texts("Failed because", rows.iter().map(reason)));
        }
        let mut caption = format!("All runs, ranked by {}", sweep.metric);
        if let Some(parts) = parts {
            let _ =
                write!(caption, " on {}; figures are of there, what is judged is of {}", parts.ranked, parts.judged);
        }
        Self { id: "runs", caption, columns, of: sweep.rows.len() }
    }

    /// The round trips of a run.
    pub(super) fn trades(run: &Backtest) -> Self {
        let rows = &run.trades[..run.trades.len().min(ROWS_MAX)];
        let money = |get: fn(&crate::types::Trade) -> f64| rows.iter().map(|trade| Value::Money(get(trade))).collect();
        let side = |side| if side == Side::Long { "long" } else { "short" };
        let columns = vec![
            Column::texts("Symbol", rows.iter().map(|trade| trade.symbol.to_string())),
            Column::texts("Side", rows.iter().map(|trade| side(trade.side).to_owned())),
            Column::new("Entry", rows.iter().map(|trade| Value::Day(trade.entry)).collect()),
            Column::texts(
                "Exit",
                rows.iter().map(|t| if t.open { format!("{}, open", t.exit) } else { t.exit.to_string() }),
            ),
            Column::new("Bars", rows.iter().map(|trade| Value::Count(trade.bars.into())).collect()),
            Column::new("Shares", money(|trade| trade.quantity)),
            Column::new("Entry price", money(|trade| trade.entry_price)),
            Column::new("Exit price", money(|trade| trade.exit_price)),
            Column::new("Costs", money(|trade| trade.costs)),
            Column::new("Profit", money(|trade| trade.profit)),
            Column::new("Return", rows.iter().map(|trade| Value::Fraction(trade.return_on_entry)).collect()),
        ];
        Self {
            id: "trades",
            caption: "Round trips, in the order in which they ended".into(),
            columns,
            of: run.trades.len(),
        }
    }

    fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.cells.len())
    }

    /// The table, with its first rows.
    pub(super) fn html(&self) -> String {
        let (rows, shown) = (self.rows(), self.rows().min(PAGE_ROWS));
        let mut out = format!(
            r#"<div class="scroll" tabindex="0" role="region" aria-label="{0}"><table class="sorts" id="{1}"><caption>{0}</caption><thead><tr>"#,
            escaped(&self.caption),
            self.id
        );
        for column in &self.columns {
            let class = if column.on_the_right() { r#" class="n""# } else { "" };
            let _ = write!(out, r#"<th scope="col"{class}>{}</th>"#, escaped(&column.name));
        }
        out.push_str("</tr></thead><tbody>");
        let classes: Vec<bool> = self.columns.iter().map(Column::on_the_right).collect();
        for row in 0..shown {
            out.push_str("<tr>");
            for (column, right) in self.columns.iter().zip(&classes) {
                let class = if *right { r#" class="n""# } else { "" };
                let _ = write!(out, "<td{class}>{}</td>", escaped(&column.cells[row].written()));
            }
            out.push_str("</tr>");
        }
        let _ = write!(out, r#"</tbody></table></div><p class="pages" id="{}-pages">"#, self.id);
        if shown < rows {
            let _ = write!(out, "The first {shown} of {}.", counted(rows, "row"));
        }
        out.push_str("</p>");
        if rows < self.of {
            let _ = write!(
                out,
                "<p>The report holds the first {} of {}.</p>",
                counted(rows, "row"),
                counted(self.of, "row")
            );
        }
        out
    }

    /// `"id":{…}` for the script: each column as what it shows, so that the script shows the same.
    pub(super) fn json(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(column_json).collect();
        format!(r#""{}":{{"page":{PAGE_ROWS},"columns":[{}]}}"#, self.id, columns.join(","))
    }
}

fn column_json(column: &Column) -> String {
    let (kind, decimals, factor) = match column.kind {
        Kind::Percent => ("percent", 2, 100.0),
        Kind::Ratio => ("number", 3, 1.0),
        Kind::Money => ("number", 2, 1.0),
        Kind::Count => ("number", 0, 1.0),
        Kind::Text => return text_json(column),
    };
    let mut cells = String::new();
    for (at, cell) in column.cells.iter().enumerate() {
        if at > 0 {
            cells.push(',');
        }
        cells.push_str(&json_number(cell.as_number().map_or(f64::NAN, |number| number * factor), decimals));
    }
    format!(r#"{{"kind":"{kind}","decimals":{decimals},"cells":[{cells}]}}"#)
}

/// Each text once, in the order in which they sort, and for each row which of them.
fn text_json(column: &Column) -> String {
    let written: Vec<String> = column.cells.iter().map(Value::written).collect();
    let mut texts: Vec<&String> = written.iter().collect();
    texts.sort_unstable();
    texts.dedup();
    if let Some(numbers) = texts.iter().map(|text| parsed(text)).collect::<Option<Vec<f64>>>() {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]).then(a.cmp(b)));
        texts = order.into_iter().map(|at| texts[at]).collect();
    }
    let place: BTreeMap<&String, usize> = texts.iter().enumerate().map(|(at, text)| (*text, at)).collect();
    let cells: Vec<String> = written.iter().map(|text| place[text].to_string()).collect();
    let texts: Vec<String> = texts.iter().map(|text| json_string(text)).collect();
    format!(r#"{{"kind":"text","texts":[{}],"cells":[{}]}}"#, texts.join(","), cells.join(","))
}

/// A column for each parameter, in the order in which they are first seen.
fn parameters(rows: &[Row]) -> Vec<Column> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.parameters) {
        if !names.contains(&name.as_str()) && names.len() <= PARAMETERS_MAX {
            names.push(name);
        }
    }
    let more = names.len() > PARAMETERS_MAX;
    names.truncate(PARAMETERS_MAX);
    let of = |row: &Row, name: &str| row.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    let mut columns: Vec<Column> = names
        .iter()
        .map(|name| Column::texts(name, rows.iter().map(|row| of(row, name).unwrap_or_default())))
        .collect();
    if more {
        let rest = |row: &Row| {
            let rest = row.parameters.iter().filter(|(name, _)| !names.contains(&name.as_str()));
            rest.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
        };
        columns.push(Column::texts("Other parameters", rows.iter().map(rest)));
    }
    columns
}

/// Who computed a run, in few words.
pub(super) fn computed_by(source: Source) -> &'static str {
    match source {
        Source::Sandbox => "run in a sandbox",
        Source::Native => "run by the native kernel",
        Source::SelfReported => "self-reported",
    }
}
