//! How sandboxes end, and what a start finds of those that an earlier run had.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use ringfence_jail::proto::{DiskId, ShellId};
use ringfence_model::{ExecutionId, SandboxId};
use ringfence_store::{
    Actor, ExecutionEnd, ExecutionFilter, ExecutionOutput, ExecutionStatus, LogLevel, Refund, SandboxChange,
    SandboxRow, SandboxStatus, TemplateRow,
};

use crate::{
    engine::{Engine, now_ms},
    error::Failure,
    registry::{Template, Warm},
    sandbox::{Environment, Lifetime, Lingering, Made, Next, Sandbox, State},
};

/// How long the ends of a stopped sandbox's executions may take to reach the disk before the stop is answered.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Kills everything in a sandbox's shell and removes the shell. Files stay. Call it under the state's lock, after the
    /// decision is on disk.
    pub(crate) async fn halt(&self, sandbox: &Sandbox, state: &mut State, reason: &'static str) {
        let executions: Vec<_> = self.running().values().filter(|e| e.sandbox == sandbox.id).cloned().collect();
        for execution in &executions {
            execution.end_because(reason);
        }
        if let Next::Coming(coming) = state.next.take() {
            coming.abort();
        }
        sandbox.lingering.lock().expect("nothing panics under this lock").clear();
        self.inner.gate.detach(&sandbox.id);
        if let Some(shell) = state.shell.take()
            && let Err(error) = self.inner.machine.destroy(&shell).await
        {
            tracing::error!(%error, sandbox = %sandbox.id, "a shell could not be removed");
        }
        futures::future::join_all(executions.iter().map(|execution| execution.wait(SETTLE_PATIENCE))).await;
        *sandbox.started.lock().expect("nothing panics under this lock") = None;
    }

    /// Ends one execution and what it started; its record then says `killed` and why. Nothing happens to one that has ended.
    pub async fn end_execution(&self, id: &ExecutionId, reason: &'static str) {
        let Some(execution) = self.running().get(id).cloned() else { return };
        execution.end_because(reason);
        if let Some((shell, exec)) = execution.place()
            && let Err(error) = self.inner.machine.kill(shell, exec).await
        {
            tracing::debug!(%error, execution = %id, "an execution had ended before it was killed");
        }
    }

    /// Ends a sandbox for good: state, processes, environment, disk. `false` when it had ended already.
    ///
    /// # Errors
    /// The decision could not be written; nothing has happened then.
    pub(crate) async fn end(
        &self,
        sandbox: &Arc<Sandbox>,
        actor: Actor,
        to: SandboxStatus,
        reason: &'static str,
    ) -> Result<bool, Failure> {
        self.end_paid(sandbox, actor, to, reason, Refund::Nothing).await
    }

    /// Ends a sandbox that could not be given what it was to have, and gives back what it has paid.
    ///
    /// # Errors
    /// As [`Engine::end`].
    pub(crate) async fn undo(
        &self,
        sandbox: &Arc<Sandbox>,
        to: SandboxStatus,
        reason: &'static str,
    ) -> Result<bool, Failure> {
        self.end_paid(sandbox, Actor::System, to, reason, Refund::Everything).await
    }

    async fn end_paid(
        &self,
        sandbox: &Arc<Sandbox>,
        actor: Actor,
        to: SandboxStatus,
        reason: &'static str,
        refund: Refund,
    ) -> Result<bool, Failure> {
        let _gate = sandbox.gate.write().await;
        let mut state = sandbox.state.lock().await;
        let now = self.settled_now_ms().await;
        // Somebody may have given it more time, or ended it, meanwhile.
        let has_time = to == SandboxStatus::Expired && sandbox.lifetime().expires_at_ms > now;
        if !state.status.is_live() || has_time {
            return Ok(false);
        }
        let event = match to {
            SandboxStatus::Expired => "sandbox.expire",
            SandboxStatus::Failed => "sandbox.fail",
            _ => "sandbox.delete",
        };
        let entry = Self::entry(actor, event).sandbox(&sandbox.id).detail(serde_json::json!({"reason": reason}));
        // A failed sandbox keeps its files until somebody deletes it, or its lifetime is over.
        let keeps_disk = to == SandboxStatus::Failed;
        let change = SandboxChange {
            deleted_at_ms: (to == SandboxStatus::Deleted).then_some(now),
            stopped_at_ms: Some(now),
            failure: (to == SandboxStatus::Failed).then(|| reason.to_owned()),
            disk: (!keeps_disk).then_some(None),
            refund,
            ..SandboxChange::default()
        };
        let id = sandbox.id.clone();
        let (_, receipt) = self
            .inner
            .store
            .write_with_audit(entry, move |tx| {
                tx.close_public_ports(&id)?;
                if !keeps_disk {
                    tx.erase_environment(&id)?;
                }
                tx.move_sandbox(&id, to, &change)
            })
            .await?;
        drop(receipt);
        state.status = to;
        self.halt(sandbox, &mut state, reason).await;
        drop(state);
        *sandbox.environment() = Environment::default();
        self.remove_live(&sandbox.id);
        if !keeps_disk {
            self.inner.gate.forget(&sandbox.id);
            crate::shelf::discard_disk(&self.inner.machine, &self.inner.store, sandbox.disk).await;
        }
        let (engine, id) = (self.clone(), sandbox.id.clone());
        tokio::spawn(async move {
            // The gate's counters outlive the sandbox.
            engine.note_traffic(&id).await;
            engine.remove_logs(&id).await;
        });
        Ok(true)
    }

    /// Removes the files with the rest of large outputs; what answers hold stays in the rows.
    async fn remove_logs(&self, sandbox: &SandboxId) {
        let filter = ExecutionFilter { sandbox: Some(sandbox.clone()), ..ExecutionFilter::default() };
        let Ok(rows) = self.inner.store.executions(filter).await else { return };
        let logs = self.logs();
        let removed = tokio::task::spawn_blocking(move || {
            for row in rows.into_iter().filter(|row| row.truncated) {
                for stream in ["stdout", "stderr"] {
                    crate::capture::remove_log(&logs.join(format!("{}.{stream}", row.id)));
                }
            }
        });
        let _ = removed.await;
    }

    /// Ends every sandbox whose lifetime is over.
    pub(crate) async fn expire(&self, now_ms: u64) {
        let over: Vec<_> = self.all_live().into_iter().filter(|s| s.lifetime().expires_at_ms <= now_ms).collect();
        let ends = over.iter().map(|sandbox| async move {
            let ended = self.end(sandbox, Actor::System, SandboxStatus::Expired, "its lifetime was over").await;
            if let Err(error) = ended {
                tracing::warn!(error = %error.chain(), sandbox = %sandbox.id, "a lifetime could not be ended; it is tried again");
            }
        });
        futures::future::join_all(ends).await;
    }

    /// Clears failed sandboxes away whose lifetime is over: nobody has come for their files.
    pub(crate) async fn expire_failed(&self, now_ms: u64) {
        let failed = match self.inner.store.sandboxes_in(&[SandboxStatus::Failed]).await {
            Ok(failed) => failed,
            Err(error) => return tracing::warn!(%error, "failed sandboxes could not be listed; it is tried again"),
        };
        for row in failed.into_iter().filter(|row| crate::view::expires_at_ms(row) <= now_ms) {
            if let Err(error) = self.clear_away(Actor::System, &row, SandboxStatus::Expired).await {
                tracing::warn!(error = %error.chain(), sandbox = %row.id, "a failed sandbox could not be cleared away; it is tried again");
            }
        }
    }

    /// Clears away what is left of a sandbox that has ended: variables, secrets, files.
    ///
    /// # Errors
    /// The decision could not be written; nothing has happened then.
    pub(crate) async fn clear_away(&self, by: Actor, row: &SandboxRow, to: SandboxStatus) -> Result<(), Failure> {
        let (event, reason) = match to {
            SandboxStatus::Expired => ("sandbox.expire", "its lifetime was over"),
            _ => ("sandbox.delete", "the sandbox was deleted"),
        };
        let detail = serde_json::json!({"reason": reason, "was": row.status});
        let entry = Self::entry(by, event).sandbox(&row.id).detail(detail);
        let change = SandboxChange {
            deleted_at_ms: (to == SandboxStatus::Deleted).then(now_ms),
            disk: Some(None),
            ..SandboxChange::default()
        };
        let id = row.id.clone();
        let written = self.inner.store.write_with_audit(entry, move |tx| {
            tx.erase_environment(&id)?;
            tx.move_sandbox(&id, to, &change)
        });
        let (_, receipt) = written.await?;
        drop(receipt);
        self.inner.gate.forget(&row.id);
        if let Some(disk) = row.disk {
            crate::shelf::discard_disk(&self.inner.machine, &self.inner.store, DiskId(disk)).await;
        }
        Ok(())
    }

    /// Stops a sandbox: processes end, files stay. The state before.
    ///
    /// # Errors
    /// The decision could not be written.
    pub(crate) async fn stop(
        &self,
        sandbox: &Arc<Sandbox>,
        actor: Actor,
        reason: &'static str,
    ) -> Result<SandboxStatus, Failure> {
        let _gate = sandbox.gate.write().await;
        let mut state = sandbox.state.lock().await;
        let before = state.status;
        if !matches!(before, SandboxStatus::Running | SandboxStatus::Paused) {
            return Ok(before);
        }
        let entry =
            Self::entry(actor, "sandbox.stop").sandbox(&sandbox.id).detail(serde_json::json!({"reason": reason}));
        let now = self.settled_now_ms().await;
        let change = SandboxChange { stopped_at_ms: Some(now), ..SandboxChange::default() };
        let id = sandbox.id.clone();
        let written =
            self.inner.store.write_with_audit(entry, move |tx| tx.move_sandbox(&id, SandboxStatus::Stopped, &change));
        let (_, receipt) = written.await?;
        drop(receipt);
        state.status = SandboxStatus::Stopped;
        self.halt(sandbox, &mut state, reason).await;
        drop(state);
        self.note(&sandbox.id, LogLevel::Info, "system", format!("stopped: {reason}; files are kept"));
        Ok(before)
    }

    /// A stopped sandbox could not be started: it is stopped again, and the minute that was reserved for it is given back.
    ///
    /// # Errors
    /// The decision could not be written.
    pub(crate) async fn stop_unstarted(&self, sandbox: &Sandbox) -> Result<(), Failure> {
        let change = SandboxChange { stopped_at_ms: Some(now_ms()), refund: Refund::Meter, ..SandboxChange::default() };
        let detail = serde_json::json!({"reason": "it could not be started"});
        let (id, project) = (sandbox.id.clone(), sandbox.project.clone());
        let entry = Self::entry(Actor::System, "sandbox.stop").sandbox(&id).detail(detail);
        let written = self.inner.store.write_with_audit(entry, move |tx| {
            tx.move_sandbox(&id, SandboxStatus::Stopped, &change)?;
            tx.budget(&project)
        });
        let (budget, receipt) = written.await?;
        drop(receipt);
        self.inner.purse.note(&sandbox.project, budget);
        Ok(())
    }

    /// Stops every sandbox that runs, side by side.
    pub(crate) async fn stop_everything(&self, reason: &'static str) {
        let shelves: Vec<_> =
            self.inner.shelves.lock().expect("nothing panics under this lock").drain().map(|(_, s)| s).collect();
        for shelf in shelves {
            for ready in shelf.close() {
                // The jailer ends the shells when this process goes; the disks go at the next start.
                drop(ready);
            }
        }
        self.stop_trials().await;
        let stops = self.all_live().into_iter().map(|sandbox| {
            let engine = self.clone();
            async move {
                if let Err(error) = engine.stop(&sandbox, Actor::System, reason).await {
                    tracing::warn!(error = %error.chain(), sandbox = %sandbox.id, "a sandbox could not be stopped in order");
                }
            }
        });
        futures::future::join_all(stops).await;
    }

    /// Pid 1 of a sandbox died, and with it everything inside.
    pub(crate) async fn on_sandbox_death(&self, shell: ShellId) {
        for sandbox in self.all_live() {
            let is_it = sandbox.state.lock().await.shell.as_ref().is_some_and(|s| s.id == shell);
            if is_it {
                let reason = "its first process died; delete it and make another";
                if let Err(error) = self.end(&sandbox, Actor::System, SandboxStatus::Failed, reason).await {
                    tracing::error!(error = %error.chain(), sandbox = %sandbox.id, "a dead sandbox could not be marked");
                }
                return;
            }
        }
    }

    /// What an earlier run left is brought to a true state: nothing of it runs any more, for the jailer has removed every
    /// cgroup of this installation before it said hello.
    ///
    /// # Errors
    /// The database or the jailer refuses.
    pub(crate) async fn reconcile_at_start(&self) -> Result<(), Failure> {
        let store = &self.inner.store;
        let running = ExecutionFilter { status: Some(ExecutionStatus::Running), ..ExecutionFilter::default() };
        for row in store.executions(running).await? {
            let end = ExecutionEnd {
                status: ExecutionStatus::Killed,
                exit_code: Some(137),
                finished_at_ms: now_ms(),
                execution_time_us: None,
                cpu_time_us: None,
                memory_peak_bytes: None,
                output: ExecutionOutput::default(),
                truncated: false,
                warnings: vec!["the daemon ended while the program ran; what it had printed is lost".into()],
                artifacts: serde_json::json!([]),
                denials: serde_json::json!([]),
            };
            store.finish_execution(&row.id, end).await?;
        }
        store.write(|tx| tx.end_trials(now_ms())).await?;
        use SandboxStatus::{Creating, Paused, Running, Stopped};
        let disks: HashSet<DiskId> = self.inner.machine.disks().await?.into_iter().collect();
        for row in store.sandboxes_in(&[Creating, Running, Paused, Stopped]).await? {
            self.adopt(row, &disks).await?;
        }
        let kept = store.sandboxes_in(&[Creating, Running, Paused, Stopped, SandboxStatus::Failed]).await?;
        self.inner.gate.keep(kept.into_iter().map(|row| row.id).collect());
        self.reconcile_disks().await;
        Ok(())
    }

    async fn adopt(&self, row: SandboxRow, disks: &HashSet<DiskId>) -> Result<(), Failure> {
        let store = &self.inner.store;
        let disk = row.disk.map(DiskId).filter(|disk| disks.contains(disk));
        let move_to = |to: SandboxStatus, reason: &str, change: SandboxChange| {
            let event = if to == SandboxStatus::Failed { "sandbox.fail" } else { "sandbox.stop" };
            let entry =
                Self::entry(Actor::System, event).sandbox(&row.id).detail(serde_json::json!({"reason": reason}));
            let id = row.id.clone();
            store.write_with_audit(entry, move |tx| tx.move_sandbox(&id, to, &change))
        };
        let Some(disk) = disk.filter(|_| row.status != SandboxStatus::Creating) else {
            let reason = match row.status {
                SandboxStatus::Creating => "the daemon ended before it was finished",
                _ => {
                    "its files are not there: the state was restored from a backup without them, or the disks were removed"
                }
            };
            let change = SandboxChange { failure: Some(reason.into()), ended_unseen: true, ..SandboxChange::default() };
            let _ = move_to(SandboxStatus::Failed, reason, change).await?;
            return Ok(());
        };
        if row.status != SandboxStatus::Stopped {
            let reason = "the daemon was restarted";
            let change =
                SandboxChange { stopped_at_ms: Some(now_ms()), ended_unseen: true, ..SandboxChange::default() };
            let _ = move_to(SandboxStatus::Stopped, reason, change).await?;
            self.note(&row.id, LogLevel::Info, "system", "stopped: the daemon was restarted; files are kept");
        }
        let id = row.id.clone();
        let (values, exposed, last_execution, public_ports, preview_generation, inherited_bytes) = store
            .read(move |view| {
                let (exposed, public_ports) = (view.exposed_names(&id)?, view.public_ports(&id)?);
                let (last_execution, generation) = (view.last_execution_number(&id)?, view.preview_generation(&id)?);
                let inherited = view.disk(disk.0)?.map_or(0, |row| row.inherited_bytes);
                Ok((view.environment(&id)?, exposed, last_execution, public_ports, generation, inherited))
            })
            .await?;
        let values = values
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(value.expose()).into_owned()))
            .collect();
        let versions = store.templates().await?;
        // A clock that went back while no daemon ran lets nobody live longer than was said.
        let longest_ms = now_ms().saturating_add(row.lifetime_s.saturating_mul(1000));
        let lifetime = Lifetime { expires_at_ms: crate::view::expires_at_ms(&row).min(longest_ms) };
        let sandbox = Sandbox::new(Made {
            template: self.template_of(&row, &versions),
            id: row.id,
            name: row.name,
            project: row.project,
            limits: row.limits,
            disk,
            inherited_bytes,
            lifetime,
            state: State { status: SandboxStatus::Stopped, shell: None, next: Next::None },
            last_execution,
            environment: Environment { version: row.env_version, values, exposed: exposed.into_iter().collect() },
            public_ports,
            preview_generation,
        });
        self.add_live(Arc::new(sandbox));
        Ok(())
    }

    /// The template that a stopped sandbox was made from. When a newer version has taken its name the sandbox keeps its own version,
    /// without the warm interpreter, which belongs to the new one.
    fn template_of(&self, row: &SandboxRow, versions: &[TemplateRow]) -> Arc<Template> {
        let layers: Vec<_> = row.layers.iter().rev().cloned().collect();
        let newest = self.inner.registry.get(&row.template);
        if let Some(template) = newest.as_ref().filter(|template| template.layers == layers) {
            return Arc::clone(template);
        }
        let own = versions.iter().find(|version| version.name == row.template && version.layers == row.layers);
        let like = match (own, newest) {
            (Some(own), _) => self.usable(own.clone()),
            (None, Some(newest)) => newest,
            (None, None) => return Arc::new(Template::without_recipe(&row.template, layers)),
        };
        Arc::new(Template {
            name: like.name.clone(),
            layers,
            zygote: like.zygote,
            warm: match &like.warm {
                Warm::Node(packages) => Warm::Node(packages.clone()),
                _ => Warm::Nothing,
            },
            shelf: like.shelf,
            language: like.language,
            languages: like.languages.clone(),
            env: like.env.clone(),
            defaults: like.defaults.clone(),
            row: like.row.clone(),
        })
    }

    /// Deletes disks that belong to nobody.
    pub(crate) async fn reconcile_disks(&self) {
        if let Err(error) = self.try_reconcile_disks().await {
            tracing::warn!(error = %error.chain(), "disks could not be reconciled");
        }
    }

    async fn try_reconcile_disks(&self) -> Result<(), Failure> {
        let store = &self.inner.store;
        // In this order: a disk that is made meanwhile has its row before it exists, and a sandbox that fails meanwhile is
        // among the living first.
        let exist = self.inner.machine.disks().await?;
        let rows = store.disks().await?;
        let mut owned: HashSet<u64> = self.all_live().iter().map(|s| s.disk.0).collect();
        let failed: Vec<SandboxRow> = store.sandboxes_in(&[SandboxStatus::Failed]).await?;
        owned.extend(failed.iter().filter_map(|row| row.disk));
        let known: BTreeSet<u64> = exist.iter().map(|disk| disk.0).chain(rows.iter().map(|row| row.number)).collect();
        let doomed = self.inner.machine.doomed.lock().expect("nothing panics under this lock").clone();
        let first_of_run = self.inner.first_disk.load(std::sync::atomic::Ordering::Relaxed);
        for number in unowned(known, &owned, first_of_run, &doomed) {
            crate::shelf::discard_disk(&self.inner.machine, store, DiskId(number)).await;
        }
        Ok(())
    }

    /// Removes the cgroups of ended executions whose last processes are gone by now.
    pub(crate) async fn forget_lingering(&self) {
        for sandbox in self.all_live() {
            let Some(shell) = sandbox.state.lock().await.shell.clone() else { continue };
            let lingering = sandbox.lingering.lock().expect("nothing panics under this lock").clone();
            for Lingering { exec, .. } in lingering {
                if let Ok(0) = self.inner.machine.forget(shell.id, exec).await {
                    sandbox.lingering.lock().expect("nothing panics under this lock").retain(|l| l.exec != exec);
                }
            }
        }
    }
}

/// The disks that belong to nobody. Numbers that this run has given out are on the shelf, or being made for it or for a sandbox,
/// unless their deletion was asked for.
fn unowned(known: BTreeSet<u64>, owned: &HashSet<u64>, first_of_run: u64, doomed: &HashSet<DiskId>) -> Vec<u64> {
    let is_fresh = |number: u64| number >= first_of_run && !doomed.contains(&DiskId(number));
    known.into_iter().filter(|number| !owned.contains(number) && !is_fresh(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_whose_deletion_failed_is_deleted_in_the_same_run() {
        let owned = HashSet::from([2, 11, 14]);
        let doomed = |numbers: &[u64]| numbers.iter().copied().map(DiskId).collect();
        let check = |numbers: &[u64], expected: &[u64]| {
            let known = BTreeSet::from([1, 2, 10, 11, 12, 13]);
            assert_eq!(unowned(known, &owned, 10, &doomed(numbers)), expected, "{numbers:?}");
        };
        check(&[], &[1]);
        check(&[12], &[1, 12]);
        // What has an owner stays, and what is gone is gone.
        check(&[2, 11, 13, 14, 15], &[1, 13]);
    }
}
