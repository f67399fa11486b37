//! No descriptor is left for what every sandbox needs one of.

use std::fs;

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{Actor, CreateRequest},
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{
    daemon::{Daemon, Place, Victim},
    patience::wait_for,
    scene::{bash, block_on, create, named},
};

/// More than the shelf holds: these are made although nothing new can be.
const AHEAD_MAX: usize = 80;

#[test]
fn without_descriptors_nothing_new_is_made_and_all_goes_on_when_there_are_some() {
    let place = Place::take();
    let daemon = Daemon::of(&place);
    let jailer = daemon.victim(Victim::Jailer).expect("a jailer");
    let pid = Pid::from_raw(jailer.pid).expect("not 0");
    block_on(async {
        let api = daemon.client();
        let kept = create(&api).await;
        assert!(api.execute(Actor::Operator, bash(&kept, "echo before > kept")).await.expect("run").success);
        let open = fs::read_dir(format!("/proc/{}/fd", jailer.pid)).expect("root reads it").count() as u64;
        // The soft limit alone: it can be raised again without a privilege.
        let hard = rlimit(pid).maximum;
        let normal = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(open), maximum: hard });
        let normal = normal.expect("root may");
        let mut made = Vec::new();
        let refused = loop {
            let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
            match api.create(Actor::Operator, request, None).await {
                Ok(answer) => made.push(answer.sandbox_id.to_string()),
                Err(error) => break error,
            }
            assert!(made.len() < AHEAD_MAX, "nothing was refused");
        };
        assert_eq!(refused.code, Code::InsufficientResources, "{refused:?}");
        assert!(refused.message.contains("descriptors"), "{refused:?}");
        // What is there can be asked for and goes away, and nobody has died of it.
        assert!(api.status(Actor::Operator, named(&kept)).await.expect("it answers").success);
        for id in &made {
            api.delete(Actor::Operator, named(id)).await.expect("it is deleted");
        }
        assert!(jailer.lives(), "the jailer lives on");
        prlimit(Some(pid), Resource::Nofile, normal).expect("root may");
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

fn rlimit(pid: Pid) -> Rlimit {
    let text = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).expect("root reads it");
    let line = text.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    let (current, maximum) = (numbers.next(), numbers.next());
    Rlimit { current, maximum }
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
