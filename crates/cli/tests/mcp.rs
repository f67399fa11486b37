//! The product from the outside, with the clients that people use: the Python SDK of both generations, the MCP
//! Inspector, a generic checker of the REST description, and bytes on standard input.

mod common;
#[path = "mcp/strict.rs"]
mod strict;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use common::{BIN, clients, is_long, ringfence, shared, succeeded, target, tcp, venv};
use serde_json::{Value, json};

/// How long anything here may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Over what a client of MCP speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Http,
    Stdio,
}

/// Goes through the seed document with one SDK, over both transports at once in `make suites`, and in `make test` over `usual` alone, of
/// which there is one for each transport, each SDK and each era. The template of one's own, whose packages take minutes of both cores to
/// install, is made over HTTP there.
#[track_caller]
fn seed(requirements: &str, era: &str, usual: Option<Transport>) {
    let every = is_long("the seed document over both transports with each SDK");
    if !every && usual.is_none() {
        return;
    }
    let home = shared();
    // The first stage of the document's pipeline is made from it.
    let built = ringfence(home, &["template", "build", "node"]);
    assert!(built.status.success(), "the template: {}", String::from_utf8_lossy(&built.stderr));
    let python = venv(requirements);
    let (home, token) = (home.to_str().expect("plain"), home.join("run/token"));
    let url = format!("http://{}/mcp", tcp());
    let http: [&str; 4] = ["--url", &url, "--token-file", token.to_str().expect("plain")];
    let stdio = ["--stdio", BIN, "mcp", "--home", home];
    std::thread::scope(|scope| {
        for (transport, arguments) in [(Transport::Http, &http[..]), (Transport::Stdio, &stdio[..])] {
            if !every && usual != Some(transport) {
                continue;
            }
            let mut command = Command::new(&python);
            command.arg("-B").arg(clients().join("seed.py")).args(["--era", era]);
            if !every && transport != Transport::Http {
                command.args(["--without", "a_template_of_ones_own_has_its_packages"]);
            }
            command.args(arguments);
            scope.spawn(move || println!("{}", succeeded(&mut command, "the seed document does not hold")));
        }
    });
}

#[test]
fn the_seed_document_holds_with_the_first_python_sdk() {
    seed("mcp-1", "legacy", Some(Transport::Stdio));
}

#[test]
fn the_seed_document_holds_with_the_second_python_sdk() {
    seed("mcp-2", "legacy", None);
}

#[test]
fn the_seed_document_holds_in_the_stateless_era() {
    seed("mcp-2", "modern", Some(Transport::Http));
}

/// The server on standard input and output, as a client starts it.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    errors: std::thread::JoinHandle<String>,
    asked: u64,
}

impl Server {
    #[track_caller]
    fn start(command: &mut Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("the server can be started");
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout.expect("piped")).lines();
            lines.map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.expect("piped").read_to_string(&mut text).expect("logs are text");
            text
        });
        Self { child, stdin, lines, errors, asked: 0 }
    }

    fn of(home: &Path) -> Self {
        Self::start(Command::new(BIN).arg("mcp").arg("--home").arg(home))
    }

    #[track_caller]
    fn say(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().expect("not closed"), "{message}").expect("the server reads");
    }

    /// Asks, and waits for the answer.
    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        self.say(&json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}));
        let line = self.lines.recv_timeout(PATIENCE).expect("an answer");
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("not the protocol: {e}: {line}"));
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(self.asked)), "{answer}");
        answer["result"].clone()
    }

    /// What every client of the older era begins with.
    #[track_caller]
    fn greet(&mut self) {
        let hello =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let hello = self.ask("initialize", hello);
        assert_eq!(hello["serverInfo"]["name"], "ringfence", "{hello}");
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    #[track_caller]
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Closes its input and answers how it ended, and what it wrote to standard error.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, String) {
        drop(self.stdin.take());
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(Instant::now() < end, "the server does not end when its input does");
            std::thread::sleep(Duration::from_millis(10));
        };
        let more: Vec<String> = self.lines.iter().collect();
        assert!(more.is_empty(), "said without being asked: {more:?}");
        (status, self.errors.join().expect("it reads"))
    }
}

/// A state directory of one test, with whatever daemon runs there in the end.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir_in("/var/tmp").expect("a directory"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = ringfence(self.0.path(), &["stop"]);
    }
}

#[test]
fn a_server_starts_the_daemon_and_outlives_it() {
    let scratch = Scratch::new();
    let home = scratch.0.path();
    let mut server = Server::of(home);
    server.greet();
    let tools = server.ask("tools/list", json!({}));
    assert_eq!(tools["tools"].as_array().map(Vec::len), Some(43), "{tools}");
    let list = server.call("sandbox_list", json!({}));
    assert_eq!(list["structuredContent"], json!({"success": true, "sandboxes": [], "count": 0}));
    common::stop(home);
    // While none runs, a call is refused in words, and the server stays.
    let refused = server.call("sandbox_list", json!({}));
    if refused["isError"] == true {
        assert!(
            refused["structuredContent"]["message"].as_str().is_some_and(|m| m.contains("ringfence serve")),
            "{refused}"
        );
    }
    if !common::answers(home) {
        common::start(home, "none");
    }
    let list = server.call("sandbox_list", json!({}));
    assert_eq!(list["structuredContent"]["success"], true, "{list}");
    let (status, said) = server.end();
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("starting the daemon"), "{said}");
}

#[test]
fn a_client_that_leaves_without_a_word_is_no_failure() {
    let server = Server::of(shared());
    let (status, said) = server.end();
    assert!(status.success(), "{status}: {said}");
    assert!(!said.contains("ringfence: expect") && !said.contains("closed"), "{said}");
}

#[test]
fn what_was_asked_before_the_end_of_the_input_is_answered() {
    let mut server = Server::of(shared());
    server.greet();
    server.say(&json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "system_health"}}));
    drop(server.stdin.take());
    let answer = server.lines.recv_timeout(PATIENCE).expect("an answer");
    assert!(answer.contains("\"id\":9") && answer.contains("uptime"), "{answer}");
    assert!(server.end().0.success());
}

/// Starts what was printed, and lists the tools.
#[track_caller]
fn check_command(command: &mut Command) {
    let mut server = Server::start(command.env_clear());
    server.greet();
    let tools = server.ask("tools/list", json!({}));
    assert_eq!(tools["tools"][0]["name"], "sandbox_create", "{tools}");
    assert!(server.end().0.success());
}

#[test]
fn the_printed_configuration_connects() {
    let home = shared();
    let printed = ringfence(home, &["mcp", "config"]);
    let printed = String::from_utf8(printed.stdout).expect("text");
    let start = printed.find("\n{").expect("JSON for other clients");
    let mut documents = serde_json::Deserializer::from_str(&printed[start..]).into_iter::<Value>();
    let config = documents.next().expect("one").expect("whole");
    let for_programs = ringfence(home, &["mcp", "config", "--json"]);
    let for_programs: Value = serde_json::from_slice(&for_programs.stdout).expect("JSON");
    assert_eq!(for_programs["stdio"], config);
    let server = &config["mcpServers"]["flow-nexus"];
    let arguments: Vec<&str> = server["args"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    check_command(Command::new(server["command"].as_str().expect("a path")).args(arguments));
    let line = for_programs["claude"].as_str().expect("a line");
    assert!(printed.contains(line));
    let (_, line) = line.split_once(" -- ").expect("the command comes last");
    check_command(Command::new("/bin/sh").args(["-c", &format!("exec {line}")]));
    let token = for_programs["http"]["token_file"].as_str().expect("a path");
    assert!(fs::read_to_string(token).is_ok_and(|token| !printed.contains(token.trim())), "the token is not printed");
}

/// Runs the Inspector's command line with Node.js of its own, which it needs newer than distributions have it.
struct Inspector {
    node: PathBuf,
    script: PathBuf,
    home: PathBuf,
}

impl Inspector {
    #[track_caller]
    fn install(package: &str, script: &str) -> Self {
        let dir = target().join("inspector").join(package.replace(['/', '@'], "-"));
        fs::create_dir_all(&dir).expect("a directory");
        let script = dir.join("node_modules").join(script);
        if !script.exists() {
            succeeded(
                Command::new("npm")
                    .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
                    .arg(&dir)
                    .args(["node@22.23.3", package]),
                "the MCP Inspector could not be installed: npm must be there, and registry.npmjs.org reachable",
            );
        }
        Self { node: dir.join("node_modules/.bin/node"), script, home: dir }
    }

    #[track_caller]
    fn ask(&self, server: &[&str], method: &[&str]) -> Value {
        let mut command = Command::new(&self.node);
        // It keeps a catalogue of servers in its home.
        command
            .env("HOME", &self.home)
            .current_dir(&self.home)
            .arg(&self.script)
            .arg("--cli")
            .args(server)
            .args(method);
        let printed = succeeded(&mut command, "the Inspector is not content");
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"))
    }
}

#[track_caller]
fn inspector() -> Inspector {
    // The tests share it; one of them installs it.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    Inspector::install(
        "@modelcontextprotocol/inspector@2.12.0",
        "@modelcontextprotocol/inspector/clients/launcher/build/index.js",
    )
}

#[test]
fn the_inspector_finds_and_uses_the_tools() {
    if !is_long("the MCP Inspector") {
        return;
    }
    let home = shared();
    let token = fs::read_to_string(home.join("run/token")).expect("the daemon listens on TCP");
    let url = format!("http://{}/mcp", tcp());
    let header = format!("Authorization: Bearer {}", token.trim());
    let stdio = [BIN, "mcp", "--home", home.to_str().expect("plain")];
    let http = [url.as_str(), "--transport", "http", "--header", header.as_str()];
    let inspector = inspector();
    for server in [&stdio[..], &http[..]] {
        let listed = inspector.ask(server, &["--method", "tools/list"]);
        assert_eq!(listed["tools"].as_array().map(Vec::len), Some(43), "{listed}");
        let call = |tool: &str, arguments: &[&str]| {
            let method = [&["--method", "tools/call", "--tool-name", tool, "--tool-arg"], arguments].concat();
            inspector.ask(server, &method)["structuredContent"].clone()
        };
        let made = call("sandbox_create", &["template=python", "timeout=600"]);
        let id = format!("sandbox_id={}", made["sandbox_id"].as_str().expect("an id"));
        let run = call("sandbox_execute", &[&id, "code=print(6 * 7)"]);
        assert_eq!((&run["output"], &run["exit_code"]), (&json!("42\n"), &json!(0)), "{run}");
        assert_eq!(call("sandbox_delete", &[&id])["already_deleted"], false);
    }
}

#[test]
fn the_rest_api_is_as_described() {
    if !is_long("schemathesis over the REST API") {
        return;
    }
    // A daemon of its own: what is thrown at it would end the sandboxes of other tests.
    let scratch = Scratch::new();
    let home = scratch.0.path();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    common::start(home, &format!("127.0.0.1:{port}"));
    let token = fs::read_to_string(home.join("run/token")).expect("the daemon listens on TCP");
    let described = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    let python = venv("schemathesis");
    let mut command = Command::new(python.with_file_name("st"));
    command
        .current_dir(home)
        .envs([("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").as_os_str())])
        .env("SCHEMATHESIS_HOOKS", "archives")
        .arg("run")
        .arg(described)
        .args(["--url", &format!("http://127.0.0.1:{port}"), "--max-time", "60", "--no-color", "--warnings", "off"])
        .args(["-H", &format!("Authorization: Bearer {}", token.trim()), "--continue-on-failure"])
        // What a name, a path or a time must look like is said in words alone: well-typed ones may be refused.
        .args(["--exclude-checks", "positive_data_acceptance"])
        // Answers in lines, of which the last may be a refusal: nothing that a checker of status codes understands.
        .args(["--exclude-path", "/v1/templates/{name}/build"]);
    println!("{}", succeeded(&mut command, "the REST API is not as described"));
    let problems = ringfence(home, &["status", "--json"]);
    assert!(problems.status.success(), "the daemon survived it: {}", common::tail(home));
}
