//! An order that is cut off at each of its points: before the gateway's, the exchange's or serve's first, second, third … call by which
//! something becomes durable or is told.

use std::{path::Path, time::Duration};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    SandboxId,
    api::{Actor, ExecuteRequest, ExecutionRequest, ExecutionStatus, SandboxRequest},
};
use serde_json::Value;

use super::{RAW, eventually, record, the_ledger_is_the_record, trader};
use crate::{
    common::{self, is_long},
    scene::Scene,
    tracer::Tracer,
};

/// For what comes after an answer.
const AFTERWARDS: Duration = Duration::from_millis(300);

const DURABLE: &str = "fsync,fdatasync";
const TELLS: &str = "sendto,sendmsg,write,writev";

/// A role, its system call, and how many of them are tried at most, one after the other; it ends at the first that an order does not come to.
const POINTS: [(&str, &str, u32); 5] = [
    ("ringfence-gateway", DURABLE, 5),
    ("ringfence-gateway", TELLS, 6),
    ("ringfence-venue", DURABLE, 3),
    ("ringfence-venue", TELLS, 4),
    ("ringfence-serve", DURABLE, 4),
];

/// Sends one order, and remembers whether it was taken: its name is on the disk of the sandbox then. Whoever sends it again hears that it
/// is there, or, after a minute in which the exchange did not know it, that it never got there and is to have another name.
const ORDER: &str = r#"
log = open("taken.txt", "a")
for attempt in range(ATTEMPTS):
    try:
        status, said, _ = raw("POST", "/v2/orders", order(client_order_id=NAME))
        print(status, said)
        if "never reached the venue" in str(said):
            AGAIN = NAME + "-again"
            status, said, _ = raw("POST", "/v2/orders", order(client_order_id=AGAIN))
            print(status, said)
        if status == 200 or "client_order_id must be unique" in str(said):
            log.write(NAME + "\n"); log.flush(); os.fsync(log.fileno())
            break
    except Exception as error:
        print(type(error).__name__)
    time.sleep(0.5)
"#;

/// Runs it in the sandbox. What serve says when it dies is no answer.
async fn send(scene: &Scene, sandbox: &SandboxId, name: &str, attempts: u32) -> String {
    let request = ExecuteRequest {
        sandbox_id: sandbox.to_string(),
        code: format!("NAME = {name:?}\nATTEMPTS = {attempts}\n{RAW}{ORDER}"),
        language: Some("python".into()),
        timeout: Some(200.0),
        ..ExecuteRequest::default()
    };
    let mut told = scene.api.execute(Actor::Agent, request).await;
    loop {
        match told {
            // A call waits for less than a minute.
            Ok(run) if run.status == ExecutionStatus::Running => {
                let request = ExecutionRequest { execution_id: run.execution_id.to_string(), wait: Some(30.0) };
                told = scene.api.execution(Actor::Agent, request).await;
            }
            Ok(run) => return format!("{}{}", run.output, run.stderr),
            Err(error) => return error.to_string(),
        }
    }
}

async fn was_taken(scene: &Scene, sandbox: &SandboxId, name: &str) -> bool {
    let code = "import os\nif os.path.exists('taken.txt'): print(open('taken.txt').read())";
    scene.run(sandbox, code).await.output.lines().any(|line| line == name)
}

fn times(home: &Path, name: &str) -> usize {
    let is = |order: &&Value| {
        order["client_order_id"].as_str().is_some_and(|one| one.strip_suffix("-again").unwrap_or(one) == name)
    };
    record(home).iter().filter(is).count()
}

/// Whether the role came to this point.
async fn cut(scene: &Scene, sandbox: &SandboxId, (role, call): (&str, &str), nth: u32) -> bool {
    let name = format!("{role}-{}-{nth}", call.split(',').next().expect("a call"));
    let old = scene.role(role).expect("it is played");
    let tracer = Tracer::attach(old, call, nth);
    let said = send(scene, sandbox, &name, 1).await;
    tokio::time::sleep(AFTERWARDS).await;
    drop(tracer);
    let died = scene.role(role) != Some(old);
    if died {
        eventually("another one in its place", || {
            scene.role(role).is_some_and(|new| new != old) && common::answers(&scene.home)
        })
        .await;
        if role == "ringfence-serve" {
            let request = SandboxRequest { sandbox_id: sandbox.to_string() };
            scene.api.resume(Actor::Agent, request).await.expect("it goes on with its files");
        }
    }
    let taken = was_taken(scene, sandbox, &name).await;
    assert!(died || taken, "{role} lives, and the order was not taken: {said}");
    let there = times(&scene.home, &name);
    assert!(there == 1 || (there == 0 && !taken), "{there} times there, taken: {taken}: {said}");
    // A client that sends it again, because it heard nothing, has it once.
    let said = send(scene, sandbox, &name, 60).await;
    assert!(was_taken(scene, sandbox, &name).await, "{said}");
    assert_eq!(times(&scene.home, &name), 1, "{said}");
    println!("{role} before {call} {nth}: {}", if died { "killed" } else { "not come to" });
    died
}

/// Answers how many points were come to.
async fn each_of(points: &[(&str, &str, u32)]) -> u32 {
    let scene = Scene::new().await;
    let sandbox = trader(&scene).await;
    // The first one has more to do: connections are made and accounts opened.
    send(&scene, &sandbox, "first", 1).await;
    let mut come_to = 0;
    for (role, call, most) in points {
        for nth in 1..=*most {
            if !cut(&scene, &sandbox, (role, call), nth).await {
                break;
            }
            come_to += 1;
        }
    }
    let code = format!("{RAW}\nprint(raw('DELETE', '/v2/orders')[0])");
    let run = scene.run(&sandbox, &code).await;
    assert_eq!(run.output, "207\n", "{}", run.stderr);
    eventually("the end of what was left", || record(&scene.home).iter().all(|order| order["status"] == "canceled"))
        .await;
    let again = |order: &&Value| order["client_order_id"].as_str().is_some_and(|name| name.ends_with("-again"));
    the_ledger_is_the_record(&scene, record(&scene.home).iter().filter(again).count()).await;
    come_to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_cut_off_is_there_once_or_not_at_all() {
    let come_to = each_of(&[("ringfence-gateway", DURABLE, 1), ("ringfence-venue", DURABLE, 1)]).await;
    assert_eq!(come_to, 2, "strace kills nobody, or what durable means has changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_cut_off_at_every_point() {
    if !is_long("an order at every point") {
        return;
    }
    let come_to = each_of(&POINTS).await;
    assert!(come_to >= 12, "{come_to} points were come to");
}
