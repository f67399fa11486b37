//! Templates that are made from sandboxes, their archives, and copies of sandboxes.

use axum::{
    body::Body as RawBody,
    extract::Extension,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use ringfence_model::{
    ApiError,
    api::{
        Actor, CloneAnswer, CloneRequest, Event, ExportAnswer, ExportRequest, ImageAnswer, ImageRequest, ImportAnswer,
        ImportRequest, TemplateDeleteAnswer, TemplateRequest,
    },
};

use super::{
    ErrorBody, Face, Refused,
    body::{Body, Id, query},
    reply::{LONG_ANSWER_TIMEOUT, Reply, answer, answer_within, lines, wants_progress},
};

/// The media type of an archive.
pub(crate) const ARCHIVE: &str = "application/zstd";

/// Make a template from a sandbox. With `Accept: application/x-ndjson` the answer is lines of progress and then the result.
#[utoipa::path(post, path = "/v1/sandboxes/{id}/export", tag = "templates", params(("id" = String, Path, description = "Id or unique name")),
    request_body = ExportRequest,
    responses((status = 201, body = ExportAnswer), (status = 200, content_type = "application/x-ndjson", body = Event<ExportAnswer>),
        (status = "default", body = ErrorBody)))]
pub(crate) async fn export(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: ExportRequest = body.with("sandbox_id", id)?.judge(&face, actor).await?;
    if wants_progress(&headers) {
        return Ok(lines(move |progress| {
            Box::pin(async move { face.sandboxes.export_template(actor, request, Some(progress)).await })
        }));
    }
    let answer = answer_within(LONG_ANSWER_TIMEOUT, face.sandboxes.export_template(actor, request, None)).await?;
    Ok((StatusCode::CREATED, answer).into_response())
}

/// Delete an exported template, all of its versions.
#[utoipa::path(delete, path = "/v1/templates/{name}", tag = "templates", params(("name" = String, Path, description = "Its name")),
    responses((status = 200, body = TemplateDeleteAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn delete(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(template_name): Id,
) -> Reply<TemplateDeleteAnswer> {
    answer(face.sandboxes.template_delete(actor, TemplateRequest { template_name })).await
}

/// An exported template as an archive, for another machine. Operators only. An answer that breaks off is not a whole archive.
#[utoipa::path(get, path = "/v1/templates/{name}/archive", tag = "templates", params(("name" = String, Path, description = "Its name")),
    responses((status = 200, content_type = "application/zstd", body = Vec<u8>), (status = "default", body = ErrorBody)))]
pub(crate) async fn archive(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(template_name): Id,
) -> Result<Response, Refused> {
    let chunks = face.sandboxes.template_archive(actor, TemplateRequest { template_name }).await?;
    Ok(([(header::CONTENT_TYPE, ARCHIVE)], RawBody::from_stream(chunks)).into_response())
}

/// Read an archive. Operators only.
#[utoipa::path(post, path = "/v1/template-archives", tag = "templates", params(ImportRequest),
    request_body(content_type = "application/zstd", content = Vec<u8>),
    responses((status = 201, body = ImportAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn import(
    face: Face,
    Extension(actor): Extension<Actor>,
    uri: Uri,
    body: RawBody,
) -> Result<Response, Refused> {
    let request = query::<ImportRequest>(&uri)?;
    let broken = |_| ApiError::new(ringfence_model::Code::InvalidArgument, "the archive broke off on its way");
    let chunks = body.into_data_stream().map(move |chunk| chunk.map_err(broken)).boxed();
    let answer = answer_within(LONG_ANSWER_TIMEOUT, face.sandboxes.template_import(actor, request, chunks)).await?;
    Ok((StatusCode::CREATED, answer).into_response())
}

/// Send an archive of an OCI image, with which a recipe begins that is built next. Operators only.
#[utoipa::path(post, path = "/v1/template-images", tag = "templates", params(ImageRequest),
    request_body(content_type = "application/x-tar", content = Vec<u8>),
    responses((status = 201, body = ImageAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn image(
    face: Face,
    Extension(actor): Extension<Actor>,
    uri: Uri,
    body: RawBody,
) -> Result<Response, Refused> {
    let request = query::<ImageRequest>(&uri)?;
    let broken = |_| ApiError::new(ringfence_model::Code::InvalidArgument, "the image broke off on its way");
    let chunks = body.into_data_stream().map(move |chunk| chunk.map_err(broken)).boxed();
    let answer = answer_within(LONG_ANSWER_TIMEOUT, face.sandboxes.template_image(actor, request, chunks)).await?;
    Ok((StatusCode::CREATED, answer).into_response())
}

/// Make a sandbox that shares a stopped one's files. It is stopped, and has no variables, network or secrets.
#[utoipa::path(post, path = "/v1/sandboxes/{id}/clone", tag = "sandboxes", params(("id" = String, Path, description = "Id or unique name")),
    request_body = CloneRequest,
    responses((status = 201, body = CloneAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn clone(
    face: Face,
    Extension(actor): Extension<Actor>,
    Id(id): Id,
    body: Body,
) -> Result<Response, Refused> {
    let request: CloneRequest = body.with("sandbox_id", id)?.judge(&face, actor).await?;
    Ok((StatusCode::CREATED, answer(face.sandboxes.clone_sandbox(actor, request)).await?).into_response())
}
