//! Websockets through an intercepted connection.

use ringfence_model::net::control::SecretBinding;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::world::{LOOPBACK, PATIENCE, Signer, World, bound};

const VALUE: &str = "the-real-value-of-the-token";

/// A frame of up to 125 bytes.
async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), text: &str, masked: bool) {
    write_part(stream, 0x81, text, masked).await;
}

async fn write_part(stream: &mut (impl AsyncWrite + Unpin), flags: u8, text: &str, masked: bool) {
    let key = [9, 8, 7, 6];
    let mut frame = vec![flags, u8::try_from(text.len()).unwrap() | u8::from(masked) << 7];
    if masked {
        frame.extend(key);
    }
    let byte = |(at, byte): (usize, u8)| if masked { byte ^ key[at % 4] } else { byte };
    frame.extend(text.bytes().enumerate().map(byte));
    stream.write_all(&frame).await.unwrap();
    stream.flush().await.unwrap();
}

/// Nothing when the connection is at its end.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.ok()?;
    let mut key = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut key).await.ok()?;
    }
    let mut text = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut text).await.ok()?;
    let text = text.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
    Some(String::from_utf8(text).unwrap())
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn the_first_message_has_the_value_and_a_later_one_must_not_ask_for_it() {
    let signer = Signer::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
    let binding = SecretBinding { placements: vec!["frame:key".into()], ..bound("api.test", port) };
    world.secret("TOKEN", VALUE, Some(binding), false).await;
    let placeholder = world.placeholder("TOKEN").await;
    world.given("api.test").await;
    let acceptor = TlsAcceptor::from(signer.config("api.test", &["http/1.1"]));
    let server = tokio::spawn(async move {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let head = read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await
            .unwrap();
        let mut heard = vec![head];
        while let Some(text) = read_frame(&mut stream).await {
            write_frame(&mut stream, &format!("echo {text}"), false).await;
            heard.push(text);
        }
        heard
    });
    let mut stream = world.tls(port, "api.test", &world.authority(), &[]).await.unwrap();
    let head = "GET /stream HTTP/1.1\r\nHost: api.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, read_head(&mut stream)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    // In two parts, with a ping between them that goes on at once.
    let login = format!("{{\"key\":\"{placeholder}\"}}");
    write_part(&mut stream, 0x01, &login[..20], true).await;
    write_part(&mut stream, 0x89, "ping", true).await;
    assert_eq!(tokio::time::timeout(PATIENCE, read_frame(&mut stream)).await.unwrap().unwrap(), "echo ping");
    write_part(&mut stream, 0x80, &login[20..], true).await;
    let echo = tokio::time::timeout(PATIENCE, read_frame(&mut stream)).await.unwrap();
    assert_eq!(echo.unwrap(), format!("echo {{\"key\":\"{placeholder}\"}}"));
    write_frame(&mut stream, "{\"action\":\"subscribe\"}", true).await;
    assert_eq!(read_frame(&mut stream).await.unwrap(), "echo {\"action\":\"subscribe\"}");
    assert!(world.denials().is_empty());
    write_frame(&mut stream, &format!("{{\"key\":\"{placeholder}\"}}"), true).await;
    assert_eq!(tokio::time::timeout(PATIENCE, read_frame(&mut stream)).await.unwrap(), None);
    assert_eq!(world.denied().1, "placeholder_misplaced");
    let heard = tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap();
    assert_eq!(heard[1], "ping");
    assert_eq!(heard[2..], [format!("{{\"key\":\"{VALUE}\"}}"), "{\"action\":\"subscribe\"}".to_owned()]);
    assert!(!heard[0].to_lowercase().contains("permessage-deflate"), "{}", heard[0]);
    let used = world.decisions().await.into_iter().find(|decision| decision.protocol == "ws").unwrap();
    assert_eq!((used.secrets, &*used.verdict), (vec!["TOKEN".to_owned()], "allow"));
}
