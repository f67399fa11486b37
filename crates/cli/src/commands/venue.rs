//! `ringfence venue`: the simulated exchange by itself, for people and any client of Alpaca's.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::{args::Global, daemon, failure, roles::venue};

/// Runs the simulated exchange by itself, in the foreground
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence venue --home ~/paper                          on http://127.0.0.1:7434
  ringfence venue --home ~/paper --listen 127.0.0.1:8000
  ringfence venue --home ~/paper --socket /run/user/1000/paper.sock

Clients of Alpaca's are pointed at it: TradingClient(url_override='http://127.0.0.1:7434'), and \
ws://127.0.0.1:7434/stream for updates of trades. Any key is the default account's; others are made, and clocks set, below \
/ringfence/v1. It needs no root. The daemon has a venue of its own, which sandboxes reach through the gate: the two do not \
share a state directory.")]
pub(crate) struct VenueArgs {
    /// Where to listen, on this machine alone [default: 127.0.0.1:7434, unless there is --socket]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// A Unix socket to listen on
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Where it listens unless something is said.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7434);

/// Runs it until it is told to end.
pub(crate) fn run(global: &Global, args: &VenueArgs) -> anyhow::Result<i32> {
    if global.json {
        return failure::usage("`venue` prints no data; leave out --json");
    }
    let home = global.home.clone().unwrap_or_else(|| PathBuf::from(daemon::HOME_DEFAULT));
    let tcp = args.listen.or_else(|| args.socket.is_none().then_some(LISTEN_DEFAULT));
    venue::alone(&venue::VenueOptions { home, tcp, socket: args.socket.clone() })
}
