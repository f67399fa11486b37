//! The whole table of a sweep as CSV or Parquet: a row for each run, a column for each parameter and figure.

use std::{collections::BTreeSet, sync::Arc};

use parquet::{
    basic::{Compression, LogicalType, Repetition, Type as Physical},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::{Type, TypePtr},
};
use ringfence_model::api::{SweepFigures, SweepResult};
use serde_json::{Map, Value};

/// A table: names of columns, and the cells of each row in their order. A cell is null, a boolean, a number or a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// Prefix of the columns that judge instead of ranking.
const OUT: &str = "out_of_sample_";

fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

impl Table {
    /// A table of results, in their order.
    pub(crate) fn new(results: &[SweepResult]) -> Self {
        let parameters: BTreeSet<&String> = results.iter().flat_map(|result| result.parameters.keys()).collect();
        let figures: Vec<String> = figure_names();
        let judged = results.iter().any(|result| result.out_of_sample.is_some());
        let lead = ["rank", "run", "strategy", "symbols"].map(str::to_owned);
        let mut columns: Vec<String> = lead.into();
        // A parameter may be called as a figure is.
        columns.extend(parameters.iter().map(|name| format!("parameter_{name}")));
        columns.extend(["status", "engine"].map(str::to_owned));
        columns.extend(figures.iter().cloned());
        if judged {
            columns.extend(figures.iter().map(|name| format!("{OUT}{name}")));
        }
        columns.extend(
            ["buy_and_hold_return", "beats_buy_and_hold", "bars", "self_reported", "look_ahead", "error"]
                .map(str::to_owned),
        );
        let row = |result: &SweepResult| {
            let own = result.metrics.as_ref().map(object).unwrap_or_default();
            let out = result.out_of_sample.as_ref().map(object).unwrap_or_default();
            let cell = |object: &Map<String, Value>, name: &String| object.get(name).cloned().unwrap_or_default();
            let mut cells: Vec<Value> = vec![
                result.rank.into(),
                result.run.into(),
                result.strategy.clone().into(),
                result.symbols.join("+").into(),
            ];
            cells.extend(parameters.iter().map(|name| result.parameters.get(*name).cloned().unwrap_or_default()));
            cells.extend([result.status.clone().into(), result.engine.clone().into()]);
            cells.extend(figures.iter().map(|name| cell(&own, name)));
            if judged {
                cells.extend(figures.iter().map(|name| cell(&out, name)));
            }
            cells.extend([
                result.buy_and_hold_return.into(),
                result.beats_buy_and_hold.into(),
                result.bars.into(),
                result.self_reported.into(),
                result.look_ahead.clone().into(),
                result.error.clone().into(),
            ]);
            cells
        };
        Self { rows: results.iter().map(row).collect(), columns }
    }

    /// As CSV with a header. What there is none of is an empty cell. A text that a spreadsheet would take for a formula gets a quote
    /// before it: strategies choose some of these texts.
    pub(crate) fn csv(&self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        // Nothing can fail: it is written into memory, and every row has a cell for each column.
        let _ = writer.write_record(&self.columns);
        for row in &self.rows {
            let _ = writer.write_record(row.iter().map(cell));
        }
        writer.into_inner().unwrap_or_default()
    }

    /// As Parquet: numbers as doubles, booleans, texts; a column of different kinds as text. One row group.
    ///
    /// # Errors
    /// The encoder's.
    pub(crate) fn parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let columns: Vec<(&String, Column)> =
            self.columns.iter().enumerate().map(|(at, name)| (name, self.column(at, name))).collect();
        let fields = columns.iter().map(|(name, column)| column.field(name)).collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("sweep").with_fields(fields).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
        let mut rows = writer.next_row_group()?;
        for (_, column) in columns {
            match column {
                Column::Boolean(cells) => write::<BoolType>(&mut rows, cells)?,
                Column::Double(cells) => write::<DoubleType>(&mut rows, cells)?,
                Column::Text(cells) => write::<ByteArrayType>(&mut rows, cells)?,
            }
        }
        rows.close()?;
        writer.into_inner()
    }

    fn column(&self, at: usize, name: &str) -> Column {
        let cells = || self.rows.iter().map(|row| &row[at]);
        let all = |is: fn(&Value) -> bool| cells().all(|cell| cell.is_null() || is(cell));
        let any = cells().any(|cell| !cell.is_null());
        if any && all(Value::is_boolean) {
            Column::Boolean(cells().map(Value::as_bool).collect())
        } else if is_number(name) || any && all(Value::is_number) {
            Column::Double(cells().map(Value::as_f64).collect())
        } else {
            let text = |cell: &Value| match cell {
                Value::Null => None,
                Value::String(text) => Some(text.as_str().into()),
                other => Some(other.to_string().into_bytes().into()),
            };
            Column::Text(cells().map(text).collect())
        }
    }
}

/// The cells of a column; none is null.
enum Column {
    Boolean(Vec<Option<bool>>),
    Double(Vec<Option<f64>>),
    Text(Vec<Option<ByteArray>>),
}

impl Column {
    fn field(&self, name: &str) -> Result<TypePtr, ParquetError> {
        let (physical, logical) = match self {
            Self::Boolean(_) => (Physical::BOOLEAN, None),
            Self::Double(_) => (Physical::DOUBLE, None),
            Self::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let field = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        field.with_logical_type(logical).build().map(Arc::new)
    }
}

/// Writes the next column of the schema. Of an optional column the definition level of a cell is 1, of a null 0
/// (Parquet format, "Nested Encoding").
fn write<T: DataType>(
    rows: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    cells: Vec<Option<T::T>>,
) -> Result<(), ParquetError> {
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    let Some(mut column) = rows.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns than the table".into()));
    };
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

fn figure_names() -> Vec<String> {
    // In the order of their declaration, which JSON objects here do not keep.
    let text = serde_json::to_string(&SweepFigures::default()).unwrap_or_default();
    let names = text.split('"').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// Whether a column is of numbers also when all of its cells are empty.
fn is_number(name: &str) -> bool {
    let name = name.strip_prefix(OUT).unwrap_or(name);
    !name.starts_with("drawdown_") && figure_names().iter().any(|figure| figure == name)
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::Field,
    };
    use serde_json::json;

    use super::*;

    fn results() -> Vec<SweepResult> {
        let one = |run: u64, fast: Value, error: Option<&str>| SweepResult {
            rank: (run == 0).then_some(1),
            run,
            strategy: "code".into(),
            symbols: vec!["AAPL".into(), "IBM".into()],
            parameters: [("fast".to_owned(), fast)].into(),
            status: "completed".into(),
            error: error.map(str::to_owned),
            engine: "sandbox".into(),
            self_reported: false,
            metrics: (run == 0).then(|| SweepFigures { sharpe: Some(0.1 + 0.2), ..SweepFigures::default() }),
            out_of_sample: None,
            buy_and_hold_return: None,
            beats_buy_and_hold: Some(true),
            bars: Some(5),
            look_ahead: None,
            log: Vec::new(),
        };
        vec![one(0, json!(10), None), one(1, json!(20.5), Some("=1+1, \"x\""))]
    }

    #[test]
    fn csv_has_a_row_for_each_run_and_no_formula() {
        let text = String::from_utf8(Table::new(&results()).csv()).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[0].starts_with("rank,run,strategy,symbols,parameter_fast,status,engine,total_return,cagr,"),
            "{text}"
        );
        assert!(
            lines[1].starts_with("1,0,code,AAPL+IBM,10,completed,sandbox,") && lines[1].contains("0.30000000000000004")
        );
        assert!(lines[2].ends_with("\"'=1+1, \"\"x\"\"\""), "{}", lines[2]);
    }

    #[test]
    fn parquet_is_read_back() {
        let bytes = Table::new(&results()).parquet().expect("encoded");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("parquet");
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let kind = |name: &str| {
            let column = schema.columns().iter().find(|column| column.name() == name).expect("a column");
            (column.physical_type(), column.logical_type_ref().cloned())
        };
        for double in ["parameter_fast", "sharpe", "sortino"] {
            assert_eq!(kind(double), (Physical::DOUBLE, None), "{double}");
        }
        assert_eq!(kind("beats_buy_and_hold"), (Physical::BOOLEAN, None));
        for text in ["error", "drawdown_peak"] {
            assert_eq!(kind(text), (Physical::BYTE_ARRAY, Some(LogicalType::String)), "{text}");
        }
        let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(rows.len(), 2);
        let cell = |row: usize, name: &str| {
            rows[row].get_column_iter().find(|(column, _)| *column == name).expect("a column").1.clone()
        };
        assert_eq!(cell(0, "parameter_fast"), Field::Double(10.0));
        assert_eq!(cell(1, "parameter_fast"), Field::Double(20.5));
        assert_eq!(cell(0, "sharpe"), Field::Double(0.1 + 0.2));
        assert_eq!((cell(1, "sharpe"), cell(0, "error")), (Field::Null, Field::Null));
        assert_eq!(cell(1, "error"), Field::Str("=1+1, \"x\"".into()));
        assert_eq!(cell(1, "beats_buy_and_hold"), Field::Bool(true));
    }
}
