//! Tar as other programs write it: POSIX's *ustar* and *pax* (IEEE 1003.1, `pax`), GNU's long names and numbers, and what came before
//! them. Pure.
//!
//! Whatever two programs would read in two ways is refused rather than guessed: sparse files, sizes for all entries at once,
//! unknown types, something behind the end.

use std::io::{self, Read};

use crate::layer::entry::{BLOCK, BadEntry, shown};

/// Bytes of a path or of a link's target.
pub const PATH_BYTES_MAX: usize = 4096;

/// Bytes of the records of one pax header. Attributes are in there, which nobody reads.
const PAX_BYTES_MAX: u64 = 1 << 20;

/// Headers that may stand before an entry.
const BEFORE_MAX: usize = 16;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file; its content follows.
    File,
    /// Another name of a file that came before.
    HardLink(Vec<u8>),
    /// A symbolic link to this.
    Link(Vec<u8>),
    /// A directory.
    Directory,
    /// A device.
    Device,
    /// A named pipe.
    Fifo,
}

/// An entry as it is written; nothing of it is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// As it is written: see [`clean`].
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes of content; 0 for all but files.
    pub size: u64,
    /// As it is written.
    pub mode: u64,
    /// User and group.
    pub ids: (u64, u64),
    /// In seconds since 1970; what is older is 0.
    pub time: u64,
}

/// Bytes that can be left out.
pub trait Source: Read {
    /// Passes over so many bytes.
    ///
    /// # Errors
    /// There are fewer, or they cannot be read.
    fn skip(&mut self, bytes: u64) -> io::Result<()>
    where
        Self: Sized,
    {
        let passed = io::copy(&mut self.by_ref().take(bytes), &mut io::sink())?;
        if passed == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Source for &[u8] {}

impl<S: Source> Source for &mut S {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        (**self).skip(bytes)
    }
}

/// Reads entries, and the content of each.
#[derive(Debug)]
pub struct Tar<S> {
    from: S,
    /// Content of the entry that is not read yet, and what fills its last block.
    left: u64,
    padding: u64,
    position: u64,
    is_at_end: bool,
}

impl<S: Source> Tar<S> {
    /// A tar that begins here.
    #[must_use]
    pub fn new(from: S) -> Self {
        Self { from, left: 0, padding: 0, position: 0, is_at_end: false }
    }

    /// Bytes before the content that would be read next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; `None` at the end, behind which there is nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn entry(&mut self) -> Result<Option<Header>, BadEntry> {
        if self.is_at_end {
            return Ok(None);
        }
        let rest = self.left + self.padding;
        self.from.skip(rest)?;
        (self.position, self.left, self.padding) = (self.position + rest, 0, 0);
        let mut before = Before::default();
        for _ in 0..BEFORE_MAX {
            let Some(block) = self.block()? else {
                // Some programs write no end.
                self.is_at_end = true;
                return if before.is_empty() { Ok(None) } else { refused("it ends behind a header") };
            };
            if block.iter().all(|byte| *byte == 0) {
                self.end()?;
                return if before.is_empty() { Ok(None) } else { refused("it ends behind a header") };
            }
            check_sum(&block)?;
            let size = number(&block[SIZE])?;
            match block[TYPE_AT] {
                b'L' => before.long(true, self.text(size, PATH_BYTES_MAX as u64 + 1)?)?,
                b'K' => before.long(false, self.text(size, PATH_BYTES_MAX as u64 + 1)?)?,
                b'x' => before.pax(&self.text(size, PAX_BYTES_MAX)?)?,
                b'g' => check_global(&self.text(size, PAX_BYTES_MAX)?)?,
                kind => return self.header(&block, kind, size, before).map(Some),
            }
        }
        refused("too many headers stand before an entry")
    }

    fn header(&mut self, block: &[u8; BLOCK], kind: u8, size: u64, before: Before) -> Result<Header, BadEntry> {
        let path = before.path.unwrap_or_else(|| path_of(block));
        let target = before.target.unwrap_or_else(|| text(&block[TARGET]).to_vec());
        if path.len() > PATH_BYTES_MAX || target.len() > PATH_BYTES_MAX {
            return refused(format!("a path or a link has more than {PATH_BYTES_MAX} bytes"));
        }
        let kind = match kind {
            // Before POSIX there was no type for directories.
            0 | b'0' | b'7' if path.last() == Some(&b'/') => Kind::Directory,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink(target),
            b'2' => Kind::Link(target),
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return refused(format!("{} is a sparse file", shown(&path))),
            _ => return refused(format!("{} is of a type that images do not have", shown(&path))),
        };
        let size = before.size.unwrap_or(size);
        // Only files have content; others may say a size and have none.
        let size = if kind == Kind::File { size } else { 0 };
        self.left = size;
        self.padding = size.checked_next_multiple_of(BLOCK as u64).map_or(0, |whole| whole - size);
        if size > i64::MAX as u64 {
            return refused("a file is too large");
        }
        Ok(Header {
            kind,
            size,
            mode: number(&block[MODE])?,
            ids: (
                before.uid.map_or_else(|| number(&block[UID]), Ok)?,
                before.gid.map_or_else(|| number(&block[GID]), Ok)?,
            ),
            time: before.time.map_or_else(|| number(&block[TIME]), Ok)?,
            path,
        })
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, BadEntry> {
        let (mut block, mut have) = ([0; BLOCK], 0);
        while have < BLOCK {
            match self.from.read(&mut block[have..])? {
                0 if have == 0 => return Ok(None),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => have += count,
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(block))
    }

    fn text(&mut self, size: u64, most: u64) -> Result<Vec<u8>, BadEntry> {
        if size > most {
            return refused("a header is too long");
        }
        let mut bytes = vec![0; usize::try_from(size).expect("at most a MiB")];
        self.from.read_exact(&mut bytes)?;
        let whole = size.next_multiple_of(BLOCK as u64);
        self.from.skip(whole - size)?;
        self.position += whole;
        Ok(bytes)
    }

    /// Behind the end there are empty blocks only.
    fn end(&mut self) -> Result<(), BadEntry> {
        self.is_at_end = true;
        let mut buffer = [0; 16 * BLOCK];
        loop {
            match self.from.read(&mut buffer)? {
                0 => return Ok(()),
                count if buffer[..count].iter().all(|byte| *byte == 0) => {}
                _ => return refused("something follows its end"),
            }
        }
    }
}

/// The content of the entry that was read last.
impl<S: Read> Read for Tar<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

/// What stands before an entry, and is said of it.
#[derive(Default)]
struct Before {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    time: Option<u64>,
    has_pax: bool,
}

impl Before {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.target.is_none() && !self.has_pax
    }

    fn long(&mut self, is_path: bool, mut name: Vec<u8>) -> Result<(), BadEntry> {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        let slot = if is_path { &mut self.path } else { &mut self.target };
        if slot.replace(name).is_some() {
            return refused("a long name is said twice");
        }
        Ok(())
    }

    fn pax(&mut self, bytes: &[u8]) -> Result<(), BadEntry> {
        if std::mem::replace(&mut self.has_pax, true) {
            return refused("two pax headers stand before one entry");
        }
        for record in Records(bytes) {
            let (key, value) = record?;
            let decimal = || -> Result<u64, BadEntry> {
                let text = std::str::from_utf8(value).unwrap_or_default();
                text.parse().or_else(|_| refused("a pax header holds a number that is none"))
            };
            match key {
                b"path" => self.path = Some(plain(value)?),
                b"linkpath" => self.target = Some(plain(value)?),
                b"size" => self.size = Some(decimal()?),
                b"uid" => self.uid = Some(decimal()?),
                b"gid" => self.gid = Some(decimal()?),
                b"mtime" => {
                    let text = std::str::from_utf8(value).unwrap_or_default();
                    let whole = text.split('.').next().unwrap_or_default();
                    self.time = Some(whole.parse().unwrap_or(0));
                }
                _ if key.starts_with(b"GNU.sparse.") => return refused("it holds a sparse file"),
                // Attributes, character sets, times that no layer keeps.
                _ => {}
            }
        }
        Ok(())
    }
}

fn plain(value: &[u8]) -> Result<Vec<u8>, BadEntry> {
    if value.is_empty() || value.contains(&0) {
        return refused("a pax header holds a path that is none");
    }
    Ok(value.to_vec())
}

/// What is said of all entries that follow: comments may be, what an entry is may not.
fn check_global(bytes: &[u8]) -> Result<(), BadEntry> {
    for record in Records(bytes) {
        let (key, _) = record?;
        if matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid") || key.starts_with(b"GNU.sparse.") {
            return refused("a header says something of all entries at once");
        }
    }
    Ok(())
}

/// `LENGTH KEY=VALUE\n`, the length that of the whole record in decimal digits.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), BadEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = (|| {
            let space = self.0.iter().take(8).position(|byte| *byte == b' ')?;
            let digits = &self.0[..space];
            let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
            let (record, rest) = self.0.split_at_checked(length)?;
            let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            self.0 = rest;
            Some((&record[..equals], &record[equals + 1..]))
        })();
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or_else(|| BadEntry::Refused("a pax header is not written as such".into())))
    }
}

/// The parts of a path below the root that an image means: `./a//b/` is `a/b`, and the root itself is nothing.
///
/// # Errors
/// It leads elsewhere (`..`), or is longer or deeper than is taken.
pub fn clean(path: &[u8], depth_max: usize) -> Result<Vec<Vec<u8>>, BadEntry> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return refused(format!("it holds a path that leads elsewhere: {}", shown(path))),
            part if part.len() > 255 || part.contains(&0) => {
                return refused(format!("it holds a name that is none: {}", shown(path)));
            }
            part => parts.push(part.to_vec()),
        }
    }
    if parts.len() > depth_max {
        return refused(format!("it lies deeper than {depth_max} directories: {}", shown(path)));
    }
    Ok(parts)
}

fn refused<T>(why: impl Into<String>) -> Result<T, BadEntry> {
    Err(BadEntry::Refused(why.into()))
}

type Span = std::ops::Range<usize>;
const NAME: Span = 0..100;
const MODE: Span = 100..108;
const UID: Span = 108..116;
const GID: Span = 116..124;
const SIZE: Span = 124..136;
const TIME: Span = 136..148;
const SUM: Span = 148..156;
const TYPE_AT: usize = 156;
const TARGET: Span = 157..257;
const MAGIC: Span = 257..263;
const PREFIX: Span = 345..500;

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn path_of(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[NAME]);
    // GNU's format has other fields where POSIX's has a prefix; its magic ends in a space.
    match text(&block[PREFIX]) {
        prefix if &block[MAGIC] == b"ustar\0" && !prefix.is_empty() => [prefix, b"/", name].concat(),
        _ => name.to_vec(),
    }
}

/// The sum of all bytes, its own counted as spaces. Some programs have added signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), BadEntry> {
    let said = number(&block[SUM])?;
    let bytes = block.iter().enumerate().map(|(at, byte)| if SUM.contains(&at) { b' ' } else { *byte });
    let unsigned: u64 = bytes.clone().map(u64::from).sum();
    let signed: i64 = bytes.map(|byte| i64::from(byte.cast_signed())).sum();
    if said == unsigned || i64::try_from(said).is_ok_and(|said| said == signed) {
        return Ok(());
    }
    refused("it is no tar: the sum of a header is wrong")
}

/// Octal digits between spaces and NULs, or GNU's: a first byte of 0x80 and the number in the others. What is negative is a time
/// before 1970, and 0.
fn number(field: &[u8]) -> Result<u64, BadEntry> {
    if field[0] & 0x80 != 0 {
        if field[0] & 0x40 != 0 {
            return Ok(0);
        }
        let (high, low) = field.split_at(field.len() - 8);
        let mut bytes: [u8; 8] = low.try_into().expect("eight bytes");
        match high {
            // The mark stands in the number's own first byte.
            [] => bytes[0] &= 0x3f,
            [mark, rest @ ..] if mark & 0x3f == 0 && rest.iter().all(|byte| *byte == 0) => {}
            _ => return refused("a number is too large"),
        }
        return Ok(u64::from_be_bytes(bytes));
    }
    let digits = field.iter().copied().skip_while(|byte| *byte == b' ').take_while(|byte| !matches!(byte, b' ' | 0));
    let mut number = 0_u64;
    for digit in digits {
        match digit {
            // At most twelve digits.
            b'0'..=b'7' => number = number << 3 | u64::from(digit - b'0'),
            _ => return refused("it is no tar: a number is none"),
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests;
