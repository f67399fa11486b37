//! Tests of others, run inside: CPython's own of what a sandbox could break, and NumPy's. What fails is in a table with the reason,
//! and is what isolation forbids; what no longer fails must leave it. docs/reference/suites.md says what the results are.

mod common;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use common::{Sandbox, is_long, ringfence, shared};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, ConfigureRequest, CreateRequest, ExecuteRequest, ExecutionRequest, ExecutionStatus, LimitsRequest,
    UploadRequest,
};
use serde::Deserialize;

/// Modules of CPython's tests, and how many tests of each passed when this was written, rounded down: fewer, and the suite has shrunk.
const MODULES: [(&str, usize); 10] = [
    ("test_os", 250),
    ("test_subprocess", 290),
    ("test_threading", 190),
    ("test_signal", 50),
    ("test_socket", 480),
    ("test_tempfile", 100),
    ("test_asyncio", 2250),
    ("test_multiprocessing_fork", 330),
    ("test_multiprocessing_spawn", 330),
    ("test_multiprocessing_forkserver", 330),
];

/// Parts of names of tests that fail, and why.
const OF_CPYTHON: [(&str, &str); 2] = [
    ("UDPLITE", "no sockets but TCP, UDP, unix and routes: UDP-Lite is none of them"),
    ("TestScandir.test_attributes", "overlayfs gives a file one number in a listing and another by itself"),
];

const OF_NUMPY: [(&str, &str); 2] = [
    ("test_cpu_features.py::Test_X86_Features::test_features", "the sandbox's /proc/cpuinfo lists no features"),
    ("test_mem_policy.py::", "it compiles, and no template has a compiler"),
];

/// What became of a module's tests.
#[derive(Debug, Deserialize)]
struct Outcome {
    module: String,
    passed: usize,
    skipped: BTreeMap<String, usize>,
    /// By name: the last lines of why.
    failed: BTreeMap<String, serde_json::Value>,
}

fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites")
}

/// Runs a program of `suites/` in a sandbox; its lines.
async fn outcomes(sandbox: &Sandbox, program: &str, arguments: &str) -> Vec<Outcome> {
    let code = std::fs::read_to_string(suites().join(program)).expect("it is beside the tests");
    let upload = UploadRequest {
        sandbox_id: sandbox.id.clone(),
        file_path: format!("/home/user/{program}"),
        content: Some(code),
        ..UploadRequest::default()
    };
    sandbox.api.upload(Actor::Operator, upload).await.expect("uploaded");
    let request = ExecuteRequest {
        code: format!("python3 -B {program} {arguments}"),
        language: Some("bash".into()),
        timeout: Some(2400.0),
        ..ExecuteRequest::default()
    };
    let mut run = sandbox.request(request).await;
    // The answer comes before the end where that is far.
    while run.status == ExecutionStatus::Running {
        let later = ExecutionRequest { execution_id: run.execution_id.to_string(), wait: Some(30.0) };
        run = sandbox.api.execution(Actor::Operator, later).await.expect("it is known");
    }
    assert_eq!(run.status, ExecutionStatus::Completed, "{}\n{}", run.output, run.stderr);
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    run.output.lines().map(read).collect()
}

/// What failed is known, and what is known failed.
#[track_caller]
fn judge(found: &[Outcome], known: &[(&str, &str)]) {
    for Outcome { module, passed, skipped, failed } in found {
        println!("{module}: {passed} passed, {} skipped, {} failed", skipped.values().sum::<usize>(), failed.len());
    }
    let failed = || found.iter().flat_map(|outcome| &outcome.failed);
    let wrong: Vec<_> = failed().filter(|(test, _)| !known.iter().any(|(part, _)| test.contains(part))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (part, reason) in known {
        assert!(failed().any(|(test, _)| test.contains(part)), "{part} is known to fail ({reason}), but does not");
    }
}

#[tokio::test]
async fn the_tests_of_cpython_pass_but_for_what_isolation_forbids() {
    if !is_long("CPython's own tests") {
        return;
    }
    let built = tokio::task::spawn_blocking(|| {
        let built = ringfence(shared(), &["template", "build", suites().to_str().expect("plain")]);
        assert!(built.status.success(), "the template: {}", String::from_utf8_lossy(&built.stderr));
    });
    built.await.expect("it is built");
    let sandbox = Sandbox::with(CreateRequest { template: "cpython-suite".into(), ..CreateRequest::default() }).await;
    let names: Vec<&str> = MODULES.iter().map(|(name, _)| *name).collect();
    let found = outcomes(&sandbox, "cpython.py", &names.join(" ")).await;
    assert_eq!(found.iter().map(|outcome| outcome.module.as_str()).collect::<Vec<_>>(), names);
    for (outcome, (name, least)) in found.iter().zip(MODULES) {
        assert!(outcome.passed >= least, "{name}: {outcome:?}");
    }
    judge(&found, &OF_CPYTHON);
}

#[tokio::test]
async fn the_fast_tests_of_numpy_pass() {
    if !is_long("NumPy's own tests") {
        return;
    }
    let limits = LimitsRequest { memory_mb: Some(3072), ..LimitsRequest::default() };
    let sandbox =
        Sandbox::with(CreateRequest { template: "python".into(), limits: Some(limits), ..CreateRequest::default() })
            .await;
    let packages = ConfigureRequest {
        sandbox_id: sandbox.id.clone(),
        install_packages: vec!["pytest==9.2.0".into(), "hypothesis==6.170.17".into()],
        ..ConfigureRequest::default()
    };
    sandbox.api.configure(Actor::Operator, packages).await.expect("installed");
    let found = outcomes(&sandbox, "numpy_fast.py", "").await;
    assert!(found.len() == 1 && found[0].passed > 40_000, "{found:#?}");
    judge(&found, &OF_NUMPY);
}
