//! Copies of stopped sandboxes: a disk that shares what the other holds, under an id of its own.

use std::sync::Arc;

use ringfence_jail::proto::DiskId;
use ringfence_model::{
    ApiError, Code, SandboxId,
    api::{CloneAnswer, CloneRequest, CreateRequest, SandboxStatus as Shown},
};
use ringfence_store::{Actor, SandboxRow, SandboxStatus};

use crate::{
    engine::{Engine, now_ms},
    error::Failure,
    sandbox::{Environment, Lifetime, Made, Next, Sandbox, State},
    view,
};

/// What a copy must be able to write, in bytes: with less, it could not be started.
const LEFT_BYTES_MIN: u64 = 1 << 20;

impl Engine {
    /// The copy is stopped, has no variables, no network and no secrets: placeholders are the other sandbox's alone.
    pub(crate) async fn do_clone(&self, by: Actor, request: CloneRequest) -> Result<CloneAnswer, Failure> {
        self.admit()?;
        let _active = self.inner.activity.begin();
        let source = self.find_live(&request.sandbox_id).await?;
        let as_created = CreateRequest { name: request.name, timeout: request.timeout, ..CreateRequest::default() };
        as_created.check()?;
        let status = source.state.lock().await.status;
        if status != SandboxStatus::Stopped {
            let text =
                format!("sandbox {} is {status}; `sandbox_stop` ends its processes and keeps its files", source.id);
            return Err(ApiError::new(Code::SandboxNotRunning, text).into());
        }
        let (disk, inherited_bytes) = self.copy_disk_of(&source, Some(SandboxStatus::Stopped)).await?;
        if let Err(error) = self.limit_copy(&source, disk, inherited_bytes).await {
            crate::shelf::discard_disk(&self.inner.machine, &self.inner.store, disk).await;
            return Err(error);
        }
        let id = SandboxId::from_random(rand::random());
        let now = now_ms();
        let lifetime_s = as_created.lifetime_s();
        let lifetime = Lifetime { expires_at_ms: now.saturating_add(lifetime_s.saturating_mul(1000)) };
        let name = as_created.name.clone().unwrap_or_else(|| id.to_string());
        let row = SandboxRow {
            id: id.clone(),
            name: name.clone(),
            template: source.template.name.clone(),
            layers: source.template.layers.iter().rev().cloned().collect(),
            status: SandboxStatus::Stopped,
            disk: Some(disk.0),
            limits: source.limits,
            metadata: serde_json::Map::new(),
            created_at_ms: now,
            started_at_ms: None,
            expires_at_ms: Some(lifetime.expires_at_ms),
            stopped_at_ms: Some(now),
            deleted_at_ms: None,
            lifetime_s,
            env_version: 0,
            swarm_id: None,
            agent_id: None,
            failure: None,
            project: source.project.clone(),
        };
        let detail = serde_json::json!({"name": name, "cloned_from": source.id, "template": row.template});
        let entry = Self::entry(by, "sandbox.clone").sandbox(&id).detail(detail);
        let (new, old) = (id.clone(), source.id.clone());
        let written = self
            .inner
            .store
            .write_with_audit(entry, move |tx| {
                tx.insert_sandbox(&row)?;
                tx.assign_disk(disk.0, Some(&new))?;
                tx.set_inherited_bytes(disk.0, inherited_bytes)?;
                match tx.startup(&old)? {
                    Some(script) => tx.set_startup(&new, &script),
                    None => Ok(()),
                }
            })
            .await;
        match written {
            Ok(((), receipt)) => drop(receipt),
            Err(error) => {
                crate::shelf::discard_disk(&self.inner.machine, &self.inner.store, disk).await;
                return Err(error.into());
            }
        }
        let env_vars_required = source.environment().values.keys().cloned().collect();
        self.add_live(Arc::new(Sandbox::new(Made {
            id: id.clone(),
            name: name.clone(),
            project: source.project.clone(),
            template: Arc::clone(&source.template),
            limits: source.limits,
            disk,
            inherited_bytes,
            lifetime,
            state: State { status: SandboxStatus::Stopped, shell: None, next: Next::None },
            last_execution: 0,
            environment: Environment::default(),
            // Who may visit a port without a token was said of the other one.
            public_ports: Vec::new(),
            preview_generation: 0,
        })));
        Ok(CloneAnswer {
            success: true,
            sandbox_id: id,
            name,
            cloned_from: source.id.clone(),
            status: Shown::Stopped,
            env_vars_required,
            expires_at: view::time(lifetime.expires_at_ms),
        })
    }

    /// What a copy shares counts for its limit: the kernel accounts it to the disk that it was written on, and a sandbox would hold
    /// its limit anew with each of its clones.
    async fn limit_copy(&self, source: &Sandbox, disk: DiskId, inherited_bytes: u64) -> Result<(), Failure> {
        let left = (u64::from(source.limits.disk_mib) << 20).saturating_sub(inherited_bytes);
        if left < LEFT_BYTES_MIN {
            let text = format!(
                "sandbox {} holds {:.1} of the {} MiB that its disk may have, and a clone of it could write nothing; delete \
                 files in it (`sandbox_resume`), stop it and clone it then",
                source.id,
                inherited_bytes as f64 / f64::from(1 << 20),
                source.limits.disk_mib
            );
            return Err(ApiError::new(Code::QuotaExceeded, text).into());
        }
        Ok(self.inner.machine.limit_disk(disk, left).await?)
    }
}
