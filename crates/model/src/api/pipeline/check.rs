//! Bounds of pipelines, and that their stages can be put in an order.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    HANDED_MAX, HANDED_PATH_MAX, PipelineInput, PipelineOutputRequest, PipelineRequest, PipelineResumeRequest,
    PipelineStage, PipelineStatusRequest, RETRIES_MAX, STAGE_NAME_MAX, STAGES_MAX, StageKind,
};
use crate::{
    ApiError,
    api::{
        Actor, CreateRequest, ExecuteRequest, LIFETIME_S_MAX, NAME_CHARS_MAX, Network, NetworkRule, NetworkRules,
        WAIT_S_MAX,
        check::{Checked, invalid, too_large},
    },
};

/// Bytes of the programs of all stages together.
const CODE_BYTES_MAX: usize = 1 << 20;
/// Seconds that a sandbox outlives its program's deadline: packages are installed before it, files taken out after it.
const LIFETIME_MARGIN_S: f64 = 1800.0;
/// Where programs start.
const HOME: &str = "/home/user";
/// Where a `trade` stage that says nothing of the network may go: Alpaca's names for orders and data, wherever they lead.
const TRADING_HOSTS: [&str; 3] = ["paper-api.alpaca.markets", "data.alpaca.markets", "stream.data.alpaca.markets"];

impl PipelineRequest {
    /// Checks everything but templates and languages.
    ///
    /// # Errors
    /// INVALID_ARGUMENT or TOO_LARGE for what is out of bounds, with the stage that it is about; PERMISSION_DENIED for a network that
    /// `actor` may not ask for.
    pub fn check(&self, actor: Actor) -> Checked {
        if let Some(name) = &self.name {
            let chars = name.chars().count();
            if name.trim().is_empty() || chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
                return Err(invalid(format!(
                    "`name` must have 1 to {NAME_CHARS_MAX} characters, none of them a control one"
                )));
            }
        }
        check_wait(self.wait)?;
        if self.stages.is_empty() || self.stages.len() > STAGES_MAX {
            let count = self.stages.len();
            return Err(invalid(format!("`stages` has {count} stages; a pipeline has 1 to {STAGES_MAX}")));
        }
        let mut stages: BTreeMap<&str, &PipelineStage> = BTreeMap::new();
        for stage in &self.stages {
            check_stage_name(&stage.name)?;
            if stages.insert(&stage.name, stage).is_some() {
                return Err(invalid(format!("two stages have the name `{}`", stage.name)));
            }
        }
        let code: usize = self.stages.iter().map(|stage| stage.code.len()).sum();
        if code > CODE_BYTES_MAX {
            return Err(too_large("the code of all stages", code, CODE_BYTES_MAX));
        }
        for stage in &self.stages {
            stage
                .check(actor, &stages)
                .map_err(|error| ApiError { message: format!("stage `{}`: {}", stage.name, error.message), ..error })?;
        }
        self.check_order()
    }

    /// Seconds that the call waits, at most [`WAIT_S_MAX`].
    #[must_use]
    pub fn wait_s(&self) -> f64 {
        self.wait.unwrap_or(WAIT_S_MAX).clamp(0.0, WAIT_S_MAX)
    }

    /// That no stage waits for itself.
    fn check_order(&self) -> Checked {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        loop {
            let before = done.len();
            let ready = |stage: &&PipelineStage| stage.waits_for().all(|name| done.contains(name));
            let more: Vec<&str> = self.stages.iter().filter(ready).map(|stage| stage.name.as_str()).collect();
            done.extend(more);
            if done.len() == self.stages.len() {
                return Ok(());
            }
            if done.len() == before {
                let left: Vec<&str> =
                    self.stages.iter().map(|s| s.name.as_str()).filter(|name| !done.contains(name)).collect();
                return Err(invalid(format!(
                    "no order fits: of the stages {}, each waits for another one; look at `inputs` and `needs`",
                    left.join(", ")
                )));
            }
        }
    }
}

impl PipelineStage {
    /// The stages that must have ended well before it, some of them perhaps more than once.
    pub fn waits_for(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|input| input.from.as_str()).chain(self.needs.iter().map(String::as_str))
    }

    /// Seconds after which its program is ended.
    #[must_use]
    pub fn timeout_s(&self) -> f64 {
        self.timeout.unwrap_or(crate::api::EXECUTION_S_DEFAULT)
    }

    /// The sandbox that it runs in, under that name. The values of its environment are not a part of it.
    #[must_use]
    pub fn sandbox(&self, name: String) -> CreateRequest {
        let network = self.network.clone().or_else(|| {
            (self.kind == StageKind::Trade).then(|| {
                let rule = |host: &&str| NetworkRule {
                    host: (*host).to_owned(),
                    ports: Vec::new(),
                    methods: Vec::new(),
                    paths: Vec::new(),
                };
                Network::Rules(NetworkRules { allow: TRADING_HOSTS.iter().map(rule).collect() })
            })
        });
        let lifetime = (self.timeout_s() + LIFETIME_MARGIN_S).ceil().clamp(1.0, LIFETIME_S_MAX as f64);
        CreateRequest {
            template: self.template.clone(),
            name: Some(name),
            timeout: Some(lifetime as u64),
            secrets: self.secrets.clone(),
            expose: self.expose,
            install_packages: self.install_packages.clone(),
            network,
            limits: self.limits,
            trading: self.trading.clone(),
            ..CreateRequest::default()
        }
    }

    /// Its program, to be run in that sandbox.
    #[must_use]
    pub fn program(&self, sandbox_id: String) -> ExecuteRequest {
        ExecuteRequest {
            sandbox_id,
            code: self.code.clone(),
            language: self.language.clone(),
            timeout: Some(self.timeout_s()),
            background: true,
            ..ExecuteRequest::default()
        }
    }

    fn check(&self, actor: Actor, stages: &BTreeMap<&str, &PipelineStage>) -> Checked {
        let sandbox = CreateRequest { env_vars: self.env_vars.clone(), ..self.sandbox("stage".to_owned()) };
        sandbox.check()?;
        if let Some(network) = &sandbox.network {
            network.check_actor(actor)?;
        }
        self.program(String::new()).check()?;
        match (self.kind, self.mode.as_deref()) {
            (StageKind::Code, None) | (StageKind::Trade, Some("simulated" | "paper" | "live")) => {}
            (StageKind::Code, Some(_)) => {
                return Err(invalid("`mode` is for a stage with `kind` `trade`; set `kind`, or leave it out"));
            }
            (StageKind::Trade, mode) => {
                let wrong = mode.map_or("is missing", |_| "is another word");
                return Err(invalid(format!(
                    "`mode` {wrong}: a stage that trades says whether its orders are to be `simulated`, `paper` or `live`"
                )));
            }
        }
        if self.trading.is_some() && self.mode.as_deref() != Some("simulated") {
            return Err(invalid("`trading` chooses a simulated account: it is for a stage with `mode` `simulated`"));
        }
        match self.retries {
            Some(retries) if retries > RETRIES_MAX => {
                return Err(invalid(format!("`retries` is {retries}; it must be at most {RETRIES_MAX}")));
            }
            Some(retries) if retries > 0 && self.kind == StageKind::Trade => {
                return Err(invalid(
                    "`retries` is not for a stage that trades, because a second run would send its orders again; leave it out",
                ));
            }
            _ => {}
        }
        if self.inputs.len() > HANDED_MAX || self.outputs.len() > HANDED_MAX {
            return Err(invalid(format!("`inputs` and `outputs` have at most {HANDED_MAX} files each")));
        }
        if self.needs.len() > STAGES_MAX {
            return Err(invalid(format!("`needs` has more than {STAGES_MAX} stages")));
        }
        if let Some(unknown) = self.needs.iter().find(|name| !stages.contains_key(name.as_str())) {
            return Err(no_such_stage("needs", unknown));
        }
        let mut outputs = BTreeSet::new();
        for path in &self.outputs {
            if !outputs.insert(handed_path("outputs", path)?) {
                return Err(invalid(format!("`outputs` has `{path}` twice")));
            }
        }
        let mut places = BTreeSet::new();
        for input in &self.inputs {
            let from = stages.get(input.from.as_str()).ok_or_else(|| no_such_stage("inputs", &input.from))?;
            if !from.outputs.contains(&input.path) {
                let shown: String = input.path.chars().take(80).collect();
                return Err(invalid(format!(
                    "`inputs` has `{}`, which is not in the `outputs` of stage `{}`; its outputs are {}",
                    shown.escape_debug(),
                    input.from,
                    if from.outputs.is_empty() { "none".to_owned() } else { from.outputs.join(", ") }
                )));
            }
            if !places.insert(handed_path("inputs", input.to())?) {
                return Err(invalid(format!(
                    "two `inputs` are put at `{}`; give one of them another `to`",
                    input.to()
                )));
            }
        }
        Ok(())
    }
}

impl PipelineInput {
    /// Where it is put.
    #[must_use]
    pub fn to(&self) -> &str {
        self.to.as_deref().unwrap_or(&self.path)
    }
}

impl PipelineStatusRequest {
    /// Checks the wait.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        check_wait(self.wait)
    }

    /// Seconds that the call waits, at most [`WAIT_S_MAX`].
    #[must_use]
    pub fn wait_s(&self) -> f64 {
        self.wait.unwrap_or(0.0).clamp(0.0, WAIT_S_MAX)
    }
}

impl PipelineResumeRequest {
    /// Checks the wait.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        check_wait(self.wait)
    }

    /// Seconds that the call waits, at most [`WAIT_S_MAX`].
    #[must_use]
    pub fn wait_s(&self) -> f64 {
        self.wait.unwrap_or(WAIT_S_MAX).clamp(0.0, WAIT_S_MAX)
    }
}

impl PipelineOutputRequest {
    /// Checks that it names something.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        check_stage_name(&self.stage)?;
        handed_path("path", &self.path).map(drop)
    }
}

fn check_wait(wait: Option<f64>) -> Checked {
    match wait {
        Some(wait) if !(wait >= 0.0 && wait.is_finite()) => Err(invalid("`wait` must be 0 or more seconds")),
        _ => Ok(()),
    }
}

fn check_stage_name(name: &str) -> Checked {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > STAGE_NAME_MAX || !name.chars().all(is_plain) {
        let shown: String = name.chars().take(80).collect();
        return Err(invalid(format!(
            "`{}` is not the name of a stage: use 1 to {STAGE_NAME_MAX} of a-z, A-Z, 0-9, `_` and `-`",
            shown.escape_debug()
        )));
    }
    Ok(())
}

fn no_such_stage(argument: &str, name: &str) -> ApiError {
    let shown: String = name.chars().take(80).collect();
    invalid(format!("`{argument}` names the stage `{}`, which there is not", shown.escape_debug()))
}

/// The absolute path of a file that is handed on. It names one file in one spelling, so that two of them are never the same file.
fn handed_path(argument: &str, path: &str) -> Result<String, ApiError> {
    let shown: String = path.chars().take(80).collect();
    let refuse = |why: &str| Err(invalid(format!("`{argument}` has `{}`, which {why}", shown.escape_debug())));
    if path.is_empty() || path.len() > HANDED_PATH_MAX {
        return refuse(&format!("has not 1 to {HANDED_PATH_MAX} bytes"));
    }
    if path.chars().any(char::is_control) {
        return refuse("contains a control character");
    }
    let inner = path.strip_prefix('/').unwrap_or(path);
    if inner.split('/').any(|part| matches!(part, "" | "." | ".." | "~")) {
        return refuse("is not plain: write it without `.`, `..`, `~`, a doubled slash or one at the end");
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("{HOME}/{path}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str) -> PipelineStage {
        PipelineStage { name: name.into(), template: "python".into(), code: "pass".into(), ..PipelineStage::default() }
    }

    fn input(from: &str, path: &str) -> PipelineInput {
        PipelineInput { from: from.into(), path: path.into(), to: None }
    }

    fn chain() -> Vec<PipelineStage> {
        let first = PipelineStage { outputs: vec!["a.json".into()], ..stage("first") };
        let second = PipelineStage { inputs: vec![input("first", "a.json")], ..stage("second") };
        vec![first, second]
    }

    #[track_caller]
    fn check(stages: Vec<PipelineStage>, words: &[&str]) {
        let request = PipelineRequest { stages, ..PipelineRequest::default() };
        match request.check(Actor::Agent) {
            Ok(()) => assert!(words.is_empty(), "accepted; expected {words:?}"),
            Err(error) => {
                assert!(!words.is_empty(), "{error}");
                words.iter().for_each(|word| assert!(error.message.contains(word), "{error}: {word}"));
            }
        }
    }

    #[test]
    fn stages_that_fit_are_accepted() {
        check(chain(), &[]);
        check(vec![stage("a"), PipelineStage { needs: vec!["a".into()], ..stage("b") }], &[]);
        let trade = PipelineStage { kind: StageKind::Trade, mode: Some("simulated".into()), ..stage("t") };
        let sandbox = trade.sandbox("x".into());
        assert!(sandbox.network.expect("one").to_string().contains("paper-api.alpaca.markets"));
        check(vec![trade], &[]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        check(vec![], &["0 stages"]);
        check(vec![stage("a"); 33], &["33 stages"]);
        check(vec![stage("a"), stage("a")], &["two stages", "`a`"]);
        check(vec![stage("a b")], &["not the name of a stage"]);
        check(vec![PipelineStage { needs: vec!["x".into()], ..stage("a") }], &["stage `a`", "`needs`", "`x`"]);
        let around = PipelineStage { needs: vec!["second".into()], ..chain().remove(0) };
        check(vec![around, chain().remove(1)], &["no order fits", "first, second"]);
        check(vec![PipelineStage { needs: vec!["a".into()], ..stage("a") }], &["no order fits"]);
        let other = PipelineStage { inputs: vec![input("first", "b.json")], ..stage("second") };
        check(vec![chain().remove(0), other], &["`b.json`", "its outputs are a.json"]);
        let twice = PipelineStage { outputs: vec!["a".into(), "/home/user/a".into()], ..stage("a") };
        check(vec![twice], &["twice"]);
        let inputs = vec![input("first", "a.json"), input("first", "a.json")];
        check(vec![chain().remove(0), PipelineStage { inputs, ..stage("b") }], &["two `inputs`"]);
        check(vec![PipelineStage { mode: Some("live".into()), ..stage("a") }], &["`kind` `trade`"]);
        let trade = PipelineStage { kind: StageKind::Trade, ..stage("t") };
        check(vec![trade.clone()], &["`mode` is missing"]);
        check(vec![PipelineStage { mode: Some("real".into()), ..trade.clone() }], &["`mode` is another word"]);
        let again = PipelineStage { mode: Some("paper".into()), retries: Some(1), ..trade };
        check(vec![again], &["`retries`", "send its orders again"]);
        check(vec![PipelineStage { retries: Some(11), ..stage("a") }], &["`retries` is 11"]);
        let choice = Some(crate::api::TradingChoice::default());
        check(vec![PipelineStage { trading: choice, ..stage("a") }], &["`trading` chooses a simulated account"]);
        check(vec![PipelineStage { timeout: Some(0.0), ..stage("a") }], &["stage `a`", "`timeout`"]);
        let open = Some(Network::Named(crate::api::NamedNetwork::Open));
        check(vec![PipelineStage { network: open, ..stage("a") }], &["stage `a`", "for operators"]);
        let code = "#".repeat(1 << 18);
        check(
            (0..5).map(|n| PipelineStage { code: code.clone(), ..stage(&format!("s{n}")) }).collect(),
            &["code of all"],
        );
    }

    #[test]
    fn a_path_names_one_file_in_one_spelling() {
        for path in ["../a", "a/../b", "a/./b", "./a", "a//b", "a/", "/", "", "~/a", "a\0b", "a\nb", &"x".repeat(257)] {
            check(vec![PipelineStage { outputs: vec![path.into()], ..stage("a") }], &["`outputs`"]);
            let mut stages = chain();
            stages[1].inputs[0].to = Some(path.into());
            check(stages, &["`inputs`"]);
        }
        for path in ["a", "a/b.json", "/tmp/x", "ä ö", "..a", "a..b", "-rf"] {
            check(vec![PipelineStage { outputs: vec![path.into()], ..stage("a") }], &[]);
        }
    }
}
