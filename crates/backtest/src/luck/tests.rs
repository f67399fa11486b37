use super::*;
use crate::luck::random::Random;

fn noise(random: &mut Random, bars: usize) -> Vec<f64> {
    (0..bars).map(|_| 0.02 * (random.unit() - 0.5)).collect()
}

fn trials(all: &[Vec<f64>], blocks: usize) -> Trials {
    let mut trials = Trials::new(all[0].len(), blocks).expect("good blocks");
    all.iter().for_each(|trial| trials.add(trial).expect("a trial of the same bars"));
    trials
}

fn judged(trials: &Trials, best: &[f64], excess_return: Option<f64>) -> Verdict {
    judge(&Search {
        trials,
        shared: None,
        best,
        riskless: 0.0,
        periods_per_year: 252.0,
        surroundings: None,
        excess_return,
        seed: 1,
    })
}

#[test]
fn nothing_is_said_of_what_never_moved() {
    let still = vec![0.0; 100];
    let verdict = judged(&trials(&[still.clone(), still.clone()], 4), &still, Some(-0.5));
    assert_eq!(
        (verdict.answer, verdict.luck, verdict.overfitting, verdict.trials, verdict.still),
        (Answer::Unknown, None, None, 0, 2)
    );
    assert!(verdict.sentence.starts_with("There is nothing to judge"), "{}", verdict.sentence);
    assert!(verdict.bootstrap.is_none() && verdict.expected_maximum_sharpe.is_none());
}

#[test]
fn one_trial_alone_is_judged_as_no_search() {
    let mut only = noise(&mut Random::new(1), 1_000);
    only.iter_mut().for_each(|earned| *earned += 0.002);
    let verdict = judged(&trials(std::slice::from_ref(&only), 16), &only, Some(0.1));
    assert_eq!(verdict.deflated_sharpe, verdict.probabilistic_sharpe);
    assert_eq!(
        (verdict.effective_trials, verdict.expected_maximum_sharpe, verdict.overfitting),
        (Some(1.0), Some(0.0), None)
    );
    assert_eq!(verdict.answer, Answer::Unlikely);
    assert!(verdict.sentence.contains("the probability that it is luck is less than 1 %"), "{}", verdict.sentence);
    assert!(verdict.sentence.ends_with("nothing else was counted as tried."), "{}", verdict.sentence);
}

#[test]
fn it_is_said_when_holding_would_have_earned_more() {
    let random = &mut Random::new(4);
    let all: Vec<Vec<f64>> = (0..9).map(|_| noise(random, 320)).collect();
    let best =
        (0..9).max_by(|a, b| trials(&all, 8).sharpes()[*a].total_cmp(&trials(&all, 8).sharpes()[*b])).expect("nine");
    let verdict = judged(&trials(&all, 8), &all[best], Some(-0.01));
    assert_ne!(verdict.answer, Answer::Unlikely, "{}", verdict.sentence);
    assert!(verdict.sentence.contains("the best of 9 combinations"), "{}", verdict.sentence);
    assert!(verdict.sentence.ends_with("It earned less than buying and holding."), "{}", verdict.sentence);
}

#[test]
fn a_choice_that_does_not_carry_over_is_never_unlikely_to_be_luck() {
    let halves = |probability| Overfitting {
        probability,
        mean_rank: 0.5,
        loss: 0.5,
        degradation: None,
        blocks: 4,
        block_bars: 10,
        combinations: 6,
        trials: 3,
    };
    assert_eq!(answer(Some(0.01), Some(&halves(0.2))), Answer::Unlikely);
    // Half of the splits would be worth nothing, and somewhat less is not worth much.
    assert_eq!(answer(Some(0.01), Some(&halves(0.4))), Answer::Possible);
    assert_eq!(answer(Some(0.01), Some(&halves(0.6))), Answer::Possible);
    assert_eq!(answer(Some(0.05), None), Answer::Unlikely);
    assert_eq!(answer(Some(0.3), Some(&halves(0.0))), Answer::Possible);
    assert_eq!(answer(Some(0.6), Some(&halves(0.0))), Answer::Likely);
}

#[test]
fn what_speaks_against_a_small_probability_is_said_with_it() {
    let mut only = noise(&mut Random::new(1), 1_000);
    only.iter_mut().for_each(|earned| *earned += 0.002);
    let mut verdict = judged(&trials(std::slice::from_ref(&only), 16), &only, Some(0.1));
    verdict.answer = Answer::Possible;
    let said = words::sentence(&verdict, None);
    assert!(
        said.starts_with(
            "The best may be luck. By its Sharpe ratio alone the probability of that is less than 1 %, but"
        ),
        "{said}"
    );
    verdict.luck = Some(0.3);
    let said = words::sentence(&verdict, None);
    assert!(said.starts_with("The best may be luck: the probability that it is luck is 30 %."), "{said}");
}

#[test]
fn trials_of_other_bars_are_refused() {
    let mut search = Trials::new(4, 2).expect("good blocks");
    let said = |found: Result<(), BadTrial>| found.expect_err("it is refused").to_string();
    assert_eq!(
        said(search.add(&[0.1; 3])),
        "the trial has 3 returns, and the search 4: every trial must be of the same bars"
    );
    assert_eq!(said(search.add(&[0.1, 0.2, f64::NAN, 0.3])), "the return of row 3 is not a number");
    assert_eq!((search.count(), search.still()), (0, 0));
    for blocks in [0, 1, 3, 22] {
        assert_eq!(Trials::new(4, blocks).err(), Some(BadTrial::Blocks(blocks)));
    }
}

#[test]
fn a_half_in_which_nothing_was_done_counts_as_zero() {
    // One trial earns in the first half only, the other loses a little throughout: whatever is chosen, its rest is known.
    let early: Vec<f64> = (0..8).map(|at| if at < 4 { 0.01 + 0.001 * f64::from(at) } else { 0.0 }).collect();
    let losing: Vec<f64> = (0..8).map(|at| -0.001 * f64::from(1 + at % 3)).collect();
    let found = overfitting(&trials(&[early, losing], 2)).expect("two trials");
    // Chosen on the first half, the early one has 0 on the second, above the losing one; chosen there, it is best on the first.
    assert_eq!((found.combinations, found.probability, found.loss), (2, 0.0, 0.0));
}

#[test]
fn trials_over_bars_of_their_own_deflate_as_much_and_are_not_compared() {
    let random = &mut Random::new(7);
    let all: Vec<Vec<f64>> = (0..12).map(|_| noise(random, 320)).collect();
    let together = trials(&all, 8);
    let mut alone = Trials::new(0, BLOCKS).expect("good blocks");
    together.sharpes().iter().for_each(|sharpe| alone.add_alone(Some(*sharpe)));
    alone.add_alone(None);
    let (one, other) = (judged(&together, &all[0], None), judged(&alone, &all[0], None));
    assert_eq!((one.luck, one.sharpe_deviation, one.trials), (other.luck, other.sharpe_deviation, other.trials));
    assert!(one.overfitting.is_some() && one.effective_trials.is_some());
    assert_eq!((other.overfitting, other.effective_trials, other.still), (None, None, 1));
    // One among many is enough.
    let mut mixed = together;
    mixed.add_alone(Some(0.1));
    assert_eq!((mixed.correlation(), overfitting(&mixed), mixed.count()), (None, None, 13));
}

#[test]
fn every_figure_has_its_convention_and_json_has_its_name() {
    let random = &mut Random::new(9);
    let all: Vec<Vec<f64>> = (0..3).map(|_| noise(random, 64)).collect();
    let verdict = judged(&trials(&all, 4), &all[0], None);
    let json = serde_json::to_value(&verdict).expect("JSON");
    for convention in conventions() {
        assert_eq!(json[convention.name].as_f64(), verdict.get(convention.name), "{}", convention.name);
        assert!(convention.definition.ends_with('.'), "{}", convention.name);
    }
    assert_eq!(serde_json::from_value::<Verdict>(json).expect("it is read again"), verdict);
}

#[test]
fn a_riskless_rate_lowers_sharpe_ratios_and_not_growth() {
    let mut random = Random::new(5);
    let best: Vec<f64> = noise(&mut random, 400).iter().map(|earned| earned + 0.001).collect();
    let rate = 0.0005;
    let above: Vec<f64> = best.iter().map(|earned| earned - rate).collect();
    let other = noise(&mut random, 400);
    let all = trials(&[above.clone(), other], 4);
    let search = Search {
        trials: &all,
        shared: None,
        best: &best,
        riskless: rate,
        periods_per_year: 252.0,
        surroundings: None,
        excess_return: None,
        seed: 1,
    };
    let (plain, less) = (judge(&Search { riskless: 0.0, ..search }), judge(&search));
    // The ratio of the best is that which it has among the trials.
    let among = all.sharpes()[0] * 252.0_f64.sqrt();
    assert!((less.sharpe.expect("it moves") - among).abs() < 1e-12);
    assert!(less.sharpe < plain.sharpe && less.luck > plain.luck && less.minimum_years > plain.minimum_years);
    let (plain, less) = (plain.bootstrap.expect("drawn"), less.bootstrap.expect("drawn"));
    assert!(less.sharpe.high < plain.sharpe.high && less.sharpe.low < plain.sharpe.low);
    assert_eq!((less.cagr, less.max_drawdown, less.loss), (plain.cagr, plain.max_drawdown, plain.loss));
}
