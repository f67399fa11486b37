//! A pipeline as a TOML file: the arguments of `pipeline_run`, and programs in files beside it.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use ringfence_model::api::{CODE_BYTES_MAX, PipelineRequest};
use serde::Deserialize;
use toml::Value;

/// Bytes of the TOML file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads one; `-` is standard input, and files beside it are then beside nothing but the working directory.
///
/// # Errors
/// A file cannot be read, or does not describe a pipeline.
pub(super) fn read(path: &Path) -> anyhow::Result<PipelineRequest> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text).context("reading standard input")?;
        return parse(&text, Path::new("."), "standard input");
    }
    let shown = path.display().to_string();
    let text = text(path, FILE_BYTES_MAX)?;
    parse(&text, path.parent().unwrap_or(Path::new(".")), &shown)
}

fn text(path: &Path, bytes_max: u64) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    file.take(bytes_max + 1).read_to_string(&mut text).with_context(|| format!("reading {}", path.display()))?;
    if text.len() as u64 > bytes_max {
        bail!("{} has more than {bytes_max} bytes", path.display());
    }
    Ok(text)
}

fn parse(toml: &str, beside: &Path, shown: &str) -> anyhow::Result<PipelineRequest> {
    let mut pipeline: toml::Table = toml::from_str(toml).with_context(|| format!("{shown} is not TOML"))?;
    let stages = pipeline.get_mut("stages").and_then(Value::as_array_mut);
    let Some(stages) = stages else { bail!("{shown} has no `[[stages]]`") };
    for (number, stage) in stages.iter_mut().enumerate() {
        let Some(stage) = stage.as_table_mut() else { bail!("{shown}: stage {} is no table", number + 1) };
        let Some(file) = stage.remove("file") else { continue };
        let Some(file) = file.as_str() else { bail!("{shown}: `file` of stage {} is no text", number + 1) };
        if stage.contains_key("code") {
            bail!("{shown}: stage {} has both `file` and `code`; give one of them", number + 1);
        }
        let path: PathBuf = beside.join(file);
        stage.insert("code".to_owned(), Value::String(text(&path, CODE_BYTES_MAX as u64)?));
    }
    PipelineRequest::deserialize(Value::Table(pipeline)).with_context(|| format!("{shown} is not a pipeline"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(toml: &str, word: &str) {
        let error = parse(toml, Path::new("/nowhere"), "x.toml").expect_err("refused");
        assert!(format!("{error:#}").contains(word), "{error:#}");
    }

    #[test]
    fn programs_are_read_from_beside_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a.py"), "print(1)").expect("written");
        let path = dir.path().join("p.toml");
        let toml = "name = 'n'\n[[stages]]\nname = 'a'\ntemplate = 'python'\nfile = 'a.py'\noutputs = ['x']\n\
                    [[stages]]\nname = 'b'\ntemplate = 'node'\ncode = '1'\ninputs = [{ from = 'a', path = 'x' }]\ntimeout = 5";
        std::fs::write(&path, toml).expect("written");
        let request = read(&path).expect("a pipeline");
        assert_eq!((request.stages[0].code.as_str(), request.stages[1].timeout), ("print(1)", Some(5.0)));
        assert_eq!(request.stages[1].inputs[0].from, "a");
    }

    #[test]
    fn what_is_wrong_is_said() {
        check("name = ", "is not TOML");
        check("name = 'a'", "no `[[stages]]`");
        check("[[stages]]\nname = 'a'\ntemplate = 'python'\nfile = 'gone.py'", "gone.py");
        check("[[stages]]\nname = 'a'\ntemplate = 'python'\nfile = 'a'\ncode = 'b'", "both `file` and `code`");
        check("[[stages]]\nname = 'a'\ntemplate = 'python'\ncode = 'b'\nfiles = 1", "files");
        check("[[stages]]\nname = 'a'\ncode = 'b'", "template");
    }
}
