//! The reference of the figures says what the code does.

use std::fmt::Write as _;
use std::path::PathBuf;

use ringfence_backtest::{luck, metrics, metrics::Convention};

const END: &str = "<!-- end -->";

fn table(conventions: &[Convention]) -> String {
    let mut table = String::from("\n| figure | title | unit | definition | as |\n|---|---|---|---|---|\n");
    for Convention { name, title, unit, definition, source, .. } in conventions {
        writeln!(table, "| `{name}` | {title} | {} | {definition} | {source} |", unit.as_str()).expect("a text grows");
    }
    table.push('\n');
    table
}

#[test]
fn the_reference_lists_every_figure_as_it_is() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    let mut text = std::fs::read_to_string(&path).expect("the reference can be read");
    for (begin, conventions) in
        [("<!-- metrics -->\n", metrics::conventions()), ("<!-- luck -->\n", luck::conventions())]
    {
        let (before, rest) = text.split_once(begin).expect("it says where the table begins");
        let (found, after) = rest.split_once(END).expect("it says where the table ends");
        let table = table(conventions);
        if std::env::var_os("RINGFENCE_WRITE").is_some() {
            text = format!("{before}{begin}{table}{END}{after}");
            continue;
        }
        assert_eq!(
            found, table,
            "write it anew: RINGFENCE_WRITE=1 cargo test -p ringfence-backtest --test metrics_reference"
        );
    }
    if std::env::var_os("RINGFENCE_WRITE").is_some() {
        std::fs::write(&path, text).expect("the reference can be written");
    }
}
