//! Sweeps of backtests.

use axum::{
    Router,
    body::Body as RawBody,
    extract::Extension,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ringfence_model::api::{
    Actor, Event, SweepAnswer, SweepFormat, SweepListAnswer, SweepListRequest, SweepOneRequest, SweepRequest,
    SweepResult, SweepStatusRequest, SweepTableRequest,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ErrorBody, Face, NDJSON, Refused,
    body::{Body, Id, query},
    reply::{LONG_ANSWER_TIMEOUT, Reply, answer, answer_within, lines, wants_progress},
};

/// What a report may do in a browser: show itself. Its texts come from strategies.
const REPORT_POLICY: &str = "sandbox allow-scripts; frame-ancestors 'none'";

/// The query of `GET /v1/sweeps/{id}`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusQuery {
    /// Seconds to wait for the end, at most 50 (default 0).
    #[param(minimum = 0)]
    wait: Option<f64>,
    /// How many ranked results are answered, at most 500 (default 20).
    #[param(minimum = 0, maximum = 500)]
    top: Option<u32>,
    /// Whether the main chart comes as a PNG image.
    #[serde(default)]
    chart: bool,
}

/// The query of `GET /v1/sweeps/{id}/results`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableQuery {
    /// `ndjson` (default), `csv` or `parquet`.
    format: Option<SweepFormat>,
    /// With `ndjson`: unranked results as they come, until the sweep has ended.
    #[serde(default)]
    follow: bool,
}

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/v1/sweeps", post(start).get(list))
        .route("/v1/sweeps/{id}", get(status))
        .route("/v1/sweeps/{id}/cancel", post(cancel))
        .route("/v1/sweeps/{id}/results", get(results))
        .route("/v1/sweeps/{id}/report", get(report))
}

/// Start a sweep of backtests, and wait for its end for up to 50 s. With `Accept: application/x-ndjson` the answer is lines of progress
/// and then the result.
#[utoipa::path(post, path = "/v1/sweeps", tag = "research", request_body = SweepRequest,
    responses((status = 201, body = SweepAnswer), (status = 200, content_type = "application/x-ndjson", body = Event<SweepAnswer>),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn start(
    face: Face,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: SweepRequest = body.judge(&face, actor).await?;
    if wants_progress(&headers) {
        return Ok(lines(move |progress| {
            Box::pin(async move { face.research.sweep(actor, request, Some(progress)).await })
        }));
    }
    let answer = answer_within(LONG_ANSWER_TIMEOUT, face.research.sweep(actor, request, None)).await?;
    Ok((StatusCode::CREATED, answer).into_response())
}

/// Sweeps, newest first.
#[utoipa::path(get, path = "/v1/sweeps", tag = "research", params(SweepListRequest),
    responses((status = 200, body = SweepListAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn list(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<SweepListAnswer> {
    answer(face.research.sweep_list(actor, query::<SweepListRequest>(&uri)?)).await
}

/// How a sweep stands. With `Accept: application/x-ndjson` the answer is lines of progress and then the result.
#[utoipa::path(get, path = "/v1/sweeps/{id}", tag = "research", params(("id" = String, Path, description = "Id or name"), StatusQuery),
    responses((status = 200, body = SweepAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn status(
    face: Face,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    Id(sweep_id): Id,
    uri: Uri,
) -> Result<Response, Refused> {
    let StatusQuery { wait, top, chart } = query(&uri)?;
    let request = SweepStatusRequest { sweep_id, wait, top, chart };
    if wants_progress(&headers) {
        return Ok(lines(move |progress| {
            Box::pin(async move { face.research.sweep_status(actor, request, Some(progress)).await })
        }));
    }
    Ok(answer(face.research.sweep_status(actor, request, None)).await?.into_response())
}

/// End a sweep; what is done is ranked and kept.
#[utoipa::path(post, path = "/v1/sweeps/{id}/cancel", tag = "research", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = SweepAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn cancel(face: Face, Extension(actor): Extension<Actor>, Id(sweep_id): Id) -> Reply<SweepAnswer> {
    answer_within(LONG_ANSWER_TIMEOUT, face.research.sweep_cancel(actor, SweepOneRequest { sweep_id })).await
}

/// The whole table of a sweep, or results as they come.
#[utoipa::path(get, path = "/v1/sweeps/{id}/results", tag = "research",
    params(("id" = String, Path, description = "Id or name"), TableQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = SweepResult), (status = "default", body = ErrorBody)))]
pub(crate) async fn results(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(sweep_id): Id,
    uri: Uri,
) -> Result<Response, Refused> {
    let TableQuery { format, follow } = query(&uri)?;
    let chunks = face.research.sweep_table(actor, SweepTableRequest { sweep_id, format, follow }).await?;
    let kind = match format.unwrap_or_default() {
        SweepFormat::Ndjson => NDJSON,
        SweepFormat::Csv => "text/csv; charset=utf-8",
        SweepFormat::Parquet => "application/vnd.apache.parquet",
    };
    Ok(([(header::CONTENT_TYPE, kind)], RawBody::from_stream(chunks)).into_response())
}

/// The report of a sweep, a page that needs nothing else.
#[utoipa::path(get, path = "/v1/sweeps/{id}/report", tag = "research", params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, content_type = "text/html", body = String), (status = "default", body = ErrorBody)))]
pub(crate) async fn report(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(sweep_id): Id,
) -> Result<Response, Refused> {
    let chunks = face.research.sweep_report(actor, SweepOneRequest { sweep_id }).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(REPORT_POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, RawBody::from_stream(chunks)).into_response())
}
