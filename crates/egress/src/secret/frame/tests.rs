use std::sync::Arc;

use proptest::prelude::*;
use ringfence_store::SecretValue;

use super::*;
use crate::secret::{BoundSecret, Placeholder, preset};

const ID: &str = "PKX0Q7ZT3M9L2V8B4N6C1D5F7G9";
const SECRET: &str = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3gH5jK7m";
const REAL_ID: &str = "PKREALREALREALREAL12";
const REAL_SECRET: &str = "real\"secret/with+what JSON escapes\\";

const STREAM: Destination<'_> = Destination { host: "stream.data.alpaca.markets", port: 443, secure: true };

fn injector() -> Injector {
    let secret = |name: &str, placeholder: &str, value: &str| BoundSecret {
        name: name.into(),
        placeholder: Placeholder::from_text(placeholder).expect("a placeholder"),
        value: Some(Arc::new(SecretValue::new(value))),
        binding: preset(name).expect("a preset").binding,
    };
    Injector::new(vec![secret("ALPACA_API_KEY", ID, REAL_ID), secret("ALPACA_SECRET", SECRET, REAL_SECRET)])
        .expect("a set of secrets")
}

fn pack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("memory");
    out
}

fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

fn refused(kind: FrameKind, payload: &[u8]) -> Refusal {
    injector().inject_frame(STREAM, kind, payload).expect_err("refused")
}

#[test]
fn json_keeps_everything_but_the_two_strings() {
    let text = format!(
        "{{ \"key\":\"{ID}\",\n\"action\" : \"auth\", \"n\": 1.50e0, \"secret\":\"{SECRET}\", \"action\":\"auth\", \"z\":\"\\u0041\"}}"
    );
    for kind in [FrameKind::Text, FrameKind::Binary] {
        let frame = injector().inject_frame(STREAM, kind, text.as_bytes()).expect("allowed");
        assert_eq!(frame.injected.secrets, ["ALPACA_API_KEY", "ALPACA_SECRET"]);
        let wanted = text
            .replace(&format!("\"{ID}\""), &format!("\"{REAL_ID}\""))
            .replace(&format!("\"{SECRET}\""), &serde_json::to_string(REAL_SECRET).expect("a string"));
        assert_eq!(String::from_utf8_lossy(&frame.payload.expect("changed")), wanted);
    }
}

#[test]
fn the_trading_stream_s_login_is_filled_in_depth() {
    let text = format!(r#"{{"action":"authenticate","data":{{"key_id":"{ID}","secret_key":"{SECRET}"}}}}"#);
    let to = Destination { host: "paper-api.alpaca.markets", ..STREAM };
    let frame = injector().inject_frame(to, FrameKind::Text, text.as_bytes()).expect("allowed");
    let value: serde_json::Value = serde_json::from_slice(&frame.payload.expect("changed")).expect("JSON");
    assert_eq!(value["data"]["key_id"], REAL_ID);
    assert_eq!(value["data"]["secret_key"], REAL_SECRET);
}

#[test]
fn an_escaped_placeholder_is_still_one() {
    let escaped = ID.replace('Q', "\\u0051");
    let text = format!(r#"{{"key":"{escaped}"}}"#);
    let frame = injector().inject_frame(STREAM, FrameKind::Text, text.as_bytes()).expect("allowed");
    assert_eq!(*frame.payload.expect("changed"), format!(r#"{{"key":"{REAL_ID}"}}"#).into_bytes());
}

#[test]
fn msgpack_keeps_its_order_and_its_types() {
    let of = |id: &str, secret: &str| {
        pack(&map(&[
            ("secret", secret.into()),
            ("action", "auth".into()),
            ("key", id.into()),
            ("x", Value::F32(1.5)),
            ("y", Value::Ext(-1, vec![1, 2, 3, 4])),
            ("y", Value::Binary(vec![0xff])),
        ]))
    };
    let frame = injector().inject_frame(STREAM, FrameKind::Binary, &of(ID, SECRET)).expect("allowed");
    assert_eq!(*frame.payload.expect("changed"), of(REAL_ID, REAL_SECRET));
    assert_eq!(frame.injected.secrets, ["ALPACA_API_KEY", "ALPACA_SECRET"]);
}

#[test]
fn a_message_without_a_placeholder_goes_as_it_is() {
    for payload in [&b"{\"action\":\"auth\",\"key\":\"PKMINE\"}"[..], b"not json", &[0xff, 0xc1], b""] {
        for kind in [FrameKind::Text, FrameKind::Binary] {
            let frame = injector().inject_frame(STREAM, kind, payload).expect("allowed");
            assert!(frame.payload.is_none() && frame.injected.secrets.is_empty());
        }
    }
}

#[test]
fn a_placeholder_elsewhere_in_a_message_is_refused() {
    let misplaced =
        |refusal: Refusal| assert!(matches!(refusal, Refusal::Misplaced { place: Place::Frame, .. }), "{refusal}");
    for text in [
        format!(r#"{{"action":"subscribe","bars":["{ID}"]}}"#),
        format!(r#"{{"{ID}":"key"}}"#),
        format!(r#"{{"key":"x{ID}"}}"#),
        format!(r#"{{"key":"{SECRET}"}}"#),
        format!(r#"{{"key":"{ID}","note":"{ID}"}}"#),
        format!(r#"{{"key":"{ID}","note":"{}"}}"#, hex::encode(SECRET)),
        format!(r#"{{"key":["{ID}"]}}"#),
        format!("\"{ID}\""),
    ] {
        misplaced(refused(FrameKind::Text, text.as_bytes()));
    }
    for value in [
        map(&[("bars", ID.into())]),
        map(&[(ID, "key".into())]),
        map(&[("key", ID.into()), ("data", Value::Binary(SECRET.into()))]),
        map(&[("key", ID.into()), ("data", Value::Ext(5, SECRET.into()))]),
        map(&[("key", Value::Array(vec![ID.into()]))]),
        ID.into(),
    ] {
        misplaced(refused(FrameKind::Binary, &pack(&value)));
    }
}

#[test]
fn a_placeholder_in_what_cannot_be_read_is_refused() {
    let unreadable = |refusal: Refusal| assert!(matches!(refusal, Refusal::FrameUnreadable { .. }), "{refusal}");
    unreadable(refused(FrameKind::Text, ID.as_bytes()));
    unreadable(refused(FrameKind::Text, format!(r#"{{"key":"{ID}"}} x"#).as_bytes()));
    unreadable(refused(FrameKind::Text, &pack(&map(&[("key", ID.into())]))));
    let mut two = pack(&map(&[("key", ID.into())]));
    two.push(0xc0);
    unreadable(refused(FrameKind::Binary, &two));
    let mut deep = vec![0x91; 5000];
    deep.extend(pack(&ID.into()));
    unreadable(refused(FrameKind::Binary, &deep));
    let long = format!(r#"{{"key":"{ID}","pad":"{}"}}"#, "x".repeat(FRAME_BYTES_MAX));
    assert!(matches!(refused(FrameKind::Text, long.as_bytes()), Refusal::FrameTooLong { .. }));
}

#[test]
fn another_host_or_no_tls_gets_nothing() {
    let text = format!(r#"{{"key":"{ID}"}}"#);
    let at = |to| injector().inject_frame(to, FrameKind::Text, text.as_bytes()).expect_err("refused");
    assert!(matches!(at(Destination { host: "evil.example", ..STREAM }), Refusal::Elsewhere { .. }));
    assert!(matches!(at(Destination { port: 8443, ..STREAM }), Refusal::Elsewhere { .. }));
    assert!(matches!(at(Destination { secure: false, ..STREAM }), Refusal::Cleartext { .. }));
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(
        before in proptest::collection::vec(any::<u8>(), 0..40),
        after in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let payload = [&before[..], ID.as_bytes(), &after].concat();
        for kind in [FrameKind::Text, FrameKind::Binary] {
            if let Ok(frame) = injector().inject_frame(STREAM, kind, &payload) {
                let sent = frame.payload.expect("a placeholder was in it").to_vec();
                prop_assert!(!sent.windows(ID.len()).any(|part| part == ID.as_bytes()));
            }
        }
    }
}
