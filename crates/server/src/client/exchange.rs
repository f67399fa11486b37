//! One request to the daemon and its answer.

use std::{sync::PoisonError, time::Duration};

use futures::StreamExt;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    header,
};
use ringfence_engine::api::{Chunks, ProgressSender};
use ringfence_model::{
    ApiError,
    api::{Actor, Event},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Client, connection::Outgoing};
use crate::{
    ACTOR_HEADER, BUILD_HEADER,
    rest::{LONG_ANSWER_TIMEOUT, NDJSON, exports::ARCHIVE},
};

/// Bytes of one answer: a file of 32 MiB as text in which every byte is escaped.
const ANSWER_BYTES_MAX: usize = 200 << 20;
/// Bytes of one line of progress, or of the result after it.
const LINE_BYTES_MAX: usize = 4 << 20;
/// Time for an answer: the daemon gives up earlier, and says so.
const TIMEOUT: Duration = Duration::from_secs(130);
/// The same for what is there within seconds.
const SHORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for what may take long.
const LONG_TIMEOUT: Duration = LONG_ANSWER_TIMEOUT.saturating_add(Duration::from_secs(10));

/// A request, before it is known for whom.
pub(super) struct Ask {
    method: Method,
    uri: String,
    body: Outgoing,
    content_type: &'static str,
    timeout: Duration,
}

impl Ask {
    pub(super) fn new(method: Method, uri: String) -> Self {
        Self { method, uri, body: whole(Bytes::new()), content_type: "application/json", timeout: TIMEOUT }
    }

    pub(super) fn get(uri: String) -> Self {
        Self::new(Method::GET, uri)
    }

    pub(super) fn body(mut self, request: &impl Serialize) -> Self {
        self.body = whole(serde_json::to_vec(request).expect("requests are plain data with text keys").into());
        self
    }

    /// Sends a file piece by piece.
    pub(super) fn chunks(mut self, chunks: Chunks) -> Self {
        let frames = chunks.map(|chunk| chunk.map(Frame::data).map_err(|error| error.message.into()));
        self.body = Outgoing::new(StreamBody::new(frames));
        self.content_type = ARCHIVE;
        self
    }

    pub(super) fn long(mut self) -> Self {
        self.timeout = LONG_TIMEOUT;
        self
    }
}

fn whole(bytes: Bytes) -> Outgoing {
    Outgoing::new(Full::new(bytes).map_err(|never| match never {}))
}

#[derive(Deserialize)]
struct Refusal {
    error: ApiError,
}

impl Client {
    /// Asks and waits for the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, actor: Actor, ask: Ask) -> Result<T, ApiError> {
        let timeout = ask.timeout;
        let exchange = async {
            let response = self.send(actor, ask, "application/json").await?;
            self.read(response).await
        };
        tokio::time::timeout(timeout, exchange).await.map_err(|_| silent(timeout))?
    }

    /// Asks for what is said under any status, and does not wait long for it.
    pub(super) async fn ask_whatever_status<T: DeserializeOwned>(&self, actor: Actor, ask: Ask) -> Result<T, ApiError> {
        let exchange = async {
            let response = self.send(actor, ask, "application/json").await?;
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|_| cut_off())?;
            serde_json::from_slice(&body.to_bytes()).map_err(|_| self.unreadable())
        };
        tokio::time::timeout(SHORT_TIMEOUT, exchange).await.map_err(|_| silent(SHORT_TIMEOUT))?
    }

    /// Asks and waits: how long depends on how much is sent.
    pub(super) async fn ask_as_long_as_it_takes<T: DeserializeOwned>(
        &self,
        actor: Actor,
        ask: Ask,
    ) -> Result<T, ApiError> {
        let response = self.send(actor, ask, "application/json").await?;
        self.read(response).await
    }

    /// Asks for a file.
    pub(super) async fn ask_for_chunks(&self, actor: Actor, ask: Ask) -> Result<Chunks, ApiError> {
        let response = self.send(actor, ask, ARCHIVE).await?;
        if !response.status().is_success() {
            return Err(self.read::<serde_json::Value>(response).await.err().unwrap_or_else(cut_off));
        }
        let frames = response.into_body().into_data_stream();
        Ok(frames.map(|chunk| chunk.map_err(|_| cut_off())).boxed())
    }

    /// Asks for progress too, if somebody wants it.
    pub(super) async fn ask_with_progress<T: DeserializeOwned>(
        &self,
        actor: Actor,
        ask: Ask,
        progress: Option<ProgressSender>,
    ) -> Result<T, ApiError> {
        match progress {
            None => self.ask(actor, ask).await,
            Some(_) => self.ask_for_lines(actor, ask, progress).await,
        }
    }

    /// Asks and reads lines until the last. A build takes as long as it takes.
    pub(super) async fn ask_for_lines<T: DeserializeOwned>(
        &self,
        actor: Actor,
        ask: Ask,
        progress: Option<ProgressSender>,
    ) -> Result<T, ApiError> {
        let response = self.send(actor, ask, NDJSON).await?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with(NDJSON)) {
            return self.read(response).await;
        }
        let mut body = response.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| cut_off())?.into_data() else { continue };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                match serde_json::from_slice(&line).map_err(|_| self.unreadable())? {
                    Event::Progress(step) => {
                        if let Some(progress) = &progress {
                            let _ = progress.try_send(step);
                        }
                    }
                    Event::Result(answer) => return Ok(answer),
                    Event::Error(error) => return Err(error),
                }
            }
            if pending.len() > LINE_BYTES_MAX {
                return Err(self.unreadable());
            }
        }
        Err(cut_off())
    }

    async fn send(&self, actor: Actor, ask: Ask, accept: &str) -> Result<Response<Incoming>, ApiError> {
        let mut request = Request::builder();
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request
            .method(ask.method)
            .uri(format!("http://localhost{}", ask.uri))
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, ask.content_type)
            .header(ACTOR_HEADER, actor.as_str())
            .body(ask.body)
            .map_err(|_| ApiError::internal("an argument is too long for an address"))?;
        let response = self.http.request(request).await.map_err(|e| {
            if e.is_connect() {
                tracing::debug!(error = ?e, "the daemon was not reached");
                ApiError::internal("ringfence does not run here: start it with `ringfence serve`")
            } else {
                cut_off()
            }
        })?;
        if let Some(build) = response.headers().get(BUILD_HEADER).and_then(|value| value.to_str().ok()) {
            *self.daemon.lock().unwrap_or_else(PoisonError::into_inner) = Some(build.to_owned());
        }
        Ok(response)
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, ApiError> {
        let ok = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|_| cut_off())?;
        let body = body.to_bytes();
        if ok {
            return serde_json::from_slice(&body).map_err(|_| self.unreadable());
        }
        let Refusal { error } = serde_json::from_slice(&body).map_err(|_| self.unreadable())?;
        Err(error)
    }

    fn unreadable(&self) -> ApiError {
        let why = self.other_build().unwrap_or_else(|| "its answer is not one that this program knows".into());
        ApiError::internal(format!("the daemon's answer could not be read: {why}"))
    }
}

fn cut_off() -> ApiError {
    ApiError::internal("the daemon hung up in the middle; look at the state before trying again")
}

fn silent(timeout: Duration) -> ApiError {
    let seconds = timeout.as_secs();
    ApiError::internal(format!("the daemon did not answer within {seconds} s; look at the state before trying again"))
}
