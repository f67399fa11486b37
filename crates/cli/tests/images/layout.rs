//! Images that are made of directories, with the tools of the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ringfence_model::api::TemplateAnswer;
use serde_json::json;

use crate::common::{ringfence, succeeded};

/// The layers of the Python template that hold Debian and its packages, lowest first.
#[track_caller]
pub(crate) fn debian(home: &Path) -> Vec<PathBuf> {
    let shown = ringfence(home, &["template", "show", "python", "--json"]);
    let shown: TemplateAnswer = serde_json::from_slice(&shown.stdout).expect("an answer");
    shown.template.layers.iter().take(2).map(|layer| home.join("layers").join(layer).join("rootfs")).collect()
}

/// A recipe in a directory.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new(name: &str, rest: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let text = format!("name = \"{name}\"\ndescription = \"A test\"\n{rest}");
        fs::write(dir.path().join("template.toml"), text).expect("a recipe");
        Self(dir)
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        fs::write(self.at(path), text).expect("a file");
        self
    }

    pub(crate) fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

/// An image of OCI that comes into being.
pub(crate) struct Layout {
    dir: tempfile::TempDir,
    /// Digests of the layers' tars, which lie in the directory under these names.
    layers: Vec<String>,
    config: String,
    is_plain: bool,
}

#[track_caller]
fn sha256(path: &Path) -> String {
    let said = succeeded(Command::new("sha256sum").arg(path), "sha256sum(1) of coreutils is needed");
    said.split_whitespace().next().expect("a digest").to_owned()
}

impl Layout {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir, layers: Vec::new(), config: "{}".into(), is_plain: false }
    }

    /// Adds a directory as a layer. What overlayfs hides with devices is left out.
    #[track_caller]
    pub(crate) fn tree(&mut self, tree: &Path) {
        let tar = self.dir.path().join("new");
        let pack = "cd \"$1\" && find . ! -type c ! -name . -print0 | LC_ALL=C sort -z | \
                    tar --null --no-recursion --numeric-owner --format pax --pax-option delete=atime,delete=ctime \
                    -cf \"$2\" -T - || [ $? = 1 ]";
        // 1 of tar is a file whose times changed meanwhile: others link the files of a layer, whose bytes stay.
        succeeded(Command::new("bash").args(["-c", pack, "pack"]).arg(tree).arg(&tar), "tar(1) is needed");
        let digest = sha256(&tar);
        fs::rename(&tar, self.dir.path().join(&digest)).expect("renamed");
        self.layers.push(digest);
    }

    /// As [`Self::tree`], without a file of which another one there is a hard link: it leads to the layers below.
    #[track_caller]
    pub(crate) fn tree_without(&mut self, tree: &Path, file: &str) {
        let tar = self.dir.path().join("new");
        // The first of two names is the file, the second one a link to it.
        let mut command = Command::new("tar");
        command
            .arg("-C")
            .arg(tree)
            .args(["--numeric-owner", "--sort=name", "-cf"])
            .arg(&tar)
            .arg(format!("./{file}"))
            .arg(".");
        succeeded(&mut command, "tar(1) is needed");
        succeeded(Command::new("tar").arg("--delete").arg("-f").arg(&tar).arg(format!("./{file}")), "tar(1) is needed");
        let digest = sha256(&tar);
        fs::rename(&tar, self.dir.path().join(&digest)).expect("renamed");
        self.layers.push(digest);
    }

    /// What programs begin with.
    pub(crate) fn config(self, config: &str) -> Self {
        Self { config: config.to_owned(), ..self }
    }

    /// Layers are not compressed.
    pub(crate) fn plain(self) -> Self {
        Self { is_plain: true, ..self }
    }

    /// The name of a layer's blob.
    #[track_caller]
    pub(crate) fn blob(&self, number: usize) -> String {
        sha256(&self.stored(&self.layers[number]))
    }

    /// A layer as it lies in the layout.
    #[track_caller]
    fn stored(&self, layer: &str) -> PathBuf {
        let tar = self.dir.path().join(layer);
        if self.is_plain {
            return tar;
        }
        let packed = tar.with_extension("gz");
        if !packed.exists() {
            succeeded(Command::new("gzip").args(["-1", "-n", "-k"]).arg(&tar), "gzip(1) is needed");
        }
        packed
    }

    /// Writes a layout. The digest of the manifest.
    #[track_caller]
    pub(crate) fn directory(&self, at: &Path) -> String {
        let blobs = at.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("directories");
        let add = |text: String| {
            let path = blobs.join("new");
            fs::write(&path, &text).expect("a blob");
            let digest = sha256(&path);
            fs::rename(&path, blobs.join(&digest)).expect("renamed");
            (format!("sha256:{digest}"), text.len())
        };
        let kind = if self.is_plain { "tar" } else { "tar+gzip" };
        let mut layers = Vec::new();
        for layer in &self.layers {
            let stored = self.stored(layer);
            let digest = sha256(&stored);
            let size = fs::copy(&stored, blobs.join(&digest)).expect("copied");
            layers.push(json!({"mediaType": format!("application/vnd.oci.image.layer.v1.{kind}"),
                               "digest": format!("sha256:{digest}"), "size": size}));
        }
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| format!("sha256:{layer}")).collect();
        let run: serde_json::Value = serde_json::from_str(&self.config).expect("JSON");
        let config = json!({"architecture": "amd64", "os": "linux", "config": run,
                            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let (config, size) = add(config.to_string());
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size}});
        let (digest, size) = add(manifest.to_string());
        let index = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
             "annotations": {"org.opencontainers.image.ref.name": "latest"}}]});
        fs::write(at.join("index.json"), index.to_string()).expect("the index");
        fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the version");
        digest
    }

    /// Writes an archive as `skopeo copy … oci-archive:` does. The digest of the manifest.
    #[track_caller]
    pub(crate) fn archive(&self, at: &Path) -> String {
        let layout = tempfile::tempdir().expect("a directory");
        let digest = self.directory(layout.path());
        succeeded(Command::new("tar").arg("-C").arg(layout.path()).arg("-cf").arg(at).arg("."), "tar(1) is needed");
        digest
    }
}
