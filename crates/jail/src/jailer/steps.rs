//! Build steps and trees as the jailer keeps them. Everything here runs in forked processes: a step may take minutes,
//! and sealing or removing a large tree seconds.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use ringfence_model::LayerDigest;
use serde::{Deserialize, Serialize};

use super::{Jailer, Role, Timer, kernel, unknown};
use crate::{
    build::{self, step::Work},
    check,
    proto::{BuildPlan, Done, LayerPlan, LayerWork, Notice, Refusal},
    shell::{self, StepError},
    sys,
};

/// Steps that run at once; each may use several GiB.
const STEPS_MAX: usize = 4;

/// Sealing reads every byte of a tree.
const JOB_PATIENCE: Duration = Duration::from_secs(900);

/// A step or a job on a tree, in a process of its own. Kept under the jailer's own number, never used twice: a timer of
/// one that ended must not end another.
#[derive(Debug)]
pub(super) struct RunningStep {
    pid: i32,
    /// What it works on.
    trees: Vec<String>,
    /// What it reads.
    layers: Vec<LayerDigest>,
    kind: Kind,
    timed_out: bool,
}

#[derive(Debug)]
enum Kind {
    Step {
        step: u32,
        group: String,
    },
    /// Its report is written into the pipe, which holds it until the process has ended.
    Job {
        request: u64,
        report: OwnedFd,
    },
}

/// What a job's process says.
#[derive(Debug, Serialize, Deserialize)]
struct Report(Result<Done, Refusal>);

impl Jailer {
    pub(super) fn build_step(&mut self, request: u64, plan: &BuildPlan, fds: &[OwnedFd]) -> Result<(), Refusal> {
        check::build(plan)?;
        let input = check::input(plan, fds)?;
        let reads = plan.layers.clone();
        self.start_step(request, plan.step, vec![plan.tree.clone()], reads, plan, plan.timeout_ms, input)
    }

    pub(super) fn layer_step(&mut self, request: u64, plan: &LayerPlan, fds: &[OwnedFd]) -> Result<(), Refusal> {
        check::layer_step(plan)?;
        let input = match (plan.work.has_input(), fds) {
            (true, [input]) => Some(input),
            (false, []) => None,
            _ => return Err(Refusal::Plan("that work has another number of descriptors".into())),
        };
        if let LayerWork::CopyHome { disk, layers, .. } = &plan.work {
            if self.shells.values().any(|shell| shell.disk() == Some(*disk)) {
                return Err(Refusal::Plan("a shell uses the disk".into()));
            }
            if !self.disks.exists(*disk) {
                return Err(unknown(format!("disk {}", disk.0)));
            }
            layers.iter().try_for_each(|layer| self.layer_exists(layer))?;
        }
        plan.work.below().iter().try_for_each(|layer| self.layer_exists(layer))?;
        if let LayerWork::List(layers) | LayerWork::Write { base: layers, .. } | LayerWork::Find(layers) = &plan.work {
            layers.iter().try_for_each(|layer| self.layer_exists(layer))?;
        }
        if let LayerWork::Write { home, .. } = &plan.work {
            self.layer_exists(home)?;
        }
        let trees = plan.work.trees().into_iter().map(str::to_owned).collect();
        let reads = match &plan.work {
            LayerWork::CopyHome { layers, .. } | LayerWork::List(layers) | LayerWork::Find(layers) => layers.clone(),
            LayerWork::Write { home, base, .. } => base.iter().chain([home]).cloned().collect(),
            work => work.below().to_vec(),
        };
        self.start_step(request, plan.step, trees, reads, plan, plan.timeout_ms, input)
    }

    fn layer_exists(&self, layer: &LayerDigest) -> Result<(), Refusal> {
        if self.host.layers().join(layer.as_str()).join("rootfs").is_dir() {
            return Ok(());
        }
        Err(unknown(format!("layer {layer}")))
    }

    #[allow(clippy::too_many_arguments, reason = "they are what a step is")]
    fn start_step(
        &mut self,
        request: u64,
        step: u32,
        trees: Vec<String>,
        layers: Vec<LayerDigest>,
        work: &dyn Work,
        timeout_ms: u64,
        input: Option<&OwnedFd>,
    ) -> Result<(), Refusal> {
        if self.number_of(step).is_some() {
            return Err(Refusal::Plan(format!("step {step} is not a new number")));
        }
        trees.iter().try_for_each(|tree| self.tree_is_free(tree))?;
        if self.steps.len() >= STEPS_MAX {
            return Err(Refusal::Plan(format!("{STEPS_MAX} build steps are running already")));
        }
        self.generation += 1;
        let number = self.generation;
        let group = build::step::group(step, number);
        let (pid, output) = build::step::start(&self.host, work, &group, input).map_err(|e| kernel(&e))?;
        let kind = Kind::Step { step, group };
        let running = RunningStep { pid, trees, layers, kind, timed_out: false };
        self.keep(number, running, Duration::from_millis(timeout_ms));
        self.reply(request, Ok(Done::StepStarted), vec![output]);
        Ok(())
    }

    fn keep(&mut self, number: u32, running: RunningStep, patience: Duration) {
        self.roles.insert(running.pid, Role::Step(number));
        self.at(Instant::now() + patience, Timer::StepTooLong(number));
        self.steps.insert(number, running);
    }

    /// The jailer's number of a running step.
    fn number_of(&self, wanted: u32) -> Option<u32> {
        let is_it = |running: &RunningStep| matches!(running.kind, Kind::Step { step, .. } if step == wanted);
        self.steps.iter().find(|(_, running)| is_it(running)).map(|(number, _)| *number)
    }

    pub(super) fn kill_step(&mut self, step: u32) -> Result<(), Refusal> {
        let number = self.number_of(step).ok_or_else(|| unknown(format!("step {step}")))?;
        self.end_step(number);
        Ok(())
    }

    /// Kills a step's processes; its death is reaped soon.
    fn end_step(&self, number: u32) {
        let Some(running) = self.steps.get(&number) else { return };
        // Everything dies with the stepper, also when the cgroup was not made or entered yet.
        let _ = sys::kill_child(running.pid, sys::SIGKILL);
        if let Kind::Step { group, .. } = &running.kind {
            let _ = self.host.cgroups.kill(group);
        }
    }

    pub(super) fn on_step_too_long(&mut self, number: u32) {
        let Some(running) = self.steps.get_mut(&number) else { return };
        running.timed_out = true;
        self.end_step(number);
    }

    pub(super) fn on_step_death(&mut self, number: u32, ended: sys::Ended) {
        let Some(running) = self.steps.remove(&number) else { return };
        match running.kind {
            Kind::Step { step, group } => {
                let _ = self.host.cgroups.kill(&group);
                self.remove_group_soon(group);
                for tree in &running.trees {
                    build::remove_mount_point(&self.host, tree);
                }
                let code = ended.code.unwrap_or_else(|| 128 + ended.signal.unwrap_or(0));
                self.notify(Notice::StepExited { step, code, timed_out: running.timed_out });
            }
            Kind::Job { request, report } => {
                let mut bytes = Vec::new();
                let read = File::from(report).read_to_end(&mut bytes);
                let result = match (read, postcard::from_bytes::<Report>(&bytes)) {
                    (Ok(_), Ok(Report(result))) => result,
                    _ if running.timed_out => Err(Refusal::Failed("it took too long and was killed".into())),
                    _ => Err(Refusal::Failed("its process died".into())),
                };
                self.reply(request, result, Vec::new());
            }
        }
    }

    pub(super) fn seal_layer(&mut self, request: u64, tree: &str, is_home: bool) -> Result<(), Refusal> {
        let name = tree.to_owned();
        check_tree(tree)?;
        self.start_job(request, vec![name.clone()], move |host| {
            if !build::tree_dir(host, &name).is_dir() {
                return Err(unknown(format!("build tree {name}")));
            }
            let seal = if is_home { build::seal_home } else { build::seal };
            let (digest, listing) = seal(host, &name).map_err(|e| kernel(&e))?;
            Ok(Done::LayerSealed { digest, bytes: listing.bytes, files: listing.files })
        })
    }

    pub(super) fn drop_tree(&mut self, request: u64, tree: &str) -> Result<(), Refusal> {
        let name = tree.to_owned();
        check_tree(tree)?;
        self.start_job(request, vec![name.clone()], move |host| {
            let removed = build::remove::tree(&build::tree_dir(host, &name));
            let refusal = |source| kernel(&StepError { step: format!("removing the build tree {name}"), source });
            removed.map(|()| Done::Ok).map_err(refusal)
        })
    }

    pub(super) fn check_layer(&mut self, request: u64, layer: LayerDigest) -> Result<(), Refusal> {
        self.layer_exists(&layer)?;
        self.start_job(request, Vec::new(), move |host| {
            let listing = build::look(host, &layer).map_err(|e| kernel(&e))?;
            let digest = LayerDigest::parse(&listing.digest).expect("a SHA-256 in hexadecimal");
            Ok(Done::LayerSealed { digest, bytes: listing.bytes, files: listing.files })
        })
    }

    pub(super) fn drop_layer(&mut self, request: u64, layer: &LayerDigest) -> Result<(), Refusal> {
        let in_use = self.shells.values().any(|shell| shell.layers().contains(layer))
            || self.zygotes.values().any(|zygote| zygote.layers().contains(layer))
            || self.steps.values().any(|step| step.layers.contains(layer))
            || *layer == self.host.harness;
        if in_use {
            return Err(Refusal::Plan("a shell, a zygote or a build uses the layer".into()));
        }
        // Out of the store in one step: what is half removed must not be found under its name.
        let name = format!("gone-{layer}").chars().take(60).collect::<String>();
        self.tree_is_free(&name)?;
        let dir = build::tree_dir(&self.host, &name);
        let failed = |step: &str, source| kernel(&StepError { step: step.into(), source });
        build::remove::tree(&dir).map_err(|e| failed("removing what was left of the layer", e))?;
        match std::fs::rename(self.host.layers().join(layer.as_str()), &dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed("removing the layer", e)),
            _ => {}
        }
        self.drop_tree(request, &name)
    }

    /// What lies in the layer store and among the build trees, up to a bound: a message has one.
    pub(super) fn list_stored(&self) -> Result<Done, Refusal> {
        const NAMES_MAX: usize = 1000;
        let names = |dir: std::path::PathBuf| {
            let listed = std::fs::read_dir(dir)
                .map_err(|source| kernel(&StepError { step: "listing layers and build trees".into(), source }))?;
            let names = listed.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            Ok::<Vec<String>, Refusal>(names.take(NAMES_MAX).collect())
        };
        let layers = names(self.host.layers())?.iter().filter_map(|name| LayerDigest::parse(name).ok()).collect();
        let trees =
            names(self.host.home.join("builds"))?.into_iter().filter(|name| check::is_tree_name(name)).collect();
        Ok(Done::Stored { layers, trees })
    }

    /// Runs `job` in a forked process; its result answers the request.
    fn start_job(
        &mut self,
        request: u64,
        trees: Vec<String>,
        job: impl FnOnce(&crate::host::Host) -> Result<Done, Refusal>,
    ) -> Result<(), Refusal> {
        trees.iter().try_for_each(|tree| self.tree_is_free(tree))?;
        let failed = |what: &str, e: std::io::Error| Refusal::Kernel { step: what.into(), reason: e.to_string() };
        let (report, theirs) = shell::pipe().map_err(|e| failed("making a pipe", e))?;
        match sys::fork().map_err(|e| failed("forking a job", e))? {
            sys::Forked::Child => {
                let code = match keep_only(theirs) {
                    Ok(theirs) => {
                        let bytes = postcard::to_stdvec(&Report(job(&self.host))).unwrap_or_default();
                        i32::from(shell::write_all(&theirs, &bytes).is_err())
                    }
                    Err(_) => 1,
                };
                sys::exit_now(code)
            }
            sys::Forked::Parent(pid) => {
                self.generation += 1;
                let kind = Kind::Job { request, report };
                self.keep(
                    self.generation,
                    RunningStep { pid, trees, layers: Vec::new(), kind, timed_out: false },
                    JOB_PATIENCE,
                );
                Ok(())
            }
        }
    }

    /// One process at a time works on a tree: sealing believes that nobody changes it meanwhile.
    fn tree_is_free(&self, tree: &str) -> Result<(), Refusal> {
        match self.steps.values().find(|running| running.trees.iter().any(|other| other == tree)) {
            Some(_) => Err(Refusal::Plan(format!("the build tree {tree} is in use"))),
            None => Ok(()),
        }
    }
}

fn check_tree(tree: &str) -> Result<(), Refusal> {
    if check::is_tree_name(tree) {
        return Ok(());
    }
    Err(Refusal::Plan("the tree's name is not 1 to 63 of a-z, 0-9 and -".into()))
}

/// Closes the jailer's descriptors but the standard ones and `report`: an end of a pipe that a job held would keep some
/// execution's output from ending.
fn keep_only(report: OwnedFd) -> std::io::Result<OwnedFd> {
    const REPORT: i32 = 3;
    sys::die_with_parent()?;
    sys::place_fd(report.as_fd(), REPORT)?;
    std::mem::forget(report); // closed by number
    sys::close_from(REPORT + 1)?;
    sys::inherited_fd(REPORT)
}
