//! The engine's way to the gateway.

use ringfence_model::{
    ApiError,
    net::control::{GateAnswer, GateOp},
};

/// Asks the gateway.
#[derive(Debug)]
pub(crate) struct GateClient;

impl GateClient {
    /// Asks, and waits for the answer.
    pub(crate) async fn call(&self, op: GateOp) -> Result<GateAnswer, ApiError> {
        drop(op);
        Err(ApiError::internal("the gateway is not connected"))
    }
}
