//! Backups of a daemon that runs, restored beside it; and what an older program says of a newer state.

mod common;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use common::{BIN, ringfence};

/// State directories of one test, whose daemons end with it.
struct Homes {
    source: PathBuf,
    to: PathBuf,
    file: PathBuf,
}

impl Homes {
    /// With at most one small template: what is backed up is packed and unpacked whole.
    fn new(name: &str, templates: &[&'static str]) -> Self {
        let shared = common::shared();
        let beside = |end: &str| common::beside(&format!("{name}{end}"));
        let homes = Self { source: beside(""), to: beside("-to"), file: beside(".tar.zst") };
        homes.clear();
        for template in templates {
            well(shared, &["template", "build", template]);
        }
        common::prepare_with(shared, &homes.source, templates);
        homes
    }

    fn clear(&self) {
        for home in [&self.source, &self.to] {
            let _ = ringfence(home, &["stop"]);
            let _ = fs::remove_dir_all(home);
        }
        let _ = fs::remove_file(&self.file);
    }

    fn file(&self) -> &str {
        self.file.to_str().expect("UTF-8")
    }
}

impl Drop for Homes {
    fn drop(&mut self) {
        self.clear();
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn well(home: &Path, args: &[&str]) -> String {
    let output = ringfence(home, args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn json(home: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&well(home, args)).expect("JSON")
}

fn status_of(home: &Path, name: &str) -> String {
    let list = json(home, &["sandbox", "ls", "--json"]);
    let rows = list["sandboxes"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {list}"));
    row["status"].as_str().expect("a status").to_owned()
}

#[test]
fn a_backup_of_a_running_daemon_is_restored_with_its_chains_and_with_disks_its_files() {
    let homes = Homes::new("backup", &["base"]);
    let Homes { source, to, file } = &homes;
    common::start(source, "none");
    well(source, &["sandbox", "create", "base", "--name", "lab"]);
    well(source, &["sandbox", "exec", "lab", "-c", "echo 42 > kept"]);

    // While it runs: everything but the files of sandboxes.
    let made = json(source, &["backup", homes.file(), "--json"]);
    assert_eq!(fs::metadata(file).expect("it is there").permissions().mode() & 0o777, 0o600, "it holds keys");
    assert_eq!(made["manifest"]["disks_bytes"], Value::Null);
    let again = ringfence(source, &["backup", homes.file()]);
    assert!(!again.status.success() && said(&again).contains("is there already"), "{}", said(&again));
    assert_eq!(status_of(source, "lab"), "running", "a backup disturbs nobody");
    well(to, &["restore", homes.file()]);
    let full = ringfence(to, &["restore", homes.file()]);
    assert!(!full.status.success() && said(&full).contains("is not empty"), "{}", said(&full));
    // Beside the one that it was made of, which goes on.
    common::start(to, "none");
    let (seq, hash) =
        (&made["manifest"]["engine"]["seq"], made["manifest"]["engine"]["hash"].as_str().expect("a hash"));
    well(to, &["audit", "verify", "--remembered", &format!("{seq}:{hash}")]);
    assert_eq!(status_of(to, "lab"), "failed");
    assert!(said(&ringfence(to, &["sandbox", "status", "lab"])).contains("restored from a backup without them"));
    well(to, &["run", "--template", "base", "--json", "-", "--language", "bash"]);
    well(to, &["stop"]);
    well(source, &["audit", "verify"]);
    fs::remove_dir_all(to).expect("removed");
    fs::remove_file(file).expect("removed");

    // With the files, for which it must not run.
    let held = ringfence(source, &["backup", "--disks", homes.file()]);
    assert!(!held.status.success() && said(&held).contains("ringfence stop"), "{}", said(&held));
    assert!(!file.exists(), "nothing is left of what was refused");
    well(source, &["stop"]);
    well(source, &["backup", "--disks", homes.file()]);
    well(to, &["restore", homes.file()]);
    common::start(to, "none");
    well(to, &["audit", "verify"]);
    well(to, &["sandbox", "resume", "lab"]);
    assert_eq!(well(to, &["sandbox", "exec", "lab", "-c", "cat kept"]), "42\n");
}

/// Who is not root gets neither keys nor a state directory, whatever the file is.
#[test]
fn a_backup_is_for_root_alone() {
    let homes = Homes::new("backup-nobody", &[]);
    // Where nobody could write and everybody may run it.
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let bin = dir.path().join("ringfence");
    fs::copy(BIN, &bin).expect("copied");
    let file = dir.path().join("stolen.tar.zst");
    let as_uid = |uid: u32| {
        let mut command = Command::new(&bin);
        command.arg("--home").arg(&homes.source).arg("backup").arg(&file).uid(uid);
        command.output().expect("it runs")
    };
    let refused = as_uid(65_534);
    assert!(!refused.status.success() && said(&refused).contains("sudo"), "{}", said(&refused));
    assert!(!file.exists());
    // The control: root gets it.
    let made = as_uid(0);
    assert!(made.status.success() && file.exists(), "{}", said(&made));
}

#[test]
fn a_state_of_a_newer_program_is_refused_with_what_to_do() {
    let homes = Homes::new("newer", &[]);
    let database = homes.source.join("engine/engine.db");
    // SQLite keeps the schema's number at byte 60 of the file (sqlite.org/fileformat, "The Database Header").
    let mut bytes = fs::read(&database).expect("it is closed");
    bytes[60..64].copy_from_slice(&9_999_u32.to_be_bytes());
    fs::write(&database, &bytes).expect("written");
    let refused = ringfence(&homes.source, &["serve", "--tcp", "none"]);
    // The number that the unit does not start it anew for; and it is said once.
    assert_eq!(refused.status.code(), Some(78), "{}", said(&refused));
    let said = said(&refused);
    assert_eq!(said.matches("has schema 9999").count(), 1, "{said}");
    assert!(
        said.contains("has schema 9999") && said.contains("use the version that wrote it, or a newer one"),
        "{said}"
    );
    assert!(fs::read(&database).expect("readable") == bytes, "it is left as it was");
}
