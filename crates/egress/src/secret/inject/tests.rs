use hyper::http::Request;
use proptest::prelude::*;

use super::*;
use crate::secret::{Binding, Placeholder, preset};

const ID: &str = "PKX0Q7ZT3M9L2V8B4N6C1D5F7G9";
const SECRET: &str = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3gH5jK7m";
const TOKEN: &str = "tok-aaaaBBBBccccDDDDeeeeFFFFgggg";
const REAL_ID: &str = "PKREALREALREALREAL12";
const REAL_SECRET: &str = "therealsecretofalpaca+/=0123456789abcdef";
const REAL_TOKEN: &str = "the real token & more";

const PAPER: Destination<'_> = Destination { host: "paper-api.alpaca.markets", port: 443, secure: true };
const TOKENS: Destination<'_> = Destination { host: "api.example.com", port: 8443, secure: true };

fn secret(name: &str, placeholder: &str, value: &str, binding: Binding) -> BoundSecret {
    BoundSecret {
        name: name.into(),
        placeholder: Placeholder::from_text(placeholder).expect("a placeholder"),
        value: Some(Arc::new(SecretValue::new(value))),
        binding,
    }
}

fn secrets() -> Vec<BoundSecret> {
    let alpaca = |name| preset(name).expect("a preset").binding;
    vec![
        secret("ALPACA_API_KEY", ID, REAL_ID, alpaca("ALPACA_API_KEY")),
        secret("ALPACA_SECRET", SECRET, REAL_SECRET, alpaca("ALPACA_SECRET")),
        secret(
            "TOKEN",
            TOKEN,
            REAL_TOKEN,
            Binding {
                hosts: vec!["api.example.com".into()],
                ports: vec![8443],
                placements: vec![Placement::Bearer, Placement::Query("api key".into())],
                sign: None,
            },
        ),
    ]
}

fn injector() -> Injector {
    Injector::new(secrets()).expect("a set of secrets")
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[track_caller]
fn refused(to: Destination<'_>, uri: &str, headers: &[(&str, &str)]) -> Refusal {
    let mut parts = request(uri, headers);
    let before = (parts.uri.clone(), parts.headers.clone());
    let refusal = injector().inject(to, &mut parts).expect_err("it is refused");
    assert_eq!((parts.uri, parts.headers), before, "a refused request stays as it was");
    let text = format!("{refusal} {refusal:?}");
    for hidden in [ID, SECRET, TOKEN, REAL_ID, REAL_SECRET, REAL_TOKEN] {
        assert!(!text.contains(hidden), "{text}");
    }
    refusal
}

/// Refused, and for the placeholder alone: with other placeholders in force, the very same request passes.
#[track_caller]
fn misplaced(to: Destination<'_>, uri: &str, headers: &[(&str, &str)], wanted: Place) {
    let mut others = secrets();
    for secret in &mut others {
        secret.placeholder = Placeholder::generate(crate::secret::Shape::Generic, b"");
    }
    let others = Injector::new(others).expect("a set of secrets");
    assert_eq!(others.inject(to, &mut request(uri, headers)).expect("allowed"), Injected::default());
    match refused(to, uri, headers) {
        Refusal::Misplaced { place, .. } => assert_eq!(place, wanted),
        other => panic!("refused for another reason: {other}"),
    }
}

#[test]
fn alpaca_s_headers_are_filled() {
    let mut parts = request(
        "/v2/orders?status=open",
        &[
            ("apca-api-key-id", ID),
            ("APCA-API-SECRET-KEY", SECRET),
            ("accept-encoding", "gzip, deflate"),
            ("user-agent", "APCA-PY/0.44.0"),
        ],
    );
    let injected = injector().inject(PAPER, &mut parts).expect("allowed");
    assert_eq!(injected.secrets, ["ALPACA_API_KEY", "ALPACA_SECRET"]);
    assert_eq!(parts.headers["apca-api-key-id"], REAL_ID);
    assert_eq!(parts.headers["apca-api-secret-key"], REAL_SECRET);
    assert!(parts.headers["apca-api-secret-key"].is_sensitive());
    assert_eq!(parts.headers["accept-encoding"], "identity");
    assert_eq!(parts.uri, "/v2/orders?status=open");
    assert!(!format!("{:?} {:?}", parts.headers, injector()).contains(REAL_SECRET));
}

#[test]
fn basic_and_bearer_are_filled() {
    let of = |to, value: &str| {
        let mut parts = request("/", &[("authorization", value)]);
        let injected = injector().inject(to, &mut parts).expect("allowed");
        (parts.headers["authorization"].to_str().expect("ASCII").to_owned(), injected.secrets)
    };
    let both = (basic(&format!("{REAL_ID}:{REAL_SECRET}")), vec!["ALPACA_API_KEY".to_owned(), "ALPACA_SECRET".into()]);
    assert_eq!(of(PAPER, &basic(&format!("{ID}:{SECRET}"))), both);
    assert_eq!(of(PAPER, basic(&format!("{ID}:{SECRET}")).trim_end_matches('=')), both);
    assert_eq!(of(PAPER, &basic(&format!("me:{SECRET}"))).0, basic(&format!("me:{REAL_SECRET}")));
    assert_eq!(of(PAPER, &basic(&format!("{ID}:"))).0, basic(&format!("{REAL_ID}:")));
    assert_eq!(of(PAPER, &basic(ID)).0, basic(REAL_ID));
    assert_eq!(of(TOKENS, &format!("bearer  {TOKEN}")), (format!("Bearer {REAL_TOKEN}"), vec!["TOKEN".to_owned()]));
}

#[test]
fn a_field_of_the_query_is_filled_and_escaped() {
    for name in ["api+key", "api%20key", "%61pi%20key"] {
        let mut parts = request(&format!("/a%2Fb?x=1&{name}={TOKEN}&y=%20&z"), &[]);
        injector().inject(TOKENS, &mut parts).expect("allowed");
        assert_eq!(parts.uri, format!("/a%2Fb?x=1&{name}=the%20real%20token%20%26%20more&y=%20&z").as_str());
    }
    let mut parts = request(&format!("https://api.example.com:8443/?api+key={TOKEN}"), &[]);
    injector().inject(TOKENS, &mut parts).expect("allowed");
    assert_eq!(parts.uri.authority().expect("still absolute"), "api.example.com:8443");
}

#[test]
fn a_placeholder_in_any_other_place_is_refused() {
    let own = [("apca-api-key-id", ID)];
    let percent: String = ID.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let hidden = STANDARD.encode(format!("x{ID}"));
    misplaced(PAPER, &format!("/v2/{ID}"), &own, Place::Path);
    misplaced(PAPER, &format!("/v2/{percent}/x"), &own, Place::Path);
    misplaced(PAPER, &format!("/v2/{}", ID.to_lowercase()), &own, Place::Path);
    misplaced(PAPER, &format!("/v2?x={ID}"), &own, Place::Query);
    misplaced(PAPER, &format!("/v2?{ID}"), &own, Place::Query);
    misplaced(PAPER, &format!("/v2?{ID}=x"), &own, Place::Query);
    misplaced(PAPER, &format!("/v2?x={percent}"), &own, Place::Query);
    misplaced(PAPER, &format!("/v2?x={hidden}"), &own, Place::Query);
    misplaced(PAPER, &format!("https://{ID}@paper-api.alpaca.markets/"), &own, Place::UserInfo);
    misplaced(PAPER, &format!("https://{ID}.example/"), &own, Place::Host);
    misplaced(Destination { host: &format!("{}.example", ID.to_lowercase()), ..PAPER }, "/", &[], Place::Host);
    misplaced(PAPER, "/", &[(ID, "x")], Place::HeaderName);
    misplaced(PAPER, "/", &[("cookie", &format!("a=b; k={ID}"))], Place::Cookie);
    let header = |name: &str| Place::Header(name.parse().expect("a name"));
    for (name, value) in [
        ("x-key", ID.to_owned()),
        ("x-key", percent.clone()),
        ("x-key", hidden.clone()),
        ("x-key", hex::encode(ID)),
        ("x-key", format!("prefix {ID}")),
        ("apca-api-key-id", format!("{ID} ")),
        ("apca-api-key-id", format!("x{ID}")),
        ("apca-api-key-id", ID.to_lowercase()),
        ("apca-api-key-id", SECRET.to_owned()),
        ("apca-api-secret-key", ID.to_owned()),
        ("host", format!("{ID}.example")),
        ("referer", format!("https://x/{ID}")),
        ("authorization", ID.to_owned()),
        ("authorization", format!("Bearer {ID}")),
        ("authorization", format!("Token {ID}")),
        ("authorization", basic(&format!("{SECRET}:{ID}"))),
        ("authorization", basic(&format!("{ID}{ID}:x"))),
        ("authorization", basic(&format!("{ID}:x{SECRET}"))),
        ("authorization", basic(&format!("{ID}:{}", STANDARD.encode(SECRET)))),
        ("proxy-authorization", basic(&format!("{ID}:{SECRET}"))),
    ] {
        misplaced(PAPER, "/", &[(name, &value)], header(name));
    }
    let (first, second) = ID.split_at(9);
    misplaced(PAPER, "/", &[("x-a", first), ("x-b", second)], Place::Headers);
    misplaced(PAPER, "/", &[("x-a", first), ("x-a", second)], Place::Headers);
}

#[test]
fn the_method_is_no_place_either() {
    let mut parts = request("/", &[]);
    parts.method = ID.parse().expect("any token is a method");
    let refusal = injector().inject(PAPER, &mut parts).expect_err("refused");
    assert_eq!(refusal, Refusal::Misplaced { secret: "ALPACA_API_KEY".into(), place: Place::Method });
    assert!(refusal.is_misuse());
}

#[test]
fn the_same_requests_without_a_placeholder_pass_untouched() {
    let injector = injector();
    for (uri, headers) in [
        ("/v2/PKX0Q7ZT3M9L2V8B4N6C1D5F7G", vec![("x-key", "PKX0Q7ZT3M9L2V8B4N6C1D5F7G")]),
        ("/v2?x=%50%4B&y", vec![("cookie", "a=b; k=c"), ("proxy-authorization", "Basic eDp5")]),
        ("https://user@other.example/", vec![("authorization", "Bearer sk-of-my-own"), ("host", "x.example")]),
        ("/", vec![("authorization", "Basic ====!"), ("x-a", "PKX0Q"), ("x-b", "elsewhere")]),
        ("/", vec![("apca-api-key-id", "PKMYOWNKEY"), ("apca-api-key-id", "twice"), ("accept-encoding", "gzip")]),
    ] {
        let mut parts = request(uri, &headers);
        let before = (parts.uri.clone(), parts.headers.clone());
        let to = Destination { host: "other.example", ..PAPER };
        assert_eq!(injector.inject(to, &mut parts).expect("allowed"), Injected::default());
        assert_eq!((parts.uri, parts.headers), before);
    }
}

#[test]
fn other_hosts_ports_and_plain_http_get_nothing() {
    let own = [("apca-api-key-id", ID)];
    for to in [
        Destination { host: "evil.example", ..PAPER },
        Destination { host: "api.alpaca.markets", ..PAPER },
        Destination { host: "paper-api.alpaca.markets.evil.example", ..PAPER },
        Destination { port: 8443, ..PAPER },
    ] {
        let refusal = refused(to, "/", &own);
        assert!(matches!(&refusal, Refusal::Elsewhere { host, .. } if host == to.host), "{refusal}");
    }
    assert_eq!(
        refused(Destination { secure: false, ..PAPER }, "/", &own),
        Refusal::Cleartext { secret: "ALPACA_API_KEY".into() }
    );
}

#[test]
fn a_header_that_peers_may_read_differently_is_refused() {
    let name = || "ALPACA_API_KEY".to_owned();
    for headers in
        [[("apca-api-key-id", ID), ("apca-api-key-id", "mine")], [("apca-api-key-id", "mine"), ("apca-api-key-id", ID)]]
    {
        assert!(matches!(refused(PAPER, "/", &headers), Refusal::Ambiguous { secret, .. } if secret == name()));
    }
    let credentials = basic(&format!("{ID}:{SECRET}"));
    let twice = [("authorization", credentials.as_str()), ("authorization", "Bearer mine")];
    assert!(matches!(refused(PAPER, "/", &twice), Refusal::Ambiguous { .. }));
    let hop = [("apca-api-key-id", ID), ("connection", "keep-alive, APCA-API-Key-Id")];
    assert!(matches!(refused(PAPER, "/", &hop), Refusal::HopByHop { secret, .. } if secret == name()));
    let query = format!("/?api+key={TOKEN}&api%20key=mine");
    assert!(matches!(refused(TOKENS, &query, &[]), Refusal::Ambiguous { place: Place::Query, .. }));
}

#[test]
fn a_revoked_secret_is_refused_by_name_and_a_rotated_one_replaced() {
    let mut set = secrets();
    set[0].value = None;
    let injector = Injector::new(set).expect("a set of secrets");
    let mut parts = request("/", &[("apca-api-key-id", ID)]);
    assert_eq!(injector.inject(PAPER, &mut parts), Err(Refusal::Revoked { secret: "ALPACA_API_KEY".into() }));
    let mut set = secrets();
    set[0].value = Some(Arc::new(SecretValue::new("PKANOTHERONE")));
    let mut parts = request("/", &[("apca-api-key-id", ID)]);
    Injector::new(set).expect("a set of secrets").inject(PAPER, &mut parts).expect("allowed");
    assert_eq!(parts.headers["apca-api-key-id"], "PKANOTHERONE");
}

#[test]
fn another_sandbox_s_placeholder_is_plain_text() {
    let other = Placeholder::generate(crate::secret::Shape::AlpacaKeyId, b"");
    let mut parts = request("/", &[("apca-api-key-id", other.as_str())]);
    assert_eq!(injector().inject(PAPER, &mut parts).expect("allowed"), Injected::default());
    assert_eq!(parts.headers["apca-api-key-id"], other.as_str());
}

#[test]
fn compression_that_would_hide_something_is_taken_away_or_refused() {
    assert_eq!(refused(PAPER, "/", &[("content-encoding", "gzip")]), Refusal::EncodedBody);
    let compressed = |injector: Injector, coding: &str| {
        let mut parts = request("/", &[("content-encoding", coding)]);
        injector.inject(PAPER, &mut parts).is_ok()
    };
    assert!(compressed(injector(), "identity"));
    assert!(!compressed(injector(), "identity, br"));
    assert!(compressed(injector().with_compressed_bodies(), "gzip"));
    assert!(compressed(Injector::new(vec![]).expect("none"), "gzip"));
    let mut parts = request("/stream", &[("sec-websocket-extensions", "permessage-deflate"), ("upgrade", "websocket")]);
    injector().inject(PAPER, &mut parts).expect("allowed");
    assert!(!parts.headers.contains_key("sec-websocket-extensions") && parts.headers.contains_key("upgrade"));
}

#[test]
fn a_value_that_a_header_cannot_hold_is_refused() {
    let mut set = secrets();
    set[0].value = Some(Arc::new(SecretValue::new("first line\r\nx-second: line")));
    let mut parts = request("/", &[("apca-api-key-id", ID)]);
    let refusal = Injector::new(set).expect("a set of secrets").inject(PAPER, &mut parts).expect_err("refused");
    assert!(matches!(refusal, Refusal::Unusable { .. }), "{refusal}");
}

#[test]
fn sets_that_make_no_sense_are_refused() {
    let mut twice = secrets();
    twice.push(secrets().remove(0));
    assert!(matches!(Injector::new(twice), Err(SetError::Twice(name)) if name == "ALPACA_API_KEY"));
    for value in ["short", &"x".repeat(VALUE_BYTES_MAX + 1)] {
        let mut set = secrets();
        set[2].value = Some(Arc::new(SecretValue::new(value)));
        assert!(matches!(Injector::new(set), Err(SetError::Length(name)) if name == "TOKEN"));
    }
    let many = (0..=SECRETS_MAX).map(|index| BoundSecret { name: index.to_string(), ..secrets().remove(0) });
    assert!(matches!(Injector::new(many.collect()), Err(SetError::TooMany(65))));
}

#[test]
fn a_body_s_placeholder_is_found_by_the_scanner_of_the_same_set() {
    let mut scanner = injector().scanner();
    assert_eq!(scanner.feed(&SECRET.as_bytes()[..20]), None);
    assert_eq!(scanner.feed(&SECRET.as_bytes()[20..]), Some("ALPACA_SECRET"));
}

proptest! {
    #[test]
    fn no_head_makes_it_panic_and_none_leaks(
        name in "[a-z-]{1,12}",
        before in "[ -~]{0,12}",
        after in "[ -~]{0,12}",
        scheme in prop_oneof![Just(""), Just("Basic "), Just("Bearer "), Just("basic  ")],
        query in "[a-z0-9%=&+]{0,30}",
    ) {
        let value = format!("{scheme}{before}{ID}{after}");
        let name = if scheme.is_empty() { name } else { "authorization".to_owned() };
        let mut parts = request(&format!("/x?{query}"), &[(&name, value.trim())]);
        // Whatever is around it: it stands in no place that is its own, unless nothing is around it in its own header.
        let own = name == "apca-api-key-id" && value.trim() == ID;
        prop_assert_eq!(injector().inject(PAPER, &mut parts).is_ok(), own);
    }

    #[test]
    fn any_header_bytes_are_survived(value in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut parts = request("/", &[]);
            parts.headers.insert(header::AUTHORIZATION, value);
            prop_assert!(injector().inject(PAPER, &mut parts).is_ok());
        }
    }

    #[test]
    fn any_basic_credentials_are_survived(value in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut parts = request("/", &[("authorization", &format!("Basic {}", STANDARD.encode(value)))]);
        prop_assert!(injector().inject(PAPER, &mut parts).is_ok());
    }
}
