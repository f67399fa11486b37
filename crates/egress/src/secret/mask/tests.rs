use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hyper::http::HeaderMap;
use proptest::prelude::*;
use ringfence_store::SecretValue;

use super::*;
use crate::secret::{Binding, Injector, Placeholder};

const VALUE: &str = "s3cr+t/V\"lue~with=all\\kinds";
const SHOWN: &str = "abcdefghijklmnopqrstuvwxyz0";

fn injector(pairs: &[(&[u8], &str)]) -> Injector {
    let secrets = pairs.iter().enumerate().map(|(index, (value, placeholder))| BoundSecret {
        name: format!("SECRET_{index}"),
        placeholder: Placeholder::from_text(placeholder).expect("a placeholder"),
        value: Some(Arc::new(SecretValue::new(value.to_vec()))),
        binding: Binding { hosts: vec![], ports: vec![], placements: vec![], sign: None },
    });
    Injector::new(secrets.collect()).expect("a set of secrets")
}

fn one() -> Injector {
    assert_eq!(VALUE.len(), SHOWN.len());
    injector(&[(VALUE.as_bytes(), SHOWN)])
}

fn whole(injector: &Injector, text: &[u8]) -> Vec<u8> {
    injector.mask().whole(Bytes::copy_from_slice(text)).to_vec()
}

/// In pieces that end at each of `cuts`.
fn in_pieces(injector: &Injector, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut mask = injector.mask();
    let (mut out, mut from) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&text.len()]) {
        let cut = cut.clamp(from, text.len());
        out.extend_from_slice(&mask.feed(Bytes::copy_from_slice(&text[from..cut])));
        from = cut;
    }
    out.extend_from_slice(&mask.finish());
    out
}

/// `text` with `VALUE` written in some way, and the same with `SHOWN`.
fn echoes() -> Vec<(String, String)> {
    let mut echoes = Vec::new();
    let mut both = |write: &dyn Fn(&str) -> String| echoes.push((write(VALUE), write(SHOWN)));
    both(&|text| format!("before {text} after"));
    both(&|text| text.to_owned());
    both(&|text| format!("{text}{text}"));
    both(&|text| serde_json::json!({ "echo": text }).to_string());
    both(&|text| serde_json::json!({ "echo": text }).to_string().replace('/', "\\/"));
    both(&|text| {
        serde_json::json!({ "echo": text })
            .to_string()
            .replace('+', "\\u002b")
            .replace('/', "\\u002f")
            .replace('=', "\\u003d")
            .replace('~', "\\u007e")
    });
    both(&|text| format!("?a={}&b", percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)));
    both(&|text| hex::encode(text));
    both(&|text| hex::encode_upper(text));
    for before in ["", "u", "u:", "user:", "key:s"] {
        for after in ["", "!", "!!", "!!!"] {
            both(&|text| STANDARD.encode(format!("{before}{text}{after}")));
            both(&|text| format!("\"{}\"", STANDARD_NO_PAD.encode(format!("{before}{text}{after}"))));
            both(&|text| URL_SAFE_NO_PAD.encode(format!("{before}{text}{after}")));
        }
    }
    echoes
}

#[test]
fn an_echo_says_what_the_sandbox_sent() {
    for (real, shown) in echoes() {
        assert_eq!(String::from_utf8_lossy(&whole(&one(), real.as_bytes())), shown, "{real}");
    }
}

#[test]
fn an_echo_cut_anywhere_is_the_same() {
    let injector = one();
    for (real, shown) in echoes() {
        for first in 0..=real.len() {
            for second in [first, first + 1, first + 3] {
                let out = in_pieces(&injector, real.as_bytes(), &[first, second]);
                assert_eq!(String::from_utf8_lossy(&out), shown, "{real}, cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn other_lengths_leave_nothing_of_the_value() {
    let injector = injector(&[(b"0123456789abcdef0123456789abcdef!!", "PLACEHOLDERPLACEHOLDERPLACEHOLDERPLACEHOLDER")]);
    for before in ["", "u", "u:"] {
        let text = STANDARD.encode(format!("{before}0123456789abcdef0123456789abcdef!!"));
        let out = whole(&injector, text.as_bytes());
        let decoded = STANDARD.decode(&out).expect("still base64");
        assert!(decoded.starts_with(before.as_bytes()));
        assert!(!decoded.windows(3).any(|three| b"0123456789abcdef".windows(3).any(|part| part == three)));
    }
}

#[test]
fn values_that_overlap_are_all_replaced() {
    let injector = injector(&[
        (b"aaaaaaaa", "first-placeholder-0123456789"),
        (b"aaaaaaaabbbb", "second-placeholder-0123456789"),
        (b"bbbbcccccccc", "third-placeholder-0123456789"),
    ]);
    for (text, shown) in [
        ("xaaaaaaaay", "xfirst-placeholder-0123456789y"),
        ("xaaaaaaaabbbby", "xsecond-placeholder-0123456789y"),
        ("aaaaaaaabbbbccccccccz", "second-placeholder-0123456789z"),
        ("aaaaaaaaaaaaa.", "first-placeholder-0123456789."),
    ] {
        for cut in 0..text.len() {
            let out = in_pieces(&injector, text.as_bytes(), &[cut]);
            assert_eq!(String::from_utf8_lossy(&out), shown, "{text}, cut at {cut}");
        }
    }
}

#[test]
fn events_are_not_held_back() {
    let mut mask = one().mask();
    for event in ["data: {\"price\": 1}\n\n", "data: s3cr\n", "{\"a\":\"b\"}"] {
        assert_eq!(mask.feed(Bytes::from_static(event.as_bytes())), event);
    }
    assert_eq!(mask.feed(Bytes::from_static(b"abc s3cr+t")), "abc");
    assert_eq!(mask.feed(Bytes::from_static(b"!")), " s3cr+t!");
    assert_eq!(mask.finish(), "");
}

#[test]
fn headers_are_masked() {
    let injector = injector(&[(b"topsecretvalue", SHOWN)]);
    let mut headers = HeaderMap::new();
    headers.insert("location", "https://x.example/?key=topsecretvalue&a=1".parse().expect("a value"));
    headers.append("x-echo", "plain".parse().expect("a value"));
    headers.append("x-echo", STANDARD.encode("topsecretvalue").parse().expect("a value"));
    injector.mask_headers(&mut headers);
    assert_eq!(headers["location"], format!("https://x.example/?key={SHOWN}&a=1"));
    let seen: Vec<_> = headers.get_all("x-echo").iter().collect();
    assert_eq!(seen[0], "plain");
    assert_eq!(seen[1].as_bytes(), STANDARD.encode(&SHOWN[..14]).as_bytes());
}

#[test]
fn a_revoked_secret_has_no_value_to_mask() {
    let mut secrets = vec![];
    for value in [None, Some(Arc::new(SecretValue::new("topsecretvalue")))] {
        secrets.push(BoundSecret {
            name: format!("S{}", secrets.len()),
            placeholder: Placeholder::generate(crate::secret::Shape::Generic, b""),
            value,
            binding: Binding { hosts: vec![], ports: vec![], placements: vec![], sign: None },
        });
    }
    let shown = secrets[1].placeholder.as_str().to_owned();
    let injector = Injector::new(secrets).expect("a set of secrets");
    assert_eq!(whole(&injector, b"[topsecretvalue]"), format!("[{shown}]").as_bytes());
}

proptest! {
    /// Values of few letters, so that parts of them come up everywhere.
    #[test]
    fn how_it_is_cut_makes_no_difference(
        text in proptest::collection::vec(0_usize..6, 0..40),
        cuts in proptest::collection::vec(0_usize..200, 0..6),
    ) {
        let injector = injector(&[(b"ababababab", SHOWN), (b"abababacabab", "PLACEHOLDERPLACEHOLDERPLACEHOLDER")]);
        let words: [&[u8]; 6] = [b"ab", b"a", b"ababababab", b"abababacabab", b"c", b"YWJhYmFiYWJhYg"];
        let text: Vec<u8> = text.iter().flat_map(|&word| words[word].to_vec()).collect();
        let mut cuts = cuts;
        cuts.sort_unstable();
        let out = in_pieces(&injector, &text, &cuts);
        prop_assert_eq!(&out, &whole(&injector, &text));
        for value in [&b"ababababab"[..], b"abababacabab"] {
            prop_assert!(!out.windows(value.len()).any(|part| part == value));
        }
    }

    #[test]
    fn what_has_no_secret_passes_as_it_is(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        cuts in proptest::collection::vec(0_usize..300, 0..6),
    ) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert_eq!(in_pieces(&one(), &bytes, &cuts), bytes);
    }
}
