//! A program is answered when it is on its way out, before the kernel has taken its process apart
//! (docs/decisions/0009-an-execution-is-answered-on-its-way-out.md). Nothing that a program does makes that moment earlier,
//! or its end another.

mod common;

use std::time::Duration;

use common::Sandbox;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, ExecuteRequest, ExecutionStatus};

const CLOSE: &str = "import os, sys, time, signal, threading, ctypes\nfor fd in (0, 1, 2): os.close(fd)\n";

#[track_caller]
fn check(run: &ringfence_model::api::ExecutionAnswer, status: ExecutionStatus, code: i32) {
    assert_eq!((run.status, run.exit_code), (status, Some(code)), "{run:?}");
}

#[tokio::test]
async fn one_that_closes_its_outputs_has_the_end_that_it_has_later() {
    let sandbox = Sandbox::new().await;
    for (rest, status, code) in [
        ("os._exit(5)", ExecutionStatus::Failed, 5),
        ("time.sleep(0.3); os._exit(6)", ExecutionStatus::Failed, 6),
        ("time.sleep(0.3); sys.exit(0)", ExecutionStatus::Completed, 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", ExecutionStatus::Failed, 137),
        ("time.sleep(0.3); os.kill(os.getpid(), signal.SIGSEGV)", ExecutionStatus::Failed, 139),
    ] {
        for _ in 0..3 {
            check(&sandbox.python(&format!("{CLOSE}{rest}")).await, status, code);
        }
    }
}

#[tokio::test]
async fn one_that_closes_its_outputs_and_lives_on_is_ended_by_its_deadline() {
    let sandbox = Sandbox::new().await;
    let request =
        ExecuteRequest { code: format!("{CLOSE}time.sleep(600)"), timeout: Some(0.8), ..ExecuteRequest::default() };
    let run = sandbox.request(request).await;
    check(&run, ExecutionStatus::Timeout, 124);
    assert!(run.execution_time >= 0.8, "{run:?}");
    check(&sandbox.python("print(1)").await, ExecutionStatus::Completed, 0);
}

#[tokio::test]
async fn a_main_thread_that_ends_is_not_a_process_that_ends() {
    let sandbox = Sandbox::new().await;
    // The main thread leaves by itself (pthread_exit); another one lives on and has the last word.
    let code = format!(
        "{CLOSE}def last():\n    time.sleep(0.5)\n    os._exit(9)\n\
         threading.Thread(target=last).start()\nctypes.CDLL(None).pthread_exit(None)"
    );
    let run = sandbox.python(&code).await;
    check(&run, ExecutionStatus::Failed, 9);
    assert!(run.execution_time >= 0.5, "{run:?}");
}

#[tokio::test]
async fn what_ends_while_it_is_taken_apart_leaves_nothing_behind() {
    let sandbox = Sandbox::new().await;
    for number in 0..20 {
        let run = sandbox.python(&format!("print({number})")).await;
        assert_eq!(run.output, format!("{number}\n"));
    }
    let end = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let status = sandbox.api.status(Actor::Agent, sandbox.named()).await.expect("known").sandbox;
        if status.processes.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < end, "{:?}", status.processes);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
