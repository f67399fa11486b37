//! `ringfence sandbox exec`: runs code in a sandbox that is there.

use std::{
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, EnvVars, ExecuteRequest};

use crate::{
    args,
    commands::run::{INTERRUPTED, end, interrupted, read_code},
    failure, follow, language, output,
};

/// Runs code in a sandbox
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence sandbox exec lab -c 'print(6 * 7)'
  ringfence sandbox exec lab backtest.py --timeout 10m
  echo 'ls -la' | ringfence sandbox exec lab --language bash
  ringfence sandbox exec lab count.py --input prices.csv

Each execution is a process of its own: files persist, variables do not. Standard output and error are the program's \
own, and so is the exit code; 124 when its time ran out. Ctrl-C kills the program and leaves the sandbox.")]
pub(crate) struct ExecArgs {
    /// Id or unique name
    sandbox: String,
    /// The program; without it and without -c it is read from standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The program itself
    #[arg(short = 'c', long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    code: Option<String>,
    /// python, javascript or bash [default: from the file's extension, else the template's own]
    #[arg(long, value_name = "NAME")]
    language: Option<String>,
    /// When to end the program: 90, 15m, 2h
    #[arg(long, value_name = "DURATION", default_value = "60", value_parser = args::seconds)]
    timeout: f64,
    /// An environment variable of this execution; may be repeated
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = args::key_value)]
    env: Vec<(String, String)>,
    /// Let programs see variables whose names are those of keys and whose hosts are unknown; they are masked in output
    #[arg(long)]
    expose: bool,
    /// Where it starts [default: /home/user]
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// What it reads on its standard input; `-` for this command's own
    #[arg(long, value_name = "FILE|-")]
    input: Option<PathBuf>,
}

pub(super) async fn run(api: &dyn Sandboxes, args: ExecArgs, as_json: bool) -> anyhow::Result<i32> {
    let code = match (&args.code, &args.file) {
        (Some(code), _) => code.clone(),
        (None, Some(file)) => read_code(file)?,
        (None, None) if args.input.as_deref() == Some(Path::new("-")) => {
            return failure::usage(
                "standard input cannot be both the program and its input: give the program by -c or as a file",
            );
        }
        (None, None) => {
            if io::stdin().is_terminal() {
                output::note("ringfence: reading the program from standard input; Ctrl-D ends it");
            }
            read_code(Path::new("-"))?
        }
    };
    let language = match (&args.language, &args.file) {
        (Some(name), _) => match language::of_name(name) {
            Some(language) => Some(language),
            None => return failure::usage(format!("`{name}` is not a language: use python, javascript or bash")),
        },
        (None, Some(file)) => language::of_file(file, &code),
        (None, None) => None,
    };
    let mark = Mark::new()?;
    let mut env: std::collections::BTreeMap<String, String> = args.env.into_iter().collect();
    env.insert(Mark::NAME.to_owned(), mark.0.clone());
    let request = ExecuteRequest {
        sandbox_id: args.sandbox.clone(),
        code,
        language: language.map(|l| l.name.to_owned()),
        env_vars: EnvVars::new(env),
        expose: args.expose,
        working_dir: args.workdir,
        timeout: Some(args.timeout),
        stdin: args.input.as_deref().map(read_input).transpose()?,
        ..ExecuteRequest::default()
    };
    tokio::select! {
        done = follow::execute(api, request, !as_json) => {
            // Nobody reads on: the program has no reason to run on.
            if done.as_ref().is_err_and(|e| e.is::<io::Error>()) {
                mark.kill(api, &args.sandbox).await?;
            }
            end(&done?, true, as_json)
        }
        () = interrupted() => {
            mark.kill(api, &args.sandbox).await?;
            Ok(INTERRUPTED)
        }
    }
}

fn read_input(path: &Path) -> anyhow::Result<String> {
    if path != Path::new("-") {
        return std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).context("reading the program's input")?;
    Ok(text)
}

/// A variable by which the processes of one execution can be told from the others in its sandbox. The API has no call
/// that ends one execution, so they are found from inside, by what their environment was when they began.
struct Mark(String);

impl Mark {
    const NAME: &str = "RINGFENCE_CLIENT";

    fn new() -> io::Result<Self> {
        let mut bytes = [0_u8; 12];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// Kills what bears the mark, twice: what was forked during the first round has it too.
    async fn kill(&self, api: &dyn Sandboxes, sandbox: &str) -> anyhow::Result<()> {
        const SECONDS: f64 = 10.0;
        let request = ExecuteRequest {
            sandbox_id: sandbox.to_owned(),
            code: self.script(),
            language: Some("bash".to_owned()),
            timeout: Some(SECONDS),
            wait: Some(SECONDS),
            ..ExecuteRequest::default()
        };
        api.execute(Actor::Operator, request).await.context("killing the program; it may still run")?;
        Ok(())
    }

    fn script(&self) -> String {
        format!(
            "for round in 1 2; do\n\
             \x20 for environ in /proc/[0-9]*/environ; do\n\
             \x20   pid=${{environ#/proc/}}\n\
             \x20   if grep -qsxzF '{}={}' \"$environ\"; then kill -KILL \"${{pid%/environ}}\"; fi\n\
             \x20 done\n\
             done 2>/dev/null\n\
             true\n",
            Self::NAME,
            self.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_kills_what_bears_the_mark_and_nothing_else() -> anyhow::Result<()> {
        let mark = Mark::new()?;
        let mut marked = std::process::Command::new("sleep").arg("60").env(Mark::NAME, &mark.0).spawn()?;
        let mut other = std::process::Command::new("sleep").arg("60").env(Mark::NAME, "another").spawn()?;
        // The child has its new environment once it was executed.
        let environ = format!("/proc/{}/environ", marked.id());
        let begin = std::time::Instant::now();
        while !std::fs::read_to_string(&environ)?.contains(&mark.0) && begin.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        assert!(std::process::Command::new("bash").arg("-c").arg(mark.script()).status()?.success());
        let ended = marked.wait()?;
        let runs_on = other.try_wait()?.is_none();
        other.kill()?;
        other.wait()?;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
        assert!(runs_on);
        Ok(())
    }
}
