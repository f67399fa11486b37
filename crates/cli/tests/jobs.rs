//! Jobs that have ended are removed by the operator: their rows, their files on disk, an entry of each in the audit chain; what goes on
//! stays, and an agent removes nothing. With a daemon of its own, for it removes everything. It needs root.

mod common;

use std::{
    fs,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use common::{client_of, prepare, ringfence, shared, start};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{
        Actor, AuditLogRequest, JobKind, JobPruneRequest, PipelineStatusRequest, SweepOneRequest, SweepStatus,
        SweepStatusRequest, TaskStatusRequest,
    },
};
use ringfence_research::api::{Jobs, Pipelines, Swarms, Sweeps};
use ringfence_server::Client;
use serde_json::{Value, json};

struct Own {
    dir: tempfile::TempDir,
}

impl Own {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(shared().parent().expect("below target")).expect("a directory");
        let own = Self { dir };
        prepare(shared(), &own.home());
        start(&own.home(), "none");
        own
    }

    fn home(&self) -> std::path::PathBuf {
        self.dir.path().join("home")
    }

    fn run(&self, words: &[&str]) -> Output {
        ringfence(&self.home(), words)
    }

    /// What a command answers that must succeed.
    #[track_caller]
    fn json(&self, words: &[&str]) -> Value {
        let ran = self.run(&[words, &["--json"]].concat());
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice(&ran.stdout).expect("JSON")
    }

    /// What a command says that must be refused.
    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.status.code(), Some(1), "{words:?}: {}", String::from_utf8_lossy(&ran.stdout));
        String::from_utf8_lossy(&ran.stderr).into_owned()
    }

    /// Files below a directory of research, and their bytes.
    fn files(&self, name: &str) -> (usize, u64) {
        fn below(dir: &Path) -> Vec<u64> {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .flat_map(|entry| match entry.metadata().expect("it is there") {
                    about if about.is_dir() => below(&entry.path()),
                    about => vec![about.len()],
                })
                .collect()
        }
        let found = below(&self.home().join("engine/research").join(name));
        (found.len(), found.iter().sum())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = ringfence(&self.home(), &["stop"]);
    }
}

async fn events(api: &Client, event: &str) -> usize {
    let request = AuditLogRequest { limit: Some(1000), ..AuditLogRequest::default() };
    let entries = api.audit_log(Actor::Operator, request).await.expect("entries");
    serde_json::to_string(&entries).expect("plain data").matches(&format!("\"{event}\"")).count()
}

const SLOW: &str = "import time\ndef signals(bars, n):\n    time.sleep(0.5)\n    return [0.0] * len(bars)\n";

async fn slow_sweep(api: &Client) -> String {
    let parameters: Vec<u32> = (0..400).collect();
    let request = json!({"code": SLOW, "symbols": ["AAPL"], "parameters": {"n": parameters}, "wait": 0});
    let request = serde_json::from_value(request).expect("a request");
    api.sweep(Actor::Agent, request, None).await.expect("it is begun").sweep_id.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_is_removed_with_the_files_that_nothing_else_needs() {
    let own = tokio::task::spawn_blocking(Own::new).await.expect("a daemon");
    let api = client_of(&own.home());
    let asked = ["sweep", "sma_cross", "--symbols", "AAPL,IBM", "--param", "fast=5,10", "--param", "slow=50"];
    let id = |answer: &Value| answer["sweep_id"].as_str().expect("an id").to_owned();
    let [first, second] = [0, 1].map(|_| id(&own.json(&asked)));
    let other = id(&own.json(&["sweep", "momentum", "--symbols", "MSFT"]));
    let before = own.files("sweeps");
    assert!(before.0 >= 3, "bars, curves and reports: {before:?}");

    // Not by an agent, and not one that runs.
    let by_agent = api.sweep_delete(Actor::Agent, SweepOneRequest { sweep_id: first.clone() }).await;
    assert_eq!(by_agent.expect_err("refused").code, Code::PermissionDenied);
    let prune = JobPruneRequest { kind: JobKind::Sweep, older_than_days: 0, dry_run: false };
    assert_eq!(api.job_prune(Actor::Agent, prune).await.expect_err("refused").code, Code::PermissionDenied);
    let running = slow_sweep(&api).await;
    assert!(own.refused(&["sweep", "rm", &running]).contains("cancel"));
    assert!(own.refused(&["sweep", "rm", "nobody"]).contains("there is no sweep"));
    let status = SweepStatusRequest { sweep_id: running.clone(), ..SweepStatusRequest::default() };
    let still = api.sweep_status(Actor::Operator, status, None).await.expect("it is there");
    assert_eq!(still.status, SweepStatus::Running);
    own.json(&["sweep", "cancel", &running]);
    assert_eq!(own.json(&["sweep", "rm", &running])["removed"], json!([running]));

    // The second has the same bars and the same curves: they stay.
    let gone = own.json(&["sweep", "rm", &first]);
    assert_eq!((&gone["removed"], &gone["count"]), (&json!([first]), &json!(1)), "{gone}");
    assert!(own.refused(&["sweep", "show", &first]).contains("there is no sweep"));
    let report = own.run(&["sweep", "report", &second, "-"]);
    assert!(report.status.success() && report.stdout.starts_with(b"<!"), "{report:?}");
    let shown = own.json(&["sweep", "show", &second]);
    assert_eq!(shown["results"].as_array().map(Vec::len), Some(4), "{shown}");
    let between = own.files("sweeps");
    let gone = own.json(&["sweep", "rm", &second]);
    let after = own.files("sweeps");
    assert_eq!(gone["bytes"].as_u64(), Some(between.1 - after.1), "{gone}");
    assert!(after.0 > 0 && after.1 < between.1, "{between:?} {after:?}");
    assert!(own.run(&["sweep", "report", &other, "-"]).status.success(), "another sweep keeps its own");

    // Younger than a day: it stays, until every one that has ended is to go.
    assert_eq!(own.json(&["sweep", "prune", "--older-than", "1"])["count"], 0);
    let would = own.json(&["sweep", "prune", "--older-than", "0", "--dry-run"]);
    assert_eq!((&would["removed"], &would["dry_run"]), (&json!([other]), &json!(true)));
    assert_eq!(own.files("sweeps"), after, "only said");
    let running = slow_sweep(&api).await;
    assert_eq!(own.json(&["sweep", "prune", "--older-than", "0"])["removed"], json!([other]));
    own.json(&["sweep", "cancel", &running]);
    assert_eq!(own.json(&["sweep", "prune", "--older-than", "0"])["removed"], json!([running]));
    assert_eq!(own.files("sweeps"), (0, 0), "the disk has all of it back");
    assert_eq!(events(&api, "sweep.delete").await, 5);
    assert!(own.run(&["audit", "verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_swarms_and_tasks_that_ended_are_removed_and_those_that_go_on_stay() {
    let own = tokio::task::spawn_blocking(Own::new).await.expect("a daemon");
    let api = client_of(&own.home());
    let pipeline = async |code: &str, wait: f64| {
        let stages = json!([{"name": "one", "template": "python", "code": code, "outputs": ["b"]}]);
        let request = serde_json::from_value(json!({"stages": stages, "wait": wait})).expect("a pipeline");
        api.pipeline(Actor::Agent, request, None).await.expect("it is begun").pipeline_id.to_string()
    };
    let write = |text: &str| format!("open('b', 'w').write('{text}')");
    let ended = pipeline(&write("first"), 50.0).await;
    let twin = pipeline(&write("first"), 50.0).await;
    let long = pipeline(&format!("{}\nimport time; time.sleep(600)", write("second")), 0.0).await;
    assert_eq!(own.files("artefacts"), (1, 5));
    assert_eq!(own.json(&["pipeline", "prune", "--older-than", "1"])["count"], 0);
    let gone = own.json(&["pipeline", "prune", "--older-than", "0"]);
    assert_eq!(gone["removed"], json!([ended, twin]), "{gone}");
    assert!(own.refused(&["pipeline", "show", &ended]).contains("there is no pipeline"));
    let status = PipelineStatusRequest { pipeline_id: long.clone(), wait: None };
    api.pipeline_status(Actor::Operator, status).await.expect("what runs stays");
    own.json(&["pipeline", "cancel", &long]);
    let end = Instant::now() + Duration::from_secs(60);
    while own.json(&["pipeline", "prune", "--older-than", "0"])["removed"] != json!([long]) {
        assert!(Instant::now() < end, "the cancelled pipeline does not end");
    }
    assert_eq!(own.files("artefacts"), (0, 0), "the disk has all of it back");

    let swarm = own.json(&["swarm", "init", "mesh", "--agents", "1"])["swarm_id"].as_str().expect("an id").to_owned();
    let kept = own.json(&["swarm", "init", "mesh", "--agents", "1"])["swarm_id"].as_str().expect("an id").to_owned();
    let vote = own.home().join("vote.py");
    fs::write(&vote, "print('{\"decision\": \"hold\", \"confidence\": 0.5}')").expect("written");
    let vote = vote.to_str().expect("plain");
    let task =
        own.json(&["task", "run", "--swarm", &swarm, "--code", vote])["task_id"].as_str().expect("an id").to_owned();
    assert_eq!(own.json(&["swarm", "prune", "--older-than", "0"])["count"], 0, "both are active");
    assert_eq!(own.json(&["task", "prune", "--older-than", "1"])["count"], 0);
    assert_eq!(own.json(&["task", "prune", "--older-than", "0"])["removed"], json!([task]));
    let status = TaskStatusRequest { task_id: task, wait: None };
    assert_eq!(api.task_status(Actor::Operator, status).await.expect_err("gone").code, Code::TaskNotFound);
    own.json(&["swarm", "destroy", &swarm]);
    assert_eq!(own.json(&["swarm", "prune", "--older-than", "0"])["removed"], json!([swarm]));
    own.json(&["swarm", "status", &kept]);
    for (event, count) in [("pipeline.delete", 3), ("task.delete", 1), ("swarm.delete", 1)] {
        assert_eq!(events(&api, event).await, count, "{event}");
    }
}
