//! Swarms and tasks over a real daemon: the seed's loop through MCP, topologies that programs can see, agents that lie, flood or hang,
//! scaling, and a daemon that dies in the middle. These tests need root.

mod common;
#[path = "recovery/process.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
mod process;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use common::{BIN, client_of, clients, ringfence, shared, start, succeeded, venv};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError, Code,
    api::{
        Actor, AgentSpawnRequest, CreateRequest, Decision, ExecuteRequest, SandboxRequest, SandboxStatus, StepState,
        SwarmAnswer, SwarmInitRequest, SwarmRequest, SwarmScaleRequest, TaskAnswer, TaskCancelRequest, TaskRequest,
        TaskState, TaskStatusRequest, TaskStrategy, Topology,
    },
    credit::MilliCredits,
};
use ringfence_research::api::Swarms;
use ringfence_server::Client;
use serde_json::{Map, Value, json};

/// A daemon of these tests' own, for one test at a time, because some restart it and one speaks of the newest swarm.
struct Own {
    home: PathBuf,
    _one: MutexGuard<'static, ()>,
}

fn own() -> Own {
    static ONE: Mutex<()> = Mutex::new(());
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = HOME.get_or_init(|| {
        let shared = shared();
        let home = common::beside("own");
        let built = ringfence(shared, &["template", "build", "base"]);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        common::prepare_with(shared, &home, &["python", "base"]);
        home
    });
    start(home, "none");
    Own { home: home.clone(), _one: one }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = ringfence(&self.home, &["stop"]);
        let end = Instant::now() + Duration::from_secs(30);
        while common::answers(&self.home) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

async fn swarm(api: &Client, topology: Topology, agents: u32) -> SwarmAnswer {
    let request = SwarmInitRequest { topology, max_agents: Some(agents), ..SwarmInitRequest::default() };
    api.swarm_init(Actor::Agent, request).await.expect("a swarm")
}

fn of(swarm: &SwarmAnswer) -> SwarmRequest {
    SwarmRequest { swarm_id: Some(swarm.swarm_id.to_string()) }
}

async fn run(api: &Client, swarm: &SwarmAnswer, request: TaskRequest) -> TaskAnswer {
    let request = TaskRequest { swarm_id: Some(swarm.swarm_id.to_string()), ..request };
    let mut task = api.task_orchestrate(Actor::Agent, request, None).await.expect("begun");
    let end = Instant::now() + Duration::from_secs(240);
    while task.status == TaskState::Running {
        assert!(Instant::now() < end, "the task does not end: {task:?}");
        task = status(api, &task, 50.0).await;
    }
    task
}

async fn status(api: &Client, task: &TaskAnswer, wait: f64) -> TaskAnswer {
    let request = TaskStatusRequest { task_id: task.task_id.to_string(), wait: Some(wait) };
    api.task_status(Actor::Agent, request).await.expect("known")
}

async fn destroy(api: &Client, swarm: &SwarmAnswer) {
    let gone = api.swarm_destroy(Actor::Agent, of(swarm)).await.expect("destroyed");
    assert!(gone.success, "{gone:?}");
}

fn code(text: &str) -> TaskRequest {
    TaskRequest { task: "of our own".into(), code: Some(text.into()), ..TaskRequest::default() }
}

fn object(json: Value) -> Map<String, Value> {
    match json {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, ApiError>, code: Code, word: &str) {
    let error = answer.expect_err("refused");
    assert_eq!(error.code, code, "{}", error.message);
    assert!(error.message.contains(word), "{}", error.message);
}

#[test]
fn the_documents_loop_runs_as_it_stands_through_the_python_client() {
    let own = own();
    let home = own.home.as_path();
    let python = venv("mcp-1");
    let mut command = Command::new(&python);
    command
        .arg("-B")
        .arg(clients().join("swarms.py"))
        .args(["--era", "legacy", "--stdio", BIN, "mcp", "--home"])
        .arg(home);
    println!("{}", succeeded(&mut command, "the seed's loop over a swarm does not hold"));
}

/// Says whom it has heard, and votes as it was told.
const HEARD: &str = r#"
import json, sys
asked = json.load(sys.stdin)
heard = [other["agent"] for other in asked["received"]]
print(json.dumps({"decision": asked["input"].get("vote", "hold"), "heard": heard, "round": asked["round"],
                  "seen": [other["result"].get("secret") for other in asked["received"]],
                  "secret": asked["agent"]["name"] + "!", "role": asked["agent"]["role"]}))
"#;

fn heard(task: &TaskAnswer) -> Vec<Vec<String>> {
    let texts = |value: &Value| {
        value.as_array().expect("a list").iter().map(|v| v.as_str().unwrap_or("?").to_owned()).collect()
    };
    task.results
        .iter()
        .map(|result| {
            let heard: Vec<String> = texts(&result.result["heard"]);
            let seen: Vec<String> = texts(&result.result["seen"]);
            assert_eq!(heard, result.received_from, "{result:?}");
            assert_eq!(seen, heard.iter().map(|name| format!("{name}!")).collect::<Vec<_>>(), "{result:?}");
            heard
        })
        .collect()
}

#[test]
fn a_topology_is_what_programs_see() {
    let own = own();
    let home = own.home.as_path();
    block_on(async {
        let api = client_of(home);
        let votes = ["sell", "buy", "buy", "buy"].map(|vote| object(json!({"vote": vote})));
        let (buy, sell) = (Some(Decision::Buy), Some(Decision::Sell));
        for (topology, rounds, expected, proposal, decision, by) in [
            (Topology::Mesh, 1, "||||", buy, Decision::Buy, "quorum"),
            (Topology::Mesh, 2, "||||1 2 3 4|1 2 3 4|1 2 3 4|1 2 3 4|", buy, Decision::Buy, "quorum"),
            // The hub proposes what it was told, whatever the others say, and so do the last of a ring and the root: with one vote of four
            // it stays a proposal.
            (Topology::Star, 1, "||||1 2 3 4|", sell, Decision::Hold, "agent-1"),
            (Topology::Ring, 1, "|1|2|3|", buy, Decision::Buy, "agent-4"),
            (Topology::Hierarchical, 1, "2 3|4|||", sell, Decision::Hold, "agent-1"),
        ] {
            let swarm = swarm(&api, topology, 4).await;
            let request = TaskRequest { inputs: votes.to_vec(), rounds: Some(rounds), ..code(HEARD) };
            let task = run(&api, &swarm, request).await;
            assert_eq!(task.status, TaskState::Completed, "{task:?}");
            let found: String = heard(&task).iter().map(|names| names.join(" ").replace("agent-", "") + "|").collect();
            assert_eq!(found, expected, "{topology:?}");
            let aggregate = task.aggregate.expect("decided");
            assert_eq!(
                (aggregate.proposal, aggregate.decision, aggregate.decided_by.as_str()),
                (proposal, decision, by),
                "{topology:?}: {}",
                aggregate.reason
            );
            assert_eq!((aggregate.votes.buy, aggregate.votes.sell), (3, 1));
            destroy(&api, &swarm).await;
        }
        // One after the other, in a mesh, each has those before it.
        let swarm = swarm(&api, Topology::Mesh, 3).await;
        let request = TaskRequest { strategy: Some(TaskStrategy::Sequential), ..code(HEARD) };
        let task = run(&api, &swarm, request).await;
        assert_eq!(heard(&task).iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 2]);
        destroy(&api, &swarm).await;
    });
}

/// What each agent does is in its input.
const MISCHIEF: &str = r#"
import json, os, sys, time
asked = json.load(sys.stdin)
deed = asked["input"]["deed"]
if deed == "good":
    print(json.dumps({"decision": "buy", "confidence": 0.5}))
elif deed == "forge":
    others = {f"agent-{n}": "sell" for n in range(1, 20)}
    print(json.dumps({"decision": "sell", "confidence": 1, "agent_id": "agent-1", "agent": "agent-1", "votes": {"sell": 99},
                      "results": others, "aggregate": {"decision": "sell"}, "quorum": {"asked": 0}}))
elif deed == "forge another line":
    for n in range(1, 20):
        print(json.dumps({"agent": f"agent-{n}", "decision": "sell"}))
    print(json.dumps({"decision": "SELL EVERYTHING"}))
elif deed == "flood":
    while True:
        os.write(1, b"{\"decision\": \"sell\"}\n" * 4096)
elif deed == "much":
    os.write(1, b"x" * (3 << 20))
    print(json.dumps({"decision": "sell"}))
elif deed == "hang":
    print(json.dumps({"decision": "sell"}), flush=True)
    time.sleep(1000)
elif deed == "die":
    print(json.dumps({"decision": "sell"}), flush=True)
    os.kill(os.getpid(), 9)
elif deed == "nest":
    print("{\"a\": " + "[" * 100000 + "]" * 100000 + "}")
elif deed == "huge":
    print(json.dumps({"decision": "sell", "x": "y" * 100000}))
elif deed == "sure":
    print("{\"decision\": \"sell\", \"confidence\": 1e400}")
elif deed == "memory":
    held = []
    while True:
        held.append(bytearray(64 << 20))
elif deed == "fork":
    while True:
        try:
            if os.fork() == 0:
                time.sleep(1000)
        except OSError:
            time.sleep(0.01)
"#;

#[test]
fn an_agent_that_misbehaves_is_absent_and_harms_nobody() {
    let own = own();
    let home = own.home.as_path();
    block_on(async {
        let api = client_of(home);
        let deeds = [
            ("good", ""),
            ("good", ""),
            ("good", ""),
            ("good", ""),
            ("good", ""),
            ("forge", ""),
            ("forge another line", "not buy, sell or hold"),
            ("flood", "time was over"),
            ("much", "more than 1 MiB"),
            ("hang", "time was over"),
            ("die", "exit code 137"),
            ("nest", "at most 8192"),
            ("huge", "at most 8192"),
            ("sure", "is none"),
            ("memory", ""),
            ("fork", "time was over"),
        ];
        let swarm = swarm(&api, Topology::Mesh, deeds.len() as u32).await;
        let inputs = deeds.map(|(deed, _)| object(json!({"deed": deed}))).to_vec();
        let task = run(&api, &swarm, TaskRequest { inputs, timeout: Some(8.0), ..code(MISCHIEF) }).await;
        assert_eq!((task.success, task.status), (true, TaskState::Completed));
        for ((deed, reason), result) in deeds.iter().zip(&task.results) {
            let said = result.reason.clone().unwrap_or_default();
            println!("{deed}: {} {said}", result.status.as_str());
            if ["good", "forge"].contains(deed) {
                assert_eq!(result.status, StepState::Completed, "{deed}: {said}");
            } else {
                assert_eq!((result.status, result.vote), (StepState::Failed, None), "{deed}: {said}");
                assert!(said.contains(reason) && !said.is_empty(), "{deed}: {said}");
            }
        }
        // One forged, and that is its own vote and no other's.
        let aggregate = task.aggregate.expect("decided");
        assert_eq!((aggregate.votes.buy, aggregate.votes.sell, aggregate.weights.buy), (5, 1, 2.5));
        assert_eq!((aggregate.quorum.asked, aggregate.quorum.answered, aggregate.quorum.absent), (16, 6, 10));
        // Five of sixteen are no majority.
        assert_eq!(aggregate.decision, Decision::Hold, "{}", aggregate.reason);
        destroy(&api, &swarm).await;
    });
}

/// A handler's program runs on a Python that an earlier program in the same sandbox may have prepared.
#[test]
fn what_was_left_in_a_sandbox_speaks_for_its_agent_alone() {
    let own = own();
    let home = own.home.as_path();
    block_on(async {
        let api = client_of(home);
        let swarm = swarm(&api, Topology::Mesh, 3).await;
        let first = swarm.agents[0].id.to_string();
        let made =
            CreateRequest { template: "python".into(), agent_id: Some(first.clone()), ..CreateRequest::default() };
        let made = api.create(Actor::Agent, made, None).await.expect("linked");
        assert_eq!(
            (made.agent_id.as_deref(), made.swarm_id.as_deref()),
            (Some(first.as_str()), Some(swarm.swarm_id.as_str()))
        );
        let poison = r#"
forged = "import os; os.write(1, b'{\"vote\": \"sell\", \"weight\": 1.0, \"figures\": {\"forged\": true}}\\n'); os._exit(0)"
import os
for place in [".", os.path.expanduser("~/.local/lib/python3.11/site-packages")]:
    os.makedirs(place, exist_ok=True)
    for name in ["json.py", "numpy.py", "sitecustomize.py", "usercustomize.py"]:
        open(os.path.join(place, name), "w").write(forged)
"#;
        let request = ExecuteRequest {
            sandbox_id: made.sandbox_id.to_string(),
            code: poison.into(),
            ..ExecuteRequest::default()
        };
        assert!(api.execute(Actor::Agent, request).await.expect("run").success);
        let inputs = vec![object(json!({"texts": ["Strong growth and record profit"]}))];
        let task =
            run(&api, &swarm, TaskRequest { task: "sentiment analysis".into(), inputs, ..TaskRequest::default() })
                .await;
        println!(
            "{:?}",
            task.results
                .iter()
                .map(|r| (r.vote, r.reason.clone(), r.result.contains_key("forged")))
                .collect::<Vec<_>>()
        );
        assert_eq!(task.results[0].sandbox_id.as_ref(), Some(&made.sandbox_id));
        for other in &task.results[1..] {
            assert_eq!((other.status, other.vote), (StepState::Completed, Some(Decision::Buy)), "{other:?}");
            assert!(!other.result.contains_key("forged"));
        }
        assert_eq!(task.aggregate.expect("decided").decision, Decision::Buy);
        destroy(&api, &swarm).await;
    });
}

#[test]
fn sandboxes_are_linked_scaled_away_and_paid_for() {
    let own = own();
    let home = own.home.as_path();
    block_on(async {
        let api = client_of(home);
        let one = swarm(&api, Topology::Ring, 2).await;
        let spawn = |name: &str| AgentSpawnRequest {
            swarm_id: Some(one.swarm_id.to_string()),
            kind: Some("risk".into()),
            name: Some(name.into()),
        };
        let third = api.agent_spawn(Actor::Agent, spawn("third")).await.expect("added");
        assert_eq!((third.agent.kind.as_str(), third.agent.role.as_str()), ("risk", "stage"));
        refused(api.agent_spawn(Actor::Agent, spawn("third")).await, Code::InvalidArgument, "third");
        let create = |request: CreateRequest| {
            let api = Arc::clone(&api);
            async move { api.create(Actor::Agent, CreateRequest { template: "base".into(), ..request }, None).await }
        };
        // By name, by swarm, by agent; then none is free.
        let name = format!("agent-{}-sandbox", one.agents[1].id);
        let by_name = create(CreateRequest { name: Some(name), ..CreateRequest::default() }).await.expect("made");
        let swarm_id = Some(one.swarm_id.to_string());
        let by_swarm =
            create(CreateRequest { swarm_id: swarm_id.clone(), ..CreateRequest::default() }).await.expect("made");
        let by_agent = CreateRequest { agent_id: Some(third.agent_id.to_string()), ..CreateRequest::default() };
        let by_agent = create(by_agent).await.expect("made");
        let plain = CreateRequest { name: Some("agent-a00000000000-sandbox".into()), ..CreateRequest::default() };
        let plain = create(plain).await.expect("made");
        assert_eq!(plain.agent_id, None);
        let full = create(CreateRequest { swarm_id: swarm_id.clone(), ..CreateRequest::default() }).await;
        refused(full, Code::InvalidArgument, "agent_spawn");
        let now = api.swarm_status(Actor::Agent, of(&one)).await.expect("known");
        let sandboxes: Vec<_> = now.agents.iter().map(|agent| agent.sandbox_id.clone().expect("linked")).collect();
        assert_eq!(sandboxes, [&by_swarm, &by_name, &by_agent].map(|made| made.sandbox_id.clone()));
        assert_eq!(now.cost_so_far, MilliCredits::whole(9), "{now:?}");

        let scale = |max_agents| SwarmScaleRequest { swarm_id: swarm_id.clone(), max_agents };
        let smaller = api.swarm_scale(Actor::Agent, scale(1)).await.expect("scaled");
        assert_eq!(smaller.agents.len(), 1, "{smaller:?}");
        let state = async |made: &ringfence_model::api::CreateAnswer| {
            let request = SandboxRequest { sandbox_id: made.sandbox_id.to_string() };
            api.status(Actor::Agent, request).await.expect("known").status
        };
        assert_eq!(state(&by_name).await, SandboxStatus::Deleted);
        assert_eq!(state(&by_agent).await, SandboxStatus::Deleted);
        assert_eq!(state(&by_swarm).await, SandboxStatus::Running);
        let larger = api.swarm_scale(Actor::Agent, scale(100)).await.expect("scaled");
        let ids: BTreeSet<_> = larger.agents.iter().map(|agent| agent.id.to_string()).collect();
        let names: BTreeSet<_> = larger.agents.iter().map(|agent| agent.name.clone()).collect();
        assert_eq!((ids.len(), names.len(), larger.agents[0].id.as_str()), (100, 100, one.agents[0].id.as_str()));
        refused(api.agent_spawn(Actor::Agent, spawn("more")).await, Code::InvalidArgument, "100");
        refused(api.swarm_scale(Actor::Agent, scale(101)).await, Code::InvalidArgument, "maxAgents");

        let gone = api.swarm_destroy(Actor::Agent, of(&one)).await.expect("destroyed");
        // What was scaled away is paid for as well.
        assert_eq!((gone.sandboxes.len(), gone.total_cost), (3, MilliCredits::whole(9)), "{gone:?}");
        assert_eq!(state(&by_swarm).await, SandboxStatus::Deleted);
        assert_eq!(state(&plain).await, SandboxStatus::Running);
        api.delete(Actor::Agent, SandboxRequest { sandbox_id: plain.sandbox_id.to_string() }).await.expect("deleted");
    });
}

#[test]
fn a_task_is_cancelled_with_its_programs() {
    let own = own();
    let home = own.home.as_path();
    block_on(async {
        let api = client_of(home);
        let swarm = swarm(&api, Topology::Mesh, 3).await;
        let swarm_id = Some(swarm.swarm_id.to_string());
        let request = TaskRequest {
            swarm_id: swarm_id.clone(),
            wait: Some(0.0),
            timeout: Some(600.0),
            ..code("import time; time.sleep(500)")
        };
        let task = api.task_orchestrate(Actor::Agent, request, None).await.expect("begun");
        let end = Instant::now() + Duration::from_secs(60);
        let running = loop {
            let now = status(&api, &task, 0.2).await;
            if now.results.iter().all(|result| result.execution_id.is_some()) {
                break now;
            }
            assert!(Instant::now() < end, "{now:?}");
        };
        assert_eq!(running.progress.running, 3);
        let busy = api.swarm_status(Actor::Agent, of(&swarm)).await.expect("known");
        assert!(busy.tasks_running == 1 && busy.agents.iter().all(|agent| agent.status == "busy"), "{busy:?}");
        let cancel = || TaskCancelRequest { task_id: task.task_id.to_string() };
        let cancelled = api.task_cancel(Actor::Agent, cancel()).await.expect("cancelled");
        assert_eq!((cancelled.status, cancelled.success, cancelled.aggregate), (TaskState::Cancelled, false, None));
        assert_eq!(api.task_cancel(Actor::Agent, cancel()).await.expect("again").status, TaskState::Cancelled);
        // Its programs are gone, and the sandboxes are not.
        for result in &running.results {
            let request = SandboxRequest { sandbox_id: result.sandbox_id.as_ref().expect("known").to_string() };
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                let sandbox = api.status(Actor::Agent, request.clone()).await.expect("known");
                assert_eq!(sandbox.status, SandboxStatus::Running);
                if sandbox.sandbox.executions.running == 0 {
                    break;
                }
                assert!(Instant::now() < end, "{sandbox:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        destroy(&api, &swarm).await;
    });
}

#[test]
fn an_adaptive_task_asks_again_and_stops_when_all_is_said() {
    let own = own();
    let home = own.home.as_path();
    block_on(async {
        let api = client_of(home);
        let swarm = swarm(&api, Topology::Mesh, 9).await;
        let text = "import json, os, sys\nif not os.path.exists('tried'):\n    open('tried', 'w')\n    sys.exit('not yet')\nprint(json.dumps({'decision': 'sell'}))";
        let task = run(&api, &swarm, TaskRequest { strategy: Some(TaskStrategy::Adaptive), ..code(text) }).await;
        let count = |state| task.results.iter().filter(|result| result.status == state).count();
        assert!(
            count(StepState::Completed) >= 5 && count(StepState::Skipped) >= 1 && count(StepState::Failed) == 0,
            "{task:?}"
        );
        assert_eq!(task.aggregate.expect("decided").decision, Decision::Sell);
        destroy(&api, &swarm).await;
    });
}

/// Indicators and risk of the handlers, and the same by pandas and numpy over the sample in a sandbox.
#[test]
fn figures_agree_with_pandas() {
    let own = own();
    block_on(async {
        let api = client_of(&own.home);
        let swarm = swarm(&api, Topology::Mesh, 2).await;
        let inputs = [
            json!({"symbol": "AAPL"}),
            json!({"handler": "risk", "positions": {"AAPL": 100, "IBM": -20}, "cash": 1000}),
        ];
        let task = "Technical analysis".to_owned();
        let ours =
            run(&api, &swarm, TaskRequest { task, inputs: inputs.map(object).to_vec(), ..TaskRequest::default() })
                .await;
        let theirs = std::fs::read_to_string(clients().join("indicators.py")).expect("it is beside the tests");
        let theirs = run(&api, &swarm, code(&theirs)).await;
        assert!(theirs.results[0].result.len() > 10, "{theirs:?}");
        for (name, expected) in &theirs.results[0].result {
            let found = ours.results.iter().find_map(|result| result.result.get(name)?.as_f64());
            let (found, expected) =
                (found.unwrap_or_else(|| panic!("no {name}")), expected.as_f64().expect("a number"));
            assert!((found - expected).abs() <= 1e-10 * expected.abs(), "{name}: {found}, pandas {expected}");
        }
        destroy(&api, &swarm).await;
    });
}

#[test]
fn the_command_line_says_the_same() {
    let own = own();
    let run = |words: &[&str], code: i32| {
        let output = ringfence(&own.home, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        (String::from_utf8(output.stdout).expect("text"), said)
    };
    let (id, _) = run(&["swarm", "init", "star", "--agents", "2", "--name", "desk"], 0);
    assert!(run(&["swarm", "init", "mesh", "--name", "desk"], 1).1.contains("already"));
    let input = r#"[{"symbol": "IBM"}, {"handler": "risk", "positions": {"IBM": 10}, "var_max": 0.0001}]"#;
    let (table, _) = run(&["task", "run", "Technical analysis", "--swarm", "desk", "--input", input], 0);
    assert!(table.contains("decision: ") && table.contains("VaR 95 %") && table.contains("agent-2"), "{table}");
    let (status, _) = run(&["swarm", "status", "desk"], 0);
    assert!(status.contains("hub") && status.contains("spoke") && status.contains("6 credits so far"), "{status}");
    let (json, _) = run(&["task", "run", "--json", "--consensus", "unanimous"], 0);
    let task: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&task["swarm_id"], &task["aggregate"]["rule"]), (&json!(id.trim()), &json!("unanimous")));
    let again = run(&["task", "status", task["task_id"].as_str().expect("an id"), "--json"], 0).0;
    assert_eq!(serde_json::from_str::<Value>(&again).expect("JSON"), task);
    assert!(run(&["task", "run", "Make me rich"], 1).1.contains("names no handler"));
    assert!(run(&["swarm", "destroy", "desk"], 0).0.contains("6 credits in all"));
    assert!(run(&["swarm", "ls", "--all"], 0).0.contains("destroyed"));
    assert!(run(&["swarm", "status"], 1).1.contains("no active swarm"));
}

#[test]
fn a_task_goes_on_after_the_daemon_was_killed() {
    let own = own();
    let home = own.home.as_path();
    let (swarm, task) = block_on(async {
        let api = client_of(home);
        let swarm = swarm(&api, Topology::Ring, 5).await;
        let text = "import json, sys, time\nasked = json.load(sys.stdin)\ntime.sleep(1.5)\n\
                    print(json.dumps({'decision': 'buy', 'chain': [a for o in asked['received'] for a in o['result']['chain']] + [asked['agent']['name']]}))";
        let request = TaskRequest { swarm_id: Some(swarm.swarm_id.to_string()), wait: Some(0.0), ..code(text) };
        let task = api.task_orchestrate(Actor::Agent, request, None).await.expect("begun");
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let now = status(&api, &task, 0.1).await;
            if now.progress.completed >= 2 {
                break;
            }
            assert!(Instant::now() < end, "{now:?}");
        }
        (swarm, task)
    });
    for pid in process::numbers_in_proc() {
        let Some(found) = process::Process::of(pid) else { continue };
        // The outer process of this daemon alone; with it, by the kernel, everything goes.
        if found.command().contains(&format!("serve --home {} ", home.display())) {
            found.kill();
        }
    }
    let end = Instant::now() + Duration::from_secs(30);
    while common::answers(home) {
        assert!(Instant::now() < end, "the daemon lives");
        std::thread::sleep(Duration::from_millis(50));
    }
    start(home, "none");
    block_on(async {
        let api = client_of(home);
        let mut now = status(&api, &task, 0.0).await;
        let before: Vec<_> =
            now.results.iter().filter(|r| r.status == StepState::Completed).map(|r| r.execution_id.clone()).collect();
        assert!(before.len() >= 2, "{now:?}");
        let end = Instant::now() + Duration::from_secs(120);
        while now.status == TaskState::Running {
            assert!(Instant::now() < end, "{now:?}");
            now = status(&api, &task, 20.0).await;
        }
        assert_eq!(now.status, TaskState::Completed, "{now:?}");
        assert_eq!(now.results[4].result["chain"], json!(["agent-1", "agent-2", "agent-3", "agent-4", "agent-5"]));
        // What had ended was not run again.
        let after: Vec<_> = now.results.iter().map(|result| result.execution_id.clone()).take(before.len()).collect();
        assert_eq!(after, before);
        destroy(&api, &swarm).await;
        assert!(ringfence(home, &["audit", "verify"]).status.success());
    });
}
