//! The image with which a recipe begins: an archive as it is, or a directory with an image layout of OCI as an archive. Nothing is
//! read here but names and sizes; what is in an image is for a jailed process.

use std::{fs::File, os::fd::OwnedFd};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use ringfence_engine::api::Chunks;
use ringfence_jail::layer::entry::{self, END, Entry, Kind};
use ringfence_model::ApiError;
use rustix::fs::{Dir, FileType, fstat};
use tokio::io::AsyncReadExt;

/// Blobs of a layout: layers, manifests, configurations.
const BLOBS_MAX: usize = 4000;

/// Read and sent at once.
const BLOCK: usize = 256 << 10;

/// An image that can be sent.
pub(crate) struct Image {
    /// Which one is meant, where there are several.
    pub(crate) tag: Option<String>,
    parts: Vec<Part>,
}

enum Part {
    Bytes(Vec<u8>),
    /// So many bytes of a file.
    File(OwnedFd, u64),
}

impl Image {
    /// What lies at a path below the recipe's directory.
    ///
    /// # Errors
    /// It is missing, or neither a file nor a layout.
    pub(super) fn open(root: &OwnedFd, path: &str, tag: Option<String>) -> anyhow::Result<Self> {
        let opened = super::open(root, path)?;
        let stat = fstat(&opened)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                Ok(Self { tag, parts: vec![Part::File(opened, size)] })
            }
            FileType::Directory => Ok(Self { tag, parts: layout(&opened)? }),
            _ => bail!("it is neither a file nor a directory"),
        }
    }

    /// All of it, piece by piece.
    pub(crate) fn chunks(self) -> Chunks {
        let read = |_| ApiError::internal("the image could not be read");
        let parts = stream::iter(self.parts).map(move |part| match part {
            Part::Bytes(bytes) => stream::iter([Ok(bytes.into())]).boxed(),
            Part::File(file, size) => {
                let file = tokio::fs::File::from_std(File::from(file)).take(size);
                stream::try_unfold((file, size), move |(mut file, left)| async move {
                    if left == 0 {
                        return Ok(None);
                    }
                    let mut buffer = vec![0; BLOCK];
                    let count = file.read(&mut buffer).await.map_err(read)?;
                    if count == 0 {
                        return Err(ApiError::internal("the image became shorter while it was sent"));
                    }
                    buffer.truncate(count);
                    Ok(Some((buffer.into(), (file, left - count as u64))))
                })
                .boxed()
            }
        });
        parts.map(Ok::<_, ApiError>).try_flatten().boxed()
    }
}

/// What a layout consists of (`image-layout.md` of the OCI image specification), as a tar.
fn layout(dir: &OwnedFd) -> anyhow::Result<Vec<Part>> {
    let blobs = super::open(dir, "blobs/sha256").context("blobs/sha256: is it an image layout of OCI?")?;
    let mut names = vec!["index.json".to_owned(), "oci-layout".to_owned()];
    for entry in Dir::read_from(&blobs)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            names.push(format!("blobs/sha256/{name}"));
        }
        if names.len() > BLOBS_MAX {
            bail!("it has more than {BLOBS_MAX} blobs");
        }
    }
    names.sort();
    let mut parts = Vec::new();
    for name in names {
        let file = super::open(dir, &name).with_context(|| name.clone())?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            bail!("{name} is no file");
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let entry =
            Entry { path: name.clone().into_bytes(), kind: Kind::File(size), mode: 0o644, ids: (0, 0), time: 0 };
        parts.push(Part::Bytes(entry::encode(&entry).with_context(|| name.clone())?));
        parts.push(Part::File(file, size));
        parts.push(Part::Bytes(vec![0; entry::padding(size)]));
    }
    parts.push(Part::Bytes(END.to_vec()));
    Ok(parts)
}
