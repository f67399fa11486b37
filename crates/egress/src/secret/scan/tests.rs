use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;
use crate::secret::Shape;

const TEXT: &str = "PKX0Q7ZT3M9L2V8B4N6C1D5F7G9";

fn finder() -> Arc<Finder> {
    let other = Placeholder::generate(Shape::AlpacaSecret, b"");
    Arc::new(Finder::new([&other, &Placeholder::from_text(TEXT).expect("a placeholder")]))
}

fn every(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}

/// The placeholder as a program that means to hide it may write it.
fn disguises() -> Vec<(&'static str, Vec<u8>)> {
    let base64 = |before: &str| STANDARD.encode(format!("{before}{TEXT}and more"));
    let percent = every(TEXT, |byte| format!("%{byte:02x}"));
    vec![
        ("as it is", TEXT.into()),
        ("lower case", TEXT.to_lowercase().into()),
        ("mixed case", format!("pKx{}", &TEXT[3..]).into()),
        ("within a word", format!("x{TEXT}y").into()),
        ("percent", percent.clone().into()),
        ("percent, capitals", percent.to_uppercase().into()),
        ("percent, in part", TEXT.replace('Q', "%51").into()),
        ("percent twice", percent.replace('%', "%25").into()),
        ("base64 at 0", base64("").into()),
        ("base64 at 1", base64("u").into()),
        ("base64 at 2", base64("u:").into()),
        ("base64, wrapped", base64("user:").as_bytes().chunks(20).collect::<Vec<_>>().join(&b"\r\n"[..])),
        ("base64 of lower case", STANDARD.encode(TEXT.to_lowercase()).into()),
        ("base64, URL alphabet", URL_SAFE.encode(format!("?{TEXT}?")).into()),
        ("base64, percent", base64("u").replace('=', "%3D").replace('A', "%41").into()),
        ("hexadecimal", hex::encode(TEXT).into()),
        ("hexadecimal, capitals", hex::encode_upper(TEXT).into()),
        ("JSON escapes", every(TEXT, |byte| format!("\\u{byte:04x}")).into()),
        ("JSON escapes, in part", TEXT.replace('Q', "\\u0051").into()),
        ("source escapes", every(TEXT, |byte| format!("\\x{byte:02X}")).into()),
        ("JSON in a form", every(TEXT, |byte| format!("%5Cu{byte:04x}")).into()),
        ("a form in JSON", every(TEXT, |byte| format!("\\u0025{byte:02x}")).into()),
        ("UTF-16", TEXT.bytes().flat_map(|byte| [byte, 0]).collect()),
        ("multipart", format!("--b\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n{TEXT}\r\n--b--\r\n").into()),
    ]
}

#[test]
fn every_disguise_is_found_and_split_anywhere() {
    let finder = finder();
    for (what, text) in disguises() {
        for cut in 0..=text.len() {
            let mut search = Search::new(Arc::clone(&finder));
            search.feed(b"{\"before\": \"");
            search.feed(&text[..cut]);
            search.feed(&text[cut..]);
            search.feed(b"\"}");
            assert_eq!(search.found(), Some(1), "{what}, cut at {cut}");
        }
    }
}

#[test]
fn byte_by_byte_is_found_too() {
    let finder = finder();
    for (what, text) in disguises() {
        let mut search = Search::new(Arc::clone(&finder));
        for byte in text {
            search.feed(&[byte]);
        }
        assert_eq!(search.found(), Some(1), "{what}");
    }
}

#[test]
fn broken_escapes_before_it_hide_nothing() {
    let finder = finder();
    for before in ["%", "%%", "%4", "%4%", "%%4", "\\", "\\u", "\\u00", "\\x4", "\\u\\", "\\\\", "%5c"] {
        for after in [TEXT.to_owned(), every(TEXT, |byte| format!("%{byte:02x}"))] {
            assert_eq!(finder.find(format!("{before}{after}").as_bytes()), Some(1), "{before}");
        }
    }
}

#[test]
fn all_but_its_last_character_is_not_found() {
    let finder = finder();
    let most = &TEXT[..TEXT.len() - 1];
    for text in [most.to_owned(), every(most, |byte| format!("%{byte:02x}")), hex::encode(most)] {
        assert_eq!(finder.find(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_scanner_names_the_secret_ever_after() {
    let names: Arc<[String]> = ["other".to_owned(), "KEY".to_owned()].into();
    let mut scanner = Scanner::new(finder(), names);
    assert_eq!(scanner.feed(b"nothing"), None);
    assert_eq!(scanner.feed(TEXT.as_bytes()), Some("KEY"));
    assert_eq!(scanner.feed(b"nothing"), Some("KEY"));
    assert!(!format!("{scanner:?}").contains(TEXT));
}

proptest! {
    #[test]
    fn nothing_is_found_in_anything_else(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(finder().find(&bytes), None);
    }

    #[test]
    fn escapes_that_mean_nothing_are_survived(text in "[%\\\\ux0-9a-f]{0,200}") {
        prop_assert_eq!(finder().find(text.as_bytes()), None);
    }

    #[test]
    fn it_is_found_after_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let text = [&bytes[..], TEXT.as_bytes()].concat();
        prop_assert_eq!(finder().find(&text), Some(1));
    }
}
