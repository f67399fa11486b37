//! Installing: look at everything first, refuse as a whole, and only then write.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::Serialize;

use super::{
    Place,
    manifest::{Manifest, write_whole},
    plan::{self, Planned},
};

/// What becomes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// There is none yet.
    Write,
    /// An earlier installation's is replaced.
    Replace,
    /// It is there as it should be.
    Keep,
    /// An earlier installation's is no part of this one.
    Remove,
}

impl Action {
    /// As people read it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Remove => "remove",
        }
    }
}

/// One line of what is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Done {
    /// What.
    pub(crate) action: Action,
    /// Where, on the installed system.
    pub(crate) path: PathBuf,
    /// Length of what is written.
    pub(crate) bytes: u64,
}

/// Installs, or says what would be done.
///
/// # Errors
/// Something is in the way that no installation wrote, and then nothing was changed; or writing failed, and then what was written is
/// listed, so that another run goes on.
pub(crate) fn install(place: &Place, dry_run: bool) -> anyhow::Result<Vec<Done>> {
    let plan = plan::files(place)?;
    let manifest_path = place.real(&place.manifest());
    place.check_way(&place.manifest())?;
    let before = Manifest::load(&manifest_path)?.unwrap_or_else(Manifest::new);
    let done = look(place, &plan, &before)?;
    if dry_run {
        return Ok(done);
    }
    // First what may be there from now on: a run that is cut short can be repeated, and undone.
    let mut during = before.clone();
    for file in &plan {
        during.allow(&file.path, &file.sha256);
        make_way(place, &file.path, &mut during.dirs)?;
    }
    make_way(place, &place.manifest(), &mut during.dirs)?;
    during.save(&manifest_path)?;
    for (file, done) in plan.iter().zip(&done) {
        let real = place.real(&file.path);
        match done.action {
            Action::Keep => fs::set_permissions(&real, fs::Permissions::from_mode(file.mode)),
            _ => file.open().and_then(|mut content| write_whole(&real, file.mode, &mut content)),
        }
        .with_context(|| format!("writing {}", real.display()))?;
    }
    for stale in done.iter().filter(|done| done.action == Action::Remove) {
        let real = place.real(&stale.path);
        fs::remove_file(&real).with_context(|| format!("removing {}", real.display()))?;
    }
    let mut after = Manifest::new();
    after.dirs = during.dirs;
    plan.iter().for_each(|file| after.allow(&file.path, &file.sha256));
    // What an earlier version wrote and somebody has changed since stays, and stays known.
    for file in before.files {
        if after.get(&file.path).is_none() && fs::symlink_metadata(place.real(&file.path)).is_ok() {
            after.files.push(file);
        }
    }
    after.save(&manifest_path)?;
    Ok(done)
}

/// What is to be done: a line for each planned file, in their order, then those that go.
fn look(place: &Place, plan: &[Planned], before: &Manifest) -> anyhow::Result<Vec<Done>> {
    let (mut done, mut in_the_way) = (Vec::new(), Vec::new());
    for file in plan {
        place.check_way(&file.path)?;
        match action(place, file, before)? {
            Ok(action) => done.push(Done { action, path: file.path.clone(), bytes: file.bytes }),
            Err(why) => in_the_way.push(format!("{} {why}", place.real(&file.path).display())),
        }
    }
    if !in_the_way.is_empty() {
        bail!("nothing was changed, for this is in the way:\n  {}", in_the_way.join("\n  "));
    }
    for file in before.files.iter().filter(|file| plan.iter().all(|planned| planned.path != file.path)) {
        let is_ours = |(digest, _): &(String, u64)| file.sha256.contains(digest);
        if regular(&place.real(&file.path))?.as_ref().is_some_and(is_ours) {
            done.push(Done { action: Action::Remove, path: file.path.clone(), bytes: 0 });
        }
    }
    Ok(done)
}

fn action(place: &Place, file: &Planned, before: &Manifest) -> anyhow::Result<Result<Action, &'static str>> {
    let real = place.real(&file.path);
    match fs::symlink_metadata(&real) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Ok(Action::Write)),
        Err(e) => return Err(e).with_context(|| format!("looking at {}", real.display())),
        Ok(found) if !found.is_file() => return Ok(Err("is no ordinary file: move it away")),
        Ok(_) => {}
    }
    let (found, _) = plan::digest(&real).with_context(|| format!("reading {}", real.display()))?;
    Ok(match before.get(&file.path) {
        // To the byte what would be written, whoever put it there.
        _ if found == file.sha256 => Ok(Action::Keep),
        Some(known) if known.sha256.contains(&found) => Ok(Action::Replace),
        Some(_) if file.path.ends_with(super::UNIT) => Err("was changed since it was installed: keep the change in \
             /etc/systemd/system/ringfence.service.d/local.conf (`systemctl edit ringfence`), and remove the file"),
        Some(_) => Err("was changed since it was installed: move it away"),
        None => Err("was not written by `ringfence install`: move it away, or choose another --prefix"),
    })
}

/// Digest and length of an ordinary file, if it is one.
pub(super) fn regular(path: &Path) -> anyhow::Result<Option<(String, u64)>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {
            plan::digest(path).map(Some).with_context(|| format!("reading {}", path.display()))
        }
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("looking at {}", path.display())),
    }
}

/// Makes the directories of a file that are missing, and lists them.
fn make_way(place: &Place, path: &Path, made: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    const MODE: u32 = 0o755;
    let mut dirs: Vec<&Path> = path.ancestors().skip(1).filter(|dir| *dir != Path::new("/")).collect();
    dirs.reverse();
    for dir in dirs {
        let real = place.real(dir);
        match fs::DirBuilder::new().mode(MODE).create(&real) {
            Ok(()) => {
                fs::set_permissions(&real, fs::Permissions::from_mode(MODE))
                    .with_context(|| format!("opening {}", real.display()))?;
                if !made.iter().any(|known| known == dir) {
                    made.push(dir.to_owned());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| format!("making {}", real.display())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::{UNIT, remove::remove};

    fn place() -> (tempfile::TempDir, Place) {
        let root = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(root.path()), Path::new("/usr/local")).expect("right");
        (root, place)
    }

    fn actions(done: &[Done]) -> Vec<Action> {
        let mut actions: Vec<Action> = done.iter().map(|done| done.action).collect();
        actions.dedup();
        actions
    }

    fn everything_below(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                found.extend(everything_below(&path));
            }
            found.push(path);
        }
        found
    }

    #[test]
    fn a_second_run_changes_nothing_and_removing_leaves_nothing() {
        let (root, place) = place();
        assert_eq!(actions(&install(&place, true).expect("a plan")), [Action::Write]);
        assert!(everything_below(root.path()).is_empty(), "a dry run writes nothing");
        assert_eq!(actions(&install(&place, false).expect("installed")), [Action::Write]);
        let manifest = fs::read(place.real(&place.manifest())).expect("a manifest");
        assert_eq!(actions(&install(&place, false).expect("again")), [Action::Keep]);
        assert_eq!(fs::read(place.real(&place.manifest())).expect("a manifest"), manifest);
        let removed = remove(&place, false).expect("removed");
        assert!(removed.left.is_empty() && removed.files.len() > 50, "{removed:?}");
        assert!(everything_below(root.path()).is_empty(), "{:?}", everything_below(root.path()));
    }

    #[test]
    fn what_another_wrote_is_in_the_way_and_nothing_is_written_then() {
        let (root, place) = place();
        let unit = root.path().join("etc/systemd/system").join(UNIT);
        fs::create_dir_all(unit.parent().expect("below")).expect("directories");
        fs::write(&unit, "[Service]\n").expect("a unit");
        let before = everything_below(root.path());
        let refused = format!("{:#}", install(&place, false).expect_err("in the way"));
        assert!(refused.contains("was not written by `ringfence install`"), "{refused}");
        assert_eq!(everything_below(root.path()), before);
        fs::remove_file(&unit).expect("removed");
        std::os::unix::fs::symlink("/etc/passwd", &unit).expect("a link");
        assert!(format!("{:#}", install(&place, false).expect_err("a link")).contains("no ordinary file"));
    }

    #[test]
    fn an_earlier_version_is_replaced_and_what_was_changed_since_is_not() {
        let (root, place) = place();
        install(&place, false).expect("installed");
        // An earlier version: another text of a page, and a page that is none any more.
        let (old, gone) = (root.path().join("usr/local/share/man/man1/ringfence.1"), "/usr/local/share/man/man1/old.1");
        fs::write(&old, "old").expect("written");
        fs::write(place.real(Path::new(gone)), "gone").expect("written");
        let path = place.real(&place.manifest());
        let mut manifest = Manifest::load(&path).expect("readable").expect("there");
        let of = |file: &Path| plan::digest(file).expect("readable").0;
        manifest.files.retain(|file| !file.path.ends_with("ringfence.1"));
        manifest.allow(Path::new("/usr/local/share/man/man1/ringfence.1"), &of(&old));
        manifest.allow(Path::new(gone), &of(&place.real(Path::new(gone))));
        manifest.save(&path).expect("saved");
        let done = install(&place, false).expect("installed");
        let of = |action| done.iter().filter(|done| done.action == action).map(|done| &done.path).collect::<Vec<_>>();
        assert_eq!(of(Action::Replace), [Path::new("/usr/local/share/man/man1/ringfence.1")]);
        assert_eq!(of(Action::Remove), [Path::new(gone)]);
        assert!(!place.real(Path::new(gone)).exists());
        let unit = root.path().join("etc/systemd/system").join(UNIT);
        fs::write(&unit, "changed").expect("written");
        let refused = format!("{:#}", install(&place, false).expect_err("changed"));
        assert!(refused.contains("systemctl edit ringfence"), "{refused}");
        let removed = remove(&place, false).expect("removed");
        assert_eq!(removed.left, [Path::new("/etc/systemd/system").join(UNIT)]);
        assert_eq!(fs::read_to_string(&unit).expect("it stays"), "changed");
        fs::remove_file(&unit).expect("removed");
        assert!(remove(&place, false).expect("the rest").left.is_empty());
        assert!(everything_below(root.path()).is_empty(), "{:?}", everything_below(root.path()));
    }
}
