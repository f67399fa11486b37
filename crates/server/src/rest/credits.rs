//! Credits and usage.

use axum::{
    Router,
    extract::Extension,
    http::Uri,
    routing::{get, post, put},
};
use ringfence_model::api::{
    Actor, BalanceAnswer, BalanceRequest, CreditBudgetRequest, CreditGrantRequest, UsageAnswer, UsageRequest,
};

use super::{
    ErrorBody, Face,
    body::{Body, query},
    reply::{Reply, answer},
};

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/v1/credits", get(balance))
        .route("/v1/credits/grant", post(grant))
        .route("/v1/credits/budget", put(budget))
        .route("/v1/usage", get(usage))
}

/// What a project has left of its credits.
#[utoipa::path(get, path = "/v1/credits", tag = "credits", params(BalanceRequest),
    responses((status = 200, body = BalanceAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn balance(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<BalanceAnswer> {
    answer(face.sandboxes.check_balance(actor, query::<BalanceRequest>(&uri)?)).await
}

/// What was used, by sandbox, project or day.
#[utoipa::path(get, path = "/v1/usage", tag = "credits", params(UsageRequest),
    responses((status = 200, body = UsageAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn usage(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<UsageAnswer> {
    answer(face.sandboxes.usage(actor, query::<UsageRequest>(&uri)?)).await
}

/// Give a project more credits. With the first ones its budget is limited. Operators only.
#[utoipa::path(post, path = "/v1/credits/grant", tag = "credits", request_body = CreditGrantRequest,
    responses((status = 200, body = BalanceAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn grant(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Reply<BalanceAnswer> {
    let request: CreditGrantRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.credit_grant(actor, request)).await
}

/// Set what a project may spend from now on, or take the limit away. Operators only.
#[utoipa::path(put, path = "/v1/credits/budget", tag = "credits", request_body = CreditBudgetRequest,
    responses((status = 200, body = BalanceAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn budget(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Reply<BalanceAnswer> {
    let request: CreditBudgetRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.credit_budget(actor, request)).await
}
