//! The benchmark: what SPECIFICATION.md promises, measured as a client sees it, over the local API.

mod alive;
mod audit;
mod burst;
mod contender;
mod cycles;
mod export;
mod gate;
mod kernel;
mod latency;
mod leftovers;
mod packages;
mod place;
mod result;
pub(crate) mod soak;
mod subject;
mod sweep;
mod templates;
mod trade;
pub(crate) mod trials;

use anyhow::{Context, bail};
use ringfence_model::api::{Actor, BuildRequest, TemplateRequest};
use serde_json::json;

use crate::{
    args::Global,
    commands::bench::{BenchArgs, Part},
    daemon, output, progress, roles,
};
use result::{Outcome, Row};
use subject::Subject;

/// Template that everything is measured with.
const TEMPLATE: &str = "python";

/// Measures what was asked for. The exit code is 1 when something was left over.
///
/// # Errors
/// An output was wrong, or a request was refused.
pub(crate) async fn run(global: &Global, args: &BenchArgs) -> anyhow::Result<i32> {
    if !rustix::process::geteuid().is_root() {
        bail!("the benchmark reads cgroups and the layers of templates: run it as root");
    }
    if args.only == [Part::Kernel] {
        // It needs no sandbox.
        let (rows, outcomes) = kernel::run(&args.out).await?;
        return finish(global, args, &rows, &outcomes);
    }
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (sender, shown) = progress::shown(&format!("template {TEMPLATE}"));
    let request = BuildRequest { template_name: TEMPLATE.to_owned(), rebuild: false, recipe: None, image: None };
    let built = daemon.api.build(Actor::Operator, request, Some(sender)).await;
    shown.end().await;
    built.context("building the template")?;
    let named = TemplateRequest { template_name: TEMPLATE.to_owned() };
    let template = daemon.api.template(Actor::Operator, named).await?.template;
    contender::lay_out(&daemon.home, &template.layers)?;
    let subject = Subject::new(daemon.api.clone(), TEMPLATE).await?;
    let is_wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut rows: Vec<Row> = Vec::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    if is_wanted(Part::Create) || is_wanted(Part::Pandas) {
        let contenders = contender::find(&daemon.home);
        if is_wanted(Part::Create) {
            output::note("bench: create and print");
            rows.extend(latency::create_and_print(&subject, &contenders, args.rounds).await?);
        }
        if is_wanted(Part::Pandas) {
            output::note("bench: create and the pandas backtest");
            rows.extend(latency::create_and_backtest(&subject, &contenders, args.rounds.div_ceil(10)).await?);
        }
    }
    if is_wanted(Part::Execute) {
        output::note("bench: execute in a live sandbox");
        rows.push(latency::execute(&subject, args.rounds).await?);
    }
    if is_wanted(Part::Join) {
        output::note("bench: the join");
        rows.push(latency::join(&subject, args.rounds.div_ceil(3)).await?);
    }
    if is_wanted(Part::Empty) {
        output::note("bench: create with an empty shelf");
        rows.push(latency::empty_shelf(&subject, args.rounds.div_ceil(10)).await?);
    }
    if is_wanted(Part::Burst) {
        output::note("bench: a hundred at once");
        rows.push(burst::run(&subject).await?);
    }
    if is_wanted(Part::Alive) {
        output::note(&format!("bench: {} alive", args.alive));
        outcomes.extend(alive::run(&subject, args.alive).await?);
    }
    if is_wanted(Part::Cycles) {
        output::note(&format!("bench: {} cycles", args.cycles));
        let (row, found) = cycles::run(&subject, &daemon.home, args.cycles).await?;
        rows.push(row);
        outcomes.extend(found);
    }
    if is_wanted(Part::Audit) {
        output::note("bench: the audit chain");
        let (found, of_chain) = audit::run(&daemon.home, args.entries).await?;
        rows.extend(found);
        outcomes.extend(of_chain);
    }
    if is_wanted(Part::Gate) || is_wanted(Part::Polling) {
        output::note("bench: the gate");
        let wanted =
            gate::Wanted { latency: is_wanted(Part::Gate).then_some(args.rounds), polling: is_wanted(Part::Polling) };
        let (found, of_gate) = gate::run(&daemon.home, TEMPLATE, wanted).await?;
        rows.extend(found);
        outcomes.extend(of_gate);
    }
    if is_wanted(Part::Packages) {
        output::note("bench: packages that were installed before");
        let (found, above) = packages::run(&subject, &daemon.home, args.rounds.div_ceil(30)).await?;
        rows.extend(found);
        outcomes.extend(above);
    }
    if is_wanted(Part::Export) {
        output::note("bench: a template that is exported");
        let (found, of_export) = export::run(&subject, args.rounds).await?;
        rows.extend(found);
        outcomes.extend(of_export);
    }
    if is_wanted(Part::Templates) {
        rows.extend(templates::run(&daemon.api, &daemon.home, args.rounds.div_ceil(15)).await?);
    }
    if is_wanted(Part::Trade) {
        output::note("bench: trading");
        let (found, of_trade) = trade::run(&daemon.home, TEMPLATE).await?;
        rows.extend(found);
        outcomes.extend(of_trade);
    }
    if is_wanted(Part::Trials) {
        let (found, of_trials) = trials::run(&daemon.home, args.trials).await?;
        rows.extend(found);
        outcomes.extend(of_trials);
    }
    if is_wanted(Part::Sweep) {
        let (found, of_sweeps) = sweep::run(daemon.research.as_ref(), &daemon.home, args.trials).await?;
        rows.extend(found);
        outcomes.extend(of_sweeps);
    }
    if is_wanted(Part::Kernel) {
        let (found, agree) = kernel::run(&args.out).await?;
        rows.extend(found);
        outcomes.extend(agree);
    }
    finish(global, args, &rows, &outcomes)
}

/// Shows and keeps what was found: the exit code.
fn finish(global: &Global, args: &BenchArgs, rows: &[Row], outcomes: &[Outcome]) -> anyhow::Result<i32> {
    let report = json!({
        "success": outcomes.iter().all(|outcome| outcome.is_good),
        "build": roles::build_id(),
        "host": result::host(),
        "rows": rows,
        "outcomes": outcomes,
    });
    let path = result::write(&args.out, &report)?;
    if global.json {
        output::json(&report)?;
    } else {
        output::line(&result::table(rows))?;
        for outcome in outcomes {
            output::line(&format!(
                "{} {}: {}",
                if outcome.is_good { "ok  " } else { "BAD " },
                outcome.what,
                outcome.found
            ))?;
        }
    }
    output::note(&format!("bench: written to {}", path.display()));
    Ok(i32::from(outcomes.iter().any(|outcome| !outcome.is_good)))
}
