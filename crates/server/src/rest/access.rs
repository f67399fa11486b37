//! Tokens and projects. Operators only.

use axum::{
    Router,
    extract::Extension,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use ringfence_model::api::{
    Actor, ProjectListAnswer, TokenCreateAnswer, TokenCreateRequest, TokenListAnswer, TokenRequest, TokenRevokeAnswer,
};

use super::{
    ErrorBody, Face, Refused,
    body::{Body, Id},
    reply::{Reply, answer},
};

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/v1/tokens", get(list).post(create))
        .route("/v1/tokens/{token}", delete(revoke))
        .route("/v1/projects", get(projects))
}

/// Make a token. Its secret is in this answer and nowhere else. Operators only.
#[utoipa::path(post, path = "/v1/tokens", tag = "access", request_body = TokenCreateRequest,
    responses((status = 201, body = TokenCreateAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn create(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Result<Response, Refused> {
    let request: TokenCreateRequest = body.judge(&face, actor).await?;
    let answer = answer(face.sandboxes.token_create(actor, request)).await?;
    Ok((StatusCode::CREATED, answer).into_response())
}

/// Tokens, oldest first, without secrets. Operators only.
#[utoipa::path(get, path = "/v1/tokens", tag = "access",
    responses((status = 200, body = TokenListAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn list(face: Face, Extension(actor): Extension<Actor>) -> Reply<TokenListAnswer> {
    answer(face.sandboxes.token_list(actor)).await
}

/// End a token. Operators only.
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "access",
    params(("token" = String, Path, description = "Id of the token, or its name when no other valid one has that")),
    responses((status = 200, body = TokenRevokeAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn revoke(face: Face, Extension(actor): Extension<Actor>, Id(token): Id) -> Reply<TokenRevokeAnswer> {
    answer(face.sandboxes.token_revoke(actor, TokenRequest { token })).await
}

/// Projects that have, or had, a sandbox or a token. Operators only.
#[utoipa::path(get, path = "/v1/projects", tag = "access",
    responses((status = 200, body = ProjectListAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn projects(face: Face, Extension(actor): Extension<Actor>) -> Reply<ProjectListAnswer> {
    answer(face.sandboxes.project_list(actor)).await
}
