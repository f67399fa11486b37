//! A tape answers point in time, its bars add up, and what comes later changes nothing that was said before.

use jiff::{SignedDuration, ToSpan, civil::date};
use proptest::prelude::*;

use super::*;
use crate::tape::{Frame, Scale, Wanted};

fn symbol(text: &str) -> Symbol {
    Symbol::parse(text).expect("a symbol")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn tape() -> BarTape {
    BarTape::sample(7).expect("the sample")
}

fn wanted(frame: &str, from: &str, until: &str) -> Wanted {
    Wanted {
        frame: Frame::parse(frame).expect("a frame"),
        from: at(from),
        until: at(until),
        now: Timestamp::MAX,
        most: usize::MAX,
        descending: false,
    }
}

fn bars(tape: &BarTape, name: &str, wanted: &Wanted) -> Vec<crate::tape::Aggregate> {
    tape.bars(&symbol(name), wanted, |_| Scale::NONE)
}

#[test]
fn daily_bars_of_the_tape_are_the_bars_it_was_made_from() {
    let found = bars(&tape(), "AAPL", &wanted("1Day", "2011-01-01T00:00:00Z", "2012-01-01T00:00:00Z"));
    let raw = sample::raw().expect("the sample");
    let expected: Vec<&Bar> = raw[0].bars().iter().filter(|b| b.date.year() == 2011).collect();
    assert_eq!(found.len(), 252);
    for (found, bar) in found.iter().zip(expected) {
        assert_eq!(Some(found.at), new_york::midnight(bar.date));
        let ours = (found.open, found.high, found.low, found.close, found.volume);
        assert_eq!(ours, (bar.open, bar.high, bar.low, bar.close, bar.volume));
    }
}

#[test]
fn bars_begin_where_their_frame_says() {
    let tape = tape();
    let begins = |frame: &str, from: &str, until: &str| -> Vec<String> {
        bars(&tape, "AAPL", &wanted(frame, from, until)).iter().map(|b| b.at.to_string()).collect()
    };
    let day = ("2012-01-03T00:00:00Z", "2012-01-03T23:59:59Z");
    let minutes = begins("1Min", day.0, day.1);
    assert_eq!(
        (minutes.len(), minutes[0].as_str(), minutes[389].as_str()),
        (390, "2012-01-03T14:30:00Z", "2012-01-03T20:59:00Z")
    );
    let hours = begins("1Hour", day.0, day.1);
    assert_eq!(
        (hours.len(), hours[0].as_str(), hours[6].as_str()),
        (7, "2012-01-03T14:00:00Z", "2012-01-03T20:00:00Z")
    );
    assert_eq!(begins("4Hour", day.0, day.1), ["2012-01-03T13:00:00Z", "2012-01-03T17:00:00Z"]);
    let weeks = begins("1Week", "2012-07-01T00:00:00Z", "2012-07-20T00:00:00Z");
    assert_eq!(weeks, ["2012-07-02T04:00:00Z", "2012-07-09T04:00:00Z", "2012-07-16T04:00:00Z"]);
    let quarters = begins("3Month", "2011-12-31T00:00:00Z", "2012-12-31T00:00:00Z");
    let expected = ["2012-01-01T05:00:00Z", "2012-04-01T04:00:00Z", "2012-07-01T04:00:00Z", "2012-10-01T04:00:00Z"];
    assert_eq!(quarters, expected);
    assert_eq!(begins("12Month", "1999-01-01T00:00:00Z", "2014-01-01T00:00:00Z").len(), 14);
}

#[test]
fn a_bar_that_is_not_over_holds_what_there_was_so_far() {
    let tape = tape();
    let now = at("2012-01-03T17:00:30Z");
    let so_far = tape.bars(
        &symbol("AAPL"),
        &Wanted { now, ..wanted("1Day", "2012-01-01T00:00:00Z", "2012-02-01T00:00:00Z") },
        |_| Scale::NONE,
    );
    assert_eq!(so_far.len(), 1, "2012-01-03 is the first session of the year");
    let trades: Vec<Trade> = tape
        .ticks(&symbol("AAPL"), at("2012-01-03T00:00:00Z"), now, usize::MAX)
        .into_iter()
        .filter_map(|t| if let Tick::Trade(trade) = t { Some(trade) } else { None })
        .collect();
    let bar = &so_far[0];
    assert_eq!(bar.volume, trades.iter().map(|t| t.size).sum::<u64>());
    assert_eq!((bar.open, bar.close), (trades[0].price, trades[trades.len() - 1].price));
    assert_eq!(Some(bar.high), trades.iter().map(|t| t.price).max());
    assert_eq!(bar.trades, trades.len() as u64);
    let before_the_open =
        Wanted { now: at("2012-01-03T14:29:59Z"), ..wanted("1Day", "2012-01-02T00:00:00Z", "2012-02-01T00:00:00Z") };
    assert_eq!(bars(&tape, "AAPL", &before_the_open), []);
}

#[test]
fn descending_bars_are_the_same_in_the_other_order() {
    let tape = tape();
    for frame in ["7Min", "1Day", "1Week", "2Month"] {
        let ascending = wanted(frame, "2012-02-01T00:00:00Z", "2012-03-20T17:00:00Z");
        let mut forward = bars(&tape, "MSFT", &ascending);
        let backward = bars(&tape, "MSFT", &Wanted { descending: true, ..ascending });
        forward.reverse();
        assert!(!forward.is_empty());
        assert_eq!(forward, backward, "{frame}");
        assert_eq!(bars(&tape, "MSFT", &Wanted { descending: true, most: 1, ..ascending }), forward[..1]);
    }
}

#[test]
fn minutes_stand_in_for_the_daily_bar_of_their_day() {
    let mut instruments = BarTape::sample_instruments().expect("the sample");
    let open = calendar::session(date(2012, 1, 3)).expect("a session").open;
    let minute = |after: i64, price: i64| {
        let price = Decimal::from(price);
        let at = open + SignedDuration::from_mins(after);
        Minute { at, open: price, high: price, low: price, close: price, volume: 10 }
    };
    // Two before the session, which no daily bar counts; one on a Monday when the exchange was closed.
    let closed = Minute { at: open - SignedDuration::from_hours(24), ..minute(0, 1) };
    instruments[0].minutes =
        vec![closed, minute(-60, 300), minute(-10, 500), minute(1, 401), minute(2, 403), minute(400, 390)];
    let tape = BarTape::new(7, instruments).expect("sound bars");
    let aapl = symbol("AAPL");
    assert_eq!(tape.has_minutes(&aapl, date(2012, 1, 3)), Some(true));
    assert_eq!(tape.has_minutes(&aapl, date(2012, 1, 4)), Some(false));
    assert_eq!(tape.has_minutes(&aapl, date(2012, 1, 2)), None);
    let day = bars(&tape, "AAPL", &wanted("1Day", "2012-01-03T00:00:00Z", "2012-01-03T23:00:00Z"));
    assert_eq!((day[0].open, day[0].close, day[0].volume), (401.into(), 403.into(), 20));
    let minutes = bars(&tape, "AAPL", &wanted("1Min", "2012-01-03T00:00:00Z", "2012-01-03T23:00:00Z"));
    assert_eq!(minutes.iter().map(|b| b.open).collect::<Vec<_>>(), [300, 500, 401, 403, 390].map(Decimal::from));
    assert_eq!(tape.last_trade(&aapl, at("2012-01-03T14:00:00Z")).map(|t| t.price), Some(300.into()));
}

#[test]
fn overnight_the_last_quote_stays_in_force() {
    let tape = tape();
    let ibm = symbol("IBM");
    let night = tape.quote(&ibm, at("2012-01-04T03:00:00Z")).expect("a quote");
    assert_eq!(Some(night.clone()), tape.quote(&ibm, at("2012-01-04T14:29:59Z")));
    assert!(night.at < at("2012-01-03T21:00:00Z") && night.at > at("2012-01-03T20:50:00Z"), "{night:?}");
    assert_eq!(tape.quote(&ibm, at("2012-01-04T14:30:00Z")).map(|q| q.at), Some(at("2012-01-04T14:30:00Z")));
    assert_eq!(tape.quote(&symbol("FB"), at("2012-05-18T13:29:59Z")), None, "its first day");
    assert_eq!(tape.quote(&symbol("NONE"), at("2012-05-18T13:29:59Z")), None);
    let close = tape.last_trade(&ibm, at("2012-01-03T21:00:00Z")).expect("a trade");
    assert_eq!((close.price.to_string().as_str(), close.at), ("186.3", at("2012-01-03T20:59:59.999Z")));
}

#[test]
fn actions_begin_at_midnight_in_new_york() {
    let tape = tape();
    let of = |after: &str, until: &str| tape.actions(&symbol("AAPL"), at(after), at(until)).len();
    assert_eq!(of("2012-08-08T12:00:00Z", "2012-08-09T03:59:59Z"), 0);
    assert_eq!(of("2012-08-08T12:00:00Z", "2012-08-09T04:00:00Z"), 1);
    assert_eq!(of("2012-08-09T04:00:00Z", "2012-08-10T04:00:00Z"), 0);
}

#[test]
fn the_digest_is_of_data_seed_and_model() {
    let tape = |seed, change: fn(&mut Vec<Instrument>)| {
        let mut instruments = BarTape::sample_instruments().expect("the sample");
        change(&mut instruments);
        BarTape::new(seed, instruments).expect("sound bars").digest()
    };
    let same = tape(7, |_| {});
    assert_eq!(same, tape(7, |i| i.reverse()));
    assert_eq!(same.len(), 64);
    let others = [
        tape(8, |_| {}),
        tape(7, |i| drop(i.pop())),
        tape(7, |i| i[0].daily[5].volume += 1),
        tape(7, |i| drop(i[0].actions.pop())),
    ];
    assert!(!others.contains(&same));
}

#[test]
fn bars_that_cannot_be_are_refused() {
    let refused = |change: fn(&mut Vec<Instrument>)| {
        let mut instruments = BarTape::sample_instruments().expect("the sample");
        change(&mut instruments);
        BarTape::new(7, instruments).map(|t| t.digest()).expect_err("it is refused").to_string()
    };
    assert_eq!(refused(|i| i.push(i[0].clone())), "AAPL is there twice");
    assert_eq!(refused(|i| i[0].daily.swap(0, 1)), "AAPL: the bars are not in order");
    assert_eq!(
        refused(|i| i[0].daily[0].low = 999.into()),
        "AAPL 2000-03-01: a high, low, open or close contradicts another"
    );
    assert_eq!(
        refused(|i| i[0].daily[0].high = PRICE_MAX),
        "AAPL: 1000000000 is not a price above 0 and below 1000000000 dollars"
    );
}

fn instants() -> impl Strategy<Value = Timestamp> {
    let first = at("2012-05-01T00:00:00Z").as_second();
    (0_i64..90 * 86_400, 0_i32..1_000_000_000)
        .prop_map(move |(s, ns)| Timestamp::new(first + s, ns).expect("an instant"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn ticks_in_pieces_are_the_ticks_in_one(mut cuts in proptest::collection::vec(instants(), 2..6), most in 1_usize..500) {
        let tape = tape();
        let aapl = symbol("AAPL");
        cuts.sort();
        let (from, until) = (cuts[0], cuts[cuts.len() - 1]);
        let whole = tape.ticks(&aapl, from, until, usize::MAX);
        let pieces: Vec<Tick> = cuts.windows(2).flat_map(|w| tape.ticks(&aapl, w[0], w[1], usize::MAX)).collect();
        prop_assert_eq!(&whole, &pieces);
        let mut asked = Vec::new();
        let mut after = from;
        while asked.len() < 2_000 {
            let more = tape.ticks(&aapl, after, until, most);
            prop_assert!(more.len() <= most);
            let Some(last) = more.last() else { break };
            after = last.at();
            asked.extend(more);
        }
        prop_assert_eq!(&whole[..asked.len()], &asked[..]);
    }

    #[test]
    fn the_quote_and_the_last_trade_are_the_newest_ticks(now in instants()) {
        let tape = tape();
        let aapl = symbol("AAPL");
        let ticks = tape.ticks(&aapl, now - 10 * 24 * 1.hour(), now, usize::MAX);
        let quote = ticks.iter().rev().find_map(|t| if let Tick::Quote(q) = t { Some(q.clone()) } else { None });
        let trade = ticks.iter().rev().find_map(|t| if let Tick::Trade(q) = t { Some(q.clone()) } else { None });
        prop_assert_eq!(tape.quote(&aapl, now), quote);
        prop_assert_eq!(tape.last_trade(&aapl, now), trade);
    }

    #[test]
    fn what_comes_later_changes_nothing_that_was_said(now in instants(), frame in "(1|5|45)Min|1Hour|1Day|1Week|2Month") {
        let tape = tape();
        let day = new_york::date(now);
        let mut cut = BarTape::sample_instruments().expect("the sample");
        for instrument in &mut cut {
            instrument.daily.retain(|b| b.date <= day);
            instrument.actions.retain(|a| a.ex_date <= day);
        }
        let cut = BarTape::new(7, cut.into_iter().filter(|i| !i.daily.is_empty()).collect()).expect("sound bars");
        let fb = symbol("FB");
        prop_assert_eq!(tape.quote(&fb, now), cut.quote(&fb, now));
        let wanted = Wanted { now, ..wanted(&frame, "2012-05-01T00:00:00Z", "2013-01-01T00:00:00Z") };
        let found = bars(&tape, "FB", &wanted);
        prop_assert!(found.iter().all(|bar| bar.at <= now));
        prop_assert_eq!(found, bars(&cut, "FB", &wanted));
    }

    #[test]
    fn bars_of_any_length_add_up_to_the_day(day in 0_usize..3270, frame in "([1-9]|[1-5][0-9])Min|([1-9]|1[0-9]|2[0-3])Hour") {
        let tape = tape();
        let raw = sample::raw().expect("the sample");
        let bar = &raw[0].bars()[day];
        let begins = new_york::midnight(bar.date).expect("a midnight");
        let wanted = Wanted { from: begins, until: begins + 23.hours(), ..wanted(&frame, "2012-01-01T00:00:00Z", "2012-01-01T00:00:00Z") };
        let found = bars(&tape, "AAPL", &wanted);
        prop_assert_eq!(found[0].open, bar.open);
        prop_assert_eq!(found[found.len() - 1].close, bar.close);
        prop_assert_eq!(found.iter().map(|b| b.high).max(), Some(bar.high));
        prop_assert_eq!(found.iter().map(|b| b.low).min(), Some(bar.low));
        prop_assert_eq!(found.iter().map(|b| b.volume).sum::<u64>(), bar.volume);
        prop_assert!(found.windows(2).all(|w| w[0].at < w[1].at));
    }
}
