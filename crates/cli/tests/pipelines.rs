//! Pipelines on a real daemon: stages in real sandboxes, files handed on by hash, what fails and what is hostile, and `kill -9`.

mod common;
#[allow(dead_code, reason = "the tests of recovery use the rest of it")]
#[path = "recovery/daemon.rs"]
mod daemon;
#[path = "pipelines/hostile.rs"]
mod hostile;
#[path = "recovery/patience.rs"]
mod patience;
#[path = "recovery/process.rs"]
mod process;
#[path = "pipelines/recovery.rs"]
mod recovery;
#[path = "gate/scene.rs"]
mod scene;
#[path = "pipelines/seed.rs"]
mod seed;
#[path = "gate/websocket.rs"]
mod websocket;

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;
use ringfence_model::{
    Code,
    api::{
        Actor, PipelineAnswer, PipelineCancelRequest, PipelineOutputRequest, PipelineRequest, PipelineResumeRequest,
        PipelineStageView, PipelineStatus, PipelineStatusRequest, StageStatus,
    },
};
use ringfence_research::api::Pipelines;
use ringfence_server::Client;
use serde_json::{Value, json};

use crate::common::client;

/// A pipeline as JSON has it.
fn request(stages: Value) -> PipelineRequest {
    serde_json::from_value(json!({"stages": stages})).expect("a pipeline")
}

/// Runs one to its end.
async fn run(api: &Client, stages: Value) -> PipelineAnswer {
    let begun = api.pipeline(Actor::Agent, request(stages), None).await.expect("it is begun");
    end(api, begun.pipeline_id.as_str()).await
}

/// Waits for the end of one that runs.
async fn end(api: &Client, id: &str) -> PipelineAnswer {
    const ROUNDS: usize = 6;
    for _ in 0..ROUNDS {
        let request = PipelineStatusRequest { pipeline_id: id.to_owned(), wait: Some(50.0) };
        let answer = api.pipeline_status(Actor::Agent, request).await.expect("it is there");
        if answer.status != PipelineStatus::Running {
            return answer;
        }
    }
    panic!("{id} does not end");
}

fn stage<'a>(answer: &'a PipelineAnswer, name: &str) -> &'a PipelineStageView {
    answer.stages.iter().find(|stage| stage.name == name).expect("a stage of that name")
}

/// What a stage has handed on, as text.
async fn output(api: &Client, answer: &PipelineAnswer, stage: &str, path: &str) -> String {
    let request = PipelineOutputRequest {
        pipeline_id: answer.pipeline_id.to_string(),
        stage: stage.to_owned(),
        path: path.to_owned(),
    };
    api.pipeline_output(Actor::Agent, request).await.expect("it is stored").content.expect("text")
}

/// A program that fails until that many seconds from now.
fn fails_for(seconds: f64) -> String {
    let until = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64() + seconds;
    format!("import sys, time\nif time.time() < {until}: sys.exit('too early')\nopen('b', 'w').write('b')")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_a_stage_changes_stays_as_it_is_stored() {
    let api = client().await;
    let change = "text = open('a').read()\nopen('a', 'w').write('changed')\nopen('b', 'w').write(text + '!')";
    let answer = run(
        &api,
        json!([
            {"name": "a", "template": "python", "code": "open('a', 'w').write('first')", "outputs": ["a"]},
            {"name": "b", "template": "python", "code": change, "inputs": [{"from": "a", "path": "a"}], "outputs": ["b"]},
            {"name": "c", "template": "python", "code": "print(open('/tmp/in/a').read(), open('b').read())", "inputs": [
                {"from": "a", "path": "a", "to": "/tmp/in/a"}, {"from": "b", "path": "b"}]},
        ]),
    )
    .await;
    assert_eq!(answer.status, PipelineStatus::Completed, "{answer:#?}");
    assert_eq!(stage(&answer, "c").execution.as_ref().expect("it ran").output_tail, "first first!\n");
    assert_eq!(output(&api, &answer, "a", "a").await, "first");
    let made = &stage(&answer, "a").outputs[0];
    assert_eq!(made.sha256, stage(&answer, "b").inputs[0].sha256);
    // As sha256sum(1) says of `first`.
    assert_eq!(made.sha256, "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e");
    assert_eq!((made.size, stage(&answer, "c").inputs[1].size), (5, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stages_that_do_not_depend_on_each_other_run_side_by_side() {
    let api = client().await;
    let answer = run(
        &api,
        json!([
            {"name": "a", "template": "python", "code": "import time; time.sleep(2)"},
            {"name": "b", "template": "python", "code": "import time; time.sleep(2)"},
            {"name": "c", "template": "python", "code": "pass", "needs": ["a", "b"]},
        ]),
    )
    .await;
    assert_eq!(answer.status, PipelineStatus::Completed, "{answer:#?}");
    // As times: `…52.88Z` is before `…52.882Z`, and after it as text.
    let time = |text: &Option<String>| text.as_ref().expect("begun and ended").parse::<Timestamp>().expect("RFC 3339");
    let times = |name: &str| {
        let stage = stage(&answer, name);
        (time(&stage.started_at), time(&stage.ended_at))
    };
    let (a, b, c) = (times("a"), times("b"), times("c"));
    assert!(a.0 < b.1 && b.0 < a.1, "{a:?} {b:?}");
    assert!(c.0 >= a.1 && c.0 >= b.1, "{a:?} {b:?} {c:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_is_run_again_and_a_pipeline_resumed_with_what_is_stored() {
    let api = client().await;
    let first = json!({"name": "a", "template": "python", "code": "import os\nopen('a', 'wb').write(os.urandom(8))", "outputs": ["a"]});
    let input = json!([{"from": "a", "path": "a"}]);
    let second = |code: String, retries: u32| json!({"name": "b", "template": "python", "code": code, "inputs": input, "outputs": ["b"], "retries": retries});
    let last = json!({"name": "c", "template": "python", "code": "print(open('b').read())", "inputs": [{"from": "b", "path": "b"}]});
    let retried = run(&api, json!([first, second(fails_for(2.0), 5), last])).await;
    assert_eq!(retried.status, PipelineStatus::Completed, "{retried:#?}");
    assert!((2..=4).contains(&stage(&retried, "b").attempts), "{retried:#?}");
    // Without another attempt, the rest is not begun; a resume goes on with what is stored.
    let failed = run(&api, json!([first, second(fails_for(4.0), 0), last])).await;
    assert_eq!((failed.status, failed.success), (PipelineStatus::Failed, false), "{failed:#?}");
    let error = failed.error.as_deref().expect("a word");
    assert!(
        error.starts_with("stage `b` failed") && error.ends_with("exit code 1; it said last: too early"),
        "{error}"
    );
    assert_eq!((stage(&failed, "c").status, stage(&failed, "c").attempts), (StageStatus::Skipped, 0));
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let again = PipelineResumeRequest { pipeline_id: failed.pipeline_id.to_string(), from: None, wait: Some(50.0) };
    let resumed = api.pipeline_resume(Actor::Agent, again.clone(), None).await.expect("resumed");
    assert_eq!(resumed.status, PipelineStatus::Completed, "{resumed:#?}");
    let attempts: Vec<u32> = resumed.stages.iter().map(|stage| stage.attempts).collect();
    assert_eq!(attempts, [1, 2, 1]);
    assert_eq!(stage(&resumed, "b").inputs[0].sha256, stage(&failed, "a").outputs[0].sha256);
    let refused = api.pipeline_resume(Actor::Agent, again.clone(), None).await.expect_err("nothing is left");
    assert!(refused.message.contains("name the stage"), "{refused}");
    // From a stage on that ended well: it and what depends on it.
    let from = PipelineResumeRequest { from: Some("b".into()), ..again };
    let resumed = api.pipeline_resume(Actor::Agent, from.clone(), None).await.expect("resumed");
    let attempts: Vec<u32> = resumed.stages.iter().map(|stage| stage.attempts).collect();
    assert_eq!((resumed.status, attempts), (PipelineStatus::Completed, vec![1, 3, 2]));
    let unknown = PipelineResumeRequest { from: Some("x".into()), ..from };
    let refused = api.pipeline_resume(Actor::Agent, unknown, None).await.expect_err("no such stage");
    assert!(refused.message.contains("none of its stages: a, b, c"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_is_cancelled_and_leaves_no_sandbox() {
    let api = client().await;
    let stages = json!([
        {"name": "a", "template": "python", "code": "print('begun', flush=True)\nimport time; time.sleep(600)", "timeout": 700},
        {"name": "b", "template": "python", "code": "pass", "needs": ["a"]},
    ]);
    let begun = PipelineRequest { wait: Some(0.0), ..request(stages) };
    let begun = api.pipeline(Actor::Agent, begun, None).await.expect("it is begun");
    let id = begun.pipeline_id.to_string();
    let sandbox = loop {
        let asked = PipelineStatusRequest { pipeline_id: id.clone(), wait: None };
        let answer = api.pipeline_status(Actor::Agent, asked).await.expect("it is there");
        let first = stage(&answer, "a");
        if let (Some(_), Some(sandbox)) = (&first.execution, &first.sandbox_id) {
            break sandbox.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let refused = api.pipeline_resume(
        Actor::Agent,
        PipelineResumeRequest { pipeline_id: id.clone(), ..Default::default() },
        None,
    );
    assert!(refused.await.expect_err("it runs").message.contains("cancel it first"));
    let cancel = PipelineCancelRequest { pipeline_id: id.clone() };
    let answer = api.pipeline_cancel(Actor::Agent, cancel.clone()).await.expect("cancelled");
    assert_eq!((answer.status, answer.success), (PipelineStatus::Cancelled, false), "{answer:#?}");
    let statuses: Vec<StageStatus> = answer.stages.iter().map(|stage| stage.status).collect();
    assert_eq!(statuses, [StageStatus::Cancelled, StageStatus::Skipped]);
    let status = ringfence_engine::api::Sandboxes::status(
        api.as_ref(),
        Actor::Agent,
        ringfence_model::api::SandboxRequest { sandbox_id: sandbox.to_string() },
    );
    assert_eq!(status.await.expect("its row stays").status, ringfence_model::api::SandboxStatus::Deleted);
    let again = api.pipeline_cancel(Actor::Agent, cancel).await.expect("it stays as it is");
    assert_eq!(again, answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_pipeline_is_refused_before_anything_is_begun() {
    let api: Arc<Client> = client().await;
    let ok = json!({"name": "a", "template": "python", "code": "pass"});
    for (stages, code, word) in [
        (json!([{"name": "a", "template": "nonsense", "code": "pass"}]), Code::TemplateNotFound, "stage `a`"),
        (
            json!([{"name": "a", "template": "python", "code": "pass", "network": "open"}]),
            Code::PermissionDenied,
            "stage `a`",
        ),
        (
            json!([ok, {"name": "b", "template": "python", "code": "pass", "needs": ["c"]}]),
            Code::InvalidArgument,
            "`c`",
        ),
    ] {
        let refused = api.pipeline(Actor::Agent, request(stages), None).await.expect_err("refused");
        assert_eq!(refused.code, code, "{refused}");
        assert!(refused.message.contains(word), "{refused}");
    }
    for id in ["pipeline_0000000000000000", "", "sweep_0000000000000000", "../../etc"] {
        let request = PipelineStatusRequest { pipeline_id: id.into(), wait: None };
        let refused = api.pipeline_status(Actor::Agent, request).await.expect_err("unknown");
        // Nothing at all in a path is the list's address, whose answer is no pipeline's.
        assert!(id.is_empty() || refused.code == Code::PipelineNotFound, "{id}: {refused}");
    }
}
