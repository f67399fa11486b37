//! What is kept of a task, and how its records become votes.

use ringfence_backtest::Curve;
use ringfence_model::{
    JobId,
    api::{AgentResult, Aggregate, StepState, TaskRequest, TaskStrategy, Topology},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::swarm::{
    decide::{self, Ballot, Presence},
    handler::{Handler, combined},
    plan::{Kind, Step, plan},
    rows::Agent,
};

/// What was asked for, and what stood when it was. Never changed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) request: TaskRequest,
    pub(crate) swarm: JobId,
    pub(crate) topology: Topology,
    pub(crate) strategy: TaskStrategy,
    /// Of all agents that no input gives another.
    pub(crate) handler: Handler,
    /// Those that are asked, in order.
    pub(crate) agents: Vec<Agent>,
}

impl Asked {
    /// Whether the programs are the caller's own and hear each other.
    pub(crate) fn is_custom(&self) -> bool {
        self.handler == Handler::Code
    }

    pub(crate) fn plan(&self) -> Vec<Step> {
        plan(self.topology, self.strategy, self.agents.len(), self.is_custom(), self.request.rounds())
    }
}

/// How a task ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) aggregate: Option<Aggregate>,
    /// Why it was ended from outside.
    pub(crate) cancelled: Option<String>,
}

/// One program of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepRecord {
    /// What clients see.
    pub(crate) view: AgentResult,
    /// What the agent is asked by.
    pub(crate) handler: Handler,
    /// What it is asked.
    pub(crate) input: Map<String, Value>,
    /// Equity, of a backtest.
    pub(crate) curve: Option<Curve>,
    /// How often it was tried.
    pub(crate) tries: u32,
}

impl StepRecord {
    /// Whether it has ended, one way or another.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.view.status, StepState::Pending | StepState::Running)
    }

    /// The symbol that its vote is about, as far as its input says one.
    fn about(&self) -> Option<&str> {
        let first = |name: &str| self.input.get(name)?.as_array()?.first()?.as_str();
        let held = || Some(self.input.get("positions")?.as_object()?.keys().next()?.as_str());
        self.input.get("symbol").and_then(Value::as_str).or_else(|| first("symbols")).or_else(held)
    }

    /// Before it is run again by another daemon.
    pub(crate) fn forget_unended(&mut self) {
        if !self.has_ended() {
            self.view.status = StepState::Pending;
            (self.view.sandbox_id, self.view.execution_id) = (None, None);
        }
    }
}

/// The vote of each agent: of the step in which it was asked last, but not of a hub's gathering.
pub(crate) fn ballots(asked: &Asked, plan: &[Step], steps: &[StepRecord]) -> Vec<Ballot> {
    let of = |agent: usize| {
        let last = plan.iter().rposition(|step| step.agent == agent && step.kind != Kind::Gather);
        let record = &steps[last.unwrap_or(agent)];
        Ballot {
            agent: record.view.agent.clone(),
            presence: match record.view.status {
                StepState::Completed => Presence::Answered,
                StepState::Failed => Presence::Absent,
                _ => Presence::Skipped,
            },
            vote: record.view.vote,
            weight: record.view.weight.unwrap_or(0.0),
        }
    };
    (0..asked.agents.len()).map(of).collect()
}

/// What the swarm decides.
pub(crate) fn aggregate(asked: &Asked, plan: &[Step], steps: &[StepRecord]) -> Aggregate {
    let ballots = ballots(asked, plan, steps);
    // Where the caller's own programs heard each other, one of them has the last word.
    let last = match asked.topology {
        Topology::Mesh => None,
        Topology::Star => Some(plan.iter().rposition(|step| step.kind == Kind::Gather).unwrap_or(0)),
        Topology::Ring => Some(asked.agents.len() - 1),
        Topology::Hierarchical => Some(0),
    };
    let last = last.filter(|_| asked.is_custom()).map(|step| (steps[step].view.agent.as_str(), steps[step].view.vote));
    let mut aggregate = decide::decide(asked.topology, asked.request.consensus.unwrap_or_default(), &ballots, last);
    for symbol in steps.iter().filter_map(StepRecord::about) {
        if aggregate.about.iter().all(|other| other != symbol) {
            aggregate.about.push(symbol.to_owned());
        }
    }
    let curves: Vec<Curve> = steps.iter().filter_map(|step| step.curve.clone()).collect();
    aggregate.combined = combined(&curves);
    aggregate
}
