use proptest::prelude::*;
use rustls::server::Acceptor;

use super::*;
use crate::fuzz::fuzz_hello;
use crate::tls::hello::{ClientHello, HELLO_BYTES_MAX, HelloError, Progress, parse};

fn whole(bytes: &[u8]) -> ClientHello {
    match parse(bytes) {
        Ok(Progress::Whole(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn real_clients_are_understood() {
    #[track_caller]
    fn check(name: &str, server_name: Option<&str>, alpn: &[&str], versions: &[u16], ech: bool) {
        let hello = whole(&seed(name));
        assert_eq!(hello.server_name.as_deref(), server_name, "{name}");
        assert_eq!(hello.alpn, alpn.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>(), "{name}");
        assert_eq!(hello.versions, versions, "{name}");
        assert_eq!(hello.ech, ech, "{name}");
        assert!(hello.is_modern(), "{name}");
    }
    let both = &["h2", "http/1.1"];
    check("curl-https", Some("pypi.org"), both, &[0x0304, 0x0303, 0x0302, 0x0301], false);
    check("curl-https-in-four-records", Some("pypi.org"), both, &[0x0304, 0x0303, 0x0302, 0x0301], false);
    check("ech-outer", Some("pypi.org"), both, &[0x0304, 0x0303, 0x0302, 0x0301], true);
    check("node-tls", Some("registry.npmjs.org"), both, &[0x0304, 0x0303], false);
    check("python-ssl", Some("stream.data.alpaca.markets"), &["http/1.1"], &[0x0304, 0x0303], false);
    check("openssl-tls12", Some("paper-api.alpaca.markets"), &[], &[0x0303], false);
    check("openssl-no-name", None, &[], &[0x0304, 0x0303, 0x0302, 0x0301], false);
}

#[test]
fn names_that_are_none_are_refused() {
    #[track_caller]
    fn check(name: &[u8]) {
        match parse(&hello_with(&[(0, server_names(&[name]))])) {
            Err(HelloError::BadName(_)) => {}
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(name)),
        }
    }
    assert_eq!(whole(&hello_with(&[(0, server_names(&[b"Example.COM"]))])).server_name.as_deref(), Some("Example.COM"));
    check(b"");
    check(b".");
    check(b"example.com\0");
    check(b"example.com\0.evil.com");
    check(b"example.com.");
    check(b"exa mple.com");
    check(b"example.com/");
    check(b"example..com");
    check(b"192.0.2.1");
    check(b"::1");
    check("ex\u{e4}mple.com".as_bytes());
    check(b"\xff\xfe");
    check(&[b'a'; 64]);
    check([b"a.".repeat(127), b"com".to_vec()].concat().as_slice());
}

#[test]
fn a_hello_with_two_meanings_is_refused() {
    #[track_caller]
    fn check(bytes: &[u8], expected: HelloError) {
        assert_eq!(parse(bytes), Err(expected));
    }
    let name = server_names(&[b"a.example"]);
    check(
        &hello_with(&[(0, name.clone()), (16, vec![0, 3, 2, b'h', b'2']), (0, name.clone())]),
        HelloError::Repeated(0),
    );
    check(
        &hello_with(&[(0, server_names(&[b"a.example", b"b.example"]))]),
        HelloError::Malformed("something follows where it should end"),
    );
    let mut twice = hello_with(&[(0, name)]);
    let again = twice.split_off(5);
    check(
        &records(&[again.clone(), again].concat(), &[]),
        HelloError::Malformed("something follows it in the same record"),
    );
}

#[test]
fn what_cannot_become_a_hello_is_refused_at_once() {
    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Progress, HelloError>) {
        assert_eq!(parse(bytes), expected, "{bytes:02x?}");
    }
    check(&[22, 3, 1, 0, 0], Err(HelloError::Record("it is empty")));
    check(&[22, 3, 1, 0x40, 1], Err(HelloError::Record("it is longer than 16 KiB")));
    check(&[22, 2], Err(HelloError::Record("its version is not of TLS")));
    check(&[22, 3, 1, 0, 1, 2], Err(HelloError::NotAHello(2)));
    check(&[22, 3, 1, 0, 4, 1, 0, 0x3f, 0xff], Err(HelloError::TooLong));
    check(&[22, 3, 1, 0, 4, 1, 0, 0x3f, 0xf0], Ok(Progress::More));
    check(&[22, 3, 1, 0, 2, 1, 0, 23, 3, 3], Err(HelloError::Record("it is no handshake record")));
    // A record that promises more than the message has, seen before the rest comes.
    check(&[22, 3, 1, 0, 9, 1, 0, 0, 0], Err(HelloError::Malformed("something follows it in the same record")));
    // Records of one byte fill the bound before the message is whole.
    let message = [&[1, 0, 0x3f, 0x00][..], &[0; 0x3f00]].concat();
    let cuts: Vec<usize> = (0..message.len()).collect();
    check(&records(&message, &cuts)[..HELLO_BYTES_MAX], Err(HelloError::TooLong));
}

#[test]
fn a_hello_without_modern_versions_is_seen() {
    let versions = |list: &[u8]| whole(&hello_with(&[(43, [&[list.len() as u8], list].concat())]));
    assert!(!versions(&[3, 2, 3, 1]).is_modern());
    let greased = versions(&[0x7a, 0x7a, 3, 4]);
    assert_eq!((greased.versions.as_slice(), greased.is_modern()), (&[0x0304][..], true));
}

#[test]
fn seeds_do_not_upset_the_fuzz_target() {
    for (_, bytes) in seeds() {
        fuzz_hello(&bytes);
    }
}

/// What rustls reads of a hello: its name and protocols.
fn rustls_reads(bytes: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let alpn = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
            return Some((hello.server_name().map(str::to_owned), alpn));
        }
    }
    None
}

fn agrees_with_rustls(bytes: &[u8]) -> bool {
    match (parse(bytes), rustls_reads(bytes)) {
        (Ok(Progress::Whole(ours)), Some((name, alpn))) => {
            assert_eq!(
                ours.server_name.map(|name| name.to_ascii_lowercase()),
                name.map(|name| name.to_ascii_lowercase())
            );
            assert_eq!(ours.alpn, alpn);
            true
        }
        _ => false,
    }
}

#[test]
fn seeds_are_read_as_rustls_reads_them() {
    let agreed = seeds().iter().filter(|(_, bytes)| agrees_with_rustls(bytes)).count();
    assert!(agreed >= 8, "{agreed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_hello(&bytes);
        fuzz_hello(&[&[22, 3, 1][..], &bytes].concat());
        if let Ok(length) = u8::try_from(bytes.len()) {
            fuzz_hello(&[&[22, 3, 1, 0, length.saturating_add(4), 1, 0, 0, length][..], &bytes].concat());
        }
    }

    #[test]
    fn a_changed_hello_is_read_as_rustls_reads_it_or_not_at_all(
        which in 0_usize..64,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let seeds = seeds();
        let mut bytes = seeds[which % seeds.len()].1.clone();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        agrees_with_rustls(&bytes);
        fuzz_hello(&bytes);
    }

    #[test]
    fn records_may_be_cut_anywhere(cuts in proptest::collection::vec(1_usize..2000, 0..40)) {
        let bytes = seed("curl-https");
        let cut = records(&bytes[5..], &cuts);
        prop_assert_eq!(whole(&cut), whole(&bytes));
        // And no prefix says anything else.
        for end in 0..cut.len() {
            prop_assert_eq!(parse(&cut[..end]), Ok(Progress::More));
        }
    }
}
