//! Removing jobs that have ended.

use axum::{
    Router,
    extract::Extension,
    routing::{delete, post},
};
use ringfence_model::api::{Actor, JobPruneAnswer, JobPruneRequest, SweepOneRequest};

use super::{
    ErrorBody, Face,
    body::{Body, Id},
    reply::{LONG_ANSWER_TIMEOUT, Reply, answer_within},
};

pub(super) fn routes() -> Router<Face> {
    Router::new().route("/v1/sweeps/{id}", delete(delete_sweep)).route("/v1/jobs/prune", post(prune))
}

/// Remove a sweep that has ended, with its table and its files. Operators only.
#[utoipa::path(delete, path = "/v1/sweeps/{id}", operation_id = "sweep_delete", tag = "research",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = JobPruneAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete_sweep(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(sweep_id): Id,
) -> Reply<JobPruneAnswer> {
    answer_within(LONG_ANSWER_TIMEOUT, face.research.sweep_delete(actor, SweepOneRequest { sweep_id })).await
}

/// Remove sweeps, pipelines, swarms or tasks that ended long enough ago, with their files. Operators only.
#[utoipa::path(post, path = "/v1/jobs/prune", operation_id = "job_prune", tag = "research", request_body = JobPruneRequest,
    responses((status = 200, body = JobPruneAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn prune(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Reply<JobPruneAnswer> {
    let request: JobPruneRequest = body.judge(&face, actor).await?;
    answer_within(LONG_ANSWER_TIMEOUT, face.research.job_prune(actor, request)).await
}
