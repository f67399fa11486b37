//! No descriptor is left for what every sandbox needs one of.

use std::{
    fs,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError, Code,
    api::{Actor, CreateRequest, ExecuteRequest, ExecutionRequest, ExecutionStatus},
};

use super::{
    daemon::{Daemon, Place, Victim},
    limits::limit,
    patience::wait_for,
    process::Process,
    scene::{bash, block_on, create, named},
};

/// More than the shelf holds: these are made although nothing new can be.
const AHEAD_MAX: usize = 80;
/// In which serve accepts a connection, or notices its end.
const A_MOMENT: Duration = Duration::from_millis(50);
/// A program says within 20 s whether it was refused a connection.
const HOLD_TIME: Duration = Duration::from_secs(60);

#[test]
fn without_descriptors_nothing_new_is_made_and_all_goes_on_when_there_are_some() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    let jailer = daemon.victim(Victim::Jailer).expect("a jailer");
    block_on(async {
        let api = daemon.client();
        let kept = create(&api).await;
        assert!(api.execute(Actor::Operator, bash(&kept, "echo before > kept")).await.expect("run").success);
        let normal = leave(jailer, 0);
        let made = made_until_refused(&api).await;
        // What is there can be asked for and goes away, and nobody has died of it.
        assert!(api.status(Actor::Operator, named(&kept)).await.expect("it answers").success);
        for id in &made {
            api.delete(Actor::Operator, named(id)).await.expect("it is deleted");
        }
        assert!(jailer.lives(), "the jailer lives on");
        give_back(jailer, normal);
        let fresh = loop_until_made(&api).await;
        let run = api.execute(Actor::Operator, bash(&kept, "cat kept")).await.expect("run");
        assert_eq!(run.output, "before\n", "{}", run.stderr);
        for id in [&kept, &fresh] {
            api.delete(Actor::Operator, named(id)).await.expect("it is deleted");
        }
    });
    assert!(jailer.lives(), "and it was not started anew");
    wait_for("no sandbox", || match daemon.listed("running") {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
    daemon.stop();
}

#[test]
fn without_descriptors_serve_says_so_to_whoever_comes_and_what_runs_goes_on() {
    /// Numbers below the limit may be free before.
    const HELD_MAX: usize = 500;
    let place = Place::take();
    let daemon = Daemon::of(&place);
    let serve = daemon.victim(Victim::Serve).expect("serve");
    block_on(async {
        let api = daemon.client();
        let kept = create(&api).await;
        let request =
            ExecuteRequest { background: true, timeout: Some(3600.0), ..bash(&kept, "echo begun; sleep 4245.5") };
        let execution = api.execute(Actor::Operator, request).await.expect("begun").execution_id.to_string();
        let normal = leave(serve, 0);
        // Silent connections, which serve waits for, until there is none for another.
        // The one after the first that is refused hears it too: what it is said with is kept again. (Serve itself may have used the last one
        // for a moment, and given it back: then that was not the end.)
        let (mut held, mut refused) = (Vec::new(), 0);
        while refused < 2 {
            match daemon.client().status(Actor::Operator, named(&kept)).await {
                Err(error) => {
                    is_want_of_descriptors(&error);
                    refused += 1;
                    continue;
                }
                Ok(_) => refused = 0,
            }
            // The one that has just ended is free again, and not for it alone.
            tokio::time::sleep(A_MOMENT).await;
            held.push(UnixStream::connect(daemon.home.join("run/api.sock")).expect("it listens"));
            tokio::time::sleep(A_MOMENT).await;
            assert!(held.len() < HELD_MAX, "nobody was refused");
        }
        assert!(serve.lives(), "nobody has died of it");
        drop(held);
        // Those that ended are noticed in a moment. Nothing of what ran has ended meanwhile.
        give_back(serve, normal);
        let fresh = loop_until_made(&daemon.client()).await;
        assert!(api.execute(Actor::Operator, bash(&fresh, "true")).await.expect("run").success);
        let request = ExecutionRequest { execution_id: execution.clone(), wait: None };
        let found = api.execution(Actor::Operator, request).await.expect("known");
        assert_eq!((found.status, found.output.as_str()), (ExecutionStatus::Running, "begun\n"));
        for id in [&kept, &fresh] {
            api.delete(Actor::Operator, named(id)).await.expect("it is deleted");
        }
    });
    assert!(serve.lives(), "and it was not started anew");
    daemon.nothing_is_left_of(&[]);
    daemon.stop();
}

#[test]
fn connections_of_one_sandbox_do_not_take_the_last_descriptors_of_the_gateway() {
    /// Of which an eighth stays free.
    const FREE: u64 = 64;
    // Silent ones: the gate waits for their first byte, and holds them meanwhile. Those beyond what there is are reset, while they
    // are made or as soon as they are.
    const HOLD: &str = "
import os, select, socket, time
held, refused, end = [], 0, time.monotonic() + 20
for _ in range(128):
    try:
        held.append(socket.create_connection(('192.0.2.7', 443), 10))
    except ConnectionResetError:
        refused += 1
while not refused and time.monotonic() < end:
    for one in select.select(held, [], [], 0.2)[0]:
        try:
            one.recv(1)
        except ConnectionResetError:
            refused += 1
print(refused > 0, flush=True)
while not os.path.exists('enough'):
    time.sleep(0.05)
";
    const ASK: &str = "
import socket
try:
    socket.getaddrinfo('nobody.ringfence.test', 80)
except socket.gaierror:
    print('answered')
";
    let place = Place::take();
    let daemon = Daemon::of(&place);
    let gateway = daemon.role("ringfence-gateway").expect("a gateway");
    block_on(async {
        let api = daemon.client();
        let hostile = create(&api).await;
        let python =
            |id: &str, code: &str| ExecuteRequest { sandbox_id: id.into(), code: code.into(), ..Default::default() };
        let normal = leave(gateway, FREE);
        let request = ExecuteRequest { background: true, timeout: Some(3600.0), ..python(&hostile, HOLD) };
        let execution = api.execute(Actor::Operator, request).await.expect("begun").execution_id.to_string();
        let found = |wait: Option<f64>| {
            let request = ExecutionRequest { execution_id: execution.clone(), wait };
            let api = &api;
            async move { api.execution(Actor::Operator, request).await.expect("known") }
        };
        let end = Instant::now() + HOLD_TIME;
        let said = loop {
            let said = found(None).await;
            if said.output.contains('\n') || said.status != ExecutionStatus::Running || Instant::now() > end {
                break said;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(said.output, "True\n", "{said:?}");
        // The sockets of a new sandbox reach the gateway all the same, and it answers there.
        let fresh = create(&api).await;
        let asked = api.execute(Actor::Operator, python(&fresh, ASK)).await.expect("run");
        assert_eq!(asked.output, "answered\n", "{}", asked.stderr);
        assert!(asked.denials.iter().any(|denial| denial.destination.contains("nobody")), "{:?}", asked.denials);
        // What a program was denied is told when it has ended.
        assert!(api.execute(Actor::Operator, bash(&hostile, "touch enough")).await.expect("run").success);
        let ended = found(Some(30.0)).await;
        assert_eq!(ended.status, ExecutionStatus::Completed, "{ended:?}");
        let told = ended.denials.iter().any(|denial| denial.reason.contains("descriptors"));
        assert!(told, "{:?}", ended.denials);
        give_back(gateway, normal);
        for id in [&hostile, &fresh] {
            api.delete(Actor::Operator, named(id)).await.expect("it is deleted");
        }
    });
    assert!(gateway.lives(), "nobody lost a connection");
    daemon.nothing_is_left_of(&[]);
    daemon.stop();
}

fn is_want_of_descriptors(error: &ApiError) {
    assert_eq!(error.code, Code::InsufficientResources, "{error:?}");
    assert!(error.message.contains("descriptors"), "{error:?}");
}

/// Creates sandboxes until one is refused for want of descriptors.
async fn made_until_refused(api: &ringfence_server::Client) -> Vec<String> {
    let mut made = Vec::new();
    loop {
        let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
        match api.create(Actor::Operator, request, None).await {
            Ok(answer) => made.push(answer.sandbox_id.to_string()),
            Err(error) => {
                is_want_of_descriptors(&error);
                return made;
            }
        }
        assert!(made.len() < AHEAD_MAX, "nothing was refused");
    }
}

/// Leaves a process that many descriptors beside those that it has. Answers the limit of before.
fn leave(process: Process, more: u64) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid)).expect("root reads it");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let before = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
    let open = fs::read_dir(format!("/proc/{}/fd", process.pid)).expect("root reads it").count() as u64;
    limit(process, "nofile", &(open + more).to_string());
    before
}

fn give_back(process: Process, before: u64) {
    limit(process, "nofile", &before.to_string());
}

/// A shelf that failed tries again in a moment.
async fn loop_until_made(api: &ringfence_server::Client) -> String {
    let mut last = None;
    for _ in 0..100 {
        let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
        match api.create(Actor::Operator, request, None).await {
            Ok(answer) => return answer.sandbox_id.to_string(),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("nothing is made although there are descriptors again: {last:?}")
}
