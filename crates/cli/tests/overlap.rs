//! An execution is answered when its program says that it is over, before its process is gone (docs/decisions/0009). The word
//! is a program's own: here are programs that lie about it.
//!
//! The lie counts only with both outputs closed, shortens nothing but the answer, and keeps nobody from being found and killed.

mod common;

use std::time::{Duration, Instant};

use common::Sandbox;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExecutionStatus, RunningProcess};

/// Begins every program. `name` is what a warm interpreter does when its program is over (`PR_SET_NAME`, prctl(2)); the
/// programs wait with `for_go` until [`go`].
const PREAMBLE: &str = "
import ctypes, os, sys, time

def name(text):
    assert ctypes.CDLL(None).prctl(15, text.encode(), 0, 0, 0) == 0
    assert open('/proc/self/comm').read() == text + '\\n'

def close_streams():
    for descriptor in 0, 1, 2:
        os.close(descriptor)

def for_go():
    while not os.path.exists('/home/user/go'):
        time.sleep(0.01)
";

/// How long the daemon may take to do what it does at once.
const PATIENCE: Duration = Duration::from_secs(10);

fn program(code: &str) -> String {
    format!("{PREAMBLE}\n{code}\n")
}

/// What the sandbox says that earlier executions left running.
async fn left_running(sandbox: &Sandbox) -> Vec<RunningProcess> {
    sandbox.api.status(Actor::Operator, sandbox.named()).await.expect("it is there").sandbox.processes
}

async fn works(sandbox: &Sandbox) {
    let next = sandbox.python("print(6 * 7)").await;
    assert_eq!((next.output.as_str(), next.exit_code), ("42\n", Some(0)), "{next:?}");
}

/// Runs a program that waits for `go`, sees that it is not answered before, lets it go; its answer.
async fn answered_at_its_end(code: &str) -> ExecutionAnswer {
    const A_WHILE_S: f64 = 0.5;
    let sandbox = Sandbox::new().await;
    let request =
        ExecuteRequest { code: program(code), wait: Some(A_WHILE_S), timeout: Some(60.0), ..ExecuteRequest::default() };
    let begun = sandbox.request(request).await;
    assert_eq!((begun.status, begun.exit_code), (ExecutionStatus::Running, None), "{begun:?}");
    // It has done all that it does before it waits.
    let ready = sandbox.bash("until [ -e ready ]; do sleep 0.01; done; touch go").await;
    assert!(ready.success, "{ready:?}");
    let request = ExecutionRequest { execution_id: begun.execution_id.to_string(), wait: Some(PATIENCE.as_secs_f64()) };
    sandbox.api.execution(Actor::Operator, request).await.expect("it is known")
}

#[tokio::test]
async fn one_that_says_that_it_is_over_and_lives_on_is_answered_listed_and_killed_at_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(3);
    let sandbox = Sandbox::new().await;
    let code = program("print('said', flush=True)\nname('over:0')\nclose_streams()\ntime.sleep(600)");
    let request = ExecuteRequest { code, timeout: Some(DEADLINE.as_secs_f64()), ..ExecuteRequest::default() };
    let begun = Instant::now();
    let run = sandbox.request(request).await;
    let taken = begun.elapsed();
    assert!(taken < DEADLINE / 2, "answered after {taken:?}, not at once");
    assert_eq!((run.status, run.exit_code), (ExecutionStatus::Completed, Some(0)), "{run:?}");
    assert_eq!(run.output, "said\n");

    let left = left_running(&sandbox).await;
    // Its program's path, in its command line, has the execution's id.
    let id = run.execution_id.to_string();
    assert!(left.iter().any(|p| p.command.contains(&id)), "it is not listed: {left:?}");
    works(&sandbox).await;
    let seen = begun.elapsed();
    let alive = sandbox.bash("pgrep -c '^over:0$'").await;
    assert!(seen > DEADLINE / 2 || alive.output == "1\n", "it was killed before its deadline: {alive:?}");

    loop {
        let left = left_running(&sandbox).await;
        if left.is_empty() {
            break;
        }
        assert!(begun.elapsed() < DEADLINE + PATIENCE, "its deadline did not kill it: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let lived = begun.elapsed();
    assert!(lived >= DEADLINE, "it was gone after {lived:?}, before its deadline");
    let alive = sandbox.bash("pgrep -c '^over:'").await;
    assert_eq!(alive.output, "0\n", "it is not listed, and lives");
    works(&sandbox).await;
    // What was answered stays so: the kill is not the end of the execution.
    let request = ExecutionRequest { execution_id: id, wait: None };
    let row = sandbox.api.execution(Actor::Operator, request).await.expect("it is known");
    assert_eq!((row.status, row.exit_code), (ExecutionStatus::Completed, Some(0)), "{row:?}");
}

#[tokio::test]
async fn one_that_says_that_it_is_over_with_its_outputs_open_is_answered_at_its_end() {
    let run = answered_at_its_end("name('over:7')\nopen('ready', 'w')\nfor_go()\nprint('end')\nsys.exit(5)").await;
    assert_eq!((run.exit_code, run.output.as_str()), (Some(5), "end\n"), "{run:?}");
}

#[tokio::test]
async fn one_that_closes_its_outputs_and_says_nothing_is_answered_at_its_end() {
    let run = answered_at_its_end("open('ready', 'w')\nclose_streams()\nfor_go()\nos._exit(6)").await;
    assert_eq!((run.exit_code, run.output.as_str()), (Some(6), ""), "{run:?}");
}

#[tokio::test]
async fn a_name_that_holds_no_exit_code_says_nothing() {
    for name in ["over:", "over:256", "over:-1", "over:x", "over"] {
        let code = format!("name({name:?})\nopen('ready', 'w')\nclose_streams()\nfor_go()\nos._exit(6)");
        let run = answered_at_its_end(&code).await;
        assert_eq!(run.exit_code, Some(6), "{name}: {run:?}");
    }
}
