//! Files that stages hand on, by the SHA-256 of their content: written once and whole, checked whenever they are read.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use ringfence_model::api::TRANSFER_BYTES_MAX;
use sha2::{Digest, Sha256};

/// Bytes of all artefacts; beyond that the oldest go that no running pipeline needs.
const BYTES_MAX: u64 = 8 << 30;

/// Why an artefact is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtefactError {
    /// It was removed to make room, or never there.
    #[error("it is not stored any more")]
    Gone,
    /// What lies there is something else.
    #[error("what is stored under its hash is another content")]
    Damaged,
    /// All room is taken by artefacts of pipelines that run.
    #[error("the store of artefacts is full with those of running pipelines; let one end, and run it again")]
    Full,
    /// The file system.
    #[error("the store of artefacts: {0}")]
    Io(#[from] io::Error),
}

/// The store. Its methods block, and are called where that is allowed.
#[derive(Debug)]
pub(crate) struct Artefacts {
    dir: PathBuf,
    bytes_max: u64,
    /// Bytes of what is there; held while something is added.
    total: Mutex<u64>,
}

impl Artefacts {
    /// Opens the store at `dir`, makes it where it is missing, and removes what an earlier run began to write.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Self::with_room(dir, BYTES_MAX)
    }

    fn with_room(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut total = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match is_hash(&entry.file_name().to_string_lossy()) {
                true => total += entry.metadata()?.len(),
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(Self { dir: dir.to_owned(), bytes_max, total: Mutex::new(total) })
    }

    /// Stores a content, and answers its hash. Those in `needed` stay, whatever room is wanted.
    ///
    /// # Errors
    /// There is no room, or the file system refuses.
    pub(crate) fn put(&self, bytes: &[u8], needed: &HashSet<String>) -> Result<String, ArtefactError> {
        let hash = hex::encode(Sha256::digest(bytes));
        let path = self.dir.join(&hash);
        let mut total = self.total.lock().expect("nothing panics under this lock");
        match self.get(&hash) {
            // It is as new as if it were written now.
            Ok(_) => {
                fs::File::open(&path)?.set_modified(SystemTime::now())?;
                return Ok(hash);
            }
            Err(ArtefactError::Damaged) => {
                *total = total.saturating_sub(fs::metadata(&path)?.len());
                fs::remove_file(&path)?;
            }
            Err(ArtefactError::Gone) => {}
            Err(error) => return Err(error),
        }
        let size = bytes.len() as u64;
        self.make_room(&mut total, size, needed)?;
        let unfinished = self.dir.join(format!("unfinished-{hash}"));
        let written = (|| {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            // The name too is on disk before anybody relies on it.
            fs::File::open(&self.dir)?.sync_all()
        })();
        if let Err(error) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(error.into());
        }
        *total += size;
        Ok(hash)
    }

    /// A content, after it was seen to be the one of that hash.
    ///
    /// # Errors
    /// It is gone or damaged, or the file system refuses.
    pub(crate) fn get(&self, hash: &str) -> Result<Vec<u8>, ArtefactError> {
        if !is_hash(hash) {
            return Err(ArtefactError::Gone);
        }
        let file = match fs::File::open(self.dir.join(hash)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ArtefactError::Gone),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(TRANSFER_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        if hex::encode(Sha256::digest(&bytes)) == hash { Ok(bytes) } else { Err(ArtefactError::Damaged) }
    }

    /// Removes every artefact but those of these hashes and those that were stored within `fresh`. The bytes that are free now.
    ///
    /// # Errors
    /// The file system refuses; some may be gone by then.
    pub(crate) fn keep_only(&self, named: &HashSet<String>, fresh: Duration) -> io::Result<u64> {
        // Whoever stores one meanwhile waits, and finds it gone rather than about to go.
        let mut total = self.total.lock().expect("nothing panics under this lock");
        let mut freed = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let about = entry.metadata()?;
            let is_fresh = about.modified()?.elapsed().unwrap_or_default() < fresh;
            if is_hash(&name) && !is_fresh && !named.contains(&name) {
                fs::remove_file(entry.path())?;
                *total = total.saturating_sub(about.len());
                freed += about.len();
            }
        }
        Ok(freed)
    }

    fn make_room(&self, total: &mut u64, size: u64, needed: &HashSet<String>) -> Result<(), ArtefactError> {
        if total.saturating_add(size) <= self.bytes_max {
            return Ok(());
        }
        let mut old: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_hash(&name) && !needed.contains(&name) {
                let metadata = entry.metadata()?;
                old.push((metadata.modified()?, entry.path(), metadata.len()));
            }
        }
        old.sort_unstable();
        for (_, path, bytes) in old {
            if total.saturating_add(size) <= self.bytes_max {
                break;
            }
            fs::remove_file(&path)?;
            *total = total.saturating_sub(bytes);
        }
        if total.saturating_add(size) <= self.bytes_max { Ok(()) } else { Err(ArtefactError::Full) }
    }
}

fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again_and_nothing_else_is() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("artefacts");
        let store = Artefacts::open(&dir).expect("made");
        let hash = store.put(b"bars", &HashSet::new()).expect("stored");
        // As sha256sum(1) says.
        assert_eq!(hash, "8556ab2559634a19bd1d144dc844a0da5a0716a0d671e3b4bb2e36c23a2fe8a8");
        assert_eq!(store.put(b"bars", &HashSet::new()).expect("stored"), hash);
        assert_eq!(store.get(&hash).expect("it is there"), b"bars");
        // Somebody writes into the file.
        fs::write(dir.join(&hash), b"bazs").expect("root may");
        assert!(matches!(store.get(&hash), Err(ArtefactError::Damaged)));
        // Whoever makes it again mends it.
        assert_eq!(store.put(b"bars", &HashSet::new()).expect("stored"), hash);
        assert_eq!(store.get(&hash).expect("it is there"), b"bars");
        for name in ["../sealing.key", "", &"g".repeat(64), &"a".repeat(64)] {
            assert!(matches!(store.get(name), Err(ArtefactError::Gone)), "{name}");
        }
    }

    #[test]
    fn what_an_earlier_run_began_is_removed() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Artefacts::open(home.path()).expect("made");
        let hash = store.put(b"1", &HashSet::new()).expect("stored");
        let left = home.path().join(format!("unfinished-{}", "a".repeat(64)));
        fs::write(&left, b"half").expect("written");
        let store = Artefacts::open(home.path()).expect("opened");
        assert!(!left.exists());
        assert_eq!(store.get(&hash).expect("it is there"), b"1");
        assert_eq!(*store.total.lock().expect("whole"), 1);
    }

    #[test]
    fn what_nobody_names_goes_unless_it_is_fresh() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Artefacts::open(home.path()).expect("made");
        let none = HashSet::new();
        let (a, b) = (store.put(b"aaaa", &none).expect("stored"), store.put(b"bb", &none).expect("stored"));
        let named = HashSet::from([a.clone()]);
        assert_eq!(store.keep_only(&named, Duration::from_secs(60)).expect("it is too new"), 0);
        assert_eq!(store.keep_only(&named, Duration::ZERO).expect("removed"), 2);
        assert!(store.get(&a).is_ok() && matches!(store.get(&b), Err(ArtefactError::Gone)));
        assert_eq!(*store.total.lock().expect("whole"), 4);
    }

    #[test]
    fn the_oldest_make_room_and_what_is_needed_stays() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Artefacts::with_room(home.path(), 10).expect("made");
        let age = |hash: &str, seconds: u64| {
            let at = SystemTime::now() - std::time::Duration::from_secs(seconds);
            fs::File::open(home.path().join(hash)).and_then(|file| file.set_modified(at)).expect("it is ours");
        };
        let none = HashSet::new();
        let (a, b) = (store.put(b"aaaa", &none).expect("stored"), store.put(b"bbbb", &none).expect("stored"));
        age(&a, 20);
        age(&b, 10);
        let c = store.put(b"cccc", &HashSet::from([a.clone()])).expect("stored");
        assert!(store.get(&a).is_ok() && store.get(&c).is_ok());
        assert!(matches!(store.get(&b), Err(ArtefactError::Gone)));
        let needed = HashSet::from([a, c]);
        assert!(matches!(store.put(b"dddd", &needed), Err(ArtefactError::Full)));
        assert!(store.put(b"dd", &needed).is_ok());
    }
}
