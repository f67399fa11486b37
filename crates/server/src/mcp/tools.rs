//! The tools: a table of names, words, schemas and the method of the one trait that each calls.

mod credits;
mod pipelines;
mod swarms;
mod sweeps;

use std::sync::LazyLock;

use futures::future::BoxFuture;
use ringfence_engine::api::ProgressSender;
use ringfence_model::{
    ApiError,
    api::{
        Actor, AuditLogRequest, AuditVerifyRequest, ConfigureRequest, CreateRequest, DownloadRequest, ExecuteRequest,
        ExecutionRequest, ExportRequest, HealthRequest, ListRequest, LogsRequest, SandboxRequest, TemplateListRequest,
        TemplateRequest, TradeHaltRequest, TradeOrdersRequest, TradePositionsRequest, TradeStatusRequest,
        TradeTightenRequest, UploadRequest,
    },
};
use rmcp::model::{Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::schema;
use crate::{parse::Arguments, rest::Judge, services::Services};

/// On whose behalf: whoever speaks MCP.
const AGENT: Actor = Actor::Agent;

type Answer = BoxFuture<'static, Result<Value, ApiError>>;

/// A tool and what it does.
pub(super) struct Entry {
    pub(super) tool: Tool,
    pub(super) call: Box<dyn Fn(Services, Arguments, Option<ProgressSender>) -> Answer + Send + Sync>,
}

/// What a tool does to the world.
#[derive(Clone, Copy)]
enum Effect {
    Reads,
    Adds,
    /// The same, and programs run then that may reach what the sandbox's network policy allows.
    AddsOpen,
    /// It may overwrite or end something.
    Changes,
    /// The same, and programs run then that may reach what the sandbox's network policy allows.
    ChangesOpen,
    /// The same, and doing it twice is doing it once.
    ChangesOnce,
}

impl Effect {
    fn annotations(self, title: &str) -> ToolAnnotations {
        let (read_only, destructive, idempotent) = match self {
            Self::Reads => (true, false, true),
            Self::Adds | Self::AddsOpen => (false, false, false),
            Self::Changes | Self::ChangesOpen => (false, true, false),
            Self::ChangesOnce => (false, true, true),
        };
        ToolAnnotations::from_raw(
            Some(title.to_owned()),
            Some(read_only),
            Some(destructive),
            Some(idempotent),
            Some(matches!(self, Self::AddsOpen | Self::ChangesOpen)),
        )
    }
}

/// Every tool, in the order of the contract.
pub(super) fn all() -> &'static [Entry] {
    static TOOLS: LazyLock<Vec<Entry>> = LazyLock::new(|| {
        [table(), sweeps::table(), pipelines::table(), swarms::table(), credits::table()]
            .into_iter()
            .flatten()
            .collect()
    });
    &TOOLS
}

/// The tool of this name.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    all().iter().find(|entry| entry.tool.name == name)
}

fn entry<R, A, F>(name: &'static str, title: &str, effect: Effect, description: &'static str, call: F) -> Entry
where
    R: DeserializeOwned + JsonSchema + Send + 'static,
    A: Serialize + JsonSchema + Send + 'static,
    F: Fn(Services, R, Option<ProgressSender>) -> BoxFuture<'static, Result<A, ApiError>>
        + Copy
        + Send
        + Sync
        + 'static,
{
    let tool = Tool::new(name, description, schema::input::<R>())
        .with_title(title)
        .with_raw_output_schema(schema::output::<A>())
        .with_annotations(effect.annotations(title));
    let call = move |services: Services, arguments: Arguments, progress| -> Answer {
        Box::pin(async move {
            let request: R = arguments.judge(&services.sandboxes, AGENT).await?;
            let answer = call(services, request, progress).await?;
            serde_json::to_value(answer).map_err(|_| ApiError::internal("the answer could not be written as JSON"))
        })
    };
    Entry { tool, call: Box::new(call) }
}

macro_rules! entry {
    ($name:literal, $title:literal, $effect:ident, $method:ident($request:ty), $description:literal) => {
        entry($name, $title, Effect::$effect, $description, |sandboxes, request: $request, _| {
            Box::pin(async move { sandboxes.$method(AGENT, request).await })
        })
    };
}

fn table() -> Vec<Entry> {
    vec![
        entry(
            "sandbox_create",
            "Create a sandbox",
            Effect::AddsOpen,
            "Creates a sandbox from a template and answers its sandbox_id. It runs until its lifetime (`timeout`, in \
             seconds) ends or it is deleted. It reaches no network unless `network` allows it. A template that is not \
             built yet is built first, which takes minutes.",
            |services, request: CreateRequest, progress| {
                Box::pin(async move {
                    let request = services.research.swarm_link(request).await?;
                    services.create(AGENT, request, progress).await
                })
            },
        ),
        entry!(
            "sandbox_configure",
            "Configure a sandbox",
            ChangesOpen,
            configure(ConfigureRequest),
            "Sets or removes environment variables for the next executions, sets what the network allows, runs shell \
             commands, extends the lifetime. To rotate a key, send the new value, or env_mode=replace: the old one is gone at once, and the fingerprint \
             in the answer changes."
        ),
        entry!(
            "sandbox_execute",
            "Run code",
            ChangesOpen,
            execute(ExecuteRequest),
            "Runs a program in a sandbox and answers its output, exit code and resource use. A failing program is a \
             successful call with success=false. `denials` lists what the network refused it. Waits 50 s at most: a longer one is answered with status=running, goes \
             on until its `timeout`, and is read with execution_status."
        ),
        entry!(
            "execution_status",
            "Read an execution",
            Reads,
            execution(ExecutionRequest),
            "Answers the record of an execution, with the output so far while it runs. With `wait` it waits for the end."
        ),
        entry!(
            "sandbox_status",
            "Read a sandbox",
            Reads,
            status(SandboxRequest),
            "Answers the state of a sandbox, its use of CPU, memory, disk and processes, its limits, lifetime, network \
             policy and traffic, executions by result, what still runs in it, what isolates it, and the ports on which \
             its programs listen: `url` of each opens it in a browser, and holds a token unless the port is public."
        ),
        entry!("sandbox_list", "List sandboxes", Reads, list(ListRequest), "Lists sandboxes, newest first."),
        entry!(
            "sandbox_stop",
            "Stop a sandbox",
            Changes,
            stop(SandboxRequest),
            "Ends every process of a sandbox and keeps its files; sandbox_resume starts it again."
        ),
        entry!(
            "sandbox_pause",
            "Pause a sandbox",
            Adds,
            pause(SandboxRequest),
            "Freezes a sandbox as it is; sandbox_resume lets it go on."
        ),
        entry!(
            "sandbox_resume",
            "Resume a sandbox",
            AddsOpen,
            resume(SandboxRequest),
            "Lets a paused sandbox go on, or starts a stopped one with the files that it had."
        ),
        entry!(
            "sandbox_delete",
            "Delete a sandbox",
            ChangesOnce,
            delete(SandboxRequest),
            "Ends a sandbox and removes its files for good. Deleting it again is no error."
        ),
        entry!(
            "sandbox_upload",
            "Upload a file",
            ChangesOnce,
            upload(UploadRequest),
            "Writes a file in a sandbox, from text or base64, at most 32 MiB. Directories are made; an existing file is \
             replaced."
        ),
        entry!(
            "sandbox_download",
            "Download a file",
            Reads,
            download(DownloadRequest),
            "Answers a file of a sandbox, at most 32 MiB: as text when it is UTF-8, else in base64."
        ),
        entry!(
            "sandbox_logs",
            "Read a sandbox's log",
            Reads,
            logs(LogsRequest),
            "Answers the newest lines of what happened in a sandbox and what its programs printed."
        ),
        entry(
            "export_template",
            "Export a template",
            Effect::Adds,
            "Makes a template from a sandbox, running or stopped: the packages that are installed in it, its user's files and \
             its startup_script. sandbox_create takes its name, and what is in it needs no network. Values of \
             environment variables, secrets, caches, histories and files with keys stay behind; left_out lists them.",
            |sandboxes, request: ExportRequest, progress| {
                Box::pin(async move { sandboxes.export_template(AGENT, request, progress).await })
            },
        ),
        entry!(
            "template_list",
            "List templates",
            Reads,
            templates(TemplateListRequest),
            "Lists the templates from which sandboxes can be created."
        ),
        entry!(
            "template_get",
            "Read a template",
            Reads,
            template(TemplateRequest),
            "Answers a template, with the packages that are installed in it."
        ),
        entry!(
            "template_delete",
            "Delete a template",
            Changes,
            template_delete(TemplateRequest),
            "Removes an exported template, all of its versions, for good. One that a sandbox was made from cannot be deleted \
             before that sandbox is."
        ),
        entry!(
            "audit_log",
            "Read the audit log",
            Reads,
            audit_log(AuditLogRequest),
            "Answers entries of the audit chain: who did what to which sandbox. Names and hashes only, never values."
        ),
        entry!(
            "audit_verify",
            "Verify the audit chain",
            Reads,
            audit_verify(AuditVerifyRequest),
            "Walks the audit chain, and answers in `valid` whether every entry is bound to the one before it; in `gate` it says \
             the same of the gateway's chain. `broken_at` and `fault` tell where one does not hold. Keep `head`, {\"seq\": …, \
             \"hash\": …}, somewhere else: given back later as `remembered`, it shows that nothing up to it was cut or written \
             anew."
        ),
        entry!(
            "trading_status",
            "Read how trading stands",
            Reads,
            trade_status(TradeStatusRequest),
            "Answers where orders go (`mode`: simulated, paper or live), whether trading is active, reducing or halted and \
             why, and for each account the limits in force with what is bought, reserved and open today by the account's own \
             clock. Read it before placing orders, and after a refusal with code 40310000: its `rule` names the limit. With \
             sandbox_id it answers the limits of that sandbox too. Programs in a sandbox trade at paper-api.alpaca.markets \
             in every mode; only the operator changes the mode, with `ringfence trade mode`."
        ),
        entry!(
            "trading_limits",
            "Read or tighten trading limits",
            ChangesOnce,
            trade_tighten(TradeTightenRequest),
            "Answers every limit on orders with its value, unit, meaning and who set it. With `tighten` it first tightens \
             limits of one sandbox, as in {\"max_notional_per_order\": \"500\", \"permitted_symbols\": \"AAPL,MSFT\"}. A value that \
             would let more through is refused with the limit's name; what was tightened stays so until the operator \
             loosens it. Tighten before running code that you do not know."
        ),
        entry!(
            "trading_halt",
            "Halt trading",
            ChangesOnce,
            trade_halt(TradeHaltRequest),
            "The kill switch: from now on nothing but cancels passes, and open orders are cancelled at the venue unless \
             cancel=false. Of one sandbox with sandbox_id, also one that has ended; of everything without. Use it when a \
             program sends orders that it should not. It cannot be undone here: the operator resumes with `ringfence trade \
             resume`. `accounts` tells what was cancelled, and in `problem` what was not."
        ),
        entry!(
            "orders_list",
            "List orders",
            Reads,
            trade_orders(TradeOrdersRequest),
            "Lists orders that sandboxes have sent, newest first, as the gate's ledger has them: size, price, what was filled, \
             and how far each is. `ambiguous` means that nobody knows yet whether the venue has it; it is looked up, and must \
             not be sent again. Refused orders are not in the list: they are in `denials` of the execution."
        ),
        entry!(
            "positions_list",
            "List positions",
            Reads,
            trade_positions(TradePositionsRequest),
            "Lists what each account holds, as its venue says: symbol, quantity (below zero when short), price and value. All \
             sandboxes that trade in one account share its positions. `problem` says where a venue could not be asked."
        ),
        entry(
            "system_health",
            "Read the health of the system",
            Effect::Reads,
            "Answers how the daemon and its host are, and what is missing.",
            |sandboxes, HealthRequest {}, _| Box::pin(async move { sandboxes.health(AGENT).await }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_plain() {
        for entry in all() {
            let name = &entry.tool.name;
            let output = entry.tool.output_schema.as_ref().expect("every tool has one");
            for schema in [&entry.tool.input_schema, output] {
                let text = serde_json::to_string(schema).expect("plain");
                assert_eq!(schema.get("type"), Some(&Value::from("object")), "{name}");
                for word in ["$ref", "$defs", "\"format\"", "\"oneOf\"", "$schema", "\"type\":["] {
                    assert!(!text.contains(word), "{name}: {word} in {text}");
                }
            }
            let input = serde_json::to_string(&entry.tool.input_schema).expect("plain");
            assert!(!input.contains("\"null\""), "{name}: {input}");
            assert_eq!(entry.tool.input_schema.get("additionalProperties"), Some(&Value::Bool(false)), "{name}");
        }
    }

    /// Paths of what a schema leaves open with a bare `true` or `{}`, where a client wants to be told what it is.
    fn unsaid(schema: &Value, path: &str, found: &mut Vec<String>) {
        let bare = |schema: &Value| *schema == Value::Bool(true) || *schema == serde_json::json!({});
        let mut visit = |name: String, inner: &Value| match bare(inner) {
            true => found.push(name),
            false => unsaid(inner, &name, found),
        };
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            visit(format!("{path}.{name}"), inner);
        }
        if !schema["items"].is_null() {
            visit(format!("{path}[]"), &schema["items"]);
        }
        // `true` is how JSON Schema says that more names are allowed.
        if schema["additionalProperties"].is_object() {
            visit(format!("{path}.*"), &schema["additionalProperties"]);
        }
        for (at, inner) in schema["anyOf"].as_array().into_iter().flatten().enumerate() {
            visit(format!("{path}|{at}"), inner);
        }
    }

    #[test]
    fn every_part_of_a_schema_says_what_it_is() {
        let mut found = Vec::new();
        for entry in all() {
            let input = Value::Object(entry.tool.input_schema.as_ref().clone());
            unsaid(&input, &entry.tool.name, &mut found);
        }
        assert_eq!(found, Vec::<String>::new());
        let open = serde_json::json!({"properties": {"a": {"additionalProperties": {"items": true}}, "b": {}}});
        unsaid(&open, "t", &mut found);
        assert_eq!(found, ["t.a.*[]", "t.b"]);
    }

    #[test]
    fn the_world_is_open_to_what_lets_programs_run() {
        let open: Vec<&str> = all()
            .iter()
            .filter(|entry| entry.tool.annotations.as_ref().and_then(|hints| hints.open_world_hint) == Some(true))
            .map(|entry| entry.tool.name.as_ref())
            .collect();
        let programs = ["sandbox_create", "sandbox_configure", "sandbox_execute", "sandbox_resume"];
        let of_research = ["pipeline_run", "pipeline_resume", "task_orchestrate"];
        assert_eq!(open, [programs.as_slice(), &of_research].concat());
    }

    #[test]
    fn policies_are_described_to_their_last_argument() {
        for name in ["sandbox_create", "sandbox_configure"] {
            let tool = &find(name).expect("it is there").tool;
            let network = tool.input_schema["properties"]["network"].to_string();
            for word in ["none", "packages", "open", "allow", "host", "ports", "methods", "paths"] {
                assert!(network.contains(&format!("\"{word}\"")), "{name}: {word} in {network}");
            }
            assert_eq!(tool.input_schema["properties"]["secrets"]["type"], "array", "{name}");
        }
        assert!(all().iter().all(|entry| !entry.tool.name.contains("secret") && !entry.tool.name.contains("egress")));
    }
}
