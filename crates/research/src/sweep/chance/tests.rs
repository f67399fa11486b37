use serde_json::json;

use super::{
    super::{
        evaluate::{Evaluated, noise},
        row::Engine,
    },
    *,
};

const PERIODS: f64 = 252.0;

fn judged(counted: &Counted, best: &Evaluated, bars: usize) -> luck::Verdict {
    let own = returns_of(&best.curves.whole[..bars], 100_000.0);
    luck::judge(&luck::Search {
        trials: &counted.trials,
        shared: counted.shared.as_ref(),
        best: &own,
        riskless: 0.0,
        periods_per_year: PERIODS,
        surroundings: None,
        excess_return: None,
        seed: 1,
    })
}

/// Sixty strategies without merit over these bars, with the best of them.
fn sixty(panel: &ringfence_backtest::Panel, asked: serde_json::Value) -> (Vec<Evaluated>, usize) {
    let whole = noise::panel(3, 1500);
    let ground = noise::ground(panel, asked);
    let one = |seed| {
        // The same tosses, however many bars are there.
        let super::super::walk::Wanted::Targets(all) = noise::tosses(seed, &whole) else { unreachable!() };
        let weights = all.weights()[..panel.len()].to_vec();
        let targets = ringfence_backtest::targets::Targets::new(panel, weights).expect("weights");
        ground.evaluate(Engine::Sandbox, &super::super::walk::Wanted::Targets(targets))
    };
    let all: Vec<Evaluated> = (0..60).map(one).collect();
    let sharpe = |at: &usize| all[*at].row.metrics.as_ref().and_then(|m| m.sharpe).expect("it moves");
    let best = (0..60).max_by(|a, b| sharpe(a).total_cmp(&sharpe(b))).expect("sixty");
    (all, best)
}

fn count(all: &[Evaluated], bars: &[usize], kept: bool) -> Counted {
    let trials: Vec<Trial<'_>> = all.iter().map(|one| Trial { row: &one.row, bars }).collect();
    let equity = |row: &Row| {
        let one = all.iter().find(|one| std::ptr::eq(&one.row, row)).filter(|_| kept)?;
        Some(one.curves.whole.clone())
    };
    counted(&trials, equity, 100_000.0, 0.0, PERIODS).expect("trials")
}

#[test]
fn what_is_not_ranked_makes_no_luck_smaller() {
    let whole = noise::panel(3, 1500);
    let (all, best) = sixty(&whole, json!({"strategy": "x", "train": 0.5}));
    let half = whole.truncated(750);
    let (alone, same) = sixty(&half, json!({"strategy": "x"}));
    assert_eq!(best, same, "the past chooses as if nothing came after it");
    let bars: Vec<usize> = (0..750).collect();
    let (split, half) = (count(&all, &bars, true), count(&alone, &bars, true));
    assert_eq!((split.apart.as_deref(), split.trials.count()), (None, 60));
    let (split, half) = (judged(&split, &all[best], 750), judged(&half, &alone[best], 750));
    assert_eq!(split, half, "nor is it judged otherwise");
    // Of sixty without merit the best is expected to be what it is: a hurdle that shrank with the share of bars would call it able.
    assert!(split.luck.expect("it moves") > 0.2, "{:?}", split.luck);
}

#[test]
fn without_equity_luck_is_told_all_the_same_and_no_overfitting_is_made_up() {
    let whole = noise::panel(3, 1500);
    let (all, best) = sixty(&whole, json!({"strategy": "x"}));
    let bars: Vec<usize> = (0..1500).collect();
    let (kept, dropped) = (count(&all, &bars, true), count(&all, &bars, false));
    let apart = (kept.apart.as_deref(), dropped.apart.as_deref());
    assert_eq!(apart, (None, Some("the equity of the runs was not kept")));
    let (one, other) = (judged(&kept, &all[best], 1500), judged(&dropped, &all[best], 1500));
    let near = |a: Option<f64>, b: Option<f64>| (a.expect("told") - b.expect("told")).abs() < 1e-12;
    assert!(near(one.luck, other.luck) && near(one.sharpe_deviation, other.sharpe_deviation), "{one:?} {other:?}");
    assert!(one.overfitting.is_some() && one.effective_trials.is_some());
    assert_eq!((other.overfitting, other.effective_trials, other.trials), (None, None, one.trials));
}

#[test]
fn trials_over_different_bars_are_not_compared_bar_by_bar() {
    let whole = noise::panel(3, 1500);
    let (long, best) = sixty(&whole, json!({"strategy": "x"}));
    let (short, _) = sixty(&whole.truncated(375), json!({"strategy": "x"}));
    let bars: Vec<usize> = (0..1500).collect();
    let later: Vec<usize> = (1500..1875).collect();
    let all: Vec<Trial<'_>> = (long.iter().map(|one| Trial { row: &one.row, bars: &bars }))
        .chain(short.iter().map(|one| Trial { row: &one.row, bars: &later }))
        .collect();
    let counted = counted(&all, |_| panic!("no equity is needed"), 100_000.0, 0.0, PERIODS).expect("trials");
    let why = counted.apart.as_deref().expect("they have none in common");
    assert!(why.starts_with("combinations were tried on different bars and share 0, where 16 are needed"), "{why}");
    let verdict = judged(&counted, &long[best], 1500);
    assert_eq!((verdict.trials, verdict.overfitting), (120, None));
    // Each by its own bars: those that saw a quarter of them scatter twice as far.
    let spread =
        |all: &[Evaluated]| count(all, &bars[..all[0].row.bars as usize], true).trials.deviation().expect("many");
    let (own, few) = (spread(&long), spread(&short));
    let mean = ((own * own + few * few) / 2.0).sqrt();
    let found = counted.trials.deviation().expect("many");
    assert!(few > 1.5 * own && (found / mean - 1.0).abs() < 0.1, "{own} {few} {found}");
}

#[test]
fn returns_begin_with_the_capital_and_end_with_the_money() {
    assert_eq!(returns_of(&[110.0, 55.0, 0.0, 0.0], 100.0), [0.10000000000000009, -0.5, -1.0, 0.0]);
    assert_eq!(returns_of(&[50.0, -5.0, 20.0, 40.0], 100.0), [-0.5, -1.0, 0.0, 0.0], "who has lost all has lost it");
}

/// Trials of random returns, by symbols and bars.
struct Made {
    row: Row,
    bars: Vec<usize>,
    equity: Vec<f64>,
}

fn made(seed: u64, symbols: &str, bars: impl IntoIterator<Item = usize>) -> Made {
    let mut random = luck::random::Random::new(seed);
    let bars: Vec<usize> = bars.into_iter().collect();
    let mut at = 100_000.0;
    let equity: Vec<f64> = bars
        .iter()
        .map(|_| {
            at *= 1.0 + 0.02 * (random.unit() - 0.49);
            at
        })
        .collect();
    let sharpe = Some(seed as f64 / 10.0);
    let metrics = Some(ringfence_model::api::SweepFigures { sharpe, ..Default::default() });
    Made {
        row: Row { symbols: symbols.split('+').map(str::to_owned).collect(), metrics, ..Row::default() },
        bars,
        equity,
    }
}

fn judged_of(counted: &Counted, best: &Made) -> luck::Verdict {
    luck::judge(&luck::Search {
        trials: &counted.trials,
        shared: counted.shared.as_ref(),
        best: &returns_of(&best.equity, 100_000.0),
        riskless: 0.0,
        periods_per_year: PERIODS,
        surroundings: None,
        excess_return: None,
        seed: 1,
    })
}

fn counted_of(all: &[Made]) -> Counted {
    let trials: Vec<Trial<'_>> = all.iter().map(|made| Trial { row: &made.row, bars: &made.bars }).collect();
    let equity = |row: &Row| all.iter().find(|made| std::ptr::eq(&made.row, row)).map(|made| made.equity.clone());
    counted(&trials, equity, 100_000.0, 0.0, PERIODS).expect("trials")
}

/// The returns of each trial on some rows, found by the rows one by one.
fn aligned(all: &[Made], rows: &[usize]) -> luck::Trials {
    let mut trials = luck::Trials::new(rows.len(), luck::BLOCKS).expect("blocks");
    for made in all {
        let place = |row: &usize| made.bars.iter().position(|bar| bar == row).expect("a row of all");
        let before = |at: usize| if at == 0 { 100_000.0 } else { made.equity[at - 1] };
        let earned = |row: &usize| made.equity[place(row)] / before(place(row)) - 1.0;
        trials.add(&rows.iter().map(earned).collect::<Vec<_>>()).expect("they fit");
    }
    trials
}

/// Symbols that were listed at different times, one with gaps, and their pairs.
fn listed() -> Vec<Made> {
    let late = || (600..1000).filter(|row| row % 7 != 0);
    let mut all = Vec::new();
    for seed in 1..=4 {
        all.push(made(seed, "OLD", 0..900));
        all.push(made(seed + 10, "NEW", late()));
        // A pair begins with the later one, and has a bar where either has.
        all.push(made(seed + 20, "OLD+NEW", 600..1000));
    }
    all
}

#[test]
fn combinations_of_unequal_bars_are_compared_on_the_dates_that_they_share() {
    let all = listed();
    let rows: Vec<usize> = (600..900).filter(|row| row % 7 != 0).collect();
    let found = counted_of(&all);
    assert_eq!((found.apart.as_deref(), &found.bars), (None, &rows));
    let hand = aligned(&all, &rows);
    let shared = found.shared.as_ref().expect("they are joined");
    let (ours, theirs) = (luck::overfitting(shared), luck::overfitting(&hand));
    assert!(ours.is_some() && ours == theirs, "{ours:?} {theirs:?}");
    let best = made(14, "NEW", 600..1000);
    let verdict = judged_of(&found, &best);
    assert_eq!(verdict.overfitting, theirs.map(|halves| halves.probability));
    assert_eq!(verdict.correlation, hand.correlation());
    let independent = verdict.effective_trials.expect("they are compared");
    assert!((1.0..=12.0).contains(&independent), "{independent}");
    // Everything else goes by each one's own bars.
    assert_eq!((verdict.trials, found.trials.alone()), (12, 12));
    let sharpes: Vec<f64> = all.iter().filter_map(|m| m.row.metrics.as_ref()?.sharpe).collect();
    assert_eq!(found.trials.sharpes(), sharpes.iter().map(|s| s / PERIODS.sqrt()).collect::<Vec<_>>());
}

#[test]
fn no_bar_counts_that_somebody_did_not_see() {
    let (plain, mut other) = (counted_of(&listed()), listed());
    let mut changed = 0;
    for made in &mut other {
        let shared = |row: &usize| (600..900).contains(row) && !row.is_multiple_of(7);
        for at in 0..made.bars.len() {
            // Neither on a shared bar nor before one, from whose equity its return is.
            let next = made.bars.get(at + 1);
            if !shared(&made.bars[at]) && !next.is_some_and(shared) {
                made.equity[at] *= 3.0 + at as f64;
                changed += 1;
            }
        }
    }
    assert!(changed > 2000, "{changed}");
    let other = counted_of(&other);
    let halves = |counted: &Counted| luck::overfitting(counted.shared.as_ref().expect("joined"));
    assert!(halves(&plain).is_some() && halves(&plain) == halves(&other));
    assert_eq!(plain.bars, other.bars);
}

#[test]
fn equal_bars_are_compared_as_they_are() {
    let all: Vec<Made> = (1..=8).map(|seed| made(seed, "OLD", 100..500)).collect();
    let found = counted_of(&all);
    assert!(found.shared.is_none() && found.apart.is_none() && found.trials.alone() == 0);
    let mut before = luck::Trials::new(400, luck::BLOCKS).expect("blocks");
    all.iter().for_each(|made| before.add(&returns_of(&made.equity, 100_000.0)).expect("it fits"));
    let before = Counted { trials: before, shared: None, bars: Vec::new(), apart: None };
    assert_eq!(judged_of(&found, &all[3]), judged_of(&before, &all[3]), "to the bit");
}

#[test]
fn what_makes_the_shared_bars_too_few_is_named() {
    #[track_caller]
    fn check(all: &[Made], expected: Result<usize, &str>) {
        let found = counted_of(all);
        match expected {
            Ok(bars) => assert_eq!((found.apart.as_deref(), found.bars.len()), (None, bars)),
            Err(word) => {
                let why = found.apart.expect("too few");
                assert!(why.contains(word) && found.shared.is_none() && found.bars.is_empty(), "{why}");
            }
        }
    }
    let short = |bars: usize| vec![made(1, "A", 0..500), made(2, "B", 100..500), made(3, "C", 500 - bars..600)];
    check(&short(16), Ok(16));
    check(&short(15), Err("share 15, where 16 are needed; it is C that makes it so, without it the others share 400"));
    // Also where it is one of a pair.
    let pair = vec![made(1, "A", 0..500), made(2, "A+C", 490..500), made(3, "B+C", 490..500), made(4, "B", 50..500)];
    check(&pair, Err("it is C that makes it so, without it the others share 450"));
    // A search that gave up after few bars: no symbol is to blame.
    check(&[made(1, "A", 0..500), made(2, "A", 0..10)], Err("the fewest, 10, are of A"));
    check(&[made(1, "A", 0..500), made(2, "A", 0..250)], Ok(250));
}

#[test]
fn the_answer_says_over_which_bars_trials_were_compared() {
    let panel = noise::panel(3, 1000);
    let mut all = listed();
    let still = all.len() - 1;
    all[still].equity = vec![100_000.0; 400];
    let found = counted_of(&all);
    let verdict = judged_of(&found, &all[0]);
    let compared = super::compared(&found, &verdict, &panel).expect("they were");
    assert_eq!((compared.bars, compared.still, compared.joined), (257, 1, true));
    assert_eq!((&compared.from, &compared.to), (&panel.label(600), &panel.label(899)));
    let text = in_words(&compared);
    for word in ["over 257 bars, from 2011-08-24 to 2012-06-18: those on which every one", "1 did nothing in them"] {
        assert!(text.contains(word), "{text}");
    }
    let again = serde_json::to_value(&compared).and_then(serde_json::from_value::<SweepCompared>).expect("kept");
    assert_eq!(again, compared);
    let apart = counted_of(&[made(1, "A", 0..500), made(2, "B", 600..900)]);
    assert_eq!(super::compared(&apart, &judged_of(&apart, &all[0]), &panel), None);
}

/// Of a riskless rate, a Sharpe ratio in a row and the same among the trials are of the same returns.
#[test]
fn a_riskless_rate_is_taken_off_rows_and_trials_alike() {
    let whole = noise::panel(3, 1500);
    let asked = |rate: f64| json!({"strategy": "x", "risk_free": rate});
    let (all, best) = sixty(&whole, asked(0.03));
    let (plain, _) = sixty(&whole, asked(0.0));
    let bars: Vec<usize> = (0..1500).collect();
    let trials: Vec<Trial<'_>> = all.iter().map(|one| Trial { row: &one.row, bars: &bars }).collect();
    let equity = |row: &Row| all.iter().find(|one| std::ptr::eq(&one.row, row)).map(|one| one.curves.whole.clone());
    let riskless = metrics::riskless(0.03, PERIODS);
    let counted = counted(&trials, equity, 100_000.0, riskless, PERIODS).expect("trials");
    for (trial, one) in counted.trials.sharpes().iter().zip(&all) {
        let own = one.row.metrics.as_ref().and_then(|m| m.sharpe).expect("it moves");
        assert!((trial * PERIODS.sqrt() - own).abs() < 1e-9, "{trial} {own}");
    }
    let verdict = luck::judge(&luck::Search {
        trials: &counted.trials,
        shared: counted.shared.as_ref(),
        best: &returns_of(&all[best].curves.whole, 100_000.0),
        riskless,
        periods_per_year: PERIODS,
        surroundings: None,
        excess_return: None,
        seed: 1,
    });
    let (own, before) =
        (all[best].row.metrics.as_ref().expect("figures"), plain[best].row.metrics.as_ref().expect("figures"));
    assert!((verdict.sharpe.expect("it moves") - own.sharpe.expect("it moves")).abs() < 1e-9);
    assert!(
        own.sharpe < before.sharpe && own.total_return == before.total_return && own.volatility == before.volatility
    );
}
