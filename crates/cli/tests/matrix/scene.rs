//! A daemon of the test's own, tokens of it, and what each project has.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    common::{self, ringfence},
    table::{Things, code_of},
};

/// Longer than anything here takes: a bound, not a measure.
const PATIENCE: Duration = Duration::from_secs(120);

/// The daemon, which ends with this value.
pub(crate) struct Daemon {
    home: PathBuf,
    tcp: String,
    _alone: MutexGuard<'static, ()>,
}

/// What came back: its code, empty when it was done, and all of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: String,
    pub(crate) text: String,
}

impl Daemon {
    pub(crate) fn start(name: &str) -> Self {
        // One at a time: the machine is small.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = common::shared();
        let home = common::beside(name);
        common::prepare(shared, &home);
        // What is refused to an agent must be what an operator may.
        let config = format!("[gate]\nopen_allowed = true\n{}", common::SMALL_SHELF);
        fs::write(home.join("config.toml"), config).expect("the configuration can be written");
        let tcp = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").to_string();
        common::start(&home, &tcp);
        Self { home, tcp, _alone: alone }
    }

    /// The secret of a new token.
    #[track_caller]
    pub(crate) fn token(&self, role: &str, project: Option<&str>) -> String {
        let mut args = vec!["token", "create", "--role", role, "--name", "matrix"];
        args.extend(project.iter().flat_map(|project| ["--project", project]));
        self.said(&args)["secret"].as_str().expect("a secret").to_owned()
    }

    /// What a command of the operator's answers.
    #[track_caller]
    pub(crate) fn said(&self, args: &[&str]) -> Value {
        let output = ringfence(&self.home, &[args, &["--json"]].concat());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    }

    /// What a program that knows nothing of us sends, and what it reads: a status and a body.
    pub(crate) fn send(&self, secret: &str, head: &str, path: &str, body: &Value) -> (u16, String) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.send_once(secret, head, path, body);
            if answer.0 != 429 {
                return answer;
            }
            // No more than so many requests of one token in a second, which is tested elsewhere.
            assert!(Instant::now() < end, "{answer:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub(crate) fn send_once(&self, secret: &str, head: &str, path: &str, body: &Value) -> (u16, String) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (method, more) = head.split_once('\n').unwrap_or((head, ""));
        // Of 1.0, so that no answer comes in chunks.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n{more}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(&self.tcp).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer of HTTP: {answer}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head}"));
        (status, body.to_owned())
    }

    #[track_caller]
    pub(crate) fn rest(&self, secret: &str, method: &str, path: &str, body: &Value) -> Answer {
        let (status, body) = self.send(secret, method, path, body);
        Answer { code: code_of(status, &body), text: format!("{status} {body}") }
    }

    /// The JSON of what must be done.
    #[track_caller]
    pub(crate) fn done(&self, secret: &str, method: &str, path: &str, body: &Value) -> Value {
        let (status, text) = self.send(secret, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}"))
    }

    /// A message to the MCP server, and its result.
    #[track_caller]
    pub(crate) fn mcp(&self, secret: &str, method: &str, params: &Value) -> Value {
        let head = "POST\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n";
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (status, body) = self.send(secret, head, "/mcp", &message);
        // What takes long is answered in events.
        let data =
            body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).rfind(|data| !data.is_empty());
        let said: Value =
            serde_json::from_str(data.unwrap_or(&body)).unwrap_or_else(|error| panic!("{status} {error}: {body}"));
        said["result"].clone()
    }

    #[track_caller]
    pub(crate) fn call(&self, secret: &str, tool: &str, arguments: &Value) -> Answer {
        let result = self.mcp(secret, "tools/call", &json!({"name": tool, "arguments": arguments}));
        let code = if result["isError"] == true { result["structuredContent"]["code"].clone() } else { json!("") };
        let code = code.as_str().unwrap_or_else(|| panic!("{tool} {arguments}: {result}")).to_owned();
        Answer { code, text: result.to_string() }
    }

    /// Makes one of everything for a project, by an agent of it.
    pub(crate) fn things(&self, project: &str, number: u32) -> Things {
        let agent = self.token("agent", Some(project));
        let make = |path: &str, body: Value, id: &str| {
            let made = self.done(&agent, "POST", path, &body);
            made[id].as_str().unwrap_or_else(|| panic!("{path}: {made}")).to_owned()
        };
        let lab = json!({"template": "python", "name": format!("{project}s-lab-{number}"), "timeout": 3000});
        let sandbox = make("/v1/sandboxes", lab, "sandbox_id");
        let path = format!("/v1/sandboxes/{sandbox}/execute");
        let execution = make(&path, json!({"code": "print(6 * 7)"}), "execution_id");
        let swarm_name = format!("{project}s-swarm-{number}");
        let swarm = make("/v1/swarms", json!({"topology": "mesh", "name": swarm_name, "maxAgents": 1}), "swarm_id");
        let task = json!({"task": "say", "swarm_id": swarm, "code": "print(1)", "wait": 50});
        let task = make("/v1/tasks", task, "task_id");
        let stage = json!({"name": "a", "template": "python", "code": "open('a', 'w').write('x')", "outputs": ["a"]});
        let pipeline = make("/v1/pipelines", json!({"stages": [stage], "wait": 50}), "pipeline_id");
        let grid = json!({"strategies": ["buy_and_hold"], "symbols": ["AAPL"], "wait": 50});
        let sweep = make("/v1/sweeps", grid, "sweep_id");
        let body = json!({"template_name": format!("house-{number}")});
        let template = make(&format!("/v1/sandboxes/{sandbox}/export"), body, "template_name");
        Things { sandbox, execution, template, sweep, pipeline, swarm, task }
    }
}

impl Drop for Daemon {
    /// Also after a failed assertion.
    fn drop(&mut self) {
        if common::answers(&self.home) {
            common::stop(&self.home);
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.home);
        }
    }
}
