//! Trading. What is the operator's is refused to an agent before anything of its body is read.

use axum::{
    Router,
    extract::{Extension, FromRequestParts},
    http::{Uri, request::Parts},
    routing::{get, post, put},
};
use ringfence_model::{
    ApiError, Code,
    api::{
        Actor, TradeHaltRequest, TradeHoldAnswer, TradeHoldRequest, TradeHoldsAnswer, TradeLimitsAnswer,
        TradeLimitsRequest, TradeLimitsSetRequest, TradeModeAnswer, TradeModeRequest, TradeOrdersAnswer,
        TradeOrdersRequest, TradePositionsAnswer, TradePositionsRequest, TradeStateAnswer, TradeStateRequest,
        TradeStatusAnswer, TradeStatusRequest, TradeTightenRequest,
    },
};

use super::{
    ErrorBody, Face, Refused,
    body::{Body, Id, query},
    reply::{Reply, answer},
};

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/v1/trade/status", get(status))
        .route("/v1/trade/mode", put(set_mode))
        .route("/v1/trade/limits", get(limits).put(set_limits))
        .route("/v1/trade/limits/tighten", post(tighten))
        .route("/v1/trade/halt", post(halt))
        .route("/v1/trade/reduce", post(reduce))
        .route("/v1/trade/resume", post(resume))
        .route("/v1/trade/orders", get(orders))
        .route("/v1/trade/positions", get(positions))
        .route("/v1/trade/holds", get(holds))
        .route("/v1/trade/holds/{number}/approve", post(approve))
        .route("/v1/trade/holds/{number}/refuse", post(refuse))
}

/// A request of the operator's.
pub(crate) struct Operator(Actor);

impl FromRequestParts<Face> for Operator {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Refused> {
        match parts.extensions.get::<Actor>() {
            Some(actor @ Actor::Operator) => Ok(Self(*actor)),
            _ => {
                let message = "this is for the operator: use `ringfence trade` on the daemon's machine. A client may look, \
                     tighten and halt";
                Err(Refused(ApiError::new(Code::PermissionDenied, message)))
            }
        }
    }
}

/// How trading stands: mode, states, limits, amounts, the simulated exchange and its clock.
#[utoipa::path(get, path = "/v1/trade/status", tag = "trading", params(TradeStatusRequest),
    responses((status = 200, body = TradeStatusAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn status(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<TradeStatusAnswer> {
    answer(face.sandboxes.trade_status(actor, query::<TradeStatusRequest>(&uri)?)).await
}

/// Set where orders go. Operators only; live also needs `[trade] live_allowed` in config.toml.
#[utoipa::path(put, path = "/v1/trade/mode", tag = "trading", request_body = TradeModeRequest,
    responses((status = 200, body = TradeModeAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn set_mode(Operator(actor): Operator, face: Face, body: Body) -> Reply<TradeModeAnswer> {
    let request: TradeModeRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.trade_mode_set(actor, request)).await
}

/// The limits in force, each with who set it.
#[utoipa::path(get, path = "/v1/trade/limits", tag = "trading", params(TradeLimitsRequest),
    responses((status = 200, body = TradeLimitsAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn limits(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<TradeLimitsAnswer> {
    answer(face.sandboxes.trade_limits(actor, query::<TradeLimitsRequest>(&uri)?)).await
}

/// Set limits, also looser ones. Operators only.
#[utoipa::path(put, path = "/v1/trade/limits", tag = "trading", request_body = TradeLimitsSetRequest,
    responses((status = 200, body = TradeLimitsAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn set_limits(Operator(actor): Operator, face: Face, body: Body) -> Reply<TradeLimitsAnswer> {
    let request: TradeLimitsSetRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.trade_limits_set(actor, request)).await
}

/// Tighten limits of a sandbox. One that would let more through is refused.
#[utoipa::path(post, path = "/v1/trade/limits/tighten", tag = "trading", request_body = TradeTightenRequest,
    responses((status = 200, body = TradeLimitsAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn tighten(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Reply<TradeLimitsAnswer> {
    let request: TradeTightenRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.trade_tighten(actor, request)).await
}

/// The kill switch: nothing but cancels from now on, and open orders are cancelled. `flatten` is for operators.
#[utoipa::path(post, path = "/v1/trade/halt", tag = "trading", request_body = TradeHaltRequest,
    responses((status = 200, body = TradeStateAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn halt(face: Face, Extension(actor): Extension<Actor>, body: Body) -> Reply<TradeStateAnswer> {
    let request: TradeHaltRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.trade_halt(actor, request)).await
}

/// Only what makes positions smaller from now on. Operators only.
#[utoipa::path(post, path = "/v1/trade/reduce", tag = "trading", request_body = TradeStateRequest,
    responses((status = 200, body = TradeStateAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn reduce(Operator(actor): Operator, face: Face, body: Body) -> Reply<TradeStateAnswer> {
    let request: TradeStateRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.trade_reduce(actor, request)).await
}

/// Let trading go on after a halt. Operators only.
#[utoipa::path(post, path = "/v1/trade/resume", tag = "trading", request_body = TradeStateRequest,
    responses((status = 200, body = TradeStateAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn resume(Operator(actor): Operator, face: Face, body: Body) -> Reply<TradeStateAnswer> {
    let request: TradeStateRequest = body.judge(&face, actor).await?;
    answer(face.sandboxes.trade_resume(actor, request)).await
}

/// Orders of sandboxes as the gate's ledger has them, newest first.
#[utoipa::path(get, path = "/v1/trade/orders", tag = "trading", params(TradeOrdersRequest),
    responses((status = 200, body = TradeOrdersAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn orders(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<TradeOrdersAnswer> {
    answer(face.sandboxes.trade_orders(actor, query::<TradeOrdersRequest>(&uri)?)).await
}

/// Positions, as the venue says them.
#[utoipa::path(get, path = "/v1/trade/positions", tag = "trading", params(TradePositionsRequest),
    responses((status = 200, body = TradePositionsAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn positions(face: Face, Extension(actor): Extension<Actor>, uri: Uri) -> Reply<TradePositionsAnswer> {
    answer(face.sandboxes.trade_positions(actor, query::<TradePositionsRequest>(&uri)?)).await
}

/// Orders that wait for a person.
#[utoipa::path(get, path = "/v1/trade/holds", tag = "trading",
    responses((status = 200, body = TradeHoldsAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn holds(face: Face, Extension(actor): Extension<Actor>) -> Reply<TradeHoldsAnswer> {
    answer(face.sandboxes.trade_holds(actor)).await
}

/// Approve an order that waits: the same request is let through once, within an hour. Operators only.
#[utoipa::path(post, path = "/v1/trade/holds/{number}/approve", tag = "trading",
    params(("number" = u64, Path, description = "Number of the order that waits")),
    responses((status = 200, body = TradeHoldAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn approve(Operator(actor): Operator, face: Face, Id(number): Id) -> Reply<TradeHoldAnswer> {
    answered(&face, actor, &number, true).await
}

/// Refuse an order that waits. Operators only.
#[utoipa::path(post, path = "/v1/trade/holds/{number}/refuse", tag = "trading",
    params(("number" = u64, Path, description = "Number of the order that waits")),
    responses((status = 200, body = TradeHoldAnswer), (status = "default", body = ErrorBody)))]
pub(crate) async fn refuse(Operator(actor): Operator, face: Face, Id(number): Id) -> Reply<TradeHoldAnswer> {
    answered(&face, actor, &number, false).await
}

async fn answered(face: &Face, actor: Actor, number: &str, approve: bool) -> Reply<TradeHoldAnswer> {
    let number = number.parse().map_err(|_| {
        Refused(ApiError::new(Code::InvalidArgument, "the number of an order that waits is written in digits"))
    })?;
    answer(face.sandboxes.trade_hold_answer(actor, TradeHoldRequest { number, approve })).await
}
