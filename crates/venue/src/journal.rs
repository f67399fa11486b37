//! What happened, on disk before anybody is told of it.
//!
//! One file of lines, each a record in JSON behind the first 16 hexadecimal digits of its SHA-256. A record holds what became
//! different, not what was asked for: reading the file again gives the same accounts, whatever the market's data have become
//! meanwhile. One thread writes; whatever has come in while it waited for the disk goes there with the next write, and what is
//! to be told of a record is told after that.
//!
//! A line that a crash has cut short is the last one, and was told to nobody: it is dropped. A line that is wrong before
//! others that are right is damage, and the venue does not start on it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::account::{Account, Change, Opening};

/// Name of the lock, which one venue holds.
const LOCK: &str = "lock";

/// Name of the state that the journal begins after.
const SNAPSHOT: &str = "snapshot";

/// A journal of more bytes than that is put together into a snapshot at the next start.
pub const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// Records that may wait for the disk; whoever has one more waits with it.
const WAITING_MAX: usize = 4_096;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An account begins; one of that name ends.
    Opened(Box<Opening>),
    /// An account ends.
    Closed(String),
    /// Something in an account became different.
    Changed {
        /// Its name.
        account: String,
        /// What.
        changes: Vec<Change>,
    },
    /// The market's data are these from here on.
    Tape(String),
}

/// Everything that the journal has said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Accounts, by name.
    pub accounts: BTreeMap<String, Account>,
    /// Digest of the market's data.
    pub tape: Option<String>,
}

impl State {
    /// Makes a record so.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Opened(opening) => {
                self.accounts.insert(opening.name.clone(), Account::open(*opening));
            }
            Record::Closed(name) => {
                self.accounts.remove(&name);
            }
            Record::Changed { account, changes } => {
                if let Some(account) = self.accounts.get_mut(&account) {
                    for change in changes {
                        account.change(change);
                    }
                }
            }
            Record::Tape(digest) => self.tape = Some(digest),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    /// Number of the journal that goes on from it.
    next: u64,
    state: State,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file cannot be read or written.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another venue has it.
    #[error("another venue uses {}", .0.display())]
    Held(PathBuf),
    /// A line is damaged, and others follow it.
    #[error("{} is damaged at line {line}, and goes on after it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// A record as the line that stands for it.
///
/// # Panics
/// Never: what the records are made of has a form in JSON.
#[must_use]
pub fn line(record: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string(record).expect("records have texts as keys");
    format!("{} {json}\n", check(json.as_bytes())).into_bytes()
}

fn check(json: &[u8]) -> String {
    hex::encode(&Sha256::digest(json)[..8])
}

/// The record of a line without its end. None when the line is no such thing.
fn read_line<T: serde::de::DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (sum, json) = line.split_at_checked(16)?;
    let json = json.strip_prefix(b" ")?;
    if check(json).as_bytes() != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// The records of a journal, and how many of its bytes they are: what follows was cut short.
///
/// # Errors
/// The number of a line that is damaged before one that is not.
pub fn read(bytes: &[u8]) -> Result<(Vec<Record>, usize), usize> {
    let mut records = Vec::new();
    let mut good = 0;
    let mut bad = None;
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let record = line.strip_suffix(b"\n").and_then(read_line);
        match (record, bad) {
            (Some(_), Some(number)) => return Err(number),
            (Some(record), None) => {
                records.push(record);
                good += line.len();
            }
            (None, _) => bad = bad.or(Some(number + 1)),
        }
    }
    Ok((records, good))
}

/// What is written, and what is done once it is on disk.
struct Entry {
    bytes: Vec<u8>,
    then: Option<Box<dyn FnOnce() + Send>>,
}

/// How far the disk is: so many records are on it, or it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Written(u64),
    Failed,
}

/// The journal, open for writing.
pub struct Journal {
    entries: std::sync::Mutex<(mpsc::SyncSender<Entry>, u64)>,
    progress: watch::Receiver<Progress>,
    _lock: File,
}

/// The disk has refused a record: nothing more can be promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot be written")]
pub struct Failed;

impl Journal {
    /// Opens the journal in a directory, which is made when there is none, and reads what it says.
    ///
    /// # Errors
    /// [`JournalError`]
    pub fn open(dir: &Path) -> Result<(Self, State), JournalError> {
        Self::open_with(dir, JOURNAL_BYTES_MAX)
    }

    fn open_with(dir: &Path, bytes_max: u64) -> Result<(Self, State), JournalError> {
        let io = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { what, path, source }
        };
        if !dir.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("making", dir))?;
        }
        let lock_path = dir.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(io("opening", &lock_path))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(JournalError::Held(dir.to_owned()));
        }
        let (mut state, mut number) = match fs::read(dir.join(SNAPSHOT)) {
            Ok(bytes) => {
                let path = dir.join(SNAPSHOT);
                let snapshot = bytes.strip_suffix(b"\n").and_then(read_line::<Snapshot>);
                let snapshot = snapshot.ok_or(JournalError::Damaged { path, line: 1 })?;
                (snapshot.state, snapshot.next)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => (State::default(), 0),
            Err(e) => return Err(io("reading", &dir.join(SNAPSHOT))(e)),
        };
        for account in state.accounts.values_mut() {
            account.reindex();
        }
        let mut path = dir.join(format!("journal-{number}"));
        let mut file = open_file(&path).map_err(io("opening", &path))?;
        let bytes = fs::read(&path).map_err(io("reading", &path))?;
        let (records, good) = read(&bytes).map_err(|line| JournalError::Damaged { path: path.clone(), line })?;
        if good < bytes.len() {
            tracing::warn!(bytes = bytes.len() - good, "the end of the journal was cut short, and is dropped");
            let good = u64::try_from(good).unwrap_or(u64::MAX);
            file.set_len(good).and_then(|()| file.sync_all()).map_err(io("cutting", &path))?;
        }
        for record in records {
            state.apply(record);
        }
        if u64::try_from(good).unwrap_or(u64::MAX) > bytes_max {
            number += 1;
            let old = std::mem::replace(&mut path, dir.join(format!("journal-{number}")));
            // The file that is to follow is empty before anything says that it follows.
            file = open_file(&path).and_then(|file| file.set_len(0).map(|()| file)).map_err(io("opening", &path))?;
            snapshot(dir, &state, number).map_err(io("writing", &dir.join(SNAPSHOT)))?;
            let _ = fs::remove_file(old);
        }
        sync_dir(dir).map_err(io("syncing", dir))?;
        let (sender, entries) = mpsc::sync_channel(WAITING_MAX);
        let (told, progress) = watch::channel(Progress::Written(0));
        let thread = std::thread::Builder::new().name("venue-journal".into());
        thread.spawn(move || write(&mut file, &entries, &told)).map_err(io("writing", &path))?;
        Ok((Self { entries: std::sync::Mutex::new((sender, 0)), progress, _lock: lock }, state))
    }

    /// Writes a record, and does `then` once it is on disk. The answer is what to wait for.
    ///
    /// # Errors
    /// [`Failed`]
    pub fn append(&self, record: &Record, then: Option<Box<dyn FnOnce() + Send>>) -> Result<u64, Failed> {
        let bytes = line(record);
        let mut entries = self.entries.lock().map_err(|_| Failed)?;
        entries.0.send(Entry { bytes, then }).map_err(|_| Failed)?;
        entries.1 += 1;
        Ok(entries.1)
    }

    /// Waits until a record is on disk.
    ///
    /// # Errors
    /// [`Failed`]
    pub async fn written(&self, number: u64) -> Result<(), Failed> {
        let mut progress = self.progress.clone();
        let reached = |progress: &Progress| match progress {
            Progress::Written(written) => *written >= number,
            Progress::Failed => true,
        };
        match progress.wait_for(reached).await.as_deref() {
            Ok(Progress::Written(_)) => Ok(()),
            _ => Err(Failed),
        }
    }

    /// Waits until the disk refuses a record, which no venue goes on after.
    pub async fn failed(&self) {
        let mut progress = self.progress.clone();
        let _ = progress.wait_for(|progress| *progress == Progress::Failed).await;
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn snapshot(dir: &Path, state: &State, next: u64) -> io::Result<()> {
    let unfinished = dir.join("snapshot.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&line(&Snapshot { next, state: state.clone() }))?;
    file.sync_all()?;
    sync_dir(dir)?;
    fs::rename(unfinished, dir.join(SNAPSHOT))?;
    sync_dir(dir)
}

/// Most bytes that go to the disk with one write.
const WRITE_BYTES_MAX: usize = 4 << 20;

fn write(file: &mut File, entries: &mpsc::Receiver<Entry>, told: &watch::Sender<Progress>) {
    let mut written = 0;
    while let Ok(first) = entries.recv() {
        let mut bytes = first.bytes;
        let mut then = vec![first.then];
        while bytes.len() < WRITE_BYTES_MAX
            && let Ok(next) = entries.try_recv()
        {
            bytes.extend_from_slice(&next.bytes);
            then.push(next.then);
        }
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            tracing::error!(%error, "the journal cannot be written; the venue ends");
            let _ = told.send(Progress::Failed);
            return;
        }
        written += u64::try_from(then.len()).unwrap_or_default();
        then.into_iter().flatten().for_each(|then| then());
        let _ = told.send(Progress::Written(written));
    }
}

#[cfg(test)]
mod tests;
