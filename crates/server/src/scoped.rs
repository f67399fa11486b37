//! What one caller can reach: the services, narrowed to the caller's role and project. Every face is handed this and nothing wider.
//!
//! Here, and nowhere else, is decided whether a role may do something and whose things it finds. What belongs to another project is
//! answered as what there is not: the reference is resolved within the caller's project before anything else is looked at.

mod access;
mod credits;
mod research;
mod sandboxes;
mod trading;

use std::sync::Arc;

use ringfence_model::{ApiError, Caller, Code, Operation, Project, SandboxId, api::Actor};
use ringfence_research::api::SharedResearch;

use crate::services::Services;

/// The services as one caller sees them.
pub(crate) struct Scoped {
    inner: Services,
    /// Jobs of the caller's project.
    research: SharedResearch,
    caller: Caller,
}

impl Services {
    /// These services as that caller sees them.
    pub(crate) fn scoped(&self, caller: Caller) -> Self {
        let research = self.research.clone().of(caller.project.clone());
        let scoped = Arc::new(Scoped { inner: self.clone(), research, caller });
        Self { sandboxes: scoped.clone(), research: scoped }
    }
}

impl Scoped {
    /// On whose behalf the engine acts. What a face says of it counts for nothing here.
    fn actor(&self) -> Actor {
        self.caller.role.actor()
    }

    fn check(&self, operation: Operation) -> Result<(), ApiError> {
        self.caller.check(operation)
    }

    /// What a caller means by a sandbox's id or name.
    async fn sandbox(&self, reference: &mut String) -> Result<(), ApiError> {
        if let Some(project) = self.caller.project.clone() {
            *reference = self.inner.sandbox_in(project, reference.clone()).await?;
        }
        Ok(())
    }

    async fn sandbox_if_named(&self, reference: &mut Option<String>) -> Result<(), ApiError> {
        match reference {
            Some(reference) => self.sandbox(reference).await,
            None => Ok(()),
        }
    }

    /// The caller's project, when it is not the one that all of the installation's own things belong to.
    fn guest_project(&self) -> Option<&Project> {
        self.caller.project.as_ref().filter(|project| **project != Project::default())
    }

    /// What the installation has once, and shares with no project but the first.
    fn of_the_first_project(&self, what: &str) -> Result<(), ApiError> {
        match self.guest_project() {
            None => Ok(()),
            Some(project) => {
                let text = format!("{what} belong to the project `{}`, not to `{project}`", Project::default());
                Err(ApiError::new(Code::PermissionDenied, text))
            }
        }
    }

    /// Leaves those that are about a sandbox of the caller's. What is about no sandbox goes as `about_none` says.
    async fn retain<T>(
        &self,
        all: &mut Vec<T>,
        sandbox: impl Fn(&T) -> Option<&str>,
        about_none: impl Fn(&T) -> bool,
    ) -> Result<(), ApiError> {
        let Some(project) = self.caller.project.clone() else { return Ok(()) };
        let ids = all.iter().filter_map(|one| SandboxId::parse(sandbox(one)?).ok()).collect();
        let owned = self.inner.sandboxes_of(project, ids).await?;
        all.retain(|one| match sandbox(one) {
            Some(id) => owned.iter().any(|owned| owned.as_str() == id),
            None => about_none(one),
        });
        Ok(())
    }
}
