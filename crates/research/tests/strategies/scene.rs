//! What every test is given, and short words for it.

use ringfence_backtest::{Panel, Targets};
use ringfence_engine::api::Trials;
use ringfence_market::Symbol;
use ringfence_model::api::Actor;
use ringfence_research::strategy::{Failure, Mode, Options, Outcome, Parameters, Proposal, Strategy, propose};
use serde_json::Value;

pub(crate) struct Scene<'a> {
    pub(crate) trials: &'a dyn Trials,
}

/// Bars of the sample.
pub(crate) fn panel(symbols: &[&str]) -> Panel {
    let symbols: Vec<Symbol> = symbols.iter().map(|s| Symbol::parse(s).expect("a symbol")).collect();
    Panel::sample(&symbols).expect("the sample has it")
}

/// The first bars of Apple.
pub(crate) fn apple(rows: usize) -> Panel {
    panel(&["AAPL"]).truncated(rows)
}

/// `{"fast": 10}`.
pub(crate) fn set(json: Value) -> Parameters {
    serde_json::from_value(json).expect("parameters")
}

pub(crate) fn code(text: &str) -> Strategy {
    Strategy::code("test", text).expect("code")
}

pub(crate) fn built_in(name: &str) -> Strategy {
    Strategy::built_in(name).expect("it is built in")
}

impl Scene<'_> {
    pub(crate) async fn sets(
        &self,
        strategy: &Strategy,
        panel: &Panel,
        sets: &[Parameters],
        options: &Options,
    ) -> Vec<Outcome> {
        let outcomes = propose(self.trials, Actor::Agent, "a test", strategy, panel, sets, options).await;
        let outcomes = outcomes.unwrap_or_else(|error| panic!("{}: {error}", strategy.source()));
        assert_eq!(outcomes.len(), sets.len());
        outcomes
    }

    pub(crate) async fn one(&self, strategy: &Strategy, panel: &Panel) -> Outcome {
        self.sets(strategy, panel, &[Parameters::default()], &Options::default()).await.remove(0)
    }

    pub(crate) async fn stepwise(&self, strategy: &Strategy, panel: &Panel, set: &Parameters) -> Outcome {
        let options = Options { mode: Mode::PointInTime, ..Options::default() };
        self.sets(strategy, panel, std::slice::from_ref(set), &options).await.remove(0)
    }

    pub(crate) async fn targets(&self, strategy: &Strategy, panel: &Panel) -> Targets {
        targets(self.one(strategy, panel).await)
    }

    pub(crate) async fn failure(&self, text: &str, panel: &Panel) -> Failure {
        failure(self.one(&code(text), panel).await, text)
    }
}

#[track_caller]
pub(crate) fn targets(outcome: Outcome) -> Targets {
    match outcome.proposal {
        Proposal::Targets(targets) => targets,
        other => panic!("no targets: {other:?}; {:?}", outcome.log),
    }
}

#[track_caller]
pub(crate) fn failure(outcome: Outcome, text: &str) -> Failure {
    match outcome.proposal {
        Proposal::Failed(failure) => failure,
        other => panic!("it should fail: {text}: {other:?}"),
    }
}

/// Bit for bit.
pub(crate) fn bits(targets: &Targets) -> Vec<u64> {
    targets.weights().iter().map(|w| w.to_bits()).collect()
}
