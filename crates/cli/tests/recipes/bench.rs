//! Recipes in directories of their own, and waiting.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use ringfence_model::api::BuildAnswer;

use crate::common::ringfence;

/// A recipe in a directory.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    /// A recipe of that name, over the packages that `common::shared` has built already.
    pub(crate) fn new(name: &str, rest: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let text =
            format!("name = \"{name}\"\ndescription = \"A test\"\nlanguage = \"bash\"\ndebian = \"bookworm\"\n{rest}");
        fs::write(dir.path().join("template.toml"), text).expect("a recipe");
        Self(dir)
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("it lies in the directory")).expect("directories");
        fs::write(path, text).expect("a file");
        self
    }

    pub(crate) fn program(&self, path: &str, text: &str) -> &Self {
        self.file(path, text);
        fs::set_permissions(self.0.path().join(path), fs::Permissions::from_mode(0o755)).expect("mode");
        self
    }

    pub(crate) fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

/// Builds a recipe by the command.
#[track_caller]
pub(crate) fn build(home: &Path, dir: &Dir) -> BuildAnswer {
    let built = ringfence(home, &["template", "build", &dir.path(), "--json"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    serde_json::from_slice(&built.stdout).expect("an answer")
}

/// Waits for something that is to become true.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut is: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let end = Instant::now() + Duration::from_secs(180);
    async move {
        while !is().await {
            assert!(Instant::now() < end, "{what} did not come");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
