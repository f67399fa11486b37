//! The files: what was answered below `bodies`, each under its SHA-256, and below `entries`, under the SHA-256 of its key, what
//! is known of an answer. Only this process's user may write there.
//!
//! The files are the truth: nothing is remembered beside them but how many bytes they are. A body is renamed to its place when
//! it is whole and on disk, and its entry after it; so a crash leaves an unfinished file, which the next start removes, or a
//! body without an entry, which the next sweep does. What is read is checked against its digest before its end is handed out.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{Filling, Reading};
use super::fresh::Keep;

/// Bytes of a body that is read and checked as a whole before its first byte is handed out.
const WHOLE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an entry.
const ENTRY_BYTES_MAX: u64 = 32 << 10;
/// Answers that are written at once; more than these are not kept.
const WRITERS_MAX: usize = 32;
/// Bytes that the file system keeps free: whatever else lives there needs them more.
const FREE_BYTES_MIN: u64 = 512 << 20;
/// How exactly it is known when something was used last.
const USED_EXACTLY: Duration = Duration::from_secs(60);

/// The files.
#[derive(Debug, Clone)]
pub(crate) struct Shelf(Arc<Files>);

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    bytes_max: u64,
    /// Of all bodies, about; each sweep counts them.
    bytes: AtomicU64,
    next: AtomicU64,
    /// Held while files get to their places, and while they are swept.
    turn: Mutex<()>,
    writers: Arc<Semaphore>,
}

/// What is known of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    key: String,
    sha256: String,
    pub(crate) bytes: u64,
    headers: Vec<(String, String)>,
    pub(crate) asked_at_ms: u64,
    fresh_until_ms: u64,
}

/// An answer that was kept.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) body: Body,
}

/// Its bytes. An open file stays whole when it is swept away.
#[derive(Debug)]
pub(crate) enum Body {
    Whole(Bytes),
    File(File),
}

impl Entry {
    pub(super) fn new(key: &str, sha256: String, bytes: u64, keep: &Keep, now_ms: u64) -> Self {
        let headers = keep.headers.iter();
        let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let fresh_until_ms = now_ms.saturating_add(keep.fresh_ms);
        Self { key: key.to_owned(), sha256, bytes, headers: headers.collect(), asked_at_ms: now_ms, fresh_until_ms }
    }

    /// Whether it may be served without asking again. A clock that was set back makes everything old.
    pub(crate) fn is_fresh(&self, now_ms: u64) -> bool {
        (self.asked_at_ms..self.fresh_until_ms).contains(&now_ms)
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let read = |(name, value): &(String, String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        };
        self.headers.iter().filter_map(read).collect()
    }

    pub(super) fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl Shelf {
    /// Opens the directory, or makes it, and removes what is unfinished there.
    pub(crate) fn open(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        let unfinished = dir.join("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        for name in ["bodies", "entries", "unfinished"] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir.join(name))?;
        }
        let files = Files {
            dir: dir.to_owned(),
            bytes_max,
            bytes: AtomicU64::new(0),
            next: AtomicU64::new(0),
            turn: Mutex::default(),
            writers: Arc::new(Semaphore::new(WRITERS_MAX)),
        };
        let shelf = Self(Arc::new(files));
        let files = shelf.0.clone();
        // It takes a while with many files, and nothing waits for it.
        std::thread::Builder::new().name("cache-sweep".into()).spawn(move || files.sweep())?;
        Ok(shelf)
    }

    /// What is kept under a key.
    pub(crate) async fn find(&self, key: &str) -> Option<Found> {
        let (files, key) = (self.0.clone(), key.to_owned());
        tokio::task::spawn_blocking(move || files.find(&key)).await.ok()?
    }

    /// Begins to keep an answer whose body has so many bytes, if that is known, in one of its sandbox's places; none when there is no room for it now.
    pub(crate) fn fill(
        &self,
        key: &str,
        keep: Keep,
        bytes: Option<u64>,
        theirs: OwnedSemaphorePermit,
    ) -> Option<Filling> {
        let most = self.0.bytes_max / 4;
        let free = rustix::fs::statvfs(&self.0.dir).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        if bytes.is_some_and(|bytes| bytes > most) || free < FREE_BYTES_MIN.saturating_add(bytes.unwrap_or(0)) {
            return None;
        }
        let place = self.0.writers.clone().try_acquire_owned().ok()?;
        Some(Filling::begin(self.0.clone(), key.to_owned(), keep, bytes, most, [place, theirs]))
    }

    /// Notes that what is kept is what the registry would answer now, and returns the entry as it is then.
    pub(crate) async fn refresh(&self, entry: Entry, fresh_ms: u64, now_ms: u64) -> Entry {
        let entry = Entry { asked_at_ms: now_ms, fresh_until_ms: now_ms.saturating_add(fresh_ms), ..entry };
        let (files, written) = (self.0.clone(), entry.clone());
        let wrote = tokio::task::spawn_blocking(move || {
            let _turn = files.turn();
            files.put_entry(&written)
        });
        if let Ok(Err(error)) = wrote.await {
            tracing::warn!(%error, "an entry of the cache could not be written");
        }
        entry
    }

    /// The bytes of what was found, as a body that is handed out.
    pub(crate) fn read(&self, key: &str, found: Found) -> Reading {
        Reading::new(self.0.clone(), key.to_owned(), found)
    }
}

impl Files {
    fn turn(&self) -> std::sync::MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry_path(&self, key: &str) -> PathBuf {
        self.dir.join("entries").join(hex::encode(digest(&SHA256, key.as_bytes())))
    }

    fn body_path(&self, sha256: &str) -> PathBuf {
        self.dir.join("bodies").join(sha256)
    }

    /// A new file that nobody else has.
    pub(super) fn unfinished(&self) -> io::Result<(File, PathBuf)> {
        let path = self.dir.join("unfinished").join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((file, path))
    }

    fn find(&self, key: &str) -> Option<Found> {
        let path = self.entry_path(key);
        let file = File::open(&path).ok()?;
        let mut text = Vec::new();
        (&file).take(ENTRY_BYTES_MAX).read_to_end(&mut text).ok()?;
        let entry = serde_json::from_slice::<Entry>(&text).ok().filter(|entry| entry.key == key && entry.is_sound());
        let found = entry.and_then(|entry| Some(Found { body: self.body(&entry)?, entry }));
        if found.is_none() {
            self.forget(key, None);
        } else if file.metadata().and_then(|meta| meta.modified()).is_ok_and(is_long_ago) {
            let _ = file.set_modified(SystemTime::now());
        }
        found
    }

    fn body(&self, entry: &Entry) -> Option<Body> {
        let mut file = File::open(self.body_path(&entry.sha256)).ok()?;
        if file.metadata().ok()?.len() != entry.bytes {
            return None;
        }
        if entry.bytes > WHOLE_BYTES_MAX {
            return Some(Body::File(file));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(entry.bytes).ok()?);
        file.read_to_end(&mut bytes).ok()?;
        let is_it = hex::encode(digest(&SHA256, &bytes)) == entry.sha256;
        is_it.then(|| Body::Whole(bytes.into()))
    }

    /// Removes an entry, and the body that was not what it should be.
    pub(super) fn forget(&self, key: &str, sha256: Option<&str>) {
        let _turn = self.turn();
        let _ = fs::remove_file(self.entry_path(key));
        if let Some(sha256) = sha256 {
            tracing::error!(sha256, "a file of the cache is not what was written; it is removed");
            let _ = fs::remove_file(self.body_path(sha256));
        }
    }

    /// Brings a whole body to its place, and its entry after it.
    pub(super) fn publish(&self, body: &Path, entry: &Entry) -> io::Result<()> {
        let turn = self.turn();
        let place = self.body_path(&entry.sha256);
        let is_new = !place.exists();
        fs::rename(body, &place)?;
        if is_new {
            self.bytes.fetch_add(entry.bytes, Ordering::Relaxed);
        }
        self.put_entry(entry)?;
        drop(turn);
        if self.bytes.load(Ordering::Relaxed) > self.bytes_max {
            self.sweep();
        }
        Ok(())
    }

    fn put_entry(&self, entry: &Entry) -> io::Result<()> {
        let (mut file, path) = self.unfinished()?;
        let text = serde_json::to_vec(entry)?;
        let wrote = file.write_all(&text).and_then(|()| file.sync_data());
        wrote.and_then(|()| fs::rename(&path, self.entry_path(&entry.key))).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }

    /// Removes what was used longest ago until there is room for a tenth more, and bodies that no entry has.
    pub(super) fn sweep(&self) {
        let _turn = self.turn();
        if let Err(error) = self.sweep_now() {
            tracing::error!(%error, "the cache could not be swept");
        }
    }

    fn sweep_now(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for file in fs::read_dir(self.dir.join("entries"))? {
            let path = file?.path();
            let used = fs::metadata(&path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let text = fs::read(&path).unwrap_or_default();
            match serde_json::from_slice::<Entry>(&text).ok().filter(Entry::is_sound) {
                Some(entry) => entries.push((used, path, entry.sha256, entry.bytes)),
                None => fs::remove_file(&path)?,
            }
        }
        // The newest first: what they need stays, as far as it goes.
        entries.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let room = self.bytes_max - self.bytes_max / 10;
        let is_full = entries.iter().map(|(_, _, _, bytes)| bytes).sum::<u64>() > self.bytes_max;
        let mut kept = HashSet::new();
        let mut bytes = 0_u64;
        for (_, path, sha256, len) in entries {
            let is_known = kept.contains(&sha256);
            if is_full && !is_known && bytes.saturating_add(len) > room {
                fs::remove_file(&path)?;
                continue;
            }
            if kept.insert(sha256) {
                bytes = bytes.saturating_add(len);
            }
        }
        for file in fs::read_dir(self.dir.join("bodies"))? {
            let file = file?;
            if !file.file_name().to_str().is_some_and(|name| kept.contains(name)) {
                fs::remove_file(file.path())?;
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Entry {
    /// Its digest is the name of a file, and must be no other.
    fn is_sound(&self) -> bool {
        self.sha256.len() == 64 && self.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

fn is_long_ago(at: SystemTime) -> bool {
    SystemTime::now().duration_since(at).is_ok_and(|since| since > USED_EXACTLY)
}
