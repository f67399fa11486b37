//! Work that goes on after a call, cut off at each of its points as [`super::points`] does it: a template that is built, and a sweep. What was
//! said to be done is done, what was cut off is done again, and neither leaves anything.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, BuildRequest, CreateRequest, RecipeFile, RecipeSource, SweepAnswer, SweepListRequest, SweepRequest,
    SweepStatusRequest, TemplateRequest, TemplateStatus,
};
use ringfence_research::api::Sweeps;
use ringfence_server::Client;

use super::{
    daemon::{Daemon, Place, Victim},
    patience::wait_for,
    points::{Point, cut_off, first},
    scene::{bash, block_on, named},
};
use crate::common::{is_long, ringfence};

/// For a build or a sweep with another daemon in the middle of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What serve makes durable and says to the jailer, and what the jailer makes.
const POINTS: [Point; 5] = [
    Point { role: Victim::Serve, call: "fsync,fdatasync", most: 10, late: 300 },
    Point { role: Victim::Serve, call: "sendmsg", most: 8, late: 300 },
    Point { role: Victim::Jailer, call: "clone3,clone,?fork,?vfork", most: 6, late: 300 },
    Point { role: Victim::Jailer, call: "?mkdir,mkdirat,?rmdir,unlinkat", most: 6, late: 300 },
    Point { role: Victim::Jailer, call: "sendmsg,sendto,write", most: 6, late: 300 },
];

const TEMPLATE: &str = "points-build";
const RECIPE: &str = r#"
name = "points-build"
description = "A test"
language = "bash"
debian = "bookworm"
working_dir = "/srv/app"

[[files]]
from = "a"
to = "/srv/app/a"

[[build]]
run = "rev a > made"
"#;

fn recipe(content: &str) -> BuildRequest {
    let file = RecipeFile { path: "a".into(), executable: false, content_base64: BASE64_STANDARD.encode(content) };
    BuildRequest {
        template_name: TEMPLATE.into(),
        recipe: Some(RecipeSource { text: RECIPE.into(), files: vec![file] }),
        ..BuildRequest::default()
    }
}

/// What a sandbox of the template finds; none while no version of it is ready.
async fn made(api: &Client) -> Option<String> {
    let request = TemplateRequest { template_name: TEMPLATE.into() };
    let known = api.template(Actor::Operator, request).await.ok()?;
    if known.template.status != TemplateStatus::Ready {
        return None;
    }
    let request = CreateRequest { template: TEMPLATE.into(), ..CreateRequest::default() };
    let id =
        api.create(Actor::Operator, request, None).await.expect("a sandbox of what is ready").sandbox_id.to_string();
    let read = api.execute(Actor::Operator, bash(&id, "rev made")).await.expect("run").output;
    api.delete(Actor::Operator, named(&id)).await.expect("it is deleted");
    Some(read)
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// Cuts a build off at one point. Whether the role came to it.
async fn cut_build(daemon: &Arc<Daemon>, point: Point, nth: u32) -> bool {
    let content = format!("{:?} {} {nth}\n", point.role, point.call);
    let before = made(&daemon.client()).await;
    let api = daemon.client();
    let build = tokio::time::timeout(PATIENCE, api.build(Actor::Operator, recipe(&content), None));
    let (told, died) = cut_off(daemon, point, nth, build).await;
    let told = told.expect("it is answered");
    assert!(died || told.is_ok(), "the build failed, and {:?} lives: {told:?}", point.role);
    let api = daemon.client();
    let found = made(&api).await;
    let is_new = found.as_ref() == Some(&content);
    assert!(is_new || told.is_err(), "it was said to be built, and there is {found:?}");
    // Whoever has a version that is ready keeps it while the next one fails.
    assert!(is_new || found.is_none() || found == before, "{found:?} where {before:?} was");
    api.build(Actor::Operator, recipe(&content), None).await.expect("it is built again");
    assert_eq!(made(&api).await, Some(content), "after {:?} died before {} {nth}", point.role, point.call);
    wait_for("an empty directory of builds", || {
        let left = names(&daemon.home.join("builds"));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    died
}

/// A strategy that takes no time, over few bars.
fn sweep() -> SweepRequest {
    let asked = serde_json::json!({
        "code": "def signals(bars, n):\n    return (bars.close > bars.close.rolling(n).mean()).astype(float)",
        "symbols": ["IBM"], "parameters": {"n": [5, 10, 20, 40]}, "wait": 0, "top": 0,
    });
    serde_json::from_value(asked).expect("a request")
}

async fn ended(api: &Client, id: &str) -> SweepAnswer {
    let begun = Instant::now();
    loop {
        let request = SweepStatusRequest { sweep_id: id.to_owned(), wait: Some(5.0), top: Some(0), chart: false };
        let found = api.sweep_status(Actor::Operator, request, None).await;
        match found {
            Ok(found) if found.status.has_ended() => return found,
            found => assert!(begun.elapsed() < PATIENCE, "{found:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The ids of all sweeps.
async fn listed(api: &Client) -> BTreeSet<String> {
    let all = api.sweep_list(Actor::Operator, SweepListRequest { limit: Some(1000) }).await.expect("a list");
    all.sweeps.iter().map(|sweep| sweep.sweep_id.to_string()).collect()
}

/// Cuts a sweep off at one point. Whether the role came to it.
async fn cut_sweep(daemon: &Arc<Daemon>, expected: &str, point: Point, nth: u32) -> bool {
    let api = daemon.client();
    let before = listed(&api).await;
    let until_its_end = async {
        let begun = api.sweep(Actor::Operator, sweep(), None).await?;
        let id = begun.sweep_id.to_string();
        // Until it is over, or whoever has to answer is dead.
        loop {
            let request = SweepStatusRequest { sweep_id: id.clone(), wait: Some(5.0), top: Some(0), chart: false };
            match api.sweep_status(Actor::Operator, request, None).await {
                Ok(found) if !found.status.has_ended() => {}
                _ => return Ok(id),
            }
        }
    };
    let (told, died) = cut_off(daemon, point, nth, until_its_end).await;
    let told: Result<String, ringfence_model::ApiError> = told;
    assert!(died || told.is_ok(), "the sweep was refused, and {:?} lives: {told:?}", point.role);
    // One whose id nobody was told was taken all the same, or not at all.
    let api = daemon.client();
    let known = listed(&api).await;
    let begun: Vec<&String> = known.difference(&before).collect();
    assert!(begun.len() <= 1, "one was asked for, and {begun:?} are there");
    if let Ok(id) = &told {
        assert_eq!(begun, [id], "what was said to have begun is listed");
    }
    for id in begun {
        let found = ended(&api, id).await;
        assert_eq!(
            found.table_sha256.as_deref(),
            Some(expected),
            "{:?} died before {} {nth}, told {told:?}: {}",
            point.role,
            point.call,
            found.summary
        );
    }
    died
}

async fn each_point(points: &[Point], mut cut: impl AsyncFnMut(Point, u32) -> bool) -> u32 {
    let mut come_to = 0;
    for point in points {
        for nth in point.numbers() {
            let died = cut(*point, nth).await;
            println!("{:?} before {} {nth}: {}", point.role, point.call, if died { "killed" } else { "not come to" });
            if !died {
                break;
            }
            come_to += 1;
        }
    }
    come_to
}

/// Answers how many points were come to.
fn builds_at(points: &[Point]) -> u32 {
    let place = Place::take();
    let daemon = Arc::new(Daemon::of(&place));
    let layers = names(&daemon.home.join("layers"));
    let come_to = block_on(async {
        let come_to = each_point(points, async |point, nth| cut_build(&daemon, point, nth).await).await;
        daemon.nothing_is_left_of(&[]);
        come_to
    });
    // All of it goes with the template, also what builds that were cut off had made by then.
    for args in [&["template", "rm", TEMPLATE][..], &["template", "prune"]] {
        let done = ringfence(&daemon.home, args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let left: Vec<String> = names(&daemon.home.join("layers")).difference(&layers).cloned().collect();
    assert_eq!(left, Vec::<String>::new());
    daemon.stop();
    come_to
}

fn sweeps_at(points: &[Point]) -> u32 {
    let place = Place::take();
    let daemon = Arc::new(Daemon::of(&place));
    let come_to = block_on(async {
        let whole = daemon.client().sweep(Actor::Operator, sweep(), None).await.expect("a sweep");
        let whole = ended(&daemon.client(), &whole.sweep_id.to_string()).await;
        let expected = whole.table_sha256.expect("it has a table");
        let come_to = each_point(points, async |point, nth| cut_sweep(&daemon, &expected, point, nth).await).await;
        daemon.nothing_is_left_of(&[]);
        come_to
    });
    daemon.stop();
    come_to
}

#[test]
fn a_build_that_is_cut_off_is_ready_or_built_again() {
    let come_to = builds_at(&[first(2, POINTS[0]), first(1, POINTS[2])]);
    assert!(come_to >= 2, "{come_to} points were come to");
}

#[test]
fn a_sweep_that_is_cut_off_ends_with_the_same_table() {
    let come_to = sweeps_at(&[first(2, POINTS[0]), first(1, POINTS[2])]);
    assert!(come_to >= 2, "{come_to} points were come to");
}

#[test]
fn builds_and_sweeps_are_cut_off_at_every_point() {
    if !is_long("builds and sweeps at every point") {
        return;
    }
    let (builds, sweeps) = (builds_at(&POINTS), sweeps_at(&POINTS));
    assert!(builds >= 20 && sweeps >= 20, "{builds} points of builds and {sweeps} of sweeps were come to");
}
