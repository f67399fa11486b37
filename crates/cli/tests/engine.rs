//! What a user does with sandboxes, against the real daemon.

mod common;

use std::time::Duration;

use common::{Sandbox, client, is_long};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{
        Actor, AuditHeadView, AuditVerifyRequest, ConfigureRequest, CreateRequest, DownloadRequest, EgressRequest,
        EnvMode, ExecuteRequest, ExecutionRequest, ExecutionStatus, Interpreter, LimitsRequest, ListRequest,
        LogsRequest, NamedNetwork, Network, SandboxRequest, SandboxStatus, UploadRequest,
    },
};

fn env(pairs: &[(&str, &str)]) -> ringfence_model::api::EnvVars {
    let map = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    ringfence_model::api::EnvVars::new(map)
}

#[tokio::test]
async fn a_program_runs_and_everything_about_it_is_measured() {
    let sandbox = Sandbox::new().await;
    let run = sandbox.python("import time; time.sleep(0.05); sum(range(2_000_000)); print('hi')").await;
    assert_eq!((run.output.as_str(), run.exit_code, run.status), ("hi\n", Some(0), ExecutionStatus::Completed));
    assert_eq!((run.error, run.output_bytes, run.truncated), (None, 3, false));
    assert_eq!(run.interpreter, Interpreter::Parked);
    assert!(run.execution_time > 0.05 && run.execution_time < 10.0, "{}", run.execution_time);
    assert!(run.cpu_time > 0.001 && run.cpu_time < run.execution_time + 0.05, "{}", run.cpu_time);
    assert!(run.memory_peak_bytes > 1 << 20, "{}", run.memory_peak_bytes);
}

#[tokio::test]
async fn a_failing_program_is_a_successful_call() {
    let sandbox = Sandbox::new().await;
    let run = sandbox.python("print('before'); raise SystemExit('no more')").await;
    assert_eq!((run.success, run.exit_code, run.status), (false, Some(1), ExecutionStatus::Failed));
    assert_eq!((run.output.as_str(), run.error.as_deref()), ("before\n", Some("no more\n")));
    let comments = sandbox.python("# nothing\n# at all").await;
    assert_eq!((comments.success, comments.output.as_str(), comments.exit_code), (true, "", Some(0)));
}

#[tokio::test]
async fn files_persist_and_variables_do_not() {
    let sandbox = Sandbox::new().await;
    assert!(sandbox.python("x = 1; open('kept', 'w').write('yes')").await.success);
    let run = sandbox.python("print(open('kept').read()); print('x' in globals())").await;
    assert_eq!(run.output, "yes\nFalse\n");
}

#[tokio::test]
async fn the_environment_is_the_sandboxes_own_and_outlives_a_program_that_clears_it() {
    let sandbox = Sandbox::new().await;
    assert_eq!(sandbox.python("import os; os.environ.clear()").await.exit_code, Some(0));
    let configured = sandbox
        .api
        .configure(
            Actor::Agent,
            ConfigureRequest {
                sandbox_id: sandbox.id.clone(),
                env_vars: env(&[("ALPACA_API_KEY", "k1"), ("B", "2")]),
                ..ConfigureRequest::default()
            },
        )
        .await
        .expect("configured");
    assert_eq!(configured.env_version, 1);
    let code = "import os; print('Keys updated' if 'ALPACA_API_KEY' in os.environ else 'Failed')";
    assert_eq!(sandbox.python(code).await.output, "Keys updated\n");
    let rotated = sandbox
        .api
        .configure(
            Actor::Agent,
            ConfigureRequest {
                sandbox_id: sandbox.id.clone(),
                env_vars: env(&[("ALPACA_API_KEY", "k2")]),
                env_mode: Some(EnvMode::Replace),
                ..ConfigureRequest::default()
            },
        )
        .await
        .expect("rotated");
    assert_ne!(configured.env_fingerprints["ALPACA_API_KEY"], rotated.env_fingerprints["ALPACA_API_KEY"]);
    let run = sandbox.python("import os; print(os.environ.get('ALPACA_API_KEY'), os.environ.get('B'))").await;
    assert_eq!(run.output, "k2 None\n");
    let one = ExecuteRequest {
        code: "import os; print(os.environ['ONCE'])".into(),
        env_vars: env(&[("ONCE", "1")]),
        ..ExecuteRequest::default()
    };
    assert_eq!(sandbox.request(one).await.output, "1\n");
    assert!(!sandbox.python("import os; os.environ['ONCE']").await.success);
}

/// Leaves one of everything that a tenant can leave, and what looks for all of it: files, processes, System V memory, sockets.
const LEFT: &str = r#"
import os, socket, subprocess, time
for place in ("/home/user", "/tmp", "/dev/shm"):
    open(place + "/left", "w").write("secret")
subprocess.Popen(["sleep", "31757"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
if os.fork() == 0:
    os.setsid()
    for fd in (0, 1, 2): os.close(fd)
    tcp = socket.socket(); tcp.bind(("127.0.0.1", 31757)); tcp.listen()
    unix = socket.socket(socket.AF_UNIX); unix.bind("\0left"); unix.listen()
    time.sleep(300)
import ctypes
ctypes.CDLL(None).shmget(0x31757, 4096, 0o1666)
time.sleep(0.3)
"#;

const LOOK: &str = r#"
import ctypes, os, socket
seen = [place for place in ("/home/user", "/tmp", "/dev/shm") if os.path.exists(place + "/left")]
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if b"31757" in open("/proc/" + pid + "/cmdline", "rb").read(): seen.append("process")
    except OSError: pass
def reached(family, address):
    with socket.socket(family) as s:
        try:
            s.connect(address)
            return True
        except OSError:
            return False
if reached(socket.AF_INET, ("127.0.0.1", 31757)): seen.append("tcp")
if reached(socket.AF_UNIX, "\0left"): seen.append("unix")
if ctypes.CDLL(None).shmget(0x31757, 0, 0) >= 0: seen.append("system v")
print(*seen)
"#;

#[tokio::test]
async fn two_sandboxes_see_nothing_of_each_other() {
    let (a, b) = (Sandbox::new().await, Sandbox::new().await);
    assert!(a.python(LEFT).await.success);
    let all = "/home/user /tmp /dev/shm process tcp unix system v\n";
    assert_eq!(a.python(LOOK).await.output, all, "the control: where it was left, all of it is found");
    assert_eq!(b.python(LOOK).await.output, "\n");
    assert_eq!(b.bash("hostname").await.output, format!("{}\n", b.id));
    // On the host, too, they are two users.
    b.python(LEFT).await;
    let sleepers = std::fs::read_dir("/proc")
        .expect("procfs")
        .flatten()
        .filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x0031757\0"));
    let uids: std::collections::BTreeSet<u32> = sleepers
        .filter_map(|entry| Some(std::os::unix::fs::MetadataExt::uid(&entry.metadata().ok()?)))
        .filter(|uid| *uid != 0)
        .collect();
    assert_eq!(uids.len(), 2, "{uids:?}");
}

#[tokio::test]
async fn a_deadline_ends_everything_that_the_program_started() {
    let sandbox = Sandbox::new().await;
    let code = "import os, time, signal, subprocess, sys\n\
        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
        subprocess.Popen(['setsid', 'bash', '-c', 'sleep 271 & sleep 272'])\n\
        if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(273)\n    os._exit(0)\n\
        print('partial', flush=True)\ntime.sleep(274)";
    let request = ExecuteRequest { code: code.into(), timeout: Some(0.7), ..ExecuteRequest::default() };
    let run = sandbox.request(request).await;
    assert_eq!((run.status, run.exit_code, run.output.as_str()), (ExecutionStatus::Timeout, Some(124), "partial\n"));
    assert!(!run.success && run.execution_time >= 0.7, "{run:?}");
    // By the whole word: the time in an execution's id has such digits too.
    let left = sandbox.bash("ps -eo args | grep -c '[s]leep 27[1-4]'").await;
    assert_eq!(left.output, "0\n");
}

/// A killed process that takes its memory apart is still there for tens of milliseconds: the answer comes after.
#[tokio::test]
async fn a_deadline_is_answered_when_everything_has_ended() {
    const CHILDREN: usize = 6;
    let sandbox = Sandbox::new().await;
    let code = "import os, time\n\
        for _ in range(6):\n    r, w = os.pipe()\n    if (pid := os.fork()) == 0:\n        os.setsid()\n        memory = bytearray(os.urandom(4096)) * (40 * 256)\n\
        \x20       os.write(w, b'.')\n        time.sleep(120)\n    os.read(r, 1)\n    print(pid, flush=True)\n\
        time.sleep(120)";
    let request = ExecuteRequest { code: code.into(), timeout: Some(3.0), ..ExecuteRequest::default() };
    let run = sandbox.request(request).await;
    let pids: Vec<&str> = run.output.split_whitespace().collect();
    assert_eq!((run.status, pids.len()), (ExecutionStatus::Timeout, CHILDREN), "{run:?}");
    // What its parent has not waited for yet has ended all the same: proc(5), State.
    let states = sandbox.bash(&format!("grep -hs ^State: /proc/{{{}}}/status | grep -v Z; true", pids.join(","))).await;
    assert_eq!(states.output, "");
    let cause = ["the program ran into its time limit and everything that it had started was killed"];
    assert_eq!(run.warnings, cause);
}

#[tokio::test]
async fn a_long_program_is_answered_as_running_and_read_later() {
    let sandbox = Sandbox::new().await;
    let code = "import time; print('first', flush=True); time.sleep(1.2); print('last')";
    let request = ExecuteRequest { code: code.into(), wait: Some(0.5), ..ExecuteRequest::default() };
    let begun = sandbox.request(request).await;
    assert_eq!((begun.status, begun.exit_code, begun.output.as_str()), (ExecutionStatus::Running, None, "first\n"));
    let later = ExecutionRequest { execution_id: begun.execution_id.to_string(), wait: Some(20.0) };
    let ended = sandbox.api.execution(Actor::Agent, later.clone()).await.expect("known");
    assert_eq!((ended.status, ended.output.as_str()), (ExecutionStatus::Completed, "first\nlast\n"));
    let again = sandbox.api.execution(Actor::Agent, later).await.expect("a row by now");
    assert_eq!(again, ended);
}

#[tokio::test]
async fn background_answers_at_once() {
    let sandbox = Sandbox::new().await;
    let request = ExecuteRequest {
        code: "print(input())".into(),
        stdin: Some("typed\n".into()),
        background: true,
        ..ExecuteRequest::default()
    };
    let begun = sandbox.request(request).await;
    assert_eq!(begun.status, ExecutionStatus::Running);
    let later = ExecutionRequest { execution_id: begun.execution_id.to_string(), wait: Some(20.0) };
    assert_eq!(sandbox.api.execution(Actor::Agent, later).await.expect("known").output, "typed\n");
}

#[tokio::test]
async fn what_a_program_leaves_running_lives_on_and_is_listed() {
    let sandbox = Sandbox::new().await;
    let run = sandbox.bash("setsid sleep 289 & echo started").await;
    assert!(run.success && run.execution_time < 5.0, "{run:?}");
    assert!(run.warnings.iter().any(|w| w.contains("still runs")), "{:?}", run.warnings);
    // bash has forked it before the answer; that it has become `sleep` by now nobody promises.
    let end = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let processes = sandbox.api.status(Actor::Agent, sandbox.named()).await.expect("known").sandbox.processes;
        assert!(!processes.is_empty());
        if processes
            .iter()
            .any(|p| p.command.contains("sleep 289") && p.execution_id.as_ref() == Some(&run.execution_id))
        {
            break;
        }
        assert!(std::time::Instant::now() < end, "{processes:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn files_go_in_and_out_byte_for_byte() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let sandbox = Sandbox::new().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_001).collect();
    let upload = |path: &str, bytes: &[u8]| UploadRequest {
        sandbox_id: sandbox.id.clone(),
        file_path: path.into(),
        content_base64: Some(STANDARD.encode(bytes)),
        ..UploadRequest::default()
    };
    let download = |path: &str| DownloadRequest { sandbox_id: sandbox.id.clone(), file_path: path.into() };
    let put = sandbox.api.upload(Actor::Agent, upload("a/b/c.bin", &bytes)).await.expect("uploaded");
    assert_eq!((put.size, put.file_path.as_str()), (3_000_001, "/home/user/a/b/c.bin"));
    let got = sandbox.api.download(Actor::Agent, download("a/b/c.bin")).await.expect("downloaded");
    assert_eq!(STANDARD.decode(got.content_base64.expect("not UTF-8")).expect("base64"), bytes);
    assert_eq!(got.checksum, put.checksum);
    let run = sandbox
        .bash("sha256sum < a/b/c.bin | cut -d' ' -f1; stat -c %U a/b/c.bin; ln -s /etc/passwd link; mkfifo fifo")
        .await;
    assert_eq!(run.output, format!("{}\nuser\n", put.checksum));
    sandbox.api.upload(Actor::Agent, upload("empty", b"")).await.expect("empty files are files");
    let empty = sandbox.api.download(Actor::Agent, download("empty")).await.expect("downloaded");
    assert_eq!((empty.size, empty.content.as_deref()), (0, Some("")));
    let missing = sandbox.api.download(Actor::Agent, download("nowhere")).await.expect_err("not there");
    assert_eq!(missing.code, Code::FileNotFound);
    let denied = sandbox.api.upload(Actor::Agent, upload("/etc/passwd", b"x")).await.expect_err("not the user's");
    assert_eq!(denied.code, Code::PermissionDenied);
    let fifo = sandbox.api.download(Actor::Agent, download("fifo")).await.expect_err("no file");
    assert_eq!(fifo.code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_link_leads_where_it_leads_inside() {
    let sandbox = Sandbox::new().await;
    assert!(sandbox.bash("ln -s /etc/hostname link; ln -s / root").await.success);
    for path in ["link", "root/etc/hostname", "../../../../etc/hostname"] {
        let request = DownloadRequest { sandbox_id: sandbox.id.clone(), file_path: path.into() };
        let got = sandbox.api.download(Actor::Agent, request).await.expect("the sandbox has one");
        assert_eq!(got.content.as_deref(), Some(format!("{}\n", sandbox.id).as_str()), "{path}");
    }
}

#[tokio::test]
async fn stop_keeps_files_and_resume_brings_them_back() {
    let sandbox = Sandbox::new().await;
    assert!(sandbox.bash("echo kept > f; sleep 288 >/dev/null 2>&1 &").await.success);
    let stopped = sandbox.api.stop(Actor::Agent, sandbox.named()).await.expect("stopped");
    assert_eq!((stopped.previous_status, stopped.status), (SandboxStatus::Running, SandboxStatus::Stopped));
    let refused = sandbox
        .api
        .execute(
            Actor::Agent,
            ExecuteRequest { sandbox_id: sandbox.id.clone(), code: "1".into(), ..ExecuteRequest::default() },
        )
        .await;
    assert_eq!(refused.expect_err("it is stopped").code, Code::SandboxNotRunning);
    let resumed = sandbox.api.resume(Actor::Agent, sandbox.named()).await.expect("resumed");
    assert_eq!((resumed.previous_status, resumed.status), (SandboxStatus::Stopped, SandboxStatus::Running));
    assert_eq!(sandbox.bash("cat f; pgrep -c sleep").await.output, "kept\n0\n");
}

#[tokio::test]
async fn pause_freezes_and_resume_goes_on() {
    let sandbox = Sandbox::new().await;
    // Renamed into place: a file that is being written is empty for a moment.
    let counter = "i=0; while :; do i=$((i+1)); echo $i > m; mv m n; sleep 0.01; done";
    assert!(sandbox.bash(&format!("({counter}) >/dev/null 2>&1 &")).await.success);
    tokio::time::sleep(Duration::from_millis(300)).await;
    sandbox.api.pause(Actor::Agent, sandbox.named()).await.expect("paused");
    assert_eq!(sandbox.api.status(Actor::Agent, sandbox.named()).await.expect("known").status, SandboxStatus::Paused);
    sandbox.api.resume(Actor::Agent, sandbox.named()).await.expect("resumed");
    let run = sandbox.bash("a=$(cat n); sleep 0.5; b=$(cat n); [ \"$b\" -gt \"$a\" ] && echo goes on").await;
    assert_eq!(run.output, "goes on\n");
}

#[tokio::test]
async fn an_unknown_id_is_an_error_everywhere() {
    let api = client().await;
    let unknown = "i00000000000000000000";
    let named = || SandboxRequest { sandbox_id: unknown.into() };
    for error in [
        api.status(Actor::Agent, named()).await.expect_err("unknown"),
        api.stop(Actor::Agent, named()).await.expect_err("unknown"),
        api.resume(Actor::Agent, named()).await.expect_err("unknown"),
        api.delete(Actor::Agent, named()).await.expect_err("unknown"),
        api.execute(Actor::Agent, ExecuteRequest { sandbox_id: unknown.into(), ..ExecuteRequest::default() })
            .await
            .expect_err("unknown"),
        api.logs(Actor::Agent, LogsRequest { sandbox_id: unknown.into(), ..LogsRequest::default() })
            .await
            .expect_err("unknown"),
        // The sandbox is looked up before other arguments are judged.
        api.configure(
            Actor::Agent,
            ConfigureRequest {
                sandbox_id: unknown.into(),
                install_packages: vec!["x".into()],
                ..ConfigureRequest::default()
            },
        )
        .await
        .expect_err("unknown"),
    ] {
        assert_eq!(error.code, Code::SandboxNotFound, "{error}");
    }
    let execution = ExecutionRequest { execution_id: "exec_1757371623056".into(), wait: None };
    assert_eq!(api.execution(Actor::Agent, execution).await.expect_err("unknown").code, Code::ExecutionNotFound);
}

#[tokio::test]
async fn a_deleted_sandbox_stays_deleted() {
    let sandbox = Sandbox::new().await;
    let first = sandbox.api.delete(Actor::Agent, sandbox.named()).await.expect("deleted");
    assert!(!first.already_deleted);
    let second = sandbox.api.delete(Actor::Agent, sandbox.named()).await.expect("idempotent");
    assert!(second.already_deleted);
    let status = sandbox.api.status(Actor::Agent, sandbox.named()).await.expect("remembered");
    assert_eq!(status.status, SandboxStatus::Deleted);
    let refused = sandbox
        .api
        .execute(Actor::Agent, ExecuteRequest { sandbox_id: sandbox.id.clone(), ..ExecuteRequest::default() })
        .await;
    assert_eq!(refused.expect_err("it is gone").code, Code::SandboxNotRunning);
}

#[tokio::test]
async fn a_name_stands_for_an_id_while_it_is_unique() {
    let name = format!("lab-{}", std::process::id());
    let request = || CreateRequest { template: "python".into(), name: Some(name.clone()), ..CreateRequest::default() };
    let first = Sandbox::with(request()).await;
    let by_name = ExecuteRequest { sandbox_id: name.clone(), code: "print(1)".into(), ..ExecuteRequest::default() };
    assert_eq!(first.api.execute(Actor::Agent, by_name.clone()).await.expect("unique").output, "1\n");
    let second = Sandbox::with(request()).await;
    let refused = second.api.execute(Actor::Agent, by_name).await.expect_err("two have it");
    assert_eq!(refused.code, Code::SandboxNameAmbiguous);
}

#[tokio::test]
async fn a_lifetime_ends_by_itself() {
    let sandbox =
        Sandbox::with(CreateRequest { template: "python".into(), timeout: Some(1), ..CreateRequest::default() }).await;
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let status = sandbox.api.status(Actor::Agent, sandbox.named()).await.expect("known").status;
        if status == SandboxStatus::Expired {
            break;
        }
        assert!(std::time::Instant::now() < end, "it is still {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let request = ExecuteRequest { sandbox_id: sandbox.id.clone(), code: "1".into(), ..ExecuteRequest::default() };
    assert_eq!(sandbox.api.execute(Actor::Agent, request).await.expect_err("over").code, Code::SandboxExpired);
}

#[tokio::test]
async fn limits_are_what_was_asked_for() {
    let limits = LimitsRequest { memory_mb: Some(256), processes: Some(32), cpu: Some(0.5), disk_mb: Some(64) };
    let sandbox =
        Sandbox::with(CreateRequest { template: "python".into(), limits: Some(limits), ..CreateRequest::default() })
            .await;
    let run = sandbox
        .bash("grep MemTotal /proc/meminfo | tr -s ' '; dd if=/dev/zero of=big bs=1M count=100 2>&1 | tail -1; rm big")
        .await;
    assert!(run.output.starts_with("MemTotal: 262144 kB\n"), "{}", run.output);
    let full = sandbox.bash("dd if=/dev/zero of=big bs=1M count=100; rm big; echo after").await;
    assert!(full.stderr.contains("No space left") || full.stderr.contains("quota"), "{}", full.stderr);
    assert!(full.output.ends_with("after\n"), "{full:?}");
}

#[tokio::test]
async fn what_there_is_not_is_refused_by_name() {
    let api = client().await;
    let base = || CreateRequest { template: "python".into(), ..CreateRequest::default() };
    for (request, code) in [
        (CreateRequest { swarm_id: Some("s".into()), ..base() }, Code::SwarmNotFound),
        (CreateRequest { network: Some(Network::Named(NamedNetwork::Open)), ..base() }, Code::PermissionDenied),
        (CreateRequest { template: "cobol".into(), ..base() }, Code::TemplateNotFound),
        (CreateRequest { timeout: Some(0), ..base() }, Code::InvalidArgument),
    ] {
        assert_eq!(api.create(Actor::Agent, request, None).await.expect_err("refused").code, code);
    }
    let sandbox = Sandbox::new().await;
    let js = ExecuteRequest {
        sandbox_id: sandbox.id.clone(),
        code: "1".into(),
        language: Some("javascript".into()),
        ..ExecuteRequest::default()
    };
    assert_eq!(sandbox.api.execute(Actor::Agent, js).await.expect_err("no node here").code, Code::LanguageNotAvailable);
    let beyond = EgressRequest { after: Some(u64::MAX), ..EgressRequest::default() };
    assert_eq!(api.egress_list(Actor::Operator, beyond).await.expect_err("no number").code, Code::InvalidArgument);
    let whole = AuditVerifyRequest::default();
    let remembered = Some(AuditHeadView { seq: u64::MAX, hash: "0".repeat(64) });
    for beyond in [
        AuditVerifyRequest { from: Some(u64::MAX), ..whole.clone() },
        AuditVerifyRequest { to: Some(1 << 63), ..whole.clone() },
        AuditVerifyRequest { remembered, ..whole },
    ] {
        let refused = api.audit_verify(Actor::Operator, beyond.clone()).await.expect_err("no number");
        assert_eq!(refused.code, Code::InvalidArgument, "{beyond:?}");
    }
}

#[tokio::test]
async fn figures_and_artifacts_come_back() {
    let sandbox = Sandbox::new().await;
    let code = "import os, matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nos.makedirs('artifacts', exist_ok=True)\n\
        open('artifacts/r.csv', 'w').write('a,b\\n')\nprint('ok')";
    let run = sandbox.python(code).await;
    assert!(run.success, "{run:?}");
    let csv = run.artifacts.iter().find(|a| a.name == "r.csv").expect("the file");
    assert_eq!((csv.size, csv.mime.as_str(), csv.path.as_str()), (4, "text/csv", "/home/user/artifacts/r.csv"));
    let figure = run.artifacts.iter().find(|a| a.mime == "image/png").expect("the figure");
    assert!(figure.content_base64.as_ref().is_some_and(|c| c.starts_with("iVBORw0KGgo")), "a PNG");
}

#[tokio::test]
async fn logs_lists_and_audit_tell_the_story() {
    let name = format!("story-{}", std::process::id());
    let sandbox = Sandbox::with(CreateRequest {
        template: "python".into(),
        name: Some(name.clone()),
        ..CreateRequest::default()
    })
    .await;
    sandbox.python("print('a line of it')").await;
    let logs = sandbox
        .api
        .logs(Actor::Agent, LogsRequest { sandbox_id: sandbox.id.clone(), ..LogsRequest::default() })
        .await
        .expect("logs");
    assert!(logs.logs.iter().any(|l| l.source == "stdout" && l.message == "a line of it"), "{logs:?}");
    let list = sandbox
        .api
        .list(Actor::Agent, ListRequest { status: Some("running".into()), ..ListRequest::default() })
        .await
        .expect("list");
    assert!(list.sandboxes.iter().any(|s| s.name == name));
    let entries = sandbox
        .api
        .audit_log(
            Actor::Agent,
            ringfence_model::api::AuditLogRequest { sandbox_id: Some(sandbox.id.clone()), ..Default::default() },
        )
        .await
        .expect("entries");
    let events: Vec<&str> = entries.entries.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(events, ["sandbox.create", "execution.start"]);
    let verified = sandbox.api.audit_verify(Actor::Operator, Default::default()).await.expect("verified");
    assert!(verified.valid, "{verified:?}");
}

#[tokio::test]
async fn a_gigabyte_of_output_is_counted_and_cut() {
    let sandbox = Sandbox::new().await;
    let code = "import sys\nb = b'x' * (1 << 20)\nfor _ in range(1024): sys.stdout.buffer.write(b)";
    let run =
        sandbox.request(ExecuteRequest { code: code.into(), timeout: Some(120.0), ..ExecuteRequest::default() }).await;
    assert_eq!((run.status, run.output_bytes, run.truncated), (ExecutionStatus::Completed, 1 << 30, true));
    assert_eq!(run.output.len(), 1 << 20);
}

#[tokio::test]
async fn shadowed_modules_win() {
    let sandbox = Sandbox::new().await;
    assert!(sandbox.python("open('pandas.py', 'w').write('NAME = \"mine\"')").await.success);
    let run = sandbox.python("import pandas; print(pandas.NAME)").await;
    assert_eq!(run.output, "mine\n", "{run:?}");
}

#[tokio::test]
async fn siblings_draw_different_random_numbers() {
    let (a, b) = (Sandbox::new().await, Sandbox::new().await);
    let code = "import random, numpy, uuid, ssl, os, tempfile\nprint(random.random(), numpy.random.rand(), uuid.uuid4(), ssl.RAND_bytes(8).hex(), next(tempfile._get_candidate_names()))";
    let (a, b) = (a.python(code).await, b.python(code).await);
    for (x, y) in a.output.split_whitespace().zip(b.output.split_whitespace()) {
        assert_ne!(x, y);
    }
    assert_eq!(a.output.split_whitespace().count(), 5, "{a:?}");
}

/// The daemon closes a connection on which nothing was asked for half a minute. A program whose only thread was busy meanwhile has not seen that.
#[tokio::test]
async fn a_client_that_was_busy_for_longer_than_the_daemon_waits_asks_again() {
    if !is_long("half a minute of silence") {
        return;
    }
    let api = client().await;
    assert!(api.health(Actor::Agent).await.expect("an answer").success);
    std::thread::sleep(Duration::from_secs(33));
    assert!(api.health(Actor::Agent).await.expect("an answer, over another connection").success);
}
