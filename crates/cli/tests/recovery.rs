//! `kill -9` of any role at any point: the next start finds what is left and brings everything to a true state. Nothing
//! that an acknowledged call had written is lost, and no process, mount, cgroup, disk or loop device is left over.
//!
//! The daemon here is the tests' own, over a state directory beside the shared one: it has the same layers (as hard
//! links), the row of the same template, and nothing else of it.

mod common;

#[path = "recovery/beside.rs"]
mod beside;
#[path = "recovery/daemon.rs"]
mod daemon;
#[path = "recovery/damaged.rs"]
mod damaged;
#[path = "recovery/deaths.rs"]
mod deaths;
#[path = "recovery/descriptors.rs"]
mod descriptors;
#[path = "recovery/full.rs"]
mod full;
#[path = "recovery/jobs.rs"]
mod jobs;
#[path = "recovery/limits.rs"]
mod limits;
#[path = "recovery/load.rs"]
mod load;
#[path = "recovery/memory.rs"]
mod memory;
#[path = "recovery/patience.rs"]
mod patience;
#[path = "recovery/points.rs"]
mod points;
#[path = "recovery/process.rs"]
mod process;
#[path = "recovery/scene.rs"]
mod scene;
#[path = "recovery/starts.rs"]
mod starts;
#[path = "recovery/tracer.rs"]
mod tracer;
