//! Tokens and projects.

use ringfence_engine::api::{Access, Answering};
use ringfence_model::{
    Caller, JobId, Operation, Project, SandboxId,
    api::{
        Actor, ProjectListAnswer, TokenCreateAnswer, TokenCreateRequest, TokenListAnswer, TokenRequest,
        TokenRevokeAnswer,
    },
};

use super::Scoped;

impl Access for Scoped {
    fn sandbox_in(&self, project: Project, reference: String) -> Answering<'_, String> {
        self.inner.sandbox_in(self.caller.project.clone().unwrap_or(project), reference)
    }

    fn execution_in(&self, project: Project, execution_id: String) -> Answering<'_, ()> {
        self.inner.execution_in(self.caller.project.clone().unwrap_or(project), execution_id)
    }

    fn template_in(&self, project: Project, name: String) -> Answering<'_, ()> {
        self.inner.template_in(self.caller.project.clone().unwrap_or(project), name)
    }

    fn sandboxes_of(&self, project: Project, ids: Vec<SandboxId>) -> Answering<'_, Vec<SandboxId>> {
        self.inner.sandboxes_of(self.caller.project.clone().unwrap_or(project), ids)
    }

    fn jobs_of(&self, project: Project, ids: Vec<JobId>) -> Answering<'_, Vec<JobId>> {
        self.inner.jobs_of(self.caller.project.clone().unwrap_or(project), ids)
    }

    fn caller(&self, secret: Vec<u8>) -> Answering<'_, Option<Caller>> {
        self.inner.caller(secret)
    }

    fn token_create(&self, _: Actor, request: TokenCreateRequest) -> Answering<'_, TokenCreateAnswer> {
        Box::pin(async move {
            self.check(Operation::TokenCreate)?;
            // An operator of one project makes tokens for that one alone.
            let project = self.caller.project.clone().or(request.project);
            self.inner.token_create(self.actor(), TokenCreateRequest { project, ..request }).await
        })
    }

    fn token_list(&self, _: Actor) -> Answering<'_, TokenListAnswer> {
        Box::pin(async move {
            self.check(Operation::TokenList)?;
            let mut answer = self.inner.token_list(self.actor()).await?;
            if let Some(project) = &self.caller.project {
                answer.tokens.retain(|token| token.project.as_ref() == Some(project));
                answer.count = u32::try_from(answer.tokens.len()).unwrap_or(u32::MAX);
            }
            Ok(answer)
        })
    }

    fn token_revoke(&self, _: Actor, request: TokenRequest) -> Answering<'_, TokenRevokeAnswer> {
        Box::pin(async move {
            self.check(Operation::TokenRevoke)?;
            if self.caller.project.is_none() {
                return self.inner.token_revoke(self.actor(), request).await;
            }
            let own = self.token_list(self.actor()).await?.tokens;
            let mut named = own.iter().filter(|t| t.id == request.token || (t.name == request.token && t.valid));
            let token = match (named.next(), named.next()) {
                (Some(token), None) => token.id.clone(),
                // No id has this form: it is answered as what there is not.
                _ => format!("{} of this project", request.token),
            };
            self.inner.token_revoke(self.actor(), TokenRequest { token }).await
        })
    }

    fn project_list(&self, _: Actor) -> Answering<'_, ProjectListAnswer> {
        Box::pin(async move {
            self.check(Operation::ProjectList)?;
            let mut answer = self.inner.project_list(self.actor()).await?;
            if let Some(project) = &self.caller.project {
                answer.projects.retain(|found| found.name == *project);
                answer.count = u32::try_from(answer.projects.len()).unwrap_or(u32::MAX);
            }
            Ok(answer)
        })
    }
}
