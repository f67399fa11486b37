//! A recipe of the operator's own: a directory with a `template.toml`, and the files that it names.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

use anyhow::{Context, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ringfence_engine::template::Recipe;
use ringfence_model::api::{RecipeFile, RecipeSource};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

mod image;

pub(crate) use image::Image;

/// Bytes of one `template.toml`.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Bytes of all files: more than the daemon takes, which says so.
const BYTES_MAX: u64 = 32 << 20;

/// Files: more than the daemon takes.
const FILES_MAX: usize = 5000;

/// Directories below one another.
const DEPTH_MAX: usize = 32;

/// A recipe as it is sent.
pub(crate) struct Directory {
    /// Its name.
    pub(crate) name: String,
    /// The recipe, and the files that it names.
    pub(crate) source: RecipeSource,
    /// The image with which it begins.
    pub(crate) image: Option<Image>,
}

/// The recipe in `dir`. Nothing is read but what it names; links are refused, for whoever wrote the
/// recipe may have meant a file of yours.
///
/// # Errors
/// Something is missing, unreadable, or neither a file nor a directory.
pub(crate) fn read(dir: &Path) -> anyhow::Result<Directory> {
    let root = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("opening the directory {}", dir.display()))?;
    let mut reader = Reader { root, left: BYTES_MAX, files: Vec::new() };
    let (_, text) = reader
        .open("template.toml")
        .and_then(|file| content(file, TEXT_BYTES_MAX))
        .with_context(|| format!("reading {}", dir.join("template.toml").display()))?;
    let text = String::from_utf8(text).context("template.toml is no text in UTF-8")?;
    let recipe = Recipe::read(&text).with_context(|| format!("{}", dir.join("template.toml").display()))?;
    let mut wanted = recipe.wanted();
    wanted.sort();
    wanted.dedup();
    for path in wanted {
        if reader.files.iter().any(|file| file.path == path) {
            continue;
        }
        reader
            .take(&path, 0)
            .with_context(|| format!("reading {}, which the recipe names", dir.join(&path).display()))?;
    }
    reader.files.sort_by(|a, b| a.path.cmp(&b.path));
    reader.files.dedup_by(|a, b| a.path == b.path);
    let image = match &recipe.oci {
        Some(path) => {
            let opened = Image::open(&reader.root, path, recipe.oci_tag.clone());
            Some(opened.with_context(|| format!("reading {}, the recipe's image", dir.join(path).display()))?)
        }
        None => None,
    };
    Ok(Directory { name: recipe.name, source: RecipeSource { text, files: reader.files }, image })
}

struct Reader {
    root: OwnedFd,
    left: u64,
    files: Vec<RecipeFile>,
}

impl Reader {
    fn open(&self, path: &str) -> anyhow::Result<OwnedFd> {
        open(&self.root, path)
    }

    fn take(&mut self, path: &str, depth: usize) -> anyhow::Result<()> {
        let file = self.open(path)?;
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => {
                let (executable, content) = content(file, self.left)?;
                self.left -= content.len() as u64;
                if self.files.len() == FILES_MAX {
                    bail!("the recipe names more than {FILES_MAX} files");
                }
                self.files.push(RecipeFile {
                    path: path.to_owned(),
                    executable,
                    content_base64: BASE64_STANDARD.encode(content),
                });
                Ok(())
            }
            FileType::Directory if depth < DEPTH_MAX => {
                let mut names = Vec::new();
                for entry in Dir::read_from(&file)? {
                    let entry = entry?;
                    match entry.file_name().to_str() {
                        Ok("." | "..") => {}
                        Ok(name) => names.push(name.to_owned()),
                        Err(_) => bail!("{:?} is no name in UTF-8", entry.file_name()),
                    }
                }
                names.sort();
                for name in names {
                    let below = format!("{path}/{name}");
                    self.take(&below, depth + 1).with_context(|| below.clone())?;
                }
                Ok(())
            }
            FileType::Directory => bail!("more than {DEPTH_MAX} directories below one another"),
            _ => bail!("it is neither a file nor a directory"),
        }
    }
}

/// What lies at a path below a directory, where no link leads.
fn open(root: &OwnedFd, path: &str) -> anyhow::Result<OwnedFd> {
    // A FIFO would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), within) {
        Ok(file) => Ok(file),
        Err(rustix::io::Errno::LOOP) => bail!("it is a link, or lies behind one; put the file itself there"),
        Err(e) => Err(io::Error::from(e).into()),
    }
}

/// Whether a file is executable, and what is in it.
fn content(file: OwnedFd, bytes_max: u64) -> anyhow::Result<(bool, Vec<u8>)> {
    let executable = fstat(&file)?.st_mode & 0o100 != 0;
    let mut content = Vec::new();
    File::from(file).take(bytes_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        bail!("the recipe's files have more than {} MiB", BYTES_MAX >> 20);
    }
    Ok((executable, content))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn recipe(dir: &Path, more: &str) {
        let text = format!("name='a'\ndescription='b'\nlanguage='bash'\ndebian='bookworm'\n{more}\n");
        fs::write(dir.join("template.toml"), text).expect("a recipe");
    }

    #[test]
    fn what_is_named_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        recipe(dir.path(), "[[files]]\nfrom='app'\nto='/srv/app'\n[[files]]\nfrom='app/a'\nto='/srv/a'");
        fs::create_dir_all(dir.path().join("app/[id]")).expect("directories");
        for name in ["app/a", "app/[id]/b", "secret"] {
            fs::write(dir.path().join(name), name).expect("a file");
        }
        let Directory { name, source, image } = read(dir.path()).expect("it is read");
        assert!(name == "a" && image.is_none());
        assert_eq!(source.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["app/[id]/b", "app/a"]);
    }

    #[test]
    fn links_and_pipes_are_refused() {
        for (what, make) in [
            ("link", (|dir| symlink("/etc/shadow", dir.join("app/x")).expect("a link")) as fn(&Path)),
            ("link", |dir| symlink("..", dir.join("app/x")).expect("a link")),
            ("neither", |dir| {
                rustix::fs::mknodat(rustix::fs::CWD, dir.join("app/x"), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
            }),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            recipe(dir.path(), "[[files]]\nfrom='app'\nto='/srv/app'");
            fs::create_dir(dir.path().join("app")).expect("a directory");
            fs::write(dir.path().join("app/a"), "a").expect("a file");
            // Without it, the same directory is read.
            assert!(read(dir.path()).is_ok());
            make(dir.path());
            let refused = format!("{:#}", read(dir.path()).err().expect("refused"));
            assert!(refused.contains(what) && refused.contains("app/x"), "{refused}");
        }
    }
}
