//! What is exported of a sandbox that runs is of one moment, and what is not copied is said.

use std::time::{Duration, Instant};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{Actor, AuditLogRequest, ConfigureRequest, ExecuteRequest, ExportRequest, SandboxRequest, SandboxStatus},
};

use crate::{
    common::template,
    scene::{Scene, export, request},
};

/// Writes one file and then another, as often as it can.
const COUNTER: &str = r#"
import os
a, b = (os.open("/home/user/" + name, os.O_CREAT | os.O_WRONLY) for name in "ab")
n = 0
while True:
    n += 1
    os.pwrite(a, b"%012d" % n, 0)
    os.pwrite(b, b"%012d" % n, 0)
"#;

fn number(scene: &Scene, digest: &str, name: &str) -> u64 {
    let file = scene.home.join("layers").join(digest).join("rootfs/home/user").join(name);
    std::fs::read_to_string(&file).expect("it is there").parse().expect("twelve digits")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_stands_still_while_it_is_copied_and_what_is_paused_stays_paused() {
    let scene = Scene::of_test().await;
    let id = scene.create("python").await;
    let named = || SandboxRequest { sandbox_id: id.clone() };
    let counter = ExecuteRequest {
        sandbox_id: id.clone(),
        code: COUNTER.into(),
        background: true,
        timeout: Some(600.0),
        ..ExecuteRequest::default()
    };
    scene.api.execute(Actor::Agent, counter).await.expect("it runs");
    const READ: &str = "
import os
while not os.path.exists('/home/user/b') or os.path.getsize('/home/user/b') < 12: pass
print(open('/home/user/b').read())
";
    let now = async || scene.prints(&id, READ).await.trim().parse::<u64>().expect("a number");
    let mut last = now().await;
    let mut version = 0;
    let mut again = async |status: SandboxStatus| {
        version += 1;
        let request = ExportRequest { new_version: version > 1, ..request(&id, "moment") };
        let exported = scene.api.export_template(Actor::Agent, request, None).await.expect("exported");
        assert_eq!(scene.api.status(Actor::Agent, named()).await.expect("a status").status, status);
        let (a, b) = (number(&scene, &exported.digest, "a"), number(&scene, &exported.digest, "b"));
        assert!(a == b || a == b + 1, "round {version}: {a} and {b} are not of one moment");
        b
    };
    for _ in 0..4 {
        let copied = again(SandboxStatus::Running).await;
        assert!(copied >= last, "{copied} is older than {last}");
        // It runs on.
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            last = now().await;
            if last > copied {
                break;
            }
            assert!(Instant::now() < end, "it stands still at {last}");
        }
    }
    scene.api.pause(Actor::Agent, named()).await.expect("paused");
    let first = again(SandboxStatus::Paused).await;
    // One that an export had thawed would have counted on.
    assert_eq!(again(SandboxStatus::Paused).await, first);
    scene.api.resume(Actor::Agent, named()).await.expect("resumed");
    let end = Instant::now() + Duration::from_secs(60);
    while now().await <= first {
        assert!(Instant::now() < end, "it does not go on");
    }
    scene.end(&[&id], &["moment"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_is_not_exported_with_half_a_package() {
    let scene = Scene::of_test().await;
    let id = scene.create("python").await;
    let configure = ConfigureRequest {
        sandbox_id: id.clone(),
        install_packages: vec!["scikit-learn".into(), "yfinance".into()],
        ..ConfigureRequest::default()
    };
    let api = scene.api.clone();
    let installing = tokio::spawn(async move { api.configure(Actor::Agent, configure).await });
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let asked = AuditLogRequest { limit: Some(100), ..AuditLogRequest::default() };
        let log = scene.api.audit_log(Actor::Operator, asked).await.expect("a log");
        if serde_json::to_string(&log).expect("plain data").contains("\"sandbox.install\"") {
            break;
        }
        assert!(Instant::now() < end, "nothing is installed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = export(&scene, &id, "half").await.expect_err("refused");
    assert_eq!(refused.code, Code::TemplateBuilding, "{refused}");
    assert!(refused.message.contains("wait until that has ended"), "{refused}");
    installing.await.expect("it ends").expect("installed");
    let whole = export(&scene, &id, "whole").await.expect("exported");
    assert!(whole.packages.iter().any(|package| package.name == "scikit-learn"), "{whole:?}");
    scene.end(&[&id], &["whole"]).await;
}

/// A recipe may give a directory outside of the home to the user, and have programs begin there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_outside_of_the_home_are_said() {
    template("python").await;
    let scene = Scene::of_test().await;
    let recipe = scene.dir.path().join("recipe");
    std::fs::create_dir_all(recipe.join("app/lib")).expect("directories");
    for (file, text) in [("app/main.py", "print(1)"), ("app/old.py", "print(2)"), ("app/lib/a.py", "print(3)")] {
        std::fs::write(recipe.join(file), text).expect("a file");
    }
    // Debian and its packages are those of `python`.
    let text = r#"
name = "app"
description = "An application of its own"
language = "python"
debian = "bookworm"
packages = ["ca-certificates", "netbase", "procps", "python3", "python3-pip", "tzdata"]
working_dir = "/srv/app"

[[files]]
from = "app"
to = "/srv/app"
"#;
    std::fs::write(recipe.join("template.toml"), text).expect("a recipe");
    scene.run(&["template", "build", recipe.to_str().expect("plain")]);
    let id = scene.create("app").await;
    // The control: what lies in the home, or lives no longer than a run, is nothing to be said.
    scene
        .prints(&id, "for p in ['/home/user/kept', '/tmp/t', '/var/tmp/v', '/dev/shm/s']: open(p, 'w').write('x')")
        .await;
    let quiet = export(&scene, &id, "quiet").await.expect("exported");
    assert!(quiet.left_out.iter().all(|left| !left.path.starts_with('/')), "{quiet:?}");
    assert!(quiet.warnings.iter().all(|warning| !warning.contains("outside of the home")), "{quiet:?}");

    let change = "
import os, shutil
open('/srv/app/main.py', 'w').write('print(4)')
os.remove('/srv/app/old.py')
os.makedirs('/srv/app/new/deep'); open('/srv/app/new/deep/f', 'w').write('x')
shutil.rmtree('/srv/app/lib'); os.mkdir('/srv/app/lib')
";
    scene.prints(&id, change).await;
    let exported = export(&scene, &id, "said").await.expect("exported");
    let mut left: Vec<_> =
        exported.left_out.iter().map(|left| left.path.as_str()).filter(|p| p.starts_with('/')).collect();
    left.sort_unstable();
    assert_eq!(left, ["/srv/app/lib", "/srv/app/main.py", "/srv/app/new", "/srv/app/old.py"]);
    assert!(
        exported.warnings.iter().any(|warning| warning.starts_with("4 changes outside of the home left behind")),
        "{exported:?}"
    );
    let copy = scene.create("said").await;
    let seen = "
import os
print(open('main.py').read(), os.path.exists('old.py'), os.path.exists('new'), os.path.exists('/home/user/kept'))
";
    assert_eq!(scene.prints(&copy, seen).await, "print(1) True False True\n");
    scene.end(&[&id, &copy], &["quiet", "said"]).await;
}
