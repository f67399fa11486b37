//! Whom ours is compared with: the template's own interpreter, bare and in other sandboxes, on the same root file system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use ringfence_jail::sys;
use serde_json::json;

use crate::{demo, output};

/// A program and what it must print.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) code: String,
    expected: Expected,
}

#[derive(Debug, Clone)]
enum Expected {
    Exactly(String),
    Backtest,
}

impl Program {
    /// Prints a number: another one each time, so that no answer can be an old one.
    pub(super) fn print(number: u64) -> Self {
        Self { code: format!("print({number})"), expected: Expected::Exactly(format!("{number}\n")) }
    }

    /// The seed document's backtest, with another first price each time.
    pub(super) fn backtest(number: u64) -> Self {
        const LINE: &str = "prices = 150 + ";
        debug_assert!(demo::SEED_BACKTEST.contains(LINE));
        let code = demo::SEED_BACKTEST.replace(LINE, &format!("prices = {} + ", 150 + number));
        Self { code, expected: Expected::Backtest }
    }

    /// Compares what was printed.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn check(&self, output: &str) -> anyhow::Result<()> {
        match &self.expected {
            Expected::Exactly(text) => {
                ensure!(output == text, "{output:?} was printed instead of {text:?}");
                Ok(())
            }
            Expected::Backtest => demo::check_seed_backtest(output),
        }
    }
}

/// Somebody else who runs Python.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    kind: Kind,
    rootfs: PathBuf,
}

#[derive(Debug)]
enum Kind {
    Chroot,
    Bubblewrap,
    Crun { bundle: PathBuf },
}

/// Those that are installed and can run a program. Who is left out is named, with the reason.
pub(super) fn find(home: &Path) -> Vec<Contender> {
    let Some(rootfs) = rootfs(home) else {
        output::note("bench: the template has no interpreter; there is nobody to compare with");
        return Vec::new();
    };
    let bundle = std::env::temp_dir().join(format!("ringfence-bench-{}", std::process::id()));
    let all = [("bare python3", Kind::Chroot), ("bubblewrap", Kind::Bubblewrap), ("crun", Kind::Crun { bundle })];
    let mut found = Vec::new();
    for (name, kind) in all {
        let contender = Contender { name, kind, rootfs: rootfs.clone() };
        match contender.once(&Program::print(1)).and_then(|_| contender.once(&Program::backtest(1))) {
            Ok(_) => found.push(contender),
            Err(error) => output::note(&format!("bench: without {name}: {error:#}")),
        }
    }
    found
}

/// Where the root of the template is for those that ours is compared with.
fn root_of(home: &Path) -> PathBuf {
    home.join("bench").join("root")
}

/// The root that was [laid out](lay_out), if it has an interpreter.
pub(super) fn rootfs(home: &Path) -> Option<PathBuf> {
    Some(root_of(home)).filter(|path| fs::symlink_metadata(path.join("usr/bin/python3")).is_ok())
}

/// Mounts a template's layers (lowest first) over one another, as its sandboxes see them, in a mount namespace of this program
/// and of what it starts from here on. It goes with them.
///
/// # Errors
/// The kernel refuses.
pub(super) fn lay_out(home: &Path, layers: &[String]) -> anyhow::Result<()> {
    sys::unshare(sys::CLONE_NEWNS).context("making a mount namespace")?;
    sys::mount("none", "/", "", sys::MS_REC | sys::MS_PRIVATE, "").context("making mounts private")?;
    mount(home, layers, &root_of(home))
}

/// Mounts a template's layers at a directory, in the mount namespace of [`lay_out`], which comes first.
///
/// # Errors
/// The kernel refuses.
pub(super) fn mount(home: &Path, layers: &[String], root: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
    let at = |layer: &String| home.join("layers").join(layer).join("rootfs").display().to_string();
    let target = root.display().to_string();
    match layers {
        [] => Ok(()),
        [only] => sys::mount(&at(only), &target, "", sys::MS_BIND, "").context("binding the layer"),
        _ => {
            let lower: Vec<String> = layers.iter().rev().map(at).collect();
            let options = format!("lowerdir={}", lower.join(":"));
            sys::mount("overlay", &target, "overlay", sys::MS_RDONLY, &options).context("mounting the layers")
        }
    }
}

impl Contender {
    /// Runs the program: the seconds until its process has ended and its output is here.
    ///
    /// # Errors
    /// It cannot be started, fails, or prints something else.
    pub(super) fn once(&self, program: &Program) -> anyhow::Result<f64> {
        let mut command = self.command(program)?;
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8");
        command.env("OPENBLAS_NUM_THREADS", "1").stdin(Stdio::null());
        let begin = Instant::now();
        let ended = command.output().with_context(|| format!("starting {}", command.get_program().display()))?;
        let seconds = begin.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "it ended with {}: {}", ended.status, said.lines().last().unwrap_or_default());
        program.check(&String::from_utf8_lossy(&ended.stdout))?;
        Ok(seconds)
    }

    fn command(&self, program: &Program) -> anyhow::Result<Command> {
        const PYTHON: &str = "/usr/bin/python3";
        Ok(match &self.kind {
            Kind::Chroot => {
                let mut command = Command::new("chroot");
                command.arg(&self.rootfs).args([PYTHON, "-c", &program.code]);
                command
            }
            Kind::Bubblewrap => {
                let mut command = Command::new("bwrap");
                command
                    .args(["--unshare-all", "--die-with-parent", "--new-session", "--ro-bind"])
                    .arg(&self.rootfs)
                    .arg("/");
                command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", PYTHON, "-c", &program.code]);
                command
            }
            Kind::Crun { bundle } => {
                // Written before the clock starts.
                fs::create_dir_all(bundle)?;
                fs::write(bundle.join("config.json"), self.crun_config(&program.code).to_string())?;
                let mut command = Command::new("crun");
                command.args(["--cgroup-manager", "disabled", "run", "--bundle"]).arg(bundle);
                command.arg(format!("ringfence-bench-{}", std::process::id()));
                command
            }
        })
    }

    fn crun_config(&self, code: &str) -> serde_json::Value {
        let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": 1000, "gid": 1000},
                "args": ["/usr/bin/python3", "-c", code],
                "env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8", "OPENBLAS_NUM_THREADS=1"],
                "cwd": "/",
                "noNewPrivileges": true
            },
            "root": {"path": self.rootfs, "readonly": true},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]}
            ],
            "linux": {"namespaces": namespaces}
        })
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if let Kind::Crun { bundle } = &self.kind {
            let _ = fs::remove_dir_all(bundle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_differ_each_time_and_are_the_seeds() {
        let (first, second) = (Program::backtest(1), Program::backtest(2));
        assert_ne!(first.code, second.code);
        assert!(first.code.contains("prices = 151 + np.cumsum"), "{}", first.code);
        assert!(Program::print(7).check("7\n").is_ok());
        assert!(Program::print(7).check("8\n").is_err());
    }
}
