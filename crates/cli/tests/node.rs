//! Node and base sandboxes as their users meet them, and: a program cannot tell a Node that waited for it from `node program.js`.
//!
//! Each script of `node/` runs in one sandbox as code that is sent, in a Node that waited and in one that was started for it, and as
//! the file `program.js` that bash executes with `node`. Output, error and exit code are the same, but for where the program
//! lies: in `/run/ringfence`, while its relative paths and packages are looked for from its working directory.
//!
//! What differs by decision (docs/decisions/0016) is not looked at: code that is sent is CommonJS or a module by what it says,
//! never by its name, so that each `.mjs` here has an `import` or an `await`; a program with both `require` and an `await` outside
//! of functions runs, which Node refuses; a Node that waited has packages of the template in its cache.
//!
//! A script that begins with `// stdin: "…"` (a JSON string) is given that.
//!
//! `make suites` compares every script with both; `make test` each with one of them.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{Sandbox, is_long};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{
        Actor, ConfigureRequest, CreateRequest, EnvVars, ExecuteRequest, ExecutionAnswer, ExecutionStatus, Interpreter,
        Network, UploadRequest,
    },
};

/// Scripts that can tell, and why. One that no longer differs must leave this table.
const KNOWN: &[(&str, &str)] = &[("exit_handler_throws.js", HANDLERS), ("before_exit_throws.js", HANDLERS)];

/// Without them, every program would take 4 ms longer.
const HANDLERS: &str =
    "the harness has handlers of its own for the end, which show in traces of errors in the program's";

/// A script as it is sent.
struct Script {
    name: String,
    code: String,
    stdin: Option<String>,
}

fn scripts() -> Vec<Script> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).expect("the scripts").map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let code = fs::read_to_string(path).expect("scripts are UTF-8");
        let stdin = code
            .strip_prefix("// stdin: ")
            .map(|rest| serde_json::from_str(rest.lines().next().unwrap_or_default()).expect("a JSON string"));
        Script { name: path.file_name().expect("a file").to_string_lossy().into_owned(), code, stdin }
    };
    let scripts: Vec<Script> = paths.iter().map(read).collect();
    assert!(scripts.len() >= 80, "the set has shrunk to {}", scripts.len());
    scripts
}

/// Exit code, output and error, with the program's path and process ids replaced.
fn seen(answer: &ExecutionAnswer, file: &str) -> (Option<i32>, String, String) {
    let normal = |text: &str| {
        let mut text = text.replace(file, "PROG");
        for start_of in ["/run/ringfence/exec_", "/home/user/exec_"] {
            while let Some(start) = text.find(start_of) {
                let Some(len) = text[start..].find(['.']) else { break };
                let rest = &text[start + len + 1..];
                let extension = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                text.replace_range(start..start + len + 1 + extension, "PROG");
            }
        }
        let warnings = |line: &str| match line.strip_prefix("(node:").and_then(|rest| rest.split_once(") ")) {
            Some((pid, rest)) if pid.parse::<u32>().is_ok() => format!("(PID) {rest}"),
            _ => line.to_owned(),
        };
        text.split('\n').map(warnings).collect::<Vec<_>>().join("\n")
    };
    assert!(!answer.truncated, "a truncated output proves nothing");
    (answer.exit_code, normal(&answer.output), normal(&answer.stderr))
}

/// Runs one script both ways; how they differ.
async fn compare(sandbox: &Sandbox, script: &Script, waited: bool) -> Option<String> {
    // Any variable that Node reads when it starts: one that waited cannot be used then.
    let env = if waited { BTreeMap::new() } else { BTreeMap::from([("LC_ALL".to_owned(), "C.UTF-8".to_owned())]) };
    let extension = script.name.rsplit('.').next().unwrap_or_default();
    let request = |language: &str, code: &str| ExecuteRequest {
        code: code.to_owned(),
        language: Some(language.to_owned()),
        stdin: script.stdin.clone(),
        env_vars: EnvVars::new(env.clone()),
        ..ExecuteRequest::default()
    };
    const CLEAN: &str = "cd /home/user && find . -mindepth 1 -delete";
    assert!(sandbox.bash(CLEAN).await.success);
    if waited {
        wait_for_node(sandbox).await;
    }
    let sent =
        sandbox.request(request(if extension == "ts" { "typescript" } else { "javascript" }, &script.code)).await;
    let meant = if waited { Interpreter::Parked } else { Interpreter::Fresh };
    assert_eq!(sent.interpreter, meant, "{}", script.name);
    assert!(sandbox.bash(CLEAN).await.success);
    let file = format!("/home/user/program.{extension}");
    let upload = UploadRequest {
        sandbox_id: sandbox.id.clone(),
        file_path: file.clone(),
        content_base64: Some(STANDARD.encode(&script.code)),
        ..UploadRequest::default()
    };
    sandbox.api.upload(Actor::Operator, upload).await.expect("uploaded");
    let executed = sandbox.request(request("bash", &format!("exec node {file}"))).await;
    let (sent, executed) = (seen(&sent, &file), seen(&executed, &file));
    match (sent == executed, KNOWN.iter().find(|(name, _)| *name == script.name)) {
        (true, None) | (false, Some(_)) => None,
        (true, Some((_, reason))) => Some(format!("{}: known to differ ({reason}), but it does not", script.name)),
        (false, None) => Some(format!("{}:\n  sent {sent:?}\n  node {executed:?}", script.name)),
    }
}

/// Until a Node waits in the sandbox again: it is started in the background after each program.
async fn wait_for_node(sandbox: &Sandbox) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let status = sandbox.api.status(Actor::Operator, sandbox.named()).await.expect("a status");
        if status.sandbox.isolation.is_some_and(|isolation| isolation.interpreter == Interpreter::Parked) {
            return;
        }
        assert!(Instant::now() < end, "no Node waits in the sandbox");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn node() -> Sandbox {
    common::template("node").await;
    Sandbox::with(CreateRequest { template: "node".into(), ..CreateRequest::default() }).await
}

async fn check(waited: bool) {
    let sandbox = node().await;
    let (mut failures, mut scripts) = (Vec::new(), scripts());
    if !is_long("every script with a Node that waited and with one that did not") {
        scripts = scripts.into_iter().skip(usize::from(waited)).step_by(2).collect();
    }
    for script in &scripts {
        failures.extend(compare(&sandbox, script, waited).await);
    }
    assert!(failures.is_empty(), "{} of {} scripts can tell:\n{}", failures.len(), scripts.len(), failures.join("\n"));
}

#[tokio::test]
async fn a_program_cannot_tell_a_node_that_waited_from_its_own() {
    check(true).await;
}

#[tokio::test]
async fn a_program_cannot_tell_a_node_that_was_started_for_it_from_its_own() {
    check(false).await;
}

#[track_caller]
fn printed(run: &ExecutionAnswer, expected: &str) {
    assert_eq!((run.status, run.output.trim()), (ExecutionStatus::Completed, expected), "{}", run.stderr);
}

#[tokio::test]
async fn require_and_await_may_be_mixed() {
    let sandbox = node().await;
    let js = async |code: &str| sandbox.python(code).await;
    // What Node itself says of it.
    let refused = sandbox.bash("printf 'const fs = require(\"fs\"); await 1;' > mixed.js; node mixed.js").await;
    assert_ne!(refused.exit_code, Some(0), "Node takes it now: the exception can go");
    printed(&js("const fs = require('fs');\nconst two = await Promise.resolve(2);\nconsole.log(typeof fs.statSync, two, __filename.length > 5)").await, "function 2 true");
    printed(
        &js("const ws = await import('ws'); module.exports = 1; console.log(typeof ws.WebSocket)").await,
        "function",
    );
    let failed = js("const fs = require('fs'); await 0; throw new Error('late')").await;
    assert_eq!((failed.exit_code, failed.output.as_str()), (Some(1), ""));
    // The column is the program's own, on the first line too.
    assert!(failed.stderr.contains(".js:1:42)") || failed.stderr.contains(".js:1:42\n"), "{}", failed.stderr);
    let typed = ExecuteRequest {
        code: "const fs = require('fs'); const n: number = await Promise.resolve(3); console.log(typeof fs, n)".into(),
        language: Some("typescript".into()),
        ..ExecuteRequest::default()
    };
    printed(&sandbox.request(typed).await, "object 3");
}

#[tokio::test]
async fn environment_input_directory_and_time_limit_are_the_executions_own() {
    let sandbox = node().await;
    let request = |code: &str| ExecuteRequest { code: code.into(), ..ExecuteRequest::default() };
    let env = EnvVars::new(BTreeMap::from([("SYMBOL".to_owned(), "AAPL".to_owned())]));
    let code = "console.log(process.env.SYMBOL, process.cwd(), require('fs').readFileSync(0, 'utf8'))";
    let given =
        ExecuteRequest { env_vars: env, stdin: Some("in".into()), working_dir: Some("/tmp".into()), ..request(code) };
    printed(&sandbox.request(given).await, "AAPL /tmp in");
    printed(&sandbox.request(request("console.log(process.env.SYMBOL, process.cwd())")).await, "undefined /home/user");
    let slow = ExecuteRequest { timeout: Some(4.0), ..request("console.log(1); for (;;);") };
    let slow = sandbox.request(slow).await;
    assert_eq!((slow.status, slow.output.as_str()), (ExecutionStatus::Timeout, "1\n"));
    // A Node that has waited longer than a program may run was not running.
    wait_for_node(&sandbox).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let quick = sandbox.request(ExecuteRequest { timeout: Some(2.0), ..request("console.log(2)") }).await;
    printed(&quick, "2");
    assert_eq!(quick.interpreter, Interpreter::Parked);
    assert!(quick.execution_time < 2.0, "{}", quick.execution_time);
}

#[tokio::test]
async fn a_node_that_was_killed_while_it_waited_is_started_anew() {
    let sandbox = node().await;
    printed(&sandbox.python("console.log(1)").await, "1");
    wait_for_node(&sandbox).await;
    // It is told to wait a moment before it has executed Node, and has that name only afterwards.
    let kill = "for i in $(seq 200); do pkill -9 -f '[n]ode-waits-for-its-program' && exit 0; sleep 0.05; done; exit 1";
    assert!(sandbox.bash(kill).await.success);
    // A program that is given to one whose death nobody has heard of yet is not run again.
    tokio::time::sleep(Duration::from_millis(500)).await;
    printed(&sandbox.python("console.log(2)").await, "2");
}

#[tokio::test]
async fn where_programs_are_written_may_be_full() {
    let sandbox = node().await;
    sandbox.bash("dd if=/dev/zero of=/run/ringfence/full bs=1M count=64 status=none").await;
    wait_for_node(&sandbox).await;
    let code = format!("console.log(1 + 1); // {}", "x".repeat(100_000));
    printed(&sandbox.python(&code).await, "2");
}

#[tokio::test]
async fn a_template_says_which_languages_it_has() {
    let sandbox = node().await;
    let ask = |language: &str| ExecuteRequest {
        sandbox_id: sandbox.id.clone(),
        code: "1".into(),
        language: Some(language.into()),
        ..ExecuteRequest::default()
    };
    let refused = sandbox.api.execute(Actor::Operator, ask("python")).await.expect_err("there is no Python");
    assert_eq!(refused.code, Code::LanguageNotAvailable);
    assert!(refused.message.contains("`javascript`"), "{}", refused.message);
    assert!(sandbox.api.execute(Actor::Operator, ask("js")).await.is_ok());
}

#[tokio::test]
async fn base_has_small_tools_and_no_way_to_be_root() {
    common::template("base").await;
    let sandbox = Sandbox::with(CreateRequest { template: "vanilla".into(), ..CreateRequest::default() }).await;
    let code = "curl --version | head -n 1 | cut -d ' ' -f 1; git --version | cut -d ' ' -f 1-2; command -v sudo su; \
                id -u; git init -q x && git -C x status -s; echo '{\"a\": 1}' | jq .a";
    let run = sandbox.python(code).await;
    assert_eq!(run.language, "bash");
    printed(&run, "curl\ngit version\n/usr/bin/su\n1000\n1");
    // su has no privilege to give: no program in a sandbox gains one by being executed.
    let su = sandbox.python("su root -c 'id -u' < /dev/null").await;
    assert!(su.exit_code != Some(0) && !su.output.contains('0'), "{} {}", su.output, su.stderr);
    let packages = ConfigureRequest {
        sandbox_id: sandbox.id.clone(),
        install_packages: vec!["ws".into()],
        ..ConfigureRequest::default()
    };
    let refused = sandbox.api.configure(Actor::Operator, packages).await.expect_err("apt knows no such name");
    assert!(refused.code == Code::InvalidArgument && refused.message.contains("apt:"), "{refused}");
}

#[tokio::test]
async fn nothing_of_node_waits_before_it_is_first_used() {
    common::template("base").await;
    let health = common::client().await.health(Actor::Operator).await.expect("health");
    let base = health.templates.iter().find(|t| t.name == "base").expect("it is built");
    let node = health.templates.iter().find(|t| t.name == "node");
    let python = health.templates.iter().find(|t| t.name == "python").expect("it is built");
    println!("shelves: base {}, node {:?}, python {}", base.shelf, node.map(|t| t.shelf), python.shelf);
    let home = common::beside("asleep");
    tokio::task::spawn_blocking(move || {
        common::prepare_with(common::shared(), &home, &["python", "base"]);
        common::start(&home, "none");
        let shelf = || {
            let status = common::ringfence(&home, &["status", "--json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
            let of = |name: &str| {
                let all = status["templates"].as_array().expect("templates");
                all.iter().find(|t| t["name"] == name).map_or(0, |t| t["shelf"].as_u64().unwrap_or(0))
            };
            (of("python"), of("base"))
        };
        let end = Instant::now() + Duration::from_secs(30);
        while shelf().0 == 0 {
            assert!(Instant::now() < end, "what is always wanted is not warm");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(shelf().1, 0, "base is warm before anybody used it");
        let run = common::ringfence(&home, &["run", "-", "--template", "base", "--language", "bash"]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let end = Instant::now() + Duration::from_secs(20);
        while shelf().1 == 0 {
            assert!(Instant::now() < end, "its shelf stays empty after it was used");
            std::thread::sleep(Duration::from_millis(50));
        }
        common::stop(&home);
        let _ = fs::remove_dir_all(&home);
    })
    .await
    .expect("it is looked at");
}

async fn install(sandbox: &Sandbox, packages: &[&str]) -> Result<Vec<(String, String)>, ringfence_model::ApiError> {
    let request = ConfigureRequest {
        sandbox_id: sandbox.id.clone(),
        install_packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        ..ConfigureRequest::default()
    };
    let answer = sandbox.api.configure(Actor::Operator, request).await?;
    Ok(answer.packages_installed.into_iter().map(|p| (p.name, p.version)).collect())
}

/// Needs the npm registry.
#[tokio::test]
async fn npm_installs_all_packages_or_none() {
    let sandbox = node().await;
    let installed = install(&sandbox, &["left-pad@1.3.0", "@types/ws@^8"]).await.expect("they are installed");
    assert_eq!(installed[0], ("left-pad".to_owned(), "1.3.0".to_owned()));
    assert!(installed[1].0 == "@types/ws" && installed[1].1.starts_with("8."), "{installed:?}");
    printed(&sandbox.python("console.log(require('left-pad')('7', 3, '0'))").await, "007");
    printed(&sandbox.python("import pad from 'left-pad'; console.log(pad('7', 3, '0'))").await, "007");
    // One that is installed wins over the template's.
    assert_eq!(install(&sandbox, &["ws@7.5.10"]).await.expect("installed")[0].1, "7.5.10");
    printed(&sandbox.python("console.log(require('ws/package.json').version)").await, "7.5.10");
    const STATE: &str = "cat package.json; find node_modules -type f | sort | sha256sum";
    let before = sandbox.bash(STATE).await.output;
    let failed = install(&sandbox, &["is-odd", "axioss-of-nobody-at-all"]).await.expect_err("there is no such package");
    assert_eq!(failed.code, Code::PackageInstallFailed);
    assert!(failed.message.contains("E404") && failed.message.contains("exit code 1"), "{}", failed.message);
    assert_eq!(sandbox.bash(STATE).await.output, before, "nothing half installed");
    let failed = install(&sandbox, &["technicalindicatorz"]).await.expect_err("there is no such package");
    assert!(failed.message.contains("did you mean technicalindicators"), "{}", failed.message);
    for wrong in ["user/repository", "git+https://example.com/x.git", "./here", "--global", "a@file:/etc", "a@npm:b@1"]
    {
        let refused = install(&sandbox, &[wrong]).await.expect_err("it is no name");
        assert_eq!(refused.code, Code::InvalidArgument, "{wrong}");
    }
    // And the registries are closed again.
    let typed = sandbox.bash("npm install is-even --no-audit --no-fund --fetch-retries 0 2>&1").await;
    assert_ne!(typed.exit_code, Some(0), "{}", typed.output);
}

/// Needs the npm registry.
#[tokio::test]
async fn npm_typed_inside_works_where_the_policy_is_packages() {
    let network: Network = serde_json::from_value(serde_json::json!("packages")).expect("a policy");
    common::template("node").await;
    let request = CreateRequest { template: "node".into(), network: Some(network), ..CreateRequest::default() };
    let sandbox = Sandbox::with(request).await;
    let typed = sandbox.bash("npm install is-even@1.0.0 && npm install --global semver@7.6.0 && semver 1.2.3").await;
    assert_eq!(typed.exit_code, Some(0), "{}\n{}", typed.output, typed.stderr);
    assert!(typed.output.trim_end().ends_with("1.2.3"), "{}", typed.output);
    printed(&sandbox.python("console.log(require('is-even')(4))").await, "true");
}
