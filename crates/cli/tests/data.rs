//! `ringfence data` as a user has it: files come in whole or not at all, and are there afterwards. Needs no root and no
//! daemon.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const HEAD: &str = "Date,Open,High,Low,Close,Adj Close,Volume\n";

fn ringfence(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("data")
        .args(args)
        .args(["--home"])
        .arg(home.join("home"))
        .current_dir(home)
        .output()
        .expect("the program starts")
}

#[track_caller]
fn json(home: &Path, args: &[&str], code: i32) -> serde_json::Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let output = ringfence(home, &args);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn files_come_in_are_listed_checked_and_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path();
    fs::write(home.join("spy.csv"), format!("{HEAD}2012-01-03,1,2,1,2,2,5\n2012-01-05,1,1,1,1,1,5\n"))
        .expect("written");
    fs::write(home.join("a.csv"), "symbol,ex_date,kind,value,source\nSPY,2012-01-05,split,2,\n").expect("written");

    let checked = json(home, &["check", "spy.csv"], 0);
    let found = checked["reports"][0]["findings"].as_array().expect("findings").clone();
    assert_eq!(
        found.iter().map(|f| f["check"].as_str().expect("a word")).collect::<Vec<_>>(),
        ["gap", "split", "columns"]
    );
    assert!(!home.join("home/market/manifest.json").exists(), "a check adds nothing");

    let imported = json(home, &["import", "spy.csv", "--actions", "a.csv", "--name", "S&P"], 0);
    assert_eq!(imported["changes"][0]["symbol"], "SPY");
    assert_eq!(imported["changes"][0]["added"], 2);
    assert_eq!(imported["changes"][1]["holds"], "actions");
    let listed = json(home, &["list"], 0);
    assert_eq!(listed["imported"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["imported"][0]["name"], "S&P");
    assert_eq!(listed["built_in"].as_array().map(Vec::len), Some(5));
    let again = json(home, &["check"], 0);
    assert_eq!(again["reports"][0]["findings"].as_array().map(Vec::len), Some(1), "the split is known now");

    json(home, &["remove", "SPY"], 0);
    assert_eq!(json(home, &["list"], 0)["imported"].as_array().map(Vec::len), Some(0));
    let missing = json(home, &["remove", "SPY"], 1);
    assert!(missing["error"]["message"].as_str().is_some_and(|m| m.contains("nothing of SPY")), "{missing}");
}

#[test]
fn one_bad_file_keeps_all_out_and_is_named_with_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path();
    fs::write(home.join("GOOD.csv"), format!("{HEAD}2012-01-03,1,2,1,2,2,5\n")).expect("written");
    fs::write(home.join("BAD.csv"), format!("{HEAD}2012-01-03,1,2,1,3,2,5\n")).expect("written");
    let output = ringfence(home, &["import", "GOOD.csv", "BAD.csv"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("BAD.csv:2: error: close 3 is above the high 2"), "{said}");
    assert!(said.ends_with("Nothing was imported.\n"), "{said}");
    assert!(!home.join("home/market/manifest.json").exists());
    let twice = ringfence(home, &["import", "GOOD.csv", "GOOD.csv"]);
    let said = String::from_utf8_lossy(&twice.stderr);
    assert_eq!(twice.status.code(), Some(1), "{said}");
    assert!(said.contains("GOOD (day) is in two of these files"), "{said}");
}
