//! Recipes of one's own, through a real daemon: what their sandboxes begin with, how builds use again what others have built, what
//! a hostile script leaves, and how it all goes away. They need root.

mod common;

#[path = "recipes/bench.rs"]
mod bench;
#[path = "recipes/garbage.rs"]
mod garbage;
#[path = "recipes/hostile.rs"]
mod hostile;

use std::{fs, time::Duration};

use bench::{Dir, build, wait_for};
use common::{Sandbox, client, ringfence, shared};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{
        Actor, BuildRequest, CreateRequest, ExecuteRequest, LimitsRequest, LogsRequest, NamedNetwork, Network,
        RecipeFile, RecipeSource, SandboxDetail, TemplateRequest,
    },
};

const APP: &str = r#"
user = "app"
working_dir = "/srv/app"
start = "echo serving as $(id -un) on $PORT in $PWD; echo trouble >&2; exec sleep 100000"
network = "packages"
limits = { memory_mb = 300, processes = 50 }

[env]
PORT = "3000"

[[files]]
from = "app"
to = "/srv/app"

[[files]]
from = "secret.conf"
to = "/etc/app/secret.conf"
owner = "root"
mode = "0600"

[[build]]
run = "sort words.txt > sorted.txt; id -u > built-by.txt"
"#;

async fn status(sandbox: &Sandbox) -> SandboxDetail {
    sandbox.api.status(Actor::Operator, sandbox.named()).await.expect("a status").sandbox
}

async fn started_lines(sandbox: &Sandbox) -> Vec<String> {
    let request =
        LogsRequest { sandbox_id: sandbox.id.clone(), source: Some("start".into()), ..LogsRequest::default() };
    let answer = sandbox.api.logs(Actor::Operator, request).await.expect("logs");
    answer.logs.into_iter().map(|line| format!("{} {}", line.level, line.message)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_begin_with_what_their_recipe_says() {
    let dir = Dir::new("recipe-begin", APP);
    dir.file("app/words.txt", "b\na\n").file("app/pages/[id].js", "1").file("secret.conf", "s");
    dir.program("app/run.sh", "#!/bin/sh\necho ran\n");
    build(shared(), &dir);
    let sandbox = Sandbox::with(CreateRequest { template: "recipe-begin".into(), ..CreateRequest::default() }).await;
    let said = sandbox
        .bash("pwd; id -un; id -u; echo $PORT $USER; cat sorted.txt built-by.txt pages/*; ./run.sh; stat -c '%U %a' . run.sh words.txt /etc/app /etc/app/secret.conf; cat /etc/app/secret.conf; touch new")
        .await;
    let expected = "/srv/app\napp\n1000\n3000 app\na\nb\n1000\n1ran\napp 755\napp 755\napp 644\nroot 755\nroot 600\n";
    assert_eq!(said.output, expected, "{}", said.stderr);
    assert!(said.stderr.contains("secret.conf: Permission denied"), "{}", said.stderr);

    let found = status(&sandbox).await;
    assert_eq!((found.limits.memory_mb, found.limits.processes, found.limits.disk_mb), (300, 50, 1024));
    assert_eq!(found.network.expect("the gate answers").policy, Network::Named(NamedNetwork::Packages));
    let start = found.start.expect("its template has one");
    assert_eq!((start.status.as_str(), start.exit_code), ("running", None));
    let both = ["info serving as app on 3000 in /srv/app", "warn trouble"];
    wait_for("the lines of the start command", async || {
        let lines = started_lines(&sandbox).await;
        both.iter().all(|line| lines.iter().any(|other| other == line))
    })
    .await;

    sandbox.api.stop(Actor::Operator, sandbox.named()).await.expect("stopped");
    assert_eq!(status(&sandbox).await.start.expect("it is stopped").status, "stopped");
    sandbox.api.resume(Actor::Operator, sandbox.named()).await.expect("resumed");
    let again = status(&sandbox).await.start.expect("it runs again");
    assert!(again.status == "running" && again.execution_id != start.execution_id, "{again:?}");
    wait_for("its lines once more", async || {
        started_lines(&sandbox).await.iter().filter(|line| **line == both[0]).count() == 2
    })
    .await;
    sandbox.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_creates_a_sandbox_has_the_last_word() {
    let dir = Dir::new("recipe-word", "network = \"packages\"\nlimits = { memory_mb = 300 }\nstart = \"exit 3\"\n");
    build(shared(), &dir);
    let request = CreateRequest {
        template: "recipe-word".into(),
        network: Some(Network::Named(NamedNetwork::None)),
        limits: Some(LimitsRequest { memory_mb: Some(200), ..LimitsRequest::default() }),
        ..CreateRequest::default()
    };
    let sandbox = Sandbox::with(request).await;
    let found = status(&sandbox).await;
    assert_eq!(found.limits.memory_mb, 200);
    assert_eq!(found.network.expect("the gate answers").policy, Network::Named(NamedNetwork::None));
    wait_for("the end of the start command", async || {
        status(&sandbox).await.start.is_some_and(|start| start.status == "ended" && start.exit_code == Some(3))
    })
    .await;
    assert_eq!(sandbox.bash("pwd").await.output, "/home/user\n");
    sandbox.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_built_once_and_a_changed_file_rebuilds_what_follows() {
    // Another directory in every run, for the stages of an earlier one are still there.
    let at = format!("/srv/app-{}", std::time::UNIX_EPOCH.elapsed().expect("a time").as_nanos());
    let recipe = format!(
        "working_dir = \"{at}\"\n[[files]]\nfrom = \"app\"\nto = \"{at}\"\n[[build]]\n\
         run = \"rm gone; rm -r dir; mkdir dir; cat word > dir/new\"\n"
    );
    let dir = Dir::new("recipe-stages", &recipe);
    dir.file("app/word", "one").file("app/gone", "1").file("app/dir/old", "1");
    let first = build(shared(), &dir);
    let count = first.stages.len();
    assert_eq!(first.stages.iter().filter(|stage| !stage.reused).count(), 3, "Debian is there: {:#?}", first.stages);
    let again = build(shared(), &dir);
    assert!(!again.built && again.template.version == first.template.version);

    dir.file("app/word", "two");
    let changed = build(shared(), &dir);
    let reused: Vec<bool> = changed.stages.iter().map(|stage| stage.reused).collect();
    assert_eq!(reused, (0..count).map(|at| at < count - 2).collect::<Vec<_>>(), "{:#?}", changed.stages);
    for (at, (old, new)) in first.stages.iter().zip(&changed.stages).enumerate() {
        assert_eq!((old.layer == new.layer, old.key == new.key), (at < count - 2, at < count - 2), "{at}");
    }
    let log = format!("engine/builds/recipe-stages-{}.log", changed.template.version);
    let log = fs::read_to_string(shared().join(log)).expect("the log is kept");
    assert_eq!(log.matches("built before, used again").count(), count - 2, "{log}");

    // What was there before is there again, by the same layers.
    dir.file("app/word", "one");
    let back = build(shared(), &dir);
    assert!(back.built && back.stages.iter().all(|stage| stage.reused));
    assert_eq!(back.template.digest, first.template.digest);
    // What a stage has removed is hidden, and nothing else.
    let sandbox = Sandbox::with(CreateRequest { template: "recipe-stages".into(), ..CreateRequest::default() }).await;
    assert_eq!(sandbox.bash("find . -type f | sort; cat dir/new").await.output, "./dir/new\n./word\none");
    sandbox.delete().await;

    let fresh = ringfence(shared(), &["template", "build", &dir.path(), "--no-cache", "--json"]);
    let fresh: ringfence_model::api::BuildAnswer = serde_json::from_slice(&fresh.stdout).expect("an answer");
    assert!(fresh.stages.iter().all(|stage| !stage.reused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipe_that_would_reach_out_is_refused() {
    let api = client().await;
    let text = "name='recipe-out'\ndescription='d'\nlanguage='bash'\ndebian='bookworm'\n[[files]]\nfrom='app'\nto='/srv/app'\n";
    let request = |path: &str, text: &str| BuildRequest {
        template_name: "recipe-out".into(),
        rebuild: false,
        recipe: Some(RecipeSource {
            text: text.into(),
            files: vec![RecipeFile { path: path.into(), executable: false, content_base64: "MQ==".into() }],
        }),
        image: None,
    };
    for path in ["app/../../etc/passwd", "app//x", "/etc/passwd", "app/\u{0}x", "other"] {
        let refused = api.build(Actor::Operator, request(path, text), None).await.expect_err("refused");
        assert_eq!(refused.code, Code::InvalidArgument, "{path:?}: {}", refused.message);
    }
    for to in ["/dev/sda", "/proc/x", "/run/ringfence/x", "/../x", "/data/x"] {
        let refused = api
            .build(Actor::Operator, request("app/x", &text.replace("/srv/app", to)), None)
            .await
            .expect_err("refused");
        assert_eq!(refused.code, Code::InvalidArgument, "{to:?}: {}", refused.message);
    }
    let refused = api.build(Actor::Agent, request("app/x", text), None).await.expect_err("refused");
    assert_eq!(refused.code, Code::PermissionDenied);
    let shipped =
        BuildRequest { template_name: "python".into(), ..request("app/x", &text.replace("recipe-out", "python")) };
    assert_eq!(api.build(Actor::Operator, shipped, None).await.expect_err("refused").code, Code::TemplateExists);
    // Nothing of it has come into being.
    let request = TemplateRequest { template_name: "recipe-out".into() };
    assert_eq!(api.template(Actor::Operator, request).await.expect_err("unknown").code, Code::TemplateNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_how_large_sandboxes_are_and_a_deleted_one_gives_every_byte_back() {
    common::template("base").await;
    let image = shared().join("disks.btrfs");
    let taken = || std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&image).expect("the image")) * 512;
    let sandbox = Sandbox::with(CreateRequest { template: "base".into(), ..CreateRequest::default() }).await;
    let wrote = sandbox.bash("head -c 200M /dev/urandom > large && sync && stat -c %s large").await;
    assert_eq!(wrote.output, "209715200\n", "{}", wrote.stderr);
    let list = sandbox.api.list(Actor::Operator, Default::default()).await.expect("a list");
    let listed = list.sandboxes.iter().find(|other| other.sandbox_id.as_str() == sandbox.id).expect("it is there");
    assert!(listed.disk_bytes.is_some_and(|bytes| (200 << 20..260 << 20).contains(&bytes)), "{listed:?}");
    // A sandbox's own `sync` does nothing (overlay's `volatile`): the host's brings it into the image.
    assert!(std::process::Command::new("sync").status().expect("sync(1)").success());
    let full = taken();
    assert!(full > 200 << 20, "the image has {full} bytes");
    sandbox.delete().await;
    // Btrfs frees it with its next commit, and gives it back to the host after that (discard=async).
    wait_for("the bytes on the host", async || taken() + (150 << 20) < full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_command_that_floods_does_not_fill_the_log() {
    let dir = Dir::new("recipe-flood", "start = \"yes a line that comes again and again\"\n");
    build(shared(), &dir);
    let sandbox = Sandbox::with(CreateRequest { template: "recipe-flood".into(), ..CreateRequest::default() }).await;
    wait_for("a word about what was left out", async || {
        started_lines(&sandbox).await.iter().any(|line| line.contains("were left out"))
    })
    .await;
    // The sandbox is of use all the same.
    let request = ExecuteRequest { code: "echo here".into(), ..ExecuteRequest::default() };
    assert_eq!(sandbox.request(request).await.output, "here\n");
    tokio::time::timeout(Duration::from_secs(60), sandbox.delete()).await.expect("it ends with the sandbox");
}
