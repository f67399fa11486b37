//! Which programs a task consists of, what each is handed, and in which order they may begin. Pure.

use ringfence_model::api::{TaskStrategy, Topology};
use serde::{Deserialize, Serialize};

/// What a step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The agent's own work.
    Work,
    /// A mesh's second round: the same program again, which has heard all.
    Ballot,
    /// The hub of a star, which has heard all.
    Gather,
}

impl Kind {
    /// As clients read it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Ballot => "second round",
            Self::Gather => "gather",
        }
    }
}

/// One program of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// The agent, by its place among those asked.
    pub(crate) agent: usize,
    /// What it is for.
    pub(crate) kind: Kind,
    /// Steps whose results it is handed; they end before it begins.
    pub(crate) receives: Vec<usize>,
    /// Steps that end before it begins, and that it hears nothing of.
    pub(crate) after: Vec<usize>,
}

/// The children of a node of the tree, of which the agents' places are the numbers.
pub(crate) fn children(node: usize, agents: usize) -> impl Iterator<Item = usize> {
    [2 * node + 1, 2 * node + 2].into_iter().filter(move |child| *child < agents)
}

/// What a topology makes of the agent at a place.
pub(crate) fn role(topology: Topology, place: usize, agents: usize) -> &'static str {
    match topology {
        Topology::Mesh => "peer",
        Topology::Star if place == 0 => "hub",
        Topology::Star => "spoke",
        Topology::Ring => "stage",
        Topology::Hierarchical if place == 0 => "root",
        Topology::Hierarchical if children(place, agents).next().is_some() => "branch",
        Topology::Hierarchical => "leaf",
    }
}

/// The steps of a task for `agents` agents. Step `i < agents` is the work of agent `i`. `custom`: the programs are the caller's own
/// and hear each other; handlers are combined outside of the sandboxes instead.
pub(crate) fn plan(topology: Topology, strategy: TaskStrategy, agents: usize, custom: bool, rounds: u32) -> Vec<Step> {
    let sequential = strategy == TaskStrategy::Sequential;
    let mut steps: Vec<Step> = (0..agents)
        .map(|agent| {
            let receives = match topology {
                Topology::Mesh if sequential => (0..agent).collect(),
                Topology::Mesh | Topology::Star => Vec::new(),
                Topology::Ring => agent.checked_sub(1).into_iter().collect(),
                Topology::Hierarchical => children(agent, agents).collect(),
            };
            // A tree is worked from its last leaf to its root.
            let before = match topology {
                Topology::Hierarchical => Some(agent + 1).filter(|next| *next < agents),
                _ => agent.checked_sub(1),
            };
            let after = if sequential { before.into_iter().collect() } else { Vec::new() };
            Step { agent, kind: Kind::Work, receives, after }
        })
        .collect();
    let all: Vec<usize> = (0..agents).collect();
    if custom && topology == Topology::Star && agents > 1 {
        steps.push(Step { agent: 0, kind: Kind::Gather, receives: all, after: Vec::new() });
    } else if custom && topology == Topology::Mesh && rounds > 1 {
        for agent in 0..agents {
            let before = steps.len() - 1;
            let after = if sequential && agent > 0 { vec![before] } else { Vec::new() };
            steps.push(Step { agent, kind: Kind::Ballot, receives: all.clone(), after });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn hears(topology: Topology, strategy: TaskStrategy, custom: bool, rounds: u32, expected: &[&[usize]]) {
        let steps = plan(topology, strategy, 4, custom, rounds);
        let found: Vec<&[usize]> = steps.iter().map(|step| step.receives.as_slice()).collect();
        assert_eq!(found, expected, "{topology:?} {strategy:?}");
    }

    #[test]
    fn a_topology_is_who_hears_whom() {
        let (parallel, sequential) = (TaskStrategy::Parallel, TaskStrategy::Sequential);
        let all: &[usize] = &[0, 1, 2, 3];
        hears(Topology::Mesh, parallel, true, 1, &[&[], &[], &[], &[]]);
        hears(Topology::Mesh, sequential, true, 1, &[&[], &[0], &[0, 1], &[0, 1, 2]]);
        hears(Topology::Mesh, parallel, true, 2, &[&[], &[], &[], &[], all, all, all, all]);
        hears(Topology::Star, parallel, true, 1, &[&[], &[], &[], &[], all]);
        hears(Topology::Star, parallel, false, 1, &[&[], &[], &[], &[]]);
        hears(Topology::Ring, parallel, true, 1, &[&[], &[0], &[1], &[2]]);
        hears(Topology::Hierarchical, parallel, true, 1, &[&[1, 2], &[3], &[], &[]]);
    }

    /// Every plan can be worked to its end: there is no circle.
    #[test]
    fn every_step_has_its_turn() {
        let topologies = [Topology::Mesh, Topology::Star, Topology::Ring, Topology::Hierarchical];
        for topology in topologies {
            for strategy in [TaskStrategy::Parallel, TaskStrategy::Sequential, TaskStrategy::Adaptive] {
                for (agents, rounds, custom) in [(1, 1, true), (2, 2, true), (7, 2, true), (100, 1, false)] {
                    let steps = plan(topology, strategy, agents, custom, rounds);
                    let mut done = vec![false; steps.len()];
                    for _ in 0..steps.len() {
                        let ready: Vec<usize> = (0..steps.len())
                            .filter(|i| {
                                !done[*i] && steps[*i].receives.iter().chain(&steps[*i].after).all(|s| done[*s])
                            })
                            .collect();
                        assert!(done.iter().all(|d| *d) || !ready.is_empty(), "{topology:?} {strategy:?} {agents}");
                        assert!(strategy != TaskStrategy::Sequential || ready.len() <= 1, "{topology:?} {agents}");
                        ready.into_iter().for_each(|i| done[i] = true);
                    }
                    assert!(done.iter().all(|d| *d), "{topology:?} {strategy:?} {agents}");
                }
            }
        }
    }

    #[test]
    fn roles_follow_from_the_topology() {
        let roles = |topology| (0..4).map(|place| role(topology, place, 4)).collect::<Vec<_>>();
        assert_eq!(roles(Topology::Star), ["hub", "spoke", "spoke", "spoke"]);
        assert_eq!(roles(Topology::Hierarchical), ["root", "branch", "leaf", "leaf"]);
    }
}
