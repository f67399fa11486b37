//! The sample that every sandbox finds at `/data`: real daily bars, raw and adjusted, as CSV and as Parquet.
//!
//! They are part of this program (`data/` in the repository, whose README says where they come from), so that a sandbox
//! without a network has something to compute with.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    action::{self, Action, Kind},
    adjust::{self, AdjustError},
    bar::{Series, Symbol},
    columns,
    read::{self, ReadError},
};

macro_rules! embedded {
    ($($symbol:literal),*) => {
        [$(($symbol, concat!($symbol, ".csv"), include_str!(concat!("../../../data/bars/", $symbol, ".csv")))),*]
    };
}

/// Symbol, file name and text of the bars in this program.
const BARS: [(&str, &str, &str); 5] = embedded!("AAPL", "FB", "GOOG", "IBM", "MSFT");
const ACTIONS: &str = include_str!("../../../data/actions.csv");
const README: &str = include_str!("sample/README.txt");

/// How the adjusted prices are made, in one sentence.
const ADJUSTMENT: &str = "for splits and cash dividends, backwards from the last day: each split divides earlier prices and \
    multiplies earlier volumes, each dividend d multiplies earlier prices by c / (c + d) with c the raw close of its \
    ex-date; rounded to 6 decimal places";

/// `manifest.json`: what is in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Where the bars come from.
    pub source: String,
    /// Length of a bar.
    pub interval: String,
    /// Currency of the prices.
    pub currency: String,
    /// How `adjusted/` is made from `raw/`.
    pub adjustment: String,
    /// What there is, by symbol.
    pub symbols: Vec<Listed>,
    /// Every file but `manifest.json` itself, by path.
    pub files: Vec<File>,
}

/// One symbol of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its symbol.
    pub symbol: String,
    /// First day, `YYYY-MM-DD`.
    pub first: String,
    /// Last day, `YYYY-MM-DD`.
    pub last: String,
    /// Bars.
    pub rows: usize,
    /// Splits that `adjusted/` takes into account.
    pub splits: usize,
    /// Dividends that `adjusted/` takes into account.
    pub dividends: usize,
}

/// One file of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Below the directory, with `/`.
    pub path: String,
    /// Length.
    pub bytes: usize,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// `manifest.json`'s text.
    ///
    /// # Panics
    /// Never: plain data can be serialised.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        text.push('\n');
        text
    }

    /// Identity of the whole sample: SHA-256 of [`Self::to_json`], which holds the hash of every other file.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256(self.to_json().as_bytes())
    }
}

/// Why the sample could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The bars or actions in this program are not sound.
    #[error("reading the sample")]
    Read(#[from] ReadError),
    /// An action does not fit the bars.
    #[error("adjusting the sample")]
    Adjust(#[from] AdjustError),
    /// A Parquet file could not be encoded.
    #[error("encoding {path}")]
    Encode {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The directory holds something already; old and new files would mix.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A file or directory could not be written.
    #[error("writing {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// errno.
        #[source]
        source: io::Error,
    },
}

/// The raw bars in this program, by symbol.
///
/// # Errors
/// They are not sound: a fault of the build, which a test finds.
pub fn raw() -> Result<Vec<Series>, SampleError> {
    let one = |(symbol, file, text): (&str, &str, &str)| {
        let symbol = Symbol::parse(symbol).expect("the sample's symbols are symbols");
        Ok(read::bars(file, symbol, text)?)
    };
    BARS.into_iter().map(one).collect()
}

/// The corporate actions in this program.
///
/// # Errors
/// They are not sound: a fault of the build, which a test finds.
pub fn actions() -> Result<Vec<Action>, SampleError> {
    Ok(action::actions("actions.csv", ACTIONS)?)
}

/// Name of a company in the sample, as it was called in those years.
#[must_use]
pub fn name(symbol: &str) -> Option<&'static str> {
    let named = |s: &&(&str, &'static str)| s.0 == symbol;
    const NAMES: [(&str, &str); 5] = [
        ("AAPL", "Apple Inc."),
        ("FB", "Facebook, Inc. Class A"),
        ("GOOG", "Google Inc. Class A"),
        ("IBM", "International Business Machines Corporation"),
        ("MSFT", "Microsoft Corporation"),
    ];
    NAMES.iter().find(named).map(|(_, name)| *name)
}

/// Writes the sample into `dir`, which is made unless it exists, and must be empty. Files get mode 0644 and directories
/// 0755 whatever the umask, because every sandbox's user reads them. The content is the same every time.
///
/// # Errors
/// What could not be written.
pub fn write(dir: &Path) -> Result<Manifest, SampleError> {
    let (manifest, files) = contents()?;
    make_dir(dir)?;
    if fs::read_dir(dir).map_err(failed(dir))?.next().is_some() {
        return Err(SampleError::NotEmpty(dir.to_owned()));
    }
    for below in ["raw", "adjusted"] {
        make_dir(&dir.join(below))?;
    }
    for (path, content) in files {
        let path = dir.join(path);
        fs::write(&path, content).map_err(failed(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(failed(&path))?;
    }
    Ok(manifest)
}

fn make_dir(path: &Path) -> Result<(), SampleError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> SampleError + '_ {
    |source| SampleError::Write { path: path.to_owned(), source }
}

/// Paths below the directory, and what is to be written there.
type Contents = Vec<(String, Vec<u8>)>;

/// Every file of the sample, and the manifest, which is the last of them.
fn contents() -> Result<(Manifest, Contents), SampleError> {
    let actions = actions()?;
    let mut symbols = Vec::new();
    let mut files: Contents =
        vec![("README.txt".to_owned(), README.into()), ("actions.csv".to_owned(), ACTIONS.into())];
    for raw in raw()? {
        let adjusted = adjust::adjust(&raw, &actions)?;
        for (kind, series) in [("raw", &raw), ("adjusted", &adjusted)] {
            let path = |ending: &str| format!("{kind}/{}.{ending}", series.symbol());
            let encode = |source| SampleError::Encode { path: path("parquet"), source };
            files.push((path("csv"), columns::csv(series).into_bytes()));
            files.push((path("parquet"), columns::parquet(series).map_err(encode)?));
        }
        symbols.push(listed(&raw, &actions));
    }
    let mut listed_files: Vec<File> = files
        .iter()
        .map(|(path, content)| File { path: path.clone(), bytes: content.len(), sha256: sha256(content) })
        .collect();
    listed_files.sort_by(|a, b| a.path.cmp(&b.path));
    let manifest = Manifest {
        source: "Quandl WIKI Prices, by way of the PyPI package bokeh_sampledata 2026.1; public domain".to_owned(),
        interval: "1 day".to_owned(),
        currency: "USD".to_owned(),
        adjustment: ADJUSTMENT.to_owned(),
        symbols,
        files: listed_files,
    };
    files.push(("manifest.json".to_owned(), manifest.to_json().into_bytes()));
    Ok((manifest, files))
}

fn listed(series: &Series, actions: &[Action]) -> Listed {
    let own = || actions.iter().filter(|a| a.symbol == *series.symbol());
    let splits = own().filter(|a| matches!(a.kind, Kind::Split(_))).count();
    Listed {
        symbol: series.symbol().to_string(),
        first: series.first().to_string(),
        last: series.last().to_string(),
        rows: series.bars().len(),
        splits,
        dividends: own().count() - splits,
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
