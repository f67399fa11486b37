//! What the host and guest init say to each other over the frame socket: files in and out of a sandbox.
//!
//! One request at a time. Its answer is any number of [`Frame::Data`] or [`Frame::Entry`], then exactly one
//! [`Frame::End`] or [`Frame::Error`]. After [`Frame::Write`] the host sends its content as [`Frame::Data`], all of it,
//! whatever becomes of it. Every frame bears the tag of its request, so that an answer that is late is known as such.
//!
//! ```text
//! u8 version=1 | u8 kind | u16 tag | u32 bytes of the payload | payload          (little-endian)
//! ```
//!
//! The host treats what comes out of a sandbox as hostile: lengths are bounded before anything is allocated, and every
//! payload has one meaning or is refused.

use std::fmt;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;

/// Largest payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Largest content of one file, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Most entries of one listing.
pub const ENTRIES_MAX: u32 = 10_000;

/// Longest path, in bytes (PATH_MAX without its NUL).
pub const PATH_BYTES_MAX: usize = 4095;

const VERSION: u8 = 1;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Make a file of `size` bytes, which follow. Missing parents are made; what is there is replaced at once or not.
    Write {
        /// Permission bits.
        mode: u32,
        /// Bytes of the content.
        size: u64,
        /// Absolute.
        path: Vec<u8>,
    },
    /// Read a regular file of up to `max` bytes.
    Read {
        /// A larger file is an error.
        max: u64,
        /// Absolute.
        path: Vec<u8>,
    },
    /// Describe what is at a path, following symbolic links. Answered with one [`Frame::Entry`] without a name.
    Stat {
        /// Absolute.
        path: Vec<u8>,
    },
    /// List a directory.
    List {
        /// Entries after which to stop.
        max: u32,
        /// Absolute.
        path: Vec<u8>,
    },
    /// Remove a file, or a directory with everything in it.
    Remove {
        /// Absolute.
        path: Vec<u8>,
    },
    /// Content.
    Data(Vec<u8>),
    /// One file of a listing.
    Entry(Entry),
    /// The request was carried out.
    End {
        /// A listing holds everything that is there.
        complete: bool,
    },
    /// It was not.
    Error {
        /// errno(3).
        errno: u32,
        /// In plain words.
        text: String,
    },
}

/// A file as a listing shows it; symbolic links are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// In bytes, as the sandbox's file system says.
    pub size: u64,
    /// Modified, in milliseconds since the epoch.
    pub modified_ms: i64,
    /// Without directory; any bytes but `/` and NUL. Empty for [`Frame::Stat`].
    pub name: Vec<u8>,
}

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, FIFO or device.
    Other,
}

/// The first bytes of a frame, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    kind: u8,
    /// Which request it belongs to.
    pub tag: u16,
    /// Bytes that follow; at most [`PAYLOAD_BYTES_MAX`].
    pub len: usize,
}

/// The bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFrame(pub &'static str);

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadFrame {}

mod kind {
    pub(super) const WRITE: u8 = 1;
    pub(super) const READ: u8 = 2;
    pub(super) const STAT: u8 = 3;
    pub(super) const LIST: u8 = 4;
    pub(super) const REMOVE: u8 = 5;
    pub(super) const DATA: u8 = 16;
    pub(super) const ENTRY: u8 = 17;
    pub(super) const END: u8 = 18;
    pub(super) const ERROR: u8 = 19;
}

impl Header {
    /// Checks the first bytes of a frame.
    ///
    /// # Errors
    /// Another version, or a length above the bound.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, BadFrame> {
        let [version, kind, tag @ .., l0, l1, l2, l3] = bytes;
        if version != VERSION {
            return Err(BadFrame("a frame of another version"));
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > PAYLOAD_BYTES_MAX {
            return Err(BadFrame("a frame that is too long"));
        }
        Ok(Self { kind, tag: u16::from_le_bytes(tag), len })
    }
}

impl Frame {
    /// The frame as bytes.
    ///
    /// # Panics
    /// When its payload is larger than [`PAYLOAD_BYTES_MAX`]: contents are cut by whoever sends them, paths are checked
    /// with [`check_path`], and names and texts are shorter.
    #[must_use]
    pub fn encode(&self, tag: u16) -> Vec<u8> {
        let mut bytes = vec![VERSION, 0];
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let kind = match self {
            Self::Write { mode, size, path } => {
                bytes.extend_from_slice(&mode.to_le_bytes());
                bytes.extend_from_slice(&size.to_le_bytes());
                bytes.extend_from_slice(path);
                kind::WRITE
            }
            Self::Read { max, path } => {
                bytes.extend_from_slice(&max.to_le_bytes());
                bytes.extend_from_slice(path);
                kind::READ
            }
            Self::Stat { path } => {
                bytes.extend_from_slice(path);
                kind::STAT
            }
            Self::List { max, path } => {
                bytes.extend_from_slice(&max.to_le_bytes());
                bytes.extend_from_slice(path);
                kind::LIST
            }
            Self::Remove { path } => {
                bytes.extend_from_slice(path);
                kind::REMOVE
            }
            Self::Data(data) => {
                bytes.extend_from_slice(data);
                kind::DATA
            }
            Self::Entry(entry) => {
                bytes.push(entry.kind.number());
                bytes.extend_from_slice(&entry.mode.to_le_bytes());
                bytes.extend_from_slice(&entry.size.to_le_bytes());
                bytes.extend_from_slice(&entry.modified_ms.to_le_bytes());
                bytes.extend_from_slice(&entry.name);
                kind::ENTRY
            }
            Self::End { complete } => {
                bytes.push(u8::from(*complete));
                kind::END
            }
            Self::Error { errno, text } => {
                bytes.extend_from_slice(&errno.to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
                kind::ERROR
            }
        };
        let len = bytes.len() - HEADER_BYTES;
        assert!(len <= PAYLOAD_BYTES_MAX, "payloads are bounded where they are made");
        bytes[1] = kind;
        bytes[4..HEADER_BYTES].copy_from_slice(&u32::try_from(len).expect("checked above").to_le_bytes());
        bytes
    }

    /// Reads the payload that came after `header`.
    ///
    /// # Errors
    /// It has no meaning.
    pub fn decode(header: Header, payload: &[u8]) -> Result<Self, BadFrame> {
        if payload.len() != header.len {
            return Err(BadFrame("a frame that is cut off"));
        }
        let mut rest = Rest(payload);
        let frame = match header.kind {
            kind::WRITE => Self::Write { mode: rest.u32()?, size: rest.u64()?, path: rest.path()? },
            kind::READ => Self::Read { max: rest.u64()?, path: rest.path()? },
            kind::STAT => Self::Stat { path: rest.path()? },
            kind::LIST => Self::List { max: rest.u32()?, path: rest.path()? },
            kind::REMOVE => Self::Remove { path: rest.path()? },
            kind::DATA => Self::Data(rest.all()),
            kind::ENTRY => Self::Entry(Entry {
                kind: EntryKind::of_number(rest.u8()?)?,
                mode: rest.u32()?,
                size: rest.u64()?,
                modified_ms: rest.u64()?.cast_signed(),
                name: rest.name()?,
            }),
            kind::END => Self::End { complete: rest.flag()? },
            kind::ERROR => Self::Error { errno: rest.u32()?, text: String::from_utf8_lossy(&rest.all()).into_owned() },
            _ => return Err(BadFrame("a frame of an unknown kind")),
        };
        if rest.0.is_empty() { Ok(frame) } else { Err(BadFrame("a frame with too much in it")) }
    }
}

impl EntryKind {
    fn number(self) -> u8 {
        match self {
            Self::File => 0,
            Self::Directory => 1,
            Self::Symlink => 2,
            Self::Other => 3,
        }
    }

    fn of_number(number: u8) -> Result<Self, BadFrame> {
        [Self::File, Self::Directory, Self::Symlink, Self::Other]
            .get(usize::from(number))
            .copied()
            .ok_or(BadFrame("a file of an unknown kind"))
    }
}

/// Whether a path may be asked for: absolute, without NUL, no longer than the kernel takes.
#[must_use]
pub fn check_path(path: &[u8]) -> bool {
    path.first() == Some(&b'/') && path.len() <= PATH_BYTES_MAX && !path.contains(&0)
}

/// What of a payload is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadFrame("a frame that is too short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, BadFrame> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Result<bool, BadFrame> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadFrame("a flag that is neither 0 nor 1")),
        }
    }

    fn u32(&mut self) -> Result<u32, BadFrame> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadFrame> {
        self.take().map(u64::from_le_bytes)
    }

    fn all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn path(&mut self) -> Result<Vec<u8>, BadFrame> {
        let path = self.all();
        if check_path(&path) { Ok(path) } else { Err(BadFrame("a path that is not absolute, or too long")) }
    }

    fn name(&mut self) -> Result<Vec<u8>, BadFrame> {
        const NAME_MAX: usize = 255;
        let name = self.all();
        let bad = name.len() > NAME_MAX || name.contains(&0) || name.contains(&b'/') || name == b"." || name == b"..";
        if bad { Err(BadFrame("a name that no file can have")) } else { Ok(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64*, from a fixed seed: a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
        }

        fn below(&mut self, bound: usize) -> usize {
            usize::try_from(self.next() % bound as u64).unwrap()
        }

        fn bytes(&mut self, longest: usize) -> Vec<u8> {
            (0..self.below(longest + 1)).map(|_| self.next().to_le_bytes()[0]).collect()
        }

        fn path(&mut self) -> Vec<u8> {
            let mut path = b"/".to_vec();
            path.extend(self.bytes(300).into_iter().filter(|b| *b != 0));
            path
        }

        fn frame(&mut self) -> Frame {
            match self.below(9) {
                0 => Frame::Write { mode: self.next() as u32, size: self.next(), path: self.path() },
                1 => Frame::Read { max: self.next(), path: self.path() },
                2 => Frame::Stat { path: self.path() },
                3 => Frame::List { max: self.next() as u32, path: self.path() },
                4 => Frame::Remove { path: self.path() },
                5 => Frame::Data(self.bytes(5000)),
                6 => Frame::Entry(Entry {
                    kind: EntryKind::of_number(self.below(4) as u8).unwrap(),
                    mode: self.next() as u32,
                    size: self.next(),
                    modified_ms: self.next().cast_signed(),
                    name: self.bytes(200).into_iter().filter(|b| !matches!(b, 0 | b'/' | b'.')).collect(),
                }),
                7 => Frame::End { complete: self.below(2) == 1 },
                _ => Frame::Error { errno: self.next() as u32, text: "é".repeat(self.below(100)) },
            }
        }
    }

    fn parse(bytes: &[u8]) -> Result<(u16, Frame), BadFrame> {
        let (header, payload) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(BadFrame("short"))?;
        let header = Header::parse(*header)?;
        Ok((header.tag, Frame::decode(header, payload)?))
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut random = Random(0x5EED);
        for _ in 0..5_000 {
            let (frame, tag) = (random.frame(), random.next() as u16);
            assert_eq!(parse(&frame.encode(tag)), Ok((tag, frame)));
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let mut random = Random(0x7A11);
        for _ in 0..100 {
            let bytes = random.frame().encode(1);
            for len in 0..bytes.len().min(600) {
                assert!(parse(&bytes[..len]).is_err(), "{len} of {bytes:?}");
            }
        }
    }

    #[test]
    fn random_bytes_never_panic_and_never_ask_for_much() {
        let mut random = Random(0xBAD);
        for round in 0..50_000 {
            let mut bytes = random.bytes(64);
            // Half of them with a right header, so that the payload is reached.
            if round % 2 == 0 && bytes.len() >= HEADER_BYTES {
                let len = u32::try_from(bytes.len() - HEADER_BYTES).unwrap();
                bytes[0] = VERSION;
                bytes[1] %= 20;
                bytes[4..8].copy_from_slice(&len.to_le_bytes());
            }
            if let Some(header) = bytes.first_chunk::<HEADER_BYTES>()
                && let Ok(header) = Header::parse(*header)
            {
                assert!(header.len <= PAYLOAD_BYTES_MAX);
            }
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["..", ".", "a/b", "a\0b", &"x".repeat(256)] {
            let entry = Entry { kind: EntryKind::File, mode: 0, size: 0, modified_ms: 0, name: name.into() };
            assert!(parse(&Frame::Entry(entry).encode(1)).is_err(), "{name:?}");
        }
        for path in ["", "relative", "/a\0b", &format!("/{}", "x".repeat(5000))] {
            assert!(parse(&Frame::Stat { path: path.into() }.encode(1)).is_err(), "{path:?}");
        }
    }
}
