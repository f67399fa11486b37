//! Whatever the kernel is asked by a program that knows no reason, host, daemon and neighbours are as before.

use std::{
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use super::stage::{all_is_well, small};
use crate::common::{Sandbox, ringfence, shared};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, ExecuteRequest, ExecutionRequest, ExecutionStatus};

/// Length of one program; its sandbox is deleted after it.
const ROUND_SECONDS: f64 = 5.0;

/// Words of a kernel that has come to harm.
const HARM: [&str; 9] = [
    "BUG:",
    "Oops",
    "general protection fault:",
    "Call Trace:",
    "KASAN",
    "soft lockup",
    "rcu_sched self-detected",
    "Kernel panic",
    // Of the whole host; that of a sandbox begins with "Memory cgroup".
    "] Out of memory: ",
];

/// Lines that speak of harm. A sandbox that has reached its limit of memory is none, and the kernel's report of it has a trace too: it begins
/// with the process that asked for memory, which may no longer be in the log, and ends with the group whose limit it was.
fn harm(log: &[String]) -> Vec<&String> {
    let is_report = |at: usize| {
        let begins = log[at.saturating_sub(3)..at].iter().any(|line| line.contains("invoked oom-killer"));
        let end =
            log[at + 1..].iter().find(|line| line.contains("oom-kill:") || HARM.iter().any(|word| line.contains(word)));
        begins || end.is_some_and(|line| line.contains("oom-kill:constraint=CONSTRAINT_MEMCG"))
    };
    let harms = |(at, line): &(usize, &String)| {
        HARM.iter().any(|word| line.contains(word)) && !(line.contains("Call Trace:") && is_report(*at))
    };
    log.iter().enumerate().filter(harms).map(|(_, line)| line).collect()
}

#[test]
fn a_sandbox_without_memory_is_no_harm_and_a_host_without_is() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let of_sandbox = "[1.1] python3 invoked oom-killer: gfp_mask=0x400cc0\n[1.2] CPU: 0 UID: 7\n[1.3] Call Trace:\n[1.4]  <TASK>\n\
        [1.5] Memory cgroup out of memory: Killed process 7 (python3)";
    assert_eq!(harm(&lines(of_sandbox)), Vec::<&String>::new());
    // The beginning of the log was overwritten.
    let end =
        "[1.3] Call Trace:\n[1.4]  <TASK>\n[1.5] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)\n[1.6] BUG: bad";
    assert_eq!(harm(&lines(end)), ["[1.6] BUG: bad"]);
    assert_eq!(harm(&lines("[1.3] Call Trace:\n[1.4] BUG: bad\n[1.5] oom-kill:constraint=CONSTRAINT_MEMCG")).len(), 2);
    assert_eq!(harm(&lines("[1.3] Call Trace:\n[1.5] oom-kill:constraint=CONSTRAINT_NONE")).len(), 1);
    assert_eq!(
        harm(&lines("[1.1] x invoked oom-killer\n[1.2] Call Trace:\n[1.5] Out of memory: Killed process 7")).len(),
        1
    );
    assert_eq!(harm(&lines("[1.1] BUG: unable to handle\n[1.2] a\n[1.3] b\n[1.4] Call Trace:")).len(), 2);
}

/// The kernel's log, line by line.
fn kernel_log() -> Vec<String> {
    let log = Command::new("dmesg").output().expect("dmesg(1) is on every host");
    assert!(log.status.success(), "the kernel's log can be read by root");
    String::from_utf8_lossy(&log.stdout).lines().map(str::to_owned).collect()
}

/// Nothing was written to the kernel's log since `before` that speaks of harm.
#[track_caller]
fn kernel_is_unharmed(before: &[String]) {
    let log = kernel_log();
    let found: Vec<&String> = harm(&log).into_iter().filter(|line| !before.contains(line)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// Calls made and calls that succeeded, as the last whole line of a program has them.
fn counted(output: &str) -> (u64, u64) {
    let line = |line: &str| {
        let (made, succeeded) = line.strip_prefix("calls ")?.split_once(' ')?;
        Some((made.parse().ok()?, succeeded.parse().ok()?))
    };
    output.lines().filter_map(line).next_back().unwrap_or_default()
}

/// Runs one program to its deadline, in a sandbox that is deleted with it. What it does to itself is its own loss.
async fn round(seed: u64) -> (u64, u64) {
    let sandbox = small().await;
    let code = format!("SEED = {seed}\n{}", include_str!("random_calls.py"));
    let request = ExecuteRequest {
        sandbox_id: sandbox.id.clone(),
        code,
        timeout: Some(ROUND_SECONDS),
        ..ExecuteRequest::default()
    };
    let run = sandbox.api.execute(Actor::Operator, request).await.expect("it is answered");
    assert_ne!(run.status, ExecutionStatus::Running, "its deadline is over: {run:?}");
    sandbox.delete().await;
    counted(&run.output)
}

#[tokio::test]
async fn random_system_calls_harm_nobody() {
    let seconds = if std::env::var_os("RINGFENCE_LONG").is_some() { 1200 } else { 30 };
    let asked = std::env::var("RINGFENCE_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let first = asked.unwrap_or(now);
    println!("RINGFENCE_SEED={first}");
    let neighbour = Sandbox::new().await;
    let before = kernel_log();
    let (mut made, mut succeeded, mut rounds) = (0, 0, 0);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let (more, of_them) = round(first + rounds).await;
        (made, succeeded, rounds) = (made + more, succeeded + of_them, rounds + 1);
        all_is_well(&neighbour).await;
        kernel_is_unharmed(&before);
    }
    println!("{made} calls in {rounds} sandboxes, of which {succeeded} succeeded");
    // They were really made, and the filter does not simply refuse all of them.
    assert!(made >= seconds * 100 && succeeded >= made / 100, "{made} calls, {succeeded} succeeded");
    let status = tokio::task::spawn_blocking(|| ringfence(shared(), &["status", "--json"])).await.expect("no panic");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

/// stress-ng from Debian's packages: each of its stressors for a second, as far as it runs at all without root.
#[tokio::test]
async fn stress_ng_harms_nobody() {
    if !crate::common::is_long("stress-ng") {
        return;
    }
    crate::common::template("base").await;
    let neighbour = Sandbox::new().await;
    let before = kernel_log();
    let request = CreateRequest {
        template: "base".into(),
        install_packages: vec!["apt:stress-ng".into()],
        timeout: Some(7200),
        ..CreateRequest::default()
    };
    let sandbox = Sandbox::with(request).await;
    let request = ExecuteRequest {
        // Its own exit code says that some did not run: what is judged is the host. Not into a file: some of them fill the disk.
        code: "stress-ng --sequential 1 --timeout 1 --oomable --verbose 2>&1 | awk '/: exited \\[/ { ran++ } \
               /terminated with an error/ { failed++ } / run completed in / { last = $0 } END { print \"ran\", ran - failed; print last }'"
            .into(),
        timeout: Some(2400.0),
        ..ExecuteRequest::default()
    };
    let mut run = sandbox.request(request).await;
    while run.status == ExecutionStatus::Running {
        all_is_well(&neighbour).await;
        let later = ExecutionRequest { execution_id: run.execution_id.to_string(), wait: Some(30.0) };
        run = sandbox.api.execution(Actor::Operator, later).await.expect("it is known");
    }
    println!("{:?}\n{}", run.status, run.output);
    assert!(run.output.contains(" run completed in "), "it came to its end: {}", run.output);
    let ran = run.output.lines().find_map(|line| line.strip_prefix("ran ")?.parse::<u32>().ok());
    assert!(ran.is_some_and(|ran| ran >= 100), "so many stressors run without root: {}", run.output);
    all_is_well(&neighbour).await;
    kernel_is_unharmed(&before);
}
