//! The reference of the limits says what the code does.

use std::fmt::Write as _;
use std::path::PathBuf;

use ringfence_model::trade::{Limits, Rule};

const BEGIN: &str = "--test trading_limits -->\n";
const END: &str = "<!-- end -->";

fn table() -> String {
    let defaults = Limits::out_of_the_box();
    let mut table = String::from(
        "\n| limit | control | unit | default | live | tighter | what it does |\n|---|---|---|---|---|---|---|\n",
    );
    for knob in Limits::KNOBS {
        let default = defaults.get(knob.name).expect("a limit").replace(',', ", ");
        let live = if knob.live { "yes" } else { "" };
        writeln!(
            table,
            "| `{}` | {} | {} | {default} | {live} | {} | {} |",
            knob.name, knob.control, knob.unit, knob.tighter, knob.about
        )
        .expect("a text grows");
    }
    table.push('\n');
    table
}

#[test]
fn the_reference_lists_every_limit_as_it_is() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/trading-limits.md");
    let text = std::fs::read_to_string(&path).expect("the reference can be read");
    let (before, rest) = text.split_once(BEGIN).expect("it says where the table begins");
    let (found, after) = rest.split_once(END).expect("it says where the table ends");
    let table = table();
    if std::env::var_os("RINGFENCE_WRITE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("the reference can be written");
        return;
    }
    assert_eq!(found, table, "write it anew: RINGFENCE_WRITE=1 cargo test -p ringfence-model --test trading_limits");
    let named = |rule: &Rule| text.contains(&format!("`{rule}`"));
    let unnamed: Vec<&Rule> = Rule::ALL.iter().filter(|rule| !named(rule)).collect();
    assert!(unnamed.is_empty(), "the reference does not name {unnamed:?}");
}

#[test]
fn what_is_in_force_out_of_the_box_is_what_was_promised() {
    let defaults = Limits::out_of_the_box();
    for (name, text) in [
        ("max_notional_per_order", "10000"),
        ("max_daily_notional", "50000"),
        ("max_position_notional", "25000"),
        ("max_open_orders", "50"),
        ("price_collar_percent", "10"),
        ("max_messages_per_s", "10"),
        ("max_daily_loss_percent", "2"),
        ("max_refusals_in_a_row", "5"),
        ("permitted_asset_classes", "us_equity"),
        ("trading_hours", "regular"),
        ("no_shorting", "yes"),
    ] {
        assert_eq!(defaults.get(name).as_deref(), Ok(text), "{name}");
    }
}
