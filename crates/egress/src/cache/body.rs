//! Bodies between the network and the files: written while they go by, and read while they are checked.

use std::fs::{self, File};
use std::future::Future as _;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use ring::digest::{self, SHA256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::fresh::Keep;
use super::shelf::{Body, Entry, Files, Found};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes that wait to be written. A disk that is slower than the network is not waited for: then nothing is kept.
const WAITING_BYTES_MAX: u64 = 16 << 20;

/// A body that is being kept while it goes by. Dropped before [`Filling::done`], it leaves nothing.
#[derive(Debug)]
pub(crate) struct Filling {
    to_writer: Option<Sender<Word>>,
    waiting: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Word {
    Bytes(Bytes),
    Done,
}

impl Filling {
    pub(super) fn begin(
        files: Arc<Files>,
        key: String,
        keep: Keep,
        bytes: Option<u64>,
        most: u64,
        places: [OwnedSemaphorePermit; 2],
    ) -> Self {
        let (to_writer, words) = mpsc::channel();
        let waiting = Arc::<AtomicU64>::default();
        let written = waiting.clone();
        tokio::task::spawn_blocking(move || {
            let wrote = write(&files, &key, &keep, bytes, most, &words, &written);
            // A full disk, as a rule. Whoever asked has the answer all the same.
            if let Err(error) = wrote {
                tracing::warn!(%error, "an answer of a registry could not be kept");
            }
            drop(places);
        });
        Self { to_writer: Some(to_writer), waiting }
    }

    /// Some of the body.
    pub(crate) fn feed(&mut self, bytes: &Bytes) {
        let len = bytes.len() as u64;
        if self.waiting.fetch_add(len, Ordering::Relaxed) > WAITING_BYTES_MAX {
            self.to_writer = None;
        }
        let sent = self.to_writer.as_ref().map(|writer| writer.send(Word::Bytes(bytes.clone())));
        if sent.is_some_and(|sent| sent.is_err()) {
            self.to_writer = None;
        }
    }

    /// That was all of it.
    pub(crate) fn done(self) {
        if let Some(writer) = self.to_writer {
            let _ = writer.send(Word::Done);
        }
    }
}

fn write(
    files: &Files,
    key: &str,
    keep: &Keep,
    bytes: Option<u64>,
    most: u64,
    words: &Receiver<Word>,
    written: &AtomicU64,
) -> io::Result<()> {
    let (file, path) = files.unfinished()?;
    let kept = receive(file, most, words, written).and_then(|whole| match whole {
        Some((sha256, len)) if bytes.is_none_or(|bytes| bytes == len) => publish(files, key, keep, &path, sha256, len),
        _ => fs::remove_file(&path),
    });
    kept.inspect_err(|_| {
        let _ = fs::remove_file(&path);
    })
}

/// The digest and the length of all, if it came to its end.
fn receive(
    mut file: File,
    most: u64,
    words: &Receiver<Word>,
    written: &AtomicU64,
) -> io::Result<Option<(String, u64)>> {
    let mut hash = digest::Context::new(&SHA256);
    let mut len = 0_u64;
    while let Ok(word) = words.recv() {
        match word {
            Word::Bytes(bytes) => {
                len += bytes.len() as u64;
                if len > most {
                    return Ok(None);
                }
                hash.update(&bytes);
                file.write_all(&bytes)?;
                written.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
            }
            Word::Done => {
                file.sync_data()?;
                return Ok(Some((hex::encode(hash.finish()), len)));
            }
        }
    }
    Ok(None)
}

fn publish(files: &Files, key: &str, keep: &Keep, path: &Path, sha256: String, len: u64) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    files.publish(path, &Entry::new(key, sha256, len, keep, now_ms))
}

/// What was kept, on its way out. Of a file the last bytes come when the digest of all of them is right.
pub(crate) struct Reading {
    state: State,
    pub(crate) left: u64,
}

enum State {
    Whole(Option<Bytes>),
    Idle(Option<Box<Source>>),
    Busy(JoinHandle<(Box<Source>, io::Result<Bytes>)>),
}

struct Source {
    files: Arc<Files>,
    key: String,
    sha256: String,
    file: File,
    hash: Option<digest::Context>,
    left: u64,
}

impl State {
    /// Reads on, if there is more.
    fn next(mut source: Box<Source>) -> Self {
        if source.left == 0 {
            return Self::Idle(None);
        }
        Self::Busy(tokio::task::spawn_blocking(move || {
            let read = source.read();
            (source, read)
        }))
    }
}

impl Reading {
    pub(super) fn new(files: Arc<Files>, key: String, found: Found) -> Self {
        let left = found.entry.bytes;
        let state = match found.body {
            Body::Whole(bytes) => State::Whole(Some(bytes)),
            Body::File(file) => State::Idle(Some(Box::new(Source {
                files,
                key,
                sha256: found.entry.sha256().to_owned(),
                file,
                hash: Some(digest::Context::new(&SHA256)),
                left,
            }))),
        };
        Self { state, left }
    }

    /// The next bytes; none at the end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match &mut self.state {
                State::Whole(bytes) => {
                    self.left = 0;
                    return Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok));
                }
                State::Idle(source) => {
                    let Some(source) = source.take() else { return Poll::Ready(None) };
                    self.state = State::next(source);
                }
                State::Busy(reading) => {
                    let (source, read) = match ready!(Pin::new(reading).poll(cx)) {
                        Ok(done) => done,
                        Err(_) => {
                            self.state = State::Idle(None);
                            return Poll::Ready(Some(Err(io::Error::other("reading was broken off"))));
                        }
                    };
                    let len = read.as_ref().map_or(0, Bytes::len);
                    self.left = self.left.saturating_sub(len as u64);
                    // The next bytes are read while these are sent.
                    self.state = if read.is_ok() { State::next(source) } else { State::Idle(None) };
                    return Poll::Ready(Some(read));
                }
            }
        }
    }
}

impl Source {
    fn read(&mut self) -> io::Result<Bytes> {
        let len = usize::try_from(self.left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut bytes = vec![0; len];
        self.file.read_exact(&mut bytes)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes);
        }
        self.left -= len as u64;
        if self.left == 0 {
            let found = self.hash.take().map(|hash| hex::encode(hash.finish()));
            if found.as_deref() != Some(self.sha256.as_str()) {
                self.files.forget(&self.key, Some(&self.sha256));
                return Err(io::Error::new(io::ErrorKind::InvalidData, "what was kept is not what it was"));
            }
        }
        Ok(bytes.into())
    }
}
