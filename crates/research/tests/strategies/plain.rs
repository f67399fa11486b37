//! Trials without a sandbox: a Python of this host. For whoever works on the runner: quick to start, and its faults are seen.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ringfence_engine::api::{Answering, Conversation, TRIAL_OUTPUT_MAX, TrialAnswer, TrialRequest, Trials};
use ringfence_model::{
    ExecutionId, SandboxId,
    api::{Actor, ExecutionStatus},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, mpsc},
};

/// Packages of the Python template that strategies here use.
const PACKAGES: [&str; 4] = ["numpy", "pandas", "python-dateutil", "tzdata"];

#[track_caller]
fn succeeded(command: &mut Command, otherwise: &str) {
    let ran = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{otherwise}: {error}"));
    assert!(ran.status.success(), "{otherwise}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// The Python of a virtual environment with those packages, by the template's own hashes.
#[track_caller]
fn venv() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lock = fs::read_to_string(root.join("templates/python/requirements.lock")).expect("the template's lock file");
    let mut wanted = String::new();
    let mut is_wanted = false;
    for line in lock.lines() {
        if let Some((name, _)) = line.split_once("==") {
            is_wanted = PACKAGES.contains(&name);
        }
        if is_wanted {
            wanted.push_str(line);
            wanted.push('\n');
        }
    }
    let dir = root.join("target/venv-strategies");
    let (python, made) = (dir.join("bin/python"), dir.join("made-of.txt"));
    if fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return python;
    }
    let host = ["/usr/bin/python3.11", "python3.11"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success()));
    let host = host
        .expect("strategies are tried with a Python 3.11: install python3.11, or name one in RINGFENCE_TEST_PYTHON");
    succeeded(
        Command::new(host).args(["-m", "venv", "--clear"]).arg(&dir),
        "a virtual environment could not be made: install python3.11 and python3-venv",
    );
    let file = dir.join("requirements.txt");
    fs::write(&file, &wanted).expect("the directory was just made");
    succeeded(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"])
            .args(["--no-compile", "--only-binary", ":all:", "--requirement"])
            .arg(&file),
        "numpy and pandas could not be installed: PyPI must be reachable the first time (a proxy is taken from HTTPS_PROXY)",
    );
    fs::write(&made, wanted).expect("the directory was just made");
    python
}

pub(crate) struct Plain {
    python: PathBuf,
    dir: tempfile::TempDir,
}

impl Plain {
    /// With the Python 3.11 that `RINGFENCE_TEST_PYTHON` names and that has the template's numpy and pandas; otherwise with a virtual
    /// environment that has them, which is made the first time.
    pub(crate) fn get() -> Self {
        static PYTHON: OnceLock<PathBuf> = OnceLock::new();
        let python = PYTHON.get_or_init(|| std::env::var_os("RINGFENCE_TEST_PYTHON").map_or_else(venv, PathBuf::from));
        Self { python: python.clone(), dir: tempfile::tempdir().expect("a directory") }
    }

    async fn run(&self, request: TrialRequest, with: Option<Conversation>) -> TrialAnswer {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        // As the engine has it: what waits for its turn does not use its time up.
        static PLACES: Semaphore = Semaphore::const_new(4);
        let _place = PLACES.acquire().await.expect("never closed");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path().join(format!("exec_{number:013}aaaaaa.py"));
        fs::write(&path, &request.code).expect("written");
        let begin = Instant::now();
        let mut child = tokio::process::Command::new(&self.python)
            .args(["-B", &path.to_string_lossy()])
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/harness/usr/lib/python3.11"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python starts");
        let (mut stdin, mut stdout, mut stderr) = (
            child.stdin.take().expect("piped"),
            child.stdout.take().expect("piped"),
            child.stderr.take().expect("piped"),
        );
        let (to, from) = with.map_or((None, None), |c| (Some(c.to), Some(c.from)));
        let feed = async move {
            let _ = stdin.write_all(&request.input).await;
            let mut to: Option<mpsc::Receiver<Vec<u8>>> = to;
            while let Some(to) = &mut to
                && let Some(bytes) = to.recv().await
            {
                if stdin.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        };
        let listen = async move {
            let mut output = Vec::new();
            let mut buffer = vec![0; 1 << 16];
            while let Ok(len @ 1..) = stdout.read(&mut buffer).await {
                match &from {
                    Some(from) => drop(from.send(buffer[..len].to_vec()).await),
                    None if output.len() <= TRIAL_OUTPUT_MAX => output.extend(&buffer[..len]),
                    None => {}
                }
            }
            output
        };
        let complain = async move {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text).await;
            String::from_utf8_lossy(&text).into_owned()
        };
        let fed = tokio::spawn(feed);
        let all = async { tokio::join!(listen, complain, child.wait()) };
        let (status, code, output, stderr) =
            match tokio::time::timeout(Duration::from_secs_f64(request.timeout), all).await {
                Err(_) => (ExecutionStatus::Timeout, 124, Vec::new(), String::new()),
                Ok((output, stderr, status)) => {
                    let code = status.expect("it is waited for").code().unwrap_or(-1);
                    let status = if code == 0 { ExecutionStatus::Completed } else { ExecutionStatus::Failed };
                    (status, code, output, stderr.replace(&*self.dir.path().to_string_lossy(), "/run/ringfence"))
                }
            };
        fed.abort();
        TrialAnswer {
            sandbox: SandboxId::parse("iaaaaaaaaaaaaaaaaaaaa").expect("an id"),
            execution: ExecutionId::parse(&format!("exec_{number:013}aaaaaa")).expect("an id"),
            status,
            exit_code: code,
            output,
            stderr,
            execution_time: begin.elapsed().as_secs_f64(),
            cpu_time: 0.0,
            memory_peak_bytes: 0,
        }
    }
}

impl Trials for Plain {
    fn trial(&self, _: Actor, request: TrialRequest) -> Answering<'_, TrialAnswer> {
        Box::pin(async { Ok(self.run(request, None).await) })
    }

    fn converse(&self, _: Actor, request: TrialRequest, with: Conversation) -> Answering<'_, TrialAnswer> {
        Box::pin(async { Ok(self.run(request, Some(with)).await) })
    }
}
