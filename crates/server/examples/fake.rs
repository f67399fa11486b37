//! The faces over a fake engine, for trying MCP clients: `fake stdio`, `fake serve SOCKET PORT TOKEN`, and
//! `fake bridge SOCKET` (stdio over the socket of a running `fake serve`, as `ringfence mcp` does it).

use std::{env, io, path::Path, sync::Arc, time::Duration};

use ringfence_server::{Client, Config, Services, Started, Stop, Tcp, Token, serve, serve_stdio};
use tokio::net::{TcpListener, UnixListener};

#[path = "../tests/fake/mod.rs"]
mod fake;

fn services() -> Services {
    let fake = Arc::new(fake::Fake::default());
    Services { sandboxes: fake.clone(), research: fake }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["stdio"] => serve_stdio(services()).await,
        ["bridge", socket] => {
            let client = Arc::new(Client::new(Path::new(socket), "fake"));
            serve_stdio(Services { sandboxes: client.clone(), research: client }).await
        }
        ["serve", socket, port, token] => {
            let port: u16 = port.parse().map_err(io::Error::other)?;
            let _ = std::fs::remove_file(socket);
            let config = Config {
                build: "fake".into(),
                unix: UnixListener::bind(socket)?,
                unix_uids: vec![0],
                tcp: Some(Tcp {
                    listener: TcpListener::bind(("127.0.0.1", port)).await?,
                    token: Token::new(token).map_err(io::Error::other)?,
                }),
                drain: Duration::from_secs(1),
            };
            let node = Arc::new(fake::node::FakeNode::default());
            let started = Started { services: services(), previews: None, node };
            serve(config, std::future::ready(started), Stop::default()).await
        }
        _ => Err(io::Error::other("fake stdio | fake serve SOCKET PORT TOKEN | fake bridge SOCKET")),
    }
}
