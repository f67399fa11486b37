//! Which image an archive holds: from its index to the layers and what programs of it begin with.
//!
//! Formats: the OCI image specification 1.1 (`image-layout.md`, `image-index.md`, `manifest.md`, `config.md`), and Docker's image
//! specification 1.2 ("combined image JSON + filesystem changeset format") for what `docker save` of old versions writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    blob::{Blob, hex, is_hash},
    outer::{Bytes, Outer},
};

/// Bytes of an index, a manifest, or a configuration.
const JSON_BYTES_MAX: u64 = 4 << 20;

/// Layers of an image: Docker makes 127 at most.
pub const LAYERS_MAX: usize = 128;

/// Manifests that are looked at, and indexes below one another.
const MANIFESTS_MAX: usize = 256;
const INDEXES_DEEP_MAX: usize = 3;

/// Variables of an image, and bytes of all texts.
const VARIABLES_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 64 << 10;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageReport {
    /// `sha256:` and the digest of its manifest; of its configuration where there is no manifest of OCI's.
    pub digest: String,
    /// Such as `linux/amd64`.
    pub platform: String,
    /// Lowest first.
    pub layers: Vec<Blob>,
    /// Variables of its programs.
    pub env: Vec<(String, String)>,
    /// Where they start; may be empty.
    pub working_dir: String,
    /// As whom; may be empty.
    pub user: String,
    /// What is started: the entry point and its arguments.
    pub start: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    config: Option<Run>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
}

/// The machine's architecture as images call it.
#[must_use]
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The one image of an archive that is for Linux on that architecture, of that tag if one is given.
///
/// # Errors
/// There is none, or more than one, or it holds what is not taken.
pub fn read<B: Bytes>(archive: &Outer<B>, tag: Option<&str>, architecture: &str) -> Result<ImageReport, String> {
    if archive.has("index.json") {
        return read_oci(archive, tag, architecture);
    }
    if archive.has("manifest.json") {
        return read_docker(archive, tag, architecture);
    }
    Err("it is no image: it has neither an `index.json` (OCI) nor a `manifest.json` (docker save)".into())
}

fn json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("{what} cannot be read: {e}"))
}

/// 64 digits of a digest that is a SHA-256.
fn sha256(digest: &str) -> Result<&str, String> {
    match digest.strip_prefix("sha256:") {
        Some(hash) if is_hash(hash) => Ok(hash),
        _ => Err(format!("{} is no SHA-256, and others are not taken", shown(digest))),
    }
}

fn path_of(digest: &str) -> Result<String, String> {
    Ok(format!("blobs/sha256/{}", sha256(digest)?))
}

/// A small blob, which must be what its descriptor says.
fn blob<B: Bytes>(archive: &Outer<B>, what: &str, descriptor: &Descriptor) -> Result<Vec<u8>, String> {
    if descriptor.urls.as_ref().is_some_and(|urls| !urls.is_empty()) {
        return Err(format!("{what} is to be fetched from elsewhere, which ringfence does not do"));
    }
    let name = path_of(&descriptor.digest)?;
    let bytes = archive.small(&name, JSON_BYTES_MAX).map_err(|e| format!("{what}: {e}"))?;
    let found = hex(&Sha256::digest(&bytes));
    if bytes.len() as u64 != descriptor.size || !name.ends_with(&found) {
        return Err(format!("{what} {} was changed: its digest is {found}", descriptor.digest));
    }
    Ok(bytes)
}

/// A manifest of an index.
struct Candidate {
    descriptor: Descriptor,
    tags: Vec<String>,
    /// As the index says, or its configuration.
    platform: String,
}

fn read_oci<B: Bytes>(archive: &Outer<B>, tag: Option<&str>, architecture: &str) -> Result<ImageReport, String> {
    let index: Index = json("index.json", &archive.small("index.json", JSON_BYTES_MAX).map_err(|e| e.to_string())?)?;
    let mut found = Vec::new();
    let mut looked_at = 0;
    collect(archive, index, &[], 0, &mut looked_at, &mut found)?;
    let wanted = format!("linux/{architecture}");
    let of_tag = |candidate: &&Candidate| tag.is_none_or(|tag| candidate.tags.iter().any(|other| is_tag(other, tag)));
    let mut chosen: Vec<&Candidate> = found.iter().filter(of_tag).filter(|c| c.platform == wanted).collect();
    chosen.sort_by(|a, b| a.descriptor.digest.cmp(&b.descriptor.digest));
    chosen.dedup_by(|a, b| a.descriptor.digest == b.descriptor.digest);
    let [only] = chosen[..] else {
        let all = found.iter().map(|c| (c.platform.clone(), c.tags.clone()));
        return Err(none_or_many(chosen.len(), &wanted, tag, all));
    };
    let bytes = blob(archive, "the manifest", &only.descriptor)?;
    let manifest: Manifest = json("the manifest", &bytes)?;
    let config: Config = json("the configuration", &blob(archive, "the configuration", &manifest.config)?)?;
    if manifest.layers.len() > LAYERS_MAX {
        return Err(format!("it has {} layers; {LAYERS_MAX} are taken", manifest.layers.len()));
    }
    let mut layers = Vec::new();
    for (layer, diff_id) in paired(&manifest.layers, &config.rootfs.diff_ids)? {
        judge_layer(layer)?;
        layers.push(Blob {
            name: path_of(&layer.digest)?,
            digest: Some(sha256(&layer.digest)?.to_owned()),
            size: layer.size,
            diff_id: sha256(diff_id)?.to_owned(),
        });
    }
    report(archive, only.descriptor.digest.clone(), layers, config, &wanted)
}

fn is_tag(name: &str, tag: &str) -> bool {
    name == tag || name.rsplit_once(':').is_some_and(|(_, last)| last == tag)
}

fn collect<B: Bytes>(
    archive: &Outer<B>,
    index: Index,
    tags: &[String],
    depth: usize,
    looked_at: &mut usize,
    found: &mut Vec<Candidate>,
) -> Result<(), String> {
    for descriptor in index.manifests {
        *looked_at += 1;
        if *looked_at > MANIFESTS_MAX {
            return Err(format!("it names more than {MANIFESTS_MAX} manifests"));
        }
        // An archive of one platform still names those of the others.
        if !archive.has(&path_of(&descriptor.digest)?) {
            continue;
        }
        let names = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
        let said = |name: &str| descriptor.annotations.as_ref().and_then(|all| all.get(name)).cloned();
        let tags: Vec<String> = names.into_iter().filter_map(said).chain(tags.iter().cloned()).take(8).collect();
        if said("vnd.docker.reference.type").is_some() {
            continue; // a statement about an image, and none itself
        }
        match descriptor.media_type.as_str() {
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                if depth == INDEXES_DEEP_MAX {
                    return Err("its indexes lie too deep in one another".into());
                }
                let below: Index = json("an index", &blob(archive, "an index", &descriptor)?)?;
                collect(archive, below, &tags, depth + 1, looked_at, found)?;
            }
            "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json" => {
                let platform = match &descriptor.platform {
                    Some(Platform { os, architecture }) => format!("{os}/{architecture}"),
                    None => {
                        let bytes = blob(archive, "a manifest", &descriptor)?;
                        let manifest: Manifest = json("a manifest", &bytes)?;
                        let bytes = blob(archive, "a configuration", &manifest.config)?;
                        let config: Config = json("a configuration", &bytes)?;
                        format!("{}/{}", config.os, config.architecture)
                    }
                };
                found.push(Candidate { descriptor, tags, platform });
            }
            other => return Err(format!("it holds a manifest of the type {}, which is not taken", shown(other))),
        }
    }
    Ok(())
}

fn none_or_many(
    count: usize,
    wanted: &str,
    tag: Option<&str>,
    all: impl Iterator<Item = (String, Vec<String>)>,
) -> String {
    let there: Vec<String> = all
        .take(20)
        .map(|(platform, tags)| match &tags[..] {
            [] => shown(&platform),
            [tag, ..] => format!("{} ({})", shown(&platform), shown(tag)),
        })
        .collect();
    let there = if there.is_empty() { "no image at all".into() } else { there.join(", ") };
    let of = tag.map_or_else(String::new, |tag| format!(" of the tag {}", shown(tag)));
    match count {
        0 => format!("it has no image for {wanted}{of}; there is: {there}"),
        _ => format!("it has {count} images for {wanted}{of}, name one with `oci_tag`; there is: {there}"),
    }
}

fn paired<'a, T>(layers: &'a [T], ids: &'a [String]) -> Result<impl Iterator<Item = (&'a T, &'a String)>, String> {
    if layers.len() == ids.len() && !layers.is_empty() {
        return Ok(layers.iter().zip(ids));
    }
    Err(format!("its manifest names {} layers, and its configuration {}", layers.len(), ids.len()))
}

fn judge_layer(layer: &Descriptor) -> Result<(), String> {
    let kind = layer.media_type.as_str();
    let of_oci = kind.strip_prefix("application/vnd.oci.image.layer.");
    let rest = of_oci.or_else(|| kind.strip_prefix("application/vnd.docker.image.rootfs."));
    if kind.contains("encrypted") {
        return Err("a layer is encrypted, and ringfence has no key".into());
    }
    if kind.contains("nondistributable")
        || kind.contains("foreign")
        || layer.urls.as_ref().is_some_and(|u| !u.is_empty())
    {
        return Err("a layer is to be fetched from elsewhere, which ringfence does not do".into());
    }
    match rest {
        Some("v1.tar" | "v1.tar+gzip" | "v1.tar+zstd" | "diff.tar" | "diff.tar.gzip" | "diff.tar.zstd") => Ok(()),
        _ => Err(format!("a layer is of the type {}, which is not taken", shown(kind))),
    }
}

fn read_docker<B: Bytes>(archive: &Outer<B>, tag: Option<&str>, architecture: &str) -> Result<ImageReport, String> {
    let bytes = archive.small("manifest.json", JSON_BYTES_MAX).map_err(|e| e.to_string())?;
    let images: Vec<DockerImage> = json("manifest.json", &bytes)?;
    let wanted = format!("linux/{architecture}");
    let tags = |image: &DockerImage| image.repo_tags.clone().unwrap_or_default();
    let of_tag = |image: &&DockerImage| tag.is_none_or(|tag| tags(image).iter().any(|other| is_tag(other, tag)));
    let chosen: Vec<&DockerImage> = images.iter().take(MANIFESTS_MAX).filter(of_tag).collect();
    let [image] = chosen[..] else {
        let all = images.iter().map(|image| ("an image".to_owned(), tags(image)));
        return Err(none_or_many(chosen.len(), &wanted, tag, all));
    };
    if image.layers.len() > LAYERS_MAX {
        return Err(format!("it has {} layers; {LAYERS_MAX} are taken", image.layers.len()));
    }
    let bytes = archive.small(&image.config, JSON_BYTES_MAX).map_err(|e| e.to_string())?;
    let config: Config = json("the configuration", &bytes)?;
    let mut layers = Vec::new();
    for (name, diff_id) in paired(&image.layers, &config.rootfs.diff_ids)? {
        let Some((_, size)) = archive.file(name) else { return Err(format!("the layer {} is missing", shown(name))) };
        layers.push(Blob { name: name.clone(), digest: None, size, diff_id: sha256(diff_id)?.to_owned() });
    }
    report(archive, format!("sha256:{}", hex(&Sha256::digest(&bytes))), layers, config, &wanted)
}

fn report<B: Bytes>(
    archive: &Outer<B>,
    digest: String,
    layers: Vec<Blob>,
    config: Config,
    wanted: &str,
) -> Result<ImageReport, String> {
    let platform = format!("{}/{}", config.os, config.architecture);
    if platform != wanted {
        return Err(format!("it is for {}, and this machine is {wanted}", shown(&platform)));
    }
    for layer in &layers {
        match archive.file(&layer.name) {
            Some((_, length)) if length == layer.size => {}
            Some((_, length)) => {
                return Err(format!("the layer {} has {length} bytes, and not {}", shown(&layer.name), layer.size));
            }
            None => return Err(format!("the layer {} is missing", shown(&layer.name))),
        }
    }
    let run = config.config.unwrap_or_default();
    let env = run.env.unwrap_or_default();
    let split = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let report = ImageReport {
        digest,
        platform,
        layers,
        env: env.iter().filter_map(split).collect(),
        working_dir: run.working_dir.unwrap_or_default(),
        user: run.user.unwrap_or_default(),
        start: run.entrypoint.into_iter().flatten().chain(run.cmd.into_iter().flatten()).collect(),
    };
    let texts = report.env.iter().flat_map(|(name, value)| [name, value]).chain(&report.start);
    let bytes: usize = texts.chain([&report.working_dir, &report.user]).map(String::len).sum();
    if bytes > TEXT_BYTES_MAX || report.env.len() > VARIABLES_MAX || report.start.len() > VARIABLES_MAX {
        return Err(format!(
            "its variables and its start command have {bytes} bytes in {} texts; {TEXT_BYTES_MAX} in {VARIABLES_MAX} are taken",
            report.env.len() + report.start.len()
        ));
    }
    Ok(report)
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect::<String>().escape_debug().to_string()
}
