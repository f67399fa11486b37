//! A program cannot tell a warm interpreter from `python3 program.py`.
//!
//! Each script of `differential/` runs both ways in the same sandbox, with the same standard input and environment: once as
//! code that is sent (an interpreter that was there before it), once as the file `program.py` that bash executes with
//! `python3`. Output, error and exit code are the same, byte for byte, but for where the program lies.
//!
//! Only the interpreters of the shelf are sure to be warmed and rehearsed (docs/decisions/0010), and a sandbox has one of them,
//! for its first program: one test takes a sandbox from the shelf for every script.
//!
//! What differs by decision is not looked at:
//! - where the program lies: `/run/ringfence/exec_….py` against `/home/user/program.py`;
//! - `sys.path[0]` is the working directory, not the program's (docs/decisions/0005); here both are `/home/user`;
//! - preloaded modules are in `sys.modules`, and their `atexit` handlers are registered before the program's first;
//! - `hash(str)` and the addresses of code are those of the template's interpreter.
//!
//! A script that begins with `# stdin: "…"` (a JSON string) is given that.
//!
//! `make suites` compares every script in each of the four ways; `make test` every script in one of them.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{Sandbox, is_long};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, EnvVars, ExecuteRequest, ExecutionAnswer, Interpreter, UploadRequest,
};

/// Scripts that can tell, in which interpreter, and why it stays so. One that no longer differs must leave this table.
const KNOWN: &[(&str, Which, &str)] = &[
    ("frames.py", Which::Fresh, FRAMES),
    ("debugger_post_mortem.py", Which::Fresh, FRAMES),
    ("faulthandler_dump.py", Which::Fresh, FRAMES),
    ("traceback_stack.py", Which::Fresh, FRAMES),
    ("warnings_stacklevel.py", Which::Fresh, FRAMES),
    ("recursion_limit.py", Which::Fresh, FRAMES),
    ("uncaught_recursion.py", Which::Fresh, FRAMES),
];

/// A warm interpreter begins the program where CPython 3.11 ends, with no frame below; the exit code would have to be
/// given up for that where the whole interpreter is taken down by CPython itself.
const FRAMES: &str = "the harness's three frames are below the program's, and count against the recursion limit";

/// An interpreter of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Forked from the template's, parked or on demand.
    Warm,
    /// The first of a sandbox that was taken from the shelf: warmed and rehearsed.
    Rehearsed,
    /// Executed anew by the harness.
    Fresh,
}

/// A script as it is sent.
#[derive(Debug, Clone)]
struct Script {
    name: String,
    code: String,
    stdin: Option<String>,
}

/// What of an execution is compared.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    exit_code: Option<i32>,
    output: String,
    error: String,
}

fn scripts() -> Vec<Script> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).expect("the scripts").map(|e| e.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "py"));
    paths.sort();
    let scripts: Vec<Script> = paths.iter().map(|path| read(path)).collect();
    assert!(scripts.len() >= 60, "the set has shrunk to {}", scripts.len());
    for (name, ..) in KNOWN {
        assert!(scripts.iter().any(|s| s.name == *name), "{name} is known but not there");
    }
    scripts
}

fn read(path: &Path) -> Script {
    let code = fs::read_to_string(path).expect("scripts are UTF-8");
    let stdin = code.strip_prefix("# stdin: ").map(|rest| {
        let text = rest.lines().next().unwrap_or_default();
        serde_json::from_str(text).expect("a JSON string")
    });
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    Script { name, code, stdin }
}

/// The answer with the program's path replaced.
fn seen(answer: &ExecutionAnswer, file: &str) -> Seen {
    let normal = |text: &str| {
        let mut text = text.replace(file, "PROG");
        const SENT: &str = "/run/ringfence/exec_";
        while let Some(start) = text.find(SENT) {
            let Some(len) = text[start..].find(".py") else { break };
            text.replace_range(start..start + len + ".py".len(), "PROG");
        }
        text
    };
    assert!(!answer.truncated, "a truncated output proves nothing");
    Seen { exit_code: answer.exit_code, output: normal(&answer.output), error: normal(&answer.stderr) }
}

/// Runs one script both ways in `directory`; how they differ.
async fn compare(sandbox: &Sandbox, script: &Script, which: Which, directory: &str) -> Option<String> {
    // Any variable that Python reads when it starts: a warm interpreter cannot be used then.
    let env = match which {
        Which::Fresh => EnvVars::new(BTreeMap::from([("PYTHONNOUSERSITE".to_owned(), "1".to_owned())])),
        Which::Warm | Which::Rehearsed => EnvVars::default(),
    };
    let request = |language: &str, code: &str| ExecuteRequest {
        code: code.to_owned(),
        language: Some(language.to_owned()),
        stdin: script.stdin.clone(),
        working_dir: Some(directory.to_owned()),
        env_vars: env.clone(),
        ..ExecuteRequest::default()
    };
    let clean = format!("cd / && rm -rf {directory}/* && mkdir -p {directory}");
    // Nothing runs in a sandbox of the shelf before the program does; its home is empty.
    if which != Which::Rehearsed {
        assert!(sandbox.bash(&clean).await.success);
    }
    let sent = sandbox.request(request("python", &script.code)).await;
    let is_meant = match which {
        Which::Warm => sent.interpreter != Interpreter::Fresh,
        Which::Rehearsed => sent.interpreter == Interpreter::Parked,
        Which::Fresh => true,
    };
    assert!(is_meant, "{}: it ran in a {} interpreter, not in a {which:?} one", script.name, sent.interpreter.as_str());
    assert!(sandbox.bash(&clean).await.success);
    let file = format!("{directory}/program.py");
    let upload = UploadRequest {
        sandbox_id: sandbox.id.clone(),
        file_path: file.clone(),
        content_base64: Some(STANDARD.encode(&script.code)),
        ..UploadRequest::default()
    };
    sandbox.api.upload(Actor::Operator, upload).await.expect("uploaded");
    let executed = sandbox.request(request("bash", &format!("exec python3 {file}"))).await;
    let (sent, executed) = (seen(&sent, &file), seen(&executed, &file));
    let known = KNOWN.iter().find(|(name, when, _)| *name == script.name && *when == which);
    match (sent == executed, known) {
        (true, None) | (false, Some(_)) => None,
        (true, Some((_, _, reason))) => Some(format!("{}: known to differ ({reason}), but it does not", script.name)),
        (false, None) => Some(difference(&script.name, &sent, &executed)),
    }
}

fn difference(name: &str, sent: &Seen, executed: &Seen) -> String {
    let mut text = format!("{name}:");
    if sent.exit_code != executed.exit_code {
        text += &format!("\n  exit code {:?}, of python3 {:?}", sent.exit_code, executed.exit_code);
    }
    for (what, ours, theirs) in [("output", &sent.output, &executed.output), ("error", &sent.error, &executed.error)] {
        if ours != theirs {
            text += &format!("\n  {what} {}\n  of python3 {}", shown(ours), shown(theirs));
        }
    }
    text
}

fn shown(text: &str) -> String {
    const CHARS: usize = 1500;
    let len = text.chars().count();
    format!("({len} characters) …{:?}", text.chars().skip(len.saturating_sub(CHARS)).collect::<String>())
}

/// In how many ways a script is run: the tests of this file.
const WAYS: usize = 4;

/// The scripts that a test compares: each of the tests has another share of them in `make test`, which together are all.
fn share(of: usize) -> Vec<Script> {
    let scripts = scripts();
    if is_long("every script in each way") {
        return scripts;
    }
    scripts.into_iter().skip(of).step_by(WAYS).collect()
}

/// Runs its share of scripts, `at_once` of them at a time in one sandbox, each with a directory of its own.
async fn check(scripts: Vec<Script>, which: Which, at_once: usize) {
    let sandbox =
        Arc::new(Sandbox::with(CreateRequest { template: "python".into(), ..CreateRequest::default() }).await);
    each(scripts, at_once, move |worker, script| {
        let sandbox = Arc::clone(&sandbox);
        let directory = if at_once == 1 { "/home/user".to_owned() } else { format!("/home/user/worker-{worker}") };
        async move { compare(&sandbox, &script, which, &directory).await }
    })
    .await;
}

/// A sandbox from the shelf, when the shelf has one for each of those who ask at a time.
async fn from_shelf(at_once: usize) -> Sandbox {
    const PATIENCE: Duration = Duration::from_secs(30);
    let api = common::client().await;
    let end = Instant::now() + PATIENCE;
    loop {
        let health = api.health(Actor::Operator).await.expect("health");
        let shelf = health.templates.iter().find(|t| t.name == "python").map_or(0, |t| t.shelf);
        if shelf as usize >= at_once {
            return Sandbox::new().await;
        }
        assert!(Instant::now() < end, "the shelf has {shelf} sandboxes, fewer than {at_once}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Compares scripts, `at_once` of them at a time; `comparison` is told which of the workers asks.
async fn each<C>(scripts: Vec<Script>, at_once: usize, comparison: impl Fn(usize, Script) -> C + Clone + Send + 'static)
where
    C: Future<Output = Option<String>> + Send,
{
    let count = scripts.len();
    let queue = Arc::new(Mutex::new(scripts));
    let workers: Vec<_> = (0..at_once)
        .map(|worker| {
            let (comparison, queue) = (comparison.clone(), Arc::clone(&queue));
            tokio::spawn(async move {
                let mut failures = Vec::new();
                loop {
                    let Some(script) = queue.lock().expect("nothing panics under it").pop() else { return failures };
                    failures.extend(comparison(worker, script).await);
                }
            })
        })
        .collect();
    let mut failures = Vec::new();
    for worker in workers {
        failures.extend(worker.await.expect("no worker panics"));
    }
    assert!(failures.is_empty(), "{} of {count} scripts can tell:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn a_program_cannot_tell_a_warm_interpreter_from_its_own() {
    check(share(0), Which::Warm, 1).await;
}

#[tokio::test]
async fn a_program_cannot_tell_a_fresh_interpreter_of_the_harness_from_its_own() {
    check(share(1), Which::Fresh, 1).await;
}

#[tokio::test]
async fn eight_programs_at_a_time_cannot_tell_either() {
    check(share(2), Which::Warm, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_cannot_tell_a_rehearsed_interpreter_from_its_own() {
    const AT_ONCE: usize = 4;
    each(share(3), AT_ONCE, |_, script| async move {
        let sandbox = from_shelf(AT_ONCE).await;
        compare(&sandbox, &script, Which::Rehearsed, "/home/user").await
    })
    .await;
}
