//! `kill -9` of the roles while a pipeline runs: what has ended well is not run again, what was cut off is, and what trades is not.

use ringfence_model::api::{
    Actor, PipelineAnswer, PipelineRequest, PipelineStatus, PipelineStatusRequest, StageStatus,
};
use ringfence_research::api::Pipelines;
use ringfence_server::Client;
use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, Place, Victim},
    end, output,
    patience::wait_for,
    request, stage,
};

async fn begin(api: &Client, stages: Value) -> String {
    let begun = PipelineRequest { wait: Some(0.0), ..request(stages) };
    api.pipeline(Actor::Operator, begun, None).await.expect("it is begun").pipeline_id.to_string()
}

/// Waits until the program of a stage runs.
async fn until_runs(api: &Client, id: &str, name: &str) -> PipelineAnswer {
    loop {
        let asked = PipelineStatusRequest { pipeline_id: id.to_owned(), wait: None };
        let answer = api.pipeline_status(Actor::Operator, asked).await.expect("it is there");
        let stage = stage(&answer, name);
        if stage.status == StageStatus::Running && stage.execution.is_some() {
            return answer;
        }
        assert_eq!(answer.status, PipelineStatus::Running, "{answer:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn three() -> Value {
    json!([
        {"name": "a", "template": "python", "code": "import os\nopen('a', 'wb').write(os.urandom(8).hex().encode())", "outputs": ["a"]},
        {"name": "b", "template": "python", "code": "import time\ntime.sleep(4)\nopen('b', 'w').write(open('a').read() + '!')",
            "inputs": [{"from": "a", "path": "a"}], "outputs": ["b"]},
        {"name": "c", "template": "python", "code": "open('c', 'w').write(open('b').read() + '!')",
            "inputs": [{"from": "b", "path": "b"}], "outputs": ["c"]},
    ])
}

#[test]
fn a_pipeline_survives_the_death_of_any_role() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for victim in [Victim::Serve, Victim::Jailer, Victim::Supervisor, Victim::Outer] {
        let old = daemon.tree();
        let (id, before) = runtime.block_on(async {
            let api = daemon.client();
            let id = begin(&api, three()).await;
            let before = until_runs(&api, &id, "b").await;
            (id, before)
        });
        daemon.victim(victim).expect("it runs").kill();
        daemon.recover();
        let answer = runtime.block_on(async {
            let api = daemon.client();
            let answer = end(&api, &id).await;
            let first = output(&api, &answer, "a", "a").await;
            assert_eq!(output(&api, &answer, "c", "c").await, format!("{first}!!"));
            answer
        });
        assert_eq!(answer.status, PipelineStatus::Completed, "{victim:?}: {answer:#?}");
        let attempts: Vec<(u32, u32)> = answer.stages.iter().map(|stage| (stage.attempts, stage.cut_off)).collect();
        assert_eq!(attempts, [(1, 0), (2, 1), (1, 0)], "{victim:?}");
        assert_eq!(stage(&answer, "a").outputs, stage(&before, "a").outputs, "{victim:?}");
        // The outer process and the supervisor live on when only the roles died.
        let stays = |pid: i32| daemon.outer_pid() == Some(pid) || daemon.supervisor().is_some_and(|one| one.pid == pid);
        let gone: Vec<_> = old.into_iter().filter(|process| !stays(process.pid)).collect();
        daemon.nothing_is_left_of(&gone);
    }
    // In order: what has not ended when the drain is over is cut off, not failed.
    let config = daemon.home.join("config.toml");
    let short = "\n[daemon]\ndrain_seconds = 1\n";
    let written = std::fs::read_to_string(&config).unwrap_or_default().replace(short, "");
    std::fs::write(&config, format!("{written}{short}")).expect("it can be written");
    daemon.stop();
    daemon.start();
    let id = runtime.block_on(async {
        let api = daemon.client();
        let id = begin(&api, three()).await;
        until_runs(&api, &id, "b").await;
        id
    });
    daemon.stop();
    daemon.start();
    let answer = runtime.block_on(async { end(&daemon.client(), &id).await });
    let attempts: Vec<(u32, u32)> = answer.stages.iter().map(|stage| (stage.attempts, stage.cut_off)).collect();
    assert_eq!((answer.status, attempts), (PipelineStatus::Completed, vec![(1, 0), (2, 1), (1, 0)]), "{answer:#?}");
    daemon.stop();
    std::fs::write(&config, written).expect("it can be written");
}

#[test]
fn a_stage_that_trades_is_not_run_again_after_it_was_cut_off() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let id = runtime.block_on(async {
        let api = daemon.client();
        let stages = json!([
            {"name": "t", "kind": "trade", "mode": "simulated", "template": "python", "code": "import time; time.sleep(600)",
                "timeout": 700},
            {"name": "u", "template": "python", "code": "pass", "needs": ["t"]},
        ]);
        let id = begin(&api, stages).await;
        until_runs(&api, &id, "t").await;
        id
    });
    daemon.victim(Victim::Serve).expect("it runs").kill();
    daemon.recover();
    let answer = runtime.block_on(async { end(&daemon.client(), &id).await });
    let statuses: Vec<StageStatus> = answer.stages.iter().map(|stage| stage.status).collect();
    assert_eq!(statuses, [StageStatus::Failed, StageStatus::Skipped], "{answer:#?}");
    assert_eq!((stage(&answer, "t").attempts, stage(&answer, "t").cut_off), (1, 1));
    assert_eq!(stage(&answer, "t").trading.as_ref().expect("it says where").mode, "simulated");
    assert!(answer.error.as_deref().expect("a word").contains("may have sent orders"), "{answer:#?}");
    wait_for("the end of its sandbox", || {
        let left = [daemon.listed("running"), daemon.listed("stopped"), daemon.listed("failed")].concat();
        let left: Vec<String> = left
            .into_iter()
            .filter(|id| stage(&answer, "t").sandbox_id.as_ref().is_some_and(|s| s.as_str() == id))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    daemon.stop();
}
