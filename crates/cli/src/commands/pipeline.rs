//! `ringfence pipeline`: stages that hand files on.

mod file;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::{Args, Subcommand};
use ringfence_model::api::{
    Actor, JobKind, PipelineAnswer, PipelineCancelRequest, PipelineListRequest, PipelineOutputRequest,
    PipelineResumeRequest, PipelineStageView, PipelineStatus, PipelineStatusRequest, StageStatus,
};
use ringfence_research::api::Research;

use crate::{
    args::Global,
    commands::prune::{self, PruneArgs},
    daemon, numbers, output,
};

/// Runs stages in sandboxes of their own, which hand files on
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringfence pipeline run pipeline.toml          waits for its end; Ctrl-C leaves it running
  ringfence pipeline show pipeline_…            its stages, and the hash of every file that was handed on
  ringfence pipeline output pipeline_… analyse signal.json
  ringfence pipeline resume pipeline_… --from analyse

docs/guides/pipeline.md has a pipeline that collects, analyses and trades.")]
pub(crate) enum PipelineCommand {
    Run(RunArgs),
    Show(ShowArgs),
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Resume(ResumeArgs),
    Cancel(CancelArgs),
    Output(OutputArgs),
    Prune(PruneArgs),
}

/// Runs a pipeline that a TOML file describes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence pipeline run pipeline.toml
  ringfence pipeline run pipeline.toml --background
  ringfence pipeline run - < pipeline.toml

The file has a `[[stages]]` for each stage:

  name = \"two stages\"

  [[stages]]
  name = \"collect\"
  template = \"node\"
  file = \"collect.js\"             # beside the TOML file, or the program itself as `code`
  outputs = [\"bars.json\"]         # what it must make

  [[stages]]
  name = \"analyse\"
  template = \"python\"
  file = \"analyse.py\"
  inputs = [{ from = \"collect\", path = \"bars.json\" }]
  retries = 1

Exit code 0 when every stage ended well, else 1.")]
pub(crate) struct RunArgs {
    /// The TOML file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A name of your own, in place of the file's
    #[arg(long, short)]
    name: Option<String>,
    /// Print its id and do not wait
    #[arg(long, short)]
    background: bool,
}

/// Shows a pipeline and its stages
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringfence pipeline show pipeline_…\n  ringfence pipeline show pipeline_… --json")]
pub(crate) struct ShowArgs {
    /// Which
    #[arg(value_name = "PIPELINE")]
    id: String,
}

/// Lists pipelines, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence pipeline list -n 10")]
pub(crate) struct ListArgs {
    /// How many at most [default: 100]
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<u32>,
}

/// Runs stages of an ended pipeline again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence pipeline resume pipeline_…                  what has not ended well
  ringfence pipeline resume pipeline_… --from analyse   that stage, and all that depend on it

What is not run again is taken from what is stored. A trade stage that is run again sends its orders again.")]
pub(crate) struct ResumeArgs {
    /// Which
    #[arg(value_name = "PIPELINE")]
    id: String,
    /// The stage to begin with
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,
    /// Do not wait
    #[arg(long, short)]
    background: bool,
}

/// Ends a pipeline
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringfence pipeline cancel pipeline_…")]
pub(crate) struct CancelArgs {
    /// Which
    #[arg(value_name = "PIPELINE")]
    id: String,
}

/// Prints a file that a stage has handed on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence pipeline output pipeline_… analyse signal.json
  ringfence pipeline output pipeline_… analyse chart.png -o chart.png")]
pub(crate) struct OutputArgs {
    /// Which
    #[arg(value_name = "PIPELINE")]
    id: String,
    /// The stage that made it
    stage: String,
    /// Which of its `outputs`
    path: String,
    /// Write it there instead
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(global: Global, command: PipelineCommand) -> anyhow::Result<i32> {
    // What makes no sense is refused before a daemon is started for it.
    let request = match &command {
        PipelineCommand::Run(args) => {
            let mut request = file::read(&args.file)?;
            request.name = args.name.clone().or(request.name);
            request.wait = Some(0.0);
            request.check(Actor::Operator)?;
            Some(request)
        }
        _ => None,
    };
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (api, as_json) = (daemon.research.as_ref(), global.json);
    match (command, request) {
        (PipelineCommand::Run(args), Some(request)) => {
            let begun = api.pipeline(Actor::Operator, request, None).await?;
            follow(api, begun, args.background, as_json).await
        }
        (PipelineCommand::Resume(args), _) => {
            let request = PipelineResumeRequest { pipeline_id: args.id, from: args.from, wait: Some(0.0) };
            let begun = api.pipeline_resume(Actor::Operator, request, None).await?;
            follow(api, begun, args.background, as_json).await
        }
        (PipelineCommand::Show(args), _) => {
            let request = PipelineStatusRequest { pipeline_id: args.id, wait: None };
            show(&api.pipeline_status(Actor::Operator, request).await?, as_json)?;
            Ok(0)
        }
        (PipelineCommand::Cancel(args), _) => {
            let request = PipelineCancelRequest { pipeline_id: args.id };
            show(&api.pipeline_cancel(Actor::Operator, request).await?, as_json)?;
            Ok(0)
        }
        (PipelineCommand::List(args), _) => list(api, args, as_json).await,
        (PipelineCommand::Prune(args), _) => prune::prune(api, JobKind::Pipeline, args, as_json).await,
        (PipelineCommand::Output(args), _) => take(api, args, as_json).await,
        (PipelineCommand::Run(_), None) => anyhow::bail!("the pipeline was not read"),
    }
}

/// Waits for the end and says what happens meanwhile.
async fn follow(api: &dyn Research, begun: PipelineAnswer, background: bool, as_json: bool) -> anyhow::Result<i32> {
    const EVERY: Duration = Duration::from_millis(250);
    if background {
        if as_json {
            output::json(&begun)?;
        } else {
            output::line(begun.pipeline_id.as_str())?;
        }
        return Ok(0);
    }
    output::note(&format!("ringfence: {} runs; Ctrl-C leaves it running", begun.pipeline_id));
    let mut seen: HashMap<String, (StageStatus, u32)> = HashMap::new();
    let mut now = begun;
    loop {
        for stage in &now.stages {
            let state = (stage.status, stage.attempts);
            if seen.insert(stage.name.clone(), state) != Some(state) && state != (StageStatus::Waiting, 0) {
                output::note(&format!("  {}", sentence(stage)));
            }
        }
        if now.status != PipelineStatus::Running {
            break;
        }
        tokio::time::sleep(EVERY).await;
        let request = PipelineStatusRequest { pipeline_id: now.pipeline_id.to_string(), wait: None };
        now = api.pipeline_status(Actor::Operator, request).await?;
    }
    show(&now, as_json)?;
    Ok(i32::from(now.status != PipelineStatus::Completed))
}

/// One stage in a line.
fn sentence(stage: &PipelineStageView) -> String {
    let attempt = if stage.attempts > 1 { format!(", attempt {}", stage.attempts) } else { String::new() };
    let error = stage.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("{} {}{attempt}{error}", stage.name, stage.status.as_str())
}

fn show(answer: &PipelineAnswer, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(answer);
    }
    let name = answer.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    output::line(&format!("{}{name} {}", answer.pipeline_id, answer.status.as_str()))?;
    if let Some(error) = &answer.error {
        output::line(&format!("  {error}"))?;
    }
    for stage in &answer.stages {
        let took = stage.execution.as_ref().map(|run| format!(", {}", numbers::seconds(run.execution_time)));
        output::line(&format!("{}{}", sentence(stage), took.unwrap_or_default()))?;
        if stage.cut_off > 0 {
            output::line(&format!("  cut off by the end of the daemon {} times", stage.cut_off))?;
        }
        if let Some(trading) = &stage.trading {
            let (mode, orders, filled) = (&trading.mode, trading.orders, trading.filled);
            output::line(&format!("  traded {mode}: {orders} orders, of {filled} something was filled"))?;
            if let Some(at_end) = &trading.mode_at_end {
                output::line(&format!("  the mode of trading was {at_end} when it had ended"))?;
            }
        }
        for input in &stage.inputs {
            let (from, path, size) = (&input.from, &input.path, numbers::bytes(input.size));
            output::line(&format!("  in   {}  {size:>10}  {path} of {from}", &input.sha256[..12]))?;
        }
        for made in &stage.outputs {
            output::line(&format!("  out  {}  {:>10}  {}", &made.sha256[..12], numbers::bytes(made.size), made.path))?;
        }
        let said = stage.execution.as_ref().map(|run| run.output_tail.trim_end()).unwrap_or_default();
        for line in said.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev() {
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(160).collect();
            output::line(&format!("  | {line}"))?;
        }
    }
    Ok(())
}

async fn list(api: &dyn Research, args: ListArgs, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.pipeline_list(Actor::Operator, PipelineListRequest { limit: args.limit }).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&["pipeline", "name", "status", "stages", "begun"]);
    for one in &answer.pipelines {
        let done = format!("{} of {}", one.completed, one.stages);
        let name = one.name.as_deref().unwrap_or("-");
        table.add_row([one.pipeline_id.as_str(), name, one.status.as_str(), &done, &one.created_at]);
    }
    output::show(table)?;
    Ok(0)
}

async fn take(api: &dyn Research, args: OutputArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = PipelineOutputRequest { pipeline_id: args.id, stage: args.stage, path: args.path };
    let answer = api.pipeline_output(Actor::Operator, request).await?;
    if as_json && args.output.is_none() {
        output::json(&answer)?;
        return Ok(0);
    }
    let bytes = match (answer.content, answer.content_base64) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(encoded)) => BASE64.decode(encoded).context("reading the daemon's answer")?,
        (None, None) => Vec::new(),
    };
    match &args.output {
        Some(path) => write(path, &bytes)?,
        None => output::raw(&bytes)?,
    }
    Ok(0)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
