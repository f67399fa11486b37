//! Everything at once, with kills: for 24 seconds, and in `make suites` for a minute. `ringfence soak` does it for an hour.

mod common;

use serde_json::Value;

#[test]
fn everything_with_kills_leaves_nothing_and_loses_nothing() {
    let minutes = if common::is_long("a whole minute of everything") { "1" } else { "0.4" };
    let soaked = common::ringfence(common::shared(), &["soak", "--minutes", minutes, "--seed", "7", "--json"]);
    let said = String::from_utf8_lossy(&soaked.stderr);
    assert!(soaked.status.success(), "{}{said}", String::from_utf8_lossy(&soaked.stdout));
    let report: Value = serde_json::from_slice(&soaked.stdout).expect("a report");
    assert_eq!(report["faults"], Value::Array(Vec::new()));
    // It did something: a soak in which nothing is answered proves nothing.
    for name in ["create", "execute", "write", "delete", "order"] {
        assert!(report["by_name"][name][0].as_u64().is_some_and(|answered| answered > 0), "{name}: {report:#}");
    }
    assert!(report["kills"].as_object().is_some_and(|kills| !kills.is_empty()), "{report:#}");
}
