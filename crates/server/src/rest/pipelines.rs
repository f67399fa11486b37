//! Pipelines.

use axum::{
    Router,
    extract::Extension,
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ringfence_model::api::{
    Actor, Event, PipelineAnswer, PipelineCancelRequest, PipelineListAnswer, PipelineListRequest, PipelineOutputAnswer,
    PipelineOutputRequest, PipelineRequest, PipelineResumeRequest, PipelineStatusRequest, WaitQuery,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ErrorBody, Face, Refused,
    body::{Body, Id, query},
    reply::{Reply, answer, lines, wants_progress},
};

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/v1/pipelines", post(run).get(list))
        .route("/v1/pipelines/{id}", get(status))
        .route("/v1/pipelines/{id}/resume", post(resume))
        .route("/v1/pipelines/{id}/cancel", post(cancel))
        .route("/v1/pipelines/{id}/output", get(output))
}

/// The query of `GET /v1/pipelines/{id}/output`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputQuery {
    /// The stage that made it.
    stage: String,
    /// Which of its `outputs`, as it is written there.
    path: String,
}

/// Start a pipeline, and wait for its end as long as `wait` says. With `Accept: application/x-ndjson` the answer is lines of progress
/// and then the result.
#[utoipa::path(post, path = "/v1/pipelines", operation_id = "pipeline_run", tag = "pipelines", request_body = PipelineRequest,
    responses((status = 200, content((PipelineAnswer = "application/json"), (Event<PipelineAnswer> = "application/x-ndjson"))),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn run(
    face: Face,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: PipelineRequest = body.judge(&face, actor).await?;
    if wants_progress(&headers) {
        return Ok(lines(move |progress| {
            Box::pin(async move { face.research.pipeline(actor, request, Some(progress)).await })
        }));
    }
    Ok(answer(face.research.pipeline(actor, request, None)).await?.into_response())
}

/// Pipelines, newest first.
#[utoipa::path(get, path = "/v1/pipelines", operation_id = "pipeline_list", tag = "pipelines", params(PipelineListRequest),
    responses((status = 200, body = PipelineListAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn list(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<PipelineListAnswer> {
    answer(face.research.pipeline_list(actor, query::<PipelineListRequest>(&uri)?)).await
}

/// How a pipeline stands; waits for its end if asked to.
#[utoipa::path(get, path = "/v1/pipelines/{id}", operation_id = "pipeline_status", tag = "pipelines",
    params(("id" = String, Path, description = "As it was answered when it was started"), WaitQuery),
    responses((status = 200, body = PipelineAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn status(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(pipeline_id): Id,
    uri: Uri,
) -> Reply<PipelineAnswer> {
    let WaitQuery { wait } = query(&uri)?;
    answer(face.research.pipeline_status(actor, PipelineStatusRequest { pipeline_id, wait })).await
}

/// Run stages of an ended pipeline again: what has not ended well, or a stage and all that depend on it.
#[utoipa::path(post, path = "/v1/pipelines/{id}/resume", operation_id = "pipeline_resume", tag = "pipelines",
    request_body = PipelineResumeRequest,
    params(("id" = String, Path, description = "As it was answered when it was started")),
    responses((status = 200, content((PipelineAnswer = "application/json"), (Event<PipelineAnswer> = "application/x-ndjson"))),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn resume(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: PipelineResumeRequest = body.with("pipeline_id", id)?.judge(&face, actor).await?;
    if wants_progress(&headers) {
        return Ok(lines(move |progress| {
            Box::pin(async move { face.research.pipeline_resume(actor, request, Some(progress)).await })
        }));
    }
    Ok(answer(face.research.pipeline_resume(actor, request, None)).await?.into_response())
}

/// End a pipeline. One that has ended stays as it is.
#[utoipa::path(post, path = "/v1/pipelines/{id}/cancel", operation_id = "pipeline_cancel", tag = "pipelines",
    params(("id" = String, Path, description = "As it was answered when it was started")),
    responses((status = 200, body = PipelineAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn cancel(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(pipeline_id): Id,
) -> Reply<PipelineAnswer> {
    answer(face.research.pipeline_cancel(actor, PipelineCancelRequest { pipeline_id })).await
}

/// A file that a stage has handed on.
#[utoipa::path(get, path = "/v1/pipelines/{id}/output", operation_id = "pipeline_output", tag = "pipelines",
    params(("id" = String, Path, description = "As it was answered when it was started"), OutputQuery),
    responses((status = 200, body = PipelineOutputAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn output(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(pipeline_id): Id,
    uri: Uri,
) -> Reply<PipelineOutputAnswer> {
    let OutputQuery { stage, path } = query(&uri)?;
    answer(face.research.pipeline_output(actor, PipelineOutputRequest { pipeline_id, stage, path })).await
}
