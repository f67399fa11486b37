//! The entries of an archive: tar, in one way only. Pure.
//!
//! An entry is a header of POSIX's *ustar*; a path or a target of more than 100 bytes stands before it in an entry of GNU's types `L`
//! and `K`. There are files, directories and symbolic links. Whatever a header says is said in one way: what is read is written
//! again and must be the same bytes, so that what other programs write in another way, or would read in another way, is refused.

use std::io::{self, Read};

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// Bytes of a path or of a link's target.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Bytes that one file may have: what eleven octal digits hold.
pub const FILE_BYTES_MAX: u64 = 0o77_777_777_777;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of so many bytes, which follow, filled up to a block.
    File(u64),
    /// A symbolic link to this.
    Link(Vec<u8>),
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative, without `.`, `..`, or a slash at the end.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Twelve bits.
    pub mode: u32,
    /// As on disk: 0 is root inside.
    pub ids: (u32, u32),
    /// In seconds since 1970; 0 for a link.
    pub time: u64,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum BadEntry {
    /// It ends in the middle, or cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It holds what archives of ours do not hold.
    #[error("{0}")]
    Refused(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, BadEntry> {
    Err(BadEntry::Refused(why.into()))
}

/// The entry as it stands in an archive, without a file's content.
///
/// # Errors
/// It cannot be written so: a text or a file is too long, or a number too large.
pub fn encode(entry: &Entry) -> Result<Vec<u8>, BadEntry> {
    let mut path = entry.path.clone();
    let (kind, size, target) = match &entry.kind {
        Kind::Directory => (b'5', 0, &[][..]),
        Kind::File(size) => (b'0', *size, &[][..]),
        Kind::Link(target) => (b'2', 0, &target[..]),
    };
    if kind == b'5' {
        path.push(b'/');
    }
    let mut bytes = Vec::with_capacity(BLOCK);
    for (marker, text) in [(b'K', target), (b'L', &path[..])] {
        if text.len() > TEXT_BYTES_MAX {
            return refused(format!("a path or a link has more than {TEXT_BYTES_MAX} bytes"));
        }
        if text.len() > NAME_BYTES {
            let header = Header { name: LONG, kind: marker, size: text.len() as u64 + 1, ..Header::default() };
            bytes.extend_from_slice(&header.block()?);
            bytes.extend_from_slice(text);
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
    }
    let header = Header {
        name: &path[..path.len().min(NAME_BYTES)],
        target: &target[..target.len().min(NAME_BYTES)],
        kind,
        size,
        mode: entry.mode,
        ids: entry.ids,
        time: entry.time,
    };
    bytes.extend_from_slice(&header.block()?);
    Ok(bytes)
}

/// Bytes that follow a file's content, up to a block.
#[must_use]
pub fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).expect("less than a block")
}

/// Two empty blocks.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Reads the next entry; `None` at the end, after which nothing may follow.
///
/// # Errors
/// What is wrong with it.
pub fn read(from: &mut impl Read) -> Result<Option<Entry>, BadEntry> {
    let mut raw = Vec::new();
    let (mut long_path, mut long_target) = (None, None);
    let block = loop {
        let block = next_block(from)?;
        raw.extend_from_slice(&block);
        let slot = match block[TYPE_AT] {
            b'L' => &mut long_path,
            b'K' => &mut long_target,
            _ => break block,
        };
        let size = octal(&block[SIZE])?;
        if slot.is_some() || !(1..=TEXT_BYTES_MAX as u64 + 1).contains(&size) {
            return refused("a long name is too long, or is said twice");
        }
        let mut text = Vec::new();
        for _ in 0..size.div_ceil(BLOCK as u64) {
            text.extend_from_slice(&next_block(from)?);
        }
        raw.extend_from_slice(&text);
        text.truncate(usize::try_from(size - 1).unwrap_or(0));
        *slot = Some(text);
    };
    if block == [0; BLOCK] {
        let mut rest = Vec::new();
        from.take(BLOCK as u64 + 1).read_to_end(&mut rest)?;
        return if raw.len() == BLOCK && rest == [0; BLOCK] { Ok(None) } else { refused("something follows its end") };
    }
    let path = long_path.unwrap_or_else(|| text(&block[NAME]));
    let target = long_target.unwrap_or_else(|| text(&block[TARGET]));
    let number = |at| octal(&block[at]).and_then(|n| u32::try_from(n).or_else(|_| refused("a number is too large")));
    let (kind, path) = match (block[TYPE_AT], path.strip_suffix(b"/")) {
        (b'5', Some(path)) => (Kind::Directory, path.to_vec()),
        (b'0', None) => (Kind::File(octal(&block[SIZE])?), path),
        (b'2', None) => (Kind::Link(target), path),
        (b'1', _) => return refused("it holds a hard link"),
        (b'3' | b'4', _) => return refused("it holds a device"),
        (b'6', _) => return refused("it holds a FIFO"),
        _ => return refused("it holds an entry of an unknown type"),
    };
    let entry =
        Entry { path, kind, mode: number(MODE)?, ids: (number(UID)?, number(GID)?), time: octal(&block[TIME])? };
    check_path(&entry.path)?;
    if let Kind::Link(target) = &entry.kind
        && (target.is_empty() || target.contains(&0))
    {
        return refused("it holds a link to nothing");
    }
    if entry.mode > 0o7777 || encode(&entry)? != raw {
        return refused("an entry is not written as ringfence writes it");
    }
    Ok(Some(entry))
}

fn check_path(path: &[u8]) -> Result<(), BadEntry> {
    if path.first() == Some(&b'/') {
        return refused("it holds an absolute path");
    }
    for part in path.split(|byte| *byte == b'/') {
        if matches!(part, b"" | b"." | b"..") || part.len() > 255 || part.contains(&0) {
            return refused(format!("it holds a path that leads elsewhere: {}", shown(path)));
        }
    }
    Ok(())
}

/// A path for people.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect::<String>().escape_debug().to_string()
}

const NAME_BYTES: usize = 100;
const LONG: &[u8] = b"././@LongLink";

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
const MAGIC: Span = 257..265;

#[derive(Default)]
struct Header<'a> {
    name: &'a [u8],
    target: &'a [u8],
    kind: u8,
    size: u64,
    mode: u32,
    ids: (u32, u32),
    time: u64,
}

impl Header<'_> {
    fn block(&self) -> Result<[u8; BLOCK], BadEntry> {
        let mut block = [0; BLOCK];
        block[..self.name.len()].copy_from_slice(self.name);
        block[TARGET.start..TARGET.start + self.target.len()].copy_from_slice(self.target);
        block[TYPE_AT] = self.kind;
        block[MAGIC].copy_from_slice(b"ustar\x0000");
        put(&mut block[MODE], u64::from(self.mode))?;
        put(&mut block[UID], u64::from(self.ids.0))?;
        put(&mut block[GID], u64::from(self.ids.1))?;
        put(&mut block[SIZE], self.size)?;
        put(&mut block[TIME], self.time)?;
        // The sum is made with spaces in its own place.
        block[SUM].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        put(&mut block[SUM.start..SUM.end - 1], sum)?;
        Ok(block)
    }
}

/// Octal digits, and a NUL behind them.
fn put(field: &mut [u8], number: u64) -> Result<(), BadEntry> {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    if text.len() > digits {
        return refused(format!("{number} is too large for an archive"));
    }
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
    Ok(())
}

fn octal(field: &[u8]) -> Result<u64, BadEntry> {
    let digits = &field[..field.len() - 1];
    if !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return refused("a number is not written as ringfence writes it");
    }
    Ok(digits.iter().fold(0, |number, digit| number << 3 | u64::from(digit - b'0')))
}

fn text(field: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

fn next_block(from: &mut impl Read) -> Result<[u8; BLOCK], BadEntry> {
    let mut block = [0; BLOCK];
    from.read_exact(&mut block)?;
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, ids: (1000, 1000), time: 1_700_000_000 }
    }

    #[track_caller]
    fn round(entry: &Entry) {
        let mut bytes = encode(entry).expect("it can be written");
        bytes.extend_from_slice(&END);
        let mut from = &bytes[..];
        assert_eq!(read(&mut from).expect("it can be read").as_ref(), Some(entry));
        assert_eq!(read(&mut from).expect("the end"), None);
    }

    #[test]
    fn what_is_written_is_read() {
        round(&entry("a", Kind::Directory));
        round(&entry("a/b", Kind::File(12)));
        round(&entry("a/b", Kind::File(FILE_BYTES_MAX)));
        round(&entry("l", Kind::Link(b"../../etc/passwd".to_vec())));
        for length in [98, 99, 100, 101, 255] {
            round(&entry(&"n".repeat(length), Kind::Directory));
            round(&entry(&"n".repeat(length), Kind::File(0)));
            round(&entry("l", Kind::Link(vec![b't'; length])));
        }
        round(&entry(&"n/".repeat(600).repeat(3)[..3599], Kind::File(1)));
        round(&Entry { path: b"new\nline \xff\xfe".to_vec(), ..entry("", Kind::File(0)) });
    }

    #[track_caller]
    fn refuse(bytes: &[u8], why: &str) {
        let error = read(&mut &bytes[..]).expect_err("refused").to_string();
        assert!(error.contains(why), "{error}");
    }

    /// A header with what `change` puts in, and a right sum.
    fn forged(entry: &Entry, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut block = encode(entry).expect("it can be written");
        change(&mut block);
        block[SUM].fill(b' ');
        let sum: u64 = block[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
        put(&mut block[SUM.start..SUM.end - 1], sum).expect("it fits");
        block.extend_from_slice(&END);
        block
    }

    #[test]
    fn what_others_write_is_refused() {
        let file = entry("a/b", Kind::File(0));
        assert!(read(&mut &forged(&file, |_| {})[..]).is_ok(), "the control");
        let path = |path: &'static str| {
            forged(&file, move |block| {
                block[NAME].fill(0);
                block[..path.len()].copy_from_slice(path.as_bytes());
            })
        };
        refuse(&path("/etc/passwd"), "absolute");
        refuse(&path("a/../../b"), "elsewhere");
        refuse(&path("a//b"), "elsewhere");
        refuse(&path("./b"), "elsewhere");
        refuse(&path(""), "elsewhere");
        for (kind, why) in [
            (b'1', "hard link"),
            (b'3', "device"),
            (b'4', "device"),
            (b'6', "FIFO"),
            (b'x', "unknown"),
            (b'S', "unknown"),
            (0, "unknown"),
        ] {
            refuse(&forged(&file, |block| block[TYPE_AT] = kind), why);
        }
        refuse(&forged(&file, |block| block[265] = b'r'), "not written as");
        refuse(&forged(&file, |block| block[345] = b'p'), "not written as");
        refuse(&forged(&file, |block| block[SIZE.start] = 0x80), "number");
        refuse(&forged(&file, |block| block[50] = b'x'), "not written as");
        refuse(&forged(&entry("a", Kind::Link(b"b".to_vec())), |block| block[SIZE.end - 2] = b'1'), "not written as");
        let mut wrong_sum = encode(&file).expect("it can be written");
        wrong_sum[0] = b'b';
        refuse(&wrong_sum, "not written as");
        refuse(&[0; BLOCK + 1], "follows");
        refuse(&[0; 3 * BLOCK], "follows");
        refuse(&encode(&file).expect("it can be written")[..100], "cannot be read");
    }
}
