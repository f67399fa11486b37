//! A daemon of the benchmark's own, whose configuration leads the benchmark's names to its server: with the layers and the
//! template of the one that is there.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ringfence_store::{SealingKey, Store};

use crate::{
    daemon::{self, Daemon},
    output,
};

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon, and its directory, which goes with it.
pub(in crate::bench) struct Home {
    pub(in crate::bench) path: PathBuf,
    pub(in crate::bench) daemon: Daemon,
}

impl Home {
    /// Makes the directory beside `theirs`, whose layers are linked into it, and starts a daemon over it.
    ///
    /// # Errors
    /// Something of it cannot be made.
    pub(in crate::bench) async fn start(
        theirs: &Path,
        template: &str,
        names: &[&str],
        roots: &str,
    ) -> anyhow::Result<Self> {
        let theirs = theirs.canonicalize().with_context(|| format!("looking for {}", theirs.display()))?;
        let name = theirs.file_name().unwrap_or_default().to_string_lossy();
        let path = theirs.with_file_name(format!("{name}-bench-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&path).with_context(|| format!("making {}", path.display()))?;
        let made = prepare(&theirs, &path, template, names, roots).await;
        let started = match made {
            Ok(()) => daemon::connect(Some(&path)).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(daemon) => Ok(Self { path, daemon }),
            Err(error) => {
                remove(&path);
                Err(error)
            }
        }
    }

    /// Ends the daemon and removes its directory.
    ///
    /// # Errors
    /// It does not end.
    pub(in crate::bench) async fn end(self) -> anyhow::Result<()> {
        self.daemon.stop().await?;
        let begin = Instant::now();
        while self.daemon.exists().await {
            ensure!(begin.elapsed() < PATIENCE, "the benchmark's daemon at {} does not end", self.path.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        remove(&self.path);
        Ok(())
    }
}

async fn prepare(theirs: &Path, ours: &Path, template: &str, names: &[&str], roots: &str) -> anyhow::Result<()> {
    fs::write(ours.join("servers.pem"), roots)?;
    let mut config = fs::File::create(ours.join("config.toml"))?;
    writeln!(config, "[gate]\nextra_roots = [{:?}]\n[gate.pins]", ours.join("servers.pem").display().to_string())?;
    for name in names {
        writeln!(config, "{name:?} = [\"127.0.0.1\"]")?;
    }
    lay_down(theirs, ours, template).await
}

/// Links the layers of another state directory into one, and takes a template over.
///
/// # Errors
/// Something of it cannot be made, or the template is not built.
pub(in crate::bench) async fn lay_down(theirs: &Path, ours: &Path, template: &str) -> anyhow::Result<()> {
    let linked = Command::new("cp").arg("-al").arg(theirs.join("layers")).arg(ours).status().context("running cp")?;
    ensure!(linked.success(), "linking the layers of {}", theirs.display());
    // A copy is read, because the daemon holds the original.
    let copy = ours.join("copy");
    fs::DirBuilder::new().mode(0o700).create(&copy)?;
    for file in ["engine.db", "engine.db-wal", "sealing.key"] {
        let from = theirs.join("engine").join(file);
        if from.exists() {
            fs::copy(&from, copy.join(file)).with_context(|| format!("copying {}", from.display()))?;
        }
    }
    let engine = ours.join("engine");
    fs::DirBuilder::new().mode(0o700).create(&engine)?;
    let open = |dir: &Path| -> anyhow::Result<Store> {
        Ok(Store::open(&dir.join("engine.db"), SealingKey::load_or_create(&dir.join("sealing.key"))?)?)
    };
    let of_theirs = open(&copy)?;
    let name = template.to_owned();
    let row = of_theirs.read(move |view| view.ready_template(&name)).await?.context("the template is not built")?;
    of_theirs.close().await?;
    fs::remove_dir_all(&copy)?;
    let of_ours = open(&engine)?;
    of_ours.write(move |tx| tx.put_template(&row)).await?;
    of_ours.close().await?;
    Ok(())
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        output::note(&format!("bench: {} could not be removed: {error}", path.display()));
    }
}
