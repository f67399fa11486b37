//! Taking what others need: the sandbox's own limits stop it, and its neighbours do not notice.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use super::stage::{AS_NOBODY, Control, Verdict, all_is_well, begin, inside, on_host, program, python, small, verdict};
use crate::common::{Sandbox, ringfence, shared};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, ExecutionRequest, ExecutionStatus, LimitsRequest, ListRequest, SandboxRequest,
};

const GROUP: &str = include_str!("exhaust.py");
const HEADER: &str = "RESOURCE = 'inotify'; HOLD_SECONDS = 60; VICTIM = ''";

/// What stops an attack.
enum Stop {
    /// A limit, which the kernel answers with this errno.
    Errno(&'static str),
    /// The kernel kills the program, and the answer says that memory ran out.
    OutOfMemory,
}

async fn check(name: &str, stop: Stop, control: Control) {
    // One of its own each: what one leaves does not stop the next.
    let (sandbox, neighbour) = (small().await, Sandbox::new().await);
    let run = sandbox.python(&program(HEADER, GROUP, name)).await;
    match stop {
        Stop::Errno(reason) => assert_eq!(verdict(&run), Verdict::Blocked(reason.into()), "{name}: {run:?}"),
        Stop::OutOfMemory => {
            assert_eq!((run.success, run.exit_code), (false, Some(137)), "{name}: {run:?}");
            assert!(run.warnings.iter().any(|w| w.contains("out of memory")), "{name}: {:?}", run.warnings);
            assert!(run.memory_peak_bytes <= 256 << 20, "{name}: {}", run.memory_peak_bytes);
        }
    }
    all_is_well(&neighbour).await;
    // The attacker's own sandbox is there, too: init was not the one to be killed.
    assert_eq!(sandbox.python("print('alive')").await.output, "alive\n", "{name}");
    sandbox.delete().await;
    assert_eq!(control.run(HEADER, GROUP, name).await, Verdict::Succeeded, "{name}: its control");
}

const ALONE: Control = Control::Private("");

#[tokio::test]
async fn processes_and_threads_are_limited() {
    check("fork_bomb", Stop::Errno("EAGAIN"), ALONE).await;
    check("thread_bomb", Stop::Errno("EAGAIN"), ALONE).await;
}

#[tokio::test]
async fn memory_is_limited_wherever_it_hides() {
    check("memory_bomb", Stop::OutOfMemory, ALONE).await;
    check("locked_bomb", Stop::Errno("ENOMEM"), ALONE).await;
    check("memfd_bomb", Stop::OutOfMemory, ALONE).await;
    check("system_v_bomb", Stop::OutOfMemory, ALONE).await;
    check("shm_file_bomb", Stop::Errno("ENOSPC"), ALONE).await;
    check("run_directory_bomb", Stop::Errno("ENOSPC"), ALONE).await;
}

#[tokio::test]
async fn kernel_buffers_are_limited() {
    check("pipe_bomb", Stop::Errno("EPERM"), ALONE).await;
    check("tcp_bomb", Stop::Errno("socket buffers"), ALONE).await;
    check("udp_bomb", Stop::Errno("socket buffers"), ALONE).await;
    check("descriptor_bomb", Stop::Errno("EMFILE"), ALONE).await;
    check("pseudo_terminal_bomb", Stop::Errno("ENOSPC"), ALONE).await;
}

/// How much of one processor eight processes get that want all of it for three seconds: of a sandbox with this limit.
async fn burnt(cpu: f64, neighbour: &Sandbox) -> f64 {
    let limits = LimitsRequest { cpu: Some(cpu), ..LimitsRequest::default() };
    let request = CreateRequest { template: "python".into(), limits: Some(limits), ..CreateRequest::default() };
    let sandbox = Sandbox::with(request).await;
    let code = "import os, time\nchildren = []\nfor _ in range(8):\n    child = os.fork()\n    if child == 0:\n        \
        end = time.monotonic() + 3\n        while time.monotonic() < end: pass\n        os._exit(0)\n    \
        children.append(child)\nprint('burning', flush=True)\nfor child in children: os.waitpid(child, 0)";
    let begun = begin(&sandbox, code, "burning").await;
    all_is_well(neighbour).await;
    let asked = ExecutionRequest { execution_id: begun.execution_id.to_string(), wait: Some(20.0) };
    let run = sandbox.api.execution(Actor::Operator, asked).await.expect("it is known");
    assert_eq!((run.status, run.exit_code), (ExecutionStatus::Completed, Some(0)), "{run:?}");
    sandbox.delete().await;
    run.cpu_time / run.execution_time
}

#[tokio::test]
async fn whoever_burns_the_processor_gets_its_share_and_no_more() {
    let neighbour = Sandbox::new().await;
    let limited = burnt(0.25, &neighbour).await;
    // On a host where everybody else burns too, the control may have to wait for its turn.
    let mut control = burnt(2.0, &neighbour).await;
    for _ in 0..4 {
        if control <= 0.25 * 1.3 {
            control = burnt(2.0, &neighbour).await;
        }
    }
    println!("with a limit of 0.25: {limited:.2} of a processor; of 2: {control:.2}");
    // The kernel hands out time in slices; that is the tolerance.
    assert!(limited <= 0.25 * 1.3, "{limited}");
    assert!(control > 0.25 * 1.3, "the control is not stopped by what the limit is for: {control}");
}

#[tokio::test]
async fn the_disk_is_limited() {
    // The control writes on a tmpfs of 200 MiB.
    check("disk_bomb", Stop::Errno("EDQUOT"), ALONE).await;
    check("fallocate_bomb", Stop::Errno("EDQUOT"), ALONE).await;
    check("sparse_bomb", Stop::Errno("EDQUOT"), ALONE).await;
}

/// What the sandbox itself and the list of all say of its disk.
async fn warnings(sandbox: &Sandbox) -> [Vec<String>; 2] {
    let request = SandboxRequest { sandbox_id: sandbox.id.clone() };
    let status = sandbox.api.status(Actor::Agent, request).await.expect("a status").sandbox.warnings;
    let listed = sandbox.api.list(Actor::Agent, ListRequest { limit: Some(1000), ..ListRequest::default() }).await;
    let listed = listed.expect("a list").sandboxes;
    let own = listed.into_iter().find(|one| one.sandbox_id.as_str() == sandbox.id).expect("it is there");
    [status, own.warnings]
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let sandbox = small().await;
    let none: [Vec<String>; 2] = Default::default();
    let run = sandbox.python("open('some', 'wb').write(b'x' * (4 << 20))").await;
    assert_eq!((warnings(&sandbox).await, run.warnings), (none.clone(), vec![]), "the control");
    let fill = "import errno\ntry:\n    with open('all', 'wb', buffering=0) as file:\n        \
        while True: file.write(b'x' * (1 << 20))\nexcept OSError as error:\n    print(errno.errorcode[error.errno])";
    let run = sandbox.python(fill).await;
    assert_eq!((run.output.as_str(), run.exit_code), ("EDQUOT\n", Some(0)), "{run:?}");
    let says_so =
        |said: &[String]| matches!(said, [one] if one.contains("the disk is full") && one.contains("of 64.0 MiB"));
    assert!(says_so(&run.warnings), "{:?}", run.warnings);
    for said in warnings(&sandbox).await {
        assert!(says_so(&said), "{said:?}");
    }
    let id = sandbox.id.clone();
    let status = move || ringfence(shared(), &["sandbox", "status", &id]);
    let shown = tokio::task::spawn_blocking(status).await.expect("no panic");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.lines().any(|line| line.starts_with("warning") && line.contains("the disk is full")), "{shown}");
    // A program so short that it can have filled nothing is told, too, as long as it is.
    assert!(says_so(&sandbox.python("").await.warnings));
    // It is stopped and started all the same, and what is on it can be deleted then.
    let named = || SandboxRequest { sandbox_id: sandbox.id.clone() };
    sandbox.api.stop(Actor::Operator, named()).await.expect("it stops");
    sandbox.api.resume(Actor::Operator, named()).await.expect("it starts again");
    let run = sandbox.python("import os; os.remove('all')").await;
    assert_eq!((run.exit_code, run.stderr.as_str()), (Some(0), ""));
    // The kernel gives the bytes back with its next commit, which the host's sync(1) brings about.
    assert!(Command::new("sync").status().expect("sync(1)").success());
    let end = Instant::now() + PATIENCE;
    while warnings(&sandbox).await != none {
        assert!(Instant::now() < end, "{:?}", warnings(&sandbox).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sandbox.python("").await;
    assert_eq!(sandbox.python("").await.warnings, Vec::<String>::new());
    sandbox.delete().await;
}

/// Some limits count per user of the host, and all sandboxes of a template have one such user as the owner of their user
/// namespaces: three of them take all that they get, and a fourth must still get its own.
///
/// The control is two processes of one user. `limit` is shell that makes what they share small, `become_user` Python by which
/// they become that user.
async fn check_neighbours(resource: &str, blocked: &str, options: &[&str], limit: &str, become_user: &str) {
    let header = format!("RESOURCE = {resource:?}; HOLD_SECONDS = 20; VICTIM = ''");
    let take = program(&header, GROUP, "take_all");
    let ask = program(&header, GROUP, "neighbour_has_none");
    let attackers = [Sandbox::new().await, Sandbox::new().await, Sandbox::new().await];
    let victim = Sandbox::new().await;
    for attacker in &attackers {
        begin(attacker, &take, "HOLDS").await;
    }
    assert_eq!(inside(&victim, &ask).await, Verdict::Blocked(blocked.into()), "{resource}");
    all_is_well(&victim).await;

    let script = format!(
        "{limit}\n{0} -c \"$TAKE\" </dev/null >took 2>&1 &\n\
         for _ in $(seq 200); do grep -q HOLDS took && break; sleep 0.05; done\nexec {0} -",
        python()
    );
    let header = format!("{header}\n{become_user}");
    let (take, ask) = (program(&header, GROUP, "take_all"), program(&header, GROUP, "neighbour_has_none"));
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("unshare");
    command.args(options).args([
        "--pid",
        "--fork",
        "--mount-proc",
        "--ipc",
        "--kill-child",
        "--",
        "bash",
        "-c",
        &script,
    ]);
    command.env("TAKE", &take);
    let control = tokio::task::spawn_blocking(move || on_host(command, &ask, dir.path())).await.expect("no panic");
    assert_eq!(control, Verdict::Succeeded, "{resource}: its control");
}

#[tokio::test]
async fn inotify_of_one_sandbox_is_not_taken_from_another() {
    let limit = "echo 20 > /proc/sys/user/max_inotify_instances";
    check_neighbours("inotify", "there is enough", &["--user", "--map-root-user"], limit, "").await;
}

#[tokio::test]
async fn timers_and_signals_of_one_sandbox_are_not_taken_from_another() {
    check_neighbours("timers", "there is enough", &[], "ulimit -i 500", AS_NOBODY).await;
}

#[tokio::test]
async fn message_queues_of_one_sandbox_are_not_taken_from_another() {
    // There are none: the filter answers as a kernel without them does.
    check_neighbours("queues", "ENOSYS", &[], "ulimit -q 819200", AS_NOBODY).await;
}
