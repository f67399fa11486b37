//! Files as people have them are read, and what is wrong in one is said with its line.

use super::*;
use crate::{columns, read as bars_read, sample};

const HEAD: &str = "date,open,high,low,close,volume\n";

fn with(file: &str, text: &str, options: &Options) -> (Report, Vec<Dataset>) {
    read(file, text.as_bytes().to_vec(), options, &[])
}

#[track_caller]
fn days(file: &str, text: &str) -> Vec<Bar> {
    let (report, datasets) = with(file, text, &Options::default());
    match &datasets[..] {
        [Dataset { bars: Bars::Day(bars), symbol }] if symbol.as_str() == "X" => bars.clone(),
        other => panic!("{other:?}: {report:?}"),
    }
}

#[track_caller]
fn minutes(text: &str, zone: &str) -> Vec<String> {
    let options = Options { zone: Zone::parse(zone).expect("a zone"), ..Options::default() };
    let (report, datasets) = with("X.csv", text, &options);
    match &datasets[..] {
        [Dataset { bars: Bars::Minute(bars), .. }] => bars.iter().map(|m| m.at.to_string()).collect(),
        other => panic!("{other:?}: {report:?}"),
    }
}

/// The findings of a file, as `weight check line: text`.
fn findings(text: &str) -> Vec<String> {
    let (report, datasets) = with("X.csv", text, &Options::default());
    assert_eq!(datasets.is_empty(), report.is_refused());
    let said = |f: Finding| {
        let line = f.line.map(|l| format!(" {l}")).unwrap_or_default();
        format!("{:?} {}{line}: {}", f.weight, f.check, f.text)
    };
    report.findings.into_iter().map(said).collect()
}

#[test]
fn daily_files_of_usual_sources_are_read_alike() {
    let expected =
        days("X.csv", &format!("{HEAD}2012-01-03,10.25,11,10,10.5,1000\n2012-01-04,10.5,12,10.5,11.75,2000\n"));
    assert_eq!(expected.len(), 2);
    for text in [
        // Yahoo, by its site.
        "Date,Open,High,Low,Close,Adj Close,Volume\n2012-01-03,10.25,11.0,10.0,10.5,9.1,1000\n2012-01-04,10.5,12,10.5,11.75,9.9,2000\n",
        // Alpaca's own words, with its daily stamp.
        "t,o,h,l,c,v,n,vw\n2012-01-03T05:00:00Z,10.25,11,10,10.5,1000,3,10.4\n2012-01-04T05:00:00Z,10.5,12,10.5,11.75,2000,4,11\n",
        // pandas with a nameless index, in UTC.
        ",Open,High,Low,Close,Volume\n2012-01-03 00:00:00+00:00,10.25,11,10,10.5,1000.0\n2012-01-04 00:00:00+00:00,10.5,12,10.5,11.75,2000.0\n",
        // Newest first, a byte order mark, semicolons, other order of columns, dollar signs.
        "\u{feff}Volume;Close/Last;Open;High;Low;Timestamp\n2000;$11.75;$10.5;$12;$10.5;2012-01-04\n1000;$10.5;$10.25;$11;$10;20120103\n",
        // Milliseconds since 1970, New York's midnight.
        "time,open,high,low,close,volume\n1325566800000,10.25,11,10,10.5,1000\n1325653200000,10.5,12,10.5,11.75,2000\n",
        "symbol,date,open,high,low,close,volume\nX,2012-01-03,10.25,11,10,1.05e1,1000\nX,2012-01-04,10.5,12,10.5,11.75,2e3\n",
    ] {
        assert_eq!(days("data/x.csv", text), expected, "{text}");
    }
}

#[test]
fn minutes_are_in_new_york_unless_something_else_is_said() {
    let row = ",1,1,1,1,5\n";
    let local = format!("{HEAD}2012-01-03 09:30:00{row}2012-07-03 09:30{row}");
    assert_eq!(minutes(&local, "America/New_York"), ["2012-01-03T14:30:00Z", "2012-07-03T13:30:00Z"]);
    assert_eq!(minutes(&local, "UTC"), ["2012-01-03T09:30:00Z", "2012-07-03T09:30:00Z"]);
    let zoned = format!("{HEAD}2012-01-03T09:30:00-05:00{row}2012-01-03T14:31:00Z{row}1325601120{row}");
    let expected = ["2012-01-03T14:30:00Z", "2012-01-03T14:31:00Z", "2012-01-03T14:32:00Z"];
    assert_eq!(minutes(&zoned, "UTC"), expected);
}

#[test]
fn a_file_of_several_symbols_is_several_sets() {
    let text = format!("ticker,{HEAD}X,2012-01-03,1,1,1,1,5\nY.B,2012-01-03,2,2,2,2,5\nX,2012-01-04,1,1,1,1,5\n");
    let (_, sets) = with("many.csv", &text, &Options::default());
    let found: Vec<_> = sets.iter().map(|s| (s.symbol.to_string(), s.bars.len())).collect();
    assert_eq!(found, [("X".to_owned(), 2), ("Y.B".to_owned(), 1)]);
}

#[test]
fn every_wrong_cell_is_named_with_its_line() {
    let text = format!(
        "{HEAD}2012-01-03,1,1,1,1,5\n2012-01-04,null,1,1,1,5\n2012-02-30,1,1,1,1,5\n2012-01-05,1,1,0,1,-1\n2012-01-06,1,1\n"
    );
    assert_eq!(
        findings(&text),
        [
            "Error cell 3: open `null` is not a decimal number like 12.34",
            "Error cell 4: date `2012-02-30` is not a date or a time like 2000-03-01 or 2000-03-01T09:30:00-05:00",
            "Error cell 5: low `0` is not a price above 0 and below 1000000000",
            "Error cell 5: volume `-1` is not a whole number of shares",
            "Error table 6: it has 3 cells, and the header has 6",
        ]
    );
}

#[test]
fn bars_that_contradict_themselves_are_refused() {
    let text = format!("{HEAD}2012-01-03,1,1,1,1,5\n2012-01-03,2,2,2,2,5\n2012-01-04,5,4,3,2,5\n");
    assert_eq!(
        findings(&text),
        [
            "Error range 4: open 5 is above the high 4",
            "Error range 4: close 2 is below the low 3",
            "Error duplicate 3: X 2012-01-03 is there twice, first in line 2",
        ]
    );
}

#[test]
fn files_that_are_no_tables_of_bars_are_refused() {
    assert_eq!(
        findings("date,open\n"),
        ["Error header 1: no column is called high or low or close or volume; there are: date, open"]
    );
    assert_eq!(findings(HEAD), ["Error empty: there is no row in it"]);
    assert_eq!(
        findings("a,a"),
        [
            "Error header 1: no column is called date or open or high or low or close or volume; there are: a, a",
            "Note columns: not read: a, a"
        ]
    );
    assert!(findings(&format!("open,{HEAD}"))[0].contains("two columns are called `open`"));
    assert!(findings("PAR1 and nothing else")[0].starts_with("Error table: it cannot be read as Parquet"));
    let (report, _) = with("my data.csv", &format!("{HEAD}2012-01-03,1,1,1,1,5\n"), &Options::default());
    assert_eq!(report.findings[0].check, "symbol");
    let late = format!("{HEAD}2012-01-03 09:30:01,1,1,1,1,5\n");
    assert_eq!(findings(&late), ["Error minute 2: the time of a minute's bar is a whole minute"]);
}

#[test]
fn gaps_closed_days_and_splits_are_warnings() {
    let text = format!(
        "{HEAD}2012-01-09,30,30,30,30,5\n2012-01-03,100,100,100,100,5\n2012-01-04,50,50,50,50,5\n2012-01-07,50,50,50,50,5\n"
    );
    assert_eq!(
        findings(&text),
        [
            "Warning order: X: the rows are not in order; they were sorted",
            "Warning gap: X: no bar for 2012-01-05, 2012-01-06",
            "Warning no_session: X: the exchange was closed on 2012-01-07; such bars are kept and not replayed",
            "Warning split: X 2012-01-04: from 100 to 50 overnight looks like 2 shares for 1, and no split is known (--actions)",
        ]
    );
    let row = ",1,1,1,1,5\n";
    let text = format!("{HEAD}2012-01-03 09:30{row}2012-01-03 03:59{row}2012-01-05 09:30{row}");
    assert_eq!(
        findings(&text),
        [
            "Warning order: X: the rows are not in order; they were sorted",
            "Warning no_session: X: 1 minutes are outside of trading hours; such bars are kept and not replayed",
            "Warning quiet: X: in 2 days, 778 minutes of sessions have no bar. Are these bars longer than a minute? They are taken as one minute each",
            "Warning gap: X: no minute of 2012-01-04",
        ]
    );
}

#[test]
fn the_sample_has_no_gap_and_no_split_that_is_not_known() {
    let actions = sample::actions().expect("the sample");
    for series in sample::raw().expect("the sample") {
        let name = format!("{}.csv", series.symbol());
        let (report, sets) = read(&name, columns::csv(&series).into_bytes(), &Options::default(), &actions);
        assert_eq!(report.findings, []);
        assert_eq!(sets[0].bars, Bars::Day(series.bars().to_vec()));
        let (report, _) = read(&name, columns::csv(&series).into_bytes(), &Options::default(), &[]);
        let splits = actions.iter().filter(|a| a.symbol == *series.symbol() && matches!(a.kind, crate::Kind::Split(_)));
        assert_eq!(report.findings.len(), splits.count(), "{:?}", report.findings);
    }
}

#[test]
fn parquet_is_read_by_the_shortest_decimals_of_its_floats() {
    let text = format!("{HEAD}2012-01-03,118.56,132.06,118.5,130.3123,9616100\n2012-01-04,0.1,0.3,0.1,0.2,5\n");
    let series = bars_read::bars("x", Symbol::parse("X").expect("a symbol"), &text).expect("good bars");
    let file = columns::parquet(&series).expect("it can be written");
    let (report, sets) = read("X.parquet", file, &Options::default(), &[]);
    assert_eq!(sets.first().map(|s| &s.bars), Some(&Bars::Day(series.bars().to_vec())), "{report:?}");
}

#[test]
fn a_long_list_of_errors_is_cut_and_counted() {
    let text = format!("{HEAD}{}", "2012-01-03,x,1,1,1,5\n".repeat(100));
    let found = findings(&text);
    assert_eq!((found.len(), found[20].as_str()), (21, "Error cell: 80 more like these"));
}

/// Nanoseconds in UTC as pandas has them, decimals, single floats, nulls allowed, a column of texts, compressed with zstd. The low
/// of the second row is there or is not.
fn parquet_of_others(has_low: bool) -> Vec<u8> {
    use parquet::{
        basic::{Compression, ZstdLevel},
        data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    };
    let schema = "message m {
        OPTIONAL BYTE_ARRAY symbol (STRING);
        REQUIRED INT64 open (DECIMAL(18, 4));
        REQUIRED FLOAT high;
        OPTIONAL DOUBLE low;
        REQUIRED BYTE_ARRAY close (DECIMAL(38, 6));
        REQUIRED INT32 volume;
        REQUIRED INT64 __index_level_0__ (TIMESTAMP(NANOS, true));
    }";
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let schema = parse_message_type(schema).expect("a schema").into();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties.into()).expect("a writer");
    let mut rows = writer.next_row_group().expect("rows");
    macro_rules! column {
        ($kind:ty, $values:expr, $levels:expr) => {{
            let mut column = rows.next_column().expect("a column").expect("there is one");
            column.typed::<$kind>().write_batch($values, $levels, None).expect("written");
            column.close().expect("closed");
        }};
    }
    column!(ByteArrayType, &[ByteArray::from("X"), ByteArray::from("X")], Some(&[1, 1]));
    column!(Int64Type, &[100_500, 101_000], None);
    column!(FloatType, &[10.3_f32, 10.4], None);
    let (lows, levels) = if has_low { (&[10.01, 10.02][..], [1, 1]) } else { (&[10.01][..], [1, 0]) };
    column!(DoubleType, lows, Some(&levels));
    column!(
        ByteArrayType,
        &[ByteArray::from(vec![0x00, 0x99, 0x1e, 0x18]), ByteArray::from(vec![0x00, 0x99, 0x1e, 0x18])],
        None
    );
    column!(Int32Type, &[7, 8], None);
    column!(Int64Type, &[1_325_601_000_000_000_000, 1_325_601_060_000_000_000], None);
    rows.close().expect("closed");
    writer.into_inner().expect("a file")
}

#[test]
fn parquet_of_other_programs_is_read() {
    let (report, sets) = read("many.parquet", parquet_of_others(true), &Options::default(), &[]);
    let [Dataset { bars: Bars::Minute(bars), symbol }] = &sets[..] else { panic!("{report:?}") };
    let price = |text: &str| text.parse::<Decimal>().expect("a decimal");
    let first = Minute {
        at: "2012-01-03T14:30:00Z".parse().expect("an instant"),
        open: price("10.05"),
        high: price("10.3"),
        low: price("10.01"),
        close: price("10.034712"),
        volume: 7,
    };
    assert_eq!((symbol.as_str(), &bars[0], bars.len()), ("X", &first, 2));

    let (report, sets) = read("many.parquet", parquet_of_others(false), &Options::default(), &[]);
    assert!(sets.is_empty());
    assert_eq!(report.findings[0].text, "low `` is not a decimal number like 12.34");
    assert_eq!((report.findings.len(), report.findings[0].line, report.rows), (1, Some(2), 1));
}

#[test]
fn a_damaged_parquet_file_is_refused_or_read_and_no_panic_gets_out() {
    let series = sample::raw().expect("the sample").swap_remove(1);
    let sound = columns::parquet(&series).expect("it can be written");
    let mut state = 1_u64;
    for _ in 0..3000 {
        let mut file = sound.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).expect("31 bits") % file.len();
            file[at] = state.to_le_bytes()[3];
        }
        let (report, sets) = read("X.parquet", file, &Options::default(), &[]);
        assert_eq!(report.is_refused(), sets.is_empty());
    }
}
