//! Rows of a CSV file.

use super::{Options, Report, Row, Weight, cells::Cell, cells::Columns};

/// Every row that can be read; the report says of the others what is wrong with them.
pub(super) fn rows(file: &str, bytes: &[u8], options: &Options, report: &mut Report) -> Vec<Row> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter(bytes)).from_reader(bytes);
    let header = match reader.headers() {
        Ok(header) => header.iter().map(str::to_owned).collect::<Vec<_>>(),
        Err(error) => {
            report.add(Weight::Error, "table", Some(1), said(&error));
            return Vec::new();
        }
    };
    let Some(columns) = Columns::find(file, &header, options, report) else { return Vec::new() };
    let mut rows = Vec::new();
    let mut cells = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                report.add(Weight::Error, "table", error.position().map(csv::Position::line), said(&error));
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        cells.clear();
        cells.extend(record.iter().map(|text| match text.trim() {
            "" => Cell::Missing,
            text => Cell::Text(text.to_owned()),
        }));
        rows.extend(columns.row(line, &cells, report));
    }
    rows
}

/// A comma, or what stands in the header where no comma does.
fn delimiter(bytes: &[u8]) -> u8 {
    let header = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|d| header.contains(d)).unwrap_or(b',')
}

fn said(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} cells, and the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => format!("it cannot be read: {error}"),
    }
}
