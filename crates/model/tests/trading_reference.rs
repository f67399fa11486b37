//! docs/reference/trading.md says of every limit and every rule what the code does.

use std::{fmt::Write, fs, path::Path};

use ringfence_model::trade::{Limits, Refusal, Rule};

fn limits() -> String {
    let mut table =
        "| limit | | out of the box | unit | tighter | live | what |\n|---|---|---|---|---|---|---|\n".to_owned();
    let defaults = Limits::out_of_the_box();
    for knob in Limits::KNOBS {
        let value = defaults.get(knob.name).expect("it is one").replace(',', ", ");
        let live = if knob.live { "live" } else { "" };
        let (name, control, unit, tighter, about) = (knob.name, knob.control, knob.unit, knob.tighter, knob.about);
        writeln!(table, "| `{name}` | {control} | {value} | {unit} | {tighter} | {live} | {about} |").expect("a text");
    }
    table
}

/// Rules that are no limits.
fn rules() -> String {
    let mut table = "| rule | control |\n|---|---|\n".to_owned();
    let is_limit = |rule: &Rule| Limits::KNOBS.iter().any(|knob| knob.name == rule.as_str());
    for rule in Rule::ALL.iter().filter(|rule| !is_limit(rule)) {
        writeln!(table, "| `{rule}` | {} |", rule.control()).expect("a text");
    }
    table
}

/// The text with `table` between the marks of `name`.
fn with(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = text.split_once(&begin).expect("the mark is there");
    let (_, after) = rest.split_once(&end).expect("the second mark is there");
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn the_reference_lists_every_limit_and_every_rule() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/trading.md");
    let text = fs::read_to_string(&path).expect("it is there");
    let current = with(&with(&text, "limits", &limits()), "rules", &rules());
    if std::env::var_os("RINGFENCE_UPDATE").is_some() {
        fs::write(&path, &current).expect("it is written");
    }
    let checked_in = fs::read_to_string(&path).expect("it is there");
    assert!(checked_in == current, "docs/reference/trading.md is not current: run this with RINGFENCE_UPDATE=1");
}

#[test]
fn a_refusal_has_the_shape_that_the_reference_shows() {
    let body = Refusal::beyond(Rule::MaxNotionalPerOrder, "500", "1200", "too much").body();
    assert_eq!((&body["code"], &body["rule"]), (&40_310_000.into(), &"max_notional_per_order".into()));
    assert_eq!((&body["limit"], &body["observed"]), (&"500".into(), &"1200".into()));
    assert!(body["message"].as_str().is_some_and(|message| message.starts_with("firewall: max_notional_per_order")));
}
