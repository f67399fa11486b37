//! What is left of builds goes away: after a crash by itself, otherwise when the operator says so.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, ExecuteRequest, PruneAnswer, SandboxRequest, TemplateRequest, TemplateStatus,
};

use crate::{
    bench::{Dir, build, wait_for},
    common::{self, BIN, client_of, ringfence, shared},
};

/// A daemon over a state directory of its own, which ends with the value that stands for it. One test at a time has it.
struct Own {
    home: PathBuf,
    outer: Child,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Own {
    async fn new() -> Self {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        static HOME: OnceLock<PathBuf> = OnceLock::new();
        let turn = TURN.lock().await;
        let prepared = || {
            HOME.get_or_init(|| {
                let shared = shared();
                let home = common::beside("own");
                common::prepare_with(shared, &home, &["python", "base"]);
                home
            })
        };
        let home = tokio::task::spawn_blocking(prepared).await.expect("a state directory");
        let mut own = Self { home: home.clone(), outer: serve(home), _turn: turn };
        own.answers().await;
        own
    }

    async fn answers(&mut self) {
        // `ringfence status` fails where a template's build has.
        let home = self.home.clone();
        wait_for("the daemon's answer", async || client_of(&home).health(Actor::Operator).await.is_ok()).await;
    }

    /// Kills the daemon as a crash would, and starts another.
    async fn crash(&mut self) {
        self.outer.kill().expect("it is our child");
        self.outer.wait().expect("it has died");
        self.outer = serve(&self.home);
        self.answers().await;
    }

    fn names(&self, dir: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.home.join(dir)).expect("a directory");
        entries.map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned()).collect()
    }

    fn prune(&self, more: &[&str]) -> PruneAnswer {
        let pruned = ringfence(&self.home, &[&["template", "prune", "--json"], more].concat());
        assert!(pruned.status.success(), "{}", String::from_utf8_lossy(&pruned.stderr));
        serde_json::from_slice(&pruned.stdout).expect("an answer")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = ringfence(&self.home, &["stop"]);
        let _ = self.outer.wait();
    }
}

fn serve(home: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(home.join("log/daemon.log")).expect("a log");
    Command::new(BIN)
        .args(["serve", "--tcp", "none", "--home"])
        .arg(home)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .expect("the daemon can be started")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_was_killed_leaves_nothing() {
    let mut own = Own::new().await;
    let layers = own.names("layers");
    let dir = Dir::new(
        "recipe-killed",
        "[[files]]\nfrom = \"a\"\nto = \"/srv/a\"\n[[build]]\nrun = \"head -c 50M /dev/zero > /home/user/zeros; sleep 1000\"\n",
    );
    dir.file("a", "1");
    let mut building = Command::new(BIN)
        .args(["template", "build", &dir.path(), "--home"])
        .arg(&own.home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command runs");
    let builds = own.home.join("builds");
    wait_for("the script's file", async || {
        fs::read_dir(&builds).expect("listed").flatten().any(|tree| tree.path().join("rootfs/home/user/zeros").exists())
    })
    .await;
    let made: Vec<_> = own.names("layers").difference(&layers).cloned().collect();
    assert!(!made.is_empty(), "the stages before have left layers");
    // And one that no row knows, as a crash between a layer and its row leaves it.
    let stray = own.home.join("layers").join("f".repeat(64)).join("rootfs");
    fs::create_dir_all(stray).expect("a layer");
    own.crash().await;
    building.kill().expect("it is our child");
    building.wait().expect("it has ended");

    wait_for("an empty directory of builds", async || own.names("builds").is_empty()).await;
    wait_for("the end of the stray layer", async || !own.names("layers").contains(&"f".repeat(64))).await;
    let api = client_of(&own.home);
    let request = || TemplateRequest { template_name: "recipe-killed".into() };
    let template = api.template(Actor::Operator, request()).await.expect("it is known").template;
    assert_eq!(template.status, TemplateStatus::Failed);
    // What was finished is used again; what was not is built.
    dir.file(
        "template.toml",
        &fs::read_to_string(Path::new(&dir.path()).join("template.toml"))
            .expect("it is there")
            .replace("sleep 1000", "true"),
    );
    let built = build(&own.home, &dir);
    let last = built.stages.len() - 1;
    assert!(built.stages[..last].iter().all(|stage| stage.reused) && !built.stages[last].reused);
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_takes_what_nobody_uses_and_keeps_the_rest() {
    let own = Own::new().await;
    let api = client_of(&own.home);
    let dir = Dir::new("recipe-pruned", "[[files]]\nfrom = \"a\"\nto = \"/srv/a\"\n");
    dir.file("a", &"one".repeat(100_000));
    let first = build(&own.home, &dir);
    let create = || CreateRequest { template: "recipe-pruned".into(), ..CreateRequest::default() };
    let sandbox = api.create(Actor::Operator, create(), None).await.expect("a sandbox");
    dir.file("a", &"two".repeat(100_000));
    build(&own.home, &dir);
    let of_first = first.stages.last().and_then(|stage| stage.layer.clone()).expect("a layer");

    // A sandbox is made of the first version: it stays, whatever else goes.
    own.prune(&[]);
    assert!(own.names("layers").contains(&of_first));
    let named = || SandboxRequest { sandbox_id: sandbox.sandbox_id.to_string() };
    api.stop(Actor::Operator, named()).await.expect("stopped");
    own.prune(&[]);
    api.resume(Actor::Operator, named()).await.expect("its layers are there");
    let read = |sandbox_id: String| ExecuteRequest {
        sandbox_id,
        code: "head -c 3 /srv/a".into(),
        ..ExecuteRequest::default()
    };
    let said = api.execute(Actor::Operator, read(sandbox.sandbox_id.to_string())).await.expect("it runs");
    assert_eq!(said.output, "one");
    api.delete(Actor::Operator, named()).await.expect("deleted");

    let would = own.prune(&["--dry-run"]);
    assert!(would.dry_run && own.names("layers").contains(&of_first));
    let gone = own.prune(&[]);
    assert_eq!((&gone.removed, gone.bytes), (&would.removed, would.bytes));
    assert!(
        gone.bytes >= 300_000 && gone.removed.iter().any(|item| item.name == "recipe-pruned version 1"),
        "{gone:?}"
    );
    assert!(!own.names("layers").contains(&of_first));
    assert!(own.prune(&[]).removed.is_empty());

    // The newest version, and the others' templates, are what they were.
    for template in ["recipe-pruned", "python"] {
        let request = CreateRequest { template: template.into(), ..CreateRequest::default() };
        let sandbox = api.create(Actor::Operator, request, None).await.expect("a sandbox");
        let id = sandbox.sandbox_id.to_string();
        let request = ExecuteRequest { language: Some("bash".into()), ..read(id.clone()) };
        let said = api.execute(Actor::Operator, request).await.expect("it runs");
        assert_eq!(said.output, if template == "python" { "" } else { "two" });
        api.delete(Actor::Operator, SandboxRequest { sandbox_id: id }).await.expect("deleted");
    }
    // What went is built again when it is wanted.
    dir.file("a", &"one".repeat(100_000));
    let again = build(&own.home, &dir);
    assert_eq!(again.stages.last().map(|stage| (stage.reused, stage.layer.clone())), Some((false, Some(of_first))));
}
