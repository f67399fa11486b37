//! `ringfence serve`: the daemon, in the foreground.

use std::{net::SocketAddr, path::Path};

use clap::Args;

use crate::{args::Global, daemon, failure, roles, roles::log::LogFormat};

/// Runs the daemon in the foreground
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence serve                        on the Unix socket, and on TCP with a token
  sudo ringfence serve --tcp none             on the Unix socket only
  sudo RINGFENCE_HOME=/srv/ringfence ringfence serve --tcp 127.0.0.1:8433
  sudo ringfence serve --log-format json      its log as one JSON object a line

SIGTERM, Ctrl-C or `ringfence stop` end it: nothing new is begun, running executions have 10 s to end ([daemon] \
drain_seconds in config.toml), then running sandboxes are stopped and keep their files. A second signal ends it at once. \
The token for TCP is in run/token below the state directory.")]
pub(crate) struct ServeArgs {
    /// Where to listen on TCP, or `none`
    #[arg(long, value_name = "ADDRESS:PORT|none", default_value = daemon::TCP_DEFAULT, value_parser = tcp)]
    tcp: Tcp,
    /// The form of the log [default: the one in config.toml, else text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// Leave the terminal's session: for a daemon that a command starts
    #[arg(long, hide = true)]
    detached: bool,
}

/// Where to listen on TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tcp(Option<SocketAddr>);

fn tcp(text: &str) -> Result<Tcp, String> {
    if text == "none" {
        return Ok(Tcp(None));
    }
    let address: SocketAddr = text.parse().map_err(|_| format!("`{text}` is neither ADDRESS:PORT nor `none`"))?;
    Ok(Tcp(Some(address)))
}

/// Runs it until it is told to end.
pub(crate) fn run(global: &Global, args: &ServeArgs) -> anyhow::Result<i32> {
    if global.json {
        return failure::usage("`serve` prints no data; leave out --json");
    }
    if args.detached {
        // Fails only for a group leader, and then there is nothing to leave.
        let _ = rustix::process::setsid();
    }
    let home = global.home.clone().unwrap_or_else(|| Path::new(daemon::HOME_DEFAULT).to_owned());
    roles::serve(&roles::ServeOptions { home, tcp: args.tcp.0, log_format: args.log_format })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_is_an_address_or_nothing() {
        assert_eq!(tcp("none"), Ok(Tcp(None)));
        assert_eq!(tcp("127.0.0.1:7433"), Ok(Tcp(Some(([127, 0, 0, 1], 7433).into()))));
        assert!(tcp("7433").is_err() && tcp("localhost:7433").is_err());
    }
}
