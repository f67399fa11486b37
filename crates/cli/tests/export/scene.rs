//! A daemon over a state directory of its own, with the shared one's templates or with none.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError,
    api::{Actor, CreateRequest, ExecuteRequest, ExportAnswer, ExportRequest, SandboxRequest, TemplateRequest},
};
use ringfence_server::Client;
use serde_json::{Value, json};

use crate::common::{BIN, SMALL_SHELF, client_of, prepare_with, registries, ringfence, shared, start, stop};

pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) home: PathBuf,
    pub(crate) api: Arc<Client>,
}

impl Scene {
    /// With the shared daemon's Python template. Must be called within a runtime, or without one where `api` is not used.
    pub(crate) fn open() -> Self {
        Self::make(&["python"])
    }

    /// Without any template.
    pub(crate) fn empty() -> Self {
        Self::make(&[])
    }

    /// [`Scene::open`] within a test's runtime.
    pub(crate) async fn of_test() -> Self {
        Self::of_test_with("python").await
    }

    /// [`Scene::of_test`] with this template alone.
    pub(crate) async fn of_test_with(template: &'static str) -> Self {
        tokio::task::spawn_blocking(move || Self::make(&[template])).await.expect("a daemon starts")
    }

    fn make(templates: &[&'static str]) -> Self {
        let dir = tempfile::tempdir_in(shared().parent().expect("below target")).expect("a directory");
        let home = dir.path().join("home");
        if templates.is_empty() {
            std::fs::create_dir_all(&home).expect("a state directory");
        } else {
            prepare_with(shared(), &home, templates);
        }
        std::fs::write(home.join("config.toml"), format!("{SMALL_SHELF}{}", registries())).expect("a configuration");
        start(&home, "none");
        let runtime = tokio::runtime::Handle::try_current();
        let own = runtime.is_err().then(|| tokio::runtime::Runtime::new().expect("a runtime"));
        let _entered = own.as_ref().map(tokio::runtime::Runtime::enter);
        let api = client_of(&home);
        Self { dir, home, api }
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let ended = ringfence(&self.home, args);
        assert!(ended.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8_lossy(&ended.stdout).into_owned()
    }

    /// Stops the daemon, does something, and starts it again.
    pub(crate) async fn restart(&self, between: impl FnOnce()) {
        let home = self.home.clone();
        let stopping = home.clone();
        tokio::task::spawn_blocking(move || stop(&stopping)).await.expect("stopped");
        between();
        tokio::task::spawn_blocking(move || start(&home, "none")).await.expect("started");
    }

    pub(crate) async fn create(&self, template: &str) -> String {
        let made = self.api.create(Actor::Agent, named(template), None).await;
        made.unwrap_or_else(|e| panic!("{template}: {e}")).sandbox_id.to_string()
    }

    /// What a program prints that ends well, in the language of its sandbox.
    pub(crate) async fn prints(&self, sandbox: &str, code: &str) -> String {
        let request =
            ExecuteRequest { sandbox_id: sandbox.to_owned(), code: code.to_owned(), ..ExecuteRequest::default() };
        let ran = self.api.execute(Actor::Agent, request).await.expect("it is run");
        assert!(ran.success, "{}", ran.stderr);
        ran.output
    }

    /// Waits until the template's interpreter is warm.
    pub(crate) async fn warm(&self, template: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let health = self.api.health(Actor::Operator).await.expect("health");
            if health.templates.iter().any(|t| t.name == template && t.warm) {
                return;
            }
            assert!(Instant::now() < end, "{template} does not become warm");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn delete(&self, sandbox: &str) {
        self.api.delete(Actor::Agent, SandboxRequest { sandbox_id: sandbox.to_owned() }).await.expect("deleted");
    }

    pub(crate) async fn end(&self, sandboxes: &[&str], templates: &[&str]) {
        for sandbox in sandboxes {
            self.delete(sandbox).await;
        }
        for template in templates {
            let request = TemplateRequest { template_name: (*template).to_owned() };
            self.api.template_delete(Actor::Agent, request).await.expect("deleted");
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = ringfence(&self.home, &["stop"]);
    }
}

pub(crate) fn named(template: &str) -> CreateRequest {
    CreateRequest { template: template.to_owned(), ..CreateRequest::default() }
}

pub(crate) fn request(sandbox: &str, template: &str) -> ExportRequest {
    ExportRequest { sandbox_id: sandbox.to_owned(), template_name: template.to_owned(), ..ExportRequest::default() }
}

pub(crate) async fn export(scene: &Scene, sandbox: &str, template: &str) -> Result<ExportAnswer, ApiError> {
    scene.api.export_template(Actor::Agent, request(sandbox, template), None).await
}

/// An agent: `ringfence mcp` on a pipe.
pub(crate) struct Agent {
    child: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    asked: u64,
}

impl Agent {
    #[track_caller]
    pub(crate) fn of(home: &Path) -> Self {
        let mut child = Command::new(BIN)
            .args(["mcp", "--home"])
            .arg(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut agent = Self { child, stdin, lines, asked: 0 };
        let hello =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        agent.ask("initialize", &hello);
        agent.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        agent
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").expect("the server reads");
    }

    #[track_caller]
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.asked += 1;
        self.say(&json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}));
        loop {
            let line = self.lines.next().expect("an answer").expect("a line");
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            if answer["id"] == json!(self.asked) {
                return answer["result"].clone();
            }
        }
    }

    /// Calls a tool that must not refuse.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "arguments are written where they are passed")]
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", &json!({"name": tool, "arguments": arguments}));
        assert_ne!(answer["isError"], true, "{tool}: {answer}");
        answer["structuredContent"].clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
