//! The sample is what its README says, and our adjustment finds the source's own again.

use std::collections::HashMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::*;

/// The source's adjusted closes, for this test only. They are adjusted for what happened after 2013 too, so each
/// series is compared in relation to its last day.
const SOURCE_ADJUSTED: &str = include_str!("../../../../data/source-adjusted-closes.csv");
const SUMS: &str = include_str!("../../../../data/SHA256SUMS");

fn source_adjusted() -> HashMap<(&'static str, Date), Decimal> {
    let mut closes = HashMap::new();
    for line in SOURCE_ADJUSTED.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let close = fields[2].parse().expect("a decimal");
        closes.insert((fields[0], fields[1].parse().expect("a date")), close);
    }
    closes
}

#[test]
fn the_embedded_files_are_the_checked_in_ones() {
    let named = BARS.map(|(_, file, text)| (format!("bars/{file}"), text));
    let others = [("actions.csv", ACTIONS), ("source-adjusted-closes.csv", SOURCE_ADJUSTED)];
    let mut files: Vec<_> = named.into_iter().chain(others.map(|(name, text)| (name.to_owned(), text))).collect();
    files.sort();
    let sums: String = files.iter().map(|(name, text)| format!("{}  {name}\n", sha256(text.as_bytes()))).collect();
    assert_eq!(SUMS, sums, "data/SHA256SUMS");
}

#[test]
fn the_bars_are_sound_and_as_many_as_the_readme_says() {
    let found: Vec<String> = raw()
        .expect("sound bars")
        .iter()
        .map(|s| format!("{} {} {} {}", s.symbol(), s.first(), s.last(), s.bars().len()))
        .collect();
    let expected = [
        "AAPL 2000-03-01 2013-03-01 3270",
        "FB 2012-05-18 2013-03-01 196",
        "GOOG 2004-08-19 2013-03-01 2148",
        "IBM 2000-03-01 2013-03-01 3270",
        "MSFT 2000-03-01 2013-03-01 3270",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_bars_come_out_byte_for_byte() {
    for (series, (_, _, text)) in raw().expect("sound bars").iter().zip(BARS) {
        assert_eq!(columns::csv(series), text, "{}", series.symbol());
    }
}

#[test]
fn every_symbol_has_the_same_trading_days() {
    let all = raw().expect("sound bars");
    let days = |s: &Series| s.bars().iter().map(|b| b.date).collect::<Vec<_>>();
    let longest = days(&all[0]);
    for series in &all {
        let own = days(series);
        assert_eq!(own, longest[longest.len() - own.len()..], "{}", series.symbol());
    }
}

#[test]
fn splits_show_in_the_raw_closes_and_nothing_else_looks_like_one() {
    let actions = actions().expect("sound actions");
    let mut splits = Vec::new();
    for series in raw().expect("sound bars") {
        for pair in series.bars().windows(2) {
            let split = actions.iter().find_map(|a| match a.kind {
                Kind::Split(into) if a.symbol == *series.symbol() && a.ex_date == pair[1].date => Some(into),
                _ => None,
            });
            let opened = pair[0].close / pair[1].open;
            match split {
                Some(into) => {
                    splits.push(format!("{} {}", series.symbol(), pair[1].date));
                    let ratio = opened / into;
                    assert!((ratio - Decimal::ONE).abs() < Decimal::new(5, 2), "{} {opened}", pair[1].date);
                }
                // A missing split of 2 or more would show: its day's high stays below half the close before. The worst real
                // day comes near: AAPL after a profit warning, 53.50 to a high of 29.00 on 2000-09-29.
                None => {
                    assert!(pair[0].close / pair[1].high < Decimal::new(19, 1), "{} {}", series.symbol(), pair[1].date)
                }
            }
        }
    }
    assert_eq!(splits, ["AAPL 2000-06-21", "AAPL 2005-02-28", "MSFT 2003-02-18"]);
}

#[test]
fn our_adjusted_closes_are_the_sources() {
    let source = source_adjusted();
    let actions = actions().expect("sound actions");
    let mut compared = 0;
    for raw in raw().expect("sound bars") {
        let adjusted = adjust::adjust(&raw, &actions).expect("the actions fit");
        let symbol = raw.symbol().as_str();
        let end = adjusted.bars().last().expect("a bar");
        let (_, at_end) = source.iter().find(|((s, d), _)| *s == symbol && *d == end.date).expect("the same days");
        for bar in adjusted.bars() {
            let theirs = source[&(symbol, bar.date)] / at_end * end.close;
            // Half a unit of our last decimal place, and what their 12 decimals leave open.
            assert!((theirs - bar.close).abs() < Decimal::new(6, 7), "{symbol} {}: {theirs} {}", bar.date, bar.close);
            compared += 1;
        }
    }
    assert_eq!(compared, source.len());
}

#[test]
fn dividends_are_the_known_ones() {
    let all = actions().expect("sound actions");
    let paid = |symbol: &str, date: &str| {
        let date: Date = date.parse().expect("a date");
        all.iter().find(|a| a.symbol.as_str() == symbol && a.ex_date == date).map(|a| a.kind)
    };
    let cash = |text: &str| Some(Kind::Dividend(text.parse().expect("a decimal")));
    assert_eq!(paid("MSFT", "2003-02-19"), cash("0.08"), "its first");
    assert_eq!(paid("MSFT", "2004-11-15"), cash("3.08"), "3.00 once, with the quarterly 0.08");
    assert_eq!(paid("AAPL", "2012-08-09"), cash("2.65"), "its first since 1995");
    assert_eq!(paid("IBM", "2013-02-06"), cash("0.85"));
    let count =
        |symbol| all.iter().filter(|a| a.symbol.as_str() == symbol && matches!(a.kind, Kind::Dividend(_))).count();
    assert_eq!(["AAPL", "FB", "GOOG", "IBM", "MSFT"].map(count), [3, 0, 0, 52, 37]);
}

fn all_files(dir: &Path) -> Vec<(String, Vec<u8>, u32)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).expect("below").to_str().expect("plain names").to_owned();
            let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
            found.push((name, fs::read(&path).expect("a file"), mode));
        }
    }
    found.sort();
    found
}

#[test]
fn two_writes_give_the_same_bytes() {
    let (a, b) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let first = write(a.path()).expect("it can be written");
    let second = write(&b.path().join("deeper/data")).expect("it can be written");
    assert_eq!((&first, first.sha256()), (&second, second.sha256()));
    let files = all_files(a.path());
    assert_eq!(files, all_files(&b.path().join("deeper/data")));
    assert_eq!(files.len(), 3 + 5 * 4);
}

#[test]
fn the_manifest_lists_every_file_and_everybody_may_read_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let manifest = write(dir.path()).expect("it can be written");
    let files = all_files(dir.path());
    let (read, rest): (Vec<_>, Vec<_>) = files.into_iter().partition(|(name, ..)| name == "manifest.json");
    assert_eq!(serde_json::from_slice::<Manifest>(&read[0].1).expect("JSON"), manifest);
    let found: Vec<File> = rest
        .iter()
        .map(|(path, content, _)| File { path: path.clone(), bytes: content.len(), sha256: sha256(content) })
        .collect();
    assert_eq!(found, manifest.files);
    assert!(rest.iter().chain(&read).all(|(.., mode)| *mode == 0o644));
}

#[test]
fn a_directory_that_holds_something_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("old"), "").expect("a file");
    assert!(matches!(write(dir.path()), Err(SampleError::NotEmpty(_))));
}

#[test]
fn the_readme_names_every_symbol() {
    for (symbol, ..) in BARS {
        assert!(README.contains(symbol), "{symbol}");
    }
}
