//! What is true of figures and of luck whatever the returns are.

use jiff::{ToSpan, civil::Date, civil::date};
use proptest::prelude::*;
use ringfence_backtest::Curve;
use ringfence_backtest::luck::random::Random;
use ringfence_backtest::luck::sharpe::{Measured, deflated, expected_maximum, minimum_bars, probabilistic};
use ringfence_backtest::luck::{self, Answer, BLOCKS, Search, Settings, Trials, Verdict, bootstrap, overfitting};
use ringfence_backtest::metrics::{DAYS_A_YEAR, Input, Metrics, Unmeasurable, measure};
use sha2::{Digest, Sha256};

fn dates(count: usize) -> Vec<Date> {
    (0..count).map(|at| date(2001, 1, 1) + i64::try_from(at).expect("small").days()).collect()
}

fn curve(capital: f64, returns: &[f64]) -> Curve {
    let mut last = capital;
    let equity = returns
        .iter()
        .map(|earned| {
            last *= 1.0 + earned;
            last
        })
        .collect();
    Curve { dates: dates(returns.len()), equity, capital }
}

fn measured(curve: &Curve) -> Metrics {
    measure(&Input::new(curve)).expect("it can be measured")
}

/// Every figure that is there, as it is.
fn figures(metrics: &Metrics) -> Vec<(&'static str, Option<f64>)> {
    metrics.rows().map(|(convention, figure, _)| (convention.name, figure)).collect()
}

fn returns() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![4 => -0.08..0.08_f64, 1 => Just(0.0), 1 => -0.6..0.9_f64], 1..400)
}

fn probability(value: Option<f64>) -> bool {
    value.is_none_or(|value| (0.0..=1.0).contains(&value))
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-8 * a.abs().max(b.abs()).max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_size_of_the_account_changes_no_figure(returns in returns(), scale in 1e-3..1e6_f64) {
        let one = measured(&curve(1_000.0, &returns));
        let other = measured(&curve(1_000.0 * scale, &returns));
        for ((name, a), (_, b)) in figures(&one).into_iter().zip(figures(&other)) {
            match (a, b) {
                (Some(a), Some(b)) => prop_assert!(near(a, b), "{name}: {a} and {b}"),
                (a, b) => prop_assert_eq!(a, b, "{}", name),
            }
        }
    }

    #[test]
    fn figures_are_within_their_bounds(returns in returns()) {
        let found = measured(&curve(1e5, &returns));
        prop_assert!((-1.0..=0.0).contains(&found.max_drawdown));
        prop_assert!(found.total_return >= -1.0);
        let ulcer = found.ulcer_index.expect("there are bars");
        prop_assert!(ulcer >= 0.0 && ulcer <= -found.max_drawdown + 1e-15);
        prop_assert!(found.max_drawdown_days <= found.longest_drawdown_days);
        if let (Some(shortfall), Some(at_risk)) = (found.expected_shortfall, found.value_at_risk) {
            prop_assert!(shortfall <= at_risk + 1e-15);
            prop_assert!(found.worst_day.expect("more than one bar") <= shortfall + 1e-15);
        }
        if let (Some(sharpe), Some(sortino)) = (found.sharpe, found.sortino) {
            prop_assert!(sharpe.signum() == sortino.signum() || sharpe.abs() < 1e-12);
        }
        prop_assert!(figures(&found).iter().all(|(_, figure)| figure.is_none_or(f64::is_finite)));
    }

    #[test]
    fn months_and_years_make_the_whole(returns in returns()) {
        let found = measured(&curve(1e5, &returns));
        let years = found.calendar.iter().fold(1.0, |product, year| product * (1.0 + year.total));
        let months = found.calendar.iter().flat_map(|year| year.months).flatten().fold(1.0, |product, month| product * (1.0 + month));
        prop_assert!(near(years, 1.0 + found.total_return) && near(months, 1.0 + found.total_return));
    }

    #[test]
    fn the_order_of_the_bars_matters_for_the_way_and_not_for_the_spread(mut returns in returns()) {
        let before = measured(&curve(1e5, &returns));
        returns.reverse();
        let after = measured(&curve(1e5, &returns));
        for name in ["volatility", "sharpe", "sortino", "skew", "kurtosis", "value_at_risk", "expected_shortfall", "cagr"] {
            match (before.get(name), after.get(name)) {
                (Some(a), Some(b)) => prop_assert!(near(a, b), "{name}: {a} and {b}"),
                (a, b) => prop_assert_eq!(a, b, "{}", name),
            }
        }
    }

    #[test]
    fn whatever_stands_in_a_curve_is_measured_or_refused(
        equity in prop::collection::vec(prop_oneof![4 => -1e3..1e6_f64, 1 => any::<f64>()], 0..30),
        capital in prop_oneof![4 => 1.0..1e6_f64, 1 => any::<f64>()],
    ) {
        let curve = Curve { dates: dates(equity.len()), equity: equity.clone(), capital };
        match measure(&Input { benchmark: Some(&curve), ..Input::new(&curve) }) {
            Ok(found) => {
                prop_assert!((-1.0..=0.0).contains(&found.max_drawdown));
                let bad: Vec<_> = figures(&found).into_iter().filter(|(_, f)| f.is_some_and(|f| !f.is_finite())).collect();
                prop_assert!(bad.is_empty(), "{bad:?}");
            }
            Err(Unmeasurable::NotANumber { row, .. }) => prop_assert!(!equity[row - 1].is_finite()),
            Err(Unmeasurable::TooFar { highest, lowest, .. }) => prop_assert!(highest / lowest > 1e300),
            Err(Unmeasurable::Empty) => prop_assert!(equity.is_empty()),
            Err(Unmeasurable::Capital(_)) => prop_assert!(!(capital.is_finite() && capital > 0.0)),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn probabilities_are_probabilities_and_a_search_only_ever_lowers_them(
        returns in returns(), trials in 1.0..1e6_f64, deviation in 0.0..0.2_f64,
    ) {
        let Some(found) = Measured::of(&returns) else { return Ok(()) };
        let (alone, among) = (probabilistic(&found, 0.0), deflated(&found, trials, deviation));
        prop_assert!(probability(alone) && probability(among));
        prop_assert!(expected_maximum(trials, deviation) >= 0.0);
        prop_assert!(expected_maximum(trials * 1.5, deviation) >= expected_maximum(trials, deviation));
        if let (Some(alone), Some(among)) = (alone, among) {
            prop_assert!(among <= alone);
            prop_assert!(deflated(&found, trials * 2.0, deviation).expect("as before") <= among);
        }
        prop_assert!(minimum_bars(&found, 0.0, 0.95).is_none_or(|bars| bars >= 1.0));
    }

    #[test]
    fn intervals_hold_their_medians_and_come_again(returns in returns(), seed in any::<u64>()) {
        let settings = Settings { histories: 40, ..Settings::new(seed, DAYS_A_YEAR) };
        let found = bootstrap(&returns, &settings);
        prop_assert_eq!(&found, &bootstrap(&returns, &settings));
        let Some(found) = found else { return Ok(()) };
        for one in [found.sharpe, found.cagr, found.max_drawdown] {
            prop_assert!(one.low <= one.median && one.median <= one.high);
        }
        prop_assert!(found.max_drawdown.low >= -1.0 && found.max_drawdown.high <= 0.0 && probability(Some(found.loss)));
    }

    #[test]
    fn neither_stakes_nor_the_order_of_trials_nor_idle_ones_change_the_overfitting(seed in any::<u64>()) {
        let mut all = noise(&mut Random::new(seed), 6, 96);
        let found = overfitting(&search(&all, 6)).expect("there are trials");
        for (at, trial) in all.iter_mut().enumerate() {
            let stake = if at % 2 == 0 { 4.0 } else { 0.125 };
            trial.iter_mut().for_each(|earned| *earned *= stake);
        }
        all.reverse();
        all.insert(2, vec![0.0; 96]);
        let trials = search(&all, 6);
        let again = overfitting(&trials).expect("there are trials");
        prop_assert_eq!((trials.still(), trials.count()), (1, 6));
        prop_assert!(found.probability == again.probability && found.loss == again.loss);
        prop_assert!(near(found.mean_rank, again.mean_rank));
        prop_assert!(probability(Some(found.probability)) && probability(Some(found.mean_rank)));
    }
}

/// Trials without any merit.
fn noise(random: &mut Random, trials: usize, bars: usize) -> Vec<Vec<f64>> {
    let one = |random: &mut Random| 0.01 * ((0..12).map(|_| random.unit()).sum::<f64>() - 6.0);
    (0..trials).map(|_| (0..bars).map(|_| one(random)).collect()).collect()
}

fn search(all: &[Vec<f64>], blocks: usize) -> Trials {
    let mut trials = Trials::new(all[0].len(), blocks).expect("good blocks");
    for trial in all {
        trials.add(trial).expect("a trial of the same bars");
    }
    trials
}

fn judged(all: &[Vec<f64>], blocks: usize) -> Verdict {
    let trials = search(all, blocks);
    let best =
        (0..all.len()).max_by(|a, b| trials.sharpes()[*a].total_cmp(&trials.sharpes()[*b])).expect("there are trials");
    luck::judge(&Search {
        trials: &trials,
        shared: None,
        best: &all[best],
        riskless: 0.0,
        periods_per_year: DAYS_A_YEAR,
        surroundings: None,
        excess_return: None,
        seed: 3,
    })
}

#[test]
fn the_best_of_nothing_is_luck() {
    // 100 searches of 25 trials each, of which the middle one counts as overfitting too: 13 of 25 is what is to be expected.
    let random = &mut Random::new(2);
    let found: Vec<Verdict> = (0..100).map(|_| judged(&noise(random, 25, 400), 8)).collect();
    let mean = |of: fn(&Verdict) -> f64| found.iter().map(of).sum::<f64>() / 100.0;
    let overfitting = mean(|v| v.overfitting.expect("there are trials"));
    let deflated = mean(|v| v.deflated_sharpe.expect("it moves"));
    let naive = mean(|v| v.probabilistic_sharpe.expect("it moves"));
    let fooled = found.iter().filter(|v| v.answer == Answer::Unlikely).count();
    println!("overfitting {overfitting:.3}, deflated {deflated:.3}, undeflated {naive:.3}, fooled {fooled} of 100");
    assert!((0.44..0.62).contains(&overfitting), "{overfitting}");
    assert!((0.40..0.60).contains(&deflated), "{deflated}");
    assert!(naive > 0.9, "whoever does not count his trials is sure of it: {naive}");
    assert!(fooled <= 3, "{fooled}");
}

#[test]
fn an_edge_among_nothing_is_found() {
    let random = &mut Random::new(5);
    let mut all = noise(random, 25, 1_500);
    for earned in &mut all[11] {
        // Four a year.
        *earned += 0.0025;
    }
    let found = judged(&all, BLOCKS);
    println!("{}", found.sentence);
    assert_eq!(found.answer, Answer::Unlikely);
    assert!(found.overfitting.expect("there are trials") < 0.01 && found.luck.expect("it moves") < 1e-6);
    assert!(found.halves.expect("there are trials").combinations == 12_870);
}

#[test]
fn intervals_hold_the_truth_about_as_often_as_they_say() {
    // Returns of known mean and deviation; what 95 of 100 should hold, and a few less do because stretches are few.
    let random = &mut Random::new(12);
    let truth = 0.001 / 0.01 * DAYS_A_YEAR.sqrt();
    let held = (0..200_u64).filter(|seed| {
        let mut returns = noise(random, 1, 500).remove(0);
        returns.iter_mut().for_each(|earned| *earned += 0.001);
        let settings = Settings { histories: 300, ..Settings::new(*seed, DAYS_A_YEAR) };
        let found = bootstrap(&returns, &settings).expect("they differ").sharpe;
        (found.low..=found.high).contains(&truth)
    });
    let held = held.count();
    println!("{held} of 200 intervals hold the true Sharpe ratio");
    assert!((176..=198).contains(&held), "{held}");
}

#[test]
fn copies_are_one_trial_and_opposites_are_no_more_than_there_are() {
    let random = &mut Random::new(8);
    let one = noise(random, 1, 300).remove(0);
    let copies = search(&vec![one.clone(); 7], 4);
    assert!((copies.correlation().expect("seven") - 1.0).abs() < 1e-12);
    assert!((copies.effective().expect("seven") - 1.0).abs() < 1e-10);
    let opposite: Vec<f64> = one.iter().map(|earned| -earned).collect();
    let both = search(&[one, opposite], 4);
    assert!((both.correlation().expect("two") + 1.0).abs() < 1e-12);
    assert_eq!(both.effective(), Some(2.0));
    let apart = search(&noise(random, 50, 1_000), 4).effective().expect("fifty");
    assert!((49.0..=50.0).contains(&apart), "{apart}");
}

#[test]
fn thirteen_years_are_measured_in_a_moment() {
    let all = noise(&mut Random::new(6), 2, 3_270);
    let (own, other) = (curve(1e5, &all[0]), curve(1e5, &all[1]));
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        let found = measure(&Input { benchmark: Some(&other), ..Input::new(&own) }).expect("a curve");
        assert!(found.sharpe.is_some());
    }
    println!("3,270 bars beside a benchmark: {:.2?} each", begun.elapsed() / 100);
    assert!(begun.elapsed().as_secs() < 10);
}

#[test]
fn ten_thousand_trials_are_compared_in_seconds() {
    let random = &mut Random::new(10);
    let all = noise(random, 10_000, 256);
    let begun = std::time::Instant::now();
    let trials = search(&all, BLOCKS);
    let added = begun.elapsed();
    let found = overfitting(&trials).expect("there are trials");
    println!(
        "10,000 trials: {added:.2?} to add, {:.2?} for all halves; {:.3}",
        begun.elapsed() - added,
        found.probability
    );
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn the_same_bits_on_every_machine() {
    let random = &mut Random::new(42);
    let all = noise(random, 12, 640);
    let curve = curve(1e5, &all[3]);
    let benchmark = self::curve(1e5, &all[4]);
    let found =
        measure(&Input { benchmark: Some(&benchmark), risk_free: 0.02, ..Input::new(&curve) }).expect("a curve");
    let mut bits = Sha256::new();
    for (name, figure) in figures(&found).into_iter().chain(judged(&all, BLOCKS).rows().map(|(c, f, _)| (c.name, f))) {
        bits.update(name);
        bits.update(figure.unwrap_or(-0.0).to_bits().to_le_bytes());
    }
    bits.update(serde_json::to_vec(&judged(&all, BLOCKS).bootstrap).expect("JSON"));
    assert_eq!(hex::encode(bits.finalize()), "d368a3e4381979f70d33a3d2616b7672e5f0f2b0199dccb8d07b10d82dc2d607");
}
