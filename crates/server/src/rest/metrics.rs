//! `GET /metrics`: the health of the daemon in the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Labels are words of ours, never a name or an id: whoever may create sandboxes or templates chooses those, and could make
//! series without end.

use std::fmt::{Display, Write};

use axum::{
    Extension,
    http::header,
    response::{IntoResponse, Response},
};
use ringfence_model::api::{Actor, HealthAnswer};

use super::{Face, Refused, reply::answer};

/// The media type of the format.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What Prometheus scrapes. Scoped and refused like `/v1/health`.
pub(crate) async fn metrics(face: Face, Extension(actor): Extension<Actor>) -> Result<Response, Refused> {
    let health = answer(face.sandboxes.health(actor)).await?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], page(&health.0)).into_response())
}

fn page(health: &HealthAnswer) -> String {
    let mut page = String::new();
    let sandboxes = health.sandboxes;
    let states = [
        ("creating", sandboxes.creating),
        ("running", sandboxes.running),
        ("paused", sandboxes.paused),
        ("stopped", sandboxes.stopped),
    ];
    family(&mut page, "ringfence_sandboxes", "Sandboxes by state.");
    for (state, count) in states {
        sample(&mut page, &format!("ringfence_sandboxes{{state=\"{state}\"}}"), count);
    }
    gauge(&mut page, "ringfence_sandboxes_max", "Sandboxes that can exist at once.", health.host.sandboxes_max);
    gauge(&mut page, "ringfence_executions_running", "Executions that run now.", health.executions_running);
    let shelf: u64 = health.templates.iter().map(|template| u64::from(template.shelf)).sum();
    gauge(&mut page, "ringfence_shelf_sandboxes", "Sandboxes prepared ahead, of all templates.", shelf);
    gauge(&mut page, "ringfence_templates", "Templates.", health.templates.len());
    let warm = health.templates.iter().filter(|template| template.warm).count();
    gauge(&mut page, "ringfence_templates_warm", "Templates whose warm interpreter is ready.", warm);
    gauge(&mut page, "ringfence_trials_running", "Trials that are not wholly gone.", health.trials.running);
    gauge(&mut page, "ringfence_trials_waiting", "Trials that wait for their turn.", health.trials.waiting);
    gauge(&mut page, "ringfence_trials_shelf", "Sandboxes prepared ahead for trials.", health.trials.shelf);
    let medians = [
        ("ringfence_shell_median_seconds", "Median time to make an empty sandbox, last 128.", health.making.shell_ms),
        ("ringfence_join_median_seconds", "Median time to fork a warm interpreter, last 128.", health.making.join_ms),
    ];
    for (name, help, median_ms) in medians {
        // Absent until something was made: a zero would be a figure that nobody measured.
        if let Some(median_ms) = median_ms {
            gauge(&mut page, name, help, median_ms / 1000.0);
        }
    }
    gauge(&mut page, "ringfence_problems", "Problems that health tells of.", health.problems.len());
    gauge(&mut page, "ringfence_uptime_seconds", "Seconds since the daemon started.", health.uptime);
    page
}

fn gauge(page: &mut String, name: &str, help: &str, value: impl Display) {
    family(page, name, help);
    sample(page, name, value);
}

fn family(page: &mut String, name: &str, help: &str) {
    writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge").expect("a string takes everything");
}

fn sample(page: &mut String, series: &str, value: impl Display) {
    writeln!(page, "{series} {value}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use ringfence_model::api::{HostHealth, MakingHealth, SandboxCounts, TemplateHealth, TemplateStatus, TrialHealth};

    use super::*;

    fn health(template: &str) -> HealthAnswer {
        HealthAnswer {
            success: true,
            status: "ok".into(),
            version: "1".into(),
            build: "b".into(),
            uptime: 2.5,
            sandboxes: SandboxCounts { creating: 1, running: 2, paused: 3, stopped: 4 },
            executions_running: 5,
            templates: vec![TemplateHealth {
                name: template.into(),
                status: TemplateStatus::Ready,
                warm: true,
                shelf: 6,
            }],
            trials: TrialHealth { running: 7, waiting: 8, shelf: 9 },
            making: MakingHealth { shell_ms: Some(1500.0), join_ms: None },
            host: HostHealth::default(),
            problems: vec!["one".into()],
        }
    }

    #[test]
    fn every_figure_is_a_series() {
        let page = page(&health("python"));
        for line in [
            "ringfence_sandboxes{state=\"running\"} 2",
            "ringfence_sandboxes{state=\"stopped\"} 4",
            "ringfence_executions_running 5",
            "ringfence_shelf_sandboxes 6",
            "ringfence_templates_warm 1",
            "ringfence_trials_waiting 8",
            "ringfence_shell_median_seconds 1.5",
            "ringfence_problems 1",
            "ringfence_uptime_seconds 2.5",
        ] {
            assert!(page.lines().any(|l| l == line), "no line {line:?} in:\n{page}");
        }
        assert!(!page.contains("ringfence_join_median_seconds"), "a figure that nobody measured:\n{page}");
    }

    #[test]
    fn a_name_that_others_chose_makes_no_series() {
        let hostile = "x\"} 1\nringfence_forged 1\n";
        assert_eq!(page(&health("python")), page(&health(hostile)));
    }
}
