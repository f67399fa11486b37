//! The handlers, in the order of the contract.

use axum::{
    Json,
    extract::Extension,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use ringfence_model::{
    ApiError, Caller, Code, Role,
    api::{
        Actor, AuditLogAnswer, AuditLogRequest, AuditPruneAnswer, AuditPruneRequest, AuditVerifyAnswer,
        AuditVerifyRequest, BuildAnswer, BuildRequest, ConfigureAnswer, ConfigureRequest, CreateAnswer, CreateRequest,
        DeleteAnswer, DownloadAnswer, DownloadRequest, EgressAnswer, EgressRequest, Event, ExecuteRequest,
        ExecutionAnswer, ExecutionRequest, HealthAnswer, ListAnswer, ListRequest, LogsAnswer, LogsRequest,
        PreviewAnswer, PreviewRequest, PruneAnswer, PruneRequest, SandboxRequest, StatusAnswer, StopAnswer,
        TemplateAnswer, TemplateListAnswer, TemplateListRequest, TemplateRequest, TransitionAnswer, UploadAnswer,
        UploadRequest, WaitQuery,
    },
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ErrorBody, Face, Refused,
    body::{Body, Id, query, query_about},
    reply::{LONG_ANSWER_TIMEOUT, Reply, answer, answer_within, lines, wants_progress},
};
use crate::openapi;

/// The query of `GET /v1/sandboxes/{id}/files`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileQuery {
    /// Which file; relative to `/home/user` unless absolute.
    path: String,
}

/// The query of `GET /v1/sandboxes/{id}/logs`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogsQuery {
    /// How many of the newest lines, at most 10000 (default 100).
    #[param(minimum = 1, maximum = 10000)]
    lines: Option<u32>,
    /// Only those of `system`, `stdout`, `stderr`, `start` or `audit`.
    source: Option<String>,
}

/// Make a sandbox. With `Accept: application/x-ndjson` the answer is lines of progress and then the result.
#[utoipa::path(post, path = "/v1/sandboxes", tag = "sandboxes", request_body = CreateRequest,
    responses((status = 201, body = CreateAnswer), (status = 200, content_type = "application/x-ndjson", body = Event<CreateAnswer>),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn create(
    face: Face,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: CreateRequest = body.judge(&face, actor).await?;
    let request = face.research.swarm_link(request).await?;
    if wants_progress(&headers) {
        return Ok(lines(move |progress| {
            Box::pin(async move { face.sandboxes.create(actor, request, Some(progress)).await })
        }));
    }
    let answer = answer_within(LONG_ANSWER_TIMEOUT, face.sandboxes.create(actor, request, None)).await?;
    Ok((StatusCode::CREATED, answer).into_response())
}

/// Sandboxes, newest first.
#[utoipa::path(get, path = "/v1/sandboxes", tag = "sandboxes", params(ListRequest),
    responses((status = 200, body = ListAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn list(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<ListAnswer> {
    answer(face.sandboxes.list(actor, query::<ListRequest>(&uri)?)).await
}

/// How a sandbox stands.
#[utoipa::path(get, path = "/v1/sandboxes/{id}", tag = "sandboxes", params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = StatusAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn status(face: Face, Extension(actor): Extension<Actor>, Id(sandbox_id): Id) -> Reply<StatusAnswer> {
    answer(face.sandboxes.status(actor, SandboxRequest { sandbox_id })).await
}

/// Delete a sandbox and its files. Doing it again is no error.
#[utoipa::path(delete, path = "/v1/sandboxes/{id}", tag = "sandboxes", params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = DeleteAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete(face: Face, Extension(actor): Extension<Actor>, Id(sandbox_id): Id) -> Reply<DeleteAnswer> {
    answer(face.sandboxes.delete(actor, SandboxRequest { sandbox_id })).await
}

/// Change environment, network and lifetime, run commands.
#[utoipa::path(post, path = "/v1/sandboxes/{id}/configure", tag = "sandboxes", request_body = ConfigureRequest,
    params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = ConfigureAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn configure(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    body: Body,
) -> Reply<ConfigureAnswer> {
    let request: ConfigureRequest = body.with("sandbox_id", id)?.judge(&face, actor).await?;
    answer_within(LONG_ANSWER_TIMEOUT, face.sandboxes.configure(actor, request)).await
}

/// Run code. A program that fails is a successful request.
#[utoipa::path(post, path = "/v1/sandboxes/{id}/execute", tag = "executions", request_body = ExecuteRequest,
    params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = ExecutionAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn execute(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    body: Body,
) -> Reply<ExecutionAnswer> {
    let request: ExecuteRequest = body.with("sandbox_id", id)?.judge(&face, actor).await?;
    answer(face.sandboxes.execute(actor, request)).await
}

/// End the processes of a sandbox and keep its files.
#[utoipa::path(post, path = "/v1/sandboxes/{id}/stop", tag = "sandboxes", params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = TransitionAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn stop(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(sandbox_id): Id,
) -> Reply<TransitionAnswer> {
    answer(face.sandboxes.stop(actor, SandboxRequest { sandbox_id })).await
}

/// Freeze a running sandbox.
#[utoipa::path(post, path = "/v1/sandboxes/{id}/pause", tag = "sandboxes", params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = TransitionAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn pause(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(sandbox_id): Id,
) -> Reply<TransitionAnswer> {
    answer(face.sandboxes.pause(actor, SandboxRequest { sandbox_id })).await
}

/// Start a stopped or paused sandbox.
#[utoipa::path(post, path = "/v1/sandboxes/{id}/resume", tag = "sandboxes", params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = TransitionAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn resume(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(sandbox_id): Id,
) -> Reply<TransitionAnswer> {
    answer(face.sandboxes.resume(actor, SandboxRequest { sandbox_id })).await
}

/// Write a file.
#[utoipa::path(put, path = "/v1/sandboxes/{id}/files", tag = "files", request_body = UploadRequest,
    params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = UploadAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn upload(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    body: Body,
) -> Reply<UploadAnswer> {
    let request: UploadRequest = body.with("sandbox_id", id)?.judge(&face, actor).await?;
    answer(face.sandboxes.upload(actor, request)).await
}

/// Read a file.
#[utoipa::path(get, path = "/v1/sandboxes/{id}/files", tag = "files", params(("id" = String, Path, description = "Id or unique name"), FileQuery),
    responses((status = 200, body = DownloadAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn download(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(sandbox_id): Id,
    uri: Uri,
) -> Reply<DownloadAnswer> {
    let FileQuery { path } = query_about(&face, actor, &sandbox_id, &uri).await?;
    answer(face.sandboxes.download(actor, DownloadRequest { sandbox_id, file_path: path })).await
}

/// The newest lines of a sandbox's log.
#[utoipa::path(get, path = "/v1/sandboxes/{id}/logs", tag = "sandboxes", params(("id" = String, Path, description = "Id or unique name"), LogsQuery),
    responses((status = 200, body = LogsAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn logs(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(sandbox_id): Id,
    uri: Uri,
) -> Reply<LogsAnswer> {
    let LogsQuery { lines, source } = query_about(&face, actor, &sandbox_id, &uri).await?;
    answer(face.sandboxes.logs(actor, LogsRequest { sandbox_id, lines, source })).await
}

/// Where a port can be visited; with `public`, whether that needs a token, which is for operators; with `rotate`, another token.
#[utoipa::path(post, path = "/v1/sandboxes/{id}/preview", tag = "sandboxes", request_body = PreviewRequest,
    params(("id" = String, Path, description = "Id or unique name")),
    responses((status = 200, body = PreviewAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn preview(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    body: Body,
) -> Reply<PreviewAnswer> {
    let request: PreviewRequest = body.with("sandbox_id", id)?.judge(&face, actor).await?;
    answer(face.sandboxes.preview(actor, request)).await
}

/// How an execution stands; waits for its end if asked to.
#[utoipa::path(get, path = "/v1/executions/{id}", tag = "executions", params(("id" = String, Path, description = "As execute answered it"), WaitQuery),
    responses((status = 200, body = ExecutionAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn execution(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(execution_id): Id,
    uri: Uri,
) -> Reply<ExecutionAnswer> {
    let WaitQuery { wait } = query(&uri)?;
    answer(face.sandboxes.execution(actor, ExecutionRequest { execution_id, wait })).await
}

/// Templates, by name.
#[utoipa::path(get, path = "/v1/templates", tag = "templates", params(TemplateListRequest),
    responses((status = 200, body = TemplateListAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn templates(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<TemplateListAnswer> {
    answer(face.sandboxes.templates(actor, query::<TemplateListRequest>(&uri)?)).await
}

/// One template.
#[utoipa::path(get, path = "/v1/templates/{name}", tag = "templates", params(("name" = String, Path, description = "Name of the template")),
    responses((status = 200, body = TemplateAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn template(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(template_name): Id,
) -> Reply<TemplateAnswer> {
    answer(face.sandboxes.template(actor, TemplateRequest { template_name })).await
}

/// Build a template unless it is ready. The answer is lines of progress, of which the last is the result or the error.
#[utoipa::path(post, path = "/v1/templates/{name}/build", tag = "templates", request_body = BuildRequest,
    params(("name" = String, Path, description = "Name of the template")),
    responses((status = 200, content_type = "application/x-ndjson", body = Event<BuildAnswer>), (status = "default", body = ErrorBody)))]
pub(crate) async fn build(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(name): Id,
    body: Body,
) -> Result<Response, Refused> {
    let request: BuildRequest = body.with("template_name", name)?.judge(&face, actor).await?;
    Ok(lines(move |progress| Box::pin(async move { face.sandboxes.build(actor, request, Some(progress)).await })))
}

/// Remove what nobody needs any more: layers, old versions of templates, failed builds. Operators only.
#[utoipa::path(post, path = "/v1/prune", tag = "templates", request_body = PruneRequest,
    responses((status = 200, body = PruneAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn prune(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Reply<PruneAnswer> {
    let request: PruneRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.prune(actor, request)).await
}

/// Entries of the audit chain.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(AuditLogRequest),
    responses((status = 200, body = AuditLogAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn audit_log(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<AuditLogAnswer> {
    answer(face.sandboxes.audit_log(actor, query::<AuditLogRequest>(&uri)?)).await
}

/// Whether the audit chain holds.
#[utoipa::path(post, path = "/v1/audit/verify", tag = "audit", request_body = AuditVerifyRequest,
    responses((status = 200, body = AuditVerifyAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn audit_verify(
    face: Face,
    Extension(actor): Extension<Actor>,
    body: Body,
) -> Reply<AuditVerifyAnswer> {
    let request: AuditVerifyRequest = body.judge(&face, actor).await?;
    answer_within(LONG_ANSWER_TIMEOUT, face.sandboxes.audit_verify(actor, request)).await
}

/// Cut old entries off the beginning of the audit chains, as `ringfence audit prune` does after it has exported them. Operators only.
#[utoipa::path(post, path = "/v1/audit/prune", tag = "audit", request_body = AuditPruneRequest,
    responses((status = 200, body = AuditPruneAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn audit_prune(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Reply<AuditPruneAnswer> {
    let request: AuditPruneRequest = body.judge(&face, actor).await?;
    answer_within(LONG_ANSWER_TIMEOUT, face.sandboxes.audit_prune(actor, request)).await
}

/// What the gate decided about connections and requests, oldest first: the newest decisions, or those after one.
#[utoipa::path(get, path = "/v1/egress", tag = "network", params(EgressRequest),
    responses((status = 200, body = EgressAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn egress(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<EgressAnswer> {
    answer(face.sandboxes.egress_list(actor, query::<EgressRequest>(&uri)?)).await
}

/// How the daemon and its host are.
#[utoipa::path(get, path = "/v1/health", tag = "system",
    responses((status = 200, body = HealthAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn health(face: Face, Extension(actor): Extension<Actor>) -> Reply<HealthAnswer> {
    answer(face.sandboxes.health(actor)).await
}

/// End the daemon. Operators only.
#[utoipa::path(post, path = "/v1/stop", tag = "system",
    responses((status = 200, body = StopAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn stop_daemon(face: Face, Extension(caller): Extension<Caller>) -> Reply<StopAnswer> {
    // It ends what all projects run, so that the token of one is not enough.
    if caller.role != Role::Operator || (caller.project.is_some() && caller.token.is_some()) {
        let message = "only the operator of all projects may end the daemon: run `ringfence stop` on its machine";
        return Err(Refused(ApiError::new(Code::PermissionDenied, message)));
    }
    tracing::info!("the operator asked for the end");
    let executions_running = face.node.executions();
    // Connections are drained, so this answer still arrives.
    face.stop.ask();
    Ok(Json(StopAnswer { success: true, executions_running, drain_seconds: face.drain.as_secs() }))
}

/// This description.
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi::openapi_json())
}
