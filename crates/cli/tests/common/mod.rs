//! One daemon for all integration tests, over a state directory in `target/`, so that the template is built once. It is
//! started by whichever test comes first and ended by `make test`.
//!
//! These tests need root: they say so and fail where it is missing.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, CreateRequest, ExecuteRequest, ExecutionAnswer, SandboxRequest};
use ringfence_server::Client;
use ringfence_store::{DatabaseKind, SealingKey, Store, copy_database};
use rustix::fs::{FlockOperation, flock};

/// The executable under test.
pub const BIN: &str = env!("CARGO_BIN_EXE_ringfence");

/// Where the shared daemon listens on TCP: `RINGFENCE_TEST_TCP`, for two runs beside each other.
pub fn tcp() -> String {
    std::env::var("RINGFENCE_TEST_TCP").unwrap_or_else(|_| "127.0.0.1:17433".to_owned())
}

/// The shared state directory.
pub fn home() -> PathBuf {
    match std::env::var_os("RINGFENCE_TEST_HOME") {
        Some(home) => home.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-home"),
    }
}

#[track_caller]
fn must_be_root() {
    let uid = Command::new("id").arg("-u").output().expect("id(1) is everywhere");
    assert_eq!(
        String::from_utf8_lossy(&uid.stdout).trim(),
        "0",
        "this test builds sandboxes and needs root: run it with `sudo make test`"
    );
}

/// Starts a daemon over `home` that outlives this process, and waits until it answers.
#[track_caller]
pub fn start(home: &Path, tcp: &str) {
    start_with(home, tcp, &[]);
}

/// [`start`] with variables in the daemon's environment.
#[track_caller]
#[allow(clippy::zombie_processes, reason = "it outlives this process on purpose; its parent is then whoever adopts it")]
pub fn start_with(home: &Path, tcp: &str, env: &[(&str, String)]) {
    must_be_root();
    fs::create_dir_all(home.join("log")).expect("the state directory can be made");
    let log = fs::OpenOptions::new().create(true).append(true).open(home.join("log/daemon.log")).expect("a log");
    let mut daemon = Command::new("setsid")
        .args([BIN, "serve", "--home"])
        .arg(home)
        .args(["--tcp", tcp])
        .envs(env.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .expect("the daemon can be started");
    let end = Instant::now() + Duration::from_secs(30);
    while !answers(home) {
        let ended = daemon.try_wait().expect("it is our child");
        assert!(ended.is_none(), "the daemon ended: {}", tail(home));
        assert!(Instant::now() < end, "the daemon does not answer: {}", tail(home));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a daemon runs there that was left by an earlier build.
fn is_of_another_build(home: &Path) -> bool {
    let status = ringfence(home, &["status"]);
    status.status.success() && String::from_utf8_lossy(&status.stderr).contains("restart it with")
}

/// Stops the daemon over `home` and waits until it is gone.
#[track_caller]
pub fn stop(home: &Path) {
    let stopped = ringfence(home, &["stop"]);
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
}

/// The end of a daemon's log.
pub fn tail(home: &Path) -> String {
    let text = fs::read_to_string(home.join("log/daemon.log")).unwrap_or_default();
    text[text.len().saturating_sub(3000)..].to_owned()
}

/// Whether a daemon of this very build answers there.
pub fn answers(home: &Path) -> bool {
    // One in which something is wrong answers too, with an exit code that says so.
    let status = ringfence(home, &["status", "--json"]);
    serde_json::from_slice::<serde_json::Value>(&status.stdout).is_ok_and(|said| said["sandboxes"].is_object())
}

/// Runs a command of the product.
pub fn ringfence(home: &Path, args: &[&str]) -> Output {
    ringfence_with(home, args, "")
}

/// Runs a command of the product with something on its standard input.
pub fn ringfence_with(home: &Path, args: &[&str], input: &str) -> Output {
    // Without the right to start a daemon of its own, a command says that none runs.
    let mut command = Command::new(BIN);
    command.arg("--home").arg(home).args(args).env("RINGFENCE_NO_AUTOSTART", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the executable runs");
    // One that wants no input may have ended already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// The shared daemon with its Python template ready. Blocks the first time for as long as a build takes.
pub fn shared() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        must_be_root();
        let home = home();
        fs::create_dir_all(&home).expect("the state directory can be made");
        let home = fs::canonicalize(home).expect("it was just made");
        // One program at a time: whoever comes first starts it and builds the template.
        let turn = fs::File::create(beside_all(&home, "lock")).expect("a file to lock");
        flock(&turn, FlockOperation::LockExclusive).expect("it can be locked");
        if is_of_another_build(&home) {
            stop(&home);
        }
        if !answers(&home) {
            fs::write(home.join("config.toml"), registries()).expect("the configuration can be written");
            start(&home, &tcp());
        }
        let built = ringfence(&home, &["template", "build", "python"]);
        assert!(built.status.success(), "the template: {}", String::from_utf8_lossy(&built.stderr));
        home
    })
}

/// Whether the long suites are asked for; says so when they are not.
pub fn is_long(what: &str) -> bool {
    let asked = std::env::var_os("RINGFENCE_LONG").is_some();
    if !asked {
        println!("SKIPPED: {what} is a long suite; `make suites` runs it");
    }
    asked
}

/// Where the programs and requirements of clients are.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Cargo's own directory.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

#[track_caller]
pub fn succeeded(command: &mut Command, otherwise: &str) -> String {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{otherwise}\n{command:?}: {e}"));
    let said = format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{otherwise}\n{command:?} ended with {status}:\n{said}");
    String::from_utf8_lossy(&stdout).into_owned()
}

/// The Python of a virtual environment with what a file of requirements demands, made when it is not there.
#[track_caller]
pub fn venv(requirements: &str) -> PathBuf {
    // One at a time: the tests share them, and other programs of tests do.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::create_dir_all(target().join("venv-clients")).expect("a directory");
    let turn = fs::File::create(target().join("venv-clients/lock")).expect("a file to lock");
    flock(&turn, FlockOperation::LockExclusive).expect("it can be locked");
    let file = clients().join(format!("requirements-{requirements}.txt"));
    let wanted = fs::read_to_string(&file).expect("the requirements are beside the tests");
    let dir = target().join("venv-clients").join(requirements);
    let (python, made) = (dir.join("bin/python"), dir.join("made-of.txt"));
    if fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return python;
    }
    succeeded(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir),
        "a virtual environment could not be made: install python3 and python3-venv",
    );
    succeeded(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-compile",
                "--require-hashes",
                "--requirement",
            ])
            .arg(&file),
        "the Python client could not be installed: PyPI must be reachable the first time (a proxy is taken from \
         HTTPS_PROXY)",
    );
    fs::write(&made, wanted).expect("the directory was just made");
    python
}

/// Has a template of the shared daemon ready, and says how long that took where it was built.
pub async fn template(name: &'static str) {
    let built = move || {
        let built = ringfence(shared(), &["template", "build", name]);
        assert!(built.status.success(), "the template: {}", String::from_utf8_lossy(&built.stderr));
        print!("{}", String::from_utf8_lossy(&built.stdout));
    };
    tokio::task::spawn_blocking(built).await.expect("it is built");
}

/// A configuration in which the registries of packages are where this host finds them, whatever it has in front of them.
pub fn registries() -> String {
    format!("[gate.pins]\n{}", registry_pins())
}

/// The lines of [`registries`] below its heading.
pub fn registry_pins() -> String {
    let mut text = String::new();
    for name in ["pypi.org", "files.pythonhosted.org", "registry.npmjs.org", "deb.debian.org", "security.debian.org"] {
        let found = (name, 443).to_socket_addrs().map(|all| all.map(|to| to.ip().to_string()).collect::<BTreeSet<_>>());
        text.push_str(&format!("\"{name}\" = {:?}\n", found.unwrap_or_default().into_iter().collect::<Vec<_>>()));
    }
    text
}

fn beside_all(shared: &Path, name: &str) -> PathBuf {
    shared.with_file_name(format!("{}-{name}", shared.file_name().expect("a name").to_string_lossy()))
}

/// Where a state directory of this program's own is: programs of tests may run beside each other.
pub fn beside(name: &str) -> PathBuf {
    let shared = fs::canonicalize(home()).expect("the shared daemon was started");
    let program = std::env::current_exe().expect("a test runs from a file");
    let program = program.file_stem().expect("a name").to_string_lossy();
    // Without the hash that cargo puts at the end.
    let program = program.rsplit_once('-').map_or(&*program, |(program, _)| program);
    beside_all(&shared, &format!("{program}-{name}"))
}

/// Lines of a configuration with which four sandboxes of Python are made ahead: a fiftieth of the host's memory is filled with dozens
/// that nobody of a test's own daemon asks for. They end within `[templates]`.
pub const SMALL_SHELF: &str = "[templates]\nshelf_mib = 48\n";

/// A state directory with the Python template of the shared one, and a configuration that says [`SMALL_SHELF`].
pub fn prepare(shared: &Path, home: &Path) {
    prepare_with(shared, home, &["python"]);
}

/// [`prepare`] with these templates, as far as they are built; the first must be. Each costs the links of its files, and whoever packs
/// the directory all of their bytes.
pub fn prepare_with(shared: &Path, home: &Path, templates: &[&'static str]) {
    if home.exists() {
        // Of a run that failed.
        if answers(home) {
            stop(home);
        }
        fs::remove_dir_all(home).expect("the old state directory can be removed");
    }
    fs::create_dir_all(home.join("log")).expect("a state directory");
    fs::write(home.join("config.toml"), SMALL_SHELF).expect("a configuration");
    let copy = tempfile::tempdir().expect("a temporary directory");
    let (from, to) = (shared.join("engine"), copy.path().to_owned());
    // Of one moment, whatever the shared daemon writes.
    copy_database(DatabaseKind::Engine, &from.join("engine.db"), &to.join("engine.db")).expect("it can be copied");
    fs::copy(from.join("sealing.key"), to.join("sealing.key")).expect("the key can be copied");
    fs::create_dir_all(home.join("engine")).expect("a directory");
    let key = |path: &Path| SealingKey::load_or_create(&path.join("sealing.key")).expect("a key");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let theirs = Store::open(&copy.path().join("engine.db"), key(copy.path())).expect("the copy opens");
        let mut rows = Vec::new();
        for name in templates.iter().copied() {
            rows.extend(theirs.read(move |view| view.ready_template(name)).await.expect("readable"));
        }
        let first = templates.first().copied();
        assert!(first.is_none_or(|first| rows.iter().any(|row| row.name == first)), "{first:?} was just built");
        // The layers of other templates stay behind: linking their tens of thousands of files takes seconds.
        let wanted: BTreeSet<_> = rows.iter().flat_map(|row| row.layers.clone()).collect();
        let mut stages = theirs.read(|view| view.stages()).await.expect("readable");
        stages.retain(|stage| stage.layer.as_ref().is_none_or(|layer| wanted.contains(layer)));
        theirs.close().await.expect("closed");
        link_layers(&shared.join("layers"), &home.join("layers"), wanted.iter().map(ToString::to_string));
        let ours = Store::open(&home.join("engine/engine.db"), key(&home.join("engine"))).expect("a new database");
        ours.write(move |tx| {
            rows.iter().try_for_each(|row| tx.put_template(row))?;
            stages.iter().try_for_each(|row| tx.put_stage(row))
        })
        .await
        .expect("written");
        ours.close().await.expect("closed");
    });
}

/// Links those layers.
fn link_layers(from: &Path, to: &Path, wanted: impl Iterator<Item = String>) {
    fs::create_dir_all(to).expect("a directory");
    fs::set_permissions(to, fs::metadata(from).expect("there").permissions()).expect("it was just made");
    let layers: Vec<_> = wanted.map(|layer| from.join(layer)).collect();
    if layers.is_empty() {
        return;
    }
    let copied = Command::new("cp").args(["-al", "-t"]).arg(to).args(layers).status().expect("cp(1)");
    assert!(copied.success(), "linking the layers");
}

/// A client of the daemon over `home`.
pub fn client_of(home: &Path) -> Arc<Client> {
    Arc::new(Client::new(&home.join("run/api.sock"), "test"))
}

/// A client of the shared daemon. Must be called within a runtime.
pub async fn client() -> Arc<Client> {
    let home = tokio::task::spawn_blocking(shared).await.expect("the daemon starts");
    client_of(home)
}

/// A sandbox that is deleted with the value that stands for it.
pub struct Sandbox {
    pub api: Arc<Client>,
    pub id: String,
}

impl Sandbox {
    /// A Python sandbox of the shared daemon with default limits.
    pub async fn new() -> Self {
        Self::with(CreateRequest { template: "python".into(), ..CreateRequest::default() }).await
    }

    /// One of the shared daemon, as asked for.
    pub async fn with(request: CreateRequest) -> Self {
        let api = client().await;
        let made = api.create(Actor::Operator, request, None).await.expect("a sandbox");
        Self { id: made.sandbox_id.to_string(), api }
    }

    pub async fn request(&self, request: ExecuteRequest) -> ExecutionAnswer {
        let request = ExecuteRequest { sandbox_id: self.id.clone(), ..request };
        self.api.execute(Actor::Operator, request).await.expect("the program is run")
    }

    pub async fn python(&self, code: &str) -> ExecutionAnswer {
        self.request(ExecuteRequest { code: code.into(), ..ExecuteRequest::default() }).await
    }

    pub async fn bash(&self, code: &str) -> ExecutionAnswer {
        self.request(ExecuteRequest { code: code.into(), language: Some("bash".into()), ..ExecuteRequest::default() })
            .await
    }

    pub fn named(&self) -> SandboxRequest {
        SandboxRequest { sandbox_id: self.id.clone() }
    }

    pub async fn delete(self) {
        self.api.delete(Actor::Operator, self.named()).await.expect("it can be deleted");
    }
}

impl Drop for Sandbox {
    /// Also after a failed assertion, so that tests do not fill the machine.
    fn drop(&mut self) {
        let _ = ringfence(shared(), &["sandbox", "rm", &self.id]);
    }
}
