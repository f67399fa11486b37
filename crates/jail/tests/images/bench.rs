//! Images made by hand, and a tree to unpack them into.

use std::{
    fs,
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use ringfence_jail::layer::image::{
    ImageReport,
    apply::{Done, Target},
    blob::Layer,
    manifest,
    outer::Outer,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const BLOCK: usize = 512;

/// An entry of a tar, as it is written.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: u8,
    pub(crate) target: String,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: u32,
}

impl Entry {
    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(crate) fn owner(self, owner: u32) -> Self {
        Self { owner, ..self }
    }
}

pub(crate) fn file(path: &str, content: &str) -> Entry {
    let content = content.as_bytes().to_vec();
    Entry { path: path.into(), kind: b'0', target: String::new(), content, mode: 0o644, owner: 0 }
}

pub(crate) fn dir(path: &str) -> Entry {
    Entry { kind: b'5', mode: 0o755, ..file(path, "") }
}

pub(crate) fn link(path: &str, target: &str) -> Entry {
    Entry { kind: b'2', target: target.into(), ..file(path, "") }
}

pub(crate) fn hard(path: &str, target: &str) -> Entry {
    Entry { kind: b'1', ..link(path, target) }
}

/// What hides a name of the layers below.
pub(crate) fn whiteout(path: &str) -> Entry {
    let (dir, name) = path.rsplit_once('/').map_or(("", path), |(dir, name)| (dir, name));
    file(&format!("{dir}/.wh.{name}"), "")
}

/// A tar as old as POSIX's first: short names only.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Entry { path, kind, target, content, mode, owner } in entries {
        let mut block = [0_u8; BLOCK];
        let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
        put(0, path.as_bytes());
        put(100, format!("{mode:07o}\0").as_bytes());
        put(108, format!("{owner:07o}\0").as_bytes());
        put(116, format!("{owner:07o}\0").as_bytes());
        put(124, format!("{:011o}\0", content.len()).as_bytes());
        put(136, b"00000000012\0        ");
        put(156, &[*kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend_from_slice(&block);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image of OCI, part by part, so that each can be spoiled.
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) encoding: Encoding,
    pub(crate) architecture: &'static str,
    /// Changes the manifest before its digest is made.
    pub(crate) manifest: fn(&mut Value),
    pub(crate) config: fn(&mut Value),
    pub(crate) index: fn(&mut Value),
    /// Changes a blob after its digest was made.
    pub(crate) spoil: fn(&mut Vec<u8>),
}

impl Image {
    pub(crate) fn of(layers: &[Vec<u8>]) -> Self {
        let nothing: fn(&mut Value) = |_| {};
        Self {
            layers: layers.to_vec(),
            encoding: Encoding::Gzip,
            architecture: "amd64",
            manifest: nothing,
            config: nothing,
            index: nothing,
            spoil: |_| {},
        }
    }

    pub(crate) fn encoding(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }

    /// The files of the layout.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let mut layers = Vec::new();
        for layer in &self.layers {
            let (mut bytes, kind) = match self.encoding {
                Encoding::Plain => (layer.clone(), "tar"),
                Encoding::Gzip => (gzip(layer), "tar+gzip"),
                Encoding::Zstd => (zstd::encode_all(&layer[..], 3).expect("memory"), "tar+zstd"),
            };
            let digest = sha256(&bytes);
            layers.push(json!({
                "mediaType": format!("application/vnd.oci.image.layer.v1.{kind}"),
                "digest": format!("sha256:{digest}"), "size": bytes.len(),
            }));
            (self.spoil)(&mut bytes);
            files.push((format!("blobs/sha256/{digest}"), bytes));
        }
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let mut config = json!({
            "architecture": self.architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "config": {"Env": ["PATH=/opt/bin:/usr/bin", "A=b=c"], "WorkingDir": "/srv", "User": "app:app",
                       "Entrypoint": ["/bin/app"], "Cmd": ["it's"]},
        });
        (self.config)(&mut config);
        let config = add(&mut files, &config);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1},
        });
        (self.manifest)(&mut manifest);
        let (digest, size) = add(&mut files, &manifest);
        let mut index = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size},
        ]});
        (self.index)(&mut index);
        files.push(("index.json".into(), index.to_string().into_bytes()));
        files
    }

    pub(crate) fn archive(&self) -> Vec<u8> {
        outer(&self.files())
    }

    /// As `docker save` of old versions has it.
    pub(crate) fn docker(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": diff_ids}}).to_string();
        let name = format!("{}.json", sha256(config.as_bytes()));
        let paths: Vec<String> = (0..self.layers.len()).map(|number| format!("l{number}/layer.tar")).collect();
        let list = json!([{"Config": name, "RepoTags": ["app:1"], "Layers": paths}]).to_string();
        let mut files = vec![(name, config.into_bytes()), ("manifest.json".into(), list.into_bytes())];
        files.extend(paths.into_iter().zip(self.layers.iter().cloned()));
        outer(&files)
    }
}

fn add(files: &mut Vec<(String, Vec<u8>)>, value: &Value) -> (String, usize) {
    let bytes = value.to_string().into_bytes();
    let (digest, size) = (sha256(&bytes), bytes.len());
    files.push((format!("blobs/sha256/{digest}"), bytes));
    (format!("sha256:{digest}"), size)
}

pub(crate) fn outer(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    tar(&files.iter().map(|(name, content)| Entry { content: content.clone(), ..file(name, "") }).collect::<Vec<_>>())
}

/// What is said of an archive.
pub(crate) fn look(archive: &[u8], tag: Option<&str>) -> Result<ImageReport, String> {
    let archive = Outer::open(archive.to_vec()).map_err(|e| e.to_string())?;
    manifest::read(&archive, tag, "amd64")
}

/// A directory with something outside of the tree.
pub(crate) struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    #[track_caller]
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test gives files away and needs root: run it with `sudo make test`"
        );
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["tree", "outside"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        fs::write(dir.path().join("outside/secret"), "of the host").expect("a file");
        Self { dir }
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("tree").join(path)
    }

    pub(crate) fn root(&self) -> OwnedFd {
        fs::File::open(self.path("")).expect("it was made").into()
    }

    pub(crate) fn unpack(&self, archive: &[u8]) -> Result<Done, String> {
        self.unpack_within(archive, 64 << 20)
    }

    pub(crate) fn unpack_within(&self, archive: &[u8], bytes_max: u64) -> Result<Done, String> {
        let archive = Outer::open(archive.to_vec()).map_err(|e| e.to_string())?;
        let report = manifest::read(&archive, None, "amd64")?;
        let root = self.root();
        let mut target = Target::new(&root, bytes_max);
        for blob in &report.layers {
            let mut layer = Layer::open(&archive, blob).map_err(|e| e.to_string())?;
            target.layer(&mut layer).map_err(|e| e.to_string())?;
            layer.finish().map_err(|e| e.to_string())?;
        }
        Ok(target.done)
    }

    /// Puts entries where their paths lead, as a program would that thinks no evil.
    pub(crate) fn naive(&self, entries: &[Entry]) {
        for entry in entries {
            let at = self.path(entry.path.trim_start_matches('/'));
            let done = match entry.kind {
                b'5' => fs::create_dir_all(at),
                b'2' => std::os::unix::fs::symlink(&entry.target, at),
                b'1' => fs::hard_link(self.path(&entry.target), at),
                _ => fs::write(at, &entry.content),
            };
            done.expect("nothing stops it");
        }
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Everything in the tree, sorted; directories end in a slash.
    pub(crate) fn listed(&self) -> Vec<String> {
        fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).expect("a directory") {
                let path = entry.expect("an entry").path();
                let name = path.strip_prefix(root).expect("it lies below").display().to_string();
                if fs::symlink_metadata(&path).expect("there").is_dir() {
                    found.push(format!("{name}/"));
                    walk(root, &path, found);
                } else {
                    found.push(name);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path(""), &self.path(""), &mut found);
        found.sort();
        found
    }
}
