//! What every face of research calls: the [`Desk`](crate::Desk) answers, or a client of the REST API.

mod jobs;
mod pipelines;
mod swarms;
mod sweeps;

use std::sync::Arc;

use ringfence_model::Project;

pub use jobs::Jobs;
pub use pipelines::Pipelines;
pub use swarms::Swarms;
pub use sweeps::Sweeps;

/// All of it.
pub trait Research: Sweeps + Pipelines + Swarms + Jobs {
    /// The same, where nothing exists but what is of that project, and where what is begun becomes that project's. Without one: all
    /// projects'.
    fn of(self: Arc<Self>, project: Option<Project>) -> SharedResearch;
}

impl Research for crate::Desk {
    fn of(self: Arc<Self>, project: Option<Project>) -> SharedResearch {
        Arc::new(self.for_project(project))
    }
}

/// Whoever answers, shared.
pub type SharedResearch = Arc<dyn Research>;
