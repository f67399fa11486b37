//! Escaping a deadline, and killing or stopping what belongs to the host.

use std::process::Command;

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, ExecuteRequest, ExecutionStatus, Interpreter};

use super::stage::{Verdict, all_is_well, inside, on_host, program, python, with_deadline};
use crate::common::Sandbox;

const GROUP: &str = include_str!("exhaust.py");
const HEADER: &str = "RESOURCE = ''; HOLD_SECONDS = 0; VICTIM = os.environ.get('VICTIM', '')";

async fn as_control(options: &'static [&'static str], script: &'static str, text: String) -> Verdict {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("unshare");
    command.args(options).args(["--pid", "--fork", "--mount-proc", "--kill-child", "--", "bash", "-c", script]);
    command.env("PROGRAM", &text).env("PYTHON", python());
    tokio::task::spawn_blocking(move || on_host(command, &text, dir.path())).await.expect("it does not panic")
}

#[tokio::test]
async fn ignored_signals_and_daemons_do_not_outlive_a_deadline() {
    let (sandbox, neighbour) = (Sandbox::new().await, Sandbox::new().await);
    let text = program(HEADER, GROUP, "outlive_the_deadline");
    let run = with_deadline(&sandbox, &text, 0.7).await;
    assert_eq!((run.status, run.exit_code), (ExecutionStatus::Timeout, Some(124)), "{run:?}");
    let daemon = run.output.strip_prefix("DAEMON ").expect("it was there").trim().to_owned();
    // One that its parent has not waited for yet runs no more: proc(5), State.
    let look = format!("grep -hs ^State: /proc/{daemon}/status | grep -v Z && echo alive || echo gone");
    assert_eq!(sandbox.bash(&look).await.output, "gone\n");
    all_is_well(&neighbour).await;

    // What others do at a deadline: SIGTERM, then SIGKILL, to the process group.
    let script = "setsid \"$PYTHON\" -c \"$PROGRAM\" > said & sleep 0.2; for _ in $(seq 100); do grep -q DAEMON said && break; sleep 0.05; done\n\
        kill -TERM -- -$!; sleep 0.2; kill -0 $! || { echo BLOCKED SIGTERM; exit 10; }\n\
        kill -KILL -- -$!; wait $!; kill -0 $(cut -d' ' -f2 said) && { echo SUCCEEDED; exit 20; }\necho BLOCKED SIGKILL; exit 10";
    assert_eq!(as_control(&[], script, text).await, Verdict::Succeeded);
}

#[tokio::test]
async fn a_signal_to_everybody_reaches_nobody_else() {
    let (sandbox, neighbour) = (Sandbox::new().await, Sandbox::new().await);
    let text = program(HEADER, GROUP, "signal_everybody");
    assert_eq!(inside(&sandbox, &text).await, Verdict::Blocked("EPERM".into()));
    assert_eq!(sandbox.python("print('alive')").await.output, "alive\n");
    all_is_well(&neighbour).await;
    let script = "sleep 60 & export VICTIM=$!; \"$PYTHON\" -";
    assert_eq!(as_control(&[], script, text).await, Verdict::Succeeded);
}

#[tokio::test]
async fn a_sandbox_whose_processes_are_all_stopped_still_ends() {
    let (sandbox, neighbour) = (Sandbox::new().await, Sandbox::new().await);
    let stop = "import os, signal\nfor _ in range(3): os.fork()\nwhile True:\n    try: os.kill(-1, signal.SIGSTOP)\n    except OSError: pass";
    let run = with_deadline(&sandbox, stop, 1.0).await;
    assert_eq!((run.status, run.exit_code), (ExecutionStatus::Timeout, Some(124)), "{run:?}");
    assert_eq!(sandbox.python("print('alive')").await.output, "alive\n");
    // One that goes on stopping whatever comes, from outside of any deadline.
    let forever = stop.replace("for _ in range(3): os.fork()", "if os.fork(): os._exit(0)\nos.setsid()");
    assert!(sandbox.python(&forever).await.success);
    let request = ExecuteRequest {
        sandbox_id: sandbox.id.clone(),
        code: "print('never')".into(),
        timeout: Some(1.0),
        ..ExecuteRequest::default()
    };
    match sandbox.api.execute(Actor::Operator, request).await {
        // It may be quicker than the next signal.
        Ok(run) => {
            assert!(matches!(run.status, ExecutionStatus::Timeout | ExecutionStatus::Completed), "{run:?}");
            assert!(run.execution_time < 5.0, "{run:?}");
        }
        // It may be stopped before it is a program: whoever did that has the sandbox that they made.
        Err(refused) => assert_eq!(refused.code, ringfence_model::Code::SandboxNotRunning, "{refused:?}"),
    }
    all_is_well(&neighbour).await;
    sandbox.api.delete(Actor::Operator, sandbox.named()).await.expect("it can be deleted");
    // The control: what only a deadline of its own process can end is stopped here for good.
    let script = "\"$PYTHON\" -c \"$PROGRAM\" & sleep 1; grep -q '^State:.T' /proc/$!/status && { echo SUCCEEDED; exit 20; }\necho BLOCKED; exit 10";
    assert_eq!(as_control(&[], script, "import os, signal, time\nos.kill(0, 0)\nif os.fork() == 0:\n    os.kill(os.getppid(), signal.SIGSTOP)\nelse: time.sleep(60)".into()).await, Verdict::Succeeded);
}

#[tokio::test]
async fn the_next_interpreter_can_be_killed_and_the_next_program_runs() {
    let (sandbox, neighbour) = (Sandbox::new().await, Sandbox::new().await);
    let hunter = "import os, sys, time\nif os.fork(): sys.exit()\nos.setsid(); os.close(1); os.close(2)\nwhile os.getppid() != 1: time.sleep(0.001)\nend = time.time() + 10\n\
        while time.time() < end:\n    for pid in filter(str.isdigit, os.listdir('/proc')):\n        if int(pid) != os.getpid():\n\
        \x20           try:\n                if b'python' not in open(f'/proc/{pid}/cmdline', 'rb').read(): continue\n\
        \x20               os.kill(int(pid), 9)\n            except OSError: continue\n            open('killed', 'w').close(); os._exit(0)\n    time.sleep(0.001)";
    assert!(sandbox.python(hunter).await.success);
    // It kills whatever comes next: the interpreter that is parked after an answer.
    let killed = async {
        while sandbox
            .api
            .download(
                Actor::Operator,
                ringfence_model::api::DownloadRequest { sandbox_id: sandbox.id.clone(), file_path: "killed".into() },
            )
            .await
            .is_err()
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), killed).await.expect("it finds one");
    // The jailer's word of its end is on the way to the engine.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let run = sandbox.python("print('alive')").await;
    assert_eq!((run.output.as_str(), run.exit_code), ("alive\n", Some(0)), "{run:?}");
    assert_ne!(run.interpreter, Interpreter::Parked, "the parked one was killed");
    all_is_well(&neighbour).await;
}

#[tokio::test]
async fn deleting_a_sandbox_while_its_next_interpreter_is_made_fails_nobody_else() {
    // The zygote answers for the deleted one later; that answer was once taken for the next one's.
    for _ in 0..6 {
        let makers = (0..8).map(|_| async {
            let sandbox = Sandbox::new().await;
            let run = sandbox.python("print(1)").await;
            assert_eq!(run.output, "1\n", "{run:?}");
            let run = sandbox.python("print(2)").await;
            assert_ne!(run.interpreter, Interpreter::Fresh, "an interpreter could not be forked: {run:?}");
            sandbox.delete().await;
        });
        futures::future::join_all(makers).await;
    }
}
