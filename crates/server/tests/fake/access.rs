//! Tokens and projects of the fake: sandboxes by project, and tokens in plain text.

use std::sync::Arc;

use ringfence_engine::api::{Access, Answering};
use ringfence_model::{ApiError, Caller, Code, JobId, Project, Role, SandboxId, api::*};
use ringfence_research::api::{Research, SharedResearch};

use super::{Fake, now};

/// Tokens that the fake lets in, with what they are.
#[allow(dead_code, reason = "each test file uses a part")]
pub(crate) fn token(role: Role, project: &str) -> String {
    format!("rf_fake-{}-{project}", role.as_str())
}

fn refused<T: Send + 'static>() -> Answering<'static, T> {
    now(Err(ApiError::new(Code::NotSupported, "the fake makes no tokens")))
}

impl Fake {
    pub(super) fn find(&self, reference: &str) -> Result<SandboxId, ApiError> {
        let state = self.state();
        let mut found = state.names.iter().filter(|(id, name)| id.as_str() == reference || *name == reference);
        let Some((id, _)) = found.next() else {
            return self.unknown(reference);
        };
        Ok(id.clone())
    }

    fn unknown<T>(&self, reference: &str) -> Result<T, ApiError> {
        let message = format!("there is no sandbox `{reference}`; sandbox_list shows those there are");
        Err(ApiError::new(Code::SandboxNotFound, message))
    }

    pub(super) fn cuts_nothing<T: Send + 'static>(&self) -> Answering<'static, T> {
        now(Err(ApiError::new(Code::NotSupported, "the fake has no chain")))
    }

    fn owner(&self, id: &SandboxId) -> Project {
        self.state().owners.get(id).cloned().unwrap_or_default()
    }
}

impl Access for Fake {
    fn sandbox_in(&self, project: Project, reference: String) -> Answering<'_, String> {
        let found = self.find(&reference).and_then(|id| match self.owner(&id) {
            owner if owner == project => Ok(id.to_string()),
            _ => self.unknown(&reference),
        });
        now(found)
    }

    fn execution_in(&self, project: Project, execution_id: String) -> Answering<'_, ()> {
        let sandbox = self
            .state()
            .executions
            .values()
            .find(|e| e.execution_id.as_str() == execution_id)
            .map(|e| e.sandbox_id.clone());
        let known = sandbox.is_some_and(|sandbox| self.owner(&sandbox) == project);
        let unknown = || ApiError::new(Code::ExecutionNotFound, format!("there is no execution `{execution_id}`"));
        now(if known { Ok(()) } else { Err(unknown()) })
    }

    fn template_in(&self, project: Project, name: String) -> Answering<'_, ()> {
        // What ships is everybody's, and what there is besides is the first project's.
        let known = project == Project::default() || name == "python" || name == "slow";
        let unknown = || ApiError::new(Code::TemplateNotFound, format!("there is no template `{name}`"));
        now(if known { Ok(()) } else { Err(unknown()) })
    }

    fn sandboxes_of(&self, project: Project, ids: Vec<SandboxId>) -> Answering<'_, Vec<SandboxId>> {
        now(Ok(ids.into_iter().filter(|id| self.owner(id) == project).collect()))
    }

    fn jobs_of(&self, _: Project, _: Vec<JobId>) -> Answering<'_, Vec<JobId>> {
        now(Ok(vec![]))
    }

    fn caller(&self, secret: Vec<u8>) -> Answering<'_, Option<Caller>> {
        let offered = String::from_utf8_lossy(&secret).into_owned();
        let parsed = offered.strip_prefix("rf_fake-").and_then(|rest| rest.split_once('-'));
        let caller = parsed.and_then(|(role, project)| {
            let (role, project) = (Role::parse(role)?, Project::parse(project).ok()?);
            Some(Caller { role, project: Some(project), token: Some(offered.clone()) })
        });
        now(Ok(caller))
    }

    fn token_create(&self, _: Actor, _: TokenCreateRequest) -> Answering<'_, TokenCreateAnswer> {
        refused()
    }

    fn token_list(&self, _: Actor) -> Answering<'_, TokenListAnswer> {
        now(Ok(TokenListAnswer { success: true, count: 0, tokens: vec![] }))
    }

    fn token_revoke(&self, _: Actor, _: TokenRequest) -> Answering<'_, TokenRevokeAnswer> {
        refused()
    }

    fn project_list(&self, _: Actor) -> Answering<'_, ProjectListAnswer> {
        now(Ok(ProjectListAnswer { success: true, count: 0, projects: vec![] }))
    }
}

impl Research for Fake {
    // Its jobs are everybody's: what divides them is tested at the desk itself.
    fn of(self: Arc<Self>, _: Option<Project>) -> SharedResearch {
        self
    }
}
