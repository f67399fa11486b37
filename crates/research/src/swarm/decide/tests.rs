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

/// What a topology comes to by itself, and what is decided once it was counted who agrees.
#[track_caller]
fn proposes(
    topology: Topology,
    rule: Consensus,
    line: &str,
    proposal: Option<Decision>,
    expected: Decision,
) -> Aggregate {
    let aggregate = check(topology, rule, line, expected);
    assert_eq!(aggregate.proposal, proposal, "{topology:?} {rule:?} {line}: {}", aggregate.reason);
    aggregate
}

#[test]
fn a_hub_weighs_and_heads_are_counted() {
    let star = Topology::Star;
    proposes(star, Majority, "b0.9 b0.2 s0.3", Some(Buy), Buy);
    proposes(star, TwoThirds, "b0.9 b0.2 s0.3", Some(Buy), Buy);
    proposes(star, Unanimous, "b0.9 b0.2 s0.3", Some(Buy), Hold);
    proposes(star, Unanimous, "b0.9 b0.2 b0.3", Some(Buy), Buy);
    proposes(star, SixtyPercent, "s0.5 s0.5 s0.5 b0.9 h0.1", Some(Sell), Sell);
    proposes(star, TwoThirds, "s0.5 s0.5 s0.5 b0.9 h0.1", Some(Sell), Hold);
    // The weight of one is not the agreement of many, and many that weigh less propose nothing.
    let one = proposes(star, Majority, "b0.9 s0.2 s0.3", Some(Buy), Hold);
    assert!(one.reason.contains("64.3 %") && one.reason.contains("1 of 3 agents asked say buy"), "{}", one.reason);
    proposes(star, Majority, "h0.9 s0.2 s0.3", Some(Hold), Hold);
    // Failures, no votes, ties, votes without weight, one agent.
    proposes(star, Majority, "b x -", Some(Buy), Hold);
    proposes(star, Majority, "b b x", Some(Buy), Buy);
    proposes(star, Unanimous, "b b x", Some(Buy), Hold);
    proposes(star, Majority, "b0.5 s0.5", None, Hold);
    proposes(star, Majority, "b0 s0 h0", None, Hold);
    proposes(star, Majority, "b0 b0 b0", None, Hold);
    proposes(star, Majority, "x x", None, Hold);
    assert_eq!(proposes(star, Unanimous, "s0.1", Some(Sell), Sell).decided_by, "a0");
    proposes(star, Majority, "x", None, Hold);
}

#[test]
fn a_ring_hands_on_the_stronger_and_heads_are_counted() {
    let ring = Topology::Ring;
    let aggregate = proposes(ring, Majority, "b0.9 s0.5 s0.3", Some(Buy), Hold);
    let weights: Vec<f64> = aggregate.reductions.iter().map(|step| (step.weight * 10.0).round() / 10.0).collect();
    assert_eq!(weights, [0.9, 0.4, 0.1]);
    assert_eq!(aggregate.reductions[2].from, ["a1"]);
    assert!(aggregate.reason.contains("came round the ring") && aggregate.reason.contains("1 of 3"), "{aggregate:?}");
    proposes(ring, Majority, "b0.9 b0.5 s0.3", Some(Buy), Buy);
    proposes(ring, TwoThirds, "b0.9 b0.5 s0.3", Some(Buy), Buy);
    proposes(ring, Unanimous, "b0.9 b0.5 s0.3", Some(Buy), Hold);
    proposes(ring, Unanimous, "b0.9 b0.5 b0.3", Some(Buy), Buy);
    proposes(ring, SixtyPercent, "s s s b h0.5", Some(Sell), Sell);
    proposes(ring, TwoThirds, "s s s b h0.5", Some(Sell), Hold);
    // The same votes in another order carry something else.
    proposes(ring, Majority, "b0.4 s0.3 h0.2 s0.3 s0.3", Some(Sell), Sell);
    proposes(ring, Majority, "s0.3 s0.3 s0.3 h0.2 b0.9", Some(Buy), Hold);
    // Failures, ties, votes without weight, one agent.
    proposes(ring, Majority, "b0.3 x s0.5", Some(Sell), Hold);
    proposes(ring, Majority, "s0.3 x s0.5", Some(Sell), Sell);
    proposes(ring, Unanimous, "s0.3 - s0.5", Some(Sell), Hold);
    proposes(ring, Majority, "b0.5 s0.5", None, Hold);
    proposes(ring, Majority, "b0 b0", None, Hold);
    proposes(ring, Unanimous, "b0.2", Some(Buy), Buy);
    proposes(ring, Majority, "-", None, Hold);
}

#[test]
fn a_tree_reduces_each_branch_to_one_vote_and_heads_are_counted() {
    let tree = Topology::Hierarchical;
    // Four of seven say buy, and yet a branch and the root outvote the other branch: that is what a tree proposes, and three agree.
    let aggregate = proposes(tree, Majority, "s s b s b b b", Some(Sell), Hold);
    check(Topology::Mesh, Majority, "s s b s b b b", Buy);
    assert_eq!(aggregate.reductions.last().map(|root| root.from.clone()), Some(vec!["a1".to_owned(), "a2".to_owned()]));
    assert!(aggregate.reason.contains("3 of 7 agents asked say sell, and 4 are needed"), "{}", aggregate.reason);
    let aggregate = proposes(tree, Majority, "b s b s s b b", Some(Buy), Buy);
    assert_eq!(aggregate.votes, Votes { buy: 4, sell: 3, hold: 0 });
    proposes(tree, SixtyPercent, "b s b s s b b", Some(Buy), Hold);
    proposes(tree, TwoThirds, "s s b s s s b", Some(Sell), Sell);
    proposes(tree, Unanimous, "s s s s s s b", Some(Hold), Hold);
    proposes(tree, Unanimous, "s s s s s s s", Some(Sell), Sell);
    // Failures, no votes, ties, one agent.
    proposes(tree, Majority, "b b x", Some(Buy), Buy);
    proposes(tree, Majority, "b x x", Some(Hold), Hold);
    proposes(tree, Majority, "b s", Some(Hold), Hold);
    proposes(tree, Majority, "- x -", None, Hold);
    proposes(tree, Unanimous, "s", Some(Sell), Sell);
}

#[test]
fn who_has_the_last_word_proposes_but_in_a_mesh() {
    #[track_caller]
    fn check(topology: Topology, rule: Consensus, line: &str, last: Option<Decision>, expected: Decision) -> Aggregate {
        let decided = decide(topology, rule, &ballots(line), Some(("last", last)));
        assert_eq!(decided.decision, expected, "{topology:?} {rule:?} {line}: {}", decided.reason);
        decided
    }
    for topology in [Topology::Star, Topology::Ring, Topology::Hierarchical] {
        let decided = check(topology, Majority, "s s s", Some(Buy), Hold);
        assert_eq!((decided.proposal, decided.decided_by.as_str(), decided.votes.sell), (Some(Buy), "last", 3));
        assert!(decided.reason.contains("last, who heard the others, proposes buy"), "{}", decided.reason);
        assert!(decided.reason.contains("0 of 3 agents asked say buy, and 2 are needed"), "{}", decided.reason);
        check(topology, Majority, "s b b", Some(Buy), Buy);
        check(topology, Majority, "s b b", Some(Sell), Hold);
        check(topology, TwoThirds, "s b b", Some(Buy), Buy);
        check(topology, Unanimous, "s b b", Some(Buy), Hold);
        check(topology, Unanimous, "b b b", Some(Buy), Buy);
        check(topology, Unanimous, "b b b", Some(Hold), Hold);
        check(topology, SixtyPercent, "b b x", Some(Buy), Buy);
        check(topology, Majority, "b x x", Some(Buy), Hold);
        check(topology, Majority, "b", Some(Buy), Buy);
        let silent = check(topology, Majority, "s s s", None, Hold);
        assert_eq!(silent.proposal, None);
        assert!(silent.reason.contains("0 buy, 3 sell, 0 hold, and 2 must agree"), "{}", silent.reason);
    }
    check(Topology::Mesh, Majority, "s s s", Some(Buy), Sell);
}

/// The table in docs/concepts/swarms.md.
#[test]
fn the_table_of_the_documentation_holds() {
    let topologies = [Topology::Mesh, Topology::Star, Topology::Ring, Topology::Hierarchical];
    for (line, expected) in [
        ("b0.9 b0.2 s0.3", [Buy, Buy, Buy, Buy]),
        ("b0.9 s0.2 s0.3", [Sell, Hold, Hold, Sell]),
        ("b0.3 s0.1 s0.1", [Sell, Hold, Hold, Sell]),
        ("s s b s b b b", [Buy, Buy, Buy, Hold]),
        ("b x x", [Hold, Hold, Hold, Hold]),
    ] {
        for (topology, expected) in topologies.into_iter().zip(expected) {
            check(topology, Majority, line, expected);
        }
    }
}

/// Of all votes of four agents, in every topology and by every rule: what is bought or sold has the rule's part of those asked, no
/// topology decides the contrary of a mesh, and stars and rings hold where a mesh does not. (Trees do from seven agents on.)
#[test]
fn nothing_is_decided_without_the_rules_part_of_those_asked() {
    let words = ["b0.9", "b0.2", "s0.8", "s0.3", "h0.5", "-", "x"];
    let others = [Topology::Star, Topology::Ring, Topology::Hierarchical];
    for rule in [Majority, SixtyPercent, TwoThirds, Unanimous] {
        let mut holds = [0; 3];
        for code in 0..words.len().pow(4) {
            let line: Vec<&str> = (0..4).map(|place| words[code / words.len().pow(place) % words.len()]).collect();
            let all = ballots(&line.join(" "));
            let mesh = decide(Topology::Mesh, rule, &all, None);
            for (topology, holds) in others.into_iter().zip(&mut holds) {
                let last = [None, Some(None), Some(Some(Buy)), Some(Some(Sell)), Some(Some(Hold))];
                for word in last {
                    let found = decide(topology, rule, &all, word.map(|vote| ("last", vote)));
                    let agree = all.iter().filter(|ballot| ballot.vote == Some(found.decision)).count() as u32;
                    let stands = agree >= rule.needed(4);
                    assert!(found.decision == Hold || stands, "{topology:?} {rule:?} {line:?}: {found:?}");
                    assert!(
                        [Hold, mesh.decision].contains(&found.decision),
                        "{topology:?} {rule:?} {line:?}: {found:?}"
                    );
                    if rule == Unanimous && found.decision == Buy {
                        assert!(all.iter().all(|ballot| ballot.vote == Some(Buy)), "{topology:?} {line:?}: {found:?}");
                    }
                    *holds += u32::from(word.is_none() && found.decision != mesh.decision);
                }
            }
        }
        // All that agree leave a topology nothing to differ in, and three of four leave a tree nothing.
        let [star, ring, tree] = holds;
        assert_eq!((star > 0, ring > 0, tree), (rule != Unanimous, rule != Unanimous, 0), "{rule:?}");
    }
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
