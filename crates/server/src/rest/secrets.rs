//! The operator's secrets. An agent is refused before anything of its body is read.

use axum::{extract::FromRequestParts, http::request::Parts};
use ringfence_model::{
    ApiError, Code,
    api::{Actor, SecretAnswer, SecretListAnswer, SecretRemoveAnswer, SecretRequest, SecretSetRequest},
};

use super::{
    ErrorBody, Face, Refused,
    body::{Body, Id},
    reply::{Reply, answer},
};

/// A request of the operator's.
pub(crate) struct Operator(Actor);

impl FromRequestParts<Face> for Operator {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Refused> {
        match parts.extensions.get::<Actor>() {
            Some(actor @ Actor::Operator) => Ok(Self(*actor)),
            _ => {
                let message = "secrets are the operator's: use `ringfence secret` on the daemon's machine";
                Err(Refused(ApiError::new(Code::PermissionDenied, message)))
            }
        }
    }
}

/// The operator's secrets, by name, without their values. Operators only.
#[utoipa::path(get, path = "/v1/secrets", tag = "secrets",
    responses((status = 200, body = SecretListAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn list(Operator(actor): Operator, face: Face) -> Reply<SecretListAnswer> {
    answer(face.sandboxes.secret_list(actor, None)).await
}

/// Store a secret, or replace the value of one. Operators only.
#[utoipa::path(put, path = "/v1/secrets/{name}", tag = "secrets", request_body = SecretSetRequest,
    params(("name" = String, Path, description = "Name of the secret")),
    responses((status = 200, body = SecretAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn set(Operator(actor): Operator, face: Face, Id(name): Id, body: Body) -> Reply<SecretAnswer> {
    let request: SecretSetRequest = body.with("name", name)?.judge(&face, actor).await?;
    answer(face.sandboxes.secret_set(actor, request)).await
}

/// Remove a secret. Operators only.
#[utoipa::path(delete, path = "/v1/secrets/{name}", tag = "secrets",
    params(("name" = String, Path, description = "Name of the secret")),
    responses((status = 200, body = SecretRemoveAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn remove(Operator(actor): Operator, face: Face, Id(name): Id) -> Reply<SecretRemoveAnswer> {
    answer(face.sandboxes.secret_remove(actor, SecretRequest { name, ..SecretRequest::default() })).await
}
