//! An MCP client of `ringfence mcp`, started exactly as a client's configuration starts it.

use std::{process::Stdio, time::Instant};

use anyhow::{Context, bail, ensure};
use rmcp::{
    RoleClient, ServiceExt,
    model::CallToolRequestParams,
    service::{Peer, RunningService},
};
use serde::Serialize;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::mcp_config::McpConfig;

/// A connected client, and the server that it started.
pub(super) struct McpClient {
    server: Child,
    service: RunningService<RoleClient, ()>,
    seconds: f64,
}

/// What the server said of itself.
#[derive(Debug, Serialize)]
pub(super) struct Handshake {
    pub(super) server: String,
    pub(super) version: String,
    pub(super) protocol: String,
    pub(super) tools: usize,
    /// From starting the server to its first answer.
    pub(super) seconds: f64,
}

/// A tool that was called.
#[derive(Debug)]
pub(super) struct Call {
    /// `structuredContent`.
    pub(super) answer: Value,
    /// From the request to the answer, in this process.
    pub(super) seconds: f64,
}

impl McpClient {
    /// Starts the server and greets it.
    ///
    /// # Errors
    /// It could not be started, or speaks no MCP.
    pub(super) async fn connect(config: &McpConfig) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let mut server = Command::new(&config.program)
            .args(config.arguments())
            .env_remove("RINGFENCE_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", config.program.display()))?;
        let pipes = (server.stdout.take().context("no pipe")?, server.stdin.take().context("no pipe")?);
        let service = ().serve(pipes).await.context("greeting the MCP server")?;
        Ok(Self { server, service, seconds: begin.elapsed().as_secs_f64() })
    }

    fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    /// What the server said of itself, and how many tools it has.
    ///
    /// # Errors
    /// It said nothing, or lists no tools.
    pub(super) async fn handshake(&self) -> anyhow::Result<Handshake> {
        let tools = self.peer().list_all_tools().await.context("listing the tools")?;
        let info =
            serde_json::to_value(self.peer().peer_info().context("the server said nothing of itself")?.as_ref())?;
        for name in ["sandbox_create", "sandbox_execute", "sandbox_delete"] {
            ensure!(tools.iter().any(|tool| tool.name == name), "the server has no tool `{name}`");
        }
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        Ok(Handshake {
            server: text(&info["serverInfo"]["name"]),
            version: text(&info["serverInfo"]["version"]),
            protocol: text(&info["protocolVersion"]),
            tools: tools.len(),
            seconds: self.seconds,
        })
    }

    /// Calls a tool that must succeed.
    ///
    /// # Errors
    /// It was refused, or `success` is not true, or the text is not the same JSON.
    pub(super) async fn call(&self, tool: &'static str, arguments: Value) -> anyhow::Result<Call> {
        let Value::Object(arguments) = arguments else { bail!("arguments are an object") };
        let begin = Instant::now();
        let result = self.peer().call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await;
        let seconds = begin.elapsed().as_secs_f64();
        let result = result.with_context(|| format!("calling {tool}"))?;
        let text = result.content.iter().find_map(|block| Some(block.as_text()?.text.as_str())).unwrap_or_default();
        ensure!(result.is_error != Some(true), "{tool} was refused: {text}");
        let answer = result.structured_content.with_context(|| format!("{tool} answered without structuredContent"))?;
        ensure!(answer["success"] == true, "{tool} did not succeed: {answer}");
        let same: Value = serde_json::from_str(text).with_context(|| format!("{tool}'s text is not JSON"))?;
        ensure!(same == answer, "{tool}'s text and structuredContent differ");
        Ok(Call { answer, seconds })
    }

    /// Hangs up, and waits for the server to end.
    ///
    /// # Errors
    /// It did not end in order.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        self.service.cancel().await.context("hanging up")?;
        let status = self.server.wait().await.context("waiting for the MCP server")?;
        ensure!(status.success(), "the MCP server ended with {status}");
        Ok(())
    }
}
