//! Sandboxes made ahead: an empty disk, a shell on it, and a warm interpreter parked inside, under an id that nobody has
//! been told yet. Refilled in the background, within a memory budget.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ringfence_jail::proto::DiskId;
use ringfence_model::{Limits, SandboxId};
use ringfence_store::Store;
use tokio::sync::Notify;

use crate::{
    activity::Activity,
    error::Failure,
    execution,
    machine::{Files, Machine, Process, SharedShell, ShellSpec},
    registry::{Template, Warm},
};

/// A sandbox that only lacks an owner.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Its id, which is its host name too.
    pub id: SandboxId,
    /// Its disk.
    pub disk: DiskId,
    /// Its shell, with the limits that its template has by default.
    pub shell: SharedShell,
    /// The interpreter in it; none for a template without one.
    pub interpreter: Option<Box<Process>>,
}

/// Which part of the host's memory is for a shelf, unless the operator says otherwise.
pub const PART_OF_MEMORY: usize = 50;

/// How many sandboxes to keep on a shelf, from what is given to it and what one is reckoned to use, both in MiB, within bounds.
#[must_use]
pub(crate) fn target(budget_mib: usize, sandbox_mib: usize) -> usize {
    (budget_mib / sandbox_mib.max(1)).clamp(2, 64)
}

/// How long filling up steps back at most.
const STEP_BACK: Duration = Duration::from_millis(500);

/// The shelf of one template.
#[derive(Debug)]
pub(crate) struct Shelf {
    template: Arc<Template>,
    ready: Mutex<VecDeque<Ready>>,
    target: AtomicUsize,
    wanted: Notify,
}

impl Shelf {
    /// An empty shelf that wants `target` sandboxes.
    #[must_use]
    pub(crate) fn new(template: Arc<Template>, target: usize) -> Self {
        Self { template, ready: Mutex::default(), target: AtomicUsize::new(target), wanted: Notify::new() }
    }

    /// How many wait, and how many should.
    #[must_use]
    pub(crate) fn level(&self) -> (usize, usize) {
        (self.lock().len(), self.target.load(Ordering::Relaxed))
    }

    /// Takes one whose interpreter is still alive, and has the gap filled.
    #[must_use]
    pub(crate) fn take(&self) -> Option<Ready> {
        let mut taken = self.lock().pop_front();
        // A dead interpreter is no reason to throw the sandbox away: the next one is forked on demand.
        if let Some(ready) = &mut taken
            && ready.interpreter.as_mut().is_some_and(|process| !execution::is_alive(&mut process.exit))
        {
            ready.interpreter = None;
        }
        self.wanted.notify_one();
        taken
    }

    /// Takes everything, and wants nothing any more.
    #[must_use]
    pub(crate) fn close(&self) -> Vec<Ready> {
        self.target.store(0, Ordering::Relaxed);
        self.wanted.notify_one();
        self.lock().drain(..).collect()
    }

    /// Removes a sandbox whose shell died on the shelf.
    #[must_use]
    pub(crate) fn remove(&self, shell: ringfence_jail::proto::ShellId) -> Option<Ready> {
        let mut ready = self.lock();
        let position = ready.iter().position(|r| r.shell.id == shell)?;
        let removed = ready.remove(position);
        self.wanted.notify_one();
        removed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Ready>> {
        self.ready.lock().expect("nothing panics under this lock")
    }

    /// Keeps the shelf full until it is closed.
    pub(crate) async fn keep_full(self: Arc<Self>, machine: Arc<Machine>, store: Store, activity: Arc<Activity>) {
        let mut pause = Duration::ZERO;
        if self.template.shelf.after_first_use {
            self.wanted.notified().await;
        }
        loop {
            let (level, target) = self.level();
            if target == 0 {
                return;
            }
            if level >= target {
                self.wanted.notified().await;
                continue;
            }
            // While there are enough, whoever waits for an answer goes first; when they run out, filling up does.
            if level > target / 4 {
                activity.quiet(STEP_BACK).await;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let made = make(&machine, &store, &self.template, self.template.defaults.limits, Warmth::Needed).await;
            match made {
                Ok(ready) if self.target.load(Ordering::Relaxed) == 0 || machine.is_dead(ready.shell.id) => {
                    // Closed meanwhile, or dead before it got here.
                    let _ = machine.destroy(&ready.shell).await;
                    discard_disk(&machine, &store, ready.disk).await;
                }
                Ok(mut ready) => {
                    pause = Duration::ZERO;
                    if let Some(interpreter) = &mut ready.interpreter
                        && activity.may_warm()
                    {
                        interpreter.warm().await;
                    }
                    self.lock().push_back(ready);
                }
                Err(error) => {
                    tracing::warn!(template = self.template.name, error = %error.chain(), "a sandbox could not be made ahead");
                    pause = (pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(10));
                }
            }
        }
    }
}

/// Whether a sandbox without a warm interpreter will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warmth {
    /// For the shelf: one that is not warm is of no use there.
    Needed,
    /// Somebody waits, and a program can be executed anew.
    IfPossible,
}

/// Makes a sandbox from nothing: disk, shell, interpreter.
///
/// # Errors
/// The step that failed; nothing is left then.
pub(crate) async fn make(
    machine: &Machine,
    store: &Store,
    template: &Template,
    limits: Limits,
    warmth: Warmth,
) -> Result<Ready, Failure> {
    let size_mib = limits.disk_mib;
    let number = store.write(move |tx| tx.insert_disk(None, size_mib)).await?;
    let disk = DiskId(number);
    if let Err(error) = machine.create_disk(disk, size_mib).await {
        discard_disk(machine, store, disk).await;
        return Err(error.into());
    }
    let id = SandboxId::from_random(rand::random());
    match furnish(machine, template, limits, Files::Kept(disk), &id, warmth).await {
        Ok((shell, interpreter)) => Ok(Ready { id, disk, shell, interpreter }),
        Err(error) => {
            discard_disk(machine, store, disk).await;
            Err(error)
        }
    }
}

/// A shell over files, with an interpreter where the template has one.
///
/// # Errors
/// The step that failed; no shell is left then.
pub(crate) async fn furnish(
    machine: &Machine,
    template: &Template,
    limits: Limits,
    files: Files,
    id: &SandboxId,
    warmth: Warmth,
) -> Result<(SharedShell, Option<Box<Process>>), Failure> {
    let spec = ShellSpec {
        zygote: template.zygote,
        layers: template.layers.clone(),
        files,
        limits,
        hostname: id.to_string(),
        machine_id: hex::encode(rand::random::<[u8; 16]>()),
    };
    let shell = Arc::new(machine.build_shell(spec).await?);
    if template.warm == Warm::Nothing {
        return Ok((shell, None));
    }
    match machine.park(&shell, template).await {
        Ok(process) => Ok((shell, Some(Box::new(process)))),
        // Its template was built anew, or its warm interpreter is being started again: programs are executed anew then.
        Err(error) if warmth == Warmth::IfPossible && error.is_without_zygote() => Ok((shell, None)),
        Err(error) => {
            if let Err(error) = machine.destroy(&shell).await {
                tracing::error!(%error, "a shell could not be removed");
            }
            Err(error.into())
        }
    }
}

/// Gives a disk's bytes and number back. What fails here, reconcile repeats.
pub(crate) async fn discard_disk(machine: &Machine, store: &Store, disk: DiskId) {
    let doomed = || machine.doomed.lock().expect("nothing panics under this lock");
    doomed().insert(disk);
    if let Err(error) = machine.delete_disk(disk).await {
        tracing::warn!(%error, disk = disk.0, "a disk could not be deleted");
        return;
    }
    if let Err(error) = store.write(move |tx| tx.delete_disk(disk.0)).await {
        tracing::warn!(%error, disk = disk.0, "a disk's row could not be deleted");
        return;
    }
    doomed().remove(&disk);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shelf_grows_with_the_host() {
        let of_memory = |mib: usize, sandbox_mib| target(mib / PART_OF_MEMORY, sandbox_mib);
        assert_eq!(of_memory(1024, 12), 2);
        assert_eq!(of_memory(4096, 12), 6);
        assert_eq!(of_memory(24 * 1024, 12), 40);
        assert_eq!(of_memory(24 * 1024, 40), 12);
        assert_eq!(of_memory(1 << 20, 12), 64);
        assert_eq!(of_memory(0, 12), 2);
    }
}
