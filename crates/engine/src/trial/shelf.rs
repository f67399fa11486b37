//! Sandboxes of trials that are made ahead. A shelf is opened by the first trial of its kind and given back when none has come for
//! some seconds.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ringfence_jail::proto::ShellId;
use ringfence_model::{Limits, SandboxId, api::TrialHealth};
use tokio::sync::{Semaphore, watch};

use crate::{
    engine::Engine,
    error::Failure,
    execution,
    machine::{Files, Machine, Process, SharedShell},
    registry::Template,
    service::count,
    shelf::{self, Warmth},
};

/// How long a shelf is kept after its last trial.
const IDLE: Duration = Duration::from_secs(10);

/// Kinds of trials, by template and limits, for which shelves are kept at once.
const SHELVES_MAX: usize = 4;

/// Where trials take place: their turns, their shelves, and who is under way.
pub(crate) struct Ground {
    /// As many as may run at once, in order of arrival.
    pub(super) turns: Arc<Semaphore>,
    /// How many wait for their turn.
    pub(super) waiting: watch::Sender<usize>,
    /// How many have had their turn and are not wholly gone.
    pub(super) running: watch::Sender<usize>,
    /// Whether all must end.
    pub(super) closing: watch::Sender<bool>,
    /// Sandboxes that a shelf holds at most.
    places: usize,
    shelves: Mutex<HashMap<(String, u32), Arc<TrialShelf>>>,
}

impl Default for Ground {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        // While one waits for the disk, the jailer, or its sandbox's end, another can use its processor.
        let turns = cpus + cpus.div_ceil(2) + 1;
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            waiting: watch::Sender::new(0),
            running: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            places: turns,
            shelves: Mutex::default(),
        }
    }
}

impl Ground {
    fn shelves(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u32), Arc<TrialShelf>>> {
        self.shelves.lock().expect("nothing panics under this lock")
    }

    /// Takes shelves away; nothing is put on them any more.
    pub(super) fn take_shelves(&self, which: impl Fn(&TrialShelf) -> bool) -> Vec<Prepared> {
        let mut taken = Vec::new();
        self.shelves().retain(|_, shelf| {
            let goes = which(shelf);
            if goes {
                taken.extend(shelf.close());
            }
            !goes
        });
        taken
    }

    /// How many there are now.
    pub(crate) fn health(&self) -> TrialHealth {
        TrialHealth {
            running: count(*self.running.borrow()),
            waiting: count(*self.waiting.borrow()),
            shelf: count(self.shelves().values().map(|shelf| shelf.state().ready.len()).sum()),
        }
    }
}

/// A sandbox that only lacks a program.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) id: SandboxId,
    pub(super) shell: SharedShell,
    pub(super) interpreter: Option<Box<Process>>,
}

/// Those of one template with the same limits.
#[derive(Debug)]
pub(super) struct TrialShelf {
    template: Arc<Template>,
    limits: Limits,
    places: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Prepared>,
    making: usize,
    is_closed: bool,
    used: Instant,
}

impl TrialShelf {
    fn new(template: Arc<Template>, limits: Limits, places: usize) -> Self {
        let state = State { ready: VecDeque::new(), making: 0, is_closed: false, used: Instant::now() };
        Self { template, limits, places, state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    fn close(&self) -> VecDeque<Prepared> {
        let mut state = self.state();
        state.is_closed = true;
        std::mem::take(&mut state.ready)
    }

    /// One that waits, or one that is made now.
    ///
    /// # Errors
    /// It could not be made.
    pub(super) async fn take(&self, machine: &Machine) -> Result<Prepared, Failure> {
        loop {
            let taken = {
                let mut state = self.state();
                state.used = Instant::now();
                state.ready.pop_front()
            };
            let Some(mut prepared) = taken else { return self.make(machine).await };
            let is_alive = prepared.interpreter.as_mut().is_none_or(|process| execution::is_alive(&mut process.exit));
            if is_alive && !machine.is_dead(prepared.shell.id) {
                return Ok(prepared);
            }
            // Nobody has been told of it.
            let _ = machine.destroy(&prepared.shell).await;
        }
    }

    async fn make(&self, machine: &Machine) -> Result<Prepared, Failure> {
        let id = SandboxId::from_random(rand::random());
        let (shell, interpreter) =
            shelf::furnish(machine, &self.template, self.limits, Files::Passing, &id, Warmth::IfPossible).await?;
        Ok(Prepared { id, shell, interpreter })
    }

    /// Fills it in the background, unless it is closed.
    pub(super) fn fill(self: &Arc<Self>, machine: &Arc<Machine>) {
        loop {
            {
                let mut state = self.state();
                if state.is_closed || state.ready.len() + state.making >= self.places {
                    return;
                }
                state.making += 1;
            }
            let (shelf, machine) = (Arc::clone(self), Arc::clone(machine));
            tokio::spawn(async move {
                let made = shelf.make(&machine).await;
                let unwanted = {
                    let mut state = shelf.state();
                    state.making -= 1;
                    match made {
                        Ok(prepared) if state.is_closed => Some(prepared),
                        Ok(prepared) => {
                            state.ready.push_back(prepared);
                            None
                        }
                        Err(error) => {
                            // Whoever needs one makes it, and hears why it cannot be made.
                            tracing::debug!(error = %error.chain(), "a sandbox of a trial could not be made ahead");
                            None
                        }
                    }
                };
                if let Some(prepared) = unwanted {
                    let _ = machine.destroy(&prepared.shell).await;
                }
            });
        }
    }
}

impl Engine {
    /// The shelf of trials like this one.
    pub(super) fn trial_shelf(&self, template: &Arc<Template>, limits: Limits) -> Arc<TrialShelf> {
        let ground = &self.inner.trials;
        let mut shelves = ground.shelves();
        let kind = (template.name.clone(), limits.memory_mib);
        match shelves.get(&kind) {
            Some(shelf) if Arc::ptr_eq(&shelf.template, template) => Arc::clone(shelf),
            // One of another version is cleared by whoever brought that; until then it is used up by nobody.
            _ => {
                let places = if shelves.len() < SHELVES_MAX { ground.places } else { 0 };
                let shelf = Arc::new(TrialShelf::new(Arc::clone(template), limits, places));
                if let Some(old) = shelves.insert(kind, Arc::clone(&shelf)) {
                    self.discard_trials(old.close());
                }
                shelf
            }
        }
    }

    fn discard_trials(&self, prepared: impl IntoIterator<Item = Prepared> + Send + 'static) {
        let machine = Arc::clone(&self.inner.machine);
        tokio::spawn(async move {
            for prepared in prepared.into_iter().collect::<Vec<_>>() {
                if let Err(error) = machine.destroy(&prepared.shell).await {
                    tracing::error!(%error, "the shell of a trial could not be removed");
                }
            }
        });
    }

    /// Removes the shell of a trial, and has its place on the shelf filled unless others wait for the machine.
    pub(super) async fn end_trial_shell(&self, shell: &SharedShell, shelf: &Arc<TrialShelf>) {
        let machine = &self.inner.machine;
        if let Err(error) = machine.destroy(shell).await {
            tracing::error!(%error, "the shell of a trial could not be removed");
        }
        if self.inner.trials.turns.available_permits() > 0 {
            shelf.fill(machine);
        }
    }

    /// Gives back what no trial has asked for of late.
    pub(crate) async fn give_trials_back(&self) {
        let idle = self.inner.trials.take_shelves(|shelf| shelf.state().used.elapsed() >= IDLE);
        for prepared in idle {
            let _ = self.inner.machine.destroy(&prepared.shell).await;
        }
    }

    /// Empties the shelves of a template that is gone or was built anew.
    pub(crate) async fn clear_trials(&self, template: &str) {
        for prepared in self.inner.trials.take_shelves(|shelf| shelf.template.name == template) {
            let _ = self.inner.machine.destroy(&prepared.shell).await;
        }
    }

    /// Removes a shell that died on a shelf of trials. `false` when it is on none.
    pub(crate) async fn bury_trial(&self, shell: ShellId) -> bool {
        let shelves: Vec<_> = self.inner.trials.shelves().values().cloned().collect();
        for shelf in shelves {
            let dead = {
                let mut state = shelf.state();
                let position = state.ready.iter().position(|prepared| prepared.shell.id == shell);
                position.and_then(|position| state.ready.remove(position))
            };
            if let Some(dead) = dead {
                let _ = self.inner.machine.destroy(&dead.shell).await;
                return true;
            }
        }
        false
    }
}
