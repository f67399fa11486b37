//! The host's side of the frame socket: files in and out of a sandbox, through its guest init.
//!
//! What comes back is hostile: whatever it says, an exchange costs bounded memory and ends in one of [`GuestError`]. An
//! exchange runs in a task of its own, so that a caller that goes away, or gives up, leaves no half of a frame behind;
//! the next caller waits until it is over. A sandbox that answers nonsense is hung up on, which ends its init.

use std::{sync::Arc, time::Duration};

use ringfence_guest::frames::{self, Frame, HEADER_BYTES, Header, PAYLOAD_BYTES_MAX};
use rustix::io::Errno;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

pub use ringfence_guest::frames::EntryKind;

/// How long a caller waits, its turn included. Guest init gives up on a file worker after 21 s.
const PATIENCE: Duration = Duration::from_secs(25);

/// Longest reason that is taken from a guest, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Why a file could not be moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    /// It is larger than was allowed.
    #[error("the file is too large")]
    TooLarge,
    /// No such file, or a part of its path is no directory.
    #[error("there is no such file")]
    NotFound,
    /// A directory, FIFO, socket or device.
    #[error("it is no regular file")]
    NotAFile,
    /// The sandbox's user may not.
    #[error("the sandbox's user may not touch it")]
    Denied,
    /// Anything else that the sandbox's kernel said, such as a full disk.
    #[error("{0}")]
    Io(String),
    /// Who was to do it did not come to its end in time: something in the sandbox stops what runs there.
    #[error("it took too long")]
    Stopped,
    /// The guest does not answer, answers nonsense, or is gone.
    #[error("the sandbox does not answer")]
    Broken,
}

/// A file of a listing. Names come from the sandbox: any text but `/` and NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without directory; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// Symbolic links are not followed.
    pub kind: EntryKind,
    /// In bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Modified, in milliseconds since the epoch.
    pub modified_ms: i64,
}

impl Entry {
    /// A regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == EntryKind::File
    }

    fn of(entry: frames::Entry) -> Self {
        let frames::Entry { kind, mode, size, modified_ms, name } = entry;
        Self { name: String::from_utf8_lossy(&name).into_owned(), kind, size, mode, modified_ms }
    }
}

/// Talks to one guest init.
#[derive(Debug, Clone)]
pub struct GuestClient {
    line: Arc<Mutex<Line>>,
}

#[derive(Debug)]
struct Line {
    /// `None` once it has been hung up.
    stream: Option<UnixStream>,
    tag: u16,
}

/// What an answer may hold, and how much of it.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Nothing,
    Data { bytes_max: u64 },
    Entries { max: usize },
}

/// The whole of an answer.
#[derive(Debug, Default)]
struct Answer {
    data: Vec<u8>,
    entries: Vec<frames::Entry>,
}

impl GuestClient {
    /// Takes over the host's end of a frame socket.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { line: Arc::new(Mutex::new(Line { stream: Some(stream), tag: 0 })) }
    }

    /// Writes a file, all of it or nothing, and makes missing directories. What is there is replaced, a symbolic link
    /// too.
    ///
    /// # Errors
    /// See [`GuestError`]; `TooLarge` above [`frames::FILE_BYTES_MAX`].
    pub async fn write(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), GuestError> {
        let size = bytes.len() as u64;
        if size > frames::FILE_BYTES_MAX {
            return Err(GuestError::TooLarge);
        }
        let request = Frame::Write { mode, size, path: checked(path)? };
        self.exchange(request, bytes.to_vec(), Wanted::Nothing).await.map(drop)
    }

    /// Reads a regular file of up to `max` bytes.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub async fn read(&self, path: &str, max: u64) -> Result<Vec<u8>, GuestError> {
        let max = max.min(frames::FILE_BYTES_MAX);
        let request = Frame::Read { max, path: checked(path)? };
        Ok(self.exchange(request, Vec::new(), Wanted::Data { bytes_max: max }).await?.data)
    }

    /// Lists up to `max` files of a directory, by name.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub async fn list(&self, path: &str, max: usize) -> Result<Vec<Entry>, GuestError> {
        let max = max.min(frames::ENTRIES_MAX as usize);
        let request = Frame::List { max: u32::try_from(max).expect("bounded above"), path: checked(path)? };
        let answer = self.exchange(request, Vec::new(), Wanted::Entries { max }).await?;
        let mut entries: Vec<Entry> = answer.entries.into_iter().map(Entry::of).collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Describes a file, following symbolic links. Its name is empty.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub async fn stat(&self, path: &str) -> Result<Entry, GuestError> {
        let request = Frame::Stat { path: checked(path)? };
        let mut answer = self.exchange(request, Vec::new(), Wanted::Entries { max: 1 }).await?;
        answer.entries.pop().map(Entry::of).ok_or(GuestError::Broken)
    }

    /// Removes a file, or a directory with everything in it.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub async fn remove(&self, path: &str) -> Result<(), GuestError> {
        let request = Frame::Remove { path: checked(path)? };
        self.exchange(request, Vec::new(), Wanted::Nothing).await.map(drop)
    }

    async fn exchange(&self, request: Frame, content: Vec<u8>, wanted: Wanted) -> Result<Answer, GuestError> {
        let exchanged = timeout(PATIENCE, async {
            let line = Arc::clone(&self.line).lock_owned().await;
            // Not awaited by dropping: it goes on to its end and keeps the line until then.
            tokio::spawn(exchange(line, request, content, wanted)).await
        });
        match exchanged.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(GuestError::Broken),
        }
    }
}

fn checked(path: &str) -> Result<Vec<u8>, GuestError> {
    if frames::check_path(path.as_bytes()) { Ok(path.into()) } else { Err(GuestError::NotFound) }
}

async fn exchange(
    mut line: OwnedMutexGuard<Line>,
    request: Frame,
    content: Vec<u8>,
    wanted: Wanted,
) -> Result<Answer, GuestError> {
    line.tag = line.tag.wrapping_add(1);
    let tag = line.tag;
    // Taken out while it is in use: an exchange that does not reach its end leaves no line behind.
    let mut stream = line.stream.take().ok_or(GuestError::Broken)?;
    match talk(&mut stream, tag, &request, &content, wanted).await {
        Ok(result) => {
            line.stream = Some(stream);
            result
        }
        Err(Broken) => Err(GuestError::Broken),
    }
}

/// The stream failed, or what came is no answer.
struct Broken;

impl From<std::io::Error> for Broken {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl From<frames::BadFrame> for Broken {
    fn from(_: frames::BadFrame) -> Self {
        Self
    }
}

async fn talk(
    stream: &mut UnixStream,
    tag: u16,
    request: &Frame,
    content: &[u8],
    wanted: Wanted,
) -> Result<Result<Answer, GuestError>, Broken> {
    stream.write_all(&request.encode(tag)).await?;
    for part in content.chunks(PAYLOAD_BYTES_MAX) {
        stream.write_all(&Frame::Data(part.to_vec()).encode(tag)).await?;
    }
    let mut answer = Answer::default();
    loop {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).await?;
        let header = Header::parse(header)?;
        if header.tag != tag {
            return Err(Broken);
        }
        let mut payload = vec![0; header.len];
        stream.read_exact(&mut payload).await?;
        match (Frame::decode(header, &payload)?, wanted) {
            (Frame::Data(data), Wanted::Data { bytes_max }) => {
                // An empty part would cost nothing and could be repeated for ever.
                if data.is_empty() || (answer.data.len() + data.len()) as u64 > bytes_max {
                    return Err(Broken);
                }
                answer.data.extend_from_slice(&data);
            }
            (Frame::Entry(entry), Wanted::Entries { max }) if answer.entries.len() < max => answer.entries.push(entry),
            (Frame::End { .. }, _) => return Ok(Ok(answer)),
            (Frame::Error { errno, text }, _) => return Ok(Err(refused(errno, &text))),
            _ => return Err(Broken),
        }
    }
}

fn refused(errno: u32, text: &str) -> GuestError {
    match i32::try_from(errno).map(Errno::from_raw_os_error) {
        Ok(Errno::NOENT | Errno::NOTDIR) => GuestError::NotFound,
        Ok(Errno::ACCESS | Errno::PERM | Errno::ROFS) => GuestError::Denied,
        Ok(Errno::ISDIR | Errno::INVAL | Errno::NXIO) => GuestError::NotAFile,
        Ok(Errno::FBIG) => GuestError::TooLarge,
        Ok(Errno::TIMEDOUT) => GuestError::Stopped,
        _ => GuestError::Io(text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that answers one request, whatever it is, with `answer`, and hangs up.
    async fn guest(answer: Vec<u8>) -> GuestClient {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let mut header = [0; HEADER_BYTES];
            theirs.read_exact(&mut header).await.unwrap();
            let header = Header::parse(header).unwrap();
            theirs.read_exact(&mut vec![0; header.len]).await.unwrap();
            let _ = theirs.write_all(&answer).await;
        });
        GuestClient::new(ours)
    }

    fn frames(list: &[Frame]) -> Vec<u8> {
        list.iter().flat_map(|frame| frame.encode(1)).collect()
    }

    const END: Frame = Frame::End { complete: true };

    #[tokio::test]
    async fn a_file_comes_in_parts() {
        let client = guest(frames(&[Frame::Data(b"ab".to_vec()), Frame::Data(b"c".to_vec()), END])).await;
        assert_eq!(client.read("/f", 10).await, Ok(b"abc".to_vec()));
    }

    #[tokio::test]
    async fn a_refusal_leaves_the_line_usable() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let client = GuestClient::new(ours);
        for tag in 1..=2 {
            let asked = tokio::spawn({
                let client = client.clone();
                async move { client.remove("/f").await }
            });
            let mut request = [0; HEADER_BYTES + 2];
            theirs.read_exact(&mut request).await.unwrap();
            let refusal = Frame::Error { errno: 13, text: "no".into() };
            theirs.write_all(&refusal.encode(tag)).await.unwrap();
            assert_eq!(asked.await.unwrap(), Err(GuestError::Denied));
        }
    }

    #[test]
    fn who_was_stopped_inside_did_nothing_wrong_with_its_arguments() {
        let refusal = crate::files::refusal(refused(Errno::TIMEDOUT.raw_os_error().unsigned_abs(), "it took too long"));
        assert_eq!(refusal.code, ringfence_model::Code::SandboxNotRunning);
    }

    #[tokio::test]
    async fn nonsense_is_hung_up_on() {
        let entry = |name: &str| {
            let name = name.into();
            Frame::Entry(frames::Entry { kind: EntryKind::File, mode: 0, size: 0, modified_ms: 0, name })
        };
        for (why, answer) in [
            ("more than asked for", frames(&[Frame::Data(vec![0; 11]), END])),
            ("nothing, again and again", frames(&[Frame::Data(Vec::new()), END])),
            ("another kind of answer", frames(&[entry("a"), END])),
            ("another tag", END.encode(7)),
            ("a request", frames(&[Frame::Stat { path: b"/".to_vec() }])),
            ("no frame", vec![0xFF; 64]),
            ("half a frame", frames(&[END])[..5].to_vec()),
            ("nothing", Vec::new()),
        ] {
            let client = guest(answer).await;
            assert_eq!(client.read("/f", 10).await, Err(GuestError::Broken), "{why}");
            assert_eq!(client.read("/f", 10).await, Err(GuestError::Broken), "{why}: it was hung up");
        }
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_no_half_of_a_frame() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let client = GuestClient::new(ours);
        let gone = client.write("/f", 0o644, &[7; 400_000]);
        // The socket is full long before it is all written.
        assert!(timeout(Duration::from_millis(50), gone).await.is_err());
        let next = tokio::spawn({
            let client = client.clone();
            async move { client.remove("/g").await }
        });
        let mut seen = Vec::new();
        for tag in [1, 2] {
            let mut missing = None;
            while missing != Some(0) {
                let mut header = [0; HEADER_BYTES];
                theirs.read_exact(&mut header).await.unwrap();
                let header = Header::parse(header).unwrap();
                let mut payload = vec![0; header.len];
                theirs.read_exact(&mut payload).await.unwrap();
                assert_eq!(header.tag, tag);
                match Frame::decode(header, &payload).unwrap() {
                    Frame::Write { size, path, .. } => {
                        seen.push(path);
                        missing = Some(size);
                    }
                    Frame::Data(data) => missing = missing.map(|m| m - data.len() as u64),
                    Frame::Remove { path } => {
                        seen.push(path);
                        missing = Some(0);
                    }
                    other => panic!("{other:?}"),
                }
            }
            theirs.write_all(&END.encode(tag)).await.unwrap();
        }
        assert_eq!(next.await.unwrap(), Ok(()));
        assert_eq!(seen, [b"/f".to_vec(), b"/g".to_vec()]);
    }
}
