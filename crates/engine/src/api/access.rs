//! Who may come in, and whose things are whose, as every face asks for it.

use ringfence_model::{
    Caller, JobId, Project, SandboxId,
    api::{
        Actor, ProjectListAnswer, TokenCreateAnswer, TokenCreateRequest, TokenListAnswer, TokenRequest,
        TokenRevokeAnswer,
    },
};

use super::Answering;

/// Tokens and projects.
///
/// The methods that end in `_in` let one thing be found within a project alone: a thing of another project is answered exactly as one
/// that there is not. A client of the daemon answers what it was asked, because the daemon asks.
///
/// # Errors
/// As [`Sandboxes`](super::Sandboxes).
pub trait Access: Send + Sync + 'static {
    /// The sandbox that a caller of that project means by an id or a name.
    fn sandbox_in(&self, project: Project, reference: String) -> Answering<'_, String>;

    /// Whether a caller of that project may know of that execution.
    fn execution_in(&self, project: Project, execution_id: String) -> Answering<'_, ()>;

    /// Whether a caller of that project may know of that template. Those that were exported are of the first project.
    fn template_in(&self, project: Project, name: String) -> Answering<'_, ()>;

    /// Which of these sandboxes belong to that project.
    fn sandboxes_of(&self, project: Project, ids: Vec<SandboxId>) -> Answering<'_, Vec<SandboxId>>;

    /// Which of these jobs belong to that project. One that was removed belongs to nobody.
    fn jobs_of(&self, project: Project, ids: Vec<JobId>) -> Answering<'_, Vec<JobId>>;

    /// Who comes with that secret; nobody when there is no such token, or it was revoked or has ended.
    fn caller(&self, secret: Vec<u8>) -> Answering<'_, Option<Caller>>;

    /// Makes a token. Not offered over MCP, and operators only, like the next three.
    fn token_create(&self, actor: Actor, request: TokenCreateRequest) -> Answering<'_, TokenCreateAnswer>;

    /// Every token that there ever was, without secrets.
    fn token_list(&self, actor: Actor) -> Answering<'_, TokenListAnswer>;

    /// Ends a token; the next request with it is refused.
    fn token_revoke(&self, actor: Actor, request: TokenRequest) -> Answering<'_, TokenRevokeAnswer>;

    /// Every project that has, or had, a sandbox or a token.
    fn project_list(&self, actor: Actor) -> Answering<'_, ProjectListAnswer>;
}
