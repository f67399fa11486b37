//! `ringfence sandbox cp`: files in and out, byte for byte.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, DownloadRequest, TRANSFER_BYTES_MAX, UploadRequest};

use crate::{failure, numbers, output};

/// Copies a file into a sandbox or out of it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sandbox cp prices.csv lab:/home/user/prices.csv
  ringfence sandbox cp prices.csv lab:data/          below /home/user; directories are made
  ringfence sandbox cp lab:/home/user/report.pdf .
  ringfence sandbox cp lab:result.json - | jq .      `-` is standard output or input

Files of up to 32 MiB, byte for byte. For a directory copy an archive. Write ./a:b for a local file with a colon.")]
pub(crate) struct CpArgs {
    /// A local file, `-`, or SANDBOX:PATH
    #[arg(value_name = "SOURCE")]
    source: String,
    /// A local file or directory, `-`, or SANDBOX:PATH
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    /// `-`
    Stream,
    Local(PathBuf),
    Inside {
        sandbox: String,
        path: String,
    },
}

/// As docker cp reads it: what has a colon before any slash is in a sandbox, and `./a:b` is local.
fn side(text: &str) -> Side {
    match text.split_once(':') {
        _ if text == "-" => Side::Stream,
        Some((sandbox, path)) if !sandbox.is_empty() && !sandbox.contains('/') && !sandbox.starts_with('.') => {
            Side::Inside { sandbox: sandbox.to_owned(), path: path.to_owned() }
        }
        _ => Side::Local(PathBuf::from(text)),
    }
}

/// A copy that makes sense.
#[derive(Debug, PartialEq, Eq)]
enum Copy {
    In { from: Option<PathBuf>, sandbox: String, path: String },
    Out { sandbox: String, path: String, to: Option<PathBuf> },
}

impl CpArgs {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// The sentence for the user.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.judge().map(drop)
    }

    fn judge(&self) -> anyhow::Result<Copy> {
        match (side(&self.source), side(&self.destination)) {
            (Side::Inside { .. }, Side::Inside { .. }) => {
                failure::usage("one side must be a local file: copy out first, then in")
            }
            (Side::Inside { path, .. }, _) if path.is_empty() || path.ends_with('/') => {
                failure::usage(format!("`{}` names no file in the sandbox", self.source))
            }
            (Side::Inside { sandbox, path }, Side::Stream) => Ok(Copy::Out { sandbox, path, to: None }),
            (Side::Inside { sandbox, path }, Side::Local(to)) => Ok(Copy::Out { sandbox, path, to: Some(to) }),
            (Side::Stream, Side::Inside { path, .. }) if path.is_empty() || path.ends_with('/') => {
                failure::usage("what comes from standard input needs a file name in the sandbox")
            }
            (Side::Stream, Side::Inside { sandbox, path }) => Ok(Copy::In { from: None, sandbox, path }),
            (Side::Local(from), Side::Inside { sandbox, path }) => {
                let path = if path.is_empty() || path.ends_with('/') {
                    match from.file_name().and_then(|name| name.to_str()) {
                        Some(name) => format!("{path}{name}"),
                        None => return failure::usage(format!("`{}` names no file", from.display())),
                    }
                } else {
                    path
                };
                Ok(Copy::In { from: Some(from), sandbox, path })
            }
            (Side::Stream | Side::Local(_), _) => failure::usage("one side must be in a sandbox: SANDBOX:PATH"),
        }
    }
}

pub(super) async fn run(api: &dyn Sandboxes, args: CpArgs, as_json: bool) -> anyhow::Result<i32> {
    match args.judge()? {
        Copy::In { from, sandbox, path } => copy_in(api, from.as_deref(), sandbox, path, as_json).await,
        Copy::Out { sandbox, path, to } => copy_out(api, sandbox, path, to.as_deref(), as_json).await,
    }
}

async fn copy_in(
    api: &dyn Sandboxes,
    from: Option<&Path>,
    sandbox_id: String,
    file_path: String,
    as_json: bool,
) -> anyhow::Result<i32> {
    let bytes = match from {
        Some(path) if path.is_dir() => bail!("{} is a directory; copy an archive of it: tar -cz", path.display()),
        Some(path) => {
            fs::File::open(path).and_then(read_bounded).with_context(|| format!("reading {}", path.display()))?
        }
        None => read_bounded(io::stdin().lock()).context("reading standard input")?,
    };
    let content_base64 = Some(BASE64_STANDARD.encode(bytes));
    let answer =
        api.upload(Actor::Operator, UploadRequest { sandbox_id, file_path, content: None, content_base64 }).await?;
    if as_json {
        output::json(&answer)?;
    } else {
        output::note(&format!("{} to {}", numbers::bytes(answer.size), answer.file_path));
    }
    Ok(0)
}

async fn copy_out(
    api: &dyn Sandboxes,
    sandbox_id: String,
    file_path: String,
    to: Option<&Path>,
    as_json: bool,
) -> anyhow::Result<i32> {
    if as_json && to.is_none() {
        return failure::usage("standard output cannot hold both the file and --json");
    }
    let name = file_path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut answer = api.download(Actor::Operator, DownloadRequest { sandbox_id, file_path }).await?;
    let bytes = match (answer.content.take(), answer.content_base64.take()) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(encoded)) => BASE64_STANDARD.decode(encoded).context("decoding the file")?,
        (None, None) => Vec::new(),
    };
    if bytes.len() as u64 != answer.size {
        bail!("the daemon sent {} bytes of a file of {}", bytes.len(), answer.size);
    }
    let Some(to) = to else {
        output::raw(&bytes)?;
        return Ok(0);
    };
    let to = if to.is_dir() { to.join(name) } else { to.to_owned() };
    fs::write(&to, bytes).with_context(|| format!("writing {}", to.display()))?;
    if as_json {
        output::json(&answer)?;
    } else {
        output::note(&format!("{} to {}", numbers::bytes(answer.size), to.display()));
    }
    Ok(0)
}

/// All of it, unless it is more than the daemon takes.
fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(TRANSFER_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > TRANSFER_BYTES_MAX {
        return Err(io::Error::other(format!(
            "more than {}, which is the most that can be copied",
            numbers::bytes(TRANSFER_BYTES_MAX as u64)
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(source: &str, destination: &str) -> anyhow::Result<Copy> {
        CpArgs { source: source.into(), destination: destination.into() }.judge()
    }

    #[track_caller]
    fn check_in(source: &str, destination: &str, from: Option<&str>, sandbox: &str, path: &str) {
        let expected = Copy::In { from: from.map(PathBuf::from), sandbox: sandbox.into(), path: path.into() };
        assert_eq!(judge(source, destination).expect("it makes sense"), expected);
    }

    #[track_caller]
    fn check_out(source: &str, destination: &str, sandbox: &str, path: &str, to: Option<&str>) {
        let expected = Copy::Out { sandbox: sandbox.into(), path: path.into(), to: to.map(PathBuf::from) };
        assert_eq!(judge(source, destination).expect("it makes sense"), expected);
    }

    #[test]
    fn the_side_with_a_colon_is_the_sandbox() {
        check_in("a.csv", "lab:/home/user/b.csv", Some("a.csv"), "lab", "/home/user/b.csv");
        check_in("dir/a.csv", "lab:data/", Some("dir/a.csv"), "lab", "data/a.csv");
        check_in("a.csv", "lab:", Some("a.csv"), "lab", "a.csv");
        check_in("./a:b", "lab:c:d", Some("./a:b"), "lab", "c:d");
        check_in("-", "lab:x", None, "lab", "x");
        check_out("lab:/x/y.bin", ".", "lab", "/x/y.bin", Some("."));
        check_out("lab:y.bin", "-", "lab", "y.bin", None);
        check_out("lab:y.bin", "/tmp/a:b", "lab", "y.bin", Some("/tmp/a:b"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (source, destination) in [
            ("a", "b"),
            ("lab:a", "other:b"),
            ("lab:", "."),
            ("lab:dir/", "."),
            ("-", "lab:"),
            ("-", "-"),
            ("..", "lab:"),
            ("a", "-"),
        ] {
            assert!(judge(source, destination).is_err_and(|e| e.is::<failure::Usage>()), "{source} {destination}");
        }
    }

    #[test]
    fn more_than_the_daemon_takes_is_not_read_to_its_end() {
        assert!(read_bounded(io::repeat(0)).is_err());
        assert_eq!(read_bounded(&b"\0\xff"[..]).expect("two bytes"), b"\0\xff");
    }
}
