use super::*;

/// Ballots from a line: `b`, `s`, `h` vote with the weight behind them, `-` has no vote, `x` is absent.
fn ballots(line: &str) -> Vec<Ballot> {
    let one = |(place, word): (usize, &str)| {
        let (vote, weight) = word.split_at(1);
        let (presence, vote) = match vote {
            "b" => (Presence::Answered, Some(Decision::Buy)),
            "s" => (Presence::Answered, Some(Decision::Sell)),
            "h" => (Presence::Answered, Some(Decision::Hold)),
            "-" => (Presence::Answered, None),
            _ => (Presence::Absent, None),
        };
        Ballot { agent: format!("a{place}"), presence, vote, weight: weight.parse().unwrap_or(1.0) }
    };
    line.split(' ').enumerate().map(one).collect()
}

#[track_caller]
fn check(topology: Topology, rule: Consensus, line: &str, expected: Decision) -> Aggregate {
    let aggregate = decide(topology, rule, &ballots(line), None);
    assert_eq!(aggregate.decision, expected, "{topology:?} {rule:?} {line}: {}", aggregate.reason);
    aggregate
}

use Consensus::{Majority, SixtyPercent, TwoThirds, Unanimous};
use Decision::{Buy, Hold, Sell};

#[test]
fn a_mesh_counts_heads_of_those_asked() {
    let mesh = Topology::Mesh;
    check(mesh, Majority, "b b s", Buy);
    check(mesh, Majority, "b s h", Hold);
    check(mesh, Majority, "b b s s", Hold);
    check(mesh, SixtyPercent, "b b b s s", Buy);
    check(mesh, TwoThirds, "b b b s s", Hold);
    check(mesh, TwoThirds, "s s b", Sell);
    check(mesh, Unanimous, "b b b", Buy);
    check(mesh, Unanimous, "b b h", Hold);
    // Weights change nothing here.
    check(mesh, Majority, "b0 b0 s1", Buy);
}

#[test]
fn an_absent_agent_is_no_vote_and_sinks_nothing() {
    let aggregate = check(Topology::Mesh, Majority, "b b x", Buy);
    assert_eq!(aggregate.quorum, Quorum { asked: 3, answered: 2, absent: 1, needed: 2 });
    check(Topology::Mesh, Unanimous, "b b x", Hold);
    check(Topology::Mesh, Majority, "b x x", Hold);
    // Not even with all the weight.
    check(Topology::Star, Majority, "b x x", Hold);
    check(Topology::Ring, Majority, "b x x", Hold);
    check(Topology::Hierarchical, Majority, "b x x", Hold);
    check(Topology::Mesh, Majority, "- - -", Hold);
    check(Topology::Mesh, Majority, "x", Hold);
}

#[test]
fn a_hub_weighs() {
    check(Topology::Star, Majority, "b0.9 s0.2 s0.3", Buy);
    check(Topology::Star, TwoThirds, "b0.9 s0.2 s0.3", Hold);
    check(Topology::Star, Majority, "b0 s0 h0", Hold);
    assert_eq!(check(Topology::Star, Majority, "s b0", Sell).decided_by, "a0");
}

#[test]
fn a_ring_hands_on_the_stronger() {
    let aggregate = check(Topology::Ring, Majority, "b0.9 s0.5 s0.3", Buy);
    let weights: Vec<f64> = aggregate.reductions.iter().map(|step| (step.weight * 10.0).round() / 10.0).collect();
    assert_eq!(weights, [0.9, 0.4, 0.1]);
    assert_eq!(aggregate.reductions[2].from, ["a1"]);
    check(Topology::Ring, Majority, "b0.3 x s0.5", Sell);
    check(Topology::Ring, Majority, "b0.5 s0.5", Hold);
}

#[test]
fn a_tree_reduces_each_branch_to_one_vote() {
    // Four of seven say buy, and yet a branch and the root outvote the other branch: that is what a tree is.
    let aggregate = check(Topology::Hierarchical, Majority, "s s b s b b b", Sell);
    assert_eq!(aggregate.reductions.last().map(|root| root.from.clone()), Some(vec!["a1".to_owned(), "a2".to_owned()]));
    let aggregate = check(Topology::Hierarchical, Majority, "b s b s s b b", Buy);
    assert_eq!(aggregate.votes, Votes { buy: 4, sell: 3, hold: 0 });
    check(Topology::Hierarchical, Majority, "s", Sell);
}

#[test]
fn who_has_the_last_word_decides_but_in_a_mesh() {
    let all = ballots("s s s");
    let decided = decide(Topology::Star, Majority, &all, Some(("hub", Some(Buy))));
    assert_eq!((decided.decision, decided.decided_by.as_str(), decided.votes.sell), (Buy, "hub", 3));
    assert_eq!(decide(Topology::Ring, Majority, &all, Some(("last", None))).decision, Hold);
    assert_eq!(decide(Topology::Mesh, Majority, &all, Some(("hub", Some(Buy)))).decision, Sell);
    let few = decide(Topology::Star, Majority, &ballots("s x x"), Some(("hub", Some(Buy))));
    assert_eq!(few.decision, Hold, "{}", few.reason);
}

/// Whatever is still out, a settled count decides as it will in the end.
#[test]
fn settled_is_settled() {
    let words = ["b", "s", "h", "x"];
    for rule in [Majority, SixtyPercent, TwoThirds, Unanimous] {
        for code in 0..4_usize.pow(5) {
            let line: Vec<&str> = (0..5).map(|place| words[code / 4_usize.pow(place) % 4]).collect();
            let whole = ballots(&line.join(" "));
            let end = decide(Topology::Mesh, rule, &whole, None).decision;
            for known in 0..=5_usize {
                let mut partly = whole.clone();
                for ballot in &mut partly[known..] {
                    (ballot.presence, ballot.vote) = (Presence::Skipped, None);
                }
                if is_settled(rule, &partly, 5 - known as u32) {
                    assert_eq!(decide(Topology::Mesh, rule, &partly, None).decision, end, "{rule:?} {line:?} {known}");
                }
            }
        }
    }
}
