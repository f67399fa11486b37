//! Each operation is cut off at each of its points: before a role's first, second, third … call by which something becomes durable, is
//! made in the kernel, or is told to another role. strace(1) attaches to the role and delivers the signal, so that there is nothing for it in
//! the product, which a program could find and set.

use std::{sync::Arc, time::Duration};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{Actor, CloneRequest, CreateRequest, SandboxStatus, UploadRequest},
};
use ringfence_server::Client;

use super::{
    daemon::{Daemon, Place, Victim},
    patience::wait_for,
    process::Process,
    scene::{bash, block_on, create, named},
    tracer::Tracer,
};
use crate::common::is_long;

/// An operation takes no longer, also where what it asks dies.
const OPERATION_TIME: Duration = Duration::from_secs(60);

/// For what comes after its answer.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// Where it can be cut off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) role: Victim,
    /// The system call.
    pub(crate) call: &'static str,
    /// How many of them are tried at most, one after the other; it ends at the first that the operation does not come to.
    pub(crate) most: u32,
    /// What comes after these is tried here and there, up to this one.
    pub(crate) late: u32,
}

impl Point {
    /// Every call up to `most`; then each a third further than the one before.
    pub(crate) fn numbers(self) -> impl Iterator<Item = u32> {
        let late = std::iter::successors(Some(self.most), |nth| Some(nth + nth.div_ceil(3))).skip(1);
        (1..=self.most).chain(late.take_while(move |nth| *nth <= self.late))
    }
}

/// Without those that come late.
pub(crate) fn first(most: u32, point: Point) -> Point {
    Point { most, late: 0, ..point }
}

/// What serve writes to its database and says to the jailer, and what the jailer makes: processes, cgroups, disks (ioctl_btrfs), and its
/// answers.
const POINTS: [Point; 6] = [
    Point { role: Victim::Serve, call: "fsync,fdatasync", most: 6, late: 60 },
    Point { role: Victim::Serve, call: "sendmsg", most: 6, late: 60 },
    Point { role: Victim::Jailer, call: "clone3,clone,?fork,?vfork", most: 4, late: 60 },
    Point { role: Victim::Jailer, call: "?mkdir,mkdirat,?rmdir,unlinkat", most: 4, late: 60 },
    Point { role: Victim::Jailer, call: "ioctl", most: 4, late: 60 },
    Point { role: Victim::Jailer, call: "sendmsg,sendto,write", most: 4, late: 60 },
];

/// What is done to a sandbox that runs and has a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Execute,
    Upload,
    Pause,
    Stop,
    Clone,
    Delete,
}

const OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::Execute,
    Operation::Upload,
    Operation::Pause,
    Operation::Stop,
    Operation::Clone,
    Operation::Delete,
];

impl Operation {
    /// What was made by it, if something was; that an answer was no error is what its caller was told.
    async fn run(self, api: &Client, id: &str) -> Result<Option<String>, Code> {
        let done = match self {
            Self::Create => {
                let request = CreateRequest { template: "python".into(), ..CreateRequest::default() };
                let made = api.create(Actor::Operator, request, None).await;
                return made.map(|made| Some(made.sandbox_id.to_string())).map_err(|error| error.code);
            }
            Self::Clone => {
                let request = CloneRequest { sandbox_id: id.to_owned(), ..CloneRequest::default() };
                let made = api.clone_sandbox(Actor::Operator, request).await;
                return made.map(|made| Some(made.sandbox_id.to_string())).map_err(|error| error.code);
            }
            Self::Execute => match api.execute(Actor::Operator, bash(id, "echo done > by-execution; sync")).await {
                Ok(run) if run.success => Ok(()),
                Ok(_) => Err(Code::Internal),
                Err(error) => Err(error.code),
            },
            Self::Upload => {
                let request = UploadRequest {
                    sandbox_id: id.to_owned(),
                    file_path: "by-upload".into(),
                    content: Some("done\n".into()),
                    content_base64: None,
                };
                api.upload(Actor::Operator, request).await.map(drop).map_err(|error| error.code)
            }
            Self::Pause => api.pause(Actor::Operator, named(id)).await.map(drop).map_err(|error| error.code),
            Self::Stop => api.stop(Actor::Operator, named(id)).await.map(drop).map_err(|error| error.code),
            Self::Delete => api.delete(Actor::Operator, named(id)).await.map(drop).map_err(|error| error.code),
        };
        done.map(|()| None)
    }

    /// Whether it has been done stands, if that was said; and what it was done to is whole in any case.
    async fn is_true(self, api: &Client, id: &str, told: &Result<Option<String>, Code>) {
        let found = api.status(Actor::Operator, named(id)).await;
        if self == Self::Delete {
            let is_gone = match &found {
                Ok(found) => found.status == SandboxStatus::Deleted,
                Err(error) => error.code == Code::SandboxNotFound,
            };
            assert!(is_gone || told.is_err(), "it was said to be deleted, and is {found:?}");
            if is_gone {
                return;
            }
        }
        let status = found.expect("it is known").status;
        assert!(!matches!(status, SandboxStatus::Failed), "{self:?} has made the sandbox fail");
        if status != SandboxStatus::Running {
            api.resume(Actor::Operator, named(id)).await.expect("it is resumed");
        }
        let read = api.execute(Actor::Operator, bash(id, "cat kept; cat by-* 2>/dev/null")).await.expect("run").output;
        let wrote = matches!(self, Self::Execute | Self::Upload);
        match (wrote, told.is_ok()) {
            (true, true) => assert_eq!(read, "before\ndone\n", "what was said to be written is there"),
            // It may be there, or not, or not yet written to its end.
            (true, false) => assert!(["before\n", "before\ndone\n"].contains(&&*read), "{read:?}"),
            (false, _) => assert_eq!(read, "before\n"),
        }
        if let Ok(Some(made)) = told {
            let status = api.status(Actor::Operator, named(made)).await.expect("what was made is known").status;
            if status != SandboxStatus::Running {
                api.resume(Actor::Operator, named(made)).await.expect("it is resumed");
            }
            let kept = if self == Self::Clone { "before\n" } else { "" };
            let read = api.execute(Actor::Operator, bash(made, "cat kept 2>/dev/null; true")).await.expect("run");
            assert_eq!(read.output, kept, "{self:?}");
        }
    }
}

/// Has something done while a role is waited for at its `nth` call of this kind; what was said of it, and whether the role came to that
/// and died. Whoever died with it is gone then, and the daemon answers again.
pub(crate) async fn cut_off<T>(
    daemon: &Arc<Daemon>,
    point: Point,
    nth: u32,
    operation: impl Future<Output = T>,
) -> (T, bool) {
    let old = daemon.tree();
    let role = daemon.victim(point.role).expect("it is there");
    let tracer = Tracer::attach(role.pid, point.call, nth);
    let told = operation.await;
    // What it causes comes after its answer: another sandbox is made ahead, a disk is deleted.
    tokio::time::sleep(AFTERWARDS).await;
    drop(tracer);
    let died = !role.lives();
    if died {
        wait_for("the end of the old roles", || {
            let outlives = |p: &Process| Some(p.pid) == daemon.outer_pid() || Some(*p) == daemon.supervisor();
            let is_role = |p: &&Process| p.command().starts_with("ringfence-") && !outlives(p);
            let left: Vec<_> = old.iter().filter(is_role).filter(|p| p.lives()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        daemon.recover();
    }
    (told, died)
}

/// Cuts an operation off at one point. Whether the role came to it.
async fn cut(daemon: &Arc<Daemon>, operation: Operation, point: Point, nth: u32) -> bool {
    let api = daemon.client();
    let id = create(&api).await;
    let wrote = api.execute(Actor::Operator, bash(&id, "echo before > kept; sync")).await.expect("run");
    assert!(wrote.success);
    if operation == Operation::Clone {
        // Of a sandbox that is stopped.
        api.stop(Actor::Operator, named(&id)).await.expect("it is stopped");
    }
    // A shelf that is full stands still: what is counted is the operation's, and what it causes.
    daemon.nothing_is_left_of(&[]);
    let timed = tokio::time::timeout(OPERATION_TIME, operation.run(&api, &id));
    let (told, died) = cut_off(daemon, point, nth, timed).await;
    let told = told.expect("it is answered");
    assert!(died || told.is_ok(), "{operation:?} failed, and {:?} lives: {told:?}", point.role);
    let api = daemon.client();
    operation.is_true(&api, &id, &told).await;
    // Whatever there is goes, also what was made without that anybody was told so.
    for status in ["running", "paused", "stopped", "failed"] {
        for one in daemon.listed(status) {
            api.delete(Actor::Operator, named(&one)).await.expect("it is deleted");
        }
    }
    daemon.nothing_is_left_of(&[]);
    died
}

/// Answers how many points were come to.
fn each_point_of(operations: &[Operation], points: &[Point]) -> u32 {
    let place = Place::take();
    let daemon = Arc::new(Daemon::of(&place));
    let mut come_to = 0;
    block_on(async {
        for operation in operations {
            for point in points {
                for nth in point.numbers() {
                    let died = cut(&daemon, *operation, *point, nth).await;
                    println!(
                        "{operation:?}, {:?} before {} {nth}: {}",
                        point.role,
                        point.call,
                        if died { "killed" } else { "not come to" }
                    );
                    if !died {
                        break;
                    }
                    come_to += 1;
                }
            }
        }
    });
    daemon.stop();
    come_to
}

#[test]
fn an_operation_that_is_cut_off_before_it_is_durable_has_happened_or_not() {
    let points = [first(2, POINTS[0]), first(1, POINTS[2])];
    let come_to = each_point_of(&[Operation::Create, Operation::Stop, Operation::Delete], &points);
    assert!(come_to >= 6, "{come_to} points were come to: strace kills nobody, or what durable means has changed");
}

#[test]
fn every_operation_is_cut_off_at_every_point() {
    if !is_long("every operation at every point") {
        return;
    }
    let come_to = each_point_of(&OPERATIONS, &POINTS);
    assert!(come_to >= 60, "{come_to} points were come to");
}
