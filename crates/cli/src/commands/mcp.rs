//! `ringfence mcp`: the MCP server on standard input and output, and how to connect a client to it.

use clap::{Args, Subcommand};

use crate::{args::Global, daemon, failure, mcp_config::McpConfig, output};

/// Serves MCP on standard input and output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence mcp config                        what to paste into a client
  claude mcp add flow-nexus -- /usr/local/bin/ringfence mcp

A client starts `ringfence mcp` itself. Whoever speaks MCP is an agent: what only the operator may do is refused. It \
starts the daemon when none runs and it may. Everything that is not MCP goes to standard error.")]
pub(crate) struct McpArgs {
    #[command(subcommand)]
    command: Option<McpCommand>,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// Prints what to paste into a client: a line for Claude Code, JSON for the others, and the HTTP variant
    Config,
}

pub(crate) async fn run(global: Global, args: McpArgs) -> anyhow::Result<i32> {
    match args.command {
        None if global.json => failure::usage("`mcp` speaks MCP on standard output; leave out --json"),
        None => {
            log_to_stderr();
            let daemon = daemon::connect(global.home.as_deref()).await?;
            ringfence_server::serve_stdio(daemon.services()).await?;
            Ok(0)
        }
        Some(McpCommand::Config) => config(&global),
    }
}

/// Standard output belongs to the protocol.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RINGFENCE_LOG").unwrap_or_else(|_| "warn".into());
    // In finer words it prints whole requests, with the values of environments in them.
    let filter = filter.add_directive("rmcp=warn".parse().expect("a directive"));
    // A second subscriber would be refused, and there is none.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).try_init();
}

fn config(global: &Global) -> anyhow::Result<i32> {
    let config = McpConfig::of(global.home.as_deref())?;
    if global.json {
        output::json(&config.to_json())?;
        return Ok(0);
    }
    output::line("# Claude Code")?;
    output::line(&config.claude_line())?;
    output::line("\n# Other clients: in their JSON configuration")?;
    output::json(&config.stdio())?;
    output::line("\n# Over HTTP, while the daemon was started with `ringfence serve`")?;
    output::line(&config.claude_http_line())?;
    output::line(&format!("# the token is in {}", config.token_file()))?;
    Ok(0)
}
