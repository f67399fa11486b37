//! The bytes of one layer: what is compressed and what is not are both hashed while they are read, and no more comes out than went in
//! may hold.

use std::{
    cell::RefCell,
    io::{self, Read},
    rc::Rc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    outer::{Bytes, Outer, Span},
    tar::Source,
};
use crate::layer::entry::BadEntry;

/// How far zstd looks back. Memory of the one who reads.
const WINDOW_LOG_MAX: u32 = 27;

/// So many times as many bytes may come out as went in, beyond [`RATIO_FREE`]: layers with much that is empty reach half of it.
const RATIO_MAX: u64 = 100;

/// Before the ratio counts.
const RATIO_FREE: u64 = 64 << 20;

/// A layer of an image, in its archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// The file in the archive.
    pub name: String,
    /// SHA-256 of it as it lies there, 64 hexadecimal digits; `None` where nothing says it (`docker save` of old versions).
    pub digest: Option<String>,
    /// Its bytes there.
    pub size: u64,
    /// SHA-256 of the tar that is in it.
    pub diff_id: String,
}

/// What is read of a file: counted and hashed.
struct Taken<'a, B> {
    from: Span<'a, B>,
    hash: Sha256,
    count: u64,
}

struct Shared<'a, B>(Rc<RefCell<Taken<'a, B>>>);

impl<B: Bytes> Read for Shared<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut taken = self.0.borrow_mut();
        let count = taken.from.read(buffer)?;
        taken.hash.update(&buffer[..count]);
        taken.count += count as u64;
        Ok(count)
    }
}

/// The tar in a layer.
pub struct Layer<'a, B> {
    decoder: Box<dyn Read + 'a>,
    taken: Rc<RefCell<Taken<'a, B>>>,
    hash: Sha256,
    given: u64,
    blob: &'a Blob,
}

impl<B> std::fmt::Debug for Layer<'_, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer").field("blob", self.blob).finish_non_exhaustive()
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, BadEntry> {
    Err(BadEntry::Refused(why.into()))
}

impl<'a, B: Bytes> Layer<'a, B> {
    /// A layer of an archive. How it is compressed its first bytes say.
    ///
    /// # Errors
    /// It is not there, or has another size.
    pub fn open(archive: &'a Outer<B>, blob: &'a Blob) -> Result<Self, BadEntry> {
        let Some((mut begin, length)) = archive.file(&blob.name) else {
            return refused(format!("the layer {} is missing", blob.name));
        };
        if length != blob.size {
            return refused(format!("the layer {} has {length} bytes, and not {}", blob.name, blob.size));
        }
        let mut magic = Vec::new();
        begin.by_ref().take(4).read_to_end(&mut magic)?;
        let Some((from, _)) = archive.file(&blob.name) else { return refused("the layer is missing") };
        let taken = Rc::new(RefCell::new(Taken { from, hash: Sha256::new(), count: 0 }));
        let shared = Shared(Rc::clone(&taken));
        let decoder: Box<dyn Read + 'a> = match &magic[..] {
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(shared)),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let mut zstd = zstd::stream::Decoder::new(shared)?;
                zstd.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(zstd)
            }
            _ => Box::new(io::BufReader::with_capacity(64 << 10, shared)),
        };
        Ok(Self { decoder, taken, hash: Sha256::new(), given: 0, blob })
    }

    /// Reads what is left, and compares both digests. Until then nothing that was read is to be believed.
    ///
    /// # Errors
    /// It is not the layer that the manifest names.
    pub fn finish(mut self) -> Result<(), BadEntry> {
        io::copy(&mut self, &mut io::sink())?;
        // What lies behind the compressed data belongs to the file.
        io::copy(&mut Shared(Rc::clone(&self.taken)), &mut io::sink())?;
        let taken = self.taken.borrow();
        let stored = hex(&taken.hash.clone().finalize());
        if taken.count != self.blob.size {
            return refused(format!("the layer {} is cut off", self.blob.name));
        }
        if let Some(wanted) = &self.blob.digest
            && *wanted != stored
        {
            return refused(format!("the layer {wanted} was changed: its digest is {stored}"));
        }
        let content = hex(&self.hash.finalize());
        if content != self.blob.diff_id {
            let wanted = &self.blob.diff_id;
            return refused(format!("what is in the layer {} is {content}, and not {wanted}", self.blob.name));
        }
        Ok(())
    }
}

impl<B: Bytes> Read for Layer<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.given += count as u64;
        if self.given > RATIO_FREE + self.taken.borrow().count.saturating_mul(RATIO_MAX) {
            return Err(io::Error::other(format!("a layer grows to more than {RATIO_MAX} times its size")));
        }
        Ok(count)
    }
}

impl<B: Bytes> Source for Layer<'_, B> {}

/// 64 hexadecimal digits of a SHA-256.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it is a SHA-256 in hexadecimal.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
