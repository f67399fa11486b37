//! Files of sweeps by the hash of their content: bars, equity curves, reports. One that is there is never changed, so whoever has its
//! hash from the database finds what was meant, or an error.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

/// Files below one directory.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Keeps `content`, on disk before this returns. Its hash.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn put(&self, content: &[u8]) -> io::Result<String> {
        let hash = hex::encode(Sha256::digest(content));
        let path = self.path(&hash);
        if let Ok(there) = File::open(&path) {
            // It is as new as if it were written now.
            there.set_modified(SystemTime::now())?;
            return Ok(hash);
        }
        let dir = path.parent().expect("it lies in a directory");
        fs::create_dir_all(dir)?;
        // Two tasks may write the same content; each has a name of its own until it is whole.
        let beside = dir.join(format!("{hash}.{:x}", rand::random::<u64>()));
        let mut file = File::create(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(hash)
    }

    /// What was kept under a hash.
    ///
    /// # Errors
    /// It is not there, or is not what it was.
    pub(crate) fn get(&self, hash: &str) -> io::Result<Vec<u8>> {
        let content = fs::read(self.path(hash))?;
        if hex::encode(Sha256::digest(&content)) != hash {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the file {hash} was changed")));
        }
        Ok(content)
    }

    /// Removes every file but those of these hashes and those that were written within `fresh`, also halves of an interrupted run.
    /// The bytes that are free now.
    ///
    /// # Errors
    /// The file system refuses; some may be gone by then.
    pub(crate) fn keep_only(&self, named: &HashSet<String>, fresh: Duration) -> io::Result<u64> {
        let mut freed = 0;
        let directories = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            directories => directories?,
        };
        for directory in directories {
            for file in fs::read_dir(directory?.path())? {
                let file = file?;
                let about = file.metadata()?;
                let is_fresh = about.modified()?.elapsed().unwrap_or_default() < fresh;
                if !is_fresh && !named.contains(&*file.file_name().to_string_lossy()) {
                    fs::remove_file(file.path())?;
                    freed += about.len();
                }
            }
        }
        Ok(freed)
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.dir.join(hash.get(..2).unwrap_or("__")).join(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_names_goes_unless_it_is_fresh() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::new(&dir.path().join("none yet"));
        assert_eq!(files.keep_only(&HashSet::new(), Duration::ZERO).expect("nothing is there"), 0);
        let kept = files.put(b"abc").expect("kept");
        let old = files.put(b"of an old sweep").expect("kept");
        let named = HashSet::from([kept.clone()]);
        assert_eq!(files.keep_only(&named, Duration::from_secs(60)).expect("it is too new"), 0);
        File::open(files.path(&old))
            .and_then(|file| file.set_modified(SystemTime::now() - Duration::from_secs(61)))
            .expect("ours");
        // Whoever keeps the same once more means it.
        files.put(b"of an old sweep").expect("kept");
        assert_eq!(files.keep_only(&named, Duration::from_secs(60)).expect("it is new again"), 0);
        assert_eq!(files.keep_only(&named, Duration::ZERO).expect("removed"), 15);
        files.get(&old).expect_err("it has gone");
        assert_eq!(files.get(&kept).expect("it is named"), b"abc");
    }

    #[test]
    fn what_is_kept_is_found_and_what_was_changed_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::new(dir.path());
        let hash = files.put(b"abc").expect("kept");
        assert_eq!(files.put(b"abc").expect("kept"), hash);
        assert_eq!(files.get(&hash).expect("found"), b"abc");
        fs::write(files.path(&hash), b"abd").expect("changed");
        files.get(&hash).expect_err("noticed");
        files.get(&hash.replace('b', "c")).expect_err("not there");
        let names = fs::read_dir(files.path(&hash).parent().expect("a directory")).expect("readable");
        assert_eq!(names.count(), 1, "nothing half written stays");
    }
}
