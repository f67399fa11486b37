//! Answers: JSON, refusals, and lines of progress.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures::{future::BoxFuture, stream};
use ringfence_engine::api::{Answering, PROGRESS_QUEUE, ProgressSender};
use ringfence_model::{
    ApiError, Code,
    api::{Event, Progress},
};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// The media type of an answer with progress.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// Time after which a request that is waited for is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The same for those that may build a template or run commands.
pub(crate) const LONG_ANSWER_TIMEOUT: Duration = Duration::from_secs(900);

/// Seconds after which a place may be free, or the daemon back.
const RETRY_SECONDS: u64 = 5;

/// What a handler returns.
pub(crate) type Reply<T> = Result<Json<T>, Refused>;

/// A refused request as an answer.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) ApiError);

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

/// The body of a refusal.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What was refused, and what to do.
    pub(crate) error: ApiError,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(ErrorBody { error: self.0 })).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // Nothing was begun: the same may be asked again.
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        response
    }
}

/// Waits for an answer as long as any client would.
pub(crate) async fn answer<T>(answering: Answering<'_, T>) -> Reply<T> {
    answer_within(ANSWER_TIMEOUT, answering).await
}

/// Waits for an answer.
pub(crate) async fn answer_within<T>(limit: Duration, answering: Answering<'_, T>) -> Reply<T> {
    match tokio::time::timeout(limit, answering).await {
        Ok(answer) => Ok(Json(answer?)),
        Err(_) => Err(Refused(ApiError::internal(format!(
            "there was no answer within {} s; what was asked for may still happen: look at the state before trying again",
            limit.as_secs()
        )))),
    }
}

/// Whether the client wants to see progress.
pub(crate) fn wants_progress(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains(NDJSON)))
}

/// Answers with lines of progress, of which the last is the result or the error.
pub(crate) fn lines<T: Serialize + Send + 'static>(
    work: impl FnOnce(ProgressSender) -> BoxFuture<'static, Result<T, ApiError>>,
) -> Response {
    let (progress, steps) = mpsc::channel(PROGRESS_QUEUE);
    let (lines, out) = mpsc::channel::<Vec<u8>>(PROGRESS_QUEUE);
    tokio::spawn(pump(work(progress), steps, lines));
    let body = stream::unfold(out, |mut out| async move { Some((Ok::<_, Infallible>(out.recv().await?), out)) });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response()
}

async fn pump<T: Serialize>(
    mut work: BoxFuture<'static, Result<T, ApiError>>,
    mut steps: mpsc::Receiver<Progress>,
    lines: mpsc::Sender<Vec<u8>>,
) {
    // A client that does not read gets no progress, and the result in the end.
    let show = |step| drop(lines.try_send(line(&Event::<T>::Progress(step))));
    let result = loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => show(step),
            result = &mut work => break result,
            () = lines.closed() => return,
        }
    };
    while let Ok(step) = steps.try_recv() {
        show(step);
    }
    let last = match result {
        Ok(answer) => Event::Result(answer),
        Err(error) => Event::Error(error),
    };
    let _ = lines.send(line(&last)).await;
}

fn line<T: Serialize>(event: &Event<T>) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).expect("answers are plain data with text keys");
    line.push(b'\n');
    line
}

/// 401, without a word on what was wrong with the token.
pub(crate) fn unauthorised() -> Response {
    let message =
        "send the header `Authorization: Bearer TOKEN`; the token is in `run/token` of the daemon's directory";
    let error = ApiError::new(Code::PermissionDenied, message);
    let mut response = (StatusCode::UNAUTHORIZED, Json(ErrorBody { error })).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

pub(crate) async fn no_such_path(uri: Uri) -> Response {
    // An empty name, as from a variable of the shell that is not set, is a name that nothing has.
    let code = match uri.path().split('/').collect::<Vec<_>>()[..] {
        ["", "v1", "sandboxes", "", ..] => Some((Code::SandboxNotFound, "sandbox", "GET /v1/sandboxes")),
        ["", "v1", "executions", "", ..] => Some((Code::ExecutionNotFound, "execution", "POST …/execute")),
        ["", "v1", "swarms", "", ..] => Some((Code::SwarmNotFound, "swarm", "GET /v1/swarms")),
        ["", "v1", "tasks", "", ..] => Some((Code::TaskNotFound, "task", "POST /v1/tasks")),
        ["", "v1", "templates", "", ..] => Some((Code::TemplateNotFound, "template", "GET /v1/templates")),
        ["", "v1", "sweeps", "", ..] => Some((Code::SweepNotFound, "sweep", "GET /v1/sweeps")),
        ["", "v1", "pipelines", "", ..] => Some((Code::PipelineNotFound, "pipeline", "GET /v1/pipelines")),
        _ => None,
    };
    if let Some((code, what, whence)) = code {
        return Refused(ApiError::new(code, format!("the {what}'s id or name is empty; `{whence}` answers it")))
            .into_response();
    }
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("there is no `{path}`; `GET /v1/openapi.json` describes what there is");
    (StatusCode::NOT_FOUND, Json(ErrorBody { error: ApiError::new(Code::InvalidArgument, message) })).into_response()
}

pub(crate) fn no_such_method(method: &Method) -> Response {
    let message = format!("this path does not take {method}; `GET /v1/openapi.json` describes what it takes");
    let error = ApiError::new(Code::InvalidArgument, message);
    (StatusCode::METHOD_NOT_ALLOWED, Json(ErrorBody { error })).into_response()
}
