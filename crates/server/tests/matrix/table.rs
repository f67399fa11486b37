//! What is asked in each cell of the matrix of roles, operations and projects, and what the documentation says of it. The expectation is
//! read from `docs/reference/access.md`, not from the code that is tested.

#![allow(dead_code, reason = "the tests over a fake and over the daemon each use a part")]

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

/// What there is of one project, by the id or name that a request has it by.
#[derive(Debug, Clone)]
pub(crate) struct Things {
    pub(crate) sandbox: String,
    pub(crate) execution: String,
    pub(crate) template: String,
    pub(crate) sweep: String,
    pub(crate) pipeline: String,
    pub(crate) swarm: String,
    pub(crate) task: String,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Sandbox,
    Execution,
    /// One that was exported. Those are the first project's.
    Template,
    Sweep,
    Pipeline,
    Swarm,
    Task,
    /// None of them: the caller's project, or the installation.
    Nothing,
}

impl Of {
    /// Whether another project than this one can have such a thing. What was exported is the first project's alone.
    pub(crate) fn is_anothers(self, project: &str) -> bool {
        self != Self::Nothing && (self != Self::Template || project != "default")
    }

    /// The code with which one that there is not is answered.
    pub(crate) fn not_found(self) -> &'static str {
        match self {
            Self::Sandbox => "SANDBOX_NOT_FOUND",
            Self::Execution => "EXECUTION_NOT_FOUND",
            Self::Template => "TEMPLATE_NOT_FOUND",
            Self::Sweep => "SWEEP_NOT_FOUND",
            Self::Pipeline => "PIPELINE_NOT_FOUND",
            Self::Swarm => "SWARM_NOT_FOUND",
            Self::Task => "TASK_NOT_FOUND",
            Self::Nothing => "nothing is looked for",
        }
    }
}

/// The code of an answer over REST; empty when it was done. What takes long is answered in lines, the last of which may be a refusal.
#[track_caller]
pub(crate) fn code_of(status: u16, body: &str) -> String {
    let is_done = (200..300).contains(&status);
    let last = if is_done { body.lines().last().unwrap_or_default() } else { body };
    match serde_json::from_str::<Value>(last) {
        Ok(said) if is_done && said["error"]["code"].is_null() => String::new(),
        Ok(said) => {
            said["error"]["code"].as_str().unwrap_or_else(|| panic!("{status} without a code: {body}")).to_owned()
        }
        Err(_) if is_done => String::new(),
        Err(error) => panic!("{status} without a code: {error}: {body}"),
    }
}

impl Things {
    /// Ids of the right form that nobody has.
    pub(crate) fn nobodys() -> Self {
        let zeros = "0".repeat(16);
        Self {
            sandbox: format!("i{}", "0".repeat(20)),
            execution: "exec_1757371623056_000000".into(),
            template: "nohouse".into(),
            sweep: format!("sweep_{zeros}"),
            pipeline: format!("pipeline_{zeros}"),
            swarm: format!("swarm_{zeros}"),
            task: format!("task_{zeros}"),
        }
    }

    pub(crate) fn of(&self, of: Of) -> &str {
        match of {
            Of::Sandbox => &self.sandbox,
            Of::Execution => &self.execution,
            Of::Template => &self.template,
            Of::Sweep => &self.sweep,
            Of::Pipeline => &self.pipeline,
            Of::Swarm => &self.swarm,
            Of::Task => &self.task,
            Of::Nothing => "",
        }
    }

    /// A text of ours about these things: what it calls them is replaced by what `others` are called.
    pub(crate) fn as_others(&self, text: &str, others: &Self) -> String {
        let all = [Of::Sandbox, Of::Execution, Of::Template, Of::Sweep, Of::Pipeline, Of::Swarm, Of::Task];
        all.into_iter().fold(text.to_owned(), |text, of| text.replace(self.of(of), others.of(of)))
    }

    /// Puts ids in the places of `{sandbox}`, `{id}` and the like.
    fn filled(&self, text: &str, of: Of) -> String {
        let text = text.replace("{id}", self.of(of)).replace("{sandbox}", &self.sandbox);
        let name = if of == Of::Template { self.template.replace('/', "%2F") } else { "KEY".to_owned() };
        text.replace("{name}", &name).replace("{token}", "tok_0000000000000000").replace("{number}", "7")
    }
}

/// A tool, and what it is called with.
pub(crate) struct Call {
    pub(crate) tool: &'static str,
    pub(crate) of: Of,
    pub(crate) arguments: fn(&Things) -> Value,
}

const fn call(tool: &'static str, of: Of, arguments: fn(&Things) -> Value) -> Call {
    Call { tool, of, arguments }
}

fn one_stage() -> Value {
    json!({"name": "a", "template": "python", "code": "open('a', 'w').write('x')", "outputs": ["a"]})
}

/// Every tool, in an order in which each can be done after those before it.
pub(crate) const CALLS: &[Call] = &[
    call("sandbox_status", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("sandbox_logs", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("sandbox_execute", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox, "code": "print(1)"})),
    call("sandbox_upload", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox, "file_path": "a", "content": "b"})),
    call("sandbox_download", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox, "file_path": "a"})),
    call("sandbox_configure", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox, "env_vars": {"A": "b"}})),
    call("audit_log", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("usage", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("orders_list", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("trading_status", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("trading_limits", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call(
        "trading_limits",
        Of::Sandbox,
        |of| json!({"sandbox_id": of.sandbox, "tighten": {"max_notional_per_order": "5"}}),
    ),
    call("trading_halt", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox, "cancel": false})),
    call("execution_status", Of::Execution, |of| json!({"execution_id": of.execution})),
    call(
        "export_template",
        Of::Sandbox,
        |of| json!({"sandbox_id": of.sandbox, "template_name": format!("mine-{}", of.sandbox)}),
    ),
    call("template_get", Of::Template, |of| json!({"template_name": of.template})),
    call("sandbox_create", Of::Template, |of| json!({"template": of.template})),
    call("backtest_status", Of::Sweep, |of| json!({"sweep_id": of.sweep})),
    call("pipeline_status", Of::Pipeline, |of| json!({"pipeline_id": of.pipeline})),
    call("pipeline_output", Of::Pipeline, |of| json!({"pipeline_id": of.pipeline, "stage": "a", "path": "a"})),
    call("pipeline_resume", Of::Pipeline, |of| json!({"pipeline_id": of.pipeline})),
    call("pipeline_cancel", Of::Pipeline, |of| json!({"pipeline_id": of.pipeline})),
    call("task_status", Of::Task, |of| json!({"task_id": of.task})),
    call("task_cancel", Of::Task, |of| json!({"task_id": of.task})),
    call("swarm_status", Of::Swarm, |of| json!({"swarm_id": of.swarm})),
    call("agent_spawn", Of::Swarm, |of| json!({"swarm_id": of.swarm})),
    call("sandbox_create", Of::Swarm, |of| json!({"template": "python", "swarm_id": of.swarm})),
    call("task_orchestrate", Of::Swarm, |of| json!({"swarm_id": of.swarm, "task": "say", "code": "1", "wait": 0})),
    call("swarm_scale", Of::Swarm, |of| json!({"swarm_id": of.swarm, "maxAgents": 1})),
    call("swarm_destroy", Of::Swarm, |of| json!({"swarm_id": of.swarm})),
    call("sandbox_pause", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("sandbox_resume", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("sandbox_stop", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
    call("sandbox_list", Of::Nothing, |_| json!({})),
    call("template_list", Of::Nothing, |_| json!({})),
    call("audit_log", Of::Nothing, |_| json!({})),
    call("audit_verify", Of::Nothing, |_| json!({})),
    call("orders_list", Of::Nothing, |_| json!({})),
    call("swarm_list", Of::Nothing, |_| json!({})),
    call("usage", Of::Nothing, |_| json!({})),
    call("check_balance", Of::Nothing, |_| json!({})),
    call("system_health", Of::Nothing, |_| json!({})),
    call("trading_status", Of::Nothing, |_| json!({})),
    call("trading_limits", Of::Nothing, |_| json!({})),
    call("positions_list", Of::Nothing, |_| json!({})),
    call("trading_halt", Of::Nothing, |_| json!({"cancel": false})),
    call("backtest_sweep", Of::Nothing, |_| json!({"strategies": ["buy_and_hold"], "symbols": ["AAPL"], "wait": 0})),
    call("pipeline_run", Of::Nothing, |_| json!({"stages": [one_stage()], "wait": 0})),
    call("swarm_init", Of::Nothing, |_| json!({"topology": "mesh", "maxAgents": 1})),
    call("sandbox_create", Of::Nothing, |_| json!({"template": "python"})),
    call("template_delete", Of::Template, |of| json!({"template_name": of.template})),
    call("sandbox_delete", Of::Sandbox, |of| json!({"sandbox_id": of.sandbox})),
];

/// A route as `openapi.json` names it, and what is sent there.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    query: &'static str,
    /// Its name in the table of operations.
    pub(crate) operation: &'static str,
    pub(crate) of: Of,
    body: fn(&Things) -> Value,
}

impl Route {
    /// Where it is sent, about these things.
    pub(crate) fn target(&self, things: &Things) -> String {
        things.filled(&format!("{}{}", self.path, self.query), self.of)
    }

    pub(crate) fn body(&self, things: &Things) -> Value {
        (self.body)(things)
    }
}

macro_rules! routes {
    ($($method:ident $path:literal $(? $query:literal)? $operation:literal $of:ident $(, $body:expr)?;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            query: concat!("" $(, "?", $query)?),
            operation: $operation,
            of: Of::$of,
            body: routes!(@body $($body)?),
        },)*]
    };
    (@body) => { |_| Value::Null };
    (@body $body:expr) => { $body };
}

/// Every route that is described, those that end something last.
pub(crate) const ROUTES: &[Route] = routes! {
    GET "/v1/sandboxes/{id}" "sandbox_status" Sandbox;
    GET "/v1/sandboxes/{id}/logs" "sandbox_logs" Sandbox;
    POST "/v1/sandboxes/{id}/configure" "sandbox_configure" Sandbox, |_| json!({"timeout": 60});
    POST "/v1/sandboxes/{id}/execute" "sandbox_execute" Sandbox, |_| json!({"code": "1"});
    PUT "/v1/sandboxes/{id}/files" "sandbox_upload" Sandbox, |_| json!({"file_path": "a", "content": "b"});
    GET "/v1/sandboxes/{id}/files" ? "path=a" "sandbox_download" Sandbox;
    POST "/v1/sandboxes/{id}/preview" "preview" Sandbox, |_| json!({"port": 80});
    POST "/v1/sandboxes/{id}/export" "export_template" Sandbox, |_| json!({"template_name": "mine"});
    POST "/v1/sandboxes/{id}/clone" "sandbox_clone" Sandbox, |_| json!({});
    GET "/v1/audit" ? "sandbox_id={sandbox}" "audit_log" Sandbox;
    GET "/v1/egress" ? "sandbox_id={sandbox}" "egress_list" Sandbox;
    GET "/v1/usage" ? "sandbox_id={sandbox}" "usage" Sandbox;
    GET "/v1/trade/orders" ? "sandbox_id={sandbox}" "orders_list" Sandbox;
    GET "/v1/trade/status" ? "sandbox_id={sandbox}" "trading_status" Sandbox;
    GET "/v1/trade/limits" ? "sandbox_id={sandbox}" "trade_limits" Sandbox;
    PUT "/v1/trade/limits" "trade_limits_set" Sandbox, |of| json!({"sandbox_id": of.sandbox, "limits": {}});
    POST "/v1/trade/limits/tighten" "trading_limits" Sandbox, |of| json!({"sandbox_id": of.sandbox});
    POST "/v1/trade/halt" "trading_halt" Sandbox, |of| json!({"sandbox_id": of.sandbox, "cancel": false});
    POST "/v1/trade/reduce" "trade_reduce" Sandbox, |of| json!({"sandbox_id": of.sandbox});
    POST "/v1/trade/resume" "trade_resume" Sandbox, |of| json!({"sandbox_id": of.sandbox});
    POST "/v1/sandboxes/{id}/pause" "sandbox_pause" Sandbox;
    POST "/v1/sandboxes/{id}/resume" "sandbox_resume" Sandbox;
    POST "/v1/sandboxes/{id}/stop" "sandbox_stop" Sandbox;
    GET "/v1/executions/{id}" "execution_status" Execution;
    GET "/v1/templates/{name}" "template_get" Template;
    POST "/v1/sandboxes" "sandbox_create" Template, |of| json!({"template": of.template});
    POST "/v1/sandboxes" "sandbox_create" Swarm, |of| json!({"template": "python", "swarm_id": of.swarm});
    GET "/v1/sweeps/{id}" "backtest_status" Sweep;
    GET "/v1/sweeps/{id}/results" "sweep_table" Sweep;
    GET "/v1/sweeps/{id}/report" "sweep_report" Sweep;
    POST "/v1/sweeps/{id}/cancel" "sweep_cancel" Sweep;
    DELETE "/v1/sweeps/{id}" "sweep_delete" Sweep;
    GET "/v1/pipelines/{id}" "pipeline_status" Pipeline;
    GET "/v1/pipelines/{id}/output" ? "stage=a&path=a" "pipeline_output" Pipeline;
    POST "/v1/pipelines/{id}/resume" "pipeline_resume" Pipeline, |_| json!({});
    POST "/v1/pipelines/{id}/cancel" "pipeline_cancel" Pipeline;
    GET "/v1/tasks/{id}" "task_status" Task;
    DELETE "/v1/tasks/{id}" "task_cancel" Task;
    GET "/v1/swarms/{id}" "swarm_status" Swarm;
    POST "/v1/swarms/{id}/agents" "agent_spawn" Swarm, |_| json!({});
    POST "/v1/swarms/{id}/scale" "swarm_scale" Swarm, |_| json!({"maxAgents": 1});
    POST "/v1/tasks" "task_orchestrate" Swarm, |of| json!({"swarm_id": of.swarm, "task": "say", "code": "1", "wait": 0});
    DELETE "/v1/swarms/{id}" "swarm_destroy" Swarm;
    GET "/v1/sandboxes" "sandbox_list" Nothing;
    GET "/v1/templates" "template_list" Nothing;
    GET "/v1/audit" "audit_log" Nothing;
    GET "/v1/egress" "egress_list" Nothing;
    GET "/v1/health" "system_health" Nothing;
    GET "/v1/credits" "check_balance" Nothing;
    GET "/v1/usage" "usage" Nothing;
    POST "/v1/credits/grant" "credit_grant" Nothing, |_| json!({"credits": 1});
    PUT "/v1/credits/budget" "credit_budget" Nothing, |_| json!({"unlimited": true});
    GET "/v1/sweeps" "sweep_list" Nothing;
    POST "/v1/sweeps" "backtest_sweep" Nothing, |_| json!({"strategies": ["buy_and_hold"], "symbols": ["AAPL"], "wait": 0});
    GET "/v1/pipelines" "pipeline_list" Nothing;
    POST "/v1/pipelines" "pipeline_run" Nothing, |_| json!({"stages": [one_stage()], "wait": 0});
    GET "/v1/swarms" "swarm_list" Nothing;
    POST "/v1/swarms" "swarm_init" Nothing, |_| json!({"topology": "mesh", "maxAgents": 1});
    POST "/v1/sandboxes" "sandbox_create" Nothing, |_| json!({"template": "python"});
    POST "/v1/jobs/prune" "job_prune" Nothing, |_| json!({"kind": "sweep", "older_than_days": 9, "dry_run": true});
    GET "/v1/trade/status" "trading_status" Nothing;
    PUT "/v1/trade/mode" "trade_mode_set" Nothing, |_| json!({"mode": "simulated"});
    GET "/v1/trade/limits" "trade_limits" Nothing;
    PUT "/v1/trade/limits" "trade_limits_set" Nothing, |_| json!({"limits": {}});
    POST "/v1/trade/limits/tighten" "trading_limits" Nothing, |_| json!({});
    POST "/v1/trade/halt" "trading_halt" Nothing, |_| json!({"cancel": false});
    POST "/v1/trade/reduce" "trade_reduce" Nothing, |_| json!({});
    POST "/v1/trade/resume" "trade_resume" Nothing, |_| json!({});
    GET "/v1/trade/orders" "orders_list" Nothing;
    GET "/v1/trade/positions" "positions_list" Nothing;
    GET "/v1/trade/holds" "trade_holds" Nothing;
    POST "/v1/trade/holds/{number}/approve" "trade_hold_answer" Nothing;
    POST "/v1/trade/holds/{number}/refuse" "trade_hold_answer" Nothing;
    GET "/v1/secrets" "secret_list" Nothing;
    PUT "/v1/secrets/{name}" "secret_set" Nothing, |_| json!({"value": "x", "hosts": ["a.example"], "placements": ["bearer"]});
    DELETE "/v1/secrets/{name}" "secret_remove" Nothing;
    POST "/v1/prune" "prune" Nothing, |_| json!({"dry_run": true});
    POST "/v1/audit/verify" "audit_verify" Nothing, |_| json!({});
    POST "/v1/audit/prune" "audit_prune" Nothing, |_| json!({"cuts": []});
    POST "/v1/templates/{name}/build" "template_build" Template, |_| json!({});
    GET "/v1/templates/{name}/archive" "template_archive" Template;
    POST "/v1/template-archives" "template_import" Nothing, |_| json!({});
    POST "/v1/template-images" "template_image" Nothing, |_| json!({});
    GET "/v1/tokens" "token_list" Nothing;
    POST "/v1/tokens" "token_create" Nothing, |_| json!({"name": "x", "role": "auditor"});
    DELETE "/v1/tokens/{token}" "token_revoke" Nothing;
    GET "/v1/projects" "project_list" Nothing;
    DELETE "/v1/templates/{name}" "template_delete" Template;
    DELETE "/v1/sandboxes/{id}" "sandbox_delete" Sandbox;
    POST "/v1/stop" "stop_daemon" Nothing;
};

/// The reference of who may do what, as it is written for people.
pub(crate) struct Documented {
    /// By operation: operator, agent, auditor.
    rows: BTreeMap<String, [bool; 3]>,
    /// What another project than the first is refused in any case, and unless it names a sandbox of its own.
    first_alone: Vec<String>,
    first_without_sandbox: Vec<String>,
    /// What no token of one project may.
    machine_alone: Vec<String>,
}

/// The names in backticks of the paragraph that begins so.
fn named_after(text: &str, beginning: &str) -> Vec<String> {
    let paragraph = text.split("\n\n").find_map(|paragraph| paragraph.strip_prefix(beginning));
    let paragraph =
        paragraph.unwrap_or_else(|| panic!("docs/reference/access.md has no paragraph that begins with {beginning:?}"));
    paragraph.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

impl Documented {
    pub(crate) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/access.md");
        let text = fs::read_to_string(path).expect("the reference is beside the code");
        let row = |line: &str| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix('|')?.split('|').map(str::trim).collect();
            let [name, operator, agent, auditor] = cells.as_slice() else { return None };
            Some((name.trim_matches('`').to_owned(), [operator, agent, auditor].map(|cell| *cell == "yes")))
        };
        let rows: BTreeMap<_, _> = text.lines().filter_map(row).collect();
        assert!(rows.len() > 70, "the table was not found: {rows:?}");
        Self {
            rows,
            first_alone: named_after(&text, "Another project is refused altogether"),
            first_without_sandbox: named_after(&text, "Another project may do these to its own sandboxes"),
            machine_alone: named_after(&text, "A token of one project, an operator's too, is refused"),
        }
    }

    /// Whether a role may, of those that an operation has a column for.
    #[track_caller]
    pub(crate) fn may(&self, operation: &str, role: &str) -> bool {
        let row = self.rows.get(operation).unwrap_or_else(|| panic!("{operation} is in no row of the table"));
        match role {
            "operator" => row[0],
            "agent" => row[1],
            "auditor" => row[2],
            other => panic!("{other} is no role"),
        }
    }

    /// Whether it is refused to a project whatever it names: it belongs to the first one.
    pub(crate) fn is_not_of(&self, project: &str, operation: &str, of: Of) -> bool {
        let has = |list: &[String]| list.iter().any(|named| named == operation);
        has(&self.machine_alone)
            || project != "default" && (has(&self.first_alone) || of == Of::Nothing && has(&self.first_without_sandbox))
    }
}
