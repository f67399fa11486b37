//! A state directory of its own for tests of evidence.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use crate::common::{self, ringfence};

/// A state directory and what is exported of it; both go with the test.
pub(crate) struct Place {
    pub(crate) home: PathBuf,
    pub(crate) files: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let shared = common::shared();
        let home = common::beside(name);
        let place = Self { home, files: tempfile::tempdir().expect("a directory") };
        place.clear();
        common::prepare(shared, &place.home);
        place
    }

    fn clear(&self) {
        let _ = ringfence(&self.home, &["stop"]);
        let _ = fs::remove_dir_all(&self.home);
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.files.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    #[track_caller]
    pub(crate) fn well(&self, args: &[&str]) -> String {
        let output = ringfence(&self.home, args);
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.well(args)).expect("JSON")
    }

    /// Whether `audit verify` says that an export of these lines holds, and what it says.
    pub(crate) fn verdict(&self, text: &str, more: &[&str]) -> (bool, String) {
        let file = self.file("tried.jsonl");
        fs::write(&file, text).expect("it can be written");
        // A home that does not exist: neither a daemon nor a database has a part in it.
        let output = ringfence(Path::new("/nonexistent"), &[&["audit", "verify", "--file", &file], more].concat());
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1)), "{}", said(&output));
        (code == Some(0), said(&output))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
