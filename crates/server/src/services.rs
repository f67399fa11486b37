//! Who answers, for every face.

use std::ops::Deref;

use ringfence_engine::api::{Sandboxes, SharedSandboxes};
use ringfence_research::api::SharedResearch;

/// Whoever answers for sandboxes, to which this dereferences, and for research.
#[derive(Clone)]
pub struct Services {
    /// Sandboxes.
    pub sandboxes: SharedSandboxes,
    /// Sweeps, pipelines and swarms.
    pub research: SharedResearch,
}

impl Deref for Services {
    type Target = dyn Sandboxes;

    fn deref(&self) -> &Self::Target {
        self.sandboxes.as_ref()
    }
}
