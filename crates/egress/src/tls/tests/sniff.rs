use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::tls::prefixed::Prefixed;
use crate::tls::sniff::{Kind, classify, sniff, sniff_within};

#[test]
fn the_first_bytes_tell_the_protocol() {
    #[track_caller]
    fn check(bytes: &[u8], expected: Option<Kind>) {
        assert_eq!(classify(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
    }
    check(b"", None);
    check(b"GET / HTTP/1.1\r\n", Some(Kind::Http1));
    check(b"GET / HTTP/1.1\n", Some(Kind::Http1));
    check(b"GET / HTTP/1.1", None);
    check(b"M-SEARCH * HTTP/1.0\r\nHost: a\r\n", Some(Kind::Http1));
    check(b"CONNECT a.example:443 HTTP/1.1\r\n", Some(Kind::Http1));
    check(b"GET / HTTP/2.0\r\n", Some(Kind::Other));
    check(b"GET /\r\n", Some(Kind::Other));
    check(b"USER me\r\n", Some(Kind::Other));
    check(b"GE", None);
    check(b"\r\nGET / HTTP/1.1\r\n", Some(Kind::Other));
    check(b"SSH-2.0-OpenSSH_9.2\r\n", Some(Kind::Other));
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Kind::Http2));
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n", None);
    check(b"PRI * HTTP/2.0\r\n\r\nsm", Some(Kind::Other));
    check(b"PRI /x HTTP/1.1\r\n", Some(Kind::Http1));
    check(&[0x16], None);
    check(&[0x16, 9], Some(Kind::Other));
    check(&[0x80, 0x2e, 1, 0, 2], Some(Kind::Other));
    check(&[b'A'; 33], Some(Kind::Other));
    check(&[b"GET /".to_vec(), vec![b'a'; 16 * 1024]].concat(), Some(Kind::Http1));
    check(&seed("curl-http1"), Some(Kind::Http1));
    check(&seed("curl-http2-prior-knowledge"), Some(Kind::Http2));
}

#[tokio::test]
async fn whoever_comes_next_reads_from_the_beginning() {
    let (mut client, server) = tokio::io::duplex(4096);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    let mut sniffed = sniff(server).await.unwrap();
    assert_eq!(sniffed.kind, Kind::Http1);
    client.write_all(b"body").await.unwrap();
    drop(client);
    let mut all = Vec::new();
    sniffed.stream.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\nbody");
    assert!(sniffed.stream.prefix().is_empty());
}

#[tokio::test]
async fn a_prefix_is_read_in_pieces_of_any_size_and_writes_go_through() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut stream = Prefixed::new(&b"abcde"[..], server);
    let mut three = [0; 3];
    stream.read_exact(&mut three).await.unwrap();
    assert_eq!((&three, stream.prefix().as_ref()), (b"abc", &b"de"[..]));
    stream.write_all(b"out").await.unwrap();
    client.read_exact(&mut three).await.unwrap();
    assert_eq!(&three, b"out");
    client.write_all(b"f").await.unwrap();
    stream.read_exact(&mut three).await.unwrap();
    assert_eq!(&three, b"def");
}

#[tokio::test]
async fn a_client_that_says_too_little_is_told_apart() {
    let short = Duration::from_millis(30);
    let (client, server) = tokio::io::duplex(64);
    assert_eq!(sniff_within(server, short).await.unwrap().kind, Kind::Silent);
    drop(client);

    let (mut client, server) = tokio::io::duplex(64);
    client.write_all(&[22, 3, 1, 0]).await.unwrap();
    let sniffed = sniff_within(server, short).await.unwrap();
    assert_eq!((sniffed.kind, sniffed.stream.prefix().as_ref()), (Kind::Unfinished, &[22, 3, 1, 0][..]));

    let (client, server) = tokio::io::duplex(64);
    drop(client);
    assert_eq!(sniff(server).await.unwrap().kind, Kind::Closed);
}

#[tokio::test]
async fn a_hello_that_never_ends_is_read_to_the_bound_and_no_further() {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    // Records of one byte each, of a message that claims to be shorter than the bound.
    let message = [&[1, 0, 0x3f, 0][..], &[0; 0x3f00]].concat();
    let cuts: Vec<usize> = (0..message.len()).collect();
    client.write_all(&records(&message, &cuts)[..40_000]).await.unwrap();
    let sniffed = sniff(server).await.unwrap();
    assert!(matches!(sniffed.kind, Kind::BadTls(_)), "{:?}", sniffed.kind);
    assert_eq!(sniffed.stream.prefix().len(), 16 * 1024);
}
