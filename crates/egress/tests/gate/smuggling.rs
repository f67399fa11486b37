//! Requests that two servers could read in two ways: what goes on has one reading, or nothing does.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{LOOPBACK, PATIENCE, Server, World};

#[tokio::test]
async fn what_could_be_read_in_two_ways_does_not_go_on() {
    let server = Server::start(None).await;
    let world = World::new(&[], &[("api.test", LOOPBACK)]).await;
    world.allow("api.test", server.port).await;
    world.given("api.test").await;
    let shapes: [&str; 12] = [
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: +5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: api.test\r\nX-Folded: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api.test\r\nHost: api.test\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Host: api.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: api.test\r\n\r\n",
    ];
    for shape in shapes {
        let answer = ask(&world, server.port, shape).await;
        assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{shape:?}: {answer}");
    }
    assert!(server.seen().is_empty(), "{:?}", server.seen());
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused_or_has_one_reading() {
    let server = Server::start(None).await;
    let world = World::new(&[], &[("api.test", LOOPBACK)]).await;
    world.allow("api.test", server.port).await;
    world.given("api.test").await;
    for headers in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
    {
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
        let text = format!("POST / HTTP/1.1\r\nHost: api.test\r\n{headers}\r\n\r\n0\r\n\r\n{smuggled}");
        ask(&world, server.port, &text).await;
    }
    let seen = server.seen();
    // The length is never what the host reads.
    assert!(
        seen.iter().all(|seen| !seen.headers.contains_key("content-length") || seen.headers["content-length"] == "0")
    );
    assert!(seen.iter().all(|seen| seen.body.is_empty()), "{seen:?}");
}

async fn ask(world: &World, port: u16, text: &str) -> String {
    let mut stream = world.connect(port).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // A reset is an answer too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
