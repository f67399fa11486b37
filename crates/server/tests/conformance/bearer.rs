//! A listener that hands each request on with the token, which the suite cannot send. Everything else stays as it was,
//! `Host` and `Origin` too.

use std::convert::Infallible;

use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, client::conn::http1 as client, header::AUTHORIZATION,
    server::conn::http1 as server, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

type Body = Either<Incoming, Full<hyper::body::Bytes>>;

async fn forward(mut request: Request<Incoming>, port: u16, token: &str) -> Result<Response<Incoming>, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    let value = format!("Bearer {token}").parse().map_err(|_| "no token for a header".to_owned())?;
    request.headers_mut().insert(AUTHORIZATION, value);
    sender.send_request(request).await.map_err(|e| e.to_string())
}

/// Listens on a port of its own and answers which.
pub(crate) async fn listen(port: u16, token: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let ours = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request| async move {
                Ok::<Response<Body>, Infallible>(match forward(request, port, token).await {
                    Ok(response) => response.map(Either::Left),
                    Err(error) => {
                        let mut response = Response::new(Either::Right(Full::from(error)));
                        *response.status_mut() = StatusCode::BAD_GATEWAY;
                        response
                    }
                })
            });
            tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    ours
}
