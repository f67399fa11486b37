//! Reports, opened in headless Chromium: nothing complains, nothing is fetched, charts are drawn, tables sort.

mod python;
mod reported;

use std::{collections::BTreeMap, fs};

use ringfence_backtest::report::{self, Input, Value};
use serde::Deserialize;
use serde_json::json;

/// What `report.py` has seen of a page.
#[derive(Debug, Deserialize)]
struct Seen {
    opened: Opened,
    /// Words that are hard to read on their ground, in the light and in the dark: a contrast below 4.5.
    faint: Vec<String>,
    /// Pixels of the chart of prices.
    inked: Option<u64>,
    /// Widths of the curves, in pixels.
    curves: Vec<f64>,
    tables: BTreeMap<String, Table>,
    /// What is said of the first and of the last bar.
    readout: Option<Vec<String>>,
    /// Whether drawings, chart and contents are on paper.
    printed: Vec<bool>,
    /// The ground in the dark.
    grounds: String,
    /// Whether a phone has to scroll sideways.
    overflows: bool,
    without_script: WithoutScript,
    complaints: Vec<String>,
    requests: Vec<String>,
}

/// Milliseconds since it was asked for.
#[derive(Debug, Deserialize)]
struct Opened {
    parsed: f64,
    loaded: f64,
}

#[derive(Debug, Deserialize)]
struct WithoutScript {
    stills: usize,
    rows: usize,
}

#[derive(Debug, Deserialize)]
struct Table {
    headings: Vec<String>,
    /// Of each column, after it was pressed once and twice.
    pressed: Vec<[Pressed; 2]>,
    next: Option<String>,
    filtered: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Pressed {
    sort: String,
    first: Vec<String>,
}

fn look(pages: &[(&str, &Input)]) -> BTreeMap<String, Seen> {
    let target = reported::target();
    let dir = target.join("looked-at");
    fs::create_dir_all(&dir).expect("a directory");
    let files: BTreeMap<&str, String> = pages
        .iter()
        .map(|(name, input)| {
            let file = dir.join(format!("{name}.html"));
            fs::write(&file, report::html(input)).expect("a file");
            (*name, file.display().to_string())
        })
        .collect();
    let asked = json!({ "pages": files, "pictures": dir.display().to_string() });
    let said = python::run(&python::venv("browser"), "report.py", asked.to_string().as_bytes());
    let seen: BTreeMap<String, Seen> = serde_json::from_slice(&said).expect("JSON");
    for (name, seen) in &seen {
        assert_eq!(seen.complaints, Vec::<String>::new(), "{name}");
        assert_eq!(seen.requests, Vec::<String>::new(), "{name}");
        assert_eq!(seen.faint, Vec::<String>::new(), "{name}");
        assert_eq!(seen.grounds, "rgb(20, 23, 27)", "{name}");
        assert!(!seen.overflows, "{name} is wider than a phone");
    }
    seen
}

/// Whether the whole of a report is looked at: in `make suites`.
fn is_long(what: &str) -> bool {
    let asked = std::env::var_os("RINGFENCE_LONG").is_some();
    if !asked {
        println!("SKIPPED: {what} in a browser is a long suite; `make suites` runs it");
    }
    asked
}

/// Whether a page can be looked at. `make suites` installs Chromium and means it: there it is an error when it is missing, and
/// `make test` looks at hostile names wherever there is one.
fn has_browser() -> bool {
    let asked = std::env::var_os("RINGFENCE_LONG").is_some();
    let found = std::process::Command::new("chromium").arg("--version").output().is_ok_and(|ran| ran.status.success());
    if !asked && !found {
        println!("SKIPPED: there is no `chromium` here; `make suites` installs it and fails without it");
    }
    asked || found
}

/// The column of a table of runs, sorted, as the page should write it: what is missing comes last.
fn sorted(input: &Input, column: usize, down: bool) -> Vec<String> {
    let rows = &input.sweep.as_ref().expect("a sweep").rows;
    let number = |value: &Value| match value {
        Value::Fraction(v) | Value::Ratio(v) | Value::Money(v) => Some(*v),
        Value::Count(v) => Some(*v as f64),
        _ => None,
    };
    let mut cells: Vec<&Value> = rows.iter().map(|row| &row.values[column]).collect();
    cells.sort_by(|a, b| match (number(a), number(b)) {
        (Some(a), Some(b)) if down => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    cells.into_iter().take(50).map(Value::written).collect()
}

#[test]
fn reports_are_seen_in_a_browser() {
    if !is_long("every part of a report") || !has_browser() {
        return;
    }
    let (sweep, single) = (reported::sweep(), reported::single());
    let seen = look(&[("sweep", &sweep), ("single", &single)]);
    let page = &seen["sweep"];
    assert!(page.inked.is_some_and(|inked| inked > 5_000), "{:?}", page.inked);
    // Two samples beside the names, equity of both, and the drawdown of buy and hold.
    let wide = page.curves.iter().filter(|width| **width > 700.0).count();
    assert_eq!((page.curves.len(), wide), (5, 3), "{:?}", page.curves);
    let runs = &page.tables["runs"];
    assert_eq!(runs.headings[..5], ["Rank", "Strategy", "Symbols", "fast", "slow"]);
    let figures = sweep.sweep.as_ref().expect("a sweep").columns.len();
    for at in 0..figures {
        let [once, twice] = &runs.pressed[5 + at];
        assert_eq!((once.sort.as_str(), twice.sort.as_str()), ("descending", "ascending"));
        assert_eq!(once.first, sorted(&sweep, at, true), "{}", runs.headings[5 + at]);
        assert_eq!(twice.first, sorted(&sweep, at, false), "{}", runs.headings[5 + at]);
    }
    // Parameters by number and not by letter.
    let [once, twice] = &runs.pressed[3];
    assert_eq!((once.first[0].as_str(), twice.first[0].as_str()), ("5", "40"));
    assert_eq!(runs.next.as_deref(), Some("Rows 51 to 100 of 100"));
    assert!(runs.filtered.as_ref().is_some_and(|text| text.starts_with("Rows 1 to ")), "{:?}", runs.filtered);
    let readout = page.readout.as_ref().expect("curves");
    assert_eq!(
        *readout,
        [
            "2000-03-01: strategy 100,000 (0.0\u{a0}%), buy and hold 100,000 (0.0\u{a0}%)",
            "2013-03-01: strategy 3,878,852 (+3,778.9\u{a0}%), buy and hold 1,374,434 (+1,274.4\u{a0}%)"
        ]
    );
    // On paper: neither contents nor the chart that moves, but the drawing.
    assert_eq!(page.printed, [false, false, true]);
    assert_eq!((page.without_script.stills, page.without_script.rows), (1, 50));
    let page = &seen["single"];
    assert_eq!(page.printed, [false, false, true, true]);
    assert!(page.tables["trades"].pressed.len() == 11);
}

#[test]
fn hostile_names_do_nothing_in_a_browser() {
    if !has_browser() {
        return;
    }
    let seen = look(&[("hostile", &reported::hostile())]);
    let runs = &seen["hostile"].tables["runs"];
    assert!(runs.headings.iter().any(|heading| heading.starts_with("</script></style></title><img src=x")));
    assert!(runs.pressed[1][0].first[0].starts_with("</script></style></title><img src=x"));
}

#[test]
fn ten_thousand_runs_open_quickly() {
    if !is_long("a report of ten thousand runs") || !has_browser() {
        return;
    }
    let seen = look(&[("large", &reported::large())]);
    let page = &seen["large"];
    println!(
        "10,000 runs and 8,000 bars: parsed after {:.0} ms, loaded after {:.0} ms",
        page.opened.parsed, page.opened.loaded
    );
    assert!(page.opened.loaded < 5_000.0, "{:?}", page.opened);
    assert_eq!(page.tables["runs"].next.as_deref(), Some("Rows 51 to 100 of 10,000"));
}
