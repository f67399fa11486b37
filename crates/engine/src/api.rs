//! The one trait through which sandboxes are reached. The engine is one implementation; a client of the REST API is
//! another, so that a face does not know whether the engine is in its process.

mod access;
mod credit;
mod node;
mod trading;
mod trial;

use std::sync::Arc;

use futures::future::BoxFuture;
use ringfence_model::{
    ApiError, Project,
    api::{
        Actor, AuditLogAnswer, AuditLogRequest, AuditPruneAnswer, AuditPruneRequest, AuditVerifyAnswer,
        AuditVerifyRequest, BuildAnswer, BuildRequest, CloneAnswer, CloneRequest, ConfigureAnswer, ConfigureRequest,
        CreateAnswer, CreateRequest, DeleteAnswer, DownloadAnswer, DownloadRequest, EgressAnswer, EgressRequest,
        ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExportAnswer, ExportRequest, HealthAnswer, ImageAnswer,
        ImageRequest, ImportAnswer, ImportRequest, ListAnswer, ListRequest, LogsAnswer, LogsRequest, PreviewAnswer,
        PreviewRequest, Progress, PruneAnswer, PruneRequest, SandboxRequest, SecretAnswer, SecretListAnswer,
        SecretRemoveAnswer, SecretRequest, SecretSetRequest, StatusAnswer, TemplateAnswer, TemplateDeleteAnswer,
        TemplateListAnswer, TemplateListRequest, TemplateRequest, TransitionAnswer, UploadAnswer, UploadRequest,
    },
};
use tokio::sync::mpsc;

pub use crate::export::Chunks;
pub use access::Access;
pub use credit::Credits;
pub use node::{Distribution, Figures, Node, SharedNode};
pub use trading::Trading;
pub use trial::{
    Conversation, TRIAL_INPUT_MAX, TRIAL_OUTPUT_MAX, TRIAL_PURPOSE_MAX, TRIAL_TIMEOUT_MAX_S, TrialAnswer, TrialRequest,
    Trials,
};

/// The answer of every method, later.
pub type Answering<'a, T> = BoxFuture<'a, Result<T, ApiError>>;

/// Where progress goes. Bounded, and nobody has to read it: use `try_send` and ignore what does not fit.
pub type ProgressSender = mpsc::Sender<Progress>;

/// Steps that a reader of progress may be behind.
pub const PROGRESS_QUEUE: usize = 16;

/// Whoever answers, shared.
pub type SharedSandboxes = Arc<dyn Sandboxes>;

/// The sandboxes of one node.
///
/// A returned future may be dropped at any await: what must not be half done runs on in a task of the implementation.
/// The sandbox is looked up before other arguments are judged.
///
/// # Errors
/// Every method answers an [`ApiError`] with a stable code and a sentence that says what to do.
pub trait Sandboxes: Access + Credits + Trading + Send + Sync + 'static {
    /// Makes a sandbox. A template that is not built yet is built first; its progress goes to `progress`.
    fn create(
        &self,
        actor: Actor,
        request: CreateRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, CreateAnswer>;

    /// Changes environment, network and lifetime, runs commands.
    fn configure(&self, actor: Actor, request: ConfigureRequest) -> Answering<'_, ConfigureAnswer>;

    /// Runs code, and waits for its end as long as the request says.
    fn execute(&self, actor: Actor, request: ExecuteRequest) -> Answering<'_, ExecutionAnswer>;

    /// How an execution stands.
    fn execution(&self, actor: Actor, request: ExecutionRequest) -> Answering<'_, ExecutionAnswer>;

    /// How a sandbox stands.
    fn status(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, StatusAnswer>;

    /// Sandboxes, newest first.
    fn list(&self, actor: Actor, request: ListRequest) -> Answering<'_, ListAnswer>;

    /// Ends the processes, keeps the files.
    fn stop(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer>;

    /// Freezes a running sandbox.
    fn pause(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer>;

    /// Starts a stopped or a paused one.
    fn resume(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer>;

    /// Removes a sandbox and its files.
    fn delete(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, DeleteAnswer>;

    /// Writes a file.
    fn upload(&self, actor: Actor, request: UploadRequest) -> Answering<'_, UploadAnswer>;

    /// Reads a file.
    fn download(&self, actor: Actor, request: DownloadRequest) -> Answering<'_, DownloadAnswer>;

    /// Where a port can be visited, and whether it needs a token to. Not offered over MCP, where `sandbox_status` tells.
    fn preview(&self, actor: Actor, request: PreviewRequest) -> Answering<'_, PreviewAnswer>;

    /// The newest lines of a sandbox's log.
    fn logs(&self, actor: Actor, request: LogsRequest) -> Answering<'_, LogsAnswer>;

    /// Templates, by name.
    fn templates(&self, actor: Actor, request: TemplateListRequest) -> Answering<'_, TemplateListAnswer>;

    /// One template.
    fn template(&self, actor: Actor, request: TemplateRequest) -> Answering<'_, TemplateAnswer>;

    /// Builds a template unless it is ready. Not offered over MCP.
    fn build(
        &self,
        actor: Actor,
        request: BuildRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, BuildAnswer>;

    /// Takes an archive of an image, with which a recipe begins that is built next. Not offered over MCP, and operators only.
    fn template_image(&self, actor: Actor, request: ImageRequest, archive: Chunks) -> Answering<'_, ImageAnswer>;

    /// Removes what nobody needs any more. Not offered over MCP.
    fn prune(&self, actor: Actor, request: PruneRequest) -> Answering<'_, PruneAnswer>;
    /// Makes a template from a sandbox.
    fn export_template(
        &self,
        actor: Actor,
        request: ExportRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, ExportAnswer>;

    /// Removes an exported template, all of its versions.
    fn template_delete(&self, actor: Actor, request: TemplateRequest) -> Answering<'_, TemplateDeleteAnswer>;

    /// An exported template as an archive. Not offered over MCP, and operators only, like the next.
    fn template_archive(&self, actor: Actor, request: TemplateRequest) -> Answering<'_, Chunks>;

    /// Reads an archive. The chunks are read to their end unless it is refused earlier.
    fn template_import(&self, actor: Actor, request: ImportRequest, archive: Chunks) -> Answering<'_, ImportAnswer>;

    /// Makes a sandbox that shares a stopped one's files. Not offered over MCP.
    fn clone_sandbox(&self, actor: Actor, request: CloneRequest) -> Answering<'_, CloneAnswer>;

    /// Entries of the audit chain.
    fn audit_log(&self, actor: Actor, request: AuditLogRequest) -> Answering<'_, AuditLogAnswer>;

    /// Whether the audit chain holds. Not offered over MCP.
    fn audit_verify(&self, actor: Actor, request: AuditVerifyRequest) -> Answering<'_, AuditVerifyAnswer>;

    /// Cuts old entries off the beginning of the audit chains. Not offered over MCP, and operators only.
    fn audit_prune(&self, actor: Actor, request: AuditPruneRequest) -> Answering<'_, AuditPruneAnswer>;

    /// What the gate decided. Not offered over MCP.
    fn egress_list(&self, actor: Actor, request: EgressRequest) -> Answering<'_, EgressAnswer>;

    /// Stores a secret, or replaces the value of one. Not offered over MCP, and operators only, like the next two.
    fn secret_set(&self, actor: Actor, request: SecretSetRequest) -> Answering<'_, SecretAnswer>;

    /// The operator's secrets, without values.
    fn secret_list(&self, actor: Actor, project: Option<Project>) -> Answering<'_, SecretListAnswer>;

    /// Removes a secret; no sandbox can use it any more.
    fn secret_remove(&self, actor: Actor, request: SecretRequest) -> Answering<'_, SecretRemoveAnswer>;

    /// How the daemon and its host are.
    fn health(&self, actor: Actor) -> Answering<'_, HealthAnswer>;
}
