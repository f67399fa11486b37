//! Archives of templates: written for another machine, and read from one. This process sees neither what is in an archive nor what is in
//! a layer: both are the business of a jailed step. What it reads is the manifest, as JSON.

use std::{
    io::{Seek, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use ringfence_jail::proto::LayerWork;
use ringfence_model::{
    ApiError, Code, LayerDigest,
    api::{Exported, ImportAnswer, ImportRequest, Package, TemplateRequest, check_template_name, plain_template_name},
};
use ringfence_store::{Actor, TemplateRow, TemplateStatus};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{recipe_json, said};
use crate::{
    builds::unknown,
    engine::{Engine, now_ms},
    error::Failure,
    registry::canonical,
    template::{BuildHost, Record, StepStream},
};

/// Bytes of a file that arrive, or go out, piece by piece.
pub type Chunks = BoxStream<'static, Result<Bytes, ApiError>>;

/// What a manifest says of the format. Raised when an older ringfence could not read it.
const FORMAT: u32 = 1;

/// Bytes of an archive that is read.
const ARCHIVE_BYTES_MAX: u64 = 16 << 30;

/// Bytes of all files of an archive.
const FILES_BYTES_MAX: u64 = 64 << 30;

/// Bytes of a manifest: what the jailer's steps take.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// Layers of an archive.
const LAYERS_MAX: usize = 12;

const TIMEOUT: Duration = Duration::from_secs(3600);

/// Read and sent at once.
const CHUNK_BYTES: usize = 256 << 10;

/// The first entry of an archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    name: String,
    /// As in the template's row.
    recipe: Record,
    export: Exported,
    packages: Vec<Package>,
    size_bytes: u64,
    /// Lowest first; the last one is the home.
    layers: Vec<LayerDigest>,
}

fn refused(why: impl std::fmt::Display) -> Failure {
    ApiError::new(Code::InvalidArgument, format!("the archive is refused: {why}")).into()
}

impl Engine {
    /// An exported template as an archive.
    ///
    /// # Errors
    /// There is none of that name, or it was not exported.
    pub(crate) async fn do_archive(&self, request: TemplateRequest) -> Result<Chunks, Failure> {
        self.admit()?;
        let name = canonical(&request.template_name);
        let Some(template) = self.inner.registry.get(name) else { return Err(unknown(name).into()) };
        let (Some(export), Some(recipe)) = (template.exported(), Record::from_json(&template.row.recipe)) else {
            let text = format!(
                "`{name}` is shipped with ringfence, and is built where it is used; archives are of exported templates"
            );
            return Err(ApiError::new(Code::NotSupported, text).into());
        };
        self.ready(&template).await?;
        let Some((home, base)) = template.row.layers.split_last() else { return Err(unknown(name).into()) };
        let base: Vec<LayerDigest> = base.iter().rev().cloned().collect();
        let digest = match &base[..] {
            [only] => only.clone(),
            _ => {
                const DIGEST_BYTES_MAX: u64 = 64;
                let step = self.inner.builder.layers(LayerWork::List(base.clone()), None, TIMEOUT).await?;
                let said = said(step, DIGEST_BYTES_MAX).await?;
                let digest = LayerDigest::parse(&String::from_utf8_lossy(&said));
                digest.map_err(|_| ApiError::internal("the base of the template could not be listed"))?
            }
        };
        // Whose it was is nothing to whoever reads the archive.
        let base_template = plain_template_name(&export.base_template).to_owned();
        let manifest = Manifest {
            format: FORMAT,
            name: plain_template_name(&template.name).to_owned(),
            recipe,
            export: Exported { base_template, ..export },
            packages: serde_json::from_value(template.row.packages.clone()).unwrap_or_default(),
            size_bytes: template.row.size_bytes,
            layers: vec![digest.clone(), home.clone()],
        };
        let input = handed_over(&serde_json::to_vec(&manifest).expect("plain data"))?;
        let work = LayerWork::Write { base, digest, home: home.clone() };
        let StepStream { output, end } = self.inner.builder.layers(work, Some(input.as_fd()), TIMEOUT).await?;
        let read = futures::stream::try_unfold((output, Some(end)), |(mut output, mut end)| async move {
            let mut buffer = vec![0; CHUNK_BYTES];
            let broken = || ApiError::internal("the archive broke off; the daemon's log says why");
            let count = output.read(&mut buffer).await.map_err(|_| broken())?;
            if count > 0 {
                buffer.truncate(count);
                return Ok(Some((Bytes::from(buffer), (output, end))));
            }
            // What came is the whole only if its writer says so.
            let Some(end) = end.take() else { return Ok(None) };
            match end.await {
                Ok(end) if end.code == 0 => Ok(None),
                ended => {
                    tracing::error!(?ended, "an archive could not be written");
                    Err(broken())
                }
            }
        });
        Ok(read.boxed())
    }

    /// Reads an archive.
    ///
    /// # Errors
    /// What is wrong with it; nothing is left of it then.
    pub(crate) async fn do_import(
        &self,
        by: Actor,
        request: ImportRequest,
        chunks: Chunks,
    ) -> Result<ImportAnswer, Failure> {
        self.admit()?;
        if let Some(name) = &request.template_name {
            check_template_name(name)?;
        }
        // Until its row names them nothing else says that its layers are needed.
        let _storage = self.inner.builds.storage.read().await;
        let kept = self.keep(chunks).await?;
        let open = || kept.open();
        let builder = &self.inner.builder;
        let step = builder.layers(LayerWork::Manifest, Some(open()?.as_fd()), TIMEOUT).await?;
        let bytes = said(step, MANIFEST_BYTES_MAX + 1).await.map_err(|error| refused(error.message))?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|e| refused(format!("its manifest cannot be read: {e}")))?;
        judge(&manifest)?;
        let name = request.template_name.unwrap_or_else(|| manifest.name.clone());

        let _turn = self.inner.exports.turn().await;
        let version = self.free_version(&name, request.new_version).await?;
        let detail = serde_json::json!({"template": name, "version": version, "layers": manifest.layers});
        drop(self.inner.store.append(Self::entry(by, "template.import").detail(detail)).await?);
        let mut layers = Vec::new();
        for (number, layer) in manifest.layers.iter().enumerate() {
            let is_home = number + 1 == manifest.layers.len();
            let tree = match self.inner.machine.look_at(layer.clone()).await? {
                None => Some(format!("i-{}-{number}", hex::encode(rand::random::<[u8; 8]>()))),
                Some(found) if found == *layer => None,
                Some(_) => {
                    return Err(ApiError::internal(format!("layer {layer} is here, and is not what it was")).into());
                }
            };
            layers.push((layer.clone(), is_home, tree));
        }
        let imported = self.unpack(&layers, open()?).await;
        if let Err(error) = imported {
            for tree in layers.into_iter().filter_map(|(_, _, tree)| tree) {
                let _ = builder.drop_tree(tree).await;
            }
            return Err(error);
        }
        let Manifest { recipe: mut record, export, packages, size_bytes, layers, .. } = manifest;
        record.recipe.name.clone_from(&name);
        record.recipe.shelf.after_first_use = true;
        let row = TemplateRow {
            name: name.clone(),
            version,
            layers,
            recipe: recipe_json(record, &export),
            packages: serde_json::to_value(packages).unwrap_or_default(),
            size_bytes,
            created_at_ms: now_ms(),
            status: TemplateStatus::Ready,
            build_log: None,
            error: None,
        };
        self.publish(row).await?;
        let template = self.view_of(&name).await?.ok_or_else(|| unknown(&name))?;
        Ok(ImportAnswer { success: true, template })
    }

    /// Bytes that arrive as a file of this process's own.
    pub(crate) async fn keep(&self, mut chunks: Chunks) -> Result<Kept, Failure> {
        let kept = Kept(self.inner.home.join("engine/archives").join(hex::encode(rand::random::<[u8; 8]>())));
        let mut file = tokio::fs::File::create_new(&kept.0).await.map_err(not_kept)?;
        let mut size = 0_u64;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > ARCHIVE_BYTES_MAX {
                let text = format!("an archive may have {} GiB", ARCHIVE_BYTES_MAX >> 30);
                return Err(ApiError::new(Code::TooLarge, text).into());
            }
            file.write_all(&chunk).await.map_err(not_kept)?;
        }
        file.flush().await.map_err(not_kept)?;
        Ok(kept)
    }

    async fn unpack(&self, layers: &[(LayerDigest, bool, Option<String>)], archive: OwnedFd) -> Result<(), Failure> {
        let builder = &self.inner.builder;
        let work = LayerWork::Unpack { layers: layers.to_vec(), bytes_max: FILES_BYTES_MAX };
        let step = builder.layers(work, Some(archive.as_fd()), TIMEOUT).await?;
        const WHY_BYTES_MAX: u64 = 4096;
        said(step, WHY_BYTES_MAX).await.map_err(|error| refused(error.message))?;
        for (layer, is_home, tree) in layers {
            let Some(tree) = tree else { continue };
            let (found, ..) = builder.seal_as(tree.clone(), *is_home).await?;
            if found != *layer {
                // It was checked as it came; this is a second look, by another process.
                self.drop_layers(vec![found.clone()]).await;
                return Err(refused(format!("layer {layer} is {found} on this disk")));
            }
        }
        Ok(())
    }
}

/// Whether a manifest is one that could have been written here. It is somebody else's word.
fn judge(manifest: &Manifest) -> Result<(), Failure> {
    if manifest.format != FORMAT {
        return Err(refused(format!("it is of format {}; this ringfence reads {FORMAT}", manifest.format)));
    }
    check_template_name(&manifest.name)?;
    let mut recipe = manifest.recipe.recipe.clone();
    // Templates that were exported may have longer names than those that are shipped.
    recipe.name = "imported".into();
    recipe.judge().map_err(refused)?;
    if manifest.recipe.image.as_ref().is_some_and(|image| !image.is_plain()) {
        return Err(refused("what it says of an image is none"));
    }
    let plain = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
    let export = &manifest.export;
    let is_plain = plain(&recipe.description, 2000)
        && plain(&export.base_template, 64)
        && export.tags.len() <= 20
        && export.tags.iter().all(|tag| plain(tag, 256))
        && export.env_vars_required.len() <= 1024
        && export.env_vars_required.iter().all(|name| plain(name, 256))
        && export.start_command.as_ref().is_none_or(|script| script.len() <= 64 << 10 && !script.contains('\0'))
        && manifest.packages.len() <= 4096
        && manifest.packages.iter().all(|package| plain(&package.name, 200) && plain(&package.version, 200));
    if !is_plain {
        return Err(refused("its manifest holds what manifests do not hold"));
    }
    let distinct: std::collections::HashSet<_> = manifest.layers.iter().collect();
    if !(2..=LAYERS_MAX).contains(&manifest.layers.len()) || distinct.len() != manifest.layers.len() {
        return Err(refused(format!("it names {} layers, or one twice", manifest.layers.len())));
    }
    Ok(())
}

/// A file that is removed with the value that stands for it.
pub(crate) struct Kept(PathBuf);

impl Kept {
    /// The file, to be read.
    pub(crate) fn open(&self) -> Result<OwnedFd, ApiError> {
        std::fs::File::open(&self.0).map(OwnedFd::from).map_err(not_kept)
    }
}

fn not_kept(source: std::io::Error) -> ApiError {
    tracing::warn!(error = %source, "an archive could not be kept");
    ApiError::new(Code::InsufficientResources, "the archive could not be kept: is the disk full?")
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Bytes as a file without a name.
fn handed_over(bytes: &[u8]) -> Result<OwnedFd, ApiError> {
    let made = || -> std::io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("ringfence-manifest", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file.into())
    };
    made().map_err(|_| ApiError::internal("the manifest could not be handed over"))
}

/// What an earlier run had begun to read is gone.
pub(crate) fn clear(archives: &std::path::Path) {
    for entry in std::fs::read_dir(archives).into_iter().flatten().flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
}
