//! From what was seen to what is shown: figures, without a word about columns.

use jiff::Timestamp;
use ringfence_model::api::{SandboxStatus, SandboxSummary, TradeOrder};
use serde::Serialize;

use super::look::{Look, Machine, SHOWN};

/// All that a frame shows; what `--json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Frame {
    success: bool,
    /// RFC 3339, UTC.
    pub(super) at: String,
    pub(super) daemon: DaemonFrame,
    pub(super) machine: MachineFrame,
    pub(super) shelf: Vec<ShelfFrame>,
    pub(super) executions_running: u32,
    pub(super) trials_running: u32,
    pub(super) trading: TradingFrame,
    /// By state; those that run by their use of the processors, then the newest first.
    pub(super) sandboxes: Vec<SandboxFrame>,
    /// Open ones, the newest first.
    pub(super) orders: Vec<TradeOrder>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DaemonFrame {
    pub(super) status: String,
    pub(super) version: String,
    pub(super) uptime_seconds: f64,
    pub(super) problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct MachineFrame {
    pub(super) cpus: u32,
    /// Of all processors together, at most 100; null until there were two looks.
    pub(super) cpu_percent: Option<f64>,
    /// Of 1, 5 and 15 minutes.
    pub(super) load: [f64; 3],
    pub(super) memory_total_bytes: u64,
    pub(super) memory_available_bytes: u64,
    /// Of the file system with the state directory.
    pub(super) disk_total_bytes: u64,
    pub(super) disk_free_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ShelfFrame {
    pub(super) template: String,
    pub(super) ready: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct TradingFrame {
    /// Null while the gateway does not answer.
    pub(super) mode: Option<String>,
    pub(super) state: Option<String>,
    pub(super) open_orders: Option<usize>,
    pub(super) holds_waiting: Option<u32>,
    /// Why nothing is known.
    pub(super) problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SandboxFrame {
    pub(super) sandbox_id: String,
    pub(super) name: String,
    pub(super) template: String,
    pub(super) status: SandboxStatus,
    /// 100 is one processor; null when it does not run, was not asked, or was looked at once.
    pub(super) cpu_percent: Option<f64>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) disk_bytes: Option<u64>,
    pub(super) disk_limit_bytes: Option<u64>,
    pub(super) processes: Option<u32>,
    pub(super) executions_running: Option<u64>,
    /// Since it was made; null when that cannot be read.
    pub(super) age_seconds: Option<u64>,
}

/// Makes the frame of a look, with the one before for what is a difference.
pub(super) fn frame(before: Option<&Look>, now: &Look) -> Frame {
    let health = &now.health;
    let (trading, orders) = match &now.trading {
        Ok((status, orders)) => {
            let trading = TradingFrame {
                mode: Some(status.environment.clone().unwrap_or_else(|| status.mode.clone())),
                state: Some(status.state.clone()),
                open_orders: Some(orders.len()),
                holds_waiting: Some(status.holds_waiting),
                problem: None,
            };
            (trading, orders.clone())
        }
        Err(problem) => (TradingFrame { problem: Some(problem.clone()), ..TradingFrame::default() }, Vec::new()),
    };
    let mut sandboxes: Vec<SandboxFrame> = now.sandboxes.iter().map(|one| sandbox(before, now, one)).collect();
    // A stable sort: those of one state and use stay as they came, the newest first. What has changed its state since it was listed
    // stands with those that it is like: only a total order may be sorted by.
    let state = |one: &SandboxFrame| SHOWN.iter().position(|status| *status == one.status).unwrap_or(SHOWN.len());
    let used = |one: &SandboxFrame| one.cpu_percent.filter(|_| one.status == SandboxStatus::Running).unwrap_or(0.0);
    sandboxes.sort_by(|a, b| state(a).cmp(&state(b)).then(used(b).total_cmp(&used(a))));
    Frame {
        success: true,
        at: now.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        daemon: DaemonFrame {
            status: health.status.clone(),
            version: health.version.clone(),
            uptime_seconds: health.uptime,
            problems: health.problems.clone(),
        },
        machine: machine(before.map(|look| &look.machine), &now.machine, health.host.cpus),
        shelf: health
            .templates
            .iter()
            .map(|template| ShelfFrame { template: template.name.clone(), ready: template.shelf })
            .collect(),
        executions_running: health.executions_running,
        trials_running: health.trials.running,
        trading,
        sandboxes,
        orders,
    }
}

fn machine(before: Option<&Machine>, now: &Machine, cpus: u32) -> MachineFrame {
    let cpu_percent = before.and_then(|before| {
        let spent = now.ticks.0.checked_sub(before.ticks.0).filter(|spent| *spent > 0)?;
        let idle = now.ticks.1.saturating_sub(before.ticks.1).min(spent);
        Some(tenths((spent - idle) as f64 / spent as f64 * 100.0))
    });
    MachineFrame {
        cpus,
        cpu_percent,
        load: now.load,
        memory_total_bytes: now.memory_total_bytes,
        memory_available_bytes: now.memory_available_bytes,
        disk_total_bytes: now.disk_total_bytes,
        disk_free_bytes: now.disk_free_bytes,
    }
}

fn sandbox(before: Option<&Look>, now: &Look, summary: &SandboxSummary) -> SandboxFrame {
    let detail = now.details.get(&summary.sandbox_id);
    let resources = detail.and_then(|detail| detail.resources);
    let cpu_percent = before.zip(resources).and_then(|(before, resources)| {
        let earlier = before.details.get(&summary.sandbox_id)?.resources?;
        let seconds = now.at.checked_duration_since(before.at)?.as_secs_f64();
        // A sandbox that was started anew between the looks begins at nothing.
        let spent = resources.cpu_time - earlier.cpu_time;
        (seconds > 0.0 && spent >= 0.0).then(|| tenths(spent / seconds * 100.0))
    });
    SandboxFrame {
        sandbox_id: summary.sandbox_id.to_string(),
        name: summary.name.clone(),
        template: summary.template.clone(),
        status: detail.map_or(summary.status, |detail| detail.status),
        cpu_percent,
        memory_bytes: resources.map(|resources| resources.memory_bytes),
        memory_limit_bytes: detail.map(|detail| u64::from(detail.limits.memory_mb) << 20),
        disk_bytes: resources.map(|resources| resources.disk_bytes).or(summary.disk_bytes),
        disk_limit_bytes: detail.map(|detail| u64::from(detail.limits.disk_mb) << 20),
        processes: resources.map(|resources| resources.processes),
        executions_running: detail.map(|detail| detail.executions.running),
        age_seconds: age(now.now, &summary.created_at),
    }
}

fn age(now: Timestamp, created_at: &str) -> Option<u64> {
    let created: Timestamp = created_at.parse().ok()?;
    Some(u64::try_from(now.duration_since(created).as_secs()).unwrap_or(0))
}

fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, Instant},
    };

    use ringfence_model::{
        SandboxId,
        api::{
            ExecutionCounts, HealthAnswer, HostHealth, LimitsView, MakingHealth, Resources, SandboxCounts,
            SandboxDetail, TemplateHealth, TemplateStatus, TrialHealth,
        },
    };

    use super::*;

    fn health() -> HealthAnswer {
        HealthAnswer {
            success: true,
            status: "ok".into(),
            version: "0.1.0".into(),
            build: "b".into(),
            uptime: 90.0,
            sandboxes: SandboxCounts::default(),
            executions_running: 2,
            templates: vec![TemplateHealth {
                name: "python".into(),
                status: TemplateStatus::Ready,
                warm: true,
                shelf: 6,
            }],
            trials: TrialHealth::default(),
            making: MakingHealth::default(),
            host: HostHealth { cpus: 2, ..HostHealth::default() },
            problems: vec![],
        }
    }

    fn id(n: u8) -> SandboxId {
        // Of each byte an id has the rest by 36.
        let mut bytes = [n; 20];
        bytes[19] = n + n / 36;
        SandboxId::from_random(bytes)
    }

    fn summary(n: u8, status: SandboxStatus) -> SandboxSummary {
        SandboxSummary {
            sandbox_id: id(n),
            name: format!("lab-{n}"),
            template: "python".into(),
            status,
            created_at: "2026-01-02T03:04:05Z".into(),
            expires_at: "2026-01-02T04:04:05Z".into(),
            disk_bytes: Some(4096),
            warnings: vec![],
            metadata: Default::default(),
        }
    }

    fn detail(n: u8, cpu_time: f64) -> SandboxDetail {
        SandboxDetail {
            sandbox_id: id(n),
            name: format!("lab-{n}"),
            template: "python".into(),
            template_version: 1,
            status: SandboxStatus::Running,
            created_at: String::new(),
            expires_at: String::new(),
            expires_in: 1,
            timeout: 1,
            metadata: Default::default(),
            network: None,
            env_vars: vec![],
            env_version: 1,
            resources: Some(Resources {
                cpu_time,
                memory_bytes: 5 << 20,
                disk_bytes: 1 << 20,
                processes: 2,
                ..Resources::default()
            }),
            cost_so_far: Default::default(),
            limits: LimitsView { cpu: 1.0, memory_mb: 1024, disk_mb: 1024, processes: 256 },
            executions: ExecutionCounts { running: 1, ..ExecutionCounts::default() },
            processes: vec![],
            ports: vec![],
            isolation: None,
            start: None,
            reason: None,
            warnings: vec![],
        }
    }

    fn look(at: Instant, details: &[(u8, f64)], ticks: (u64, u64)) -> Look {
        Look {
            at,
            now: "2026-01-02T03:05:05Z".parse().expect("a time"),
            health: health(),
            sandboxes: vec![
                summary(1, SandboxStatus::Running),
                summary(2, SandboxStatus::Running),
                summary(3, SandboxStatus::Stopped),
            ],
            details: details.iter().map(|(n, cpu_time)| (id(*n), detail(*n, *cpu_time))).collect::<BTreeMap<_, _>>(),
            trading: Err("the gateway does not answer".into()),
            machine: Machine { load: [0.5, 0.4, 0.3], ticks, ..Machine::default() },
        }
    }

    /// Two looks, a second apart, at two sandboxes that run and one that is stopped.
    pub(in super::super) fn example() -> Frame {
        let begin = Instant::now();
        let before = look(begin, &[(1, 1.0), (2, 3.0)], (1000, 900));
        let now = look(begin + Duration::from_secs(1), &[(1, 1.25), (2, 4.5)], (1200, 950));
        frame(Some(&before), &now)
    }

    #[test]
    fn use_of_processors_is_a_difference_between_looks() {
        let frame = example();
        let used: Vec<_> = frame.sandboxes.iter().map(|one| (one.name.as_str(), one.cpu_percent)).collect();
        assert_eq!(used, [("lab-2", Some(150.0)), ("lab-1", Some(25.0)), ("lab-3", None)]);
        assert_eq!(frame.machine.cpu_percent, Some(75.0));
        assert_eq!(frame.sandboxes[0].age_seconds, Some(60));
        assert_eq!((frame.sandboxes[2].disk_bytes, frame.sandboxes[2].memory_bytes), (Some(4096), None));
        assert_eq!((frame.trading.open_orders, frame.trading.problem.is_some()), (None, true));
    }

    /// The same of 64 that run, each using more than the one before, of which every fourth was paused after it had been listed.
    pub(in super::super) fn full() -> Frame {
        const COUNT: u8 = 64;
        let begin = Instant::now();
        let looked = |seconds: u64| {
            let mut look = look(begin + Duration::from_secs(seconds), &[], (1000 + 200 * seconds, 900));
            look.sandboxes = (0..COUNT).map(|n| summary(n, SandboxStatus::Running)).collect();
            let details = (0..COUNT).map(|n| {
                let mut detail = detail(n, 1.0 + seconds as f64 * f64::from(n) / 100.0);
                if n % 4 == 3 {
                    detail.status = SandboxStatus::Paused;
                }
                (id(n), detail)
            });
            look.details = details.collect();
            look
        };
        frame(Some(&looked(0)), &looked(1))
    }

    #[test]
    fn sixty_four_are_in_one_order_whatever_their_states() {
        let frame = full();
        assert_eq!(frame.sandboxes.len(), 64);
        let run = frame.sandboxes.iter().take_while(|one| one.status == SandboxStatus::Running);
        let used: Vec<f64> = run.map(|one| one.cpu_percent.expect("two looks")).collect();
        assert_eq!(used.len(), 48, "those that run stand before those that are paused");
        assert!(used.is_sorted_by(|a, b| a >= b), "{used:?}");
        let paused: Vec<&str> = frame.sandboxes[48..].iter().map(|one| one.name.as_str()).collect();
        assert_eq!((paused[0], paused[15]), ("lab-3", "lab-63"), "and those as they came");
    }

    #[test]
    fn what_was_looked_at_once_or_began_anew_has_no_figure() {
        let begin = Instant::now();
        let now = look(begin + Duration::from_secs(1), &[(1, 1.25)], (1000, 900));
        let once = frame(None, &now);
        assert_eq!((once.sandboxes[0].cpu_percent, once.machine.cpu_percent), (None, None));
        let before = look(begin, &[(1, 9.0)], (1000, 900));
        let anew = frame(Some(&before), &now);
        assert_eq!((anew.sandboxes[0].cpu_percent, anew.machine.cpu_percent), (None, None));
    }
}
