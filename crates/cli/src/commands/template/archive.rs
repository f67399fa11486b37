//! `ringfence template export`, `import` and `rm`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use futures::StreamExt;
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    ApiError,
    api::{Actor, ImportRequest, TemplateRequest},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{numbers, output};

/// Writes an exported template to a file, for another machine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence template export alpaca-trading-v1 alpaca-trading-v1.tar.zst
  ringfence template export alpaca-trading-v1 - | ssh other sudo ringfence template import -

The file is a tar compressed with zstd. It holds all layers of the template, each with its SHA-256, so that it needs nothing else \
there. The same template gives the same bytes.")]
pub(crate) struct ExportArgs {
    /// Which
    name: String,
    /// Where; `-` is standard output
    file: PathBuf,
}

/// Reads a template that was exported, here or elsewhere
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence template import alpaca-trading-v1.tar.zst
  ringfence template import alpaca-trading-v1.tar.zst --name theirs

What is in the file is somebody's programs: they run in sandboxes only. A file that was changed, or that holds what ringfence does not \
write, is refused.")]
pub(crate) struct ImportArgs {
    /// Which; `-` is standard input
    file: PathBuf,
    /// Another name than the one in the file
    #[arg(long)]
    name: Option<String>,
    /// Add a version to a template that is there
    #[arg(long)]
    new_version: bool,
}

/// Deletes templates that were exported from a sandbox or built from a recipe of your own
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringfence template rm alpaca-trading-v1")]
pub(crate) struct RmArgs {
    /// Which
    #[arg(required = true)]
    names: Vec<String>,
}

const BLOCK: usize = 256 << 10;

pub(super) async fn export(api: &dyn Sandboxes, args: ExportArgs, as_json: bool) -> anyhow::Result<i32> {
    let request = TemplateRequest { template_name: args.name.clone() };
    let mut chunks = api.template_archive(Actor::Operator, request).await?;
    if args.file.as_os_str() == "-" {
        let mut out = tokio::io::stdout();
        while let Some(chunk) = chunks.next().await {
            out.write_all(&chunk?).await.context("writing to standard output")?;
        }
        out.flush().await.context("writing to standard output")?;
        return Ok(0);
    }
    // Beside it, and named when it is whole.
    let mut unfinished = args.file.clone().into_os_string();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let written = async {
        let mut file = tokio::fs::File::create(&unfinished).await?;
        let (mut size, meter) = (0_u64, Meter::new("writing"));
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            meter.at(size);
            file.write_all(&chunk).await?;
        }
        file.sync_all().await?;
        tokio::fs::rename(&unfinished, &args.file).await?;
        Ok::<_, anyhow::Error>(size)
    };
    let size = match written.await {
        Ok(size) => size,
        Err(error) => {
            let _ = tokio::fs::remove_file(&unfinished).await;
            return Err(error.context(format!("writing {}", args.file.display())));
        }
    };
    if as_json {
        output::json(
            &serde_json::json!({"success": true, "template_name": args.name, "file": args.file, "bytes": size}),
        )?;
    } else {
        output::line(&format!("{}: {}", args.file.display(), numbers::bytes(size)))?;
    }
    Ok(0)
}

pub(super) async fn import(api: &dyn Sandboxes, args: ImportArgs, as_json: bool) -> anyhow::Result<i32> {
    let from: std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>> = if args.file.as_os_str() == "-" {
        Box::pin(tokio::io::stdin())
    } else {
        let file = tokio::fs::File::open(&args.file).await;
        Box::pin(file.with_context(|| format!("opening {}", args.file.display()))?)
    };
    let meter = Meter::new("reading");
    let chunks = futures::stream::try_unfold((from, 0_u64, meter), |(mut from, size, meter)| async move {
        let mut buffer = vec![0; BLOCK];
        let count = from.read(&mut buffer).await.map_err(|_| ApiError::internal("the file could not be read"))?;
        buffer.truncate(count);
        meter.at(size + count as u64);
        Ok((count > 0).then(|| (buffer.into(), (from, size + count as u64, meter))))
    });
    let request = ImportRequest { template_name: args.name, new_version: args.new_version };
    let answer = api.template_import(Actor::Operator, request, chunks.boxed()).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let t = &answer.template;
    output::line(&format!("template {} version {}: {} packages", t.name, t.version, t.packages.len()))?;
    if let Some(needs) = t.exported.as_ref().map(|e| &e.env_vars_required).filter(|names| !names.is_empty()) {
        output::line(&format!("needs: {}", needs.join(", ")))?;
    }
    Ok(0)
}

pub(super) async fn rm(api: &dyn Sandboxes, args: RmArgs, as_json: bool) -> anyhow::Result<i32> {
    let mut answers = Vec::new();
    for template_name in args.names {
        let answer = api.template_delete(Actor::Operator, TemplateRequest { template_name }).await?;
        if !as_json {
            output::line(&format!("{}: {}", answer.template_name, answer.message))?;
        }
        answers.push(answer);
    }
    if as_json {
        output::json(&answers)?;
    }
    if answers.is_empty() {
        bail!("no template was named");
    }
    Ok(0)
}

/// Says on a terminal how far a file is.
struct Meter {
    what: &'static str,
    bar: Option<indicatif::ProgressBar>,
}

impl Meter {
    fn new(what: &'static str) -> Self {
        use std::io::IsTerminal;
        let bar = std::io::stderr().is_terminal().then(indicatif::ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            const TICK: Duration = Duration::from_millis(120);
            bar.enable_steady_tick(TICK);
        }
        Self { what, bar }
    }

    fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} {}", self.what, numbers::bytes(bytes)));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
