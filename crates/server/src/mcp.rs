//! The MCP face. Everything that names rmcp is in this module, because that crate changes often.
//!
//! Both protocol eras are served: those that begin with `initialize` (2025-11-25 and older), and stateless requests with
//! `server/discover` (2026-07-28). Over HTTP neither has a session: nothing here belongs to one, and a client whose
//! session was forgotten, after five idle minutes or a restart of the daemon, would be lost. Every MCP client is an
//! agent, whichever way it comes.

mod call;
mod schema;
mod tools;

use std::{io, sync::Arc};

use ringfence_model::Caller;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, Tool,
    },
    service::{RequestContext, ServerInitializeError},
    transport::{
        StreamableHttpServerConfig, StreamableHttpService,
        async_rw::AsyncRwTransport,
        stdio_pipes,
        streamable_http_server::{
            SessionManager,
            session::{local::LocalSessionManager, never::NeverSessionManager},
        },
    },
};

use crate::{
    BODY_BYTES_MAX, Config,
    serve::{Started, Stop, serve_mcp},
    services::Services,
};

const INSTRUCTIONS: &str = "\
Runs Python, JavaScript and shell code in disposable Linux sandboxes on this machine. \
Flow: sandbox_create (template `python`, `node` or `base`) → sandbox_execute, as often as you like → sandbox_delete. \
Files persist between executions, variables do not: each execution is a fresh process. \
A unique sandbox name is accepted wherever sandbox_id is. \
Programs start in /home/user; sample market bars, if the operator provides them, are in /data, read-only. \
What a program saves in /home/user/artifacts, and its matplotlib figures, come back with the result. \
There is no network inside unless `network` names hosts, as in {\"allow\": [{\"host\": \"api.example.com\"}]}; what was \
refused is in `denials`, with the command by which the operator would allow it. \
Keys that the operator stored are used by name in `secrets`: programs see placeholders, the values stay outside. \
`install_packages` installs from PyPI in Python templates; template_get lists what is there already. \
Programs trade at paper-api.alpaca.markets (alpaca-py, paper=True): where orders go and what limits them is in \
trading_status; a refused order answers 403 with code 40310000 and the `rule` that refused it. trading_halt stops all trading. \
Several agents, each with a sandbox, work on one task and vote: swarm_init, then task_orchestrate. \
A program that fails is a successful call with success=false, its exit_code and its stderr. \
A call waits 50 s at most: a program still running then is answered with status=running and is read with \
execution_status; raise `timeout` for long programs. \
A refused call says its code and what to do.";

/// One client's view of the tools.
#[derive(Clone)]
pub(crate) struct Face {
    services: Services,
    /// Whether the guards have said who asks.
    guarded: bool,
}

impl ServerHandler for Face {
    fn get_info(&self) -> ServerConfig {
        let mut me = Implementation::new("ringfence", env!("CARGO_PKG_VERSION"));
        me.title = Some("Ringfence sandboxes".into());
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(me)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all().iter().map(|entry| entry.tool.clone()).collect()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::find(name).map(|entry| entry.tool.clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !self.guarded {
            // Our own standard input: the services are a client's, and the daemon knows whose.
            return call::call(&self.services, request, context).await;
        }
        let parts = context.extensions.get::<axum::http::request::Parts>();
        let Some(caller) = parts.and_then(|parts| parts.extensions.get::<Caller>().cloned()) else {
            return Err(ErrorData::invalid_request("nobody knows who asks", None));
        };
        call::call(&self.services.scoped(caller.over_mcp()), request, context).await
    }
}

/// Serves one client on standard input and output, until it closes them.
///
/// # Errors
/// It spoke another protocol.
pub async fn serve_stdio(services: Services) -> io::Result<()> {
    let (read, write) = stdio_pipes();
    let transport = AsyncRwTransport::new_server(read, write).with_max_line_length(BODY_BYTES_MAX);
    let service = match (Face { services, guarded: false }).serve(transport).await {
        Ok(service) => service,
        // A client that leaves without a word is no fault of ours: some only try whether we start.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    service.waiting().await.map_err(io::Error::other)?;
    Ok(())
}

/// The Streamable HTTP service. Token, Host and Origin were checked before.
pub(crate) fn http(services: Services, stop: Stop) -> StreamableHttpService<Face, NeverSessionManager> {
    transport(move || Face { services: services.clone(), guarded: true }, NeverSessionManager::default(), false, stop)
}

/// Any handler over the transport of [`http`].
fn transport<H: ServerHandler, M: SessionManager>(
    make: impl Fn() -> H + Send + Sync + 'static,
    sessions: M,
    has_sessions: bool,
    stop: Stop,
) -> StreamableHttpService<H, M> {
    // Host is checked by `guard`, where it has to be: on the Unix socket no browser can have been misled.
    // An answer that comes before any sign of life is one JSON document: the Python SDK takes events of 1 MiB at most, and
    // answers of any length.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(has_sessions)
        .with_json_response(true)
        .with_max_request_body_bytes(BODY_BYTES_MAX)
        .disable_allowed_hosts();
    let open_streams = config.cancellation_token.clone();
    tokio::spawn(async move {
        stop.stopped().await;
        open_streams.cancel();
    });
    StreamableHttpService::new(move || Ok(make()), Arc::new(sessions), config)
}

/// Serves another handler in the place of the product's tools, over the same listeners, guards and transport. The
/// protocol's own conformance suite asks for tools, resources and prompts of its own, which are in a test
/// (`tests/conformance.rs`). Some of them ask the client, which before 2026-07-28 needs a session: `has_sessions`. The
/// product's face has none.
///
/// # Errors
/// As [`serve`](crate::serve).
pub async fn serve_handler<H: ServerHandler>(
    config: Config,
    started: Started,
    make: impl Fn() -> H + Send + Sync + 'static,
    has_sessions: bool,
    stop: Stop,
) -> io::Result<()> {
    let started = std::future::ready(started);
    if has_sessions {
        let mcp = |_: Services, stop: Stop| transport(make, LocalSessionManager::default(), true, stop);
        return serve_mcp(config, started, mcp, stop).await;
    }
    let mcp = |_: Services, stop: Stop| transport(make, NeverSessionManager::default(), false, stop);
    serve_mcp(config, started, mcp, stop).await
}
