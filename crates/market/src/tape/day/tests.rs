//! A day's ticks are what its bars say, for the sample's days and for bars that nobody has seen.

use proptest::prelude::*;

use super::*;
use crate::{calendar, sample};

fn x() -> Symbol {
    Symbol::parse("X").expect("a symbol")
}

fn session() -> Session {
    calendar::session(jiff::civil::date(2012, 1, 3)).expect("a Tuesday")
}

fn trades(ticks: &[Tick]) -> Vec<&Trade> {
    ticks.iter().filter_map(|t| if let Tick::Trade(trade) = t { Some(trade) } else { None }).collect()
}

/// What must be so of any day: order, instants, numbers, quotes.
#[track_caller]
fn is_sound(ticks: &[Tick], low: Decimal, high: Decimal) {
    let grid = Grid::of(low);
    let holds_a_step = grid.ceil(low) < grid.floor(high);
    for pair in ticks.windows(2) {
        assert!(pair[0].at() < pair[1].at(), "{pair:?}");
    }
    for pair in trades(ticks).windows(2) {
        assert!(pair[0].id < pair[1].id, "{pair:?}");
    }
    for tick in ticks {
        match tick {
            Tick::Trade(trade) => assert!(low <= trade.price && trade.price <= high, "{trade:?} in {low}..{high}"),
            Tick::Quote(quote) => {
                assert!(Decimal::ZERO < quote.bid && quote.bid < quote.ask, "{quote:?}");
                assert!(quote.bid_size > 0 && quote.ask_size > 0, "{quote:?}");
                if holds_a_step {
                    assert!(low <= quote.bid && quote.ask <= high, "{quote:?} in {low}..{high}");
                }
            }
        }
    }
}

#[track_caller]
fn check(symbol: &Symbol, session: &Session, bar: &Bar) {
    let ticks = of_bar(1, symbol, session, bar);
    is_sound(&ticks, bar.low, bar.high);
    let trades = trades(&ticks);
    let prices = || trades.iter().map(|t| t.price);
    let found = (prices().next(), prices().max(), prices().min(), prices().next_back());
    assert_eq!(found, (Some(bar.open), Some(bar.high), Some(bar.low), Some(bar.close)), "{bar:?}");
    assert_eq!(trades.iter().map(|t| t.size).sum::<u64>(), bar.volume);
    assert!(bar.volume < trades.len() as u64 || trades.iter().all(|t| t.size > 0));
    let ms = SignedDuration::from_millis(1);
    assert_eq!(ticks[0].at(), session.open);
    assert_eq!((trades[0].at, trades[trades.len() - 1].at), (session.open + ms, session.close - ms));
}

#[test]
fn every_day_of_the_sample_is_what_its_bar_says() {
    for series in sample::raw().expect("sound bars") {
        for bar in series.bars() {
            let session = calendar::session(bar.date).expect("a day of the sample has a session");
            check(series.symbol(), &session, bar);
        }
    }
}

/// Prices around a level, sub-penny ones among them.
fn prices() -> impl Strategy<Value = [Decimal; 4]> {
    (prop_oneof![1_u64..30_000, 10_000_u64..100_000_000], 0_u64..50_000, any::<[u16; 2]>(), 0_u32..3).prop_map(
        |(low, range, cuts, finer)| {
            let within = |cut: u16| low + range * u64::from(cut) / 65_535;
            let price = |units: u64| Decimal::new(i64::try_from(units).expect("small"), 4 + finer);
            [within(cuts[0]), low + range, low, within(cuts[1])].map(price)
        },
    )
}

fn volumes() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..10, 0_u64..100_000, 1_000_000_u64..3_000_000_000, Just(u64::MAX / 2)]
}

proptest! {
    #[test]
    fn any_bar_is_kept_to(prices in prices(), volume in volumes(), half_day in any::<bool>()) {
        let day = if half_day { jiff::civil::date(2012, 7, 3) } else { jiff::civil::date(2012, 1, 3) };
        let session = calendar::session(day).expect("a session");
        let [open, high, low, close] = prices;
        check(&x(), &session, &Bar { date: day, open, high, low, close, volume });
    }

    #[test]
    fn any_minutes_are_kept_to(bars in proptest::collection::vec((0_i64..960, prices(), volumes()), 1..40)) {
        let session = session();
        let mut minutes: Vec<Minute> = bars
            .into_iter()
            .map(|(at, [open, high, low, close], volume)| {
                let at = session.pre_open + SignedDuration::from_mins(at);
                Minute { at, open, high, low, close, volume }
            })
            .collect();
        minutes.sort_by_key(|m| m.at);
        minutes.dedup_by_key(|m| m.at);
        let ticks = of_minutes(1, &x(), &session, &minutes);
        prop_assert!(ticks.windows(2).all(|pair| pair[0].at() < pair[1].at()));
        let trades = trades(&ticks);
        for minute in &minutes {
            let end = minute.at + SignedDuration::from_mins(1);
            let both: Vec<Tick> = ticks.iter().filter(|t| minute.at <= t.at() && t.at() < end).cloned().collect();
            is_sound(&both, minute.low, minute.high);
            let own: Vec<_> = trades.iter().filter(|t| minute.at <= t.at && t.at < end).collect();
            let prices = || own.iter().map(|t| t.price);
            let found = (prices().next(), prices().max(), prices().min(), prices().next_back());
            let expected = (Some(minute.open), Some(minute.high), Some(minute.low), Some(minute.close));
            prop_assert_eq!(found, expected);
            prop_assert_eq!(own.iter().map(|t| t.size).sum::<u64>(), minute.volume);
        }
        for known in 1..minutes.len() {
            let so_far = of_minutes(1, &x(), &session, &minutes[..known]);
            prop_assert_eq!(&so_far[..], &ticks[..so_far.len()], "a later minute changed an earlier one");
        }
    }
}

fn bar(volume: u64) -> Bar {
    let [open, high, low, close] = [100, 103, 99, 101].map(Decimal::from);
    Bar { date: session().date, open, high, low, close, volume }
}

#[test]
fn another_seed_or_symbol_is_another_path() {
    let of = |seed, symbol: &str| of_bar(seed, &Symbol::parse(symbol).expect("a symbol"), &session(), &bar(1_000_000));
    assert_eq!(of(1, "X"), of(1, "X"));
    assert_ne!(of(1, "X"), of(2, "X"));
    assert_ne!(of(1, "X"), of(1, "Y"));
}

#[test]
fn spreads_are_wider_where_little_is_traded() {
    let mean = |volume: u64| {
        let ticks = of_bar(1, &x(), &session(), &bar(volume));
        let spreads: Vec<Decimal> = ticks
            .iter()
            .filter_map(|t| if let Tick::Quote(quote) = t { Some(quote.ask - quote.bid) } else { None })
            .collect();
        spreads.iter().sum::<Decimal>() / Decimal::from(spreads.len())
    };
    let (busy, quiet) = (mean(50_000_000), mean(5_000));
    assert!(busy <= Decimal::new(2, 2) && quiet >= Decimal::new(10, 2), "{busy} {quiet}");
}

#[test]
fn the_path_moves_and_does_not_jump() {
    let ticks = of_bar(1, &x(), &session(), &bar(50_000_000));
    let trades = trades(&ticks);
    assert_eq!(trades.len(), 1170);
    let moves: Vec<Decimal> = trades.windows(2).map(|pair| (pair[1].price - pair[0].price).abs()).collect();
    let different = moves.iter().filter(|m| !m.is_zero()).count();
    assert!(different > 800, "{different} of 1169");
    assert!(moves.iter().max() < Some(&Decimal::new(60, 2)), "{:?}", moves.iter().max());
}
