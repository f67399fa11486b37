//! What computes a sweep: this build of ringfence, and the template in which strategies run. It is told beside the table and is no part
//! of it: two machines that give the same figures give the same `table_sha256`, whatever they are made of.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::OnceLock,
};

use ringfence_model::api::Package;
use sha2::{Digest, Sha256};

/// Versions by the name of what has them.
pub(crate) type Versions = BTreeMap<String, String>;

/// The running program, whatever became of its file.
const OURSELVES: &str = "/proc/self/exe";
/// Bytes of it that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Packages of the template that strategies compute with.
const PACKAGES: [&str; 2] = ["numpy", "pandas"];

/// Ours: the version of the package, and which build of it. The first call reads the whole executable: not for a task that others wait
/// for.
pub(crate) fn own() -> Versions {
    static BUILD: OnceLock<String> = OnceLock::new();
    let build = BUILD.get_or_init(|| build_of(Path::new(OURSELVES)));
    [("ringfence", env!("CARGO_PKG_VERSION")), ("build", build.as_str())]
        .map(|(name, of)| (name.to_owned(), of.to_owned()))
        .into()
}

/// Those of a built template: one digest of all its layers, for the uppermost may be the same over others, and the packages that
/// strategies compute with. Empty where it has no layers.
pub(crate) fn of_template(layers: &[String], packages: &[Package]) -> Versions {
    if layers.is_empty() {
        return Versions::new();
    }
    let of = |name: &&str| Some(((*name).to_owned(), packages.iter().find(|p| p.name == **name)?.version.clone()));
    let mut versions: Versions = PACKAGES.iter().filter_map(of).collect();
    versions.insert("template".to_owned(), hex::encode(Sha256::digest(layers.join("\n"))));
    versions
}

/// SHA-256 of an executable: another time of installation is not another build. Of one that may be run and not read, its size and
/// the time at which it was written.
fn build_of(path: &Path) -> String {
    digest_of(path).unwrap_or_else(|error| {
        tracing::warn!(%error, "the executable cannot be read; its size and time stand for it");
        fs::metadata(path).map_or_else(
            |_| "unknown".to_owned(),
            |file| format!("{}-{}.{}", file.size(), file.mtime(), file.mtime_nsec()),
        )
    })
}

fn digest_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (fs::File::open(path)?, Sha256::new());
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_what_its_executable_holds() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).expect("written");
            path
        };
        let long = vec![7_u8; CHUNK_BYTES + 1];
        let one = build_of(&file("one", &long));
        let later = file("later", &long);
        let epoch = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
        fs::File::options().write(true).open(&later).and_then(|file| file.set_times(epoch)).expect("its time is set");
        assert_eq!(build_of(&later), one, "the same program, installed at another time");
        assert_eq!(one, hex::encode(Sha256::digest(&long)));
        // As long, and written in the same second.
        let mut other = long.clone();
        other[CHUNK_BYTES] = 8;
        assert_ne!(build_of(&file("other", &other)), one);
        assert_eq!(build_of(&dir.path().join("none")), "unknown");
        assert!(build_of(dir.path()).contains('-'), "what cannot be read is told by its size and time");
    }

    #[test]
    fn ours_are_the_version_and_the_build() {
        let own = own();
        assert_eq!(own["ringfence"], env!("CARGO_PKG_VERSION"));
        let this = std::env::current_exe().and_then(fs::read).expect("a test runs from a file");
        assert_eq!(own["build"], hex::encode(Sha256::digest(this)));
    }

    #[test]
    fn a_template_is_all_of_its_layers() {
        let layers = ["base", "python", "data"].map(str::to_owned);
        let package = |name: &str, version: &str| Package { name: name.into(), version: version.into() };
        let packages = [package("numpy", "2.4.6"), package("pip", "26.0"), package("pandas", "3.0.1")];
        let found = of_template(&layers, &packages);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["numpy", "pandas", "template"]);
        assert_eq!((found["numpy"].as_str(), found["pandas"].as_str()), ("2.4.6", "3.0.1"));
        let below = ["base", "another python", "data"].map(str::to_owned);
        assert_ne!(of_template(&below, &packages)["template"], found["template"]);
        assert_eq!(of_template(&layers, &[]).len(), 1);
        assert!(of_template(&[], &packages).is_empty());
    }
}
