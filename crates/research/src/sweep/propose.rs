//! What a strategy wants: asked of its program in a sandbox, or of native code.

use ringfence_backtest::{
    Curve, Panel, Trade,
    kernel::{Declared, Kernel},
};
use ringfence_engine::api::Trials;
use ringfence_model::{
    ApiError, Code, Project,
    api::{Actor, SweepNative, SweepParameters, SweepRequest},
};

use super::{
    plan::Known,
    row::{Finding, Verdict},
    walk::Wanted,
};
use crate::strategy::{
    self, Mode, Options, Outcome, Parameters, Strategy,
    peek::{self, Depth},
};

/// The template that strategies run in.
pub(crate) const TEMPLATE: &str = "python";
/// What a strategy of the caller's own is called.
const OWN: &str = "code";

/// A strategy of a sweep.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// What the plan depends on.
    pub(crate) known: Known,
    /// Hash of its code.
    pub(crate) sha256: String,
    pub(crate) strategy: Strategy,
}

impl Source {
    fn of(strategy: Strategy) -> Self {
        let about = strategy.about();
        Self {
            known: Known {
                name: strategy.name().to_owned(),
                symbols: about.map(|about| about.symbols),
                parameters: about.map(|about| about.parameters.keys().cloned().collect()),
            },
            sha256: strategy.sha256().to_owned(),
            strategy,
        }
    }

    /// Whether it runs as native code under this request.
    pub(crate) fn is_native(&self, request: &SweepRequest) -> bool {
        request.native.unwrap_or_default() != SweepNative::Never && self.has_native()
    }

    fn has_native(&self) -> bool {
        self.strategy.about().is_some_and(|about| Declared::has(about.name))
    }

    /// What native code wants, for each parameter set.
    fn native(&self, panel: &Panel, sets: &[Parameters]) -> Result<Vec<Proposal>, ApiError> {
        let mut kernel = match Kernel::new(panel) {
            Ok(kernel) => kernel,
            Err(error) => return Err(ApiError::new(Code::InvalidArgument, error.to_string())),
        };
        let one = |set: &Parameters| {
            let complete = self.strategy.complete(set, panel.columns().len())?;
            let values = complete.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
            let outcome = match Declared::new(self.strategy.name(), &values) {
                Ok(declared) => Proposed::Wanted(Wanted::Targets(kernel.targets(&declared))),
                Err(error) => Proposed::Failed(format!("ValueError: {error}")),
            };
            Ok(Proposal { outcome, log: Vec::new() })
        };
        sets.iter().map(one).collect()
    }

    /// Refuses values that a built-in strategy would: before anything is run, and by name.
    fn check(&self, request: &SweepRequest) -> Result<(), ApiError> {
        let Some(about) = self.strategy.about() else { return Ok(()) };
        let one = |set: SweepParameters| {
            let own = set.into_iter().filter(|(name, _)| about.parameters.contains_key(name));
            self.strategy.complete(&Parameters::new(own)?, about.symbols).map(drop)
        };
        for (name, values) in &request.parameters {
            values.iter().try_for_each(|value| one([(name.clone(), value.clone())].into()))?;
        }
        request.combinations.iter().cloned().try_for_each(one)
    }
}

/// The strategies of a request.
///
/// # Errors
/// INVALID_ARGUMENT: a name that is no built-in strategy's, a value that none of its parameters may have.
pub(crate) fn sources(request: &SweepRequest) -> Result<Vec<Source>, ApiError> {
    let strategies = match &request.code {
        Some(code) => vec![Strategy::code(OWN, code)?],
        None => {
            let names = request.strategy.iter().chain(&request.strategies);
            names.map(|name| Strategy::built_in(name)).collect::<Result<Vec<_>, _>>()?
        }
    };
    let sources: Vec<Source> = strategies.into_iter().map(Source::of).collect();
    for (at, source) in sources.iter().enumerate() {
        if sources[..at].iter().any(|other| other.known.name == source.known.name) {
            let message = format!("the strategy {} is named twice", source.known.name);
            return Err(ApiError::new(Code::InvalidArgument, message));
        }
        if request.native == Some(SweepNative::Always) && !source.has_native() {
            let message =
                format!("there is no native code of {}: leave `native` out, or set it to `auto`", source.known.name);
            return Err(ApiError::new(Code::InvalidArgument, message));
        }
        source.check(request)?;
    }
    Ok(sources)
}

/// What a strategy has answered.
#[derive(Debug)]
pub(crate) enum Proposed {
    /// It wants positions.
    Wanted(Wanted),
    /// It reports equity of its own.
    Reported { curve: Curve, trades: Vec<Trade> },
    /// It failed: why.
    Failed(String),
}

/// What a strategy has answered for one parameter set.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) outcome: Proposed,
    /// What it logged or printed.
    pub(crate) log: Vec<String>,
}

/// On whose behalf, where, and how strategies are run.
pub(crate) struct Asker<'a> {
    pub(crate) trials: &'a dyn Trials,
    pub(crate) actor: Actor,
    /// Whose the sandboxes are.
    pub(crate) project: &'a Project,
    pub(crate) request: &'a SweepRequest,
}

impl Asker<'_> {
    fn options(&self) -> Options {
        Options {
            template: TEMPLATE.to_owned(),
            project: self.project.clone(),
            timeout: self.request.run_s(),
            mode: if self.request.point_in_time { Mode::PointInTime } else { Mode::Whole },
            ..Options::default()
        }
    }

    /// Asks a strategy what it wants, for parameter sets that share a sandbox.
    ///
    /// # Errors
    /// No sandbox could be had, or what is asked cannot be sent.
    pub(crate) async fn propose(
        &self,
        purpose: &str,
        source: &Source,
        panel: &Panel,
        sets: &[SweepParameters],
    ) -> Result<Vec<Proposal>, ApiError> {
        let sets: Vec<Parameters> = sets.iter().map(|set| Parameters::new(set.clone())).collect::<Result<_, _>>()?;
        if source.is_native(self.request) {
            return source.native(panel, &sets);
        }
        let said = strategy::propose(self.trials, self.actor, purpose, &source.strategy, panel, &sets, &self.options())
            .await?;
        Ok(said.into_iter().map(proposal).collect())
    }

    /// Tries whether a strategy looks ahead with one parameter set.
    pub(crate) async fn peek(
        &self,
        purpose: &str,
        source: &Source,
        panel: &Panel,
        set: &SweepParameters,
        proposed: &Proposed,
    ) -> Finding {
        match proposed {
            Proposed::Wanted(_) => {}
            Proposed::Reported { .. } => {
                return not_checked("the program reports its own figures, which cannot be checked");
            }
            Proposed::Failed(_) => return not_checked("it failed"),
        }
        let found = async {
            let (parameters, options) = (Parameters::new(set.clone())?, self.options());
            let subject = peek::Subject {
                trials: self.trials,
                actor: self.actor,
                purpose,
                strategy: &source.strategy,
                panel,
                parameters: &parameters,
                options: &options,
            };
            peek::check(subject, Depth::Cuts, self.request.seed.unwrap_or(0)).await
        };
        match found.await {
            Ok(verdict) => finding(&verdict),
            Err(error) => not_checked(&error.message),
        }
    }
}

pub(crate) fn not_checked(why: &str) -> Finding {
    Finding { verdict: Verdict::NotChecked, detail: why.to_owned() }
}

fn finding(found: &peek::Verdict) -> Finding {
    let verdict = match found {
        peek::Verdict::Honest { .. } => Verdict::Honest,
        peek::Verdict::Peeks(_) => Verdict::LooksAhead,
        peek::Verdict::Random(_) => Verdict::NotDeterministic,
        peek::Verdict::NotJudged { .. } => Verdict::NotChecked,
    };
    Finding { verdict, detail: found.to_string() }
}

fn proposal(said: Outcome) -> Proposal {
    let outcome = match said.proposal {
        strategy::Proposal::Targets(targets) => Proposed::Wanted(Wanted::Targets(targets)),
        strategy::Proposal::Orders(orders) => Proposed::Wanted(Wanted::Orders(orders)),
        strategy::Proposal::SelfReported(reported) => match reported.curve {
            Some(curve) => Proposed::Reported { curve, trades: reported.trades },
            None => Proposed::Failed(
                "the program reported trades and no equity: report equity too, or return positions from signals()"
                    .into(),
            ),
        },
        strategy::Proposal::Failed(failure) => Proposed::Failed(failure.to_string()),
    };
    Proposal { outcome, log: said.log }
}
