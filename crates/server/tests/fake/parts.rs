//! What the fake says of everything.

use ringfence_model::{SandboxId, api::*};

pub(super) const NOW: &str = "2026-01-02T03:04:05Z";
/// One grey pixel.
pub(super) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";

pub(super) fn isolation() -> Isolation {
    Isolation {
        level: "full".into(),
        namespaces: vec!["user".into(), "mnt".into()],
        seccomp: "allow-list (2 filters)".into(),
        cgroup: "memory (v1)".into(),
        uid_range: "1000000-1065535".into(),
        interpreter: Interpreter::Parked,
        missing: vec![],
    }
}

pub(super) fn template(name: &str) -> TemplateView {
    TemplateView {
        name: name.into(),
        aliases: vec![],
        category: "shipped".into(),
        description: "a fake".into(),
        version: 1,
        status: TemplateStatus::Ready,
        language: "python".into(),
        packages: vec![Package { name: "numpy".into(), version: "2.0".into() }],
        size_bytes: 1,
        digest: None,
        layers: vec![],
        created_at: None,
        origin: None,
        exported: None,
        percent: None,
        error: None,
    }
}

pub(super) fn health() -> HealthAnswer {
    HealthAnswer {
        success: true,
        status: "ok".into(),
        version: "0.1.0".into(),
        build: "fake".into(),
        uptime: 1.0,
        sandboxes: SandboxCounts::default(),
        executions_running: 0,
        templates: vec![],
        trials: TrialHealth::default(),
        making: MakingHealth::default(),
        host: HostHealth::default(),
        problems: vec![],
    }
}

/// What the gate would have refused, twice.
pub(super) fn denials(sandbox: &SandboxId) -> Vec<Denial> {
    use ringfence_model::net::{Denial as GateDenial, DenialReason, HostName, Protocol};
    let host = HostName::parse("api.example.com").expect("a name");
    let denial = GateDenial::new(1, Protocol::Tls, DenialReason::NetworkNone).with_host(sandbox, &host, Some(8443));
    Denial::merge(&[denial.clone(), denial])
}
