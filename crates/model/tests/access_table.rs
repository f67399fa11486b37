//! The reference of roles says what the code does.

use std::fmt::Write as _;
use std::path::PathBuf;

use ringfence_model::{Operation, Role};

const BEGIN: &str = "--test access_table -->\n";
const END: &str = "<!-- end -->";

fn table() -> String {
    let mut table = String::from("\n| operation | operator | agent | auditor |\n|---|---|---|---|\n");
    for operation in Operation::ALL {
        write!(table, "| `{}` |", operation.name()).expect("a text grows");
        for role in Role::ALL {
            table.push_str(if role.may(operation.needs()) { " yes |" } else { "  |" });
        }
        table.push('\n');
    }
    table.push('\n');
    table
}

#[test]
fn the_reference_lists_every_operation_as_it_is() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/access.md");
    let text = std::fs::read_to_string(&path).expect("the reference can be read");
    let (before, rest) = text.split_once(BEGIN).expect("it says where the table begins");
    let (found, after) = rest.split_once(END).expect("it says where the table ends");
    let table = table();
    if std::env::var_os("RINGFENCE_WRITE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("the reference can be written");
        return;
    }
    assert_eq!(found, table, "write it anew: RINGFENCE_WRITE=1 cargo test -p ringfence-model --test access_table");
}
