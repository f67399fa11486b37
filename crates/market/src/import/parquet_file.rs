//! Rows of a Parquet file. Floating point numbers are taken as the shortest decimal that reads back as the same number, which is
//! what was written wherever a price had up to 15 digits.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use parquet::{
    basic::{LogicalType, TimeUnit},
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
    schema::types::SchemaDescriptor,
};
use rust_decimal::Decimal;

use super::{Options, Report, Row, Weight, When, cells::Cell, cells::Columns};

/// What a column of whole numbers counts, when it holds times.
#[derive(Clone, Copy)]
struct Counted {
    unit_ns: i128,
    is_utc: bool,
}

/// Every row that can be read; the report says of the others what is wrong with them.
pub(super) fn rows(file: &str, bytes: Vec<u8>, options: &Options, report: &mut Report) -> Vec<Row> {
    // The library panics on some damaged files. Nothing of what it had in hand is used afterwards.
    let attempt = std::panic::AssertUnwindSafe(|| {
        let mut own = Report::default();
        let rows = read(file, bytes, options, &mut own);
        (rows, own)
    });
    let Ok((rows, own)) = std::panic::catch_unwind(attempt) else {
        report.add(Weight::Error, "table", None, "it cannot be read as Parquet: it is damaged");
        return Vec::new();
    };
    report.findings.extend(own.findings);
    match rows {
        Ok(rows) => rows,
        Err(error) => {
            let text = match &error {
                // What this crate was built without: gzip, Brotli and LZ4.
                ParquetError::General(why) if why.contains("Disabled feature") => {
                    "it is compressed in a way that is not read here; write it with Snappy, Zstandard or not compressed"
                        .to_owned()
                }
                error => format!("it cannot be read as Parquet: {error}"),
            };
            report.add(Weight::Error, "table", None, text);
            Vec::new()
        }
    }
}

fn read(file: &str, bytes: Vec<u8>, options: &Options, report: &mut Report) -> Result<Vec<Row>, ParquetError> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes))?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let header: Vec<String> = schema.columns().iter().map(|c| c.name().to_owned()).collect();
    if header.len() != schema.root_schema().get_fields().len() {
        report.add(Weight::Error, "header", None, "it holds columns within columns; a table of bars has none");
        return Ok(Vec::new());
    }
    let times = times(schema);
    let Some(columns) = Columns::find(file, &header, options, report) else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for (record, line) in reader.get_row_iter(None)?.zip(1_u64..) {
        let record = record?;
        let cells: Vec<Cell> =
            record.get_column_iter().zip(&times).map(|((_, field), time)| cell(field, *time)).collect();
        rows.extend(columns.row(line, &cells, report));
    }
    Ok(rows)
}

fn times(schema: &SchemaDescriptor) -> Vec<Option<Counted>> {
    let one = |column: &parquet::schema::types::ColumnDescPtr| match column.logical_type_ref() {
        Some(LogicalType::Timestamp(of)) => {
            let unit_ns = match of.unit {
                TimeUnit::MILLIS => 1_000_000,
                TimeUnit::MICROS => 1000,
                TimeUnit::NANOS => 1,
            };
            Some(Counted { unit_ns, is_utc: of.is_adjusted_to_u_t_c })
        }
        _ => None,
    };
    schema.columns().iter().map(one).collect()
}

fn cell(field: &Field, time: Option<Counted>) -> Cell {
    let counted = |count: i64, otherwise: Counted| {
        let Counted { unit_ns, is_utc } = time.unwrap_or(otherwise);
        let Ok(at) = Timestamp::from_nanosecond(i128::from(count) * unit_ns) else { return Cell::Missing };
        // Without a zone, the number counts what a clock on the wall showed.
        Cell::Time(if is_utc { When::Instant(at) } else { When::Local(TimeZone::UTC.to_datetime(at)) })
    };
    let number = |text: String| Decimal::from_str_exact(&text).map_or(Cell::Missing, Cell::Number);
    match field {
        Field::Long(count) if time.is_some() => counted(*count, Counted { unit_ns: 1, is_utc: true }),
        Field::TimestampMillis(count) => counted(*count, Counted { unit_ns: 1_000_000, is_utc: true }),
        Field::TimestampMicros(count) => counted(*count, Counted { unit_ns: 1000, is_utc: true }),
        Field::Date(days) => Date::constant(1970, 1, 1)
            .checked_add(SignedDuration::from_hours(i64::from(*days) * 24))
            .ok()
            .map_or(Cell::Missing, |day| Cell::Time(When::Day(day))),
        Field::Byte(n) => Cell::Number((*n).into()),
        Field::Short(n) => Cell::Number((*n).into()),
        Field::Int(n) => Cell::Number((*n).into()),
        Field::Long(n) => Cell::Number((*n).into()),
        Field::UByte(n) => Cell::Number((*n).into()),
        Field::UShort(n) => Cell::Number((*n).into()),
        Field::UInt(n) => Cell::Number((*n).into()),
        Field::ULong(n) => Cell::Number((*n).into()),
        Field::Float(n) if n.is_finite() => number(n.to_string()),
        Field::Double(n) if n.is_finite() => number(n.to_string()),
        Field::Decimal(n) => decimal(n).map_or(Cell::Missing, Cell::Number),
        Field::Str(text) => Cell::Text(text.clone()),
        _ => Cell::Missing,
    }
}

/// A decimal of Parquet: a big-endian number in two's complement, and how many of its digits are decimal places.
fn decimal(of: &parquet::data_type::Decimal) -> Option<Decimal> {
    let bytes = of.data();
    let fill = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [fill; 16];
    let from = wide.len().checked_sub(bytes.len())?;
    wide[from..].copy_from_slice(bytes);
    Decimal::try_from_i128_with_scale(i128::from_be_bytes(wide), u32::try_from(of.scale()).ok()?).ok()
}
