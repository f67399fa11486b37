//! Meters and the ledger: what is billed adds up, once, over restarts and crashes.

mod support;

use ringfence_model::{
    Project, Role,
    credit::{CreditSettings, DAY_MS, MilliCredits},
};
use ringfence_store::{
    AccessTokenRow, AuditFilter, Refund, SandboxChange, SandboxStatus, Stepped, Store, StoreError, TrafficTotals, Tx,
    UsageBy, UsageFilter, UsageOf,
};
use support::{NOW_MS, Place, sandbox_id, sandbox_row};

const MINUTE: u64 = 60_000;

async fn create(store: &Store, number: u8, at_ms: u64) -> Result<(), StoreError> {
    let mut row = sandbox_row(number, SandboxStatus::Running);
    (row.created_at_ms, row.started_at_ms) = (at_ms, Some(at_ms));
    store.write(move |tx| tx.insert_sandbox(&row)).await
}

async fn go(store: &Store, number: u8, to: SandboxStatus, at_ms: u64) -> Result<(), StoreError> {
    let running = to == SandboxStatus::Running;
    let change = SandboxChange {
        started_at_ms: running.then_some(at_ms),
        stopped_at_ms: (!running).then_some(at_ms),
        ..SandboxChange::default()
    };
    store.write(move |tx| tx.move_sandbox(&sandbox_id(number), to, &change).map(drop)).await
}

async fn grant(store: &Store, credits: i64, key: &'static str) -> bool {
    let amount = MilliCredits::whole(credits);
    store.write(move |tx| tx.grant_credits(&Project::default(), amount, key, NOW_MS)).await.expect("granted")
}

async fn cost(store: &Store, number: u8) -> i64 {
    store.read(move |view| view.sandbox_cost(&sandbox_id(number))).await.expect("readable").0
}

async fn balance(store: &Store) -> i64 {
    store.read(|view| view.budget(&Project::default())).await.expect("readable").expect("limited").balance.0
}

async fn adds_up(store: &Store) {
    assert_eq!(store.read(|view| view.check_credits()).await.expect("readable"), Vec::<String>::new());
}

#[tokio::test]
async fn a_session_of_thirty_minutes_costs_32_and_closes_once() {
    let place = Place::new();
    let store = place.open();
    create(&store, 1, NOW_MS).await.expect("made");
    assert_eq!(cost(&store, 1).await, 3000);
    for at in [0, 1, MINUTE + 1, MINUTE + 2, 10 * MINUTE] {
        store.write(move |tx| tx.bill_minutes(NOW_MS + at)).await.expect("billed");
    }
    assert_eq!(cost(&store, 1).await, 12_000);
    adds_up(&store).await;
    go(&store, 1, SandboxStatus::Expired, NOW_MS + 30 * MINUTE).await.expect("it expires");
    go(&store, 1, SandboxStatus::Deleted, NOW_MS + 90 * MINUTE).await.expect("it is deleted");
    store.write(|tx| tx.bill_minutes(NOW_MS + 99 * MINUTE)).await.expect("billed");
    assert_eq!(cost(&store, 1).await, 32_000);
    adds_up(&store).await;
}

#[tokio::test]
async fn of_two_creates_with_credit_for_one_one_is_refused() {
    let place = Place::new();
    let store = place.open();
    assert!(grant(&store, 3, "a").await && !grant(&store, 3, "a").await);
    let (one, two) = tokio::join!(create(&store, 1, NOW_MS), create(&store, 2, NOW_MS));
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1, "{one:?} {two:?}");
    let refused = one.and(two).expect_err("one is refused");
    assert!(matches!(refused, StoreError::InsufficientCredits { .. }), "{refused}");
    assert_eq!(balance(&store).await, 0);
    adds_up(&store).await;
}

#[tokio::test]
async fn nothing_left_is_a_grace_and_then_an_end_and_never_a_debt() {
    let place = Place::new();
    let store = place.open();
    grant(&store, 4, "a").await;
    create(&store, 1, NOW_MS).await.expect("made");
    let bill = async |minutes: u64| {
        let at = NOW_MS + minutes * MINUTE;
        store.write(move |tx| tx.bill_minutes(at)).await.expect("billed").over
    };
    assert!(bill(2).await.is_empty() && bill(6).await.is_empty());
    assert_eq!(bill(7).await, [sandbox_id(1)]);
    assert_eq!((balance(&store).await, cost(&store, 1).await), (0, 9000));
    let standing = store.read(|view| view.credit_standing(&Project::default(), NOW_MS)).await.expect("it stands");
    assert_eq!(standing.spent_today.0, 4000, "not what was written off");
    go(&store, 1, SandboxStatus::Stopped, NOW_MS + 7 * MINUTE).await.expect("stopped");
    let again = go(&store, 1, SandboxStatus::Running, NOW_MS + 8 * MINUTE).await.expect_err("nothing is left");
    assert!(matches!(again, StoreError::InsufficientCredits { .. }), "{again}");
    grant(&store, 1, "b").await;
    go(&store, 1, SandboxStatus::Running, NOW_MS + 9 * MINUTE).await.expect("it is paid");
    adds_up(&store).await;
}

#[tokio::test]
async fn a_failed_create_is_refunded_and_a_crash_bills_until_it_was_seen_last() {
    let place = Place::new();
    let store = place.open();
    grant(&store, 100, "a").await;
    create(&store, 1, NOW_MS).await.expect("made");
    let change =
        SandboxChange { deleted_at_ms: Some(NOW_MS + 5), refund: Refund::Everything, ..SandboxChange::default() };
    store.write(move |tx| tx.move_sandbox(&sandbox_id(1), SandboxStatus::Deleted, &change)).await.expect("undone");
    assert_eq!((balance(&store).await, cost(&store, 1).await), (100_000, 0));
    create(&store, 2, NOW_MS).await.expect("made");
    store.write(|tx| tx.bill_minutes(NOW_MS + 90_000)).await.expect("billed");
    let crashed = place.as_after_a_crash();
    let store = crashed.open();
    let change =
        SandboxChange { stopped_at_ms: Some(NOW_MS + 9000 * MINUTE), ended_unseen: true, ..SandboxChange::default() };
    store.write(move |tx| tx.move_sandbox(&sandbox_id(2), SandboxStatus::Stopped, &change)).await.expect("stopped");
    assert_eq!(cost(&store, 2).await, 4000);
    adds_up(&store).await;
}

#[tokio::test]
async fn a_start_that_failed_costs_nothing_and_what_was_paid_before_stays_paid() {
    let place = Place::new();
    let store = place.open();
    grant(&store, 100, "a").await;
    create(&store, 1, NOW_MS).await.expect("made");
    go(&store, 1, SandboxStatus::Stopped, NOW_MS + 5 * MINUTE).await.expect("stopped");
    assert_eq!((balance(&store).await, cost(&store, 1).await), (93_000, 7000));
    let unstarted = |at_ms: u64| {
        let change = SandboxChange { stopped_at_ms: Some(at_ms), refund: Refund::Meter, ..SandboxChange::default() };
        store.write(move |tx| tx.move_sandbox(&sandbox_id(1), SandboxStatus::Stopped, &change).map(drop))
    };
    // As often as it fails, and however long it takes to fail.
    for (number, (begun, failed)) in [(10, 10), (11, 14), (20, 21)].into_iter().enumerate() {
        go(&store, 1, SandboxStatus::Running, NOW_MS + begun * MINUTE).await.expect("it is reserved");
        assert_eq!(balance(&store).await, 92_000, "{number}");
        unstarted(NOW_MS + failed * MINUTE).await.expect("stopped again");
        assert_eq!((balance(&store).await, cost(&store, 1).await), (93_000, 7000), "{number}");
        adds_up(&store).await;
    }
    // The control: one that does not fail is paid.
    go(&store, 1, SandboxStatus::Running, NOW_MS + 30 * MINUTE).await.expect("it runs");
    go(&store, 1, SandboxStatus::Stopped, NOW_MS + 32 * MINUTE).await.expect("stopped");
    assert_eq!((balance(&store).await, cost(&store, 1).await), (91_000, 9000));
    // All that it has paid is given back, and nothing of what was given back already.
    let change = SandboxChange { deleted_at_ms: Some(NOW_MS), refund: Refund::Everything, ..SandboxChange::default() };
    store.write(move |tx| tx.move_sandbox(&sandbox_id(1), SandboxStatus::Deleted, &change)).await.expect("undone");
    assert_eq!((balance(&store).await, cost(&store, 1).await), (100_000, 0));
    adds_up(&store).await;
}

#[tokio::test]
async fn an_entry_of_the_ledger_takes_the_bytes_that_the_decision_names() {
    const MINUTES: u64 = 20_000;
    // docs/decisions/0047: at most so many for each billed minute, indexes and all.
    const ENTRY_BYTES_MAX: u64 = 320;
    let place = Place::new();
    let store = place.open();
    create(&store, 1, NOW_MS).await.expect("made");
    let pages = || {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        place.behind_its_back().query_row(sql, [], |row| row.get::<_, u64>(0)).expect("a number")
    };
    let before = pages();
    let bill = |tx: &Tx<'_>| (1..=MINUTES).try_for_each(|minute| tx.bill_minutes(NOW_MS + minute * MINUTE).map(drop));
    store.write(bill).await.expect("billed");
    let bytes = (pages() - before) / MINUTES;
    println!("an entry of the ledger: {bytes} bytes");
    assert!(bytes <= ENTRY_BYTES_MAX, "{bytes} bytes for each minute");
    adds_up(&store).await;
}

#[tokio::test]
async fn any_operations_with_crashes_add_up() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut place = Place::new();
    let mut store = place.open();
    grant(&store, 60, "first").await;
    let mut now = NOW_MS;
    for _ in 0..400 {
        now += next(90_000);
        let number = u8::try_from(next(40)).expect("small");
        // What is refused changes nothing, which is checked below.
        let _ = match next(8) {
            0 | 1 => create(&store, number, now).await,
            2 => go(&store, number, SandboxStatus::Stopped, now).await,
            3 => go(&store, number, SandboxStatus::Running, now).await,
            4 => go(&store, number, SandboxStatus::Paused, now).await,
            5 => go(&store, number, SandboxStatus::Deleted, now).await,
            6 => store.write(move |tx| tx.bill_minutes(now).map(drop)).await,
            _ => {
                let crashed = place.as_after_a_crash();
                store = crashed.open();
                place = crashed;
                Ok(())
            }
        };
        adds_up(&store).await;
        assert!(balance(&store).await >= 0);
    }
}

fn project(name: &str) -> Project {
    Project::parse(name).expect("a name")
}

async fn create_for(store: &Store, number: u8, at_ms: u64, owner: &str) -> Result<(), StoreError> {
    let mut row = sandbox_row(number, SandboxStatus::Running);
    (row.created_at_ms, row.started_at_ms, row.project) = (at_ms, Some(at_ms), project(owner));
    store.write(move |tx| tx.insert_sandbox(&row)).await
}

async fn left(store: &Store, owner: &'static str) -> Option<i64> {
    let found = store.read(move |view| view.budget(&project(owner))).await.expect("readable");
    found.map(|budget| budget.balance.0)
}

#[tokio::test]
async fn one_project_spends_nothing_of_another() {
    let place = Place::new();
    let store = place.open();
    for (owner, credits) in [("fund", 5), ("rival", 100)] {
        let amount = MilliCredits::whole(credits);
        store.write(move |tx| tx.grant_credits(&project(owner), amount, "a", NOW_MS)).await.expect("granted");
    }
    create_for(&store, 1, NOW_MS, "fund").await.expect("made");
    let refused = create_for(&store, 2, NOW_MS, "fund").await.expect_err("2 are left of 5");
    assert!(refused.to_string().contains("fund"), "{refused}");
    create_for(&store, 3, NOW_MS, "rival").await.expect("made");
    create_for(&store, 4, NOW_MS, "default").await.expect("it has no limit");
    store.write(|tx| tx.bill_minutes(NOW_MS + 4 * MINUTE)).await.expect("billed");
    assert_eq!((left(&store, "fund").await, left(&store, "rival").await), (Some(0), Some(94_000)));
    // Five minutes after nothing was left, those of that project are over.
    let later = NOW_MS + 9 * MINUTE;
    let billed = store.write(move |tx| tx.bill_minutes(later)).await.expect("billed");
    assert_eq!(billed.over, [sandbox_id(1)]);
    adds_up(&store).await;
}

#[tokio::test]
async fn what_was_spent_is_said_in_the_chain_once_at_each_step() {
    let place = Place::new();
    let store = place.open();
    grant(&store, 10, "a").await;
    create(&store, 1, NOW_MS).await.expect("made");
    for minute in 1..=14 {
        store.write(move |tx| tx.bill_minutes(NOW_MS + minute * MINUTE)).await.expect("billed");
    }
    let said = async || {
        let about = AuditFilter { event_prefix: Some("credit.".into()), ..AuditFilter::default() };
        let mut records = store.read(move |view| view.audit_records(&about)).await.expect("readable");
        records.reverse();
        records.into_iter().map(|r| (r.event, r.detail["percent"].as_u64())).collect::<Vec<_>>()
    };
    let warned = |percent| ("credit.warn".to_owned(), Some(percent));
    let steps = vec![warned(50), warned(80), ("credit.exhausted".to_owned(), Some(100))];
    assert_eq!(said().await, steps);
    // Who is given more is warned anew.
    grant(&store, 10, "b").await;
    for minute in 15..=20 {
        store.write(move |tx| tx.bill_minutes(NOW_MS + minute * MINUTE)).await.expect("billed");
    }
    assert_eq!(said().await, [steps, vec![warned(80)]].concat());
    adds_up(&store).await;
}

#[tokio::test]
async fn a_budget_is_what_may_be_spent_from_now_on() {
    let place = Place::new();
    let store = place.open();
    let set = async |credits: Option<i64>, key: &'static str| {
        let budget = credits.map(MilliCredits::whole);
        store.write(move |tx| tx.set_budget(&Project::default(), budget, key, NOW_MS)).await.expect("set");
    };
    create(&store, 1, NOW_MS).await.expect("without a limit");
    set(Some(4), "a").await;
    assert_eq!(balance(&store).await, 4000);
    create(&store, 2, NOW_MS).await.expect("made");
    set(Some(0), "b").await;
    assert_eq!(balance(&store).await, 0);
    create(&store, 3, NOW_MS).await.expect_err("nothing is left");
    set(None, "c").await;
    create(&store, 3, NOW_MS).await.expect("no limit");
    // What was paid while there was one is given back while there is none.
    let change = SandboxChange { deleted_at_ms: Some(NOW_MS), refund: Refund::Everything, ..SandboxChange::default() };
    store.write(move |tx| tx.move_sandbox(&sandbox_id(2), SandboxStatus::Deleted, &change)).await.expect("undone");
    assert_eq!(cost(&store, 2).await, 0);
    adds_up(&store).await;
    set(Some(9), "d").await;
    assert_eq!(balance(&store).await, 9000);
    adds_up(&store).await;
    for credits in [-1, 1_000_000_001] {
        let budget = Some(MilliCredits::whole(credits));
        let set = store.write(move |tx| tx.set_budget(&Project::default(), budget, "e", NOW_MS)).await;
        assert!(matches!(set, Err(StoreError::Refused(_))), "{credits}");
    }
}

#[tokio::test]
async fn prices_and_the_first_budget_are_the_operators() {
    let place = Place::new();
    let store = place.open();
    let mut settings =
        CreditSettings { budget: Some(MilliCredits::whole(20)), grace_ms: 0, ..CreditSettings::default() };
    (settings.prices.create, settings.prices.minute) = (MilliCredits(2500), MilliCredits(250));
    store.write(move |tx| tx.set_credit_settings(&settings)).await.expect("set");
    let standing = store.read(|view| view.credit_standing(&Project::default(), NOW_MS)).await.expect("readable");
    assert_eq!(standing.budget.map(|budget| budget.balance.0), Some(20_000), "before its first sandbox too");
    create(&store, 1, NOW_MS).await.expect("made");
    assert_eq!((cost(&store, 1).await, balance(&store).await), (2750, 17_250));
    let standing = store.read(|view| view.credit_standing(&Project::default(), NOW_MS)).await.expect("readable");
    assert_eq!((standing.metered, standing.spent_today.0), (1, 2750));
    // The operator takes the limit away, and it stays away.
    store.write(|tx| tx.set_budget(&Project::default(), None, "a", NOW_MS)).await.expect("set");
    create(&store, 2, NOW_MS).await.expect("made");
    assert_eq!(left(&store, "default").await, None);
    adds_up(&store).await;
}

#[tokio::test]
async fn files_above_the_first_gb_are_paid_once_a_day() {
    let place = Place::new();
    let store = place.open();
    create(&store, 1, NOW_MS).await.expect("made");
    for (gb, at) in [(2, NOW_MS), (1, NOW_MS + 1), (3, NOW_MS + 2), (0, NOW_MS + DAY_MS), (1, NOW_MS + DAY_MS)] {
        store.write(move |tx| tx.bill_storage(&sandbox_id(1), gb, at)).await.expect("billed");
    }
    assert_eq!(cost(&store, 1).await, 3000 + 3000 + 1000);
    adds_up(&store).await;
}

#[tokio::test]
async fn usage_is_added_up_by_sandbox_project_and_day() {
    let place = Place::new();
    let store = place.open();
    let midnight = (NOW_MS / DAY_MS + 1) * DAY_MS;
    create_for(&store, 1, midnight - 60 * MINUTE, "fund").await.expect("made");
    store.write(move |tx| tx.bill_minutes(midnight - 1)).await.expect("billed");
    create_for(&store, 2, midnight, "rival").await.expect("made");
    go(&store, 1, SandboxStatus::Stopped, midnight + 30 * MINUTE).await.expect("stopped");
    let totals = |requests, bytes_up| TrafficTotals { requests, refused: 1, bytes_up, bytes_down: 7 };
    for (seen, at) in [(totals(2, 10), midnight - 1), (totals(5, 30), midnight), (totals(0, 0), midnight + 1)] {
        store.write(move |tx| tx.note_traffic(&sandbox_id(1), seen, at)).await.expect("noted");
    }
    let now = midnight + 60 * MINUTE;
    store.write(move |tx| tx.bill_minutes(now)).await.expect("billed");
    let filter = UsageFilter { project: None, sandbox: None, since_day: NOW_MS / DAY_MS, limit: 10 };
    let read = async |by, filter: &UsageFilter| {
        let filter = filter.clone();
        store.read(move |view| view.usage(by, &filter, now)).await.expect("readable")
    };
    let days = read(UsageBy::Day, &filter).await;
    let of =
        |usage: &ringfence_store::Usage| (usage.credits.0, usage.running_ms / MINUTE, usage.requests, usage.bytes_up);
    let memory = u64::from(sandbox_row(1, SandboxStatus::Running).limits.memory_mib);
    assert_eq!(days.iter().map(of).collect::<Vec<_>>(), [(30_000 + 62_000, 30 + 60, 3, 20), (62_000, 60, 2, 10)]);
    assert_eq!(days[1].memory_mib_ms, memory * 60 * MINUTE);
    let by_sandbox = read(UsageBy::Sandbox, &filter).await;
    assert!(
        matches!(&by_sandbox[0].of, UsageOf::Sandbox(id, _, owner) if *id == sandbox_id(1) && *owner == project("fund"))
    );
    assert_eq!(by_sandbox.iter().map(of).collect::<Vec<_>>(), [(92_000, 90, 5, 30), (62_000, 60, 0, 0)]);
    let by_project = read(UsageBy::Project, &filter).await;
    assert_eq!(by_project.iter().map(of).collect::<Vec<_>>(), [(92_000, 90, 5, 30), (62_000, 60, 0, 0)]);
    let all = read(UsageBy::Nothing, &filter).await;
    assert_eq!(all.iter().map(of).collect::<Vec<_>>(), [(154_000, 150, 5, 30)]);
    let own = read(UsageBy::Sandbox, &UsageFilter { project: Some(project("rival")), ..filter.clone() }).await;
    assert_eq!(own.iter().map(of).collect::<Vec<_>>(), [(62_000, 60, 0, 0)]);
    let today = read(UsageBy::Nothing, &UsageFilter { since_day: midnight / DAY_MS, ..filter }).await;
    assert_eq!(today.iter().map(of).collect::<Vec<_>>(), [(92_000, 90, 3, 20)]);
    let nobody = UsageFilter { project: Some(project("nobody")), sandbox: None, since_day: 0, limit: 1 };
    assert!(read(UsageBy::Nothing, &nobody).await.is_empty());
}

/// The clock jumps by so much, a second after the meter was seen, and what runs goes on for two minutes.
async fn step(step_ms: i64) {
    const DAY: u64 = 24 * 60 * MINUTE;
    let place = Place::new();
    let store = place.open();
    assert!(grant(&store, 100, "a").await);
    let mut row = sandbox_row(1, SandboxStatus::Running);
    (row.created_at_ms, row.started_at_ms, row.expires_at_ms) = (NOW_MS, Some(NOW_MS), Some(NOW_MS + 60 * MINUTE));
    store.write(move |tx| tx.insert_sandbox(&row)).await.expect("made");
    store.write(|tx| tx.bill_minutes(NOW_MS + 1000)).await.expect("billed");
    let at = move |ms: u64| (NOW_MS + ms).checked_add_signed(step_ms).expect("after the epoch");
    let token = |id: &str, expires_at_ms| AccessTokenRow {
        id: id.into(),
        name: id.into(),
        role: Role::Operator,
        project: None,
        created_at_ms: NOW_MS - DAY,
        expires_at_ms: Some(expires_at_ms),
        used_at_ms: None,
        revoked_at_ms: None,
    };
    let (ended, lasting) = (token("tok_1", NOW_MS - 1), token("tok_2", NOW_MS + 400 * DAY));
    store
        .write(move |tx| {
            tx.insert_access_token(&ended, &[1; 32])?;
            tx.insert_access_token(&lasting, &[2; 32])
        })
        .await
        .expect("written");
    let stepped = store.write(move |tx| tx.clock_stepped(step_ms, at(2000))).await.expect("written");
    let ended_tokens = usize::from(step_ms < 0);
    assert_eq!(stepped, Stepped { meters: 1, lifetimes: 1, ended_tokens });
    store.write(move |tx| tx.bill_minutes(at(3000))).await.expect("billed");
    assert_eq!(cost(&store, 1).await, 3000, "no minute has passed");
    store.write(move |tx| tx.bill_minutes(at(2 * MINUTE))).await.expect("billed");
    assert_eq!(cost(&store, 1).await, 4000, "one has");
    // Another that is made after it is of the new time alone.
    create(&store, 2, at(2 * MINUTE)).await.expect("made");
    go(&store, 1, SandboxStatus::Stopped, at(2 * MINUTE + 1)).await.expect("stopped");
    assert_eq!((cost(&store, 1).await, cost(&store, 2).await), (5000, 3000));
    assert_eq!(balance(&store).await, 92_000);
    adds_up(&store).await;
    let row = store.sandbox(&sandbox_id(1)).await.expect("readable").expect("known");
    assert_eq!(row.expires_at_ms, Some(at(60 * MINUTE)), "it lives for as long as it would have");
    let tokens = store.read(|view| view.access_tokens()).await.expect("readable");
    let valid: Vec<&str> = tokens.iter().filter(|row| row.is_valid(at(3000))).map(|row| row.id.as_str()).collect();
    // A date is a date: what ends in a year has ended when the clock shows so. What had ended stays so.
    let expected: &[&str] = if at(3000) < NOW_MS + 400 * DAY { &["tok_2"] } else { &[] };
    assert_eq!(valid, expected);
}

#[tokio::test]
async fn a_clock_that_jumps_bills_no_minute_that_never_was_and_gives_none_away() {
    const YEAR_MS: i64 = 365 * 24 * 60 * 60_000;
    for jump in [60_000, 3_600_000, YEAR_MS, 2 * YEAR_MS, -60_000, -3_600_000, -YEAR_MS] {
        step(jump).await;
    }
}

#[tokio::test]
async fn a_meter_that_was_opened_after_the_jump_does_not_move() {
    const HOUR: u64 = 60 * MINUTE;
    for (jump, new) in [(HOUR.cast_signed(), NOW_MS + HOUR), (-HOUR.cast_signed(), NOW_MS - HOUR)] {
        let place = Place::new();
        let store = place.open();
        create(&store, 1, NOW_MS).await.expect("made");
        create(&store, 2, new + 1000).await.expect("made");
        let stepped = store.write(move |tx| tx.clock_stepped(jump, new + 2000)).await.expect("written");
        assert_eq!(stepped.meters, 1);
        store.write(move |tx| tx.bill_minutes(new + 3000)).await.expect("billed");
        assert_eq!((cost(&store, 1).await, cost(&store, 2).await), (3000, 3000));
        adds_up(&store).await;
    }
}
