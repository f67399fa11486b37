//! One call of a tool: its result in the shapes that clients read, a heartbeat while it takes long, and its cancellation.

use std::time::{Duration, Instant};

use ringfence_engine::api::PROGRESS_QUEUE;
use ringfence_model::api::Progress;
use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ProgressNotificationParam, ProgressToken,
    },
    service::RequestContext,
};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{schema, tools};
use crate::services::Services;

/// Time between two signs of life. The contract allows 10 s.
const HEARTBEAT: Duration = Duration::from_secs(5);

pub(super) async fn call(
    services: &Services,
    request: CallToolRequestParams,
    context: RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let Some(entry) = tools::find(&request.name) else {
        let name: String = request.name.chars().take(80).collect();
        return Err(ErrorData::invalid_params(format!("there is no tool `{}`", name.escape_debug()), None));
    };
    let token = context.meta.get_progress_token();
    let (progress, mut steps) = mpsc::channel(PROGRESS_QUEUE);
    let mut answer =
        (entry.call)(services.clone(), request.arguments.unwrap_or_default(), token.is_some().then_some(progress));
    let mut pulse = Pulse { context: &context, token, started: Instant::now(), last: String::new() };
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            // What was begun goes on in the engine; nobody reads its answer here any more.
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("the call was cancelled", None)),
            Some(step) = steps.recv() => pulse.step(step).await,
            _ = beat.tick() => pulse.beat().await,
        }
    };
    Ok(CallToolResponse::Complete(match answer {
        Ok(answer) => success(answer),
        Err(error) => CallToolResult::structured_error(schema::refusal(&error)),
    }))
}

/// The same JSON as structured content and as text. Figures become image blocks, and are not repeated in the JSON: a
/// model that reads base64 as text pays for it and learns nothing.
fn success(mut answer: Value) -> CallToolResult {
    let images = take_images(&mut answer);
    let mut result = CallToolResult::structured(answer);
    result.content.extend(images);
    result
}

fn take_images(answer: &mut Value) -> Vec<ContentBlock> {
    let Some(artifacts) = answer.get_mut("artifacts").and_then(Value::as_array_mut) else { return Vec::new() };
    let image = |artifact: &mut Value| {
        let artifact = artifact.as_object_mut()?;
        let mime = artifact.get("mime")?.as_str().filter(|mime| mime.starts_with("image/"))?.to_owned();
        let Value::String(data) = artifact.remove("content_base64")? else { return None };
        Some(ContentBlock::image(data, mime))
    };
    artifacts.iter_mut().filter_map(image).collect()
}

/// Tells a client that asked for it that the call is alive.
struct Pulse<'a> {
    context: &'a RequestContext<RoleServer>,
    token: Option<ProgressToken>,
    started: Instant,
    /// What was being done when we last heard of it.
    last: String,
}

impl Pulse<'_> {
    async fn step(&mut self, step: Progress) {
        self.last = step.message;
        if let Some(percent) = step.percent {
            self.last.push_str(&format!(", {percent:.0} % done"));
        }
        if let Some(seconds) = step.seconds_left {
            self.last.push_str(&format!(", about {seconds:.0} s left"));
        }
        self.send(self.last.clone()).await;
    }

    async fn beat(&self) {
        let seconds = self.started.elapsed().as_secs();
        let what = if self.last.is_empty() { "running" } else { &self.last };
        self.send(format!("{what} ({seconds} s so far)")).await;
    }

    /// Progress is the time that passed, which always grows, as the protocol demands. Nothing depends on its arrival.
    async fn send(&self, message: String) {
        let Some(token) = self.token.clone() else { return };
        let param = ProgressNotificationParam::new(token, self.started.elapsed().as_secs_f64()).with_message(message);
        let _ = self.context.peer.notify_progress(param).await;
    }
}
