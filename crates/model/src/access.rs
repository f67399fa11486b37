//! Whose things are whose. Everything that ringfence keeps for somebody (sandboxes, exported templates, secrets, orders, jobs,
//! what they cost) belongs to one project, and what belongs to one project does not exist for another. And who may do what: three
//! roles, and one table of operations.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::Actor,
    error::{ApiError, Code},
};

/// Characters of a project's name.
pub const PROJECT_CHARS_MAX: usize = 40;

/// What the secret of a token begins with, so that one that lies about is recognised.
pub const TOKEN_PREFIX: &str = "rf_";

/// Whether a text has the form of a token's secret: [`TOKEN_PREFIX`] and 32 bytes in hexadecimal digits. Most that have it were never one.
#[must_use]
pub fn is_like_a_token(offered: &[u8]) -> bool {
    let digits = offered.strip_prefix(TOKEN_PREFIX.as_bytes());
    digits.is_some_and(|digits| digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// The name of a tenant: 1 to 40 of `a-z`, `0-9` and `-`, beginning with a letter. Who names none means [`Project::default`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
#[schemars(with = "String")]
pub struct Project(Arc<str>);

impl Project {
    /// Reads a name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with what a name looks like.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let fits = text.len() <= PROJECT_CHARS_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            return Ok(Self(text.into()));
        }
        let shown: String = text.chars().take(80).collect();
        let text = format!(
            "`{}` is no name of a project: 1 to {PROJECT_CHARS_MAX} of a-z, 0-9 and -, beginning with a letter",
            shown.escape_debug()
        );
        Err(ApiError::new(Code::InvalidArgument, text))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How a template is called that was exported from one of its sandboxes: the project and `/` stand before the name that was asked for,
    /// which may have them already. Those of the first project are called as they were asked for.
    #[must_use]
    pub fn template_named(&self, name: &str) -> String {
        match self.has_template(name) {
            true => name.to_owned(),
            false => format!("{self}/{name}"),
        }
    }

    /// Whether a template of this name, if it was exported, is of this project.
    #[must_use]
    pub fn has_template(&self, name: &str) -> bool {
        match name.split_once('/') {
            Some((project, _)) => project == self.as_str() && *self != Self::default(),
            None => *self == Self::default(),
        }
    }
}

impl Default for Project {
    /// The project of whoever names none, and of everything that was there before there were projects.
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Project {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|error| error.message)
    }
}

impl From<Project> for String {
    fn from(project: Project) -> Self {
        project.0.as_ref().to_owned()
    }
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Role {
    /// Everything.
    Operator,
    /// Works with sandboxes: makes them, runs code in them, ends them. It widens no policy, limit or budget.
    Agent,
    /// Looks, and changes nothing.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Agent, Self::Auditor];

    /// The role as it is sent and stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Agent => "agent",
            Self::Auditor => "auditor",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// On whose behalf the engine acts. An auditor has no word of its own there: what it asks for was checked to change nothing.
    #[must_use]
    pub fn actor(self) -> Actor {
        match self {
            Self::Operator => Actor::Operator,
            Self::Agent | Self::Auditor => Actor::Agent,
        }
    }

    /// Whether it may do what needs this.
    #[must_use]
    pub fn may(self, needs: Needs) -> bool {
        match needs {
            Needs::Read => true,
            Needs::Work => self != Self::Auditor,
            Needs::Operate => self == Self::Operator,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What it may do.
    pub role: Role,
    /// Whose things there are for it; all projects' without one, which only an operator is.
    pub project: Option<Project>,
    /// Id of the token that it came with; none for the operator on the machine and for the installation's own token.
    pub token: Option<String>,
}

impl Caller {
    /// The operator on the machine.
    #[must_use]
    pub fn operator() -> Self {
        Self { role: Role::Operator, project: None, token: None }
    }

    /// An agent of a project.
    #[must_use]
    pub fn agent(project: Project) -> Self {
        Self { role: Role::Agent, project: Some(project), token: None }
    }

    /// The same caller as somebody who speaks MCP: an operator is an agent there, because who decides is a model.
    #[must_use]
    pub fn over_mcp(self) -> Self {
        let role = if self.role == Role::Operator { Role::Agent } else { self.role };
        Self { role, project: Some(self.project.unwrap_or_default()), ..self }
    }

    /// Whose becomes what it makes.
    #[must_use]
    pub fn makes_for(&self) -> Project {
        self.project.clone().unwrap_or_default()
    }

    /// Whether it may do this.
    ///
    /// # Errors
    /// PERMISSION_DENIED, with who may.
    pub fn check(&self, operation: Operation) -> Result<(), ApiError> {
        if self.role.may(operation.needs()) {
            return Ok(());
        }
        let who = match operation.needs() {
            Needs::Operate => "operators: use the `ringfence` command on the daemon's machine",
            Needs::Work | Needs::Read => "agents and operators: ask the operator for a token with the role `agent`",
        };
        let text = format!("`{}` is not for the role `{}`; it is for {who}", operation.name(), self.role.as_str());
        Err(ApiError::new(Code::PermissionDenied, text))
    }
}

/// What a role must be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Looking: every role may.
    Read,
    /// Working with one's own sandboxes: agents and operators.
    Work,
    /// What widens, costs the host or concerns everybody: operators.
    Operate,
}

macro_rules! operations {
    ($($variant:ident $name:literal $needs:ident,)*) => {
        /// Everything that can be asked for, over any face.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is the method of that name")]
        pub enum Operation { $($variant,)* }

        impl Operation {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name: the MCP tool's where there is one.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a role must be allowed for it.
            #[must_use]
            pub fn needs(self) -> Needs {
                match self { $(Self::$variant => Needs::$needs,)* }
            }
        }
    };
}

operations! {
    Create "sandbox_create" Work,
    Configure "sandbox_configure" Work,
    Execute "sandbox_execute" Work,
    Execution "execution_status" Read,
    Status "sandbox_status" Read,
    List "sandbox_list" Read,
    Stop "sandbox_stop" Work,
    Pause "sandbox_pause" Work,
    Resume "sandbox_resume" Work,
    Delete "sandbox_delete" Work,
    Upload "sandbox_upload" Work,
    Download "sandbox_download" Work,
    Preview "preview" Work,
    Logs "sandbox_logs" Read,
    Templates "template_list" Read,
    Template "template_get" Read,
    Build "template_build" Operate,
    TemplateImage "template_image" Operate,
    Prune "prune" Operate,
    ExportTemplate "export_template" Work,
    TemplateDelete "template_delete" Work,
    TemplateArchive "template_archive" Operate,
    TemplateImport "template_import" Operate,
    CloneSandbox "sandbox_clone" Work,
    AuditLog "audit_log" Read,
    AuditVerify "audit_verify" Read,
    AuditPrune "audit_prune" Operate,
    Egress "egress_list" Read,
    SecretSet "secret_set" Operate,
    SecretList "secret_list" Operate,
    SecretRemove "secret_remove" Operate,
    Health "system_health" Read,
    CheckBalance "check_balance" Read,
    Usage "usage" Read,
    CreditGrant "credit_grant" Operate,
    CreditBudget "credit_budget" Operate,
    TradeStatus "trading_status" Read,
    TradeModeSet "trade_mode_set" Operate,
    TradeLimits "trade_limits" Read,
    TradeLimitsSet "trade_limits_set" Operate,
    TradeTighten "trading_limits" Work,
    TradeHalt "trading_halt" Work,
    TradeReduce "trade_reduce" Operate,
    TradeResume "trade_resume" Operate,
    TradeOrders "orders_list" Read,
    TradePositions "positions_list" Read,
    TradeHolds "trade_holds" Read,
    TradeHoldAnswer "trade_hold_answer" Operate,
    Sweep "backtest_sweep" Work,
    SweepStatus "backtest_status" Read,
    SweepList "sweep_list" Read,
    SweepCancel "sweep_cancel" Work,
    SweepTable "sweep_table" Read,
    SweepReport "sweep_report" Read,
    SweepDelete "sweep_delete" Operate,
    JobPrune "job_prune" Operate,
    Pipeline "pipeline_run" Work,
    PipelineStatus "pipeline_status" Read,
    PipelineList "pipeline_list" Read,
    PipelineResume "pipeline_resume" Work,
    PipelineCancel "pipeline_cancel" Work,
    PipelineOutput "pipeline_output" Work,
    SwarmInit "swarm_init" Work,
    AgentSpawn "agent_spawn" Work,
    SwarmStatus "swarm_status" Read,
    SwarmList "swarm_list" Read,
    SwarmScale "swarm_scale" Work,
    SwarmDestroy "swarm_destroy" Work,
    TaskOrchestrate "task_orchestrate" Work,
    TaskStatus "task_status" Read,
    TaskCancel "task_cancel" Work,
    TokenCreate "token_create" Operate,
    TokenList "token_list" Operate,
    TokenRevoke "token_revoke" Operate,
    ProjectList "project_list" Operate,
    StopDaemon "stop_daemon" Operate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_named_plainly() {
        for name in ["default", "a", "fund-2", &"x".repeat(PROJECT_CHARS_MAX)] {
            assert_eq!(Project::parse(name).expect(name).as_str(), name);
        }
        for name in ["", "2nd", "-a", "A", "a b", "a/b", "a_b", "ä", &"x".repeat(PROJECT_CHARS_MAX + 1)] {
            assert!(Project::parse(name).is_err(), "{name}");
        }
        assert!(serde_json::from_str::<Project>("\"../x\"").is_err());
        assert_eq!(Project::parse("default").expect("a name"), Project::default());
    }

    #[test]
    fn roles_contain_each_other() {
        for operation in Operation::ALL {
            let may = Role::ALL.map(|role| role.may(operation.needs()));
            // Operator, agent, auditor: whoever comes later may nothing that an earlier one may not.
            assert!(may[0] && may[0] >= may[1] && may[1] >= may[2], "{}", operation.name());
        }
        assert!(!Role::Agent.may(Operation::TradeResume.needs()) && !Role::Auditor.may(Operation::Execute.needs()));
    }

    #[test]
    fn an_operator_over_mcp_is_an_agent_of_a_project() {
        assert_eq!(Caller::operator().over_mcp(), Caller::agent(Project::default()));
        let fund = Project::parse("fund").expect("a name");
        let auditor = Caller { role: Role::Auditor, project: Some(fund), token: Some("t".into()) };
        assert_eq!(auditor.clone().over_mcp(), auditor);
    }
}
