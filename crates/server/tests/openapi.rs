//! The description that is checked in is the one of this code.

use std::{fs, path::Path};

#[test]
fn the_checked_in_description_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    let current = ringfence_server::openapi_json();
    if std::env::var_os("RINGFENCE_UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("it has one")).expect("the directory is made");
        fs::write(&path, &current).expect("the file is written");
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == current,
        "docs/reference/openapi.json is not current: run `RINGFENCE_UPDATE=1 cargo test -p ringfence-server --test openapi`"
    );
}
