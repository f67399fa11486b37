//! Every tool and every route, for every role, with what is of the caller's own project, of another one, and of nobody: each cell is as
//! `docs/reference/access.md` says it. What is another project's is answered with the bytes of what there is not, and after the same
//! calls, none of which looks into it: so there is nothing to tell the two apart by, no time either.
//!
//! The decorator, the guards, REST and MCP are the product's; below them is a fake whose calls are recorded. The same table is asked of
//! the daemon in `crates/cli/tests/matrix.rs`.

mod fake;
mod host;
#[path = "matrix/recorded.rs"]
mod recorded;
#[path = "matrix/table.rs"]
mod table;

use std::{collections::BTreeSet, sync::Arc};

use hyper::Method;
use ringfence_model::{Project, Role};
use ringfence_server::Services;
use serde_json::{Value, json};

use fake::access::token;
use host::Host;
use recorded::Recorded;
use table::{CALLS, Call, Documented, Of, ROUTES, Route, Things};

/// Calls by which it is found out who asks, and whose a thing is.
const LOOKUPS: [&str; 5] = ["caller", "sandbox_in", "execution_in", "template_in", "swarm_link"];

/// What came back of either face: its code, empty when it was done, and all of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    code: String,
    text: String,
}

struct Scene {
    host: Host,
    services: Arc<Recorded>,
    project: &'static str,
    role: Role,
    own: Things,
    theirs: Things,
}

/// Jobs of a project; the fake knows one pipeline, which is the caller's own.
fn jobs(letter: &str, pipeline: &str) -> [String; 4] {
    let id = |kind: &str| format!("{kind}_{}", letter.repeat(16));
    [id("sweep"), pipeline.to_owned(), id("swarm"), id("task")]
}

impl Scene {
    async fn new(role: Role, project: &'static str) -> Self {
        let named = |project: &str| Project::parse(project).expect("a name");
        let (own, theirs) = (jobs("a", "pipeline_0123456789abcdef"), jobs("r", "pipeline_rrrrrrrrrrrrrrrr"));
        let of = |ids: &[String], project: &str| ids.iter().map(|id| (id.clone(), named(project))).collect::<Vec<_>>();
        let owned = [of(&own, project), of(&theirs, "rival")].concat();
        let mut recorded = None;
        let host = Host::start_over(|inner| {
            let services = Arc::new(Recorded::over(inner, owned));
            recorded = Some(services.clone());
            Services { sandboxes: services.clone(), research: services }
        })
        .await;
        let services = recorded.expect("it was made");
        let made = async |project: &str, [sweep, pipeline, swarm, task]: [String; 4], template: &str| {
            let name = format!("{project}s-lab");
            let body = json!({"template": "python", "name": name});
            let agent = token(Role::Agent, project);
            let sandbox = rest(&host, &agent, "POST", "/v1/sandboxes", &body).await.json()["sandbox_id"].clone();
            let sandbox = sandbox.as_str().expect("made").to_owned();
            let path = format!("/v1/sandboxes/{sandbox}/execute");
            let ran = rest(&host, &agent, "POST", &path, &json!({"code": "1"})).await.json()["execution_id"].clone();
            let execution = ran.as_str().expect("it ran").to_owned();
            Things { sandbox, execution, template: template.to_owned(), sweep, pipeline, swarm, task }
        };
        // What was exported is the first project's; another one has what ships.
        let (template, exported) = if project == "default" { ("house", "nohouse") } else { ("python", "house") };
        let own = made(project, own, template).await;
        let theirs = made("rival", theirs, exported).await;
        let key = json!({"value": "a-value-of-it", "hosts": ["rival.example"], "placements": ["bearer"]});
        let stored = rest(&host, &token(Role::Operator, "rival"), "PUT", "/v1/secrets/RIVALS_KEY", &key).await;
        assert_eq!(stored.status, 200, "{}", stored.body);
        services.taken();
        Self { host, services, project, role, own, theirs }
    }

    /// What is asked over MCP, and the calls that came of it.
    async fn call(&self, tool: &str, arguments: &Value) -> (Answer, Vec<&'static str>) {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let result = mcp(&self.host, &token(self.role, self.project), &message).await["result"].clone();
        let code = if result["isError"] == true { result["structuredContent"]["code"].clone() } else { json!("") };
        let code = code.as_str().unwrap_or_else(|| panic!("{tool}: {result}")).to_owned();
        (Answer { code, text: result.to_string() }, self.services.taken())
    }

    async fn ask(&self, route: &Route, things: &Things) -> (Answer, Vec<&'static str>) {
        let (target, body) = (route.target(things), route.body(things));
        let answer = rest(&self.host, &token(self.role, self.project), route.method, &target, &body).await;
        (
            Answer {
                code: table::code_of(answer.status.as_u16(), &answer.body),
                text: format!("{} {}", answer.status, answer.body),
            },
            self.services.taken(),
        )
    }

    /// What the caller is for the table: over MCP an operator is an agent.
    fn column(&self, over_mcp: bool) -> &'static str {
        if over_mcp && self.role == Role::Operator { Role::Agent.as_str() } else { self.role.as_str() }
    }

    fn what(&self, operation: &str) -> String {
        format!("{operation} by {} of {}", self.role.as_str(), self.project)
    }

    /// What is the caller's own.
    #[track_caller]
    fn check_own(&self, docs: &Documented, over_mcp: bool, operation: &str, of: Of, answer: &Answer) {
        let what = format!("{}: {answer:?}", self.what(operation));
        if !docs.may(operation, self.column(over_mcp)) || docs.is_not_of(self.project, operation, of) {
            assert_eq!(answer.code, "PERMISSION_DENIED", "{what}");
        } else {
            assert!(![of.not_found(), "PERMISSION_DENIED"].contains(&answer.code.as_str()), "{what}");
        }
        self.check_silence(answer, &what);
    }

    /// Nothing of another project is in an answer.
    #[track_caller]
    fn check_silence(&self, answer: &Answer, what: &str) {
        let Things { sandbox, execution, sweep, pipeline, swarm, task, .. } = &self.theirs;
        for theirs in [sandbox, execution, sweep, pipeline, swarm, task, "rival", "RIVALS_KEY"] {
            assert!(!answer.text.contains(theirs), "{what} tells of {theirs}");
        }
    }

    /// What is another project's, and what is nobody's.
    #[track_caller]
    fn check_alike(
        &self,
        docs: &Documented,
        over_mcp: bool,
        (operation, of): (&str, Of),
        (theirs, nobodys): (&Things, &Things),
        [one, other]: [(Answer, Vec<&'static str>); 2],
    ) {
        let what = format!("{}: {one:?} and {other:?}", self.what(operation));
        let (answer, calls) = one;
        assert_eq!(answer.code, other.0.code, "{what}");
        let text = theirs.as_others(&answer.text, nobodys);
        assert_eq!(text, other.0.text, "{what}");
        assert!(!text.contains("rival"), "{what}");
        assert_eq!(calls, other.1, "{what}");
        let is_job = [Of::Sweep, Of::Pipeline, Of::Swarm, Of::Task].contains(&of);
        let looked: Vec<_> = calls.iter().filter(|call| !LOOKUPS.contains(call)).collect();
        // A job is looked up by whoever keeps it, which is told whose it may be.
        assert!(looked.len() <= usize::from(is_job), "{what} looks into it: {looked:?}");
        match docs.may(operation, self.column(over_mcp)) {
            false => assert_eq!(answer.code, "PERMISSION_DENIED", "{what}"),
            true if docs.is_not_of(self.project, operation, of) => {
                assert!([of.not_found(), "PERMISSION_DENIED"].contains(&answer.code.as_str()), "{what}");
            }
            true => assert_eq!(answer.code, of.not_found(), "{what}"),
        }
    }
}

async fn rest(host: &Host, token: &str, method: &str, path: &str, body: &Value) -> host::Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("host", "localhost"), ("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    host.send(host.connect_tcp().await, method.parse().expect("a method"), path, &headers, body).await
}

async fn mcp(host: &Host, token: &str, message: &Value) -> Value {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("host", "localhost"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let body = message.to_string().into_bytes();
    let answer = host.send(host.connect_tcp().await, Method::POST, "/mcp", &headers, body).await;
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).find(|d| !d.is_empty());
    serde_json::from_str(data.unwrap_or(&answer.body)).unwrap_or_else(|e| panic!("{e}: {}", answer.body))
}

/// Who asks: every role, of the first project and of another.
fn callers() -> impl Iterator<Item = (Role, &'static str)> {
    ["default", "fund"].into_iter().flat_map(|project| Role::ALL.map(|role| (role, project)))
}

#[tokio::test]
async fn every_tool_and_every_route_has_its_row() {
    let host = Host::start().await;
    let listed =
        mcp(&host, &token(Role::Agent, "fund"), &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    let tools = listed["result"]["tools"].as_array().expect("tools").clone();
    let tools: BTreeSet<String> = tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect();
    let called: BTreeSet<String> = CALLS.iter().map(|call| call.tool.to_owned()).collect();
    assert!(tools.len() >= 43, "{tools:?}");
    assert_eq!(tools, called);

    let api: Value = serde_json::from_str(&ringfence_server::openapi_json()).expect("JSON");
    let paths = api["paths"].as_object().expect("paths").iter();
    let described: BTreeSet<(String, String)> = paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| (method.to_ascii_uppercase(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    let asked: BTreeSet<_> = ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    // Probes are for everybody: `tests/probes.rs`.
    let probes = ["/health", "/ready"].map(|path| ("GET".to_owned(), path.to_owned()));
    assert_eq!(described, asked.into_iter().chain(probes).collect());
}

#[tokio::test]
async fn every_cell_of_the_callers_own_is_as_documented() {
    let docs = Documented::read();
    for (role, project) in callers() {
        let scene = Scene::new(role, project).await;
        for Call { tool, of, arguments } in CALLS {
            let (answer, _) = scene.call(tool, &arguments(&scene.own)).await;
            scene.check_own(&docs, true, tool, *of, &answer);
        }
        let scene = Scene::new(role, project).await;
        for route in ROUTES {
            let (answer, _) = scene.ask(route, &scene.own).await;
            scene.check_own(&docs, false, route.operation, route.of, &answer);
        }
    }
}

#[tokio::test]
async fn what_is_of_another_project_is_answered_as_what_there_is_not() {
    let docs = Documented::read();
    for (role, project) in callers() {
        let scene = Scene::new(role, project).await;
        let nobodys = Things::nobodys();
        let by_id = (scene.theirs.clone(), nobodys.clone());
        let by_name = (
            Things { sandbox: "rivals-lab".into(), ..scene.theirs.clone() },
            Things { sandbox: "nobodys-lab".into(), ..nobodys },
        );
        for (theirs, nobodys) in [by_id, by_name] {
            for Call { tool, of, arguments } in CALLS.iter().filter(|call| call.of.is_anothers(project)) {
                let both = [scene.call(tool, &arguments(&theirs)).await, scene.call(tool, &arguments(&nobodys)).await];
                scene.check_alike(&docs, true, (tool, *of), (&theirs, &nobodys), both);
            }
            for route in ROUTES.iter().filter(|route| route.of.is_anothers(project)) {
                let both = [scene.ask(route, &theirs).await, scene.ask(route, &nobodys).await];
                scene.check_alike(&docs, false, (route.operation, route.of), (&theirs, &nobodys), both);
            }
        }
    }
}

/// A request that is refused for its form tells nothing either: a thing of the caller's own is looked up before that.
#[tokio::test]
async fn a_wrong_argument_tells_nothing_of_what_is_anothers() {
    let wrong = |mut arguments: Value| {
        arguments["nonsense"] = json!(1);
        arguments
    };
    for (role, project) in callers() {
        let scene = Scene::new(role, project).await;
        let nobodys = Things::nobodys();
        for Call { tool, of, arguments } in CALLS.iter().filter(|call| call.of != Of::Nothing) {
            let (own, _) = scene.call(tool, &wrong(arguments(&scene.own))).await;
            assert_eq!(own.code, "INVALID_ARGUMENT", "{tool}: {own:?}");
            let (theirs, calls) = scene.call(tool, &wrong(arguments(&scene.theirs))).await;
            let (missing, same_calls) = scene.call(tool, &wrong(arguments(&nobodys))).await;
            assert_eq!(scene.theirs.as_others(&theirs.text, &nobodys), missing.text, "{tool}");
            assert_eq!(calls, same_calls, "{tool}");
            let is_looked_up = [Of::Sandbox, Of::Execution].contains(of);
            assert_eq!(
                theirs.code,
                if is_looked_up { of.not_found() } else { "INVALID_ARGUMENT" },
                "{tool}: {theirs:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_chain_tells_a_project_of_its_own_jobs_alone() {
    for (role, project) in callers() {
        let scene = Scene::new(role, project).await;
        let (answer, _) = scene.call("audit_log", &json!({})).await;
        let Things { sweep, pipeline, swarm, task, .. } = &scene.own;
        for own in [sweep, pipeline, swarm, task] {
            assert!(answer.text.contains(own.as_str()), "{own}: {answer:?}");
        }
        scene.check_silence(&answer, "the chain");
    }
}
