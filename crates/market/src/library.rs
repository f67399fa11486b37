//! The bars of an installation: what was imported, below one directory.
//!
//! ```text
//! manifest.json          what there is, each file by its SHA-256
//! objects/SHA256.csv     bars of one symbol and length, or the actions of one symbol; never changed
//! ```
//!
//! A change writes new objects, then the manifest beside its place, and renames it there: whoever opens the directory finds the old
//! or the new state, whole. Two who change it at once must take turns (the command line holds a lock).

mod object;

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    action::Action,
    bar::Symbol,
    import::{Bars, Dataset, Interval},
    sample::SampleError,
    tape::{BarTape, Instrument, TapeError},
};

/// The version of the manifest that this program writes, and the only one that it reads.
const VERSION: u32 = 1;

/// What an [`Entry`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// Daily bars.
    Day,
    /// Minutes.
    Minute,
    /// Splits and dividends.
    Actions,
}

impl From<Interval> for Holds {
    fn from(interval: Interval) -> Self {
        match interval {
            Interval::Day => Self::Day,
            Interval::Minute => Self::Minute,
        }
    }
}

/// One file of the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whose.
    pub symbol: String,
    /// What.
    pub holds: Holds,
    /// Name of the company, where somebody gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Rows.
    pub rows: usize,
    /// First day, `YYYY-MM-DD`.
    pub first: String,
    /// Last day, `YYYY-MM-DD`.
    pub last: String,
    /// SHA-256 of the file, hexadecimal: its name.
    pub sha256: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    entries: Vec<Entry>,
}

/// What became of something that was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The file as it is now.
    #[serde(flatten)]
    pub entry: Entry,
    /// Rows that were not there before.
    pub added: usize,
    /// Rows that were there with other values.
    pub replaced: usize,
}

/// Why the library cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// errno.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("writing {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// errno.
        #[source]
        source: io::Error,
    },
    /// The manifest is not one, or of another version.
    #[error("{} is not a manifest of version 1: {why}", path.display())]
    Manifest {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file is not what the manifest says.
    #[error("{} was changed: {why}", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
        /// How that was found.
        why: String,
    },
    /// The bars in this program are not sound.
    #[error("reading the built-in bars")]
    Sample(#[from] SampleError),
    /// The bars make no tape.
    #[error("making a tape of the library")]
    Tape(#[from] TapeError),
}

/// What was imported.
#[derive(Debug)]
pub struct Library {
    dir: PathBuf,
    entries: Vec<Entry>,
}

impl Library {
    /// Reads the manifest below `dir`. A directory that does not exist is an empty library.
    ///
    /// # Errors
    /// The manifest cannot be read or understood.
    pub fn open(dir: &Path) -> Result<Self, LibraryError> {
        let path = dir.join("manifest.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { dir: dir.to_owned(), entries: Vec::new() });
            }
            Err(source) => return Err(LibraryError::Read { path, source }),
        };
        let manifest: Result<Manifest, _> = serde_json::from_slice(&bytes);
        let manifest = manifest.map_err(|e| LibraryError::Manifest { path: path.clone(), why: e.to_string() })?;
        let is_hash = |e: &Entry| e.sha256.len() == 64 && e.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        let odd = manifest.entries.iter().find(|e| !is_hash(e) || Symbol::parse(&e.symbol).is_err());
        let why = match odd {
            _ if manifest.version != VERSION => Some(format!("it has version {}", manifest.version)),
            odd => odd.map(|entry| format!("an entry is called {} and {}", entry.symbol, entry.sha256)),
        };
        match why {
            Some(why) => Err(LibraryError::Manifest { path, why }),
            None => Ok(Self { dir: dir.to_owned(), entries: manifest.entries }),
        }
    }

    /// The tape of the library below `dir`, as [`Self::tape`] makes it. A change that comes in between is waited out.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::tape`].
    pub fn load(dir: &Path, seed: u64) -> Result<BarTape, LibraryError> {
        const TRIES: usize = 5;
        let is_gone = |error: &LibraryError| matches!(error, LibraryError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound);
        let mut tried = 1;
        loop {
            match Self::open(dir)?.tape(seed) {
                // A file that went away was replaced, and the manifest names another by now.
                Err(error) if is_gone(&error) && tried < TRIES => tried += 1,
                done => return done,
            }
        }
    }

    /// What there is, by symbol.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds bars and actions: all, or nothing. Bars of an instant that is there already take its place; the actions of a symbol take
    /// the place of all that it had. `name` is the company's.
    ///
    /// # Errors
    /// What is there cannot be read, or something cannot be written. The library is then as it was.
    pub fn add(
        &mut self,
        datasets: &[Dataset],
        actions: &[Action],
        name: Option<&str>,
    ) -> Result<Vec<Change>, LibraryError> {
        let mut entries = self.entries.clone();
        let mut changes = Vec::new();
        for dataset in datasets {
            let holds = dataset.bars.interval().into();
            let old = entries.iter().find(|e| e.symbol == dataset.symbol.as_str() && e.holds == holds);
            let before = old.map(|e| self.bars(e)).transpose()?;
            let (bars, added, replaced) = merged(before, &dataset.bars);
            let Some((first, last)) = bars.span() else { continue };
            let entry = Entry {
                symbol: dataset.symbol.to_string(),
                holds,
                name: name.map(str::to_owned).or_else(|| old.and_then(|e| e.name.clone())),
                rows: bars.len(),
                first: first.to_string(),
                last: last.to_string(),
                sha256: self.write_object(&object::of_bars(&bars))?,
            };
            put(&mut entries, &mut changes, Change { entry, added, replaced });
        }
        let mut by_symbol: Vec<Action> = actions.to_vec();
        by_symbol.sort_by(|a, b| (&a.symbol, a.ex_date).cmp(&(&b.symbol, b.ex_date)));
        for own in by_symbol.chunk_by(|a, b| a.symbol == b.symbol) {
            let entry = Entry {
                symbol: own[0].symbol.to_string(),
                holds: Holds::Actions,
                name: name.map(str::to_owned),
                rows: own.len(),
                first: own[0].ex_date.to_string(),
                last: own[own.len() - 1].ex_date.to_string(),
                sha256: self.write_object(&object::of_actions(own))?,
            };
            put(&mut entries, &mut changes, Change { entry, added: own.len(), replaced: 0 });
        }
        self.commit(entries)?;
        Ok(changes)
    }

    /// Removes what there is of a symbol, or only what it `holds`; how many files that were.
    ///
    /// # Errors
    /// The manifest cannot be written. The library is then as it was.
    pub fn remove(&mut self, symbol: &Symbol, holds: Option<Holds>) -> Result<usize, LibraryError> {
        let goes = |e: &Entry| e.symbol == symbol.as_str() && holds.is_none_or(|h| h == e.holds);
        let kept: Vec<Entry> = self.entries.iter().filter(|e| !goes(e)).cloned().collect();
        let removed = self.entries.len() - kept.len();
        if removed > 0 {
            self.commit(kept)?;
        }
        Ok(removed)
    }

    /// Reads everything again and compares it with its hash.
    ///
    /// # Errors
    /// The first file that is not what the manifest says.
    pub fn datasets(&self) -> Result<(Vec<Dataset>, Vec<Action>), LibraryError> {
        let (mut datasets, mut actions) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            if entry.holds == Holds::Actions {
                actions.extend(self.actions(entry)?);
            } else {
                let symbol = symbol(entry);
                datasets.push(Dataset { symbol, bars: self.bars(entry)? });
            }
        }
        Ok((datasets, actions))
    }

    /// The tape of the built-in sample and of what was imported. Imported daily bars of a symbol replace the sample's bars and
    /// actions of it, imported actions its actions; minutes are added to what there is.
    ///
    /// # Errors
    /// As [`Self::datasets`], and when a file's bars are not sound.
    pub fn tape(&self, seed: u64) -> Result<BarTape, LibraryError> {
        let (datasets, actions) = self.datasets()?;
        let mut instruments = BarTape::sample_instruments()?;
        for instrument in &mut instruments {
            let has = |holds| self.entries.iter().any(|e| e.symbol == instrument.symbol.as_str() && e.holds == holds);
            if has(Holds::Day) {
                instrument.daily.clear();
                instrument.name = None;
            }
            if has(Holds::Day) || has(Holds::Actions) {
                instrument.actions.clear();
            }
        }
        let mut named = |symbol: &Symbol| {
            instruments.iter().position(|i| i.symbol == *symbol).unwrap_or_else(|| {
                let new = Instrument {
                    symbol: symbol.clone(),
                    name: None,
                    daily: Vec::new(),
                    minutes: Vec::new(),
                    actions: Vec::new(),
                };
                instruments.push(new);
                instruments.len() - 1
            })
        };
        let mut placed = Vec::new();
        for dataset in datasets {
            placed.push((named(&dataset.symbol), dataset.bars));
        }
        for (at, bars) in placed {
            match bars {
                Bars::Day(bars) => instruments[at].daily = bars,
                Bars::Minute(bars) => instruments[at].minutes = bars,
            }
        }
        for action in actions {
            if let Some(instrument) = instruments.iter_mut().find(|i| i.symbol == action.symbol) {
                instrument.actions.push(action);
            }
        }
        for entry in &self.entries {
            if let (Some(name), Some(instrument)) =
                (&entry.name, instruments.iter_mut().find(|i| i.symbol.as_str() == entry.symbol))
            {
                instrument.name = Some(name.clone());
            }
        }
        Ok(BarTape::new(seed, instruments)?)
    }

    fn bars(&self, entry: &Entry) -> Result<Bars, LibraryError> {
        let path = self.object(&entry.sha256);
        let changed = |why: String| LibraryError::Changed { path: path.clone(), why };
        object::bars(entry.holds, symbol(entry), &self.read_object(entry)?).map_err(changed)
    }

    fn actions(&self, entry: &Entry) -> Result<Vec<Action>, LibraryError> {
        let path = self.object(&entry.sha256);
        let text = self.read_object(entry)?;
        crate::action::actions("actions", &text).map_err(|e| LibraryError::Changed { path, why: e.to_string() })
    }

    fn object(&self, sha256: &str) -> PathBuf {
        self.dir.join("objects").join(format!("{sha256}.csv"))
    }

    fn read_object(&self, entry: &Entry) -> Result<String, LibraryError> {
        let path = self.object(&entry.sha256);
        let bytes = fs::read(&path).map_err(|source| LibraryError::Read { path: path.clone(), source })?;
        let found = object::sha256(&bytes);
        if found != entry.sha256 {
            return Err(LibraryError::Changed { path, why: format!("its SHA-256 is {found}") });
        }
        String::from_utf8(bytes).map_err(|e| LibraryError::Changed { path, why: e.to_string() })
    }

    fn write_object(&self, text: &str) -> Result<String, LibraryError> {
        let sha256 = object::sha256(text.as_bytes());
        let dir = self.dir.join("objects");
        for dir in [&self.dir, &dir] {
            make_dir(dir)?;
        }
        let path = self.object(&sha256);
        // One that is there may have been cut off by a crash, so it is written whatever there is.
        place(&path, text.as_bytes())?;
        Ok(sha256)
    }

    /// Makes `entries` the library, then removes the files that nothing names.
    fn commit(&mut self, mut entries: Vec<Entry>) -> Result<(), LibraryError> {
        entries.sort_by(|a, b| (&a.symbol, a.holds).cmp(&(&b.symbol, b.holds)));
        make_dir(&self.dir)?;
        let manifest = Manifest { version: VERSION, entries };
        let mut text = serde_json::to_string_pretty(&manifest).expect("a manifest is plain data");
        text.push('\n');
        place(&self.dir.join("manifest.json"), text.as_bytes())?;
        self.entries = manifest.entries;
        let objects = self.dir.join("objects");
        let named = |name: &str| self.entries.iter().any(|e| name == format!("{}.csv", e.sha256));
        for file in fs::read_dir(&objects).into_iter().flatten().flatten() {
            if !named(&file.file_name().to_string_lossy()) {
                // What stays by a fault here is only of no use.
                let _ = fs::remove_file(file.path());
            }
        }
        Ok(())
    }
}

fn symbol(entry: &Entry) -> Symbol {
    Symbol::parse(&entry.symbol).expect("checked when the manifest was read")
}

/// The entry of a symbol and kind, in the place of the one that was there.
fn put(entries: &mut Vec<Entry>, changes: &mut Vec<Change>, change: Change) {
    let is_same = |e: &Entry| e.symbol == change.entry.symbol && e.holds == change.entry.holds;
    entries.retain(|e| !is_same(e));
    entries.push(change.entry.clone());
    changes.retain(|c: &Change| !is_same(&c.entry));
    changes.push(change);
}

/// Old bars with new ones among them; how many are new, and how many are otherwise than before.
fn merged(before: Option<Bars>, new: &Bars) -> (Bars, usize, usize) {
    fn merge<T: Clone + PartialEq, K: Ord>(old: Vec<T>, new: &[T], key: impl Fn(&T) -> K) -> (Vec<T>, usize, usize) {
        let (mut added, mut replaced) = (0, 0);
        let mut all: std::collections::BTreeMap<K, T> = old.into_iter().map(|bar| (key(&bar), bar)).collect();
        for bar in new {
            match all.insert(key(bar), bar.clone()) {
                None => added += 1,
                Some(old) if old != *bar => replaced += 1,
                Some(_) => {}
            }
        }
        (all.into_values().collect(), added, replaced)
    }
    match (before, new) {
        (Some(Bars::Day(old)), Bars::Day(new)) => {
            let (bars, added, replaced) = merge(old, new, |b| b.date);
            (Bars::Day(bars), added, replaced)
        }
        (Some(Bars::Minute(old)), Bars::Minute(new)) => {
            let (bars, added, replaced) = merge(old, new, |m| m.at);
            (Bars::Minute(bars), added, replaced)
        }
        _ => (new.clone(), new.len(), 0),
    }
}

/// Readable by everybody: the venue's user reads it, and market data is no secret.
fn make_dir(dir: &Path) -> Result<(), LibraryError> {
    fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o755)))
        .map_err(|source| LibraryError::Write { path: dir.to_owned(), source })
}

/// Puts a whole file in its place, on disk before it is seen.
fn place(path: &Path, bytes: &[u8]) -> Result<(), LibraryError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().expect("a file lies in a directory"))?.sync_all()
    };
    write().map_err(|source| LibraryError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
