use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use ringfence_market::BarTape;
use rust_decimal::Decimal;

use super::*;
use crate::{
    clock::Mode,
    json::{Json, parse},
    request::NewOrder,
    venue::{DEFAULT_ACCOUNT, Venue, Wish},
};

fn real() -> Timestamp {
    Timestamp::constant(1_800_000_000, 0)
}

fn venue(dir: &Path) -> Venue {
    let tape = Arc::new(BarTape::sample(0).expect("the built-in bars"));
    let again = tape.clone();
    Venue::open(dir, tape, real, Box::new(move || Ok(again.clone()))).expect("it opens")
}

/// A few days of an account with orders of several kinds; waits until all of it is on disk.
fn trade(venue: &Venue) {
    let wish = Wish { mode: Some(Mode::Stepped), seed: Some(3), ..Wish::default() };
    let (desk, _) = venue.create(DEFAULT_ACCOUNT, &wish).expect("an account");
    let mut last = 0;
    for day in 0..4 {
        for order in [
            r#"{"symbol":"AAPL","side":"buy","qty":10,"type":"market","time_in_force":"day"}"#,
            r#"{"symbol":"AAPL","side":"buy","qty":5,"type":"limit","limit_price":400,"time_in_force":"gtc"}"#,
            r#"{"symbol":"MSFT","side":"buy","notional":"250.25","type":"market","time_in_force":"day"}"#,
            r#"{"symbol":"MSFT","side":"sell","qty":1000000,"type":"market","time_in_force":"day"}"#,
        ] {
            let body = parse::json(order.as_bytes()).expect("JSON");
            let act = |turn: &mut crate::exchange::Turn<'_>| {
                NewOrder::read(&body, turn.symbols())
                    .and_then(|new| turn.submit(&new))
                    .map(|answer| answer.get("id").and_then(Json::text).map(str::to_owned))
            };
            let (done, number) = venue.act(DEFAULT_ACCOUNT, &desk, act).expect("the disk takes it");
            assert_eq!(done.is_err(), order.contains("1000000"), "{order}: {done:?}");
            last = number;
        }
        let hours = 7 + day;
        let step = venue.set_clock(DEFAULT_ACCOUNT, &desk, |clock, now, real| {
            let to = now.checked_add(jiff::SignedDuration::from_hours(hours)).expect("an instant");
            Ok(clock.step_to(to, real)?)
        });
        last = last.max(step.expect("it moves").1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(venue.written(last)).expect("it is on disk");
}

fn account(venue: &Venue) -> Account {
    venue.desk(DEFAULT_ACCOUNT).expect("there is one").look(Clone::clone)
}

#[test]
fn a_venue_that_is_opened_again_is_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("venue");
    let first = venue(&path);
    trade(&first);
    let before = account(&first);
    assert!(before.orders.len() >= 12 && before.activities.len() >= 8, "something has happened");
    assert!(matches!(Journal::open(&path), Err(JournalError::Held(_))), "one at a time");
    drop(first);
    let again = venue(&path);
    assert!(account(&again) == before, "the account is another one");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_snapshot_holds_what_the_journal_held() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = venue(dir.path());
    trade(&first);
    let before = account(&first);
    drop(first);
    for round in 1..3 {
        let (journal, state) = Journal::open_with(dir.path(), 0).expect("it opens");
        assert!(state.accounts[DEFAULT_ACCOUNT] == before, "the account is another one");
        let record = Record::Tape(format!("round {round}"));
        journal.append(&record, None).expect("it takes it");
        drop(journal);
        // The thread has the last word; the lock is free when it has ended or not.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !fs::read_to_string(dir.path().join(format!("journal-{round}"))).is_ok_and(|text| text.contains("round"))
        {
            assert!(std::time::Instant::now() < end, "the record is not written");
            std::thread::yield_now();
        }
        assert!(!dir.path().join(format!("journal-{}", round - 1)).exists());
    }
    assert_eq!(Journal::open(dir.path()).expect("it opens").1.tape.as_deref(), Some("round 2"));
}

#[test]
fn damage_before_a_good_line_is_not_passed_over() {
    let lines: Vec<Vec<u8>> = ["a", "b", "c"].map(|digest| line(&Record::Tape(digest.to_owned()))).into();
    let all = lines.concat();
    assert_eq!(read(&all).map(|(records, good)| (records.len(), good)), Ok((3, all.len())));
    // The second line's end is left out: without it the last two are one line that was cut short.
    for at in 0..lines[0].len() + lines[1].len() - 1 {
        let mut damaged = all.clone();
        damaged[at] ^= 1;
        assert!(read(&damaged).is_err(), "byte {at}");
    }
    // Zeros at the end are what some file systems leave of a write that was cut short.
    let mut torn = all.clone();
    torn.extend_from_slice(&[0; 4096]);
    assert_eq!(read(&torn).map(|(records, good)| (records.len(), good)), Ok((3, all.len())));
}

/// What a venue wrote, once for all cases.
fn written() -> &'static [u8] {
    static WRITTEN: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    WRITTEN.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        trade(&venue(dir.path()));
        fs::read(dir.path().join("journal-0")).expect("a journal")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_journal_that_is_cut_anywhere_is_what_its_whole_lines_say(at in 0_usize..1_000_000) {
        let bytes = written();
        let cut = &bytes[..at % (bytes.len() + 1)];
        let whole = cut.iter().filter(|byte| **byte == b'\n').count();
        let (records, _) = read(bytes).expect("it is whole");
        let mut expected = State::default();
        records.into_iter().take(whole).for_each(|record| expected.apply(record));
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("journal-0"), cut).expect("written");
        let (journal, state) = Journal::open(dir.path()).expect("it opens");
        prop_assert!(state == expected, "the state is another one");
        // What comes after stands behind it as if nothing had been.
        let number = journal.append(&Record::Tape("next".into()), None).expect("it takes it");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(journal.written(number)).expect("it is on disk");
        drop(journal);
        expected.tape = Some("next".into());
        prop_assert!(Journal::open(dir.path()).expect("it opens").1 == expected, "the state is another one");
    }
}

#[test]
fn other_data_change_nothing_that_has_happened() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = venue(dir.path());
    trade(&first);
    let before = account(&first);
    drop(first);
    let tape = Arc::new(BarTape::sample(99).expect("the built-in bars"));
    let again = tape.clone();
    let other = Venue::open(dir.path(), tape, real, Box::new(move || Ok(again.clone()))).expect("it opens");
    let after = account(&other);
    assert_eq!((after.cash, &after.positions, &after.orders), (before.cash, &before.positions, &before.orders));
    assert_eq!(after.cash.cmp(&Decimal::from(100_000)), std::cmp::Ordering::Less);
}
