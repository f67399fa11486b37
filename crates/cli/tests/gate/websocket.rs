//! A server of websockets that says what Alpaca's streams say, as far as clients need it to believe that they are connected
//! (RFC 6455; contracts/alpaca.md).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::server::TlsStream;

/// `[{"T":"success","msg":"connected"}]` in msgpack, and the same with `authenticated`.
const CONNECTED: &[u8] = b"\x91\x82\xa1T\xa7success\xa3msg\xa9connected";
const AUTHENTICATED: &[u8] = b"\x91\x82\xa1T\xa7success\xa3msg\xadauthenticated";

/// Until the client hangs up. `said` is given its first message.
pub(crate) async fn converse(mut stream: TlsStream<TcpStream>, said: mpsc::UnboundedSender<Vec<u8>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    let Some(key) = key else { return };
    let accept = STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    if stream.write_all(answer.as_bytes()).await.is_err() || say(&mut stream, CONNECTED).await.is_none() {
        return;
    }
    let Some(first) = hear(&mut stream).await else { return };
    let _ = said.send(first);
    if say(&mut stream, AUTHENTICATED).await.is_some() {
        while hear(&mut stream).await.is_some() {}
    }
}

/// A binary message.
async fn say(stream: &mut TlsStream<TcpStream>, message: &[u8]) -> Option<()> {
    let length = u8::try_from(message.len()).ok().filter(|length| *length < 126)?;
    stream.write_all(&[&[0x82, length], message].concat()).await.ok()?;
    stream.flush().await.ok()
}

/// The next message that is no ping; `None` at the end.
async fn hear(stream: &mut TlsStream<TcpStream>) -> Option<Vec<u8>> {
    loop {
        let (first, second) = (stream.read_u8().await.ok()?, stream.read_u8().await.ok()?);
        let length = match second & 0x7f {
            126 => usize::from(stream.read_u16().await.ok()?),
            length => usize::from(length),
        };
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await.ok()?;
        let mut message = vec![0; length];
        stream.read_exact(&mut message).await.ok()?;
        message.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match first & 0x0f {
            1 | 2 => return Some(message),
            8 => return None,
            _ => {}
        }
    }
}
