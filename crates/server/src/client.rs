//! The daemon, seen from another process: the one trait over its socket. With it `ringfence mcp` and the command line
//! use the same code as the daemon's own faces.

mod access;
mod connection;
mod credits;
mod exchange;
mod jobs;
mod pipelines;
mod swarms;
mod sweeps;
mod trading;

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use hyper::Method;
use hyper_util::client::legacy;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ringfence_engine::api::{Answering, Chunks, ProgressSender, Sandboxes};
use ringfence_model::{
    ApiError, Project,
    api::{
        Actor, AuditLogAnswer, AuditLogRequest, AuditPruneAnswer, AuditPruneRequest, AuditVerifyAnswer,
        AuditVerifyRequest, BuildAnswer, BuildRequest, CloneAnswer, CloneRequest, ConfigureAnswer, ConfigureRequest,
        CreateAnswer, CreateRequest, DeleteAnswer, DownloadAnswer, DownloadRequest, EgressAnswer, EgressRequest,
        ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExportAnswer, ExportRequest, HealthAnswer, ImageAnswer,
        ImageRequest, ImportAnswer, ImportRequest, ListAnswer, ListRequest, LogsAnswer, LogsRequest, PreviewAnswer,
        PreviewRequest, PruneAnswer, PruneRequest, ReadyAnswer, SandboxRequest, SecretAnswer, SecretListAnswer,
        SecretRemoveAnswer, SecretRequest, SecretSetRequest, StatusAnswer, StopAnswer, TemplateAnswer,
        TemplateDeleteAnswer, TemplateListAnswer, TemplateListRequest, TemplateRequest, TransitionAnswer, UploadAnswer,
        UploadRequest, WaitQuery,
    },
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{PROJECT_HEADER, probe::READY};
use connection::{Connector, Outgoing};
use exchange::Ask;

/// What may stand as it is in a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A client of the daemon. Connections are opened when needed and kept for the next request.
pub struct Client {
    http: legacy::Client<Connector, Outgoing>,
    build: String,
    /// What it says of itself beside whom it acts for.
    headers: Vec<(&'static str, String)>,
    /// Build of the daemon that answered last.
    daemon: Mutex<Option<String>>,
}

impl Client {
    /// A client of the daemon whose socket is at `socket`; `build` is that of this program. Nothing is opened yet. Must
    /// be used within a tokio runtime.
    #[must_use]
    pub fn new(socket: &Path, build: impl Into<String>) -> Self {
        Self { http: connection::open(socket), build: build.into(), headers: Vec::new(), daemon: Mutex::new(None) }
    }

    /// The same client, of one project alone.
    #[must_use]
    pub fn of_project(mut self, project: &Project) -> Self {
        self.headers.push((PROJECT_HEADER, project.to_string()));
        self
    }

    /// The same client with a token: it then is what the token says, not the operator.
    #[must_use]
    pub fn with_token(mut self, secret: &str) -> Self {
        self.headers.push(("authorization", format!("Bearer {secret}")));
        self
    }

    /// The daemon's build, once it has answered something.
    #[must_use]
    pub fn daemon_build(&self) -> Option<String> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A sentence for the user, once it is known that the daemon is of another build than this program.
    #[must_use]
    pub fn other_build(&self) -> Option<String> {
        let daemon = self.daemon_build().filter(|daemon| daemon != &self.build)?;
        let build = &self.build;
        Some(format!(
            "the running daemon is {daemon}, this program is {build}: restart it with `ringfence stop` and `ringfence serve`"
        ))
    }

    /// Whether the daemon takes work, and what is missing for it.
    ///
    /// # Errors
    /// It does not run.
    pub async fn ready(&self) -> Result<ReadyAnswer, ApiError> {
        self.ask_whatever_status(Actor::Operator, Ask::new(Method::GET, READY.into())).await
    }

    /// Ends the daemon.
    ///
    /// # Errors
    /// It does not run, or refuses.
    pub async fn stop_daemon(&self) -> Result<StopAnswer, ApiError> {
        self.ask(Actor::Operator, Ask::new(Method::POST, "/v1/stop".into())).await
    }
}

fn segment(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, PLAIN)
}

fn sandbox(id: &str, rest: &str) -> String {
    format!("/v1/sandboxes/{}{rest}", segment(id))
}

/// `path?name=value&…` with the scalar fields of `query`.
fn with_query(path: &str, query: &impl Serialize) -> String {
    let fields = match serde_json::to_value(query) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("queries are structs"),
    };
    let mut uri = path.to_owned();
    let mut separator = '?';
    for (name, value) in fields {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text,
            other => other.to_string(),
        };
        uri.push_str(&format!("{separator}{name}={}", segment(&value)));
        separator = '&';
    }
    uri
}

impl Sandboxes for Client {
    fn create(
        &self,
        actor: Actor,
        request: CreateRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, CreateAnswer> {
        let ask = Ask::new(Method::POST, "/v1/sandboxes".into()).body(&request).long();
        Box::pin(self.ask_with_progress(actor, ask, progress))
    }

    fn configure(&self, actor: Actor, request: ConfigureRequest) -> Answering<'_, ConfigureAnswer> {
        let ask = Ask::new(Method::POST, sandbox(&request.sandbox_id, "/configure")).body(&request).long();
        Box::pin(self.ask(actor, ask))
    }

    fn execute(&self, actor: Actor, request: ExecuteRequest) -> Answering<'_, ExecutionAnswer> {
        let ask = Ask::new(Method::POST, sandbox(&request.sandbox_id, "/execute")).body(&request);
        Box::pin(self.ask(actor, ask))
    }

    fn execution(&self, actor: Actor, request: ExecutionRequest) -> Answering<'_, ExecutionAnswer> {
        let path = format!("/v1/executions/{}", segment(&request.execution_id));
        Box::pin(self.ask(actor, Ask::get(with_query(&path, &WaitQuery { wait: request.wait }))))
    }

    fn status(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, StatusAnswer> {
        Box::pin(self.ask(actor, Ask::get(sandbox(&request.sandbox_id, ""))))
    }

    fn list(&self, actor: Actor, request: ListRequest) -> Answering<'_, ListAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/sandboxes", &request))))
    }

    fn stop(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, sandbox(&request.sandbox_id, "/stop"))))
    }

    fn pause(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, sandbox(&request.sandbox_id, "/pause"))))
    }

    fn resume(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, sandbox(&request.sandbox_id, "/resume"))))
    }

    fn delete(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, DeleteAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::DELETE, sandbox(&request.sandbox_id, ""))))
    }

    fn upload(&self, actor: Actor, request: UploadRequest) -> Answering<'_, UploadAnswer> {
        let ask = Ask::new(Method::PUT, sandbox(&request.sandbox_id, "/files")).body(&request);
        Box::pin(self.ask(actor, ask))
    }

    fn download(&self, actor: Actor, request: DownloadRequest) -> Answering<'_, DownloadAnswer> {
        let path = sandbox(&request.sandbox_id, "/files");
        Box::pin(self.ask(actor, Ask::get(with_query(&path, &json!({"path": request.file_path})))))
    }

    fn preview(&self, actor: Actor, request: PreviewRequest) -> Answering<'_, PreviewAnswer> {
        let ask = Ask::new(Method::POST, sandbox(&request.sandbox_id, "/preview")).body(&request);
        Box::pin(self.ask(actor, ask))
    }

    fn logs(&self, actor: Actor, request: LogsRequest) -> Answering<'_, LogsAnswer> {
        let path = sandbox(&request.sandbox_id, "/logs");
        let query = json!({"lines": request.lines, "source": request.source});
        Box::pin(self.ask(actor, Ask::get(with_query(&path, &query))))
    }

    fn templates(&self, actor: Actor, request: TemplateListRequest) -> Answering<'_, TemplateListAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/templates", &request))))
    }

    fn template(&self, actor: Actor, request: TemplateRequest) -> Answering<'_, TemplateAnswer> {
        Box::pin(self.ask(actor, Ask::get(format!("/v1/templates/{}", segment(&request.template_name)))))
    }

    fn build(
        &self,
        actor: Actor,
        request: BuildRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, BuildAnswer> {
        let path = format!("/v1/templates/{}/build", segment(&request.template_name));
        let ask = Ask::new(Method::POST, path).body(&request);
        // The daemon answers in lines whether or not somebody reads them.
        Box::pin(self.ask_for_lines(actor, ask, progress))
    }

    fn export_template(
        &self,
        actor: Actor,
        request: ExportRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, ExportAnswer> {
        let ask = Ask::new(Method::POST, sandbox(&request.sandbox_id, "/export")).body(&request).long();
        Box::pin(self.ask_with_progress(actor, ask, progress))
    }

    fn template_delete(&self, actor: Actor, request: TemplateRequest) -> Answering<'_, TemplateDeleteAnswer> {
        let path = format!("/v1/templates/{}", segment(&request.template_name));
        Box::pin(self.ask(actor, Ask::new(Method::DELETE, path)))
    }

    fn template_archive(&self, actor: Actor, request: TemplateRequest) -> Answering<'_, Chunks> {
        let path = format!("/v1/templates/{}/archive", segment(&request.template_name));
        Box::pin(self.ask_for_chunks(actor, Ask::get(path)))
    }

    fn template_import(&self, actor: Actor, request: ImportRequest, archive: Chunks) -> Answering<'_, ImportAnswer> {
        let ask = Ask::new(Method::POST, with_query("/v1/template-archives", &request)).chunks(archive);
        Box::pin(self.ask_as_long_as_it_takes(actor, ask))
    }

    fn template_image(&self, actor: Actor, request: ImageRequest, archive: Chunks) -> Answering<'_, ImageAnswer> {
        let ask = Ask::new(Method::POST, with_query("/v1/template-images", &request)).chunks(archive);
        Box::pin(self.ask_as_long_as_it_takes(actor, ask))
    }

    fn clone_sandbox(&self, actor: Actor, request: CloneRequest) -> Answering<'_, CloneAnswer> {
        let ask = Ask::new(Method::POST, sandbox(&request.sandbox_id, "/clone")).body(&request);
        Box::pin(self.ask(actor, ask))
    }

    fn audit_log(&self, actor: Actor, request: AuditLogRequest) -> Answering<'_, AuditLogAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/audit", &request))))
    }

    fn audit_prune(&self, actor: Actor, request: AuditPruneRequest) -> Answering<'_, AuditPruneAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, "/v1/audit/prune".into()).body(&request).long()))
    }

    fn audit_verify(&self, actor: Actor, request: AuditVerifyRequest) -> Answering<'_, AuditVerifyAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, "/v1/audit/verify".into()).body(&request).long()))
    }

    fn egress_list(&self, actor: Actor, request: EgressRequest) -> Answering<'_, EgressAnswer> {
        Box::pin(self.ask(actor, Ask::get(with_query("/v1/egress", &request))))
    }

    fn secret_set(&self, actor: Actor, request: SecretSetRequest) -> Answering<'_, SecretAnswer> {
        let ask = Ask::new(Method::PUT, format!("/v1/secrets/{}", segment(&request.name))).body(&request);
        Box::pin(self.ask(actor, ask))
    }

    fn secret_list(&self, actor: Actor, _: Option<Project>) -> Answering<'_, SecretListAnswer> {
        Box::pin(self.ask(actor, Ask::get("/v1/secrets".into())))
    }

    fn secret_remove(&self, actor: Actor, request: SecretRequest) -> Answering<'_, SecretRemoveAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::DELETE, format!("/v1/secrets/{}", segment(&request.name)))))
    }

    fn prune(&self, actor: Actor, request: PruneRequest) -> Answering<'_, PruneAnswer> {
        Box::pin(self.ask(actor, Ask::new(Method::POST, "/v1/prune".into()).body(&request)))
    }

    fn health(&self, actor: Actor) -> Answering<'_, HealthAnswer> {
        Box::pin(self.ask(actor, Ask::get("/v1/health".into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_survive_the_way() {
        assert_eq!(sandbox("my box/ä", "/stop"), "/v1/sandboxes/my%20box%2F%C3%A4/stop");
        let query = json!({"path": "/a b&c=d", "lines": 5, "source": null});
        assert_eq!(with_query("/x", &query), "/x?lines=5&path=%2Fa%20b%26c%3Dd");
    }
}
