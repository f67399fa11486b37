//! The archive around an image: which files are in it, and where. Their content is read from there, and nothing is unpacked.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use super::tar::{Kind, Source, Tar, clean};
use crate::layer::entry::{BadEntry, shown};

/// Files of an archive: each layer and each manifest is one.
const FILES_MAX: usize = 4096;

/// Directories below one another in it.
const DEPTH_MAX: usize = 8;

/// Bytes that can be read from anywhere.
pub trait Bytes {
    /// Reads what lies there; nothing at the end.
    ///
    /// # Errors
    /// It cannot be read.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// How many there are.
    ///
    /// # Errors
    /// It cannot be said.
    fn length(&self) -> io::Result<u64>;
}

impl Bytes for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Bytes for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// A stretch of bytes, read from its beginning.
#[derive(Debug)]
pub struct Span<'a, B> {
    bytes: &'a B,
    at: u64,
    end: u64,
}

impl<B: Bytes> Read for Span<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.bytes.read_at(&mut buffer[..want], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<B: Bytes> Source for Span<'_, B> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self.at.checked_add(bytes) {
            Some(at) if at <= self.end => {
                self.at = at;
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// An archive.
#[derive(Debug)]
pub struct Outer<B> {
    bytes: B,
    /// Where each file begins, and how long it is.
    files: BTreeMap<String, (u64, u64)>,
    /// Where a name leads to: old versions of Docker write a layer once.
    links: BTreeMap<String, String>,
}

impl<B: Bytes> Outer<B> {
    /// Looks through an archive.
    ///
    /// # Errors
    /// It is no tar, or holds too much, or something twice.
    pub fn open(bytes: B) -> Result<Self, BadEntry> {
        let mut magic = [0; 4];
        let count = bytes.read_at(&mut magic, 0)?;
        if magic[..count].starts_with(&[0x1f, 0x8b]) || magic[..count] == [0x28, 0xb5, 0x2f, 0xfd] {
            return refused(
                "it is compressed as a whole; decompress it (gunzip, unzstd), its layers may stay as they are",
            );
        }
        let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
        let mut tar = Tar::new(Span { bytes: &bytes, at: 0, end: bytes.length()? });
        while let Some(header) = tar.entry()? {
            let name = match clean(&header.path, DEPTH_MAX)?.join(&b'/') {
                name if name.is_empty() => continue,
                name => String::from_utf8(name).or_else(|_| refused(format!("it holds {}", shown(&header.path))))?,
            };
            let is_new = match header.kind {
                Kind::Directory => continue,
                Kind::File => files.insert(name.clone(), (tar.position(), header.size)).is_none(),
                Kind::Link(target) | Kind::HardLink(target) => {
                    let target = String::from_utf8(target).unwrap_or_default();
                    links.insert(name.clone(), followed(&name, &target)).is_none()
                }
                Kind::Device | Kind::Fifo => {
                    return refused(format!("it holds what no image does: {}", shown(name.as_bytes())));
                }
            };
            if !is_new || files.contains_key(&name) == links.contains_key(&name) {
                return refused(format!("it holds {} twice", shown(name.as_bytes())));
            }
            if files.len() + links.len() > FILES_MAX {
                return refused(format!("it holds more than {FILES_MAX} files"));
            }
        }
        Ok(Self { bytes, files, links })
    }

    /// Whether there is a file of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    fn place(&self, name: &str) -> Option<(u64, u64)> {
        self.files.get(name).or_else(|| self.files.get(self.links.get(name)?)).copied()
    }

    /// A file, from its beginning, and its length; `None` when there is none of that name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<(Span<'_, B>, u64)> {
        let (at, length) = self.place(name)?;
        Some((Span { bytes: &self.bytes, at, end: at.saturating_add(length) }, length))
    }

    /// All of a small file.
    ///
    /// # Errors
    /// There is none, or it is larger than is taken.
    pub fn small(&self, name: &str, most: u64) -> Result<Vec<u8>, BadEntry> {
        let Some((mut file, length)) = self.file(name) else { return refused(format!("{name} is missing")) };
        if length > most {
            return refused(format!("{name} has more than {most} bytes"));
        }
        let mut content = vec![0; usize::try_from(length).expect("it is small")];
        file.read_exact(&mut content)?;
        Ok(content)
    }
}

/// The name that a link beside others leads to.
fn followed(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { name.split('/').collect() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn refused<T>(why: impl Into<String>) -> Result<T, BadEntry> {
    Err(BadEntry::Refused(why.into()))
}
