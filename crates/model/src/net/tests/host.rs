use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::host;
use crate::net::*;

#[track_caller]
fn check(text: &str, canonical: &str) {
    assert_eq!(HostName::parse(text).as_ref().map(HostName::as_str), Ok(canonical), "{text:?}");
}

#[track_caller]
fn refused(text: &str) -> HostFault {
    HostName::parse(text).expect_err(text).why
}

#[test]
fn a_name_has_one_spelling() {
    check("example.com", "example.com");
    check("EXAMPLE.Com.", "example.com");
    check("bücher.example", "xn--bcher-kva.example");
    check("BÜCHER.example", "xn--bcher-kva.example");
    check("XN--BCHER-KVA.example", "xn--bcher-kva.example");
    check("example。com", "example.com");
    check("ｅｘａｍｐｌｅ.com", "example.com");
    check("localhost", "localhost");
    check("_dmarc.my_bucket.example.com", "_dmarc.my_bucket.example.com");
    check("r3---sn-4g5e.example.com", "r3---sn-4g5e.example.com");
    check("someone-.example.com", "someone-.example.com");
    check("1.0.0.127.in-addr.arpa", "1.0.0.127.in-addr.arpa");
    check("127.0.0.1.example.com", "127.0.0.1.example.com");
    check("0xcafe.example", "0xcafe.example");
}

#[test]
fn what_is_no_name_is_refused() {
    for (text, fault) in [
        ("", HostFault::Empty),
        (".", HostFault::Empty),
        (".example.com", HostFault::Empty),
        ("example..com", HostFault::Empty),
        ("example.com..", HostFault::Empty),
        ("example.com\0", HostFault::Character('\0')),
        ("example.com\r\nX: y", HostFault::Character('\r')),
        ("example.com\n", HostFault::Character('\n')),
        ("user@example.com", HostFault::Character('@')),
        ("example%2ecom", HostFault::Character('%')),
        ("exa mple.com", HostFault::Character(' ')),
        ("example.com/path", HostFault::Character('/')),
        ("example.com:443", HostFault::Character(':')),
        ("example\\.com", HostFault::Character('\\')),
        ("*.example.com", HostFault::Character('*')),
        ("-rf.example.com", HostFault::Label),
        ("a.-b.com", HostFault::Label),
        ("example.co_m", HostFault::Label),
        ("xn--zzzzzzzzzzzz.example", HostFault::Idna),
        ("xn--a-.example", HostFault::Idna),
        ("℀.example", HostFault::Idna),
        ("a\u{202e}b.example", HostFault::Idna),
    ] {
        assert_eq!(refused(text), fault, "{text:?}");
    }
    assert_eq!(refused(&"a".repeat(64)), HostFault::TooLong);
    assert_eq!(refused(&vec!["a".repeat(49); 6].join(".")), HostFault::TooLong);
    assert_eq!(refused(&"é.".repeat(100_000)), HostFault::TooLong);
    check(&"a".repeat(63), &"a".repeat(63));
    let longest = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
    assert_eq!(longest.len(), HOST_BYTES_MAX);
    check(&format!("{longest}."), &longest);
    assert_eq!(refused(&format!("{longest}d")), HostFault::TooLong);
}

/// Threat D59.
#[test]
fn spellings_of_addresses_are_no_names() {
    for text in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0",
        "0.0.0.0",
        "017700000001",
        "0177.0.0.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "0x7f.1",
        "0x",
        "127.0.0.0x1",
        "1.2.3.4.5",
        "example.127",
        "999.999.999.999",
        "１２７.0.0.1",
        "①②⑦.0.0.①",
        "127。0。0。1",
        "[::1]",
        "::1",
        "[::ffff:127.0.0.1]",
        "::ffff:7f00:1",
        "64:ff9b::7f00:1",
        "fe80::1%eth0",
        "[fe80::1%25eth0]",
        "0:0:0:0:0:0:0:1",
        "[127.0.0.1]",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
    ] {
        assert!(HostName::parse(text).is_err(), "{text}");
        assert!(HostPattern::parse(text).is_err(), "{text}");
        assert!(HostPattern::parse(&format!("*.{text}")).is_err(), "*.{text}");
        if let Ok(destination) = Destination::parse(text) {
            assert!(matches!(destination, Destination::Address(a) if is_reachable(a).is_err()), "{text}");
        }
    }
}

#[test]
fn a_password_before_the_name_is_not_repeated() {
    let error = HostName::parse("user:hunter2@example.com").expect_err("it has a user").to_string();
    assert!(!error.contains("hunter2") && error.contains("example.com"), "{error}");
    let error = HostPattern::parse("user:hunter2@example.com").expect_err("it has a user").to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn the_wire_is_ascii() {
    assert_eq!(HostName::from_wire(b"Example.COM"), Ok(host("example.com")));
    assert_eq!(HostName::from_wire("bücher.example".as_bytes()).expect_err("ü").why, HostFault::Character('ü'));
    assert!(HostName::from_wire(b"exam\xffple.com").is_err());
    let labels = |labels: &[&'static [u8]]| HostName::from_labels(labels.iter().copied());
    assert_eq!(labels(&[b"WWW", b"example", b"com"]), Ok(host("www.example.com")));
    assert!(labels(&[b"www.example", b"com"]).is_err(), "one label is not two");
    assert!(labels(&[b"www", b"", b"com"]).is_err());
    assert!(labels(&[b"www\0", b"com"]).is_err());
    assert!(labels(&[b"127", b"0", b"0", b"1"]).is_err());
    assert!(labels(&[]).is_err());
    assert!(HostName::from_labels(std::iter::repeat(&b"aaaa"[..])).is_err());
}

#[test]
fn a_destination_is_a_name_or_a_plain_address() {
    let address = |text: &str| match Destination::parse(text) {
        Ok(Destination::Address(address)) => Some(address),
        _ => None,
    };
    assert_eq!(address("192.0.2.1"), Some(IpAddr::from([192, 0, 2, 1])));
    assert_eq!(address("2001:DB8::1"), address("[2001:db8:0::1]"));
    assert!(address("2001:db8::1").is_some());
    assert_eq!(Destination::parse("Example.com.").map(|d| d.to_string()).as_deref(), Ok("example.com"));
    for text in ["192.0.2.01", "[192.0.2.1]", "[::1", "::1]", "fe80::1%1", "[fe80::1%1]", "[[::1]]", "", "[]"] {
        assert!(Destination::parse(text).is_err(), "{text}");
    }
    let json = serde_json::to_string(&Destination::parse("[::1]").expect("an address")).expect("plain");
    assert_eq!(json, "\"::1\"");
}

#[test]
fn a_wildcard_is_about_what_is_below_a_name() {
    let pattern = |text: &str| HostPattern::parse(text).expect("a pattern");
    let below = pattern("*.Example.COM.");
    assert_eq!(below.to_string(), "*.example.com");
    assert!(below.matches(&host("a.example.com")) && below.matches(&host("a.b.example.com")));
    for other in ["example.com", "badexample.com", "example.com.evil.test", "com", "a.example.org"] {
        assert!(!below.matches(&host(other)), "{other}");
    }
    let exact = pattern("example.com");
    assert!(exact.matches(&host("EXAMPLE.com.")) && !exact.matches(&host("a.example.com")));
    assert_eq!((exact.as_exact(), below.as_exact()), (Some(&host("example.com")), None));
}

#[test]
fn patterns_that_allow_too_much_are_refused_with_what_to_write() {
    for (text, fault) in [
        ("*", PatternFault::Everything),
        ("*.", PatternFault::Everything),
        ("*.*", PatternFault::Everything),
        ("**", PatternFault::Everything),
        ("*.com", PatternFault::PublicSuffix),
        ("*.COM.", PatternFault::PublicSuffix),
        ("*.co.uk", PatternFault::PublicSuffix),
        ("*.com.au", PatternFault::PublicSuffix),
        ("*.*.example.com", PatternFault::Star),
        ("api-*.example.com", PatternFault::Star),
        ("a.*.example.com", PatternFault::Star),
        ("example.*", PatternFault::Star),
        ("*example.com", PatternFault::Star),
        ("https://example.com", PatternFault::Host(HostFault::Character(':'))),
        ("example.com:443", PatternFault::Host(HostFault::Character(':'))),
    ] {
        let error = HostPattern::parse(text).expect_err(text);
        assert_eq!(error.why, fault, "{text}");
    }
    let sentence = HostPattern::parse("*.com").expect_err("too wide").to_string();
    assert!(sentence.contains("such as `*.example.com`"), "{sentence}");
}

/// Texts near to names and addresses: what a blind generator would hardly find.
fn near_names() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z0-9_-]{0,5}",
        "0[xX][0-9a-fA-F]{0,8}",
        "[0-9]{1,11}",
        "xn--[a-z0-9-]{0,8}",
        "[ßéü①１a。．\u{ad}\u{200d}]{0,3}",
        "[\\[\\]@%:/\\\\ \0\r\n*]{1,2}",
        Just("..".to_owned()),
    ];
    prop::collection::vec(part, 0..6).prop_flat_map(|parts| {
        prop_oneof![Just(parts.join(".")), Just(parts.concat()), Just(format!("{}.", parts.join(".")))]
    })
}

/// What `inet_aton(3)` reads, written from its manual page: one to four numbers in C's notations.
fn inet_aton(text: &str) -> Option<u32> {
    let number = |part: &str| match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u64::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    };
    let parts = text.split('.').map(number).collect::<Option<Vec<u64>>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|n| *n > 255) || *last >= 1 << (8 * (4 - first.len())) {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).map(|(n, shift)| n << shift).sum::<u64>();
    u32::try_from(high | last).ok()
}

fn spelled(address: u32) -> impl Strategy<Value = String> {
    let part = |n: u32| {
        prop_oneof![Just(format!("{n}")), Just(format!("0{n:o}")), Just(format!("0x{n:x}")), Just(format!("0X{n:X}"))]
    };
    let [a, b, c, d] = address.to_be_bytes().map(u32::from);
    prop_oneof![
        (part(a), part(b), part(c), part(d)).prop_map(|(a, b, c, d)| format!("{a}.{b}.{c}.{d}")),
        (part(a), part(b), part(address & 0xffff)).prop_map(|(a, b, c)| format!("{a}.{b}.{c}")),
        (part(a), part(address & 0xff_ffff)).prop_map(|(a, b)| format!("{a}.{b}")),
        part(address),
    ]
}

proptest! {
    #[test]
    fn canonical_form_is_idempotent(text in prop_oneof![near_names(), ".{0,40}"]) {
        if let Ok(name) = HostName::parse(&text) {
            prop_assert_eq!(HostName::parse(name.as_str()), Ok(name.clone()));
            prop_assert_eq!(HostName::from_wire(name.as_str().as_bytes()), Ok(name.clone()));
            let labels = name.as_str().split('.').map(str::as_bytes);
            prop_assert_eq!(HostName::from_labels(labels), Ok(name.clone()));
            prop_assert!(name.as_str().len() <= HOST_BYTES_MAX && !name.as_str().ends_with('.'));
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
            prop_assert!(name.as_str().bytes().all(plain) && !name.as_str().starts_with('-'));
            prop_assert_eq!(inet_aton(name.as_str()), None);
            prop_assert!(name.as_str().parse::<IpAddr>().is_err());
            let json = serde_json::to_string(&name).expect("a text");
            prop_assert_eq!(serde_json::from_str::<HostName>(&json).ok(), Some(name));
        }
        if let Ok(pattern) = HostPattern::parse(&text) {
            prop_assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern));
        }
        if let Ok(destination) = Destination::parse(&text) {
            prop_assert_eq!(Destination::parse(&destination.to_string()), Ok(destination));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = HostName::from_wire(&bytes);
        let _ = HostName::from_labels(bytes.split(|b| *b < 32));
        let text = String::from_utf8_lossy(&bytes);
        let _ = HostName::parse(&text);
        let _ = HostPattern::parse(&text);
        let _ = Destination::parse(&text);
    }

    #[test]
    fn no_spelling_of_an_ipv4_address_is_a_name(
        (address, text) in any::<u32>().prop_flat_map(|address| (Just(address), spelled(address))),
        dot in any::<bool>(),
    ) {
        prop_assert_eq!(inet_aton(&text), Some(address), "the generator spells addresses");
        let text = if dot { format!("{text}.") } else { text };
        prop_assert!(HostName::parse(&text).is_err());
        prop_assert!(HostPattern::parse(&text).is_err());
        if let Ok(destination) = Destination::parse(&text) {
            prop_assert_eq!(destination, Destination::Address(IpAddr::V4(Ipv4Addr::from_bits(address))));
        }
    }

    #[test]
    fn no_spelling_of_an_ipv6_address_is_a_name(bits in any::<u128>(), zone in "(%[a-z0-9]{1,4})?") {
        let address = Ipv6Addr::from_bits(bits);
        let [a, b, c, d, e, f, g, h] = address.segments();
        let long = format!("{a:04X}:{b:04X}:{c:04X}:{d:04X}:{e:04X}:{f:04X}:{g:04X}:{h:04X}");
        for text in [address.to_string(), long] {
            let zoned = format!("{text}{zone}");
            prop_assert!(HostName::parse(&zoned).is_err());
            let bracketed = format!("[{zoned}]");
            prop_assert!(HostName::parse(&bracketed).is_err());
        }
    }
}
