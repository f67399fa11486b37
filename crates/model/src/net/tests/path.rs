use proptest::prelude::*;

use crate::net::*;

#[track_caller]
fn check(pattern: &str, yes: &[&str], no: &[&str]) {
    let matches = |path: &str| {
        let path = CanonicalPath::parse(path).expect("a path with one reading");
        PathPattern::parse(pattern).expect("a pattern").matches(&path)
    };
    for path in yes {
        assert!(matches(path), "{pattern} {path}");
    }
    for path in no {
        assert!(!matches(path), "{pattern} {path}");
    }
}

#[test]
fn stars_stay_within_their_segment() {
    check("/", &["/", "/?a=b"], &["/a"]);
    check(
        "/v2/orders",
        &["/v2/orders", "/v2/orders?x=/y", "/v2/%6frders"],
        &["/v2/orders/", "/v2/order", "/V2/orders"],
    );
    check("/v2/*", &["/v2/orders"], &["/v2", "/v2/", "/v2/orders/7", "/v2/orders/"]);
    check("/v2/*/bars", &["/v2/AAPL/bars"], &["/v2/bars", "/v2/a/b/bars"]);
    check("/v2/**", &["/v2/", "/v2/a", "/v2/a/b/", "/v2/a/b"], &["/v2", "/v20/a", "/v1/a"]);
    check("/**", &["/", "/a/b/c"], &[]);
    check("/orders:*", &["/orders:", "/orders:by_client_order_id"], &["/orders"]);
    check("/a*b*c", &["/abc", "/axbxc", "/abbcc", "/abcbc"], &["/ab", "/acb", "/abcx", "/xabc"]);
    check("/ab*ba", &["/abba", "/abxba"], &["/aba"]);
    check("/a b/é", &["/a%20b/%C3%A9"], &["/a+b/%C3%A9"]);
    check("/100%25"[..4].as_ref(), &["/100"], &["/100%25"]);
}

#[test]
fn a_path_with_two_readings_is_refused() {
    for (path, fault) in [
        ("", PathFault::NotAbsolute),
        ("*", PathFault::NotAbsolute),
        ("a/b", PathFault::NotAbsolute),
        ("http://example.com/a", PathFault::NotAbsolute),
        ("/a%2fb", PathFault::EncodedSlash),
        ("/a%2Fb", PathFault::EncodedSlash),
        ("/a%5Cb", PathFault::EncodedSlash),
        ("/a\\b", PathFault::Character),
        ("/a%00", PathFault::Character),
        ("/a%0d%0aX:y", PathFault::Character),
        ("/a\r\nX: y", PathFault::Character),
        ("/a b", PathFault::Character),
        ("/a#b", PathFault::Character),
        ("/é", PathFault::Character),
        ("/a/../b", PathFault::DotSegment),
        ("/a/..", PathFault::DotSegment),
        ("/./a", PathFault::DotSegment),
        ("/a/%2e%2e/b", PathFault::DotSegment),
        ("/a/.%2E/b", PathFault::DotSegment),
        ("/a/..;x=1/b", PathFault::DotSegment),
        ("/a/..%3b/b", PathFault::DotSegment),
        ("//a", PathFault::EmptySegment),
        ("/a//b", PathFault::EmptySegment),
        ("/a//", PathFault::EmptySegment),
        ("/a%252e", PathFault::EncodedTwice),
        ("/%25%32%65", PathFault::EncodedTwice),
        ("/%252f", PathFault::EncodedTwice),
        ("/a%", PathFault::BadEncoding),
        ("/a%2", PathFault::BadEncoding),
        ("/a%zz", PathFault::BadEncoding),
        ("/a%u002f", PathFault::BadEncoding),
        ("/%c0%af", PathFault::NotUtf8),
        ("/%ff", PathFault::NotUtf8),
    ] {
        assert_eq!(CanonicalPath::parse(path), Err(fault), "{path}");
    }
    assert_eq!(CanonicalPath::parse(&format!("/{}", "a".repeat(PATH_BYTES_MAX))), Err(PathFault::TooLong));
    for path in ["/...", "/a.b", "/.hidden", "/100%25", "/a/?b=../..", "/a;x=1/b"] {
        assert!(CanonicalPath::parse(path).is_ok(), "{path}");
    }
}

#[test]
fn a_pattern_that_matches_nothing_or_is_misread_is_refused() {
    let long = format!("/{}", "a".repeat(PATTERN_BYTES_MAX));
    for text in [
        "", "v2", "*", "**", "/v2/**/x", "/v2/a**", "/v2/***", "/a%20b", "/a?b=c", "/a#b", "/a//b", "/a/../b", "/.",
        "/a\\b", "/a\n", &long,
    ] {
        assert!(PathPattern::parse(text).is_err(), "{text:?}");
    }
}

/// The plain meaning of a segment's pattern, by trying everything.
fn slow(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|cut| slow(rest, &text[cut..])),
        Some((c, rest)) => text.first() == Some(c) && slow(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn a_segment_matches_as_its_plain_meaning_says(pattern in "[ab]{0,2}(\\*[ab]{1,2}){0,3}\\*?", text in "[ab]{1,8}") {
        let wanted: Vec<char> = pattern.chars().collect();
        let found: Vec<char> = text.chars().collect();
        let pattern = PathPattern::parse(&format!("/{pattern}")).expect("a pattern");
        let path = CanonicalPath::parse(&format!("/{text}")).expect("a path");
        prop_assert_eq!(pattern.matches(&path), slow(&wanted, &found), "{} {}", pattern, text);
    }

    #[test]
    fn what_is_let_through_has_no_traversal(path in "/([a-z./%;\\\\]|%2e|%2f|%25|%3b|%5c){0,12}") {
        if let Ok(path) = CanonicalPath::parse(&path) {
            let path = path.as_str();
            prop_assert!(!path.split('/').any(|s| s == ".." || s == "." || s.starts_with("..;")));
            prop_assert!(!path.contains("//") && !path.contains('\\'));
            prop_assert!(!path.to_lowercase().contains("%2e") && !path.to_lowercase().contains("%2f"));
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let lossy = String::from_utf8_lossy(&bytes);
        for text in [&*text, &*lossy, &format!("/{text}"), &format!("/{lossy}")] {
            if let (Ok(path), Ok(pattern)) = (CanonicalPath::parse(text), PathPattern::parse(text)) {
                prop_assert!(text.contains(['*', '?']) || pattern.matches(&path));
            }
        }
    }
}
