//! What a swarm decides, from the votes of its agents. Pure: the same votes give the same decision, and no program in a sandbox has
//! a part in the counting.

use ringfence_model::api::{Aggregate, Consensus, Decision, Quorum, Reduction, Topology, Votes, Weights};
use serde_json::Map;

use super::plan::children;

/// An agent's vote.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ballot {
    /// The agent's name.
    pub(crate) agent: String,
    /// How far it came.
    pub(crate) presence: Presence,
    /// Its vote; none of one that has answered without one.
    pub(crate) vote: Option<Decision>,
    /// How sure it is, 0 to 1.
    pub(crate) weight: f64,
}

/// Whether an agent that was asked has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It has.
    Answered,
    /// It has failed.
    Absent,
    /// It was not waited for.
    Skipped,
}

const DECISIONS: [Decision; 3] = [Decision::Buy, Decision::Sell, Decision::Hold];

fn count(ballots: &[Ballot], decision: Decision) -> u32 {
    let votes = ballots.iter().filter(|ballot| ballot.vote == Some(decision)).count();
    u32::try_from(votes).unwrap_or(u32::MAX)
}

fn weight(ballots: &[Ballot], decision: Decision) -> f64 {
    // Floating point begins an empty sum at -0.
    ballots.iter().filter(|b| b.vote == Some(decision)).fold(0.0, |sum, ballot| sum + ballot.weight)
}

fn words(rule: Consensus) -> &'static str {
    match rule {
        Consensus::Majority => "more than half",
        Consensus::SixtyPercent => "60 %",
        Consensus::TwoThirds => "two thirds",
        Consensus::Unanimous => "all",
    }
}

/// Whether no vote that is still out can change what a quorum decides. `left` agents have not answered.
pub(crate) fn is_settled(rule: Consensus, ballots: &[Ballot], left: u32) -> bool {
    let asked = u32::try_from(ballots.len()).unwrap_or(u32::MAX);
    let needed = rule.needed(asked);
    let has = DECISIONS.map(|decision| count(ballots, decision));
    has.iter().any(|votes| *votes >= needed) || has.iter().all(|votes| votes.saturating_add(left) < needed)
}

/// What a topology has made of the votes before they are counted, and how, in words.
struct Proposal {
    decision: Option<Decision>,
    how: String,
}

/// What the swarm decides. `ballots` are of all agents that were asked, in their order. `last_word`: the programs were the caller's own
/// and heard each other, and this is the agent at whom it ends, with its vote; it proposes unless the topology is a mesh.
///
/// Whatever the topology, nothing is bought or sold for which the rule's part of those asked has not voted.
pub(crate) fn decide(
    topology: Topology,
    rule: Consensus,
    ballots: &[Ballot],
    last_word: Option<(&str, Option<Decision>)>,
) -> Aggregate {
    let asked = u32::try_from(ballots.len()).unwrap_or(u32::MAX);
    let present = |wanted| ballots.iter().filter(|ballot| ballot.presence == wanted).count() as u32;
    let quorum = Quorum {
        asked,
        answered: present(Presence::Answered),
        absent: present(Presence::Absent),
        needed: rule.needed(asked),
    };
    let votes = Votes {
        buy: count(ballots, Decision::Buy),
        sell: count(ballots, Decision::Sell),
        hold: count(ballots, Decision::Hold),
    };
    let weights = Weights {
        buy: weight(ballots, Decision::Buy),
        sell: weight(ballots, Decision::Sell),
        hold: weight(ballots, Decision::Hold),
    };
    let named = |place: usize| ballots.get(place).map_or_else(String::new, |ballot| ballot.agent.clone());
    let mut reductions = Vec::new();
    let (decided_by, proposal) = match (topology, last_word) {
        (Topology::Mesh, _) => ("quorum".to_owned(), by_heads(ballots)),
        (_, Some((agent, vote))) => (agent.to_owned(), by_program(agent, vote)),
        (Topology::Star, None) => (named(0), by_weight(ballots)),
        (Topology::Ring, None) => {
            reductions = along_ring(ballots);
            let last = reductions.last().map_or((None, 0.0), |last| (last.vote, last.weight));
            (named(ballots.len().saturating_sub(1)), by_ring(last))
        }
        (Topology::Hierarchical, None) => {
            reductions = up_tree(rule, ballots);
            (named(0), by_root(reductions.last().and_then(|root| root.vote)))
        }
    };
    let (decision, reason) = counted(rule, quorum, votes, &proposal);
    let (proposal, about, combined) = (proposal.decision, Vec::new(), Map::new());
    Aggregate { decision, proposal, reason, about, decided_by, rule, quorum, votes, weights, reductions, combined }
}

/// The proposal where enough of those asked have voted for it, else hold; and why.
fn counted(rule: Consensus, quorum: Quorum, votes: Votes, proposal: &Proposal) -> (Decision, String) {
    let Quorum { asked, answered, needed, .. } = quorum;
    let (how, part) = (&proposal.how, words(rule));
    let Some(decision) = proposal.decision else {
        let Votes { buy, sell, hold } = votes;
        let text = format!(
            "{how}; of {asked} agents asked {answered} answered: {buy} buy, {sell} sell, {hold} hold, and {needed} must agree ({part}): hold"
        );
        return (Decision::Hold, text);
    };
    let word = decision.as_str();
    let agree = match decision {
        Decision::Buy => votes.buy,
        Decision::Sell => votes.sell,
        Decision::Hold => votes.hold,
    };
    if agree >= needed {
        return (decision, format!("{how}; {agree} of {asked} agents asked say {word}, {needed} are needed ({part})"));
    }
    let text = format!("{how}, but {agree} of {asked} agents asked say {word}, and {needed} are needed ({part}): hold");
    (Decision::Hold, text)
}

/// The one of which there is most, if there is one.
fn most<T: PartialOrd>(of: [T; 3]) -> Option<Decision> {
    DECISIONS.into_iter().zip(&of).find_map(|(decision, own)| {
        let no_less =
            of.iter().filter(|other| !matches!((*other).partial_cmp(own), Some(std::cmp::Ordering::Less))).count();
        (no_less == 1).then_some(decision)
    })
}

fn by_heads(ballots: &[Ballot]) -> Proposal {
    let decision = most(DECISIONS.map(|decision| count(ballots, decision)));
    let how = match decision {
        Some(decision) => format!("most votes are for {}", decision.as_str()),
        None => "no decision has more votes than the others".to_owned(),
    };
    Proposal { decision, how }
}

fn by_program(agent: &str, decision: Option<Decision>) -> Proposal {
    let how = match decision {
        Some(decision) => format!("{agent}, who heard the others, proposes {}", decision.as_str()),
        None => format!("{agent}, who has the last word, failed or printed no decision"),
    };
    Proposal { decision, how }
}

fn by_weight(ballots: &[Ballot]) -> Proposal {
    let weights = DECISIONS.map(|decision| weight(ballots, decision));
    let whole = weights.iter().fold(0.0, |sum, weight| sum + weight);
    let decision = most(weights);
    let how = match decision {
        Some(decision) => {
            let (share, word) = (100.0 * weight(ballots, decision) / whole, decision.as_str());
            format!("the hub proposes {word}, which has {share:.1} % of the weight that it gathered")
        }
        None => "no decision has more of the weight that the hub gathered than the others".to_owned(),
    };
    Proposal { decision, how }
}

/// Each agent hands on what it got, strengthened by its own vote or weakened by it; the stronger of two that differ goes on, with the
/// difference. One without a vote hands on what it got.
fn along_ring(ballots: &[Ballot]) -> Vec<Reduction> {
    let mut carried: (Option<Decision>, f64) = (None, 0.0);
    let mut before: Vec<String> = Vec::new();
    let mut steps = Vec::with_capacity(ballots.len());
    for ballot in ballots {
        carried = match (carried, ballot.vote) {
            (carried, None) => carried,
            ((None, _), Some(own)) => (Some(own), ballot.weight),
            ((Some(other), weight), Some(own)) if other == own => (Some(own), weight + ballot.weight),
            ((Some(other), weight), Some(_)) if weight >= ballot.weight => (Some(other), weight - ballot.weight),
            ((Some(_), weight), Some(own)) => (Some(own), ballot.weight - weight),
        };
        let from = std::mem::replace(&mut before, vec![ballot.agent.clone()]);
        steps.push(Reduction { agent: ballot.agent.clone(), from, vote: carried.0, weight: carried.1 });
    }
    steps
}

fn by_ring((vote, weight): (Option<Decision>, f64)) -> Proposal {
    match vote {
        Some(decision) if weight > 0.0 => {
            let word = decision.as_str();
            Proposal { decision: vote, how: format!("{word} came round the ring with weight {weight:.3}") }
        }
        _ => Proposal { decision: None, how: "what came round the ring weighs nothing".to_owned() },
    }
}

/// Each node reduces its own vote and its children's to one, by the rule: from the last leaf to the root.
fn up_tree(rule: Consensus, ballots: &[Ballot]) -> Vec<Reduction> {
    let mut reduced: Vec<(Option<Decision>, f64)> = vec![(None, 0.0); ballots.len()];
    let mut steps = Vec::with_capacity(ballots.len());
    for (node, ballot) in ballots.iter().enumerate().rev() {
        let below: Vec<usize> = children(node, ballots.len()).collect();
        let heard: Vec<(Decision, f64)> = std::iter::once((ballot.vote, ballot.weight))
            .chain(below.iter().map(|child| reduced[*child]))
            .filter_map(|(vote, weight)| Some((vote?, weight)))
            .collect();
        let needed = rule.needed(1 + below.len() as u32);
        let votes = |decision| heard.iter().filter(|(vote, _)| *vote == decision).count() as u32;
        let winner = DECISIONS.into_iter().find(|decision| votes(*decision) >= needed);
        reduced[node] = match winner {
            Some(decision) => {
                let sum = heard.iter().filter(|(vote, _)| *vote == decision).fold(0.0, |sum, (_, weight)| sum + weight);
                (Some(decision), sum / f64::from(votes(decision)))
            }
            None if heard.is_empty() => (None, 0.0),
            None => (Some(Decision::Hold), 0.0),
        };
        let from = below.iter().map(|child| ballots[*child].agent.clone()).collect();
        steps.push(Reduction { agent: ballot.agent.clone(), from, vote: reduced[node].0, weight: reduced[node].1 });
    }
    steps
}

fn by_root(decision: Option<Decision>) -> Proposal {
    let how = match decision {
        Some(decision) => format!("the tree reduces to {}", decision.as_str()),
        None => "nobody in the tree voted".to_owned(),
    };
    Proposal { decision, how }
}

#[cfg(test)]
mod tests;
