//! What somebody does who owns a database file: he needs no program of ours for it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::common;

/// Each statement with its parameters, where a text `hex:…` stands for bytes. How many rows were changed.
const SCRIPT: &str = r#"
import json, sqlite3, sys
conn = sqlite3.connect(sys.argv[1], timeout=20)
def value(v): return bytes.fromhex(v[4:]) if isinstance(v, str) and v.startswith("hex:") else v
for statement, values in json.loads(sys.argv[2]):
    changed = conn.execute(statement, [value(v) for v in values]).rowcount
conn.commit()
print(changed)
"#;

/// Changes a database behind its owner's back; how many rows the last statement changed.
#[track_caller]
pub(crate) fn change(database: &Path, statements: &[(&str, Value)]) -> i64 {
    let statements = serde_json::to_string(statements).expect("JSON");
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT]).arg(database).arg(statements);
    common::succeeded(&mut command, "the database could not be changed").trim().parse().expect("a number")
}
