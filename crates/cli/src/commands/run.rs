//! `ringfence run`: a program in a sandbox of its own, which is deleted afterwards.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{
    Actor, CreateRequest, EXECUTION_S_DEFAULT, EnvVars, ExecuteRequest, ExecutionAnswer, LIFETIME_S_MAX, SandboxRequest,
};

use crate::{
    args, args::Global, daemon, failure, follow, language, language::Language, network::NetworkArgs, output, progress,
};

/// Runs a program in a sandbox of its own, and deletes that
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence run backtest.py
  ringfence run sweep.py --timeout 10m --env SYMBOL=AAPL
  curl -s https://example.org/script.py | ringfence run - --language python
  ringfence run job.sh --json | jq .memory_peak_bytes
  ringfence run job.py --keep                 the sandbox stays
  ringfence run fetch.py --allow api.example.com --secret EXAMPLE_KEY

Standard output and error are the program's own. The exit code is the program's own, 124 when its time ran out. \
Ctrl-C deletes the sandbox.")]
pub(crate) struct RunArgs {
    /// The program; `-` reads it from standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// What the sandbox is made from [default: the template of the language]
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// python, javascript or bash [default: from the file's extension or first line]
    #[arg(long, value_name = "NAME")]
    language: Option<String>,
    /// When to end the program: 90, 15m, 2h
    #[arg(long, value_name = "DURATION", default_value = "60", value_parser = args::seconds)]
    timeout: f64,
    /// An environment variable; may be repeated
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = args::key_value)]
    env: Vec<(String, String)>,
    /// Let programs see variables whose names are those of keys and whose hosts are unknown; they are masked in output
    #[arg(long)]
    expose: bool,
    /// Keep the sandbox
    #[arg(long)]
    keep: bool,
    /// A Python package to install, with a version where it matters (`numpy==2.3.1`); may be repeated
    #[arg(long = "install", value_name = "PACKAGE")]
    packages: Vec<String>,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) async fn run(global: Global, args: RunArgs) -> anyhow::Result<i32> {
    let code = read_code(&args.file)?;
    let language = judge_language(&args, &code)?;
    let template = match (&args.template, language) {
        (Some(template), _) => template.clone(),
        (None, Some(language)) => language.template.to_owned(),
        (None, None) => "python".to_owned(),
    };
    let (network, secrets) = args.network.for_new()?;
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let api = daemon.api.as_ref();
    let sandbox = create(
        api,
        CreateRequest {
            template,
            network,
            secrets,
            install_packages: args.packages.clone(),
            env_vars: EnvVars::new(args.env.iter().cloned().collect()),
            expose: args.expose,
            ..CreateRequest::default()
        },
        args.timeout,
    )
    .await?;
    let request = ExecuteRequest {
        sandbox_id: sandbox.clone(),
        code,
        language: language.map(|l| l.name.to_owned()),
        timeout: Some(args.timeout),
        ..ExecuteRequest::default()
    };
    let done = tokio::select! {
        done = follow::execute(api, request, !global.json) => Some(done),
        () = interrupted() => None,
    };
    let mut deleted = Ok(());
    if args.keep {
        output::note(&format!("ringfence: kept sandbox {sandbox}; `ringfence sandbox rm {sandbox}` deletes it"));
    } else {
        deleted = api.delete(Actor::Operator, SandboxRequest { sandbox_id: sandbox.clone() }).await.map(drop);
    }
    // What became of the program first: when the daemon stops meanwhile, neither ends well.
    let code = match done {
        None => Ok(INTERRUPTED),
        Some(answer) => answer.and_then(|answer| end(&answer, args.keep, global.json)),
    };
    if let Err(error) = deleted {
        output::note(&format!(
            "ringfence: sandbox {sandbox} was not deleted: {error}; `ringfence sandbox rm {sandbox}` deletes it"
        ));
        return code.map(|code| if code == 0 { 1 } else { code });
    }
    code
}

/// Exit code after Ctrl-C, as shells report it: 128 and SIGINT.
pub(crate) const INTERRUPTED: i32 = 130;

/// Ctrl-C, or a polite kill.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => if pressed.is_err() { std::future::pending::<()>().await },
        _ = terminated.recv() => {}
    }
}

/// What remains to be said about a program that ended, in a sandbox that stays or not.
pub(crate) fn end(answer: &ExecutionAnswer, stays: bool, as_json: bool) -> anyhow::Result<i32> {
    if as_json {
        output::json(answer)?;
    } else {
        follow::remarks(answer, stays);
    }
    Ok(follow::exit_code(answer))
}

/// A program from a file or standard input.
pub(crate) fn read_code(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut code = String::new();
        std::io::stdin().lock().read_to_string(&mut code).context("reading the program from standard input")?;
        return Ok(code);
    }
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

fn judge_language(args: &RunArgs, code: &str) -> anyhow::Result<Option<Language>> {
    match &args.language {
        Some(name) => match language::of_name(name) {
            Some(language) => Ok(Some(language)),
            None => failure::usage(format!("`{name}` is not a language: use python, javascript or bash")),
        },
        None => match language::of_file(&args.file, code) {
            Some(language) => Ok(Some(language)),
            // A template that was named has a language of its own.
            None if args.template.is_some() => Ok(None),
            None => failure::usage(
                "the program's language is not clear from its name: add --language python, javascript or bash",
            ),
        },
    }
}

async fn create(api: &dyn Sandboxes, request: CreateRequest, timeout_s: f64) -> anyhow::Result<String> {
    // Time enough for the program; the sandbox outlives it only until it is deleted, or until this process died.
    const SPARE_S: f64 = 60.0;
    let lifetime = (timeout_s.max(EXECUTION_S_DEFAULT) + SPARE_S).min(LIFETIME_S_MAX as f64);
    let (sender, shown) = progress::shown(&format!("template {}", request.template));
    let request = CreateRequest { timeout: Some(lifetime.ceil() as u64), ..request };
    let created = api.create(Actor::Operator, request, Some(sender)).await;
    shown.end().await;
    let created = created?;
    for warning in &created.warnings {
        output::note(&format!("ringfence: {warning}"));
    }
    Ok(created.sandbox_id.to_string())
}
