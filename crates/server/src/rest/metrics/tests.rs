//! The page, read as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_model::{
    api::{HostHealth, MakingHealth, SandboxCounts, TemplateHealth, TemplateStatus, TrialHealth},
    credit::MilliCredits,
    net::control::{OrderCount, OrderVerdict},
    trade::Environment,
};

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
        templates: vec![TemplateHealth { name: template.into(), status: TemplateStatus::Ready, warm: true, shelf: 6 }],
        trials: TrialHealth { running: 7, waiting: 8, shelf: 9 },
        making: MakingHealth { shell_ms: Some(1500.0), join_ms: None },
        host: HostHealth::default(),
        problems: vec!["one".into()],
    }
}

fn figures() -> Figures {
    let took = Distribution { at_most_ms: vec![(5, 1), (1000, 2)], count: 3, sum_us: 61_500_001 };
    Figures {
        executions: vec![("completed", 2), ("killed", 1)],
        execution_took: took.clone(),
        creates_failed: 4,
        create_took: took,
        shelf_target: 12,
        credits_spent: Some(MilliCredits(2500)),
        database_bytes: 4096,
        disk_bytes: Some((1, 2)),
        roles: vec![("gateway", 3, true), ("venue", 0, false)],
        gate: Some(GateFigures {
            decisions_allowed: 10,
            decisions_refused: 11,
            orders: vec![OrderCount { environment: Environment::Paper, verdict: OrderVerdict::Held, count: 7 }],
            state: "halted".into(),
            mode: "paper".into(),
            exchange_answers: true,
            database_bytes: 8192,
        }),
    }
}

/// Name of a family, its type, and its samples.
type Families = BTreeMap<String, (String, Vec<(String, String, f64)>)>;

/// Strictly: one HELP and one TYPE before the samples of each family, no sample of another one between them, no series twice.
#[track_caller]
fn parse(page: &str) -> Families {
    let mut families = Families::new();
    let mut series = BTreeSet::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(line);
        assert!(help.ends_with('.') && help.len() > 5, "{line}");
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect(name);
        assert!(["gauge", "counter", "histogram"].contains(&kind), "{name} {kind}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert_eq!(
            kind == "counter",
            name.ends_with("_total"),
            "{name}: counters end in _total, and nothing else does"
        );
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (one, value) = line.rsplit_once(' ').expect(line);
            let (of, labels) = one
                .split_once('{')
                .map_or((one, ""), |(of, rest)| (of, rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))));
            let suffix = of.strip_prefix(name).unwrap_or_else(|| panic!("{line} below {name}"));
            let allowed: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line}");
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once('=').expect(line);
                assert!(label.bytes().all(|b| b.is_ascii_lowercase()), "{line}");
                assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
            }
            assert!(series.insert(one.to_owned()), "twice: {one}");
            samples.push((suffix.to_owned(), labels.to_owned(), value.parse().expect(line)));
        }
        assert!(!samples.is_empty(), "{name} has no sample");
        assert!(families.insert(name.to_owned(), (kind.to_owned(), samples)).is_none(), "{name} twice");
    }
    families
}

#[test]
fn the_page_is_what_prometheus_reads() {
    let families = parse(&page(&health("python"), Some(&figures())));
    for (name, (kind, samples)) in &families {
        if kind != "histogram" {
            continue;
        }
        let buckets: Vec<_> = samples.iter().filter(|(suffix, ..)| suffix == "_bucket").collect();
        assert!(buckets.windows(2).all(|pair| pair[0].2 <= pair[1].2), "{name}: buckets only grow");
        let last = buckets.last().expect("buckets");
        assert_eq!(last.1, "le=\"+Inf\"", "{name}");
        let count = samples.iter().find(|(suffix, ..)| suffix == "_count").expect("a count");
        assert!((last.2 - count.2).abs() < 0.5, "{name}");
        assert!(samples.iter().any(|(suffix, ..)| suffix == "_sum"), "{name}");
    }
}

#[test]
fn every_figure_is_a_series() {
    let page = page(&health("python"), Some(&figures()));
    for line in [
        "ringfence_build_info{version=\"1\",build=\"b\"} 1",
        "ringfence_sandboxes{state=\"running\"} 2",
        "ringfence_sandboxes{state=\"stopped\"} 4",
        "ringfence_executions_running 5",
        "ringfence_shelf_sandboxes 6",
        "ringfence_shelf_sandboxes_wanted 12",
        "ringfence_templates_warm 1",
        "ringfence_trials_waiting 8",
        "ringfence_shell_median_seconds 1.5",
        "ringfence_problems 1",
        "ringfence_uptime_seconds 2.5",
        "ringfence_executions_total{status=\"completed\"} 2",
        "ringfence_execution_duration_seconds_bucket{le=\"0.005\"} 1",
        "ringfence_execution_duration_seconds_bucket{le=\"1\"} 2",
        "ringfence_execution_duration_seconds_bucket{le=\"+Inf\"} 3",
        "ringfence_execution_duration_seconds_sum 61.500001",
        "ringfence_sandbox_creates_total{result=\"made\"} 3",
        "ringfence_sandbox_creates_total{result=\"failed\"} 4",
        "ringfence_credits_spent 2.500",
        "ringfence_database_size_bytes{database=\"gate\"} 8192",
        "ringfence_disk_free_bytes 1",
        "ringfence_role_restarts_total{role=\"gateway\"} 3",
        "ringfence_role_up{role=\"venue\"} 0",
        "ringfence_gateway_decisions_total{verdict=\"refused\"} 11",
        "ringfence_orders_total{mode=\"paper\",verdict=\"held\"} 7",
        "ringfence_trading_state{state=\"halted\"} 1",
        "ringfence_trading_state{state=\"active\"} 0",
        "ringfence_trading_mode{mode=\"paper\"} 1",
        "ringfence_exchange_up 1",
    ] {
        assert!(page.lines().any(|l| l == line), "no line {line:?} in:\n{page}");
    }
    assert!(!page.contains("ringfence_join_median_seconds"), "a figure that nobody measured:\n{page}");
}

#[test]
fn what_nobody_could_find_out_is_absent() {
    let unknown = Figures { credits_spent: None, disk_bytes: None, roles: Vec::new(), gate: None, ..figures() };
    let page = page(&health("python"), Some(&unknown));
    parse(&page);
    for word in ["credits", "disk", "role", "orders", "decisions", "trading", "\"gate\""] {
        assert!(!page.contains(word), "{word} in:\n{page}");
    }
    assert!(page.lines().any(|line| line == "ringfence_gateway_up 0"), "{page}");
    parse(&super::page(&health("python"), None));
}

#[test]
fn a_name_that_others_chose_makes_no_series() {
    let hostile = "x\"} 1\nringfence_forged 1\n";
    assert_eq!(page(&health("python"), None), page(&health(hostile), None));
    let mut figures = figures();
    let gate = figures.gate.as_mut().expect("there");
    (gate.state, gate.mode) = (hostile.to_owned(), hostile.to_owned());
    assert!(!page(&health("python"), Some(&figures)).contains("forged"));
}
