//! What was imported is there when it is opened again, whole, and what was changed behind its back is noticed.

use jiff::civil::date;

use super::*;
use crate::{import, tape::Tape};

const HEAD: &str = "date,open,high,low,close,volume\n";

fn set(symbol: &str, rows: &str) -> Vec<Dataset> {
    let bytes = format!("{HEAD}{rows}").into_bytes();
    let (report, sets) = import::read(&format!("{symbol}.csv"), bytes, &import::Options::default(), &[]);
    assert!(!report.is_refused(), "{report:?}");
    sets
}

fn symbol(text: &str) -> Symbol {
    Symbol::parse(text).expect("a symbol")
}

const ONE: &str = "2012-01-03,1,1,1,1,5\n";

#[test]
fn what_was_imported_is_there_when_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("market");
    let mut library = Library::open(&dir).expect("empty");
    let before = library.tape(1).expect("the sample").digest();
    let actions =
        crate::action::actions("a", "symbol,ex_date,kind,value,source\nX,2012-01-04,split,2,\n").expect("good");
    let changes = library.add(&set("X", ONE), &actions, Some("The X Company")).expect("added");
    assert_eq!(
        changes.iter().map(|c| (c.entry.holds, c.added)).collect::<Vec<_>>(),
        [(Holds::Day, 1), (Holds::Actions, 1)]
    );
    let minute = "2012-01-05 09:30,2,2,2,2,7\n";
    library.add(&set("X", minute), &[], None).expect("added");

    let again = Library::open(&dir).expect("a library");
    assert_eq!(again.entries(), library.entries());
    let tape = again.tape(1).expect("a tape");
    assert_eq!(tape.digest(), Library::load(&dir, 1).expect("a tape").digest());
    assert_ne!(tape.digest(), before);
    assert_eq!(tape.symbols().len(), 6);
    assert_eq!(tape.name(&symbol("X")), Some("The X Company"));
    assert_eq!(tape.span(&symbol("X")), Some((date(2012, 1, 3), date(2012, 1, 5))));
    assert_eq!(tape.has_minutes(&symbol("X"), date(2012, 1, 5)), Some(true));
    assert_eq!(tape.all_actions(&symbol("X")).len(), 1);
}

#[test]
fn bars_of_the_same_day_are_replaced_and_others_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut library = Library::open(dir.path()).expect("empty");
    library.add(&set("X", &format!("{ONE}2012-01-04,2,2,2,2,5\n")), &[], None).expect("added");
    let change = library.add(&set("X", "2012-01-04,3,3,3,3,5\n2012-01-05,4,4,4,4,5\n"), &[], None).expect("added");
    assert_eq!((change[0].added, change[0].replaced, change[0].entry.rows), (1, 1, 3));
    let files = fs::read_dir(dir.path().join("objects")).expect("objects").count();
    assert_eq!(files, 1, "what nothing names is removed");
    let same = library.add(&set("X", ONE), &[], None).expect("added");
    assert_eq!((same[0].added, same[0].replaced), (0, 0));
}

#[test]
fn imported_daily_bars_hide_the_samples() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut library = Library::open(dir.path()).expect("empty");
    library.add(&set("AAPL", ONE), &[], None).expect("added");
    let tape = library.tape(1).expect("a tape");
    assert_eq!(tape.span(&symbol("AAPL")), Some((date(2012, 1, 3), date(2012, 1, 3))));
    assert_eq!(tape.all_actions(&symbol("AAPL")), []);
    assert_eq!(library.remove(&symbol("AAPL"), Some(Holds::Minute)).expect("nothing to do"), 0);
    assert_eq!(library.remove(&symbol("AAPL"), None).expect("removed"), 1);
    let tape = Library::open(dir.path()).expect("a library").tape(1).expect("a tape");
    assert_eq!(tape.digest(), BarTape::sample(1).expect("the sample").digest());

    library.add(&set("AAPL", "2012-01-03 09:30,2,2,2,2,7\n"), &[], None).expect("added");
    let tape = library.tape(1).expect("a tape");
    assert_eq!(tape.span(&symbol("AAPL")), Some((date(2000, 3, 1), date(2013, 3, 1))), "minutes are added");
}

#[test]
fn a_file_that_was_changed_is_not_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut library = Library::open(dir.path()).expect("empty");
    library.add(&set("X", ONE), &[], None).expect("added");
    let object = library.object(&library.entries[0].sha256);
    fs::write(&object, format!("{HEAD}2012-01-03,9,9,9,9,5\n")).expect("written");
    let error = library.tape(1).map(|t| t.digest()).expect_err("it was changed");
    assert!(matches!(error, LibraryError::Changed { .. }), "{error:?}");
    fs::write(dir.path().join("manifest.json"), "{\"version\":2,\"entries\":[]}").expect("written");
    let error = Library::open(dir.path()).expect_err("another version").to_string();
    assert!(error.ends_with("it has version 2"), "{error}");
}

#[test]
fn everybody_may_read_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("market");
    let mut library = Library::open(&dir).expect("empty");
    library.add(&set("X", ONE), &[], None).expect("added");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let object = library.object(&library.entries[0].sha256);
    assert_eq!((mode(&dir), mode(&dir.join("manifest.json")), mode(&object)), (0o755, 0o644, 0o644));
}

#[test]
fn a_tape_is_loaded_whole_while_the_library_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut library = Library::open(dir.path()).expect("empty");
    library.add(&set("X", ONE), &[], None).expect("added");
    let path = dir.path().to_owned();
    let writer = std::thread::spawn(move || {
        for volume in 0..60 {
            library.add(&set("X", &format!("2012-01-03,1,1,1,1,{volume}\n")), &[], None).expect("added");
        }
    });
    while !writer.is_finished() {
        let tape = Library::load(&path, 1).expect("old or new, never half");
        assert_eq!(tape.symbols().len(), 6);
    }
    writer.join().expect("it wrote");
}
