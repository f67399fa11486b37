use ringfence_market::{
    Action, Kind, Minute, Symbol,
    import::{Bars, Dataset, Interval},
    sample,
};
use rust_decimal::Decimal;

use super::*;
use crate::made::{self, history, symbol};

const BAR: [f64; 4] = [2.0, 3.0, 1.0, 2.5];

#[track_caller]
fn refused(histories: Vec<History>, expected: &str) {
    assert_eq!(Panel::new(Interval::Day, histories).expect_err("it is refused").to_string(), expected);
}

#[test]
fn bars_that_are_not_sound_are_refused_with_symbol_and_row() {
    let with = |change: fn(&mut History)| {
        let mut one = history("X", &[0, 1], &[BAR, BAR]);
        change(&mut one);
        vec![one]
    };
    refused(vec![], "there are no bars: name at least one symbol");
    refused(vec![history("X", &[], &[])], "X has no bars");
    refused(with(|h| h.close[1] = f64::NAN), "X, row 1 (2020-01-02): close is NaN, which is not a price above zero");
    refused(with(|h| h.open[0] = f64::INFINITY), "X, row 0 (2020-01-01): open is inf, which is not a price above zero");
    refused(with(|h| h.low[1] = 0.0), "X, row 1 (2020-01-02): low is 0, which is not a price above zero");
    refused(with(|h| h.open[1] = -1.0), "X, row 1 (2020-01-02): open is -1, which is not a price above zero");
    refused(with(|h| h.close[0] = 4.0), "X, row 0 (2020-01-01): close 4 is outside of low 1 and high 3");
    refused(with(|h| h.volume[1] = -1.0), "X, row 1 (2020-01-02): volume is -1, which is not a number of shares");
    refused(with(|h| h.volume[0] = f64::NAN), "X, row 0 (2020-01-01): volume is NaN, which is not a number of shares");
    refused(with(|h| h.dates[1] = h.dates[0]), "X, row 1: 2020-01-01 does not come after the row before it");
    refused(with(|h| h.high.truncate(1)), "X: column high has 1 values and there are 2 bars");
    refused(vec![history("X", &[0], &[BAR]), history("X", &[0], &[BAR])], "X is there twice; name each symbol once");
}

#[test]
fn symbols_share_the_union_of_their_days() {
    let other = [4.0, 5.0, 3.0, 4.5];
    let panel =
        Panel::new(Interval::Day, vec![history("A", &[0, 2], &[BAR, other]), history("B", &[1, 2], &[other, BAR])])
            .expect("sound bars");
    assert_eq!(panel.dates(), [made::day(0), made::day(1), made::day(2)]);
    let shown = |values: &[f64]| values.iter().map(|v| format!("{v}")).collect::<Vec<_>>().join(" ");
    assert_eq!(shown(&panel.columns()[0].close), "2.5 NaN 4.5");
    assert_eq!(shown(&panel.columns()[1].open), "NaN 4 2");
    assert!(panel.columns()[0].has(0) && !panel.columns()[0].has(1) && !panel.columns()[0].has(9));
}

#[test]
fn a_part_of_a_panel_is_the_same_bars() {
    let panel = made::walks(1, 2, 30, true);
    let part = panel.window(10..20);
    assert_eq!(part.dates(), &panel.dates()[10..20]);
    for (part, whole) in part.columns().iter().zip(panel.columns()) {
        for (part, whole) in part.all().into_iter().zip(whole.all()) {
            assert!(part.iter().zip(&whole[10..20]).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
    assert_eq!(panel.truncated(12), panel.window(0..12));
    assert_eq!(panel.truncated(1000), panel);
    assert_eq!(panel.between(Some(made::day(3)), Some(made::day(5))), 3..6);
    assert_eq!(panel.between(None, None), 0..panel.len());
    assert!(panel.between(Some(made::day(900)), Some(made::day(3))).is_empty());
}

#[test]
fn some_of_the_symbols_can_be_taken_and_each_once() {
    let panel = made::walks(1, 3, 10, false);
    let only = panel.only(&[symbol("S2"), symbol("S0")]).expect("they are there");
    assert_eq!(only.symbols().map(Symbol::as_str).collect::<Vec<_>>(), ["S2", "S0"]);
    assert_eq!(only.columns()[1], panel.columns()[0]);
    for wrong in [vec![], vec![symbol("S9")], vec![symbol("S1"), symbol("S1")]] {
        assert_eq!(panel.only(&wrong), None);
    }
}

#[test]
fn the_hash_is_of_every_bit_and_does_not_change_from_version_to_version() {
    let panel = made::walks(7, 2, 50, true);
    assert_eq!(panel.hash(), made::walks(7, 2, 50, true).hash());
    assert_ne!(panel.hash(), made::walks(8, 2, 50, true).hash());
    let mut other = panel.clone();
    other.columns[1].volume[3] += 1.0;
    assert_ne!(panel.hash(), other.hash());
    let mut renamed = panel.clone();
    renamed.columns[0].symbol = symbol("T");
    assert_ne!(panel.hash(), renamed.hash());
    assert_eq!(
        made::flat(&[1.0, 2.5]).hash(),
        "827eba19d55593b8850a2fc87dd422b0905c3d071ad94661994a425b8b7d8313",
        "results name the bars by this hash: another one needs another first line of what is hashed"
    );
}

#[test]
fn the_sample_comes_adjusted() {
    let aapl = symbol("AAPL");
    let panel = Panel::sample(&[aapl.clone(), symbol("FB")]).expect("they are in the sample");
    assert_eq!((panel.len(), panel.interval(), panel.periods_per_year()), (3270, Interval::Day, 252.0));
    let close = &panel.columns()[0].close;
    // 130.31 before two splits of two for one each and three dividends.
    assert!((close[0] - 130.31 / 4.0).abs() < 1.0, "{}", close[0]);
    assert_eq!(panel.columns()[1].close.iter().filter(|c| !c.is_nan()).count(), 196);
    let unknown = Panel::sample(&[symbol("TSLA")]).expect_err("it is not in the sample").to_string();
    assert_eq!(unknown, "the sample holds no TSLA; it holds AAPL, FB, GOOG, IBM, MSFT");
    // The library's way to the same bars.
    let raw = sample::raw().expect("the sample").into_iter().find(|s| *s.symbol() == aapl).expect("it is there");
    let dataset = Dataset { symbol: aapl.clone(), bars: Bars::Day(raw.bars().to_vec()) };
    let imported = Panel::of(&[dataset], &sample::actions().expect("the sample")).expect("sound bars");
    assert_eq!(imported.hash(), Panel::sample(&[aapl]).expect("it is there").hash());
}

#[test]
fn minutes_lie_on_one_line_and_know_their_day_in_new_york() {
    let minute = |at: &str, price: u32| {
        let price = Decimal::from(price);
        Minute { at: at.parse().expect("an instant"), open: price, high: price, low: price, close: price, volume: 5 }
    };
    let of = |name: &str, minutes: Vec<Minute>| Dataset { symbol: symbol(name), bars: Bars::Minute(minutes) };
    let a = of("A", vec![minute("2020-01-02T20:59:00Z", 10), minute("2020-01-03T14:30:00Z", 5)]);
    let b = of("B", vec![minute("2020-01-03T00:30:00Z", 7)]);
    let split =
        Action { symbol: symbol("A"), ex_date: "2020-01-03".parse().expect("a date"), kind: Kind::Split(Decimal::TWO) };
    let panel = Panel::of(&[a.clone(), b], &[split]).expect("sound minutes");
    assert_eq!(panel.periods_per_year(), 98_280.0);
    assert_eq!(
        panel.dates().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["2020-01-02", "2020-01-02", "2020-01-03"]
    );
    assert_eq!(panel.columns()[0].close[0], 5.0, "a split halves what came before it");
    assert_eq!(panel.columns()[0].volume[0], 10.0);
    assert_eq!((panel.columns()[1].close[1], panel.label(1).as_str()), (7.0, "2020-01-03T00:30:00Z"));
    assert_ne!(panel.hash(), panel.window(0..2).hash());

    let days = Dataset { symbol: symbol("C"), bars: Bars::Day(sample::raw().expect("the sample")[0].bars().to_vec()) };
    let mixed = Panel::of(&[a, days], &[]).expect_err("it is refused").to_string();
    assert_eq!(mixed, "C has bars of another length than A: take days or minutes, not both");
}
