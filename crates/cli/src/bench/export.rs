//! A template that is exported from a sandbox with the seed document's packages: how long that takes, sandboxes that are made from
//! it, and the memory of a hundred of them.

use std::time::Instant;

use anyhow::{Context, ensure};
use ringfence_model::api::{
    Actor, ConfigureRequest, CreateRequest, ExecuteRequest, ExecutionStatus, ExportRequest, LimitsRequest,
    SandboxRequest, TemplateRequest,
};

use super::{
    alive,
    contender::Program,
    result::{Outcome, Row},
    subject::Subject,
};

/// Its name while it is measured.
const TEMPLATE: &str = "bench-exported";

/// The list of the seed document.
const PACKAGES: [&str; 6] = ["alpaca-py", "yfinance", "ta-lib", "pandas", "numpy", "scikit-learn"];

/// Exports that are measured.
const EXPORTS: usize = 3;

/// Sandboxes of one template at once.
const ALIVE: u32 = 100;

/// Shows that they are there.
const IMPORT: &str = "import alpaca, yfinance, talib, pandas, numpy, sklearn; print('imported')";

/// Measures all of it, and deletes the template.
///
/// # Errors
/// A request was refused, or an output was wrong.
pub(super) async fn run(subject: &Subject, rounds: u32) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let sandbox = subject.create().await?.sandbox_id.to_string();
    let request = ConfigureRequest {
        sandbox_id: sandbox.clone(),
        install_packages: PACKAGES.map(str::to_owned).into(),
        ..ConfigureRequest::default()
    };
    subject.api.configure(Actor::Operator, request).await?;
    // Of an earlier measurement that broke off.
    let named = || TemplateRequest { template_name: TEMPLATE.to_owned() };
    let _ = subject.api.template_delete(Actor::Operator, named()).await;
    let mut exports = Vec::new();
    let (mut size, mut packages) = (0, 0);
    for _ in 0..EXPORTS {
        let request = ExportRequest {
            sandbox_id: sandbox.clone(),
            template_name: TEMPLATE.to_owned(),
            new_version: true,
            ..ExportRequest::default()
        };
        let begin = Instant::now();
        let made = subject.api.export_template(Actor::Operator, request, None).await?;
        exports.push(begin.elapsed().as_secs_f64());
        (size, packages) = (made.size_bytes, made.packages.len());
    }
    subject.delete(&sandbox).await?;
    let mut rows = vec![Row::of("export a template, the seed's packages", "ringfence", exports)?];

    let first = Instant::now();
    imported(subject).await?;
    let mut outcomes = vec![Outcome {
        what: "exported template, first sandbox".into(),
        found: format!(
            "{:.3} s until it has imported its packages; {packages} packages, {} on top of the base",
            first.elapsed().as_secs_f64(),
            crate::numbers::bytes(size)
        ),
        data: serde_json::json!({"seconds": first.elapsed().as_secs_f64(), "packages": packages, "bytes": size}),
        is_good: true,
    }];
    let exported = Subject::new(subject.api.clone(), TEMPLATE).await?;
    let print = Program::print(1);
    let mut filled = Vec::new();
    for _ in 0..rounds {
        filled.push(exported.once(&print).await?);
        exported.settle().await?;
    }
    rows.push(Row::of("create and print, exported template", "ringfence, shelf filled", filled)?);
    let mut empty = Vec::new();
    for _ in 0..rounds.div_ceil(10) {
        empty.push(without_shelf(&exported, &print).await?);
    }
    rows.push(Row::of("create and print, exported template", "ringfence, shelf empty", empty)?);
    for outcome in alive::run(&exported, ALIVE).await? {
        outcomes.push(Outcome { what: format!("exported template, {ALIVE} {}", outcome.what), ..outcome });
    }
    subject.api.template_delete(Actor::Operator, named()).await?;
    Ok((rows, outcomes))
}

/// A sandbox of limits that no shelf has, and the program's output in it.
async fn without_shelf(subject: &Subject, program: &Program) -> anyhow::Result<f64> {
    let limits = LimitsRequest { memory_mb: Some(1000), ..LimitsRequest::default() };
    let request = CreateRequest { template: TEMPLATE.to_owned(), limits: Some(limits), ..CreateRequest::default() };
    let begin = Instant::now();
    let sandbox = subject.api.create(Actor::Operator, request, None).await?.sandbox_id.to_string();
    let run = subject.execute(&sandbox, program).await;
    let seconds = begin.elapsed().as_secs_f64();
    subject.delete(&sandbox).await?;
    run?;
    Ok(seconds)
}

async fn imported(subject: &Subject) -> anyhow::Result<()> {
    let request = CreateRequest { template: TEMPLATE.to_owned(), ..CreateRequest::default() };
    let sandbox = subject.api.create(Actor::Operator, request, None).await?.sandbox_id.to_string();
    let request = ExecuteRequest {
        sandbox_id: sandbox.clone(),
        code: IMPORT.to_owned(),
        timeout: Some(120.0),
        ..ExecuteRequest::default()
    };
    let answer = subject.api.execute(Actor::Operator, request).await;
    subject.api.delete(Actor::Operator, SandboxRequest { sandbox_id: sandbox }).await?;
    let answer = answer.context("importing the packages")?;
    ensure!(answer.status == ExecutionStatus::Completed, "the packages cannot be imported: {}", answer.stderr);
    Ok(())
}
