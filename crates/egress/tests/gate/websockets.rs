//! Websockets through an intercepted connection.

use ringfence_model::Project;
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
    let (flags, close) = read_any(&mut stream).await.unwrap();
    assert_eq!((flags, &close[..2]), (0x88, &1008_u16.to_be_bytes()[..]), "closed, and told why");
    assert!(String::from_utf8_lossy(&close[2..]).contains("TOKEN") && read_any(&mut stream).await.is_none());
    assert_eq!(world.denied().1, "placeholder_misplaced");
    let heard = tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap();
    assert_eq!(heard[1], "ping");
    assert_eq!(heard[2..], [format!("{{\"key\":\"{VALUE}\"}}"), "{\"action\":\"subscribe\"}".to_owned()]);
    assert!(!heard[0].to_lowercase().contains("permessage-deflate"), "{}", heard[0]);
    let used = world.decisions().await.into_iter().find(|decision| decision.protocol == "ws").unwrap();
    assert_eq!((used.secrets, &*used.verdict), (vec!["TOKEN".to_owned()], "allow"));
}

type Stream<S> = tokio_rustls::TlsStream<S>;

/// A websocket that is open: the gateway, and both ends. `policy` is set beside the binding of the secret.
async fn open(
    value_in_handshake: bool,
) -> (World, Stream<tokio::net::TcpStream>, Stream<tokio::net::TcpStream>, String) {
    let signer = Signer::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::new(&[&signer], &[("api.test", LOOPBACK)]).await;
    let binding = SecretBinding { placements: vec!["frame:key".into(), "bearer".into()], ..bound("api.test", port) };
    world.secret("TOKEN", VALUE, Some(binding), false).await;
    let placeholder = world.placeholder("TOKEN").await;
    // The policy allows the host without the secret too.
    world.allow("api.test", port).await;
    world.given("api.test").await;
    let acceptor = TlsAcceptor::from(signer.config("api.test", &["http/1.1"]));
    let served = tokio::spawn(async move {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream
    });
    let mut client = world.tls(port, "api.test", &world.authority(), &[]).await.unwrap();
    let token = if value_in_handshake { format!("Authorization: Bearer {placeholder}\r\n") } else { String::new() };
    let head = format!(
        "GET /stream HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{token}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, read_head(&mut client)).await.unwrap().starts_with("HTTP/1.1 101"));
    (world, client.into(), served.await.unwrap().into(), placeholder)
}

/// One frame of any length: its first byte, and what it carries.
async fn read_any(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let reading = async {
        let flags = stream.read_u8().await.ok()?;
        let length = match stream.read_u8().await.ok()? & 0x7f {
            126 => u64::from(stream.read_u16().await.ok()?),
            127 => stream.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        Some((flags, payload))
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

/// A message, of however many frames; control frames between them are given apart.
async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut message, mut control) = (Vec::new(), Vec::new());
    loop {
        let (flags, payload) = read_any(stream).await.unwrap();
        if flags & 0x0f >= 8 {
            control.push(payload);
            continue;
        }
        message.extend(payload);
        if flags & 0x80 != 0 {
            return (message, control);
        }
    }
}

async fn write_long(stream: &mut (impl AsyncWrite + Unpin), flags: u8, payload: &[u8]) {
    stream.write_all(&[flags, 127]).await.unwrap();
    stream.write_all(&(payload.len() as u64).to_be_bytes()).await.unwrap();
    stream.write_all(payload).await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test]
async fn a_value_that_the_host_cuts_in_parts_is_masked_all_the_same() {
    let (_world, mut client, mut server, placeholder) = open(true).await;
    let text = format!("key={VALUE} end");
    let masked = format!("key={placeholder} end");
    for cut in 1..text.len() {
        write_part(&mut server, 0x01, &text[..cut], false).await;
        write_part(&mut server, 0x89, "ping", false).await;
        write_part(&mut server, 0x80, &text[cut..], false).await;
        let (message, control) = read_message(&mut client).await;
        assert_eq!(String::from_utf8(message).unwrap(), masked, "cut at {cut}");
        assert_eq!(control, [b"ping".to_vec()]);
    }
    // One byte a frame, and a frame of megabytes, in which it stands where the gate cuts.
    for (at, byte) in text.bytes().enumerate() {
        let flags = u8::from(at == 0) | if at + 1 == text.len() { 0x80 } else { 0 };
        write_part(&mut server, flags, std::str::from_utf8(&[byte]).unwrap(), false).await;
    }
    assert_eq!(read_message(&mut client).await.0, masked.as_bytes());
    for before in (64 << 10) - VALUE.len()..=64 << 10 {
        let long = format!("{}{VALUE}{}", "x".repeat(before), "y".repeat(100));
        write_long(&mut server, 0x81, long.as_bytes()).await;
        assert_eq!(read_message(&mut client).await.0, long.replace(VALUE, &placeholder).as_bytes(), "{before}");
    }
    let long = "z".repeat(9 << 20);
    let (written, read) = tokio::join!(write_long(&mut server, 0x81, long.as_bytes()), read_message(&mut client));
    assert_eq!(((), read.0.len()), (written, long.len()));
    // MessagePack says how long its texts are: what stands in is as long.
    let packed = [&[0x81, 0xa3][..], b"key", &[0xa0 | u8::try_from(VALUE.len()).unwrap()], VALUE.as_bytes()].concat();
    write_long(&mut server, 0x82, &packed).await;
    let (message, _) = read_message(&mut client).await;
    assert_eq!((message.len(), &message[..6]), (packed.len(), &packed[..6]));
    assert!(!message.ends_with(VALUE.as_bytes()) && placeholder.as_bytes().starts_with(&message[6..]), "{message:?}");
    // A close, whose reason is a text too.
    write_part(&mut server, 0x88, &format!("\u{3}{VALUE}"), false).await;
    let (_, close) = read_any(&mut client).await.unwrap();
    assert!(!String::from_utf8_lossy(&close).contains(VALUE));
}

#[tokio::test]
async fn what_the_host_was_told_is_masked_after_a_rotation_too() {
    let (world, mut client, mut server, placeholder) = open(true).await;
    world.secret("TOKEN", "another-value-of-the-token", None, true).await;
    for value in [VALUE, "another-value-of-the-token"] {
        write_part(&mut server, 0x81, &format!("key={value}"), false).await;
        assert_eq!(read_message(&mut client).await.0, format!("key={placeholder}").as_bytes());
    }
}

#[tokio::test]
async fn a_secret_that_is_revoked_ends_the_websocket_that_it_opened_and_says_so() {
    for in_handshake in [true, false] {
        let (mut world, mut client, mut server, placeholder) = open(in_handshake).await;
        write_frame(
            &mut client,
            &format!("{{\"key\":\"{}\"}}", if in_handshake { "none" } else { &placeholder }),
            true,
        )
        .await;
        assert!(read_frame(&mut server).await.unwrap().contains(if in_handshake { "none" } else { VALUE }));
        world
            .gateway
            .call(ringfence_model::net::control::GateOp::RemoveSecret {
                project: Project::default(),
                name: "TOKEN".into(),
            })
            .await
            .unwrap();
        let (flags, close) = read_any(&mut client).await.unwrap();
        assert_eq!((flags, &close[..2]), (0x88, &1008_u16.to_be_bytes()[..]));
        assert!(String::from_utf8_lossy(&close[2..]).contains("TOKEN"), "{close:?}");
        assert_eq!(world.denied().1, "policy_changed");
        let ended = tokio::time::timeout(PATIENCE, server.read(&mut [0])).await.unwrap();
        assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    }
    // One that it did not open goes on: the policy allows the host.
    let (mut world, mut client, mut server, _) = open(false).await;
    world
        .gateway
        .call(ringfence_model::net::control::GateOp::RemoveSecret { project: Project::default(), name: "TOKEN".into() })
        .await
        .unwrap();
    write_part(&mut server, 0x81, "still here", false).await;
    assert_eq!(read_message(&mut client).await.0, b"still here");
    assert!(world.denials().is_empty());
}

#[tokio::test]
async fn a_placeholder_in_parts_around_a_ping_is_found() {
    let (mut world, mut client, mut server, placeholder) = open(false).await;
    write_frame(&mut client, "{}", true).await;
    write_part(&mut client, 0x01, &placeholder[..9], true).await;
    write_part(&mut client, 0x89, "ping", true).await;
    write_part(&mut client, 0x80, &placeholder[9..], true).await;
    let (_, close) = read_any(&mut client).await.unwrap();
    assert_eq!(close[..2], 1008_u16.to_be_bytes());
    assert_eq!(world.denied().1, "placeholder_misplaced");
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, server.read_to_end(&mut heard)).await.unwrap();
}
