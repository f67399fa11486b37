//! `GET /metrics`: the health of the daemon in the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), with names and units as its conventions have them
//! (<https://prometheus.io/docs/practices/naming/>). Counters begin at 0 with the process that counts.
//!
//! Labels are words of ours, never a name or an id: whoever may create sandboxes or templates chooses those, and could make
//! series without end.

use std::fmt::{Display, Write};

use axum::{
    Extension,
    http::header,
    response::{IntoResponse, Response},
};
use ringfence_engine::api::{Distribution, Figures};
use ringfence_model::{
    Caller, Project,
    api::{Actor, HealthAnswer},
    net::control::GateFigures,
};

use super::{Face, Refused, reply::answer};

/// The media type of the format.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What Prometheus scrapes. Scoped and refused like `/v1/health`; figures of the whole installation are for whom its own project is.
pub(crate) async fn metrics(
    face: Face,
    Extension(actor): Extension<Actor>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refused> {
    let health = answer(face.sandboxes.health(actor)).await?;
    let is_guest = caller.project.is_some_and(|project| project != Project::default());
    let figures = if is_guest { None } else { Some(face.node.figures().await) };
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], page(&health.0, figures.as_ref())).into_response())
}

fn page(health: &HealthAnswer, figures: Option<&Figures>) -> String {
    let mut page = Page(String::new());
    of_health(&mut page, health);
    if let Some(figures) = figures {
        of_work(&mut page, figures);
        of_room(&mut page, figures);
        if let Some(gate) = &figures.gate {
            of_gate(&mut page, gate);
        }
    }
    page.0
}

fn of_health(page: &mut Page, health: &HealthAnswer) {
    page.family("ringfence_build_info", GAUGE, "The build that runs; always 1.");
    page.sample("ringfence_build_info", &[("version", health.version.as_str()), ("build", health.build.as_str())], 1);
    let sandboxes = health.sandboxes;
    let states = [
        ("creating", sandboxes.creating),
        ("running", sandboxes.running),
        ("paused", sandboxes.paused),
        ("stopped", sandboxes.stopped),
    ];
    page.family("ringfence_sandboxes", GAUGE, "Sandboxes by state.");
    for (state, count) in states {
        page.sample("ringfence_sandboxes", &[("state", state)], count);
    }
    page.gauge("ringfence_sandboxes_max", "Sandboxes that can exist at once.", health.host.sandboxes_max);
    page.gauge("ringfence_executions_running", "Executions that run now.", health.executions_running);
    let shelf: u64 = health.templates.iter().map(|template| u64::from(template.shelf)).sum();
    page.gauge("ringfence_shelf_sandboxes", "Sandboxes prepared ahead, of all templates.", shelf);
    page.gauge("ringfence_templates", "Templates.", health.templates.len());
    let warm = health.templates.iter().filter(|template| template.warm).count();
    page.gauge("ringfence_templates_warm", "Templates whose warm interpreter is ready.", warm);
    page.gauge("ringfence_trials_running", "Trials that are not wholly gone.", health.trials.running);
    page.gauge("ringfence_trials_waiting", "Trials that wait for their turn.", health.trials.waiting);
    page.gauge("ringfence_trials_shelf", "Sandboxes prepared ahead for trials.", health.trials.shelf);
    let medians = [
        ("ringfence_shell_median_seconds", "Median time to make an empty sandbox, last 128.", health.making.shell_ms),
        ("ringfence_join_median_seconds", "Median time to fork a warm interpreter, last 128.", health.making.join_ms),
    ];
    for (name, help, median_ms) in medians {
        // Absent until something was made: a zero would be a figure that nobody measured.
        if let Some(median_ms) = median_ms {
            page.gauge(name, help, median_ms / 1000.0);
        }
    }
    page.gauge("ringfence_problems", "Problems that health tells of.", health.problems.len());
    page.gauge("ringfence_uptime_seconds", "Seconds since the daemon started.", health.uptime);
}

fn of_work(page: &mut Page, figures: &Figures) {
    const ENDED: &str = "ringfence_executions_total";
    page.family(ENDED, COUNTER, "Executions that have ended, by how.");
    for (status, count) in &figures.executions {
        page.sample(ENDED, &[("status", *status)], count);
    }
    page.histogram("ringfence_execution_duration_seconds", "How long executions ran.", &figures.execution_took);
    const CREATES: &str = "ringfence_sandbox_creates_total";
    page.family(
        CREATES,
        COUNTER,
        "Sandboxes that were made, and those that could not be for want of room or by a fault.",
    );
    page.sample(CREATES, &[("result", "made")], figures.create_took.count);
    page.sample(CREATES, &[("result", "failed")], figures.creates_failed);
    let help = "How long sandboxes took to make, from the request to the answer.";
    page.histogram("ringfence_sandbox_create_duration_seconds", help, &figures.create_took);
    let help = "Sandboxes that are to be prepared ahead, of all templates.";
    page.gauge("ringfence_shelf_sandboxes_wanted", help, figures.shelf_target);
    if let Some(spent) = figures.credits_spent {
        let help = "Credits that all projects have spent since the installation was made, refunds taken off.";
        page.gauge("ringfence_credits_spent", help, spent);
    }
}

fn of_room(page: &mut Page, figures: &Figures) {
    const DATABASE: &str = "ringfence_database_size_bytes";
    page.family(DATABASE, GAUGE, "Size of a database with its log.");
    page.sample(DATABASE, &[("database", "engine")], figures.database_bytes);
    if let Some(gate) = &figures.gate {
        page.sample(DATABASE, &[("database", "gate")], gate.database_bytes);
    }
    if let Some((free, all)) = figures.disk_bytes {
        page.gauge("ringfence_disk_free_bytes", "Free space for the daemon where its state is.", free);
        page.gauge("ringfence_disk_size_bytes", "Size of the file system where the daemon's state is.", all);
    }
    if !figures.roles.is_empty() {
        const RESTARTS: &str = "ringfence_role_restarts_total";
        page.family(RESTARTS, COUNTER, "How often a role was started anew since the daemon was started.");
        for (role, restarts, _) in &figures.roles {
            page.sample(RESTARTS, &[("role", *role)], restarts);
        }
        page.family("ringfence_role_up", GAUGE, "Whether the process of a role runs.");
        for (role, _, runs) in &figures.roles {
            page.sample("ringfence_role_up", &[("role", *role)], u8::from(*runs));
        }
    }
    page.gauge("ringfence_gateway_up", "Whether the gateway answers.", u8::from(figures.gate.is_some()));
}

fn of_gate(page: &mut Page, gate: &GateFigures) {
    const DECISIONS: &str = "ringfence_gateway_decisions_total";
    page.family(DECISIONS, COUNTER, "Decisions of the gateway on names, connections and requests.");
    page.sample(DECISIONS, &[("verdict", "allowed")], gate.decisions_allowed);
    page.sample(DECISIONS, &[("verdict", "refused")], gate.decisions_refused);
    const ORDERS: &str = "ringfence_orders_total";
    page.family(ORDERS, COUNTER, "Orders by where they would go and what the gateway decided.");
    for order in &gate.orders {
        page.sample(ORDERS, &[("mode", order.environment.as_str()), ("verdict", order.verdict.as_str())], order.count);
    }
    // The words are the gateway's; which there can be is said here.
    const STATE: &str = "ringfence_trading_state";
    page.family(STATE, GAUGE, "What the kill switch is set to for all accounts: 1 for the state that is in force.");
    for state in ["active", "reducing", "halted"] {
        page.sample(STATE, &[("state", state)], u8::from(gate.state == state));
    }
    page.family("ringfence_trading_mode", GAUGE, "Where orders go: 1 for the mode that is in force.");
    for mode in ["simulated", "paper", "live"] {
        page.sample("ringfence_trading_mode", &[("mode", mode)], u8::from(gate.mode == mode));
    }
    page.gauge("ringfence_exchange_up", "Whether the simulated exchange answers.", u8::from(gate.exchange_answers));
}

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, GAUGE, help);
        self.sample(name, &[], value);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes everything");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (number, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.0, "{}{label}=\"{text}\"", if number == 0 { '{' } else { ',' })
                .expect("a string takes everything");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{end} {value}").expect("a string takes everything");
    }

    fn histogram(&mut self, name: &str, help: &str, took: &Distribution) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (at_most_ms, count) in &took.at_most_ms {
            self.sample(&bucket, &[("le", seconds(u128::from(*at_most_ms) * 1000).as_str())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], took.count);
        self.sample(&format!("{name}_sum"), &[], seconds(u128::from(took.sum_us)));
        self.sample(&format!("{name}_count"), &[], took.count);
    }
}

/// Microseconds as seconds, to the last digit.
fn seconds(us: u128) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
