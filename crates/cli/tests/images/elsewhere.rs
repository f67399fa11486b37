//! A template that was exported from a sandbox over an image, on another state directory.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, ExecuteRequest, ExportRequest, LogsRequest, SandboxRequest, StartStatus,
};
use ringfence_server::Client;

use crate::{
    CONFIG, app,
    common::{SMALL_SHELF, client_of, is_long, ringfence, shared, start},
    layout::Dir,
    own::Own,
};

/// A daemon without templates, which ends with the value that stands for it.
struct Elsewhere {
    _dir: tempfile::TempDir,
    home: PathBuf,
    api: Arc<Client>,
}

impl Elsewhere {
    async fn new() -> Self {
        let dir = tempfile::tempdir_in(shared().parent().expect("below target")).expect("a directory");
        let home = dir.path().join("home");
        fs::create_dir_all(&home).expect("a state directory");
        fs::write(home.join("config.toml"), SMALL_SHELF).expect("a configuration");
        let starting = home.clone();
        tokio::task::spawn_blocking(move || start(&starting, "none")).await.expect("a daemon starts");
        Self { api: client_of(&home), _dir: dir, home }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = ringfence(&self.home, &["stop"]);
    }
}

async fn create(api: &Client, template: &str) -> String {
    let request = CreateRequest { template: template.into(), ..CreateRequest::default() };
    api.create(Actor::Operator, request, None).await.expect("a sandbox").sandbox_id.to_string()
}

async fn bash(api: &Client, sandbox: &str, code: &str) -> String {
    let request = ExecuteRequest {
        sandbox_id: sandbox.into(),
        code: code.into(),
        language: Some("bash".into()),
        ..ExecuteRequest::default()
    };
    let ran = api.execute(Actor::Operator, request).await.expect("it is run");
    assert!(ran.success, "{ran:?}");
    ran.output
}

async fn started(api: &Client, sandbox: &str) -> Option<StartStatus> {
    api.status(Actor::Operator, SandboxRequest { sandbox_id: sandbox.into() }).await.expect("a status").sandbox.start
}

/// Waits until the start command has printed that.
async fn has_printed(api: &Client, sandbox: &str, text: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let asked = LogsRequest { sandbox_id: sandbox.into(), lines: None, source: Some("start".into()) };
        let lines = api.logs(Actor::Operator, asked).await.expect("logs").logs;
        if lines.iter().any(|line| line.message == text) {
            return;
        }
        assert!(Instant::now() < end, "{lines:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn delete(api: &Client, sandbox: String) {
    api.delete(Actor::Operator, SandboxRequest { sandbox_id: sandbox }).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_recipe_starts_is_started_elsewhere_too() {
    if !is_long("three templates on another state directory") {
        return;
    }
    let own = Own::new().await;
    let of_image = Dir::new("elsewhere-image", "language = \"python\"\noci = \"image.tar\"\noci_start = true\n");
    app().config(CONFIG).archive(&of_image.at("image.tar"));
    let of_recipe = Dir::new(
        "elsewhere-recipe",
        "language = \"bash\"\ndebian = \"bookworm\"\nworking_dir = \"/srv/own\"\n\
         start = \"echo serving in $PWD for $WHOM; exec sleep 100000\"\n[env]\nWHOM = \"nobody\"\n",
    );
    let without = Dir::new("elsewhere-without", "language = \"bash\"\ndebian = \"bookworm\"\n");
    let says = [
        (&of_image, "elsewhere-image", "started as worker, it's hello there", "/srv/app"),
        (&of_recipe, "elsewhere-recipe", "serving in /srv/own for nobody", "/srv/own"),
        (&without, "elsewhere-without", "", "/home/user"),
    ];
    let files = tempfile::tempdir().expect("a directory");
    let mut commands = Vec::new();
    for (dir, name, line, _) in says {
        let built = ringfence(&own.home, &["template", "build", &dir.path()]);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let sandbox = create(&own.api, name).await;
        bash(&own.api, &sandbox, "echo of the sandbox > /home/user/kept").await;
        let command = started(&own.api, &sandbox).await.map(|start| start.command);
        if !line.is_empty() {
            has_printed(&own.api, &sandbox, line).await;
        }
        let template_name = format!("{name}-saved");
        let request = ExportRequest { sandbox_id: sandbox.clone(), template_name, ..ExportRequest::default() };
        own.api.export_template(Actor::Agent, request, None).await.expect("exported");
        delete(&own.api, sandbox).await;
        let file = files.path().join(name);
        let saved =
            ringfence(&own.home, &["template", "export", &format!("{name}-saved"), file.to_str().expect("plain")]);
        assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
        commands.push(command);
    }
    assert!(commands[0].as_deref().is_some_and(|text| text.starts_with("exec '/bin/sh' '-c'")), "{commands:?}");
    assert!(commands[1].as_deref().is_some_and(|text| text.starts_with("echo serving")), "{commands:?}");
    assert_eq!(commands[2], None, "control: what has none gets none");
    drop(own);

    let elsewhere = Elsewhere::new().await;
    let api = &elsewhere.api;
    for ((_, name, line, place), command) in says.into_iter().zip(commands) {
        let file = files.path().join(name);
        let read = ringfence(&elsewhere.home, &["template", "import", file.to_str().expect("plain")]);
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let sandbox = create(api, &format!("{name}-saved")).await;
        assert_eq!(bash(api, &sandbox, "pwd; cat /home/user/kept").await, format!("{place}\nof the sandbox\n"));
        let start = started(api, &sandbox).await;
        assert_eq!(start.as_ref().map(|start| start.command.clone()), command);
        if let Some(start) = start {
            assert_eq!(start.status, "running", "{start:?}");
            has_printed(api, &sandbox, line).await;
            // And again after a stop, as where it was built.
            let named = SandboxRequest { sandbox_id: sandbox.clone() };
            api.stop(Actor::Operator, named.clone()).await.expect("stopped");
            api.resume(Actor::Operator, named).await.expect("resumed");
            assert_eq!(started(api, &sandbox).await.expect("it has one").status, "running");
        }
        delete(api, sandbox).await;
    }
}
