//! Swarms of agents, and their tasks.

use axum::{
    Router,
    extract::Extension,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ringfence_model::api::{
    Actor, AgentAnswer, AgentSpawnRequest, Event, SwarmAnswer, SwarmDestroyAnswer, SwarmInitRequest, SwarmListAnswer,
    SwarmListRequest, SwarmRequest, SwarmScaleRequest, TaskAnswer, TaskCancelRequest, TaskRequest, TaskStatusRequest,
    WaitQuery,
};

use super::{
    ErrorBody, Face, LONG_ANSWER_TIMEOUT, Refused,
    body::{Body, Id, query},
    reply::{Reply, answer, answer_within, lines, wants_progress},
};

/// What stands in a path for the newest active swarm. No id looks like it.
pub(crate) const NEWEST: &str = "newest";

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/v1/swarms", post(init).get(list))
        .route("/v1/swarms/{id}", get(status).delete(destroy))
        .route("/v1/swarms/{id}/agents", post(spawn))
        .route("/v1/swarms/{id}/scale", post(scale))
        .route("/v1/tasks", post(orchestrate))
        .route("/v1/tasks/{id}", get(task_status).delete(task_cancel))
}

/// The swarm that a path means.
fn named(id: String) -> Option<String> {
    Some(id).filter(|id| id != NEWEST)
}

/// Make a swarm. No sandbox is made yet.
#[utoipa::path(post, path = "/v1/swarms", tag = "swarms", request_body = SwarmInitRequest,
    responses((status = 201, body = SwarmAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn init(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Result<Response, Refused> {
    let request: SwarmInitRequest = body.judge(&face, actor).await?;
    let made = answer(face.research.swarm_init(actor, request)).await?;
    Ok((StatusCode::CREATED, made).into_response())
}

/// Swarms, newest first.
#[utoipa::path(get, path = "/v1/swarms", tag = "swarms", params(SwarmListRequest),
    responses((status = 200, body = SwarmListAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn list(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<SwarmListAnswer> {
    answer(face.research.swarm_list(actor, query::<SwarmListRequest>(&uri)?)).await
}

/// How a swarm stands. `newest` means the newest active one, here and below.
#[utoipa::path(get, path = "/v1/swarms/{id}", tag = "swarms", params(("id" = String, Path, description = "Id, name of an active one, or `newest`")),
    responses((status = 200, body = SwarmAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn status(face: Face, Extension(actor): Extension<Actor>, Id(id): Id) -> Reply<SwarmAnswer> {
    answer(face.research.swarm_status(actor, SwarmRequest { swarm_id: named(id) })).await
}

/// End a swarm, its tasks and its sandboxes; the answer says what they cost.
#[utoipa::path(delete, path = "/v1/swarms/{id}", tag = "swarms", params(("id" = String, Path, description = "Id, name of an active one, or `newest`")),
    responses((status = 200, body = SwarmDestroyAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn destroy(face: Face, Extension(actor): Extension<Actor>, Id(id): Id) -> Reply<SwarmDestroyAnswer> {
    let request = SwarmRequest { swarm_id: named(id) };
    answer_within(LONG_ANSWER_TIMEOUT, face.research.swarm_destroy(actor, request)).await
}

/// Add an agent to a swarm.
#[utoipa::path(post, path = "/v1/swarms/{id}/agents", tag = "swarms", request_body = AgentSpawnRequest,
    params(("id" = String, Path, description = "Id, name of an active one, or `newest`")),
    responses((status = 200, body = AgentAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn spawn(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    body: Body,
) -> Reply<AgentAnswer> {
    let mut request: AgentSpawnRequest = body.with("swarm_id", id.clone())?.judge(&face, actor).await?;
    request.swarm_id = named(id);
    answer(face.research.agent_spawn(actor, request)).await
}

/// Give a swarm more agents, or fewer; the sandboxes of those that go end.
#[utoipa::path(post, path = "/v1/swarms/{id}/scale", tag = "swarms", request_body = SwarmScaleRequest,
    params(("id" = String, Path, description = "Id, name of an active one, or `newest`")),
    responses((status = 200, body = SwarmAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn scale(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    body: Body,
) -> Reply<SwarmAnswer> {
    let mut request: SwarmScaleRequest = body.with("swarm_id", id.clone())?.judge(&face, actor).await?;
    request.swarm_id = named(id);
    answer_within(LONG_ANSWER_TIMEOUT, face.research.swarm_scale(actor, request)).await
}

/// Start a task, and wait for its end as long as the request says. With `Accept: application/x-ndjson` the answer is lines of
/// progress and then the result.
#[utoipa::path(post, path = "/v1/tasks", tag = "swarms", request_body = TaskRequest,
    responses((status = 201, body = TaskAnswer), (status = 200, content_type = "application/x-ndjson", body = Event<TaskAnswer>),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn orchestrate(
    face: Face,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: TaskRequest = body.judge(&face, actor).await?;
    if wants_progress(&headers) {
        return Ok(lines(move |progress| {
            Box::pin(async move { face.research.task_orchestrate(actor, request, Some(progress)).await })
        }));
    }
    let begun = answer(face.research.task_orchestrate(actor, request, None)).await?;
    Ok((StatusCode::CREATED, begun).into_response())
}

/// How a task stands; waits for its end if asked to.
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "swarms", params(("id" = String, Path, description = "As the task was answered"), WaitQuery),
    responses((status = 200, body = TaskAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn task_status(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(task_id): Id,
    uri: Uri,
) -> Reply<TaskAnswer> {
    let WaitQuery { wait } = query(&uri)?;
    answer(face.research.task_status(actor, TaskStatusRequest { task_id, wait })).await
}

/// End a task and its programs. Doing it again is no error.
#[utoipa::path(delete, path = "/v1/tasks/{id}", tag = "swarms", params(("id" = String, Path, description = "As the task was answered")),
    responses((status = 200, body = TaskAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn task_cancel(face: Face, Extension(actor): Extension<Actor>, Id(task_id): Id) -> Reply<TaskAnswer> {
    answer(face.research.task_cancel(actor, TaskCancelRequest { task_id })).await
}
