//! A series as a file: CSV for people, Parquet for programs. Both hold the same numbers, and the same series always
//! gives the same bytes.

use std::{fmt::Write as _, sync::Arc};

use jiff::civil::Date;
use parquet::{
    basic::Compression,
    data_type::{DataType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use rust_decimal::Decimal;

use crate::{
    bar::{Bar, Series},
    read::HEADER,
};

/// The Parquet schema. The day is a timestamp at midnight without a zone, not a DATE: pandas reads a DATE as Python
/// objects, on which `resample` and a join with the CSV (`parse_dates`) fail, and this as `datetime64`.
const SCHEMA: &str = "message bars {
    REQUIRED INT64 date (TIMESTAMP(MICROS, false));
    REQUIRED DOUBLE open;
    REQUIRED DOUBLE high;
    REQUIRED DOUBLE low;
    REQUIRED DOUBLE close;
    REQUIRED INT64 volume;
}";

/// Named in each file instead of this library and its version, so that an upgrade alone does not change the bytes.
const CREATED_BY: &str = "ringfence";

/// The series as CSV with [`HEADER`]; every number as exact as it is.
#[must_use]
pub fn csv(series: &Series) -> String {
    let mut text = HEADER.join(",");
    text.push('\n');
    for Bar { date, open, high, low, close, volume } in series.bars() {
        writeln!(text, "{date},{open},{high},{low},{close},{volume}").expect("a String takes everything");
    }
    text
}

/// The series as Parquet: one row group, prices as the doubles nearest to them.
///
/// # Errors
/// A volume above the largest signed 64-bit number, or a fault of the writer.
pub fn parquet(series: &Series) -> Result<Vec<u8>, ParquetError> {
    let bars = series.bars();
    let prices = |of: fn(&Bar) -> Decimal| -> Vec<f64> { bars.iter().map(|bar| nearest(of(bar))).collect() };
    let volumes: Result<Vec<i64>, _> = bars.iter().map(|bar| i64::try_from(bar.volume)).collect();
    let volumes = volumes.map_err(|e| ParquetError::External(Box::new(e)))?;

    let properties =
        WriterProperties::builder().set_created_by(CREATED_BY.to_owned()).set_compression(Compression::SNAPPY).build();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut rows = writer.next_row_group()?;
    column::<Int64Type>(&mut rows, &bars.iter().map(|bar| microseconds(bar.date)).collect::<Vec<_>>())?;
    for price in [|b: &Bar| b.open, |b: &Bar| b.high, |b: &Bar| b.low, |b: &Bar| b.close] {
        column::<DoubleType>(&mut rows, &prices(price))?;
    }
    column::<Int64Type>(&mut rows, &volumes)?;
    rows.close()?;
    writer.into_inner()
}

/// Writes the next column of the schema.
fn column<T: DataType>(
    rows: &mut parquet::file::writer::SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let mut column = rows.next_column()?.expect("the schema has a column for each call");
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

/// The nearest double. By way of text, because the conversion of `rust_decimal` divides and can miss it by one unit in
/// the last place, and then the Parquet file would differ from what a reader of the CSV gets.
///
/// # Panics
/// Never: the text of a decimal is a number.
#[must_use]
pub fn nearest(value: Decimal) -> f64 {
    value.to_string().parse().expect("a decimal's text is a number")
}

/// Microseconds from the epoch to midnight.
fn microseconds(date: Date) -> i64 {
    const DAY_US: i64 = 86_400_000_000;
    let epoch = Date::constant(1970, 1, 1);
    let days = (date - epoch).get_days();
    i64::from(days) * DAY_US
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::RowAccessor,
    };

    use super::*;
    use crate::{Symbol, read};

    const TEXT: &str = "date,open,high,low,close,volume\n\
        1969-12-31,118.56,132.06,118.5,130.31,9616100\n2000-03-02,127.0,127.94,120.69,122.0,2779100\n";

    fn series() -> Series {
        read::bars("x.csv", Symbol::parse("X").expect("a symbol"), TEXT).expect("good bars")
    }

    #[test]
    fn csv_comes_out_as_it_went_in() {
        assert_eq!(csv(&series()), TEXT);
    }

    #[test]
    fn parquet_holds_what_the_csv_holds() {
        let file = bytes::Bytes::from(parquet(&series()).expect("it can be written"));
        let reader = SerializedFileReader::new(file).expect("it is a Parquet file");
        let metadata = reader.metadata().file_metadata();
        assert_eq!((metadata.created_by(), metadata.num_rows()), (Some(CREATED_BY), 2));
        let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(rows[0].get_timestamp_micros(0).expect("a time"), -86_400_000_000);
        assert_eq!(rows[1].get_timestamp_micros(0).expect("a time"), 951_955_200_000_000);
        assert_eq!(rows[0].get_double(1).expect("a price"), 118.56);
        assert_eq!(rows[1].get_double(4).expect("a price"), 122.0);
        assert_eq!(rows[0].get_long(5).expect("a volume"), 9_616_100);
    }
}
