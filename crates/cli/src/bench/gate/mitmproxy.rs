//! mitmproxy, the proxy that others take for this: from PyPI, in a virtual environment of its own.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::output;

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// One that runs.
pub(super) struct Mitmproxy {
    child: Child,
    pub(super) port: u16,
    /// The authority that its certificates are signed by.
    pub(super) authority: String,
    pub(super) version: String,
}

impl Mitmproxy {
    /// Installs it below `dir` unless it is there, and starts it. It verifies the server's certificate, by `roots`.
    ///
    /// # Errors
    /// It cannot be had, or does not start.
    pub(super) fn start(dir: &Path, roots: &Path) -> anyhow::Result<Self> {
        let venv = dir.join("mitmproxy");
        let program = venv.join("bin/mitmdump");
        if !program.exists() {
            output::note("bench: installing mitmproxy from PyPI");
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "mitmproxy"]))?;
        }
        let said = Command::new(&program).arg("--version").output().context("asking mitmproxy for its version")?;
        let version = String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned();
        let port = free_port()?;
        let state = dir.join("mitmproxy-state");
        let child = Command::new(&program)
            .args(["--quiet", "--mode", "regular", "--listen-host", "127.0.0.1", "--listen-port", &port.to_string()])
            .args(["--set", "connection_strategy=lazy", "--set", "flow_detail=0"])
            .arg("--set")
            .arg(format!("confdir={}", state.display()))
            .arg("--set")
            .arg(format!("ssl_verify_upstream_trusted_ca={}", roots.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting mitmdump")?;
        let mut mitmproxy = Self { child, port, authority: String::new(), version };
        mitmproxy.authority = mitmproxy.wait(&state.join("mitmproxy-ca-cert.pem"))?;
        Ok(mitmproxy)
    }

    fn wait(&mut self, authority: &PathBuf) -> anyhow::Result<String> {
        let begin = Instant::now();
        loop {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return fs::read_to_string(authority).context("reading mitmproxy's authority");
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("mitmdump ended with {status}");
            }
            ensure!(begin.elapsed() < PATIENCE, "mitmdump does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Mitmproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("running {command:?}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}", said.lines().last().unwrap_or_default());
    Ok(())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
