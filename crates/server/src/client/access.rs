//! Tokens and projects, asked of the daemon.

use std::sync::Arc;

use hyper::Method;
use ringfence_engine::api::{Access, Answering};
use ringfence_model::{
    Caller, JobId, Project, SandboxId,
    api::{
        Actor, ProjectListAnswer, TokenCreateAnswer, TokenCreateRequest, TokenListAnswer, TokenRequest,
        TokenRevokeAnswer,
    },
};
use ringfence_research::api::{Research, SharedResearch};

use super::{Client, exchange::Ask, segment};

impl Access for Client {
    // The daemon resolves what it is asked about, for whoever it takes this client for.
    fn sandbox_in(&self, _: Project, reference: String) -> Answering<'_, String> {
        Box::pin(async move { Ok(reference) })
    }

    fn execution_in(&self, _: Project, _: String) -> Answering<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn template_in(&self, _: Project, _: String) -> Answering<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn sandboxes_of(&self, _: Project, ids: Vec<SandboxId>) -> Answering<'_, Vec<SandboxId>> {
        Box::pin(async move { Ok(ids) })
    }

    fn jobs_of(&self, _: Project, ids: Vec<JobId>) -> Answering<'_, Vec<JobId>> {
        Box::pin(async move { Ok(ids) })
    }

    /// Nobody: who comes in is for the daemon to say.
    fn caller(&self, _: Vec<u8>) -> Answering<'_, Option<Caller>> {
        Box::pin(async { Ok(None) })
    }

    fn token_create(&self, actor: Actor, request: TokenCreateRequest) -> Answering<'_, TokenCreateAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, "/v1/tokens".into()).body(&request)))
    }

    fn token_list(&self, actor: Actor) -> Answering<'_, TokenListAnswer> {
        Box::pin(self.ask(actor, Ask::get("/v1/tokens".into())))
    }

    fn token_revoke(&self, actor: Actor, request: TokenRequest) -> Answering<'_, TokenRevokeAnswer> {
        let path = format!("/v1/tokens/{}", segment(&request.token));
        Box::pin(self.ask(actor, Ask::new(Method::DELETE, path)))
    }

    fn project_list(&self, actor: Actor) -> Answering<'_, ProjectListAnswer> {
        Box::pin(self.ask(actor, Ask::get("/v1/projects".into())))
    }
}

impl Research for Client {
    // The daemon narrows what it answers, to whomever it takes this client for.
    fn of(self: Arc<Self>, _: Option<Project>) -> SharedResearch {
        self
    }
}
