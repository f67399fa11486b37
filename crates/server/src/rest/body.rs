//! Reading requests: bodies, ids in paths, queries.

use std::time::Duration;

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{Uri, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ringfence_engine::api::SharedSandboxes;
use ringfence_model::{
    ApiError, Code,
    api::{Actor, ExecutionRequest, SandboxRequest},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Face, Refused};
use crate::{
    BODY_BYTES_MAX,
    parse::{self, Arguments, invalid},
};

/// Time that a client may take for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A JSON object that was not judged yet.
pub(crate) struct Body(Arguments);

impl FromRequest<Face> for Body {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &Face) -> Result<Self, Refused> {
        let reading = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        let body = tokio::time::timeout(BODY_TIMEOUT, reading)
            .await
            .map_err(|_| invalid(format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs())))?
            .map_err(|e| match e.downcast_ref::<LengthLimitError>() {
                Some(_) => ApiError::new(
                    Code::TooLarge,
                    format!(
                        "the body has more than {} MiB; files travel best as `content_base64`",
                        BODY_BYTES_MAX >> 20
                    ),
                ),
                None => invalid("the body ended early"),
            })?;
        Ok(Self(parse::object(&body.to_bytes())?))
    }
}

impl Body {
    /// Puts in what the path says; the body may say the same, or nothing.
    pub(crate) fn with(mut self, argument: &str, value: String) -> Result<Self, ApiError> {
        match self.0.insert(argument.to_owned(), Value::String(value.clone())) {
            Some(other) if other != Value::String(value) => {
                Err(invalid(format!("`{argument}` in the body is not the one in the path")))
            }
            _ => Ok(self),
        }
    }

    /// Turns it into a request.
    pub(crate) async fn judge<T: DeserializeOwned>(self, face: &Face, actor: Actor) -> Result<T, ApiError> {
        self.0.judge(&face.sandboxes, actor).await
    }
}

/// Arguments become a request, or the most useful refusal.
pub(crate) trait Judge {
    /// Parses them. The sandbox is looked up before other arguments are judged: when parsing fails, an unknown sandbox
    /// or execution is the refusal, and the argument otherwise.
    fn judge<T: DeserializeOwned>(
        self,
        sandboxes: &SharedSandboxes,
        actor: Actor,
    ) -> impl Future<Output = Result<T, ApiError>> + Send;
}

impl Judge for Arguments {
    async fn judge<T: DeserializeOwned>(self, sandboxes: &SharedSandboxes, actor: Actor) -> Result<T, ApiError> {
        let text = |name: &str| self.get(name).and_then(Value::as_str).map(str::to_owned);
        let (sandbox, execution) = (text("sandbox_id"), text("execution_id"));
        let error = match parse::request(self) {
            Ok(request) => return Ok(request),
            Err(error) => error,
        };
        if let Some(sandbox_id) = sandbox {
            sandboxes.status(actor, SandboxRequest { sandbox_id }).await?;
        }
        if let Some(execution_id) = execution {
            sandboxes.execution(actor, ExecutionRequest { execution_id, wait: None }).await?;
        }
        Err(error)
    }
}

/// The one parameter of a path.
pub(crate) struct Id(pub(crate) String);

impl FromRequestParts<Face> for Id {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Refused> {
        let Path(id) = Path::<String>::from_request_parts(parts, face)
            .await
            .map_err(|_| invalid("the path is not UTF-8 behind its percent signs"))?;
        Ok(Self(id))
    }
}

/// Reads the query of a path.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let Query(query) = Query::<T>::try_from_uri(uri).map_err(|e| {
        let text = e.body_text();
        let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        invalid(format!("the query: {}", text.replacen("unknown field", "unknown argument", 1)))
    })?;
    Ok(query)
}

/// Reads the query of a path that names a sandbox, which is looked up before the query is judged.
pub(crate) async fn query_about<T: DeserializeOwned>(
    face: &Face,
    actor: Actor,
    sandbox_id: &str,
    uri: &Uri,
) -> Result<T, ApiError> {
    match query(uri) {
        Ok(query) => Ok(query),
        Err(error) => {
            face.sandboxes.status(actor, SandboxRequest { sandbox_id: sandbox_id.to_owned() }).await?;
            Err(error)
        }
    }
}
